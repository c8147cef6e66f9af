//! What an HTTP filter is, and the registry of those that exist.
//!
//! A filter is one folder and one line in [`FILTERS`]. Its `Kind` parses the configuration and
//! builds a factory, shared by all workers; the factory makes one object a request, which lives on
//! the request's worker and is called by the request's own task only, synchronously: nothing
//! borrows the [`Exchange`] across a wait. A filter sees the exchange and its own configuration;
//! never `snapshot`, `listener`, `xds` or `admin`.
//!
//! As in Envoy a reply of any filter passes the response side of *all* filters of the chain; it is
//! a return value and never a call, so nothing is re-entered.

pub mod cors;
pub mod csrf;
pub mod fault;
pub mod jwt_authn;
pub mod local_ratelimit;
pub mod panic;
pub mod rbac;
mod router;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use crate::codec::{BodyPart, RequestHead, ResponseHead};
use crate::config::extension::{ExtensionConfig, ExtensionParser};
use crate::http::chore::Chore;
use crate::http::exchange::Exchange;
use crate::http::reply::LocalReply;
use crate::telemetry::stats::Registry;

pub use router::RouterConfig;

/// Every HTTP filter of this build but the router, in alphabetical order. The order of execution
/// is the configuration's.
pub static FILTERS: &[&dyn FilterKind] = &[
    &cors::Kind,
    &csrf::Kind,
    &fault::Kind,
    &jwt_authn::Kind,
    &local_ratelimit::Kind,
    &panic::Kind,
    &rbac::Kind,
];

/// [`FILTERS`] and the router, as the configuration layer sees them.
#[must_use]
pub fn parsers() -> Vec<&'static dyn ExtensionParser> {
    let mut all: Vec<&'static dyn ExtensionParser> = vec![&router::Kind];
    all.extend(FILTERS.iter().map(|kind| *kind as &dyn ExtensionParser));
    all
}

/// A kind of filter: how its configuration is read (by the supertrait) and what is built of it.
pub trait FilterKind: ExtensionParser {
    /// A factory for one configured filter.
    fn build(&self, config: &ExtensionConfig, cx: &FilterCx<'_>) -> Arc<dyn FilterFactory>;
}

/// Where a filter is built.
#[derive(Clone, Copy)]
pub struct FilterCx<'a> {
    /// Where counters are registered.
    pub registry: &'a Registry,
    /// `stat_prefix` of the connection manager.
    pub stat_prefix: &'a str,
}

/// What a filter wants to see of bodies; who sees none of them costs nothing a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// `on_request_part` and `on_request_end` are called.
    pub request_body: bool,
    /// `on_response_part` and `on_response_end` are called.
    pub response_body: bool,
    /// `poll_emit` is called whenever the request's task runs.
    pub emits: bool,
}

/// Makes filters of one configured place in a chain. Shared by all workers.
pub trait FilterFactory: Send + Sync + fmt::Debug {
    /// One filter for one request. `overrides` are the per-route configurations that apply, least
    /// to most specific (route configuration, virtual host, route, weighted cluster).
    fn create(&self, overrides: &[&ExtensionConfig]) -> Box<dyn HttpFilter>;

    /// What this factory does beside requests.
    fn chores(&self) -> Vec<Arc<dyn Chore>> {
        Vec::new()
    }

    /// What the filters of this factory want to see.
    fn interest(&self) -> Interest {
        Interest::default()
    }
}

/// Future of something that a filter waits for; it resolves on the filter's own worker.
pub type WaitFuture = Pin<Box<dyn Future<Output = Wake>>>;

/// What a filter's wait came to, handed back to it. The payload is the filter's own.
pub type Wake = Box<dyn std::any::Any>;

/// What happens next after a filter saw a head.
pub enum Step {
    /// Hold the head until the whole body is here, then call `on_collected`.
    Collect {
        /// Bytes that may be held.
        limit: usize,
        /// What happens when the body is longer.
        over: Over,
    },
    /// Go on to the next filter.
    Continue,
    /// Answer now; forward motion stops.
    Reply(Box<LocalReply>),
    /// Hold everything until the future resolves, then call `on_wake`.
    Wait(WaitFuture),
}

