//! The life of a connection: a cluster, a host, bytes, a record.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;

use super::TcpProxy;
use super::end::{End, Pair};
use super::pump::Half;
use super::record::Record;
use crate::base::clock::{self, Instant};
use crate::cluster::circuit::{LimitKind, RoutingPriority};
use crate::cluster::connect::{ConnectError, ConnectErrorKind};
use crate::cluster::outlier::Report;
use crate::cluster::pool::{EndedBy, LeaseError, TcpConn};
use crate::cluster::{Cluster, Limits};
use crate::codec::io::Io;
use crate::http::conn::ConnInfo;
use crate::http::drain::Member;
use crate::http::timer::Timer;
use crate::http::worker::Worker;
use crate::telemetry::access_log::LogType;
use crate::telemetry::flags::ResponseFlags;
use crate::telemetry::stats::{ClusterStat, TcpStat};

/// What serving one connection needs to know.
pub struct ConnCx {
    /// The worker.
    pub worker: Rc<Worker>,
    /// The proxy that the connection belongs to.
    pub proxy: Arc<TcpProxy>,
    /// Facts about the connection.
    pub info: Rc<ConnInfo>,
    /// Tells when to end.
    pub drain: Member,
}

/// Serves a connection until it ends. `bytes` were read from it before.
pub async fn serve<I: Io>(mut io: I, bytes: BytesMut, cx: ConnCx) {
    let cx = Rc::new(cx);
    cx.inc(TcpStat::DownstreamCxTotal);
    let record = Record::new(&cx);
    if cx.proxy.config.access_log_options.flush_on_start {
        record.write(LogType::TcpStart);
    }
    let mut deadlines = Deadlines::new(&cx);
    let connecting = Box::pin(connect(&record));
    let Some(mut upstream) = deadlines.within(&record, connecting).await.flatten() else { return };
    record.received.set(bytes.len() as u64);
    connected(&record, &upstream);
    deadlines.moved();
    let mut moving = Moving {
        pair: Pair::new(Half::new(bytes), Half::new(BytesMut::new())),
        record: &record,
        deadlines,
        counted: (0, 0),
        pauses: 0,
    };
    let end = std::future::poll_fn(|task| moving.poll(task, &mut io, &mut upstream)).await;
    moving.count();
    let by = end.map_or(EndedBy::Us, |end| end.by);
    upstream.over(by);
}

impl ConnCx {
    fn inc(&self, stat: TcpStat) {
        self.proxy.stats.inc(self.worker.id, stat);
    }
}

fn connected(record: &Record, upstream: &TcpConn) {
    let mut at = record.upstream.borrow_mut();
    at.failure = None;
    at.local = upstream.socket.local_address();
    at.connection_id = record.cx.worker.next_connection_id();
    drop(at);
    if record.cx.proxy.config.access_log_options.flush_on_connected {
        record.write(LogType::TcpConnected);
    }
}

/// A connection to a host, after as many attempts as are allowed. As in Envoy a cluster is chosen
/// anew for each, and one that is not there, or has no host or no room, ends them.
async fn connect(record: &Record) -> Option<TcpConn> {
    let (worker, proxy) = (&record.cx.worker, &record.cx.proxy);
    loop {
        let Some(cluster) = cluster(record) else {
            record.cx.inc(TcpStat::DownstreamCxNoRoute);
            record.flag(ResponseFlags::NO_CLUSTER_FOUND);
            return None;
        };
        record.upstream.borrow_mut().cluster = Some(Arc::clone(&cluster));
        if is_full(cluster.limits()) {
            cluster.stats().inc(worker.id, ClusterStat::UpstreamCxOverflow);
            record.flag(ResponseFlags::UPSTREAM_OVERFLOW);
            return None;
        }
        if record.upstream.borrow().attempts >= proxy.config.max_connect_attempts {
            cluster.stats().inc(worker.id, ClusterStat::UpstreamCxConnectAttemptsExceeded);
            record.flag(ResponseFlags::CONNECT_ATTEMPTS_EXCEEDED);
            return None;
        }
        let Some(host) = worker.pools.upstream(&cluster).pick(None) else {
            record.flag(ResponseFlags::NO_HEALTHY_UPSTREAM);
            return None;
        };
        record.upstream.borrow_mut().attempts += 1;
        match host.connect().await {
            Ok(conn) => {
                cluster.report(host.host(), Report::Served);
                record.upstream.borrow_mut().host = Some(Arc::clone(host.host()));
                return Some(conn);
            }
            Err(LeaseError::Overflow(_)) => {}
            Err(LeaseError::Connect(error)) => {
                record.upstream.borrow_mut().host = Some(Arc::clone(host.host()));
                match error.kind {
                    ConnectErrorKind::Remote => cluster.report(host.host(), Report::Failed),
                    ConnectErrorKind::Timeout => cluster.report(host.host(), Report::TimedOut),
                    ConnectErrorKind::Bind | ConnectErrorKind::Local => {}
                }
                not_connected(record, &error);
            }
        }
    }
}

