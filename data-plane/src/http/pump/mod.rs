//! Moves one request: parts through the filters both ways, with back-pressure, inside Recovery.
//!
//! A [`RequestTask`] is a state machine that the request's own task polls. Each round looks at the
//! deadlines, moves the request's side ([`request`]) and then the response's side ([`response`])
//! until nothing moves any more, so that neither waits for the other. The halves of the client's
//! connection stay outside the guard that catches panics, or nobody could write the 500.
//!
//! Who answers first wins: once a head went to the client, whatever fails later resets the stream.

mod deadlines;
mod request;
mod response;
mod spare;

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::base::clock;
use crate::codec::{BodyError, BodyPart, Downstream, Outgoing, RequestHead, ResetCode, Version};
use crate::http::chain::FilterStack;
use crate::http::exchange::Exchange;
use crate::http::filter::{Over, Parts, WaitFuture};
use crate::http::pipeline::{self, recovery};
use crate::http::reply::{LocalReply, ReplyFor};
use crate::http::router::{Router, TunnelEnd};
use crate::http::timer::Timer;
use crate::route::RouteChoice;
use crate::telemetry::flags::ResponseFlags;
use crate::telemetry::metrics::ErrorType;

pub use deadlines::{Deadlines, Expired};
pub use spare::{BoxedTask, SpareTasks};

/// A stream that was given up sooner was given up early.
const EARLY: Duration = Duration::from_secs(1);

/// Bytes pulled from a side at once.
pub const PART_BYTES: usize = 64 * 1024;

/// Where a filter asked to wait, and how it goes on from there.
struct Held {
    /// Place of the filter.
    at: usize,
    future: WaitFuture,
    /// Parts that come after it, once it goes on.
    rest: Parts,
}

/// How far the request's side has come.
#[expect(clippy::large_enum_variant, reason = "one a request, inside its one allocation")]
enum RequestSide {
    /// Nothing has looked at the head yet.
    Start,
    /// A filter holds the head until the body is here.
    Collect { at: usize, limit: usize, over: Over },
    /// Parts flow to the upstream.
    Body,
    /// A filter waits, with its head or with a part.
    Wait { held: Held, then: Resume },
    /// Everything has passed, or nothing more is wanted.
    Done,
}

/// What a waiting filter goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resume {
    /// The next filter sees the head.
    Head,
    /// Parts go on.
    Body,
}

/// How far the response's side has come.
enum ResponseSide {
    /// Nothing has come.
    Waiting,
    /// A filter holds the head.
    HeldHead { held: Held, head: crate::codec::ResponseHead, body: ResponseBody },
    /// The head is out; parts flow.
    Body { body: ResponseBody },
    /// A filter holds a part.
    HeldBody { held: Held, body: ResponseBody },
    /// Everything was pushed; it is to be flushed.
    Flush,
}

/// What became of a tunnel that was asked for (101, or 2xx to CONNECT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tunnel {
    /// None is there.
    No,
    /// Both sides may speak.
    Open,
    /// That side ended first; the other may go on.
    EndedBy(TunnelSide),
}

/// A side of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelSide {
    /// Who asked for it.
    Client,
    /// Who agreed.
    Upstream,
}

/// Where the body of a response comes from.
enum ResponseBody {
    /// A reply of our own.
    Local(Option<Bytes>),
    /// The upstream.
    Upstream,
}

/// One request on its way.
pub struct RequestTask {
    head: Box<RequestHead>,
    ex: Exchange,
    filters: FilterStack,
    router: Router,
    request: RequestSide,
    response: ResponseSide,
    /// What a collecting filter holds back, and the first filter that has not seen it.
    collected: Vec<Bytes>,
    trailers: Option<http::HeaderMap>,
    collected_for: usize,
    deadlines: Deadlines,
    reply_for: ReplyFor,
    mode: Mode,
    /// The route by which the stream's age is limited.
    aged_by: Option<RouteChoice>,
    tunnel: Tunnel,
    /// The layers have seen the request, so they are told its end too.
    begun: bool,
}

