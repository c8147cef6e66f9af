//! Serving a connection: which protocol it speaks, then one request after another, or side by side.
//!
//! On HTTP/1 the connection's task is the request's task too, and it owns the leased upstream
//! connection: no channel and no second wake-up between the two sockets. On HTTP/2 each stream is
//! a local task of its own.

mod counted;
mod h1;
mod h2;
mod options;

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;

use crate::base::clock::{self, Instant};
use crate::codec::detect::{Detect, Protocol};
use crate::codec::h1::ServerOptions;
use crate::codec::h2 as codec_h2;

use crate::codec::io::{BufferPool, Io};
use crate::codec::{ProtocolError, RequestHead, Version};
use crate::config::http_manager::CodecType;
use crate::http::conn::ConnInfo;
use crate::http::drain::{DrainLevel, Member};
use crate::http::exchange::{Bytes, Exchange, Response, Times, Upstream};
use crate::http::headers::ClientFacts;
use crate::http::manager::Manager;
use crate::http::metadata::DynamicMetadata;
use crate::http::pump::BoxedTask;
use crate::http::reply::LocalReply;
use crate::http::span::SpanState;
use crate::http::timer::Timer;
use crate::http::view::ViewCache;
use crate::http::worker::Worker;
use crate::telemetry::flags::ResponseFlags;
use crate::telemetry::stats::HttpStat;

/// A connection manager on one worker.
pub struct WorkerManager {
    /// The part that all workers share.
    pub manager: Arc<Manager>,
    /// The way to its current view.
    pub views: ViewCache,
    /// Options of HTTP/1 connections.
    pub h1: Rc<ServerOptions>,
    /// Options of HTTP/2 connections.
    pub h2: codec_h2::Options,
    /// The worker's read buffers.
    pub buffers: Rc<BufferPool>,
}

impl WorkerManager {
    /// A manager's side on the worker that owns `buffers`.
    #[must_use]
    pub fn new(manager: &Arc<Manager>, buffers: &Rc<BufferPool>) -> Self {
        Self {
            manager: Arc::clone(manager),
            views: ViewCache::new(&manager.cell),
            h1: Rc::new(options::h1(&manager.config, manager.buffer_limit)),
            h2: options::h2(&manager.config, manager.buffer_limit),
            buffers: Rc::clone(buffers),
        }
    }
}

/// What serving one connection needs to know.
pub struct ConnCx {
    /// The worker.
    pub worker: Rc<Worker>,
    /// The manager that the connection belongs to.
    pub manager: Rc<WorkerManager>,
    /// Facts about the connection.
    pub info: Rc<ConnInfo>,
    /// Tells when to end.
    pub drain: Member,
}

/// Serves a connection until it ends. `bytes` were read from it before.
pub async fn serve<I: Io + 'static>(io: I, bytes: BytesMut, cx: ConnCx) {
    let cx = Rc::new(cx);
    count_opened(&cx);
    let codec = match (cx.manager.manager.config.codec, cx.info.alpn()) {
        (CodecType::Auto, Some(Version::Http2)) => CodecType::Http2,
        (CodecType::Auto, Some(_)) => CodecType::Http1,
        (codec, _) => codec,
    };
    match codec {
        CodecType::Http2 => Box::pin(h2::serve(io, bytes, &cx)).await,
        CodecType::Http1 => {
            let conn = h1_conn(io, &cx, &bytes);
            drop(bytes);
            h1::serve(conn, &cx, None).await;
        }
        CodecType::Auto => {
            let mut begun = None;
            if let Some((protocol, io, bytes)) = detect(io, bytes, &cx, &mut begun).await {
                match protocol {
                    Protocol::Http1 => {
                        let conn = h1_conn(io, &cx, &bytes);
                        // Or 4 KiB stay with every idle connection.
                        drop(bytes);
                        h1::serve(conn, &cx, begun).await;
                    }
                    // Boxed, so that an HTTP/1 connection does not have room for it.
                    Protocol::Http2 => Box::pin(h2::serve(io, bytes, &cx)).await,
                }
            }
        }
    }
    count_closed(&cx);
}

fn h1_conn<I: Io>(io: I, cx: &ConnCx, bytes: &[u8]) -> crate::codec::h1::ServerConn<I> {
    let (options, buffers) = (Rc::clone(&cx.manager.h1), Rc::clone(&cx.manager.buffers));
    crate::codec::h1::ServerConn::with_bytes(io, options, buffers, bytes)
}

