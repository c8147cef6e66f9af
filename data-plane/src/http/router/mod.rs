//! The router, the end of every chain: route → cluster → host → connection → attempt.
//!
//! It answers redirects and direct responses itself. An [`attempt::Attempt`] is one try at one host
//! and reports its outcome once; [`tries::Tries`] is what a request has besides where it may be
//! tried again or an attempt has a timeout of its own. The router holds no body but for a retry: a
//! part that the upstream does not take yet is not pulled from the client.

mod attempt;
mod client;
mod headers;
mod limits;
mod mirror;
mod retry;
mod stream;
mod tries;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};

use crate::base::clock::Instant;
use crate::cluster::RoutingPriority;
use crate::cluster::pool::{LeaseCx, Payload};
use crate::codec::{BodyPart, RequestHead, ResponseHead};
use crate::config::route::{ConnectMode, Priority, RouteTimeout};
use crate::http::error::ProxyError;
use crate::http::exchange::Exchange;
use crate::http::filter::RouterConfig;
use crate::http::names as n;
use crate::http::reply::LocalReply;
use crate::http::span;
use crate::route::{
    Decision, RedirectRequest, RouteRef, VirtualClusterRef, location, location_of_tls_redirect,
};
use crate::telemetry::flags::ResponseFlags;
use crate::telemetry::stats::RouterStat;

pub use attempt::TunnelEnd;
use attempt::{Attempt, Outcome};
pub use client::{Answer, Ask, AskCx, AskError};
use limits::Limits;
pub use limits::stream_age;
use mirror::{MirrorCx, Mirrors};
use tries::Tries;

/// What comes back from the upstream.
#[derive(Debug)]
pub enum UpstreamEvent {
    /// The response is complete.
    End,
    /// The attempt failed.
    Failed(ProxyError),
    /// The response's head.
    Head(ResponseHead),
    /// A 1xx head.
    Informational(ResponseHead),
    /// A part of the response.
    Part(BodyPart),
    /// An answer of the router's own.
    Reply(Box<LocalReply>),
}

/// The router of one request.
#[derive(Default)]
pub struct Router {
    attempt: Option<Attempt>,
    /// A box, since nearly no request has any.
    tries: Option<Box<Tries>>,
    limits: Limits,
    tunnel_end: Option<TunnelEnd>,
    config: RouterConfig,
    /// A box, since nearly no request has any.
    mirrors: Option<Box<Mirrors>>,
    /// Nothing more goes to the upstream.
    request_over: bool,
}

impl Router {
    /// Works as the request's chain wants it.
    pub fn configure(&mut self, config: RouterConfig) {
        self.config = config;
    }