/// What happens next after a filter saw the head of a response.
pub enum ResponseStep {
    /// Go on to the filter before this one.
    Continue,
    /// Answer this in place of the response.
    Reply(Box<LocalReply>),
    /// Hold everything until the future resolves, then call `on_response_wake`.
    Wait(WaitFuture),
}

/// What happens when a body outgrows a filter's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// `on_collected` is called with what fitted, the rest follows part by part.
    Partial,
    /// 413 (a request) or 500 (a response) as Envoy answers.
    Reject,
}

/// Parts that a filter passes on. Empty holds.
pub type Parts = SmallVec<[BodyPart; 2]>;

/// What happens next after a filter saw a part of a body.
pub enum PartStep {
    /// These go on to the next filter.
    Pass(Parts),
    /// Answer now, or reset where a head has been sent.
    Reply(Box<LocalReply>),
    /// Hold everything until the future resolves, then call `on_wake`.
    Wait(WaitFuture),
}

impl PartStep {
    /// Passes one part on unchanged.
    #[must_use]
    pub fn pass(part: BodyPart) -> Self {
        Self::Pass(smallvec![part])
    }

    /// Passes nothing on.
    #[must_use]
    pub fn hold() -> Self {
        Self::Pass(Parts::new())
    }
}

/// What a filter sends of its own accord.
pub enum Emit {
    /// Parts towards the upstream, after this filter.
    Request(Parts),
    /// Parts towards the client, after this filter.
    Response(Parts),
    /// Answer now, or reset where a head has been sent.
    Reply(Box<LocalReply>),
}

/// One filter of one request. Every method has a default that lets things pass.
pub trait HttpFilter {
    /// The request's head is here.
    fn on_request(&mut self, _head: &mut RequestHead, _ex: &mut Exchange) -> Step {
        Step::Continue
    }

    /// A part of the request's body (only with [`Interest::request_body`]).
    fn on_request_part(&mut self, part: BodyPart, _ex: &mut Exchange) -> PartStep {
        PartStep::pass(part)
    }

    /// The request is complete.
    fn on_request_end(&mut self, _ex: &mut Exchange) -> PartStep {
        PartStep::hold()
    }

    /// The body that [`Step::Collect`] asked for is here.
    fn on_collected(
        &mut self,
        _head: &mut RequestHead,
        _body: &mut Vec<Bytes>,
        _ex: &mut Exchange,
    ) -> Step {
        Step::Continue
    }

    /// A 1xx head on its way to the client.
    fn on_informational(&mut self, _head: &mut ResponseHead, _ex: &mut Exchange) {}

    /// The response's head, the upstream's or a local reply's.
    fn on_response(&mut self, _head: &mut ResponseHead, _ex: &mut Exchange) -> ResponseStep {
        ResponseStep::Continue
    }

    /// A part of the response's body (only with [`Interest::response_body`]).
    fn on_response_part(&mut self, part: BodyPart, _ex: &mut Exchange) -> PartStep {
        PartStep::pass(part)
    }

    /// The response is complete.
    fn on_response_end(&mut self, _ex: &mut Exchange) -> PartStep {
        PartStep::hold()
    }

    /// What this filter waited for on the response's side has come.
    fn on_response_wake(&mut self, _wake: Wake, _ex: &mut Exchange) -> ResponseStep {
        ResponseStep::Continue
    }

    /// What this filter waited for on the request's side has come.
    fn on_wake(&mut self, _wake: Wake, _head: &mut RequestHead, _ex: &mut Exchange) -> Step {
        Step::Continue
    }

    /// Parts or a reply that nobody asked for (only with [`Interest::emits`]).
    fn poll_emit(&mut self, _cx: &mut Context<'_>, _ex: &mut Exchange) -> Poll<Emit> {
        Poll::Pending
    }

    /// The request is over, whatever came of it; called once.
    fn on_done(&mut self, _ex: &mut Exchange) {}
}