/// The first bytes tell the protocol. A client that says nothing is idle, and one that drains has
/// nothing to lose. One that begins and does not go on is HTTP/1's, whose deadline for a head then
/// counts from when it `begun`.
async fn detect<I: Io>(
    io: I,
    bytes: BytesMut,
    cx: &ConnCx,
    begun: &mut Option<Instant>,
) -> Option<(Protocol, I, BytesMut)> {
    let mut detect = Detect::with_bytes(io, bytes);
    let mut timer = Timer::default();
    let config = &cx.manager.manager.config;
    let idle = config.common.idle_timeout.map(|d| cx.info.accepted + d);
    std::future::poll_fn(|task| {
        cx.drain.register(task.waker());
        if cx.drain.level() >= DrainLevel::Close {
            return Poll::Ready(None);
        }
        if let Poll::Ready(found) = detect.poll(task) {
            return Poll::Ready(found);
        }
        if detect.begun() {
            begun.get_or_insert_with(clock::now);
        }
        let slow = begun.and_then(|from| h1::head_deadline(from, config));
        while timer.poll(task, earlier(idle, slow)).is_ready() {
            let passed = |at: Option<Instant>| at.is_some_and(|at| at <= clock::now());
            if passed(slow) {
                return Poll::Ready(detect.settle());
            }
            if passed(idle) {
                let stats = &cx.manager.manager.stats.http;
                stats.inc(cx.worker.id, HttpStat::DownstreamCxIdleTimeout);
                return Poll::Ready(None);
            }
        }
        Poll::Pending
    })
    .await
}

fn count_opened(cx: &ConnCx) {
    let (worker, http) = (cx.worker.id, &cx.manager.manager.stats.http);
    http.inc(worker, HttpStat::DownstreamCxTotal);
    http.inc(worker, HttpStat::DownstreamCxActive);
}

fn count_closed(cx: &ConnCx) {
    let (worker, http) = (cx.worker.id, &cx.manager.manager.stats.http);
    http.dec(worker, HttpStat::DownstreamCxActive);
    http.inc(worker, HttpStat::DownstreamCxDestroy);
    let lived = clock::now().saturating_duration_since(cx.info.accepted);
    let millis = u64::try_from(lived.as_millis()).unwrap_or(u64::MAX);
    http.record(worker, HttpStat::DownstreamCxLengthMs, millis);
}

/// Bytes that a connection moved since they were last counted.
#[derive(Debug, Default)]
struct Counted {
    received: u64,
    sent: u64,
}

impl Counted {
    fn count(&mut self, cx: &ConnCx, (received, sent): (u64, u64)) {
        let (worker, http) = (cx.worker.id, &cx.manager.manager.stats.http);
        http.add(worker, HttpStat::DownstreamCxRxBytesTotal, received - self.received);
        http.add(worker, HttpStat::DownstreamCxTxBytesTotal, sent - self.sent);
        *self = Self { received, sent };
    }
}

/// When a connection is to be drained for its age.
fn drain_at(cx: &ConnCx) -> Option<Instant> {
    let common = &cx.manager.manager.config.common;
    let age = common.max_connection_duration?;
    let jitter = f64::from(common.max_connection_duration_jitter_percent) / 100.0;
    let random = cx.worker.random_u64() as f64 / u64::MAX as f64;
    Some(cx.info.accepted + age + age.mul_f64(jitter * random))
}

/// A request begins: from its head to the task that moves it.
///
/// The task is a box of its own, so that an idle connection holds none of a request's state.
fn begin(head: Box<RequestHead>, cx: &ConnCx) -> BoxedTask {
    let view = cx.manager.views.current();
    let ex = Exchange {
        worker: Rc::clone(&cx.worker),
        manager: Arc::clone(&cx.manager.manager),
        conn: Rc::clone(&cx.info),
        client: ClientFacts { address: cx.info.remote_ip(), internal: false },
        route: None,
        random: cx.worker.random_u64(),
        times: Times {
            start_system: clock::system_now(),
            start: clock::now(),
            request_end: None,
            upstream_head: None,
            response_head: None,
        },
        bytes: Bytes::default(),
        flags: ResponseFlags::NONE,
        details: "".into(),
        error_type: None,
        trace: None,
        span: SpanState::default(),
        metadata: DynamicMetadata::default(),
        upstream: Upstream::default(),
        response: Response { keep: cx.manager.manager.keeps, ..Response::default() },
        asked_path: None,
        protocol: head.version,
        request_ended: head.ends,
        stream_reset: false,
        upgraded: false,
        view,
    };
    BoxedTask::new(head, ex)
}

/// A request that broke a rule of the protocol before it became one.
fn refused(
    error: ProtocolError,
    head: Option<Box<RequestHead>>,
    cx: &ConnCx,
    version: Version,
) -> (BoxedTask, LocalReply) {
    // As in Envoy nothing of a head that broke the protocol is logged, since nothing of it can be
    // trusted; a head that only lacks its host is whole.
    let whole = head.filter(|_| error == ProtocolError::MissingHost);
    let head = whole.unwrap_or_else(|| Box::new(RequestHead::unknown(version)));
    let http = &cx.manager.manager.stats.http;
    if error != ProtocolError::MissingHost {
        http.inc(cx.worker.id, HttpStat::DownstreamCxProtocolError);
    }
    let mut task = begin(head, cx);
    if error != ProtocolError::MissingHost {
        task.broken();
    }
    (task, LocalReply::protocol(error))
}

/// The earlier of two moments, either of which may be never.
fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn after(from: Instant, limit: Option<Duration>) -> Option<Instant> {
    limit.map(|limit| from + limit)
}