    /// Takes the head: chooses cluster, host and connection, or answers itself.
    ///
    /// # Errors
    /// The answer.
    pub fn start(
        &mut self,
        head: &mut RequestHead,
        ex: &mut Exchange,
    ) -> Result<(), Box<LocalReply>> {
        let (worker, manager) = (ex.worker.id, ex.manager.clone());
        let stats = &manager.stats.router;
        stats.inc(worker, RouterStat::RqTotal);
        let Some(route) = ex.route() else {
            stats.inc(worker, RouterStat::NoRoute);
            return Err(Box::new(LocalReply::no_route()));
        };
        let Decision::Forward(forward) = route.decision() else {
            // Envoy counts a redirect as a direct response too, and as nothing else.
            stats.inc(worker, RouterStat::RqDirectResponse);
            return Err(Box::new(answer(&route, head)));
        };
        let name = route.cluster(&ex.route_input(head)).unwrap_or_default();
        let Some(cluster) = ex.view.clusters.get(name).cloned() else {
            stats.inc(worker, RouterStat::NoCluster);
            return Err(Box::new(LocalReply::no_cluster(forward.cluster_not_found)));
        };
        let counted = route.virtual_cluster(&ex.route_input(head)).map(VirtualClusterRef::place);
        let mirrored = !route.mirrors().is_empty();
        let priority = match forward.priority {
            Priority::Default => RoutingPriority::Default,
            Priority::High => RoutingPriority::High,
        };
        let asked = headers::has_envoys(head);
        self.limits = Limits::of(head, asked, forward, &cluster);
        if asked || route.retry_policy().is_some() {
            let tries = Tries::of(&route, head, asked, (&cluster, priority), ex);
            self.tries = tries.within(self.limits.whole).map(Box::new);
            headers::strip(head);
        }
        ex.upstream.virtual_cluster = counted;
        ex.upstream.cluster = Some(cluster.clone());
        ex.upstream.attempts = 1;
        let upstream = ex.worker.pools.upstream(&cluster);
        let Some(pool) = upstream.pick(None) else {
            attempt::count_response(&cluster, ex, 503);
            return Err(Box::new(LocalReply::no_healthy_upstream()));
        };
        let host = Arc::clone(pool.host());
        let per_try = self.tries.as_ref().and_then(|tries| tries.per_try());
        let expected = self.limits.tell(head, per_try);
        headers::prepare(head, &host, expected, self.config, ex);
        ex.upstream.host = Some(Arc::clone(&host));
        span::attempt(head, self.config, ex);
        self.request_over = head.ends;
        self.tries.iter_mut().for_each(|tries| tries.tried(&host));
        let payload = payload(head, ex);
        let leasing = pool.lease(LeaseCx { priority, downstream: head.version, payload });
        let age = self.limits.attempt_age;
        self.attempt = Some(Attempt::begin(cluster, host, leasing, payload, age));
        if mirrored {
            self.mirrors = self.mirror(head, ex);
        }
        Ok(())
    }

    /// Starts the mirrors of the request.
    #[cold]
    fn mirror(&self, head: &RequestHead, ex: &Exchange) -> Option<Box<Mirrors>> {
        let route = ex.route()?;
        let limit = tries::kept_bytes_max(&route, ex.manager.buffer_limit);
        let cx = MirrorCx { config: self.config, limit, timeout: self.limits.whole };
        Mirrors::start(head, cx, ex)
    }

    /// Whether answers of our own bear no `x-envoy-*` either.
    #[must_use]
    pub const fn suppresses_envoy_headers(&self) -> bool {
        self.config.suppress_envoy_headers
    }

