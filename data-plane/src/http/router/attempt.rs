//! One try at one host: lease, send, receive; its outcome is told once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;

use super::stream::{Cancelled, Stream};
use crate::base::clock::{self, Instant};
use crate::cluster::outlier::Report;
use crate::cluster::pool::{LeaseError, Leasing, Payload};
use crate::cluster::{Answered, Cluster, Host, LimitKind};
use crate::codec::{BodyError, BodyPart, Outgoing, RequestHead, ResponseEvent, ResponseHead};
use crate::http::error::{ErrorKind, ProxyError, Sent};
use crate::http::exchange::Exchange;
use crate::http::pump::PART_BYTES;
use crate::http::reply::ReplyFor;
use crate::http::span;
use crate::telemetry::stats::{ClusterStat, RouteStat};

/// What an attempt came to, step by step.
#[derive(Debug)]
pub(super) enum Outcome {
    End,
    Failed(ProxyError),
    Head(ResponseHead),
    Informational(ResponseHead),
    Part(BodyPart),
}

/// How a side of a tunnel ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelEnd {
    /// With its HTTP/1 connection: Envoy knows no half-closed one and logs a disconnect.
    Disconnect,
    /// With the end of a message, or of plain TCP.
    Message,
}

enum Phase {
    /// A connection is awaited; what the client sends meanwhile is kept.
    Leasing(Leasing, Early),
    /// The head was sent, the answer's is awaited.
    Waiting(Stream),
    /// The answer's body comes.
    Answer(Stream),
    /// The upstream's side of a tunnel ended; the client's goes on.
    HalfOpen(Stream),
    /// Nothing is held any more.
    Over,
}

/// What came from the client before there was a connection.
#[derive(Default)]
struct Early {
    parts: Vec<BodyPart>,
    bytes: usize,
    ended: bool,
}

/// One try at one host.
pub(super) struct Attempt {
    cluster: Arc<Cluster>,
    host: Arc<Host>,
    phase: Phase,
    sent: Sent,
    /// Status of the answer, once its head is here.
    status: Option<u16>,
    /// What the connection carries.
    payload: Payload,
    /// The answer made a tunnel of it.
    tunnel: bool,
    /// Nothing more comes from the client.
    request_over: bool,
    /// The limit on requests that wait was reached.
    overflowed_pending: bool,
    /// How old it may become.
    max_age: Option<Duration>,
    /// When it is that old: once it has its connection.
    too_old_at: Option<Instant>,
}

impl Attempt {
    /// Asks for a connection.
    pub(super) fn begin(
        cluster: Arc<Cluster>,
        host: Arc<Host>,
        leasing: Leasing,
        payload: Payload,
        max_age: Option<Duration>,
    ) -> Self {
        Self {
            cluster,
            host,
            phase: Phase::Leasing(leasing, Early::default()),
            sent: Sent::Nothing,
            status: None,
            payload,
            tunnel: false,
            request_over: false,
            overflowed_pending: false,
            max_age,
            too_old_at: None,
        }
    }

