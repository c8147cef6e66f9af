//! Upstream connections and balancing state of one worker.
//!
//! [`Pools`] is a worker's whole; [`Upstream`] is one cluster of it, with the worker's balancer;
//! [`HostPool`] is one host, with its connections. `core` has the rules that both protocols share.
//! Nothing here is `Send`, nothing locks, and what all workers must agree on (limits, counters of
//! hosts) goes through atomics of the cluster. Connections close when their host or cluster is
//! gone, and never under a request.
//!
//! ```ignore
//! let upstream = pools.upstream(cluster);
//! let host = upstream.pick(None).ok_or(NoHost)?;
//! let cx = LeaseCx { priority, downstream: head.version, payload: Payload::Http };
//! let lease = host.lease(cx).await?;
//! ```

mod account;
mod core;
mod h1;
mod h2;
mod lease;
mod tcp;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};

use smallvec::SmallVec;
use tokio::sync::Notify;

pub use h1::H1Conn;
pub use h2::H2Conn;
pub use lease::{LeaseError, Reuse};
pub use tcp::{EndedBy, TcpConn};

use self::account::Owner;
pub use self::core::Payload;
use self::core::{Conn, Opening, Pool, Rules, SWEEP_INTERVAL};
use self::h1::H1;
use self::h2::H2;
use self::lease::{Claim, Claiming};
use super::circuit::{LimitKind, Overflow, RoutingPriority};
use super::connect::{ConnectError, ConnectOptions, Meter, Socket, connect};
use super::lb::PickCx;
use super::pick::Picker;
use super::{Cluster, Host, HostCache};
use crate::base::clock::{self, Instant};
use crate::codec::h1::ClientOptions;
use crate::codec::io::BufferPool;
use crate::codec::{self, Version};
use crate::config::cluster::UpstreamProtocol;
use crate::config::http_protocol::{Http1Options, Http2Options};
use crate::telemetry::WorkerId;
use crate::telemetry::stats::ClusterStat;
use crate::tls::client::Offer;

/// An HTTP/1 connection in a request's hands.
pub type H1Lease = Claim<H1>;

/// A stream's place on a shared HTTP/2 connection.
pub type H2Lease = Claim<H2>;

/// A connection or stream in a request's hands.
#[derive(Debug)]
pub enum Lease {
    /// The whole connection.
    H1(H1Lease),
    /// One stream: wait for `poll_ready` of its connection, then open it with `send`.
    H2(H2Lease),
}

/// What decides which connection a request may have.
#[derive(Clone, Copy, Debug)]
pub struct LeaseCx {
    /// The route's priority; each has its own limits and connections.
    pub priority: RoutingPriority,
    /// What the client speaks, for `use_downstream_protocol_config`.
    pub downstream: Version,
    /// What the connection is to carry.
    pub payload: Payload,
}

/// What a worker's pools share.
#[derive(Debug)]
struct Shared {
    worker: WorkerId,
    buffers: Rc<BufferPool>,
    sweeper: Rc<Notify>,
}

/// All upstream connections of one worker.
#[derive(Debug)]
pub struct Pools {
    shared: Rc<Shared>,
    /// By the cluster's address, which its `Upstream` keeps alive.
    upstreams: RefCell<HashMap<*const Cluster, Rc<Upstream>, ByAddress>>,
    seed: Cell<u64>,
}

impl Pools {
    /// No connection yet. `seed` decides where balancers start.
    #[must_use]
    pub fn new(worker: WorkerId, buffers: Rc<BufferPool>, seed: u64) -> Rc<Self> {
        let shared = Rc::new(Shared { worker, buffers, sweeper: Rc::default() });
        Rc::new(Self { shared, upstreams: RefCell::default(), seed: Cell::new(seed) })
    }

    /// This worker's side of a cluster.
    #[must_use]
    pub fn upstream(&self, cluster: &Arc<Cluster>) -> Rc<Upstream> {
        let mut upstreams = self.upstreams.borrow_mut();
        let upstream = upstreams.entry(Arc::as_ptr(cluster)).or_insert_with(|| {
            let seed = self.seed.get();
            self.seed.set(fastrand::Rng::with_seed(seed).u64(..));
            Rc::new(Upstream::new(cluster, &self.shared, seed))
        });
        Rc::clone(upstream)
    }

