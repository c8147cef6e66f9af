//! The first route of a virtual host that matches, without looking at all of them.
//!
//! Routes whose path condition is text stand in radix trees, each key with the places of its
//! routes in the list; what a tree cannot hold (regular expressions) stays in a list of its own. A
//! look-up walks the trees once and merges what it met by place, so that the outcome is that of a
//! scan from the top. Behind a route that asks for nothing but its path, others with the same
//! condition can never be reached and are left out, so the lists stay short.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::input::RouteInput;
use super::matching::{path_matches, rest_matches};
use super::radix::Radix;
use crate::base::pattern::Case;
use crate::config::route::{PathMatcher, RouteEntry};

#[derive(Clone, Debug)]
pub(super) struct RouteIndex {
    sensitive: Radix<Places>,
    folded: Radix<Places>,
    /// Routes that only a test of their own can decide.
    residual: Box<[u32]>,
    /// Routes of CONNECT, which has no path and meets no other condition on one.
    connect: Box<[u32]>,
}

/// Places of routes with one path text, each list in ascending order.
#[derive(Clone, Debug, Default)]
struct Places {
    exact: SmallVec<[u32; 2]>,
    prefix: SmallVec<[u32; 2]>,
    segments: SmallVec<[u32; 2]>,
}

impl RouteIndex {
    pub(super) fn build(routes: &[RouteEntry]) -> Self {
        let mut sensitive: BTreeMap<Vec<u8>, Places> = BTreeMap::new();
        let mut folded: BTreeMap<Vec<u8>, Places> = BTreeMap::new();
        let (mut residual, mut connect) = (Vec::new(), Vec::new());
        for (route, at) in routes.iter().zip(0_u32..) {
            let (PathMatcher::Exact(text, case)
            | PathMatcher::Prefix(text, case)
            | PathMatcher::Segments(text, case)) = &route.matcher.path
            else {
                match route.matcher.path {
                    PathMatcher::Connect => connect.push(at),
                    _ => residual.push(at),
                }
                continue;
            };
            let places = match case {
                Case::Ignore => folded.entry(text.to_ascii_lowercase().into_bytes()).or_default(),
                Case::Sensitive => sensitive.entry(text.as_bytes().to_vec()).or_default(),
            };
            let list = match &route.matcher.path {
                PathMatcher::Exact(..) => &mut places.exact,
                PathMatcher::Segments(..) => &mut places.segments,
                _ => &mut places.prefix,
            };
            let shadowed = list.last().is_some_and(|&last| {
                routes.get(last as usize).is_some_and(|route| route.matcher.is_path_only())
            });
            if !shadowed {
                list.push(at);
            }
        }
        Self {
            sensitive: Radix::build(sensitive),
            folded: Radix::build(folded),
            residual: residual.into(),
            connect: connect.into(),
        }
    }

    /// The first route, in the list's order, that matches and that `accept` takes. `path` is
    /// without query and, if the table says so, without parameters.
    pub(super) fn find<T>(
        &self,
        routes: &[RouteEntry],
        path: &[u8],
        input: &RouteInput<'_>,
        mut accept: impl FnMut(&RouteEntry, u32) -> Option<T>,
    ) -> Option<T> {
        let mut lists: SmallVec<[&[u32]; 8]> = SmallVec::new();
        if path.is_empty() {
            lists.push(&self.connect);
        } else {
            gather(&self.sensitive, path, Case::Sensitive, &mut lists);
            gather(&self.folded, path, Case::Ignore, &mut lists);
        }
        let trees = lists.len();
        if !self.residual.is_empty() && !path.is_empty() {
            lists.push(&self.residual);
        }
        loop {
            let next = lists.iter().enumerate();
            let next = next.filter_map(|(from, list)| list.first().map(|&at| (at, from))).min();
            let (at, from) = next?;
            lists[from] = &lists[from][1..];
            let Some(route) = routes.get(at as usize) else { continue };
            let path_holds = from < trees || path_matches(&route.matcher.path, path);
            if path_holds && rest_matches(&route.matcher, input) {
                let accepted = accept(route, at);
                if accepted.is_some() {
                    return accepted;
                }
            }
        }
    }
}

fn gather<'i>(
    tree: &'i Radix<Places>,
    path: &[u8],
    case: Case,
    lists: &mut SmallVec<[&'i [u32]; 8]>,
) {
    if tree.is_empty() {
        return;
    }
    tree.walk(path, case, |depth, places| {
        let next = path.get(depth);
        let fits = [
            (true, &places.prefix),
            (next.is_none(), &places.exact),
            (matches!(next, None | Some(b'/')), &places.segments),
        ];
        let fits = fits.into_iter().filter(|(fits, list)| *fits && !list.is_empty());
        lists.extend(fits.map(|(_, list)| &list[..]));
    });
}