fn not_connected(record: &Record, error: &ConnectError) {
    // What is our own trouble is no failure of the upstream.
    if matches!(error.kind, ConnectErrorKind::Remote | ConnectErrorKind::Timeout) {
        record.flag(ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
    }
    let transport = Some(error.transport.replace(' ', "_")).filter(|text| !text.is_empty());
    record.upstream.borrow_mut().failure = transport;
}

fn cluster(record: &Record) -> Option<Arc<Cluster>> {
    let (worker, proxy) = (&record.cx.worker, &record.cx.proxy);
    let name = proxy.config.clusters.pick(worker.random_u64())?;
    proxy.clusters().get(name.as_str()).cloned()
}

/// A connection would wait for one that may never be given back.
fn is_full(limits: &Limits) -> bool {
    let connections = limits.counter(RoutingPriority::Default, LimitKind::Connections);
    connections.used() >= connections.max()
}

/// Bytes on their way.
struct Moving<'r> {
    pair: Pair,
    record: &'r Record,
    deadlines: Deadlines,
    /// Bytes that are counted already, from the client and to it.
    counted: (u64, u64),
    pauses: u64,
}

impl Moving<'_> {
    /// Ready at the end; with nothing where a deadline or a drain made it.
    fn poll(
        &mut self,
        task: &mut Context<'_>,
        client: &mut impl Io,
        upstream: &mut TcpConn,
    ) -> Poll<Option<End>> {
        let buffers = &*self.record.cx.worker.buffers;
        let before = self.pair.progress();
        let ended = self.pair.poll(task, (client, &mut upstream.socket), buffers);
        if self.pair.progress() != before {
            self.deadlines.moved();
            self.count();
        }
        if let Poll::Ready(end) = ended {
            self.ended(end);
            return Poll::Ready(Some(end));
        }
        self.deadlines.poll(task, self.record).map(|()| None)
    }

    fn ended(&self, end: End) {
        if end.reset && end.by == EndedBy::Host {
            self.record.flag(ResponseFlags::UPSTREAM_REMOTE_RESET);
        }
        if end.flushes {
            self.record.cx.inc(TcpStat::UpstreamFlushTotal);
        }
    }

    fn count(&mut self) {
        let (up, down) = (&self.pair.up, &self.pair.down);
        self.record.received.set(up.read);
        self.record.sent.set(down.read);
        let (worker, stats) = (self.record.cx.worker.id, &self.record.cx.proxy.stats);
        let (received, sent) = self.counted;
        stats.add(worker, TcpStat::DownstreamCxRxBytesTotal, up.read - received);
        stats.add(worker, TcpStat::DownstreamCxTxBytesTotal, down.written - sent);
        self.counted = (up.read, down.written);
        let paused = up.pauses - std::mem::replace(&mut self.pauses, up.pauses);
        stats.add(worker, TcpStat::DownstreamFlowControlPausedReadingTotal, paused);
    }
}

/// When something is to be done though nothing moves.
struct Deadlines {
    timer: Timer,
    idle: Option<Duration>,
    /// The last byte moved then; nothing is idle before there is an upstream.
    moved: Option<Instant>,
    too_old: Option<Instant>,
    log: Option<Instant>,
}

impl Deadlines {
    fn new(cx: &ConnCx) -> Self {
        let config = &cx.proxy.config;
        let jitter = config.max_duration_jitter_percent / 100.0;
        let random = cx.worker.random_u64() as f64 / u64::MAX as f64;
        let longest = |age: Duration| age + age.mul_f64(jitter * random);
        Self {
            timer: Timer::default(),
            idle: config.idle_timeout,
            moved: None,
            too_old: config.max_duration.map(|age| cx.info.accepted + longest(age)),
            log: config.access_log_options.flush_interval.map(|every| clock::now() + every),
        }
    }

    fn moved(&mut self) {
        self.moved = Some(clock::now());
    }

    /// Waits for something, but not beyond a deadline or a drain.
    async fn within<T>(
        &mut self,
        record: &Record,
        mut work: impl Future<Output = T> + Unpin,
    ) -> Option<T> {
        std::future::poll_fn(|task| {
            if let Poll::Ready(done) = std::pin::Pin::new(&mut work).poll(task) {
                return Poll::Ready(Some(done));
            }
            self.poll(task, record).map(|()| None)
        })
        .await
    }

    /// Ready when the connection must end. Entries that are due are written.
    fn poll(&mut self, task: &mut Context<'_>, record: &Record) -> Poll<()> {
        let cx = &*record.cx;
        cx.drain.register(task.waker());
        if cx.drain.ends() {
            return Poll::Ready(());
        }
        loop {
            let idle = self.moved.zip(self.idle).map(|(at, limit)| at + limit);
            let next = [idle, self.too_old, self.log].into_iter().flatten().min();
            if self.timer.poll(task, next).is_pending() {
                return Poll::Pending;
            }
            let now = clock::now();
            let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if passed(self.too_old) {
                cx.inc(TcpStat::MaxDownstreamConnectionDuration);
                record.flag(ResponseFlags::DURATION_TIMEOUT);
                return Poll::Ready(());
            }
            if passed(idle) {
                cx.inc(TcpStat::IdleTimeout);
                return Poll::Ready(());
            }
            if passed(self.log) {
                record.write(LogType::TcpPeriodic);
                let every = cx.proxy.config.access_log_options.flush_interval;
                self.log = every.map(|every| now + every);
            }
        }
    }
}