    /// Closes what is idle for too long, was closed by its peer or belongs to a host or cluster
    /// that is gone. Returns when to do so again.
    pub fn sweep(&self, now: Instant) -> Instant {
        let upstreams: Vec<_> = self.upstreams.borrow().values().cloned().collect();
        let mut next = now + SWEEP_INTERVAL;
        for upstream in upstreams {
            next = next.min(upstream.sweep(now).unwrap_or(next));
            if upstream.cluster.is_removed() && upstream.is_empty() {
                self.upstreams.borrow_mut().remove(&Arc::as_ptr(&upstream.cluster));
            }
        }
        next
    }

    /// Sweeps until the pools are dropped; the worker runs it as a task.
    pub fn sweeping(self: &Rc<Self>) -> impl Future<Output = ()> + use<> {
        let (pools, sweeper) = (Rc::downgrade(self), Rc::clone(&self.shared.sweeper));
        async move {
            while let Some(next) = Weak::upgrade(&pools).map(|pools| pools.sweep(clock::now())) {
                tokio::select! {
                    // Both are safe to cancel: neither loses anything but the wait.
                    () = tokio::time::sleep_until(next) => {}
                    () = sweeper.notified() => {}
                }
            }
        }
    }
}

/// Hashing of addresses, which nobody outside chooses: one multiplication.
#[derive(Clone, Copy, Debug, Default)]
struct AddressHasher(u64);

type ByAddress = BuildHasherDefault<AddressHasher>;

impl Hasher for AddressHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, address: usize) {
        // An odd constant spreads the bits upwards; the table uses the highest ones.
        self.0 = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// One cluster on one worker.
#[derive(Debug)]
pub struct Upstream {
    cluster: Arc<Cluster>,
    shared: Rc<Shared>,
    h1: Rc<ClientOptions>,
    h2: Rc<codec::h2::Options>,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    hosts: HostCache,
    picker: Picker,
    rng: fastrand::Rng,
    /// By place in the picker's host set; made when first picked.
    pools: Vec<Option<Rc<HostPool>>>,
    /// Hosts that left and still have connections.
    leaving: Vec<Rc<HostPool>>,
}

impl Upstream {
    fn new(cluster: &Arc<Cluster>, shared: &Rc<Shared>, seed: u64) -> Self {
        let config = cluster.config();
        let (default1, default2) = (Http1Options::default(), Http2Options::default());
        let (http1, http2) = match &config.http.protocol {
            UpstreamProtocol::Http1(http1) => (http1, &default2),
            UpstreamProtocol::Http2(http2) => (&default1, http2),
            UpstreamProtocol::UseDownstream { http1, http2 } => (http1, http2),
        };
        let (common, limit) = (&config.http.common, config.per_connection_buffer_limit_bytes);
        let set = Arc::clone(&cluster.hosts());
        let state = State {
            hosts: cluster.host_cache(),
            pools: vec![None; set.hosts().len()],
            picker: Picker::new(set),
            rng: fastrand::Rng::with_seed(seed),
            leaving: Vec::new(),
        };
        Self {
            cluster: Arc::clone(cluster),
            shared: Rc::clone(shared),
            h1: Rc::new(h1::options(http1, common, limit)),
            h2: Rc::new(h2::options(http2, common, limit)),
            state: RefCell::new(state),
        }
    }

    /// The cluster.
    #[must_use]
    pub const fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// A host for a request, by the cluster's policy; `None` if there is no host to use (503 with
    /// flag UH). `hash` is that of the request, where the route gives one.
    pub fn pick(&self, hash: Option<u64>) -> Option<Rc<HostPool>> {
        let mut state = self.state.borrow_mut();
        state.refresh(&self.cluster);
        let State { picker, rng, pools, .. } = &mut *state;
        let Some(pick) = picker.pick(&mut PickCx { rng, hash }) else {
            self.inc(ClusterStat::UpstreamCxNoneHealthy);
            return None;
        };
        if pick.panic {
            self.inc(ClusterStat::LbHealthyPanic);
        }
        let pool = pools[pick.index].get_or_insert_with(|| {
            let host = Arc::clone(&picker.set().hosts()[pick.index]);
            Rc::new(HostPool::new(self, host))
        });
        Some(Rc::clone(pool))
    }

    fn inc(&self, stat: ClusterStat) {
        self.cluster.stats().inc(self.shared.worker, stat);
    }

