//! Serving HTTP/1: requests come one after another on the connection's own task.

use std::task::{Context, Poll};

use super::{ConnCx, Counted, after, begin, drain_at, earlier, refused};
use crate::base::clock::{self, Instant};
use crate::codec::h1::ServerConn;
use crate::codec::io::Io;
use crate::codec::{Incoming, ProtocolError, RequestHead, Version};
use crate::config::http_manager::HttpManagerConfig;
use crate::http::drain::DrainLevel;
use crate::http::pump::BoxedTask;
use crate::http::reply::LocalReply;
use crate::http::timer::Timer;
use crate::telemetry::flags::ResponseFlags;
use crate::telemetry::stats::HttpStat;

struct H1<'c, I> {
    conn: ServerConn<I>,
    cx: &'c ConnCx,
    timer: Timer,
    task: Option<BoxedTask>,
    requests: u32,
    counted: Counted,
    /// Nothing was at hand since then.
    idle_from: Instant,
    /// The first byte of a head that is not complete came then.
    head_from: Option<Instant>,
    /// The last answer was sent then; the peer may still read.
    closing_from: Option<Instant>,
    /// When it is too old.
    drain_at: Option<Instant>,
}

/// By when a head is complete whose first byte came at `from`.
pub(super) fn head_deadline(from: Instant, config: &HttpManagerConfig) -> Option<Instant> {
    let timeouts = &config.timeouts;
    earlier(after(from, timeouts.request_headers), after(from, timeouts.stream_idle))
}

/// Serves a connection until it ends; its first head has `begun` then.
pub(super) async fn serve<I: Io>(conn: ServerConn<I>, cx: &ConnCx, begun: Option<Instant>) {
    let (worker, http) = (cx.worker.id, &cx.manager.manager.stats.http);
    http.inc(worker, HttpStat::DownstreamCxHttp1Total);
    http.inc(worker, HttpStat::DownstreamCxHttp1Active);
    let mut serving = H1 {
        conn,
        cx,
        timer: Timer::default(),
        task: None,
        requests: 0,
        counted: Counted::default(),
        idle_from: clock::now(),
        head_from: begun,
        closing_from: None,
        drain_at: drain_at(cx),
    };
    std::future::poll_fn(|task| serving.poll(task)).await;
    let active = serving.task.take().is_some();
    serving.counted.count(cx, serving.conn.bytes());
    serving.record();
    http.dec(worker, HttpStat::DownstreamCxHttp1Active);
    if active {
        http.inc(worker, HttpStat::DownstreamCxDestroyActiveRq);
    }
}

