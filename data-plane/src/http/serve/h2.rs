//! Serving HTTP/2: each stream is a task of its own; this one moves the connection's frames.
//!
//! A drain is announced with GOAWAY; streams that are open finish. The connection's task ends when
//! the last of them did, or when the client is gone, which ends them.
//!
//! A client that resets its streams early costs an upstream request each time (rapid reset,
//! CVE-2023-44487), and `h2` limits only those that were reset before they were accepted. As in
//! Envoy the connection ends when half of its streams are of that kind.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;

use super::counted::CountedIo;
use super::{ConnCx, begin, drain_at, earlier, refused};
use crate::base::clock::{self, Instant};
use crate::base::task::{self, Task};
use crate::codec::h2::{Pings, ServerConn, ServerStream};
use crate::codec::io::Io;
use crate::codec::{BodyError, Incoming, ResetCode, Version};
use crate::http::drain::DrainLevel;
use crate::http::pump::BoxedTask;
use crate::http::timer::Timer;
use crate::telemetry::flags::ResponseFlags;
use crate::telemetry::stats::HttpStat;

struct H2<I: Io> {
    conn: ServerConn<CountedIo<I>>,
    /// `connection_keepalive`, from the client's preface on.
    pings: Option<Pings>,
    cx: Rc<ConnCx>,
    timer: Timer,
    streams: Vec<Task>,
    requests: u32,
    /// No stream was open since then.
    idle_from: Option<Instant>,
    drain_at: Option<Instant>,
    draining: bool,
    resets: Rc<Resets>,
    /// The client was told that it goes too far; what it does not read by then is lost.
    end_at: Option<Instant>,
}

/// Streams of a connection that are over.
#[derive(Debug, Default)]
struct Resets {
    ended: Cell<u32>,
    /// Reset by the client early, before an answer.
    early: Cell<u32>,
}

impl Resets {
    /// Envoy's `overload.premature_reset_total_stream_count`.
    const TOTAL: u32 = 500;

    fn count(&self, early: bool) {
        self.ended.set(self.ended.get().saturating_add(1));
        self.early.set(self.early.get().saturating_add(u32::from(early)));
    }

    /// Whether at least half were reset early, or will be of the first `TOTAL`.
    fn too_many(&self) -> bool {
        self.early.get() >= self.ended.get().max(Self::TOTAL).div_ceil(2)
    }
}

/// RFC 9113 §7: ENHANCE_YOUR_CALM.
const CALM: ResetCode = ResetCode::Other(0xb);

/// Serves a connection until it ends.
pub(super) async fn serve<I: Io + 'static>(io: I, bytes: BytesMut, cx: &Rc<ConnCx>) {
    let (worker, http) = (cx.worker.id, &cx.manager.manager.stats.http);
    http.inc(worker, HttpStat::DownstreamCxHttp2Total);
    http.inc(worker, HttpStat::DownstreamCxHttp2Active);
    let io = CountedIo::new(io, bytes.len(), cx);
    let mut serving = H2 {
        conn: ServerConn::new(io, cx.manager.h2.clone(), bytes),
        pings: None,
        timer: Timer::default(),
        streams: Vec::new(),
        requests: 0,
        idle_from: Some(clock::now()),
        drain_at: drain_at(cx),
        draining: false,
        resets: Rc::default(),
        end_at: None,
        cx: Rc::clone(cx),
    };
    std::future::poll_fn(|task| serving.poll(task)).await;
    cx.info.record.speaks(Version::Http2, serving.requests);
    // Streams that are left end with their connection.
    drop(serving);
    http.dec(worker, HttpStat::DownstreamCxHttp2Active);
}

