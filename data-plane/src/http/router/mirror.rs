//! Mirrored requests (Envoy: shadows): a request once more, to another cluster, whose answer nobody
//! waits for (`request_mirror_policies`).
//!
//! A mirror is a task of its own on the request's worker, since it outlives the request; to its
//! cluster it is a request like any other, in pools, limits and counters. The request's task hands
//! it copies of the parts of the body, which share their bytes, through a [`Pipe`]. What waits
//! there is bounded, and a full pipe holds the client back, as in Envoy. A request that ends
//! before its end takes its mirrors with it. Tunnels are not mirrored.

mod pipe;
mod task;

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use smallvec::SmallVec;

use crate::base::task as tasks;
use crate::cluster::RoutingPriority;
use crate::cluster::pool::{LeaseCx, Payload};
use crate::codec::{BodyPart, RequestHead};
use crate::config::route::{MirrorHost, MirrorPolicy};
use crate::http::exchange::Exchange;
use crate::http::filter::RouterConfig;
use crate::http::headers as common;
use crate::http::names as n;
use crate::route::{RouteRef, fraction_holds};
use crate::telemetry::stats::{Origin, RouterStat};

use super::headers;
use pipe::Pipe;
use task::Mirror;

/// Most bytes that wait in a pipe where no limit is configured.
const WAITING_BYTES_MAX: u64 = 1 << 20;

/// The mirrors of one request whose body is still coming.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    pipes: SmallVec<[Rc<Pipe>; 1]>,
}

/// How a request is mirrored, beside what its route says.
#[derive(Clone, Copy, Debug)]
pub(super) struct MirrorCx {
    /// What the router is told.
    pub(super) config: RouterConfig,
    /// Most bytes of the body that wait for one mirror.
    pub(super) limit: Option<u64>,
    /// The route's timeout.
    pub(super) timeout: Option<Duration>,
}

impl Mirrors {
    /// Starts the mirrors of a request whose head is `head` upstream; `None` where none needs
    /// anything more.
    pub(super) fn start(head: &RequestHead, cx: MirrorCx, ex: &Exchange) -> Option<Box<Self>> {
        let route = ex.route()?;
        let policies = route.mirrors();
        if policies.is_empty() || head.asks_for_tunnel() {
            return None;
        }
        let begun = policies.iter().filter(|policy| holds(policy, ex));
        let pipes: SmallVec<_> = begun.filter_map(|policy| begin(policy, head, cx, ex)).collect();
        (!head.ends && !pipes.is_empty()).then(|| Box::new(Self { pipes }))
    }

    /// Ready when every mirror takes another part.
    pub(super) fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        let waits = self.pipes.iter().any(|pipe| pipe.poll_ready(cx).is_pending());
        if waits { Poll::Pending } else { Poll::Ready(()) }
    }

    /// A part of the request.
    pub(super) fn push(&self, part: &BodyPart) {
        for pipe in &self.pipes {
            pipe.push(part.clone());
        }
    }

    /// The request is complete: its mirrors go on by themselves.
    pub(super) fn end(&mut self) {
        for pipe in self.pipes.drain(..) {
            pipe.end();
        }
    }
}

impl Drop for Mirrors {
    fn drop(&mut self) {
        for pipe in &self.pipes {
            pipe.abandon();
        }
    }
}

/// Whether the policy's share holds this request.
fn holds(policy: &MirrorPolicy, ex: &Exchange) -> bool {
    let runtime = &*ex.worker.shared.runtime;
    policy.share.as_ref().is_none_or(|share| fraction_holds(share, ex.random, runtime))
}

/// Starts one mirror; `None` where its cluster is unknown or has no host.
fn begin(
    policy: &MirrorPolicy,
    head: &RequestHead,
    cx: MirrorCx,
    ex: &Exchange,
) -> Option<Rc<Pipe>> {
    let name = RouteRef::named(&policy.target, &ex.route_input(head));
    let cluster = ex.view.clusters.get(name)?;
    ex.manager.stats.own.inc(ex.worker.id, RouterStat::RqTotal);
    let Some(pool) = ex.worker.pools.upstream(cluster).pick(None) else {
        cluster.stats().response(ex.worker.id, Origin::Internal, 503);
        return None;
    };
    let lease = LeaseCx {
        priority: RoutingPriority::Default,
        downstream: head.version,
        payload: Payload::Http,
    };
    let limit = cx.limit.unwrap_or(WAITING_BYTES_MAX).max(1);
    let pipe = Pipe::new(usize::try_from(limit).unwrap_or(usize::MAX), head.ends);
    let mirror = Mirror::new(
        (cluster, pool.host(), ex.worker.id),
        pool.lease(lease),
        mirrored(policy, head, cx, ex),
        cx.timeout,
        Rc::clone(&pipe),
    );
    tasks::spawn_local("mirror", mirror).detach();
    Some(pipe)
}

/// The head as the mirror's upstream gets it.
fn mirrored(policy: &MirrorPolicy, head: &RequestHead, cx: MirrorCx, ex: &Exchange) -> RequestHead {
    let mut head = head.clone();
    match &policy.host {
        MirrorHost::AsIs => {}
        MirrorHost::Literal(host) => head.authority = Some(host.clone()),
        MirrorHost::Suffixed => head.authority = head.authority.as_ref().map(suffixed),
    }
    head.headers.insert(n::X_ENVOY_INTERNAL, HeaderValue::from_static("true"));
    common::append_own_address(&mut head.headers, &ex.worker.shared.local);
    headers::tell_timeout(&mut head, cx.timeout, cx.config);
    head
}

/// The host with `-shadow` behind its name.
fn suffixed(host: &HeaderValue) -> HeaderValue {
    let text = host.as_bytes();
    let (name, port) = match text.iter().position(|byte| *byte == b':') {
        Some(at) if !text[at + 1..].contains(&b':') => text.split_at(at),
        _ => (text, &[][..]),
    };
    HeaderValue::from_bytes(&[name, b"-shadow", port].concat()).unwrap_or_else(|_| host.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_stands_between_name_and_port() {
        for (host, expected) in [
            ("a.test", "a.test-shadow"),
            ("a.test:80", "a.test-shadow:80"),
            ("", "-shadow"),
            ("[::1]:80", "[::1]:80-shadow"),
        ] {
            assert_eq!(suffixed(&HeaderValue::from_static(host)), expected);
        }
    }
}