    /// The route's timeout, which runs from the end of the request.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.limits.whole
    }

    /// When the attempt becomes too old.
    #[must_use]
    pub fn too_old_at(&self) -> Option<Instant> {
        self.attempt.as_ref().and_then(Attempt::too_old_at)
    }

    /// How long the stream may stand still: the route's word, else the manager's.
    #[must_use]
    pub fn idle_timeout(&self, ex: &Exchange) -> Option<Duration> {
        let route = ex.route();
        match route.as_ref().and_then(|route| route.forward()).map(|forward| forward.idle_timeout) {
            Some(RouteTimeout::After(limit)) => Some(limit),
            Some(RouteTimeout::Disabled) => None,
            Some(RouteTimeout::Inherit) | None => ex.manager.config.timeouts.stream_idle,
        }
    }

    /// Ready when another part may be pushed.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.attempt {
            None if self.tries.as_ref().is_some_and(|tries| tries.is_waiting()) => Poll::Ready(()),
            None => Poll::Pending,
            Some(attempt) => {
                std::task::ready!(attempt.poll_ready(cx));
                self.mirrors.as_ref().map_or(Poll::Ready(()), |mirrors| mirrors.poll_ready(cx))
            }
        }
    }

    /// A part of the request.
    pub fn push(&mut self, part: BodyPart) {
        if matches!(part, BodyPart::Trailers(_)) {
            // Trailers end the message by themselves.
            self.request_over = true;
        }
        if let Some(tries) = &mut self.tries {
            tries.keep(&part);
        }
        if let Some(mirrors) = &self.mirrors {
            mirrors.push(&part);
        }
        if let Some(attempt) = &mut self.attempt {
            attempt.push(part);
        }
    }

    /// The request is complete.
    pub fn end(&mut self, _ex: &mut Exchange) {
        if self.request_over {
            return;
        }
        self.request_over = true;
        if let Some(mut mirrors) = self.mirrors.take() {
            mirrors.end();
        }
        if let Some(attempt) = &mut self.attempt {
            attempt.end();
        }
    }

    /// What the upstream says next.
    pub fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        request: &mut RequestHead,
        ex: &mut Exchange,
    ) -> Poll<UpstreamEvent> {
        loop {
            if self.tries.is_some()
                && let Some(reply) = std::task::ready!(self.poll_wait(cx, request, ex))
            {
                return Poll::Ready(UpstreamEvent::Reply(reply));
            }
            let Some(attempt) = &mut self.attempt else { return Poll::Pending };
            let outcome = attempt.poll_event(cx, request, ex);
            if self.tries.is_none() {
                return outcome.map(|outcome| self.event(outcome, request, ex));
            }
            match outcome {
                Poll::Pending => {
                    let late = std::task::ready!(self.poll_try_timeout(cx, request));
                    if let Some(reply) = self.try_timed_out(late, ex) {
                        return Poll::Ready(UpstreamEvent::Reply(reply));
                    }
                }
                Poll::Ready(outcome) => {
                    if !self.is_tried_again(&outcome, ex) {
                        return Poll::Ready(self.event(outcome, request, ex));
                    }
                }
            }
        }
    }

    fn refuses_handshake(&self, request: &RequestHead, status: StatusCode) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.refuses_handshake(request, status))
    }

    /// What an outcome means to the client.
    fn event(
        &mut self,
        outcome: Outcome,
        request: &RequestHead,
        ex: &mut Exchange,
    ) -> UpstreamEvent {
        match outcome {
            Outcome::Head(head) if self.refuses_handshake(request, head.status) => {
                self.cancel(ex);
                UpstreamEvent::Reply(Box::new(no_handshake(&head)))
            }
            Outcome::Head(mut head) => {
                if let Some(attempt) = &self.attempt {
                    attempt.answered(&head, ex);
                }
                headers::finish(&mut head, request, self.config, ex);
                if head.ends {
                    self.finish_attempt(None, ex);
                }
                UpstreamEvent::Head(head)
            }
            Outcome::Informational(head) => {
                if let Some(attempt) = &self.attempt {
                    attempt.informed(&head, ex);
                }
                UpstreamEvent::Informational(head)
            }
            Outcome::Part(part) => {
                if matches!(part, BodyPart::Trailers(_)) {
                    self.finish_attempt(None, ex);
                }
                UpstreamEvent::Part(part)
            }
            Outcome::End => {
                match self.attempt.as_ref().and_then(Attempt::tunnel_end) {
                    Some(end) => self.tunnel_end = Some(end),
                    None => self.finish_attempt(None, ex),
                }
                UpstreamEvent::End
            }
            Outcome::Failed(error) => {
                if self.attempt.as_ref().is_some_and(Attempt::overflowed_pending) {
                    // No host was ever asked.
                    ex.upstream.host = None;
                }
                span::failed(ex, error.kind);
                self.finish_attempt(Some(&error), ex);
                UpstreamEvent::Failed(error)
            }
        }
    }

    /// Whether the upstream's side of a tunnel is over and the client's is not; then how it ended.
    pub fn poll_half_open(&mut self, cx: &mut Context<'_>, ex: &Exchange) -> Poll<()> {
        let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.is_half_open()) else {
            return Poll::Ready(());
        };
        std::task::ready!(attempt.poll_half_open(cx));
        self.finish_attempt(None, ex);
        Poll::Ready(())
    }

    /// How the upstream ended a tunnel; `None` if it has not.
    #[must_use]
    pub fn tunnel_end(&self) -> Option<TunnelEnd> {
        self.tunnel_end
    }

    /// The one place where an attempt's end is told to the host and the counters.
    fn finish_attempt(&mut self, error: Option<&ProxyError>, ex: &Exchange) {
        let Some(attempt) = self.attempt.take() else { return };
        attempt.finish(error, ex);
    }

    /// Moves what was pushed towards the upstream, whether or not the client reads.
    pub fn flush(&mut self, cx: &mut Context<'_>) {
        if let Some(attempt) = &mut self.attempt {
            attempt.flush(cx);
        }
    }

    /// The route's timeout passed.
    pub fn timed_out(&mut self, ex: &mut Exchange) {
        self.tries = None;
        if let Some(attempt) = self.attempt.take() {
            span::canceled(ex, ResponseFlags::NONE);
            attempt.timed_out(ex);
        }
    }

    /// Gives up: the client is gone, a deadline passed, or somebody else answered.
    pub fn cancel(&mut self, ex: &mut Exchange) {
        self.tries = None;
        let Some(attempt) = self.attempt.take() else { return };
        span::canceled(ex, ResponseFlags::NONE);
        attempt.cancel(ex);
    }

    /// The route's changes to an answer of our own: whoever made it, where the route leads to a
    /// cluster, else the router alone (Envoy's `sendLocalReply` asks for a route entry).
    pub fn finish_reply(&self, head: &mut ResponseHead, request: &RequestHead, ex: &Exchange) {
        let forwards = ex.route().is_some_and(|route| route.forward().is_some());
        if forwards || ex.details == "direct_response" {
            headers::edit_response(head, request, ex);
        }
    }
}