impl<I: Io + 'static> H2<I> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.cx.drain.register(cx.waker());
        match self.cx.drain.level() {
            DrainLevel::None => {}
            DrainLevel::Abort => return Poll::Ready(()),
            DrainLevel::Close => self.drain(),
            DrainLevel::Announce => {
                if self.cx.drain.closes(self.cx.worker.random_u64()) {
                    self.drain();
                }
            }
        }
        loop {
            match self.conn.poll_accept(cx) {
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Ready(Some(Err(error))) => {
                    if let BodyError::Protocol(_) = error {
                        let http = &self.cx.manager.manager.stats.http;
                        http.inc(self.cx.worker.id, HttpStat::DownstreamCxProtocolError);
                        let record = &self.cx.info.record;
                        record.flags.set(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
                    }
                    return Poll::Ready(());
                }
                Poll::Ready(Some(Ok((incoming, stream)))) => self.accept(incoming, stream),
                Poll::Pending if self.poll_pings(cx).is_ready() => return Poll::Ready(()),
                Poll::Pending => return self.poll_deadlines(cx),
            }
        }
    }

    /// Ready when the client left a PING unanswered for too long.
    fn poll_pings(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.pings.is_none()
            && let Some(rules) = self.cx.manager.h2.keepalive
        {
            self.pings = self.conn.take_ping_pong().and_then(|handle| Pings::new(handle, rules));
        }
        match &mut self.pings {
            Some(pings) => pings.poll(cx),
            None => Poll::Pending,
        }
    }

    fn drain(&mut self) {
        if !self.draining {
            self.draining = true;
            self.conn.graceful_shutdown();
        }
    }

    fn accept(&mut self, incoming: Incoming, mut stream: ServerStream) {
        if self.resets.too_many() {
            return self.end_abuse();
        }
        self.streams.retain(|task| !task.is_finished());
        self.idle_from = None;
        self.requests += 1;
        let limit = self.cx.manager.manager.config.common.max_requests_per_connection;
        if limit.is_some_and(|limit| self.requests >= limit) {
            let http = &self.cx.manager.manager.stats.http;
            http.inc(self.cx.worker.id, HttpStat::DownstreamCxMaxRequestsReached);
            self.drain();
        }
        let request = match incoming {
            Incoming::Closed => return,
            Incoming::Head(head) => begin(head, &self.cx),
            Incoming::Malformed { error, head } => {
                let (mut request, reply) = refused(error, head, &self.cx, Version::Http2);
                request.refuse(reply, &mut stream);
                request
            }
        };
        let resets = Rc::clone(&self.resets);
        self.streams.push(task::spawn_local("stream", run(request, stream, resets)));
    }

    fn end_abuse(&mut self) {
        if self.end_at.is_none() {
            let manager = &self.cx.manager.manager;
            let worker = self.cx.worker.id;
            manager.stats.http.inc(worker, HttpStat::DownstreamRqTooManyPrematureResets);
            self.conn.abrupt_shutdown(CALM);
            let patience = manager.config.timeouts.delayed_close.unwrap_or_default();
            self.end_at = Some(clock::now() + patience);
        }
    }

    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.conn.streams() > 0 {
            self.idle_from = None;
        } else if self.idle_from.is_none() {
            self.idle_from = Some(clock::now());
        }
        let idle = self.cx.manager.manager.config.common.idle_timeout;
        let idle = self.idle_from.zip(idle).map(|(from, limit)| from + limit);
        let last = earlier(idle, self.end_at);
        while self.timer.poll(cx, earlier(last, self.drain_at)).is_ready() {
            let now = clock::now();
            if self.end_at.is_some_and(|at| at <= now) {
                return Poll::Ready(());
            }
            let (worker, http) = (self.cx.worker.id, &self.cx.manager.manager.stats.http);
            if self.drain_at.is_some_and(|at| at <= now) {
                self.drain_at = None;
                http.inc(worker, HttpStat::DownstreamCxMaxDurationReached);
                self.drain();
                // GOAWAY leaves with the next poll of the connection.
                cx.waker().wake_by_ref();
            } else if idle.is_some_and(|at| at <= now) {
                http.inc(worker, HttpStat::DownstreamCxIdleTimeout);
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

async fn run(mut request: BoxedTask, mut stream: ServerStream, resets: Rc<Resets>) {
    let mut timer = Timer::default();
    std::future::poll_fn(|cx| request.poll(cx, &mut stream, &mut timer)).await;
    resets.count(request.given_up_early());
}

#[cfg(test)]
mod tests {
    use super::Resets;

    #[test]
    fn half_of_the_streams_may_be_reset_early() {
        let resets = Resets::default();
        (0..249).for_each(|_| resets.count(true));
        assert!(!resets.too_many());
        resets.count(true);
        assert!(resets.too_many(), "of the first 500");
        let resets = Resets::default();
        (0..1000).for_each(|at| resets.count(at % 2 == 1 && at > 2));
        assert!(!resets.too_many());
        (0..3).for_each(|_| resets.count(true));
        assert!(resets.too_many(), "of all");
    }
}