/// Whether the machine still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// It does.
    Running,
    /// Only what was pushed is still to be flushed.
    Flushing,
    /// It is over and recorded.
    Over,
}

impl RequestTask {
    /// A request whose head has arrived.
    #[inline(always)]
    fn new(head: Box<RequestHead>, ex: Exchange) -> Self {
        let manager = &ex.manager.config;
        let deadlines = Deadlines::new(
            ex.times.start,
            manager.timeouts.stream_idle,
            manager.timeouts.request.filter(|_| !head.ends),
            manager.common.max_stream_duration,
        );
        Self {
            reply_for: ReplyFor::of(&head),
            head,
            filters: FilterStack::new(ex.no_chain()),
            ex,
            router: Router::default(),
            request: RequestSide::Start,
            response: ResponseSide::Waiting,
            collected: Vec::new(),
            trailers: None,
            collected_for: 0,
            deadlines,
            mode: Mode::Running,
            aged_by: None,
            tunnel: Tunnel::No,
            begun: false,
        }
    }

    /// Ready when the request is over: answered and flushed, or given up.
    pub fn poll<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut D,
        timer: &mut Timer,
    ) -> Poll<()> {
        match self.mode {
            Mode::Over => return Poll::Ready(()),
            Mode::Running => match recovery::guard(|| self.advance(cx, down, timer)) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => {}
                Err(panic) => self.recover_or_reset(&panic, down),
            },
            Mode::Flushing => {}
        }
        if self.mode == Mode::Flushing {
            // The client may take its time with the last bytes; the idle deadline still holds.
            while down.poll_flush(cx).is_pending() {
                if timer.poll(cx, self.deadlines.next()).is_pending() {
                    return Poll::Pending;
                }
                if self.deadlines.take_expired(clock::now()).is_some() {
                    break;
                }
            }
        }
        self.finish();
        Poll::Ready(())
    }

    /// Its message broke off in the middle.
    pub fn broken(&mut self) {
        self.ex.request_ended = false;
    }

    /// Whether its client gave it up within Envoy's
    /// `overload.premature_reset_min_stream_lifetime_seconds`, before a head was sent.
    #[must_use]
    pub fn given_up_early(&self) -> bool {
        let lived = clock::now().saturating_duration_since(self.ex.times.start);
        !self.ex.response.sent && lived <= EARLY
    }

    /// Answers the request at once: what the connection manager itself refuses.
    pub fn refuse<D: Downstream>(&mut self, reply: LocalReply, down: &mut D) {
        let refused = recovery::guard(|| {
            self.begin();
            self.reply(reply, down);
        });
        if let Err(panic) = refused {
            self.recover_or_reset(&panic, down);
        }
    }

    fn advance<D: Downstream>(
        &mut self,
        cx: &mut Context<'_>,
        down: &mut D,
        timer: &mut Timer,
    ) -> Poll<()> {
        loop {
            let asked = self.move_request(cx, down);
            self.router.flush(cx);
            let answered = self.move_response(cx, down) | self.move_emitted(cx, down);
            if matches!(self.response, ResponseSide::Flush) {
                match down.poll_flush(cx) {
                    Poll::Ready(Ok(())) if self.client_goes_on(cx) => {}
                    Poll::Ready(Ok(())) => return Poll::Ready(()),
                    Poll::Ready(Err(error)) => {
                        // What was broken off by ourselves cannot be flushed and need not be; a
                        // complete response is the client's, whatever becomes of its connection.
                        if self.mode == Mode::Running && !self.ex.response.complete {
                            self.client_gone(&error);
                        }
                        return Poll::Ready(());
                    }
                    Poll::Pending => {}
                }
            } else if let Poll::Ready(Err(error)) = self.flush_early(cx, down) {
                self.client_gone(&error);
                return Poll::Ready(());
            }
            if asked || answered {
                self.deadlines.touch(clock::now());
            }
            // All that comes after the request has had its turn: where the request is complete and
            // nothing else moved, another round would find nothing.
            if answered || asked && !matches!(self.request, RequestSide::Done) {
                continue;
            }
            // Only now, when there is nothing else to do: a client that leaves right after its
            // request is seen once the request is on its way, and a look costs as much as a read.
            if !matches!(self.response, ResponseSide::Flush)
                && let Poll::Ready(error) = down.poll_closed(cx)
            {
                self.client_gone(&error);
                return Poll::Ready(());
            }
            let next = [self.deadlines.next(), self.router.too_old_at()];
            if timer.poll(cx, next.into_iter().flatten().min()).is_pending() {
                return Poll::Pending;
            }
            let now = clock::now();
            if let Some(expired) = self.deadlines.take_expired(now) {
                self.expire(expired, down);
            } else if let Some(reply) = self.router.end_too_old(now, &mut self.ex) {
                self.abort_or_reply(*reply, down);
            }
            if self.mode == Mode::Flushing {
                return Poll::Ready(());
            }
        }
    }

    /// Whether the client may still speak to an upstream that said all it will: half of a tunnel.
    fn client_goes_on(&mut self, cx: &mut Context<'_>) -> bool {
        self.tunnel != Tunnel::No
            && self.mode == Mode::Running
            && self.router.poll_half_open(cx, &self.ex).is_pending()
    }

    /// The layers see the request, once.
    fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            pipeline::on_request(&mut self.ex, &mut self.head);
        }
    }

    /// What goes out before the response does, or while a filter holds it back: `100 Continue`
    /// above all. A body that flows is flushed where it is moved.
    fn flush_early<D: Downstream>(
        &self,
        cx: &mut Context<'_>,
        down: &mut D,
    ) -> Poll<Result<(), BodyError>> {
        match self.response {
            ResponseSide::Body { .. } | ResponseSide::Flush => Poll::Pending,
            ResponseSide::Waiting
            | ResponseSide::HeldHead { .. }
            | ResponseSide::HeldBody { .. } => down.poll_flush(cx),
        }
    }

    /// A deadline passed.
    fn expire<D: Downstream>(&mut self, expired: Expired, down: &mut D) {
        pipeline::expired(&mut self.ex, expired);
        if expired == Expired::Route {
            self.router.timed_out(&mut self.ex);
        }
        self.abort_or_reply(expired.reply(self.ex.request_ended), down);
    }

    /// Answers, or resets where a head has been sent.
    fn abort_or_reply<D: Downstream>(&mut self, reply: LocalReply, down: &mut D) {
        if matches!(self.response, ResponseSide::Waiting | ResponseSide::HeldHead { .. }) {
            self.reply(reply, down);
        } else {
            self.ex.flags.insert(reply.flags);
            self.ex.details = reply.details;
            self.ex.error_type = self.ex.error_type.or(reply.error_type);
            self.reset(ResetCode::Internal, down);
        }
    }

    /// Breaks the response off.
    fn reset<D: Downstream>(&mut self, code: ResetCode, down: &mut D) {
        self.router.cancel(&mut self.ex);
        self.request = RequestSide::Done;
        self.response = ResponseSide::Flush;
        self.mode = Mode::Flushing;
        pipeline::reset(&mut self.ex);
        down.push(Outgoing::Reset(code));
    }

    /// The client went away or reset its stream.
    fn client_gone(&mut self, error: &BodyError) {
        self.router.cancel(&mut self.ex);
        self.request = RequestSide::Done;
        self.response = ResponseSide::Flush;
        self.mode = Mode::Flushing;
        if self.tunnel == Tunnel::EndedBy(TunnelSide::Upstream) {
            return;
        }
        // As Envoy: a stream that ends alone is told from one that ends with its connection.
        self.ex.flags.insert(match error {
            BodyError::Reset(ResetCode::Protocol) => ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR,
            BodyError::Reset(_) => ResponseFlags::DOWNSTREAM_REMOTE_RESET,
            BodyError::Closed | BodyError::Protocol(_) => {
                ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION
            }
        });
        self.ex.error_type = self.ex.error_type.or(Some(ErrorType::Downstream));
        self.ex.details = match error {
            BodyError::Reset(_) => "http2.remote_reset".into(),
            BodyError::Closed | BodyError::Protocol(_) => "downstream_remote_disconnect".into(),
        };
        pipeline::client_gone(&mut self.ex);
    }

    /// Should the layers themselves be what panics, no 500 can be made: the stream is reset.
    fn recover_or_reset<D: Downstream>(&mut self, panic: &recovery::Caught, down: &mut D) {
        if recovery::guard(|| self.recover(panic, down)).is_err() {
            self.mode = Mode::Flushing;
            self.response = ResponseSide::Flush;
            down.push(Outgoing::Reset(ResetCode::Internal));
        }
    }

    /// A panic was caught: 500 where no head has been sent, else a reset. Nothing of the request's
    /// own is called again.
    fn recover<D: Downstream>(&mut self, panic: &recovery::Caught, down: &mut D) {
        pipeline::panicked(&mut self.ex, &self.head, panic);
        self.mode = Mode::Flushing;
        self.request = RequestSide::Done;
        // The filters may be what is broken: they go, and a second panic in their drop is caught.
        let filters = std::mem::replace(&mut self.filters, FilterStack::new(self.ex.no_chain()));
        let router = std::mem::take(&mut self.router);
        let _second = recovery::guard(|| drop((filters, router)));
        if self.ex.response.sent {
            down.push(Outgoing::Reset(ResetCode::Internal));
        } else {
            let reply = LocalReply::panic();
            self.ex.details = reply.details.clone();
            let (head, body) = reply.into_response(self.reply_for);
            let ends = head.ends;
            self.push_head(head, down);
            if !ends {
                self.ex.bytes.sent += body.len() as u64;
                down.push(Outgoing::Part(BodyPart::Data(body)));
                down.push(Outgoing::End);
            }
        }
        self.response = ResponseSide::Flush;
    }

    /// The last step of every response head, ours or the upstream's.
    fn push_head<D: Downstream>(&mut self, mut head: crate::codec::ResponseHead, down: &mut D) {
        pipeline::on_response(&mut self.ex, &self.head, &mut head);
        self.ex.response.record(&head);
        if self.ex.conn.closes_after() {
            down.set_close();
        }
        down.push(Outgoing::Head(head));
    }

    /// Who ended a tunnel first, where that side has no other way than to disconnect.
    fn tunnel_over(&mut self) {
        let Tunnel::EndedBy(first) = self.tunnel else { return };
        let disconnected = match first {
            TunnelSide::Client => self.ex.protocol < Version::Http2,
            TunnelSide::Upstream => self.router.tunnel_end() == Some(TunnelEnd::Disconnect),
        };
        if disconnected && self.ex.flags.is_empty() {
            pipeline::tunnel_ended(&mut self.ex, first);
        }
    }

    /// Records the request exactly once.
    fn finish(&mut self) {
        if self.mode == Mode::Over {
            return;
        }
        self.mode = Mode::Over;
        let _begun = recovery::guard(|| self.begin());
        self.tunnel_over();
        let Self { head, ex, filters, router, .. } = self;
        if let Err(panic) = recovery::guard(|| router.cancel(ex)) {
            let _logged = recovery::guard(|| pipeline::panicked(ex, head, &panic));
        }
        for filter in filters.made() {
            // Each by itself: one that panics keeps no other from its end.
            if let Err(panic) = recovery::guard(|| filter.on_done(ex)) {
                let _logged = recovery::guard(|| pipeline::panicked(ex, head, &panic));
            }
        }
        if let Err(panic) = recovery::guard(|| pipeline::finish(ex, head)) {
            let _logged = recovery::guard(|| pipeline::panicked(ex, head, &panic));
        }
    }
}

/// A task dropped in the middle (its connection ended) still leaves its record. The memory of its
/// header map serves the next head of the worker.
impl Drop for RequestTask {
    fn drop(&mut self) {
        if self.mode != Mode::Over {
            if !self.ex.response.complete {
                self.client_gone(&BodyError::Closed);
            }
            self.finish();
        }
        let headers = std::mem::take(&mut self.head.headers);
        self.ex.worker.buffers.heads.give_map(headers);
    }
}