/// The answer to a WebSocket that the upstream did not agree to, as Envoy makes it: what the
/// upstream said without its body.
fn no_handshake(head: &ResponseHead) -> LocalReply {
    let mut reply = LocalReply::new(head.status, "", "websocket_handshake_unsuccessful");
    let fields = head.headers.iter().filter(|(name, _)| *name != header::CONTENT_LENGTH);
    reply.headers.extend(fields.map(|(name, value)| (name.clone(), value.clone())));
    reply
}

/// What goes upstream: CONNECT that ends here leaves its payload alone.
fn payload(head: &RequestHead, ex: &Exchange) -> Payload {
    if head.method != Method::CONNECT {
        return Payload::Http;
    }
    let route = ex.route();
    let mode = route.as_ref().and_then(|route| route.forward()).map(|f| f.upgrades.connect);
    match mode {
        Some(ConnectMode::Terminate) => Payload::Raw,
        Some(ConnectMode::Forward) | None => Payload::Http,
    }
}

/// The answer of a route that leads to no cluster.
fn answer(route: &RouteRef<'_>, head: &RequestHead) -> LocalReply {
    match route.decision() {
        Decision::DirectResponse(direct) => {
            LocalReply::new(direct.status, direct.body.clone(), "direct_response")
        }
        Decision::Redirect(redirect) => {
            let to = location(route, &redirect_request(head)).unwrap_or_default();
            moved(redirect.status, &to)
        }
        Decision::TlsRedirect => {
            let to = location_of_tls_redirect(&redirect_request(head));
            moved(StatusCode::MOVED_PERMANENTLY, &to)
        }
        Decision::Forward(forward) => LocalReply::no_cluster(forward.cluster_not_found),
    }
}

fn redirect_request(head: &RequestHead) -> RedirectRequest<'_> {
    RedirectRequest {
        authority: head.authority.as_ref().map_or(&[], |a| a.as_bytes()),
        path: head.path.as_bytes(),
        scheme: head.scheme.as_ref().map_or(b"http", |s| s.as_bytes()),
        forwarded_proto: head.headers.get(n::X_FORWARDED_PROTO).map_or(b"", |v| v.as_bytes()),
    }
}

fn moved(status: StatusCode, to: &[u8]) -> LocalReply {
    let reply = LocalReply::new(status, "", "direct_response");
    match HeaderValue::from_bytes(to) {
        Ok(location) => reply.with_header(http::header::LOCATION, location),
        Err(_) => reply,
    }
}