    /// Ready when a part may be pushed. While a connection is awaited a little is kept, so that a
    /// small request is complete whatever becomes of the attempt; the rest stays with the client.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.phase {
            Phase::Waiting(stream) | Phase::Answer(stream) | Phase::HalfOpen(stream) => {
                match ready!(stream.poll_ready(cx)) {
                    Ok(()) => Poll::Ready(()),
                    // The upstream takes no more; what it answers decides what becomes of this.
                    Err(_) => Poll::Pending,
                }
            }
            Phase::Leasing(_, early) if early.bytes < PART_BYTES => Poll::Ready(()),
            Phase::Leasing(..) | Phase::Over => Poll::Pending,
        }
    }

    pub(super) fn push(&mut self, part: BodyPart) {
        match &mut self.phase {
            Phase::Waiting(stream) | Phase::Answer(stream) | Phase::HalfOpen(stream) => {
                self.sent = Sent::Body;
                stream.push(Outgoing::Part(part));
            }
            Phase::Leasing(_, early) => {
                if let BodyPart::Data(data) = &part {
                    early.bytes += data.len();
                }
                early.parts.push(part);
            }
            Phase::Over => {}
        }
    }

    pub(super) fn end(&mut self) {
        self.request_over = true;
        match &mut self.phase {
            Phase::Waiting(stream) | Phase::Answer(stream) | Phase::HalfOpen(stream) => {
                stream.push(Outgoing::End);
            }
            Phase::Leasing(_, early) => early.ended = true,
            Phase::Over => {}
        }
    }

    /// Moves what was pushed towards the upstream. Errors show when the answer is read.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        if let Phase::Waiting(stream) | Phase::Answer(stream) | Phase::HalfOpen(stream) =
            &mut self.phase
        {
            let _shown_by_the_answer = stream.poll_flush(cx);
        }
    }

    /// What comes next. What was pushed before must have been flushed.
    pub(super) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        head: &RequestHead,
        ex: &Exchange,
    ) -> Poll<Outcome> {
        let outcome = ready!(self.poll_outcome(cx, head, ex));
        match &outcome {
            Outcome::Head(answer) if self.cluster.outlier().is_some() => {
                self.report(Report::Status(judged_status(head, answer)));
            }
            // The cluster's limits say nothing about the host.
            Outcome::Failed(error) if error.kind != ErrorKind::Overflow => {
                self.report(Report::Failed);
            }
            _ => {}
        }
        Poll::Ready(outcome)
    }

    /// Tells outlier detection what becomes of it.
    fn report(&self, report: Report) {
        self.cluster.report(&self.host, report);
    }

    fn poll_outcome(
        &mut self,
        cx: &mut Context<'_>,
        head: &RequestHead,
        ex: &Exchange,
    ) -> Poll<Outcome> {
        if let Phase::Leasing(leasing, early) = &mut self.phase {
            match ready!(Pin::new(leasing).poll(cx)) {
                Err(error) => return Poll::Ready(Outcome::Failed(self.not_leased(error))),
                Ok(lease) => {
                    self.cluster.report(&self.host, Report::Connected);
                    // The pool has counted it for the cluster.
                    for counters in ex.counters() {
                        counters.inc(ex.worker.id, RouteStat::UpstreamRqTotal);
                    }
                    let early = std::mem::take(early);
                    match Stream::start(lease, head, self.payload) {
                        Err(error) => return Poll::Ready(Outcome::Failed(self.failed(&error))),
                        Ok(stream) => self.begin_stream(stream, early),
                    }
                    self.flush(cx);
                    if !head.ends {
                        // The client's body is looked at again: somebody takes it now.
                        cx.waker().wake_by_ref();
                    }
                }
            }
        }
        match &mut self.phase {
            Phase::Leasing(..) | Phase::HalfOpen(_) | Phase::Over => Poll::Pending,
            Phase::Waiting(stream) => match ready!(stream.poll_head(cx)) {
                Ok(ResponseEvent::Informational(head)) => Poll::Ready(Outcome::Informational(head)),
                Ok(ResponseEvent::Head(answer)) => {
                    self.status = Some(answer.status.as_u16());
                    self.tunnel = head.tunnels(answer.status);
                    if let Phase::Waiting(stream) = std::mem::replace(&mut self.phase, Phase::Over)
                    {
                        self.phase = Phase::Answer(stream);
                    }
                    Poll::Ready(Outcome::Head(answer))
                }
                Err(BodyError::Closed) if stream.answered() => {
                    // A head that ends before its end breaks the protocol in Envoy's words.
                    stream.closed_by_peer();
                    let error = ProxyError::new(ErrorKind::Protocol, self.sent);
                    Poll::Ready(Outcome::Failed(error))
                }
                Err(error) => {
                    stream.closed_by_peer();
                    Poll::Ready(Outcome::Failed(self.failed(&error)))
                }
            },
            Phase::Answer(stream) => Poll::Ready(match ready!(stream.poll_part(cx, PART_BYTES)) {
                Ok(None) => {
                    if self.tunnel {
                        self.half_open();
                    }
                    Outcome::End
                }
                Ok(Some(part)) => Outcome::Part(part),
                Err(error) => Outcome::Failed(self.failed(&error)),
            }),
        }
    }

    /// Whether the answer is a refusal of a WebSocket that Envoy answers itself, with its status
    /// alone; an error of the upstream's is passed on.
    pub(super) fn refuses_handshake(&self, head: &RequestHead, status: StatusCode) -> bool {
        let http1 = match &self.phase {
            Phase::Answer(stream) => stream.ends_with_connection(),
            _ => false,
        };
        http1 && head.wants_websocket() && !self.tunnel && status < StatusCode::BAD_REQUEST
    }

    /// The upstream ended its side: of a tunnel the other side stays.
    fn half_open(&mut self) {
        if let Phase::Answer(stream) = std::mem::replace(&mut self.phase, Phase::Over) {
            self.phase = Phase::HalfOpen(stream);
        }
    }

    /// Whether the upstream's side of a tunnel is over and the client's is not.
    pub(super) const fn is_half_open(&self) -> bool {
        matches!(self.phase, Phase::HalfOpen(_))
    }

    /// Ready when a half-open tunnel is over: the client's last byte was sent on, or can not be.
    pub(super) fn poll_half_open(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Phase::HalfOpen(stream) = &mut self.phase else { return Poll::Ready(()) };
        match stream.poll_flush(cx) {
            Poll::Ready(Ok(())) if !self.request_over => Poll::Pending,
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    }

    /// How the upstream ends a tunnel; `None` where it is none.
    pub(super) fn tunnel_end(&self) -> Option<TunnelEnd> {
        match &self.phase {
            Phase::HalfOpen(stream)
                if self.payload == Payload::Http && stream.ends_with_connection() =>
            {
                Some(TunnelEnd::Disconnect)
            }
            Phase::HalfOpen(_) => Some(TunnelEnd::Message),
            _ => None,
        }
    }

    /// Sends the head and what was kept.
    fn begin_stream(&mut self, mut stream: Stream, early: Early) {
        self.too_old_at = self.max_age.map(|age| clock::now() + age);
        self.sent = if early.parts.is_empty() { Sent::Head } else { Sent::Body };
        let trailers = matches!(early.parts.last(), Some(BodyPart::Trailers(_)));
        for part in early.parts {
            stream.push(Outgoing::Part(part));
        }
        if early.ended && !trailers {
            stream.push(Outgoing::End);
        }
        self.phase = Phase::Waiting(stream);
    }

    /// Whether the limit on requests that wait was reached.
    pub(super) const fn overflowed_pending(&self) -> bool {
        self.overflowed_pending
    }

    fn not_leased(&mut self, error: LeaseError) -> ProxyError {
        if let LeaseError::Overflow(overflow) = &error {
            self.overflowed_pending = overflow.0 == LimitKind::PendingRequests;
        }
        error.into()
    }

    fn failed(&self, error: &BodyError) -> ProxyError {
        // An HTTP/1 body that ends before its end breaks the protocol in Envoy's words; before the
        // first byte of an answer the connection was merely lost.
        match (error, &self.phase) {
            (BodyError::Closed, Phase::Answer(Stream::H1(_))) if !self.tunnel => {
                ProxyError::new(ErrorKind::Protocol, self.sent)
            }
            _ => ProxyError::from_body(error, self.sent),
        }
    }

    /// The answer's head is here.
    pub(super) fn answered(&self, head: &ResponseHead, ex: &mut Exchange) {
        let now = clock::now();
        ex.times.upstream_head = Some(now);
        ex.details = "via_upstream".into();
        span::answered(ex, head.status);
        let status = head.status.as_u16();
        count_response(&self.cluster, ex, status);
        let outcome = if status >= 500 { Answered::Error } else { Answered::Success };
        self.host.stats.answered(outcome);
    }

    /// A 1xx head came; Envoy counts it as a response of its own.
    pub(super) fn informed(&self, head: &ResponseHead, ex: &Exchange) {
        count_response(&self.cluster, ex, head.status.as_u16());
    }

    /// It ended by itself: complete, or with an error.
    pub(super) fn finish(self, error: Option<&ProxyError>, ex: &Exchange) {
        let (worker, stats) = (ex.worker.id, self.cluster.stats());
        match error {
            None => {
                let from = ex.times.request_end.unwrap_or(ex.times.start);
                let taken = clock::now().saturating_duration_since(from);
                stats.response_time(worker, ex.origin(), millis(taken));
                for counters in ex.counters() {
                    counters.response_time(worker, ex.origin(), millis(taken));
                }
                if let Phase::Answer(stream) | Phase::Waiting(stream) | Phase::HalfOpen(stream) =
                    self.phase
                {
                    stream.finish();
                }
            }
            Some(error) => {
                if matches!(error.kind, ErrorKind::RemoteReset | ErrorKind::RemoteRefused) {
                    stats.inc(worker, ClusterStat::UpstreamRqRxReset);
                }
                if self.status.is_none() {
                    let code = if error.kind == ErrorKind::Protocol { 502 } else { 503 };
                    count_response(&self.cluster, ex, code);
                    self.host.stats.answered(Answered::Error);
                }
            }
        }
    }

    /// Its answer is not passed on, since the request is tried again.
    pub(super) fn discard(self, head: &ResponseHead, ex: &Exchange) {
        self.cluster.stats().retried_response(ex.worker.id, head.status.as_u16());
        self.host.stats.answered(Answered::Error);
        match self.phase {
            Phase::Answer(stream) if head.ends => stream.finish(),
            _ => self.break_off(ex),
        }
    }

    /// It failed, and the request is tried again.
    pub(super) fn fail(self, error: &ProxyError, ex: &Exchange) {
        if matches!(error.kind, ErrorKind::RemoteReset | ErrorKind::RemoteRefused) {
            self.cluster.stats().inc(ex.worker.id, ClusterStat::UpstreamRqRxReset);
        }
        self.host.stats.answered(Answered::Error);
    }

    /// Its own timeout passed, and `again` whether the request is tried again.
    pub(super) fn try_timed_out(self, stat: ClusterStat, again: bool, ex: &Exchange) {
        self.cluster.stats().inc(ex.worker.id, stat);
        self.report(Report::TimedOut);
        self.host.stats.timed_out();
        if self.status.is_none() {
            self.host.stats.answered(Answered::Error);
            if !again {
                count_response(&self.cluster, ex, 504);
            }
        }
        self.break_off(ex);
    }

    /// When it becomes too old.
    pub(super) const fn too_old_at(&self) -> Option<Instant> {
        self.too_old_at
    }

    /// It was under way for longer than it may be.
    pub(super) fn too_old(self, ex: &Exchange) {
        self.cluster.stats().inc(ex.worker.id, ClusterStat::UpstreamRqMaxDurationReached);
        self.cancel(ex);
    }

    /// Leaves the upstream; Envoy counts that as a reset where only a stream is lost by it.
    fn break_off(self, ex: &Exchange) {
        match self.phase {
            Phase::Leasing(leasing, _) => drop(leasing),
            Phase::Waiting(stream) | Phase::Answer(stream) | Phase::HalfOpen(stream) => {
                if matches!(stream, Stream::H2(..)) {
                    self.cluster.stats().inc(ex.worker.id, ClusterStat::UpstreamRqTxReset);
                }
                stream.cancel();
            }
            Phase::Over => {}
        }
    }

    /// Whether it has a connection, and no answer yet or one that has begun.
    pub(super) const fn is_under_way(&self) -> bool {
        matches!(self.phase, Phase::Waiting(_) | Phase::Answer(_))
    }

    /// Whether the head of its answer is here.
    pub(super) const fn has_answered(&self) -> bool {
        self.status.is_some()
    }

    /// Gives it up from our side.
    pub(super) fn cancel(self, ex: &Exchange) {
        let (worker, stats) = (ex.worker.id, self.cluster.stats());
        match self.phase {
            // The pool counts what is given up while it waits.
            Phase::Leasing(leasing, _) => drop(leasing),
            Phase::Waiting(stream) | Phase::Answer(stream) | Phase::HalfOpen(stream) => {
                if stream.cancel() == Cancelled::Stream {
                    stats.inc(worker, ClusterStat::UpstreamRqTxReset);
                }
            }
            Phase::Over => {}
        }
    }

    /// The route's timeout passed while it was under way.
    pub(super) fn timed_out(self, ex: &Exchange) {
        let (worker, stats) = (ex.worker.id, self.cluster.stats());
        stats.inc(worker, ClusterStat::UpstreamRqTimeout);
        for counters in ex.counters() {
            counters.inc(worker, RouteStat::UpstreamRqTimeout);
        }
        self.host.stats.timed_out();
        if self.status.is_none() {
            self.report(Report::TimedOut);
            count_response(&self.cluster, ex, 504);
        }
        self.cancel(ex);
    }
}

/// A response, the upstream's or what stands for one that did not come.
pub(super) fn count_response(cluster: &Cluster, ex: &Exchange, status: u16) {
    let (worker, origin) = (ex.worker.id, ex.origin());
    cluster.stats().response(worker, origin, status);
    for counters in ex.counters() {
        counters.response(worker, origin, status);
    }
}

/// The status that outlier detection looks at: of an answer to gRPC that is over with its head,
/// what its own stands for.
pub(super) fn judged_status(head: &RequestHead, answer: &ResponseHead) -> u16 {
    let own = answer.headers.get("grpc-status").filter(|_| ReplyFor::of(head) == ReplyFor::Grpc);
    match own.and_then(|value| value.to_str().ok()) {
        None => answer.status.as_u16(),
        Some(code) => code.parse().map_or(500, grpc_as_http),
    }
}

/// Envoy's `grpcToHttpStatus`.
const fn grpc_as_http(code: u32) -> u16 {
    match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
