//! The request's side: the head through the filters, then parts from the client to the router.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use smallvec::smallvec;

use super::{Held, Mode, PART_BYTES, RequestSide, RequestTask, Resume, Tunnel, TunnelSide};
use crate::base::clock;
use crate::codec::{BodyError, BodyPart, Downstream, Outgoing, ResponseHead};
use crate::http::chain::FilterStack;
use crate::http::filter::{Over, PartStep, Parts, Step};
use crate::http::reply::LocalReply;
use crate::http::router::stream_age;
use crate::http::{headers, pipeline, request_id};
use crate::telemetry::stats::HttpStat;

/// What became of parts on their way through the filters.
pub(super) enum Passed {
    /// They came out at the end.
    Out(Parts),
    /// A filter waits.
    Held(Held),
    /// A filter answers.
    Reply(Box<LocalReply>),
}

impl RequestTask {
    /// Moves the request's side as far as it goes; whether anything moved.
    pub(super) fn move_request<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut D,
    ) -> bool {
        if self.mode != Mode::Running {
            return false;
        }
        match &mut self.request {
            RequestSide::Start => {
                self.prepare(down);
                true
            }
            RequestSide::Wait { held, .. } => match held.future.as_mut().poll(cx) {
                Poll::Pending => false,
                Poll::Ready(wake) => {
                    self.wake_request(wake, down);
                    true
                }
            },
            RequestSide::Collect { .. } => self.collect(cx, down),
            RequestSide::Body => self.move_body(cx, down),
            RequestSide::Done => false,
        }
    }

    /// What the connection manager does before any filter sees the head; then the filters do.
    fn prepare<D: Downstream>(&mut self, down: &mut D) {
        self.begin();
        let Self { head, ex, .. } = self;
        let manager = Arc::clone(&ex.manager);
        let config = &manager.config;
        if let Err(reply) = headers::check(head, config) {
            let (worker, http) = (ex.worker.id, &manager.stats.http);
            match &*reply.details {
                "path_normalization_failed" => {
                    http.inc(worker, HttpStat::DownstreamRqFailedPathNormalization);
                    ex.conn.close_after();
                }
                "missing_host_header" => {}
                _ => http.inc(worker, HttpStat::DownstreamRqNonRelativePath),
            }
            self.reply(*reply, down);
            return;
        }
        headers::normalize_host(head, config, &ex.conn);
        let seen = headers::Seen::in_map(&head.headers);
        let local = &ex.worker.shared.local;
        ex.client = headers::sanitize_request(head, config, &ex.conn, local, seen);
        if !ex.client.internal {
            for name in &ex.view.routes.table.config().internal_only_headers {
                head.headers.remove(name);
            }
        }
        let edge = !ex.client.internal && config.client.use_remote_address;
        let origin = if edge { request_id::Origin::Edge } else { request_id::Origin::Inside };
        let worker = Rc::clone(&ex.worker);
        let random = |bytes: &mut [u8]| worker.random(bytes);
        request_id::assign(head, &config.request_id, origin, seen.request_id, random);
        ex.choose_route(head);
        let allowed = self.choose_chain();
        self.limit_age();
        pipeline::routed(&manager, &mut self.ex, &mut self.head, allowed);
        pipeline::chosen(&mut self.ex, &self.head);
        if !allowed {
            self.refuse_upgrade(down);
            return;
        }
        if seen.expect && !config.proxy_100_continue && headers::expects_continue(&self.head) {
            self.head.headers.remove(http::header::EXPECT);
            pipeline::on_informational(&mut self.ex);
            down.push(Outgoing::Informational(ResponseHead::informational(StatusCode::CONTINUE)));
        }
        self.pass_head(0, down);
    }

    /// The route was chosen, which says how old the stream may become.
    fn limit_age(&mut self) {
        self.aged_by = self.ex.route;
        if let Some(limit) = stream_age(&mut self.head, &self.ex) {
            self.deadlines.set_stream(self.ex.times.start, limit);
        }
    }

    /// The filters that the request passes; false where its route allows no such upgrade. Without a
    /// route even a refused upgrade is answered as any other request.
    fn choose_chain(&mut self) -> bool {
        let Self { head, ex, filters, router, .. } = self;
        let chains = &ex.view.chains;
        let (mut chain, mut upgraded, mut allowed) = (chains.usual(), false, true);
        if let Some(wanted) = head.wanted_upgrade() {
            let route = ex.route();
            let forward = route.as_ref().and_then(|route| route.forward());
            let of_route = forward.and_then(|forward| forward.upgrades.allows(wanted));
            let own = chains.pick(wanted, of_route);
            upgraded = own.is_some();
            allowed = upgraded || route.is_none();
            chain = own.unwrap_or(chain);
        }
        router.configure(chain.router());
        if !chain.is_empty() {
            *filters = FilterStack::new(chain);
        }
        if upgraded {
            pipeline::upgraded(ex);
        }
        allowed
    }

    /// An upgrade that nothing allows. What came behind it is not looked at: it may be anything.
    fn refuse_upgrade<D: Downstream>(&mut self, down: &mut D) {
        let stats = &self.ex.manager.stats.http;
        stats.inc(self.ex.worker.id, HttpStat::DownstreamRqWsOnNonWsRoute);
        self.ex.name_cluster(&self.head);
        self.ex.conn.close_after();
        self.reply(LocalReply::rejected(StatusCode::FORBIDDEN, "upgrade_failed"), down);
    }

    /// Shows the head to the filters from `next` on, then starts the router.
    fn pass_head<D: Downstream>(&mut self, next: usize, down: &mut D) {
        for at in next..self.filters.len() {
            let Self { head, ex, filters, .. } = self;
            let Some(filter) = filters.get(at, ex) else { continue };
            let step = filter.on_request(head, ex);
            if !self.take_step(at, step, down) {
                return;
            }
        }
        self.start_router(down);
    }

    /// Goes by what a filter said of the head; whether the next filter's turn comes.
    fn take_step<D: Downstream>(&mut self, at: usize, step: Step, down: &mut D) -> bool {
        match step {
            Step::Continue => true,
            Step::Reply(reply) => {
                // The router, which names it otherwise, will not see this request.
                self.ex.name_cluster(&self.head);
                self.reply(*reply, down);
                false
            }
            Step::Wait(future) => {
                let held = Held { at, future, rest: Parts::new() };
                self.request = RequestSide::Wait { held, then: Resume::Head };
                false
            }
            Step::Collect { limit, over } => {
                if self.head.ends || self.ex.request_ended {
                    return self.show_collected(at, down);
                }
                self.request = RequestSide::Collect { at, limit, over };
                false
            }
        }
    }

    /// The body that the filter at `at` asked for is here; whether the next filter's turn comes.
    fn show_collected<D: Downstream>(&mut self, at: usize, down: &mut D) -> bool {
        let Self { head, ex, filters, collected, .. } = self;
        self.collected_for = at + 1;
        let Some(filter) = filters.get(at, ex) else { return true };
        let step = filter.on_collected(head, collected, ex);
        self.take_step(at, step, down)
    }

    /// Pulls parts for a filter that holds the head; whether anything moved.
    fn collect<D: Downstream>(&mut self, cx: &mut Context<'_>, down: &mut D) -> bool {
        let RequestSide::Collect { at, limit, over } = self.request else { return false };
        let complete = match down.poll_part(cx, PART_BYTES) {
            Poll::Pending => return false,
            Poll::Ready(Err(error)) => {
                self.client_failed(&error, down);
                return true;
            }
            Poll::Ready(Ok(None)) => true,
            Poll::Ready(Ok(Some(BodyPart::Trailers(trailers)))) => {
                self.trailers = Some(trailers);
                true
            }
            Poll::Ready(Ok(Some(BodyPart::Data(data)))) => {
                self.ex.bytes.received += data.len() as u64;
                match self.pass_request(0, at, smallvec![BodyPart::Data(data)]) {
                    Passed::Reply(reply) => {
                        self.reply(*reply, down);
                        return true;
                    }
                    Passed::Held(held) => {
                        self.request = RequestSide::Wait { held, then: Resume::Head };
                        return true;
                    }
                    Passed::Out(parts) => self.keep(parts),
                }
                false
            }
        };
        if complete {
            self.request_ended();
        } else if self.collected.iter().map(Bytes::len).sum::<usize>() <= limit {
            return true;
        } else if over == Over::Reject {
            self.reply(LocalReply::payload_too_large(), down);
            return true;
        }
        if self.show_collected(at, down) {
            self.pass_head(at + 1, down);
        }
        true
    }

    fn keep(&mut self, parts: Parts) {
        for part in parts {
            match part {
                BodyPart::Data(data) => self.collected.push(data),
                BodyPart::Trailers(trailers) => self.trailers = Some(trailers),
            }
        }
    }

    /// Hands the head over, and with it what was collected.
    fn start_router<D: Downstream>(&mut self, down: &mut D) {
        let Self { head, ex, router, .. } = self;
        if let Err(reply) = router.start(head, ex) {
            self.reply(*reply, down);
            return;
        }
        self.deadlines.set_idle(self.router.idle_timeout(&self.ex));
        if self.ex.route != self.aged_by {
            self.limit_age();
        }
        if self.head.wants_websocket() {
            self.deadlines.await_answer(clock::now(), self.router.timeout());
        }
        self.request = RequestSide::Body;
        let collected = std::mem::take(&mut self.collected);
        let mut parts: Parts = collected.into_iter().map(BodyPart::Data).collect();
        parts.extend(self.trailers.take().map(BodyPart::Trailers));
        if !parts.is_empty() {
            let passed = self.pass_request(self.collected_for, self.filters.len(), parts);
            self.push_request(passed, down);
        }
        if self.head.ends || self.ex.request_ended {
            self.request_ended();
            self.end_request(down);
        }
    }

    /// Parts from the client, as long as the upstream takes them; whether anything moved.
    fn move_body<D: Downstream>(&mut self, cx: &mut Context<'_>, down: &mut D) -> bool {
        let mut moved = false;
        while matches!(self.request, RequestSide::Body) {
            if self.router.poll_ready(cx).is_pending() {
                return moved;
            }
            match down.poll_part(cx, PART_BYTES) {
                Poll::Pending => return moved,
                Poll::Ready(Err(error)) => {
                    self.client_failed(&error, down);
                    return true;
                }
                Poll::Ready(Ok(None)) => {
                    self.request_ended();
                    self.end_request(down);
                }
                Poll::Ready(Ok(Some(part))) => {
                    let last = matches!(part, BodyPart::Trailers(_));
                    if let BodyPart::Data(data) = &part {
                        self.ex.bytes.received += data.len() as u64;
                    }
                    let passed = self.pass_request(0, self.filters.len(), smallvec![part]);
                    self.push_request(passed, down);
                    if last {
                        self.request_ended();
                        self.end_request(down);
                    }
                }
            }
            moved = true;
        }
        moved
    }

    /// The client's last byte is here: the route's timeout begins. The end of a tunnel's side is
    /// none of a request.
    fn request_ended(&mut self) {
        if self.head.asks_for_tunnel() {
            if self.tunnel == Tunnel::Open {
                self.tunnel = Tunnel::EndedBy(TunnelSide::Client);
                self.deadlines.half_open();
            }
            return;
        }
        let now = clock::now();
        self.ex.request_ended = true;
        self.ex.times.request_end = Some(now);
        self.deadlines.request_ended(now, self.router.timeout());
    }

    /// Tells filters and router that the request is complete.
    fn end_request<D: Downstream>(&mut self, down: &mut D) {
        if !matches!(self.request, RequestSide::Body) {
            return;
        }
        for at in 0..self.filters.len() {
            if !self.filters.interest(at).request_body {
                continue;
            }
            let Self { ex, filters, .. } = self;
            let Some(filter) = filters.get(at, ex) else { continue };
            let passed = match filter.on_request_end(ex) {
                PartStep::Pass(parts) if parts.is_empty() => continue,
                PartStep::Pass(parts) => self.pass_request(at + 1, self.filters.len(), parts),
                PartStep::Reply(reply) => Passed::Reply(reply),
                PartStep::Wait(future) => Passed::Held(Held { at, future, rest: Parts::new() }),
            };
            self.push_request(passed, down);
            if !matches!(self.request, RequestSide::Body) {
                return;
            }
        }
        self.router.end(&mut self.ex);
        self.request = RequestSide::Done;
    }

    /// Parts through the filters from `from` up to before `to`.
    pub(super) fn pass_request(&mut self, from: usize, to: usize, mut parts: Parts) -> Passed {
        for at in from..to {
            if !self.filters.interest(at).request_body {
                continue;
            }
            let Self { ex, filters, .. } = self;
            let Some(filter) = filters.get(at, ex) else { continue };
            let mut out = Parts::new();
            let mut coming = parts.into_iter();
            while let Some(part) = coming.next() {
                match filter.on_request_part(part, ex) {
                    PartStep::Pass(passed) => out.extend(passed),
                    PartStep::Reply(reply) => return Passed::Reply(reply),
                    PartStep::Wait(future) => {
                        out.extend(coming);
                        return Passed::Held(Held { at, future, rest: out });
                    }
                }
            }
            parts = out;
        }
        Passed::Out(parts)
    }

    /// Gives parts to the router, or goes by what a filter said instead.
    pub(super) fn push_request<D: Downstream>(&mut self, passed: Passed, down: &mut D) {
        match passed {
            Passed::Out(parts) => {
                for part in parts {
                    self.router.push(part);
                }
            }
            Passed::Reply(reply) => self.abort_or_reply(*reply, down),
            Passed::Held(held) => {
                self.request = RequestSide::Wait { held, then: Resume::Body };
            }
        }
    }

    /// What a filter waited for has come.
    fn wake_request<D: Downstream>(&mut self, wake: crate::http::filter::Wake, down: &mut D) {
        let waited = std::mem::replace(&mut self.request, RequestSide::Done);
        let RequestSide::Wait { held, then } = waited else { return };
        let Self { head, ex, filters, .. } = self;
        let mut step = match filters.get(held.at, ex) {
            None => Step::Continue,
            Some(filter) => filter.on_wake(wake, head, ex),
        };
        if let (Step::Wait(future), Resume::Body) = (&mut step, then) {
            // It waits on, with the part: what comes after it stays behind it.
            let future = std::mem::replace(future, Box::pin(std::future::pending()));
            self.request = RequestSide::Wait { held: Held { future, ..held }, then };
            return;
        }
        if !self.take_step(held.at, step, down) {
            return;
        }
        match then {
            Resume::Head => self.pass_head(held.at + 1, down),
            Resume::Body => {
                self.request = RequestSide::Body;
                let passed = self.pass_request(held.at + 1, self.filters.len(), held.rest);
                self.push_request(passed, down);
                if self.ex.request_ended {
                    self.end_request(down);
                }
            }
        }
    }

    /// The client's message broke: gone, reset, or against the protocol.
    fn client_failed<D: Downstream>(&mut self, error: &BodyError, down: &mut D) {
        match error {
            BodyError::Protocol(rule) => self.abort_or_reply(LocalReply::protocol(*rule), down),
            BodyError::Closed | BodyError::Reset(_) => self.client_gone(error),
        }
    }
}