impl<I: Io> H1<'_, I> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.cx.drain.register(cx.waker());
        loop {
            let level = self.cx.drain.level();
            if level == DrainLevel::Abort {
                return Poll::Ready(());
            }
            if level >= DrainLevel::Close {
                // An answer that has not begun says so: the client sends nothing more here.
                self.conn.set_close();
            }
            if self.task.is_some() {
                self.drain_if_old();
            }
            if let Some(task) = &mut self.task {
                if task.poll(cx, &mut self.conn, &mut self.timer).is_pending() {
                    return Poll::Pending;
                }
                self.request_over();
                continue;
            }
            match self.conn.poll_next(cx) {
                Poll::Ready(Incoming::Closed) => {
                    self.broken_off();
                    return Poll::Ready(());
                }
                Poll::Ready(Incoming::Head(head)) => self.begin(head),
                Poll::Ready(Incoming::Malformed { error, head }) => {
                    if error != ProtocolError::MissingHost {
                        let record = &self.cx.info.record;
                        record.flags.set(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR);
                    }
                    let (mut task, reply) = refused(error, head, self.cx, Version::Http11);
                    task.refuse(reply, &mut self.conn);
                    self.task = Some(task);
                }
                Poll::Pending => {
                    if self.poll_deadlines(cx).is_ready() {
                        return Poll::Ready(());
                    }
                    if self.task.is_none() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Under a request, whose answer says so if it has not begun. Nothing is armed for it: what
    /// matters is whether the connection is too old when something moves.
    fn drain_if_old(&mut self) {
        if self.drain_at.is_some_and(|at| at <= clock::now()) {
            self.drain_at = None;
            let http = &self.cx.manager.manager.stats.http;
            http.inc(self.cx.worker.id, HttpStat::DownstreamCxMaxDurationReached);
            self.conn.set_close();
        }
    }

    /// Tells the listener's log.
    fn record(&self) {
        let record = &self.cx.info.record;
        let (received, sent) = self.conn.bytes();
        record.received.set(received);
        record.sent.set(sent);
        record.speaks(Version::Http11, self.requests);
    }

    fn begin(&mut self, head: Box<RequestHead>) {
        self.requests += 1;
        self.head_from = None;
        let limit = self.cx.manager.manager.config.common.max_requests_per_connection;
        let http = &self.cx.manager.manager.stats.http;
        if limit.is_some_and(|limit| self.requests >= limit) {
            http.inc(self.cx.worker.id, HttpStat::DownstreamCxMaxRequestsReached);
            self.conn.set_close();
        }
        if self.cx.drain.closes(self.cx.worker.random_u64()) {
            http.inc(self.cx.worker.id, HttpStat::DownstreamCxDrainClose);
            self.conn.set_close();
        }
        self.task = Some(begin(head, self.cx));
    }

    /// As in Envoy a head that breaks off is a request whose client is gone: counted and logged.
    fn broken_off(&self) {
        if self.conn.broke_off() {
            let mut task = begin(Box::new(RequestHead::unknown(Version::Http11)), self.cx);
            task.broken();
            // Dropped in the middle it leaves its record.
            drop(task);
        }
    }

    fn request_over(&mut self) {
        self.task = None;
        let now = clock::now();
        self.idle_from = now;
        self.counted.count(self.cx, self.conn.bytes());
        if !self.conn.keeps_alive() {
            self.closing_from = Some(now);
        }
    }

    /// Between two requests: idleness, slow heads, old age, a peer that does not read.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let config = &self.cx.manager.manager.config;
        if self.conn.is_idle() {
            self.head_from = None;
        } else if self.head_from.is_none() {
            self.head_from = Some(clock::now());
        }
        let idle = match self.closing_from {
            Some(from) => Some(from + config.timeouts.delayed_close.unwrap_or_default()),
            None => after(self.idle_from, config.common.idle_timeout),
        };
        // What a peer still says after its last answer is dropped and no head.
        let reading = self.head_from.filter(|_| self.closing_from.is_none());
        let slow = reading.and_then(|from| head_deadline(from, config));
        loop {
            let next = earlier(earlier(idle, slow), self.drain_at);
            if self.timer.poll(cx, next).is_pending() {
                return Poll::Pending;
            }
            let now = clock::now();
            let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            let (worker, http) = (self.cx.worker.id, &self.cx.manager.manager.stats.http);
            if passed(self.drain_at) {
                self.drain_if_old();
                // It is looked at anew: an idle one closes at once.
                cx.waker().wake_by_ref();
            } else if passed(slow) {
                http.inc(worker, HttpStat::DownstreamRqHeaderTimeout);
                self.conn.abandon_head();
                self.head_from = None;
                let mut task = begin(Box::new(RequestHead::unknown(Version::Http11)), self.cx);
                task.broken();
                task.refuse(LocalReply::request_header_timeout(), &mut self.conn);
                self.task = Some(task);
                return Poll::Pending;
            } else if passed(idle) {
                let stat = match self.closing_from {
                    Some(_) => HttpStat::DownstreamCxDelayedCloseTimeout,
                    None => HttpStat::DownstreamCxIdleTimeout,
                };
                http.inc(worker, stat);
                return Poll::Ready(());
            }
        }
    }
}
