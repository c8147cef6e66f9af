//! The pages: which there are, what they are called, who may ask.

mod certs;
mod clusters;
mod config_dump;
mod home;
mod init_dump;
mod lifecycle;
mod listeners;
mod logging;
mod lookups;
mod mask;
mod process;
mod profilers;
mod runtime;
mod server_info;
mod stats;
mod table;

use super::query::Params;
use super::reply::Reply;
use super::{AdminState, State};
use crate::base::pattern::StringMatcher;
use crate::telemetry::metrics::{self, Metrics};
use crate::telemetry::stats::Registry;

use table::{Method, PAGES};

/// What pages read.
#[derive(Clone)]
pub(super) struct Sources {
    pub(super) state: State,
    pub(super) registry: Registry,
    pub(super) metrics: Metrics,
    /// `admin.allow_paths`; empty: all.
    pub(super) allow_paths: Vec<StringMatcher>,
}

/// A request to a page.
struct Call<'a> {
    state: &'a dyn AdminState,
    registry: &'a Registry,
    params: &'a Params,
    /// The body of a form.
    form: &'a Params,
}

/// Answers a request. `target` is path and query as they came, `body` the start of the body.
pub(super) fn answer(sources: &Sources, method: &str, target: &str, body: &str) -> Reply {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = merged_slashes(path);
    let allowed = &sources.allow_paths;
    if !allowed.is_empty() && !allowed.iter().any(|matcher| matcher.is_match(path.as_bytes())) {
        return Reply::error(403, format!("request to path {path} not allowed"));
    }
    if path == "/metrics" {
        return Reply::text(sources.metrics.render()).of_type(metrics::CONTENT_TYPE);
    }
    if path.starts_with("/gomesh/")
        && let Some(reply) = sources.state.own_page(&path)
    {
        return reply;
    }
    let Some(page) = PAGES.iter().find(|page| page.path == path) else {
        return Reply::error(404, format!("invalid path. {}", home::commands()));
    };
    if page.method == Method::Post && method != "POST" {
        return Reply::error(405, format!("Method {method} not allowed, POST required."));
    }
    let call = Call {
        state: &*sources.state,
        registry: &sources.registry,
        params: &Params::parse(query),
        form: &Params::parse(body),
    };
    (page.answer)(&call)
}

/// `//stats` is `/stats`.
fn merged_slashes(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    merged
}
