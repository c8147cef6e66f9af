//! The response's side: a head and parts, the upstream's or our own, back through the filters.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use smallvec::smallvec;

use super::request::Passed;
use super::{Held, Mode, RequestSide, RequestTask, ResponseBody, ResponseSide, Tunnel, TunnelSide};
use crate::base::clock;
use crate::codec::{BodyPart, Downstream, Outgoing, ResetCode, ResponseHead};
use crate::http::error::{ProxyError, ResponseStage};
use crate::http::filter::{Emit, PartStep, Parts, ResponseStep, Wake};
use crate::http::names as n;
use crate::http::pipeline;
use crate::http::reply::{LocalReply, ReplyFor, Shape};
use crate::http::router::UpstreamEvent;
use crate::route::mutation;

impl RequestTask {
    /// Moves the response's side as far as it goes; whether anything moved.
    pub(super) fn move_response<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut D,
    ) -> bool {
        if self.mode != Mode::Running {
            return false;
        }
        match &mut self.response {
            ResponseSide::Waiting => self.await_head(cx, down),
            ResponseSide::HeldHead { held, .. } | ResponseSide::HeldBody { held, .. } => {
                match held.future.as_mut().poll(cx) {
                    Poll::Pending => false,
                    Poll::Ready(wake) => {
                        self.wake_response(wake, down);
                        true
                    }
                }
            }
            ResponseSide::Body { .. } => self.move_response_body(cx, down),
            ResponseSide::Flush => false,
        }
    }

    /// Looks for the upstream's head.
    fn await_head<D: Downstream>(&mut self, cx: &mut Context<'_>, down: &mut D) -> bool {
        let Self { router, ex, head, .. } = self;
        match router.poll_event(cx, head, ex) {
            Poll::Pending => false,
            Poll::Ready(UpstreamEvent::Informational(head)) => {
                // Envoy lets 1xx through only where it is told to leave 100 to the upstream.
                if self.ex.manager.config.proxy_100_continue {
                    self.informational(head, down);
                }
                true
            }
            Poll::Ready(UpstreamEvent::Head(head)) => {
                self.pass_response_head(self.filters.len(), head, ResponseBody::Upstream, down);
                // A small body came with it.
                self.move_response_body(cx, down);
                true
            }
            Poll::Ready(UpstreamEvent::Reply(reply)) => {
                self.reply(*reply, down);
                true
            }
            Poll::Ready(UpstreamEvent::Part(_) | UpstreamEvent::End) => {
                // The router sends a head first; if it does not, the upstream broke the protocol.
                self.reply(LocalReply::response_too_large(), down);
                true
            }
            Poll::Ready(UpstreamEvent::Failed(error)) => {
                self.upstream_failed(&error, down);
                true
            }
        }
    }

    fn informational<D: Downstream>(&mut self, mut head: ResponseHead, down: &mut D) {
        let Self { filters, ex, .. } = self;
        for at in (0..filters.len()).rev() {
            if let Some(filter) = filters.get(at, ex) {
                filter.on_informational(&mut head, ex);
            }
        }
        pipeline::on_informational(&mut self.ex);
        down.push(Outgoing::Informational(head));
    }

    /// The upstream failed: an answer of our own, or a reset where a head has been sent.
    fn upstream_failed<D: Downstream>(&mut self, error: &ProxyError, down: &mut D) {
        let transport = error.transport.as_ref();
        self.ex.upstream.failure = transport.map(|text| text.replace(' ', "_").into());
        if self.tunnel == Tunnel::EndedBy(TunnelSide::Client) {
            // The client disconnected, as far as Envoy's words go; what became of the rest is lost.
            self.reset(ResetCode::Internal, down);
        } else if self.ex.response.sent {
            self.ex.flags.insert(error.kind.flag());
            self.ex.details = error.details(ResponseStage::AfterHead).into();
            self.ex.error_type = Some(error.kind.error_type());
            self.reset(ResetCode::Internal, down);
        } else {
            let mut reply = LocalReply::upstream_failed(error, self.ex.upstream.attempts);
            if self.router.suppresses_envoy_headers() {
                reply.headers.retain(|(name, _)| *name != n::X_ENVOY_OVERLOADED);
            }
            self.reply(reply, down);
        }
    }

    /// An answer of our own: forward motion stops, and it passes the response side of all filters.
    pub(super) fn reply<D: Downstream>(&mut self, mut reply: LocalReply, down: &mut D) {
        self.router.cancel(&mut self.ex);
        self.request = RequestSide::Done;
        self.deadlines.replied();
        self.ex.flags.insert(reply.flags);
        self.ex.details = reply.details.clone();
        self.ex.error_type = self.ex.error_type.or(reply.error_type);
        self.ex.response.local = true;
        let late = std::mem::take(&mut reply.late_headers);
        let (mut head, body) = match reply.shape {
            Shape::AsIs => reply.into_response(ReplyFor::Plain),
            Shape::Local => {
                let manager = &self.ex.manager;
                let (mut head, body) =
                    manager.shape_reply(reply, self.reply_for, &self.head, &self.ex);
                self.router.finish_reply(&mut head, &self.head, &self.ex);
                (head, body)
            }
        };
        // What a gRPC client goes by is not a filter's to change.
        let grpc = self.reply_for == ReplyFor::Grpc;
        for (name, value, action) in late.into_iter().filter(|l| !grpc || l.0 != CONTENT_TYPE) {
            mutation::put(&mut head.headers, &name, value, action, mutation::Side::Response);
        }
        let body = ResponseBody::Local(Some(body).filter(|b| !b.is_empty()));
        self.pass_response_head(self.filters.len(), head, body, down);
    }

    /// Shows the head to the filters below `next`, the last first, and sends it.
    fn pass_response_head<D: Downstream>(
        &mut self,
        next: usize,
        mut head: ResponseHead,
        body: ResponseBody,
        down: &mut D,
    ) {
        for at in (0..next).rev() {
            let Self { ex, filters, .. } = self;
            let Some(filter) = filters.get(at, ex) else { continue };
            match filter.on_response(&mut head, ex) {
                ResponseStep::Continue => {}
                ResponseStep::Reply(reply) => {
                    // As in Envoy a reply of the response side replaces the response and passes
                    // the filters that are left.
                    self.router.cancel(&mut self.ex);
                    self.ex.flags.insert(reply.flags);
                    self.ex.details = reply.details.clone();
                    let (replaced, text) = reply.into_response(self.reply_for);
                    let text = ResponseBody::Local(Some(text).filter(|t| !t.is_empty()));
                    return self.pass_response_head(at, replaced, text, down);
                }
                ResponseStep::Wait(future) => {
                    let held = Held { at, future, rest: Parts::new() };
                    self.response = ResponseSide::HeldHead { held, head, body };
                    return;
                }
            }
        }
        self.send_head(head, body, down);
    }

    fn send_head<D: Downstream>(&mut self, head: ResponseHead, body: ResponseBody, down: &mut D) {
        self.ex.times.response_head = Some(clock::now());
        self.deadlines.response_started();
        if matches!(body, ResponseBody::Upstream) && self.head.tunnels(head.status) {
            self.tunnel = Tunnel::Open;
            self.deadlines.tunnelled();
        }
        let ends = head.ends;
        self.push_head(head, down);
        if self.tunnel == Tunnel::Open {
            pipeline::tunnelled(&self.ex, &self.head);
        }
        if ends {
            self.response = ResponseSide::Body { body };
            self.end_response(down, SendEnd::No);
        } else {
            self.response = ResponseSide::Body { body };
        }
    }

    /// Parts towards the client, as long as it takes them; whether anything moved.
    fn move_response_body<D: Downstream>(&mut self, cx: &mut Context<'_>, down: &mut D) -> bool {
        let mut moved = false;
        while let ResponseSide::Body { body } = &mut self.response {
            match down.poll_ready(cx) {
                Poll::Pending => return moved,
                Poll::Ready(Err(error)) => {
                    self.client_gone(&error);
                    return true;
                }
                Poll::Ready(Ok(())) => {}
            }
            let event = match body {
                ResponseBody::Local(rest) => match rest.take() {
                    Some(data) => UpstreamEvent::Part(BodyPart::Data(data)),
                    None => UpstreamEvent::End,
                },
                ResponseBody::Upstream => {
                    let Self { router, ex, head, .. } = self;
                    match router.poll_event(cx, head, ex) {
                        Poll::Pending => {
                            // What is there goes out while we wait for more.
                            return match down.poll_flush(cx) {
                                Poll::Ready(Err(error)) => {
                                    self.client_gone(&error);
                                    true
                                }
                                Poll::Ready(Ok(())) | Poll::Pending => moved,
                            };
                        }
                        Poll::Ready(event) => event,
                    }
                }
            };
            moved = true;
            self.take_body_event(event, down);
        }
        moved
    }

    fn take_body_event<D: Downstream>(&mut self, event: UpstreamEvent, down: &mut D) {
        match event {
            UpstreamEvent::Part(part) => {
                let last = matches!(part, BodyPart::Trailers(_));
                let passed = self.pass_response(self.filters.len(), smallvec![part]);
                self.push_response(passed, down);
                if last {
                    self.end_response(down, SendEnd::No);
                }
            }
            UpstreamEvent::End => {
                if self.tunnel == Tunnel::Open {
                    self.tunnel = Tunnel::EndedBy(TunnelSide::Upstream);
                }
                self.end_response(down, SendEnd::Yes);
            }
            UpstreamEvent::Failed(error) => self.upstream_failed(&error, down),
            UpstreamEvent::Reply(reply) => self.abort_or_reply(*reply, down),
            // A second head cannot come out of the codec.
            UpstreamEvent::Head(_) | UpstreamEvent::Informational(_) => {
                self.reset(ResetCode::Internal, down);
            }
        }
    }

    /// Parts through the filters below `next`, the last first.
    fn pass_response(&mut self, next: usize, mut parts: Parts) -> Passed {
        for at in (0..next).rev() {
            if !self.filters.interest(at).response_body {
                continue;
            }
            let Self { ex, filters, .. } = self;
            let Some(filter) = filters.get(at, ex) else { continue };
            let mut out = Parts::new();
            let mut coming = parts.into_iter();
            while let Some(part) = coming.next() {
                match filter.on_response_part(part, ex) {
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

    fn push_response<D: Downstream>(&mut self, passed: Passed, down: &mut D) {
        match passed {
            Passed::Out(parts) => {
                for part in parts {
                    match &part {
                        BodyPart::Data(data) => self.ex.bytes.sent += data.len() as u64,
                        BodyPart::Trailers(trailers) => self.ex.response.record_trailers(trailers),
                    }
                    down.push(Outgoing::Part(part));
                }
            }
            Passed::Reply(reply) => self.abort_or_reply(*reply, down),
            Passed::Held(held) => {
                let now = std::mem::replace(&mut self.response, ResponseSide::Flush);
                let (ResponseSide::Body { body } | ResponseSide::HeldBody { body, .. }) = now
                else {
                    return;
                };
                self.response = ResponseSide::HeldBody { held, body };
            }
        }
    }

    /// The response is complete.
    fn end_response<D: Downstream>(&mut self, down: &mut D, send: SendEnd) {
        for at in (0..self.filters.len()).rev() {
            if !self.filters.interest(at).response_body {
                continue;
            }
            let Self { ex, filters, .. } = self;
            let Some(filter) = filters.get(at, ex) else { continue };
            let passed = match filter.on_response_end(ex) {
                PartStep::Pass(parts) if parts.is_empty() => continue,
                PartStep::Pass(parts) => self.pass_response(at, parts),
                PartStep::Reply(reply) => Passed::Reply(reply),
                PartStep::Wait(future) => Passed::Held(Held { at, future, rest: Parts::new() }),
            };
            self.push_response(passed, down);
            if !matches!(self.response, ResponseSide::Body { .. }) {
                return;
            }
        }
        if send == SendEnd::Yes {
            down.push(Outgoing::End);
        }
        self.ex.response.complete = true;
        self.response = ResponseSide::Flush;
    }

    /// What a filter of the response's side waited for has come.
    fn wake_response<D: Downstream>(&mut self, wake: Wake, down: &mut D) {
        let waited = std::mem::replace(&mut self.response, ResponseSide::Flush);
        let (held, rest) = match waited {
            ResponseSide::HeldHead { held, head, body } => {
                let at = held.at;
                (held, Rest::Head { at, head, body })
            }
            ResponseSide::HeldBody { held, body } => (held, Rest::Body { body }),
            other => {
                self.response = other;
                return;
            }
        };
        let Self { ex, filters, .. } = self;
        let step = match filters.get(held.at, ex) {
            None => ResponseStep::Continue,
            Some(filter) => filter.on_response_wake(wake, ex),
        };
        match (step, rest) {
            (ResponseStep::Reply(reply), Rest::Head { at, .. }) => {
                self.ex.flags.insert(reply.flags);
                let (head, text) = reply.into_response(self.reply_for);
                let text: Bytes = text;
                let text = ResponseBody::Local(Some(text).filter(|t| !t.is_empty()));
                self.pass_response_head(at, head, text, down);
            }
            (ResponseStep::Reply(reply), Rest::Body { body }) => {
                self.response = ResponseSide::Body { body };
                self.abort_or_reply(*reply, down);
            }
            (ResponseStep::Wait(future), Rest::Head { at, head, body }) => {
                let held = Held { at, future, rest: held.rest };
                self.response = ResponseSide::HeldHead { held, head, body };
            }
            (ResponseStep::Wait(future), Rest::Body { body }) => {
                let held = Held { at: held.at, future, rest: held.rest };
                self.response = ResponseSide::HeldBody { held, body };
            }
            (ResponseStep::Continue, Rest::Head { at, head, body }) => {
                self.pass_response_head(at, head, body, down);
            }
            (ResponseStep::Continue, Rest::Body { body }) => {
                self.response = ResponseSide::Body { body };
                let passed = self.pass_response(held.at, held.rest);
                self.push_response(passed, down);
            }
        }
    }

    /// What filters send of their own accord; whether anything moved.
    pub(super) fn move_emitted<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut D,
    ) -> bool {
        let mut moved = false;
        for at in 0..self.filters.len() {
            if !self.filters.interest(at).emits {
                continue;
            }
            let Self { ex, filters, .. } = self;
            let Some(filter) = filters.get(at, ex) else { continue };
            let Poll::Ready(emitted) = filter.poll_emit(cx, ex) else { continue };
            moved = true;
            match emitted {
                Emit::Request(parts) => {
                    let passed = self.pass_request(at + 1, self.filters.len(), parts);
                    self.push_request(passed, down);
                }
                Emit::Response(parts) => {
                    let passed = self.pass_response(at, parts);
                    self.push_response(passed, down);
                }
                Emit::Reply(reply) => self.abort_or_reply(*reply, down),
            }
        }
        moved
    }
}

/// What a woken filter of the response's side goes on with.
enum Rest {
    Head { at: usize, head: ResponseHead, body: ResponseBody },
    Body { body: ResponseBody },
}

/// Whether the end of the body has yet to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SendEnd {
    /// The head or the trailers said it.
    No,
    /// It has.
    Yes,
}