    fn sweep(&self, now: Instant) -> Option<Instant> {
        let hosts: Vec<_> = {
            let mut state = self.state.borrow_mut();
            state.refresh(&self.cluster);
            state.leaving.retain(|pool| !pool.is_empty());
            state.pools.iter().flatten().chain(&state.leaving).cloned().collect()
        };
        hosts.iter().filter_map(|host| host.sweep(now)).min()
    }

    fn is_empty(&self) -> bool {
        let state = self.state.borrow();
        state.pools.iter().flatten().chain(&state.leaving).all(|pool| pool.is_empty())
    }
}

impl State {
    /// Follows the cluster's host set; hosts that stay keep their connections.
    fn refresh(&mut self, cluster: &Cluster) {
        let current = self.hosts.load();
        if Arc::ptr_eq(current, self.picker.set()) {
            return;
        }
        let set = Arc::clone(current);
        if cluster.config().lb_common.close_connections_on_host_set_change {
            self.pools.iter().flatten().for_each(|pool| pool.drain());
        }
        self.pools.iter().flatten().for_each(|pool| pool.part());
        let mut known: HashMap<*const Host, Rc<HostPool>> =
            self.pools.drain(..).flatten().map(|pool| (Arc::as_ptr(&pool.host), pool)).collect();
        self.pools = set.hosts().iter().map(|host| known.remove(&Arc::as_ptr(host))).collect();
        self.leaving.extend(known.into_values());
        self.picker = Picker::new(set);
    }
}

/// One host on one worker: its connections by priority.
#[derive(Debug)]
pub struct HostPool {
    host: Arc<Host>,
    cluster: Arc<Cluster>,
    shared: Rc<Shared>,
    h1_options: Rc<ClientOptions>,
    h2_options: Rc<codec::h2::Options>,
    h1: RefCell<SmallVec<[Rc<Pool<H1>>; 1]>>,
    /// Connections without a protocol, each for one exchange: never those of `h1`.
    raw: RefCell<SmallVec<[Rc<Pool<H1>>; 1]>>,
    h2: RefCell<SmallVec<[Rc<Pool<H2>>; 1]>>,
    /// The host's, when its connections were last let go here.
    partings: Cell<u32>,
}

impl HostPool {
    fn new(upstream: &Upstream, host: Arc<Host>) -> Self {
        Self {
            cluster: Arc::clone(&upstream.cluster),
            shared: Rc::clone(&upstream.shared),
            h1_options: Rc::clone(&upstream.h1),
            h2_options: Rc::clone(&upstream.h2),
            h1: RefCell::default(),
            raw: RefCell::default(),
            h2: RefCell::default(),
            partings: Cell::new(host.partings()),
            host,
        }
    }

    /// Lets connections go if the host fell ill since this was last asked.
    fn part(&self) {
        let partings = self.host.partings();
        if self.partings.replace(partings) != partings {
            self.drain();
        }
    }

    /// The host.
    #[must_use]
    pub const fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// A connection or stream for a request, at once or later. The limits on requests, pending
    /// requests and connections of the cluster are applied, and given back with the lease.
    pub fn lease(&self, cx: LeaseCx) -> Leasing {
        let http2 = match &self.cluster.config().http.protocol {
            // Bytes alone are of no protocol; that of the cluster does not matter.
            _ if cx.payload == Payload::Raw => false,
            UpstreamProtocol::Http1(_) => false,
            UpstreamProtocol::Http2(_) => true,
            UpstreamProtocol::UseDownstream { .. } => cx.downstream == Version::Http2,
        };
        if http2 {
            Leasing::H2(self.h2_pool(cx.priority).lease())
        } else {
            Leasing::H1(self.h1_pool(cx.priority, cx.payload).lease())
        }
    }

    fn h1_pool(&self, priority: RoutingPriority, payload: Payload) -> Rc<Pool<H1>> {
        let pools = match payload {
            Payload::Http => &self.h1,
            Payload::Raw => &self.raw,
        };
        pool_of(&mut pools.borrow_mut(), priority, || {
            let (options, buffers) = (&self.h1_options, &self.shared.buffers);
            let opener = h1::opener(self.dialer(Offer::Http1), options, buffers);
            self.pool(priority, 1, payload, opener)
        })
    }

    fn h2_pool(&self, priority: RoutingPriority) -> Rc<Pool<H2>> {
        pool_of(&mut self.h2.borrow_mut(), priority, || {
            let opener = h2::opener(self.dialer(Offer::Http2), &self.h2_options);
            let streams = self.h2_options.max_concurrent_streams;
            self.pool(priority, streams, Payload::Http, opener)
        })
    }

    fn dialer(&self, offer: Offer) -> Dialer {
        let meter = Meter { stats: self.cluster.stats().clone(), worker: self.shared.worker };
        let tls = self.cluster.tls().map(|client| (Arc::clone(client), offer));
        let options = ConnectOptions { tls, ..ConnectOptions::from(&**self.cluster.config()) };
        Dialer { host: Arc::clone(&self.host), options, meter }
    }

    fn pool<C: Conn>(
        &self,
        priority: RoutingPriority,
        expected_streams: u32,
        payload: Payload,
        opener: Box<dyn Fn() -> Opening<C>>,
    ) -> Rc<Pool<C>> {
        let owner = Owner {
            cluster: Arc::clone(&self.cluster),
            host: Arc::clone(&self.host),
            worker: self.shared.worker,
            priority,
        };
        let common = &self.cluster.config().http.common;
        let rules = Rules {
            idle_timeout: common.idle_timeout,
            max_age: common.max_connection_duration,
            max_requests: common.max_requests_per_connection,
            expected_streams,
            payload,
        };
        Pool::new(Rc::new(owner), rules, opener, Rc::clone(&self.shared.sweeper))
    }

    /// No connection made so far takes another request.
    fn drain(&self) {
        self.h1.borrow().iter().for_each(|pool| pool.drain());
        self.raw.borrow().iter().for_each(|pool| pool.drain());
        self.h2.borrow().iter().for_each(|pool| pool.drain());
    }

    fn is_empty(&self) -> bool {
        self.h1.borrow().iter().all(|pool| pool.is_empty())
            && self.raw.borrow().iter().all(|pool| pool.is_empty())
            && self.h2.borrow().iter().all(|pool| pool.is_empty())
    }

    fn sweep(&self, now: Instant) -> Option<Instant> {
        let (mut h1, h2) = (self.h1.borrow().clone(), self.h2.borrow().clone());
        h1.extend(self.raw.borrow().iter().cloned());
        let h1 = h1.iter().filter_map(|pool| pool.sweep(now)).min();
        let h2 = h2.iter().filter_map(|pool| pool.sweep(now)).min();
        h1.into_iter().chain(h2).min()
    }
}

/// Makes the connections of a host.
#[derive(Clone, Debug)]
struct Dialer {
    host: Arc<Host>,
    options: ConnectOptions,
    meter: Meter,
}

impl Dialer {
    async fn dial(self) -> Result<Socket, ConnectError> {
        let worker = self.meter.worker;
        let socket = connect(self.host.address(), &self.options, worker).await?;
        Ok(socket.metered(self.meter))
    }
}

/// The pool of a priority, made when it is first needed.
fn pool_of<C: Conn>(
    pools: &mut SmallVec<[Rc<Pool<C>>; 1]>,
    priority: RoutingPriority,
    make: impl FnOnce() -> Rc<Pool<C>>,
) -> Rc<Pool<C>> {
    if let Some(pool) = pools.iter().find(|pool| pool.owner.priority == priority) {
        return Rc::clone(pool);
    }
    let pool = make();
    pools.push(Rc::clone(&pool));
    pool
}

/// A lease that comes now or later; dropping it gives the wait up and frees its place at once.
#[derive(Debug)]
#[must_use = "nothing is leased until it is polled to its end"]
pub enum Leasing {
    /// Over HTTP/1.
    H1(Claiming<H1>),
    /// Over HTTP/2.
    H2(Claiming<H2>),
}

impl Leasing {
    /// Whether it waits for a connection: the request counts as pending.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        match self {
            Self::H1(claiming) => claiming.is_waiting(),
            Self::H2(claiming) => claiming.is_waiting(),
        }
    }
}

impl Future for Leasing {
    type Output = Result<Lease, LeaseError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::H1(claiming) => Pin::new(claiming).poll(cx).map_ok(Lease::H1),
            Self::H2(claiming) => Pin::new(claiming).poll(cx).map_ok(Lease::H2),
        }
    }
}

#[cfg(test)]
mod e2e_tests;
#[cfg(test)]
mod tests;
