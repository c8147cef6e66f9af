//! The pool's rules, with connections that need no socket.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::account::Owner;
use super::core::{ConnState, Opening, Rules};
use super::core::{Pool, Restored};
use super::lease::{Claim, Claiming};
use super::*;
use crate::base::clock;
use crate::cluster::circuit::{LimitKind, Overflow, RoutingPriority};
use crate::cluster::connect::{ConnectError, ConnectErrorKind};
use crate::cluster::testing::{cluster, endpoints, locality};
use crate::cluster::{Cluster, Limits};
use crate::config::cluster::Thresholds;
use crate::telemetry::WorkerId;
use crate::telemetry::stats::{ClusterStat, Registry};

/// A connection whose fate the test decides.
#[derive(Clone, Debug)]
struct Fake {
    closed: Rc<Cell<bool>>,
    leaving: Rc<Cell<bool>>,
    streams: u32,
}

impl Conn for Fake {
    type Handle = Rc<Cell<bool>>;
    const TOTAL: ClusterStat = ClusterStat::UpstreamCxHttp1Total;

    fn open(&self) -> Option<Self::Handle> {
        (!self.closed.get()).then(|| Rc::clone(&self.closed))
    }

    fn restore(&self, handle: Self::Handle) -> Restored {
        assert!(Rc::ptr_eq(&handle, &self.closed));
        Restored::Usable
    }

    fn concurrency(&self) -> u32 {
        self.streams
    }

    fn is_shared(&self) -> bool {
        self.streams > 1
    }

    fn state(&self) -> ConnState {
        match (self.closed.get(), self.leaving.get()) {
            (true, _) => ConnState::Closed,
            (_, true) => ConnState::Leaving,
            _ => ConnState::Open,
        }
    }
}

type Attempt = Rc<RefCell<Option<Result<Fake, ConnectError>>>>;

/// A pool, and the attempts that it made.
struct Rig {
    cluster: Arc<Cluster>,
    pool: Rc<Pool<Fake>>,
    attempts: Rc<RefCell<Vec<Attempt>>>,
    streams: u32,
}

const RULES: Rules = Rules {
    idle_timeout: None,
    max_age: None,
    max_requests: None,
    expected_streams: 1,
    payload: Payload::Http,
};

impl Rig {
    fn new(thresholds: Thresholds, rules: Rules) -> Self {
        let mut config = cluster(endpoints(vec![locality("", 0, &[1])]));
        config.circuit_breakers.default = thresholds;
        let cluster = Arc::new(Cluster::new(Arc::new(config), &Registry::new(1)));
        let owner = Rc::new(Owner {
            cluster: Arc::clone(&cluster),
            host: Arc::clone(&cluster.hosts().hosts()[0]),
            worker: WorkerId::worker(0),
            priority: RoutingPriority::Default,
        });
        let attempts: Rc<RefCell<Vec<Attempt>>> = Rc::default();
        let made = Rc::clone(&attempts);
        let opener = move || -> Opening<Fake> {
            let attempt = Attempt::default();
            made.borrow_mut().push(Rc::clone(&attempt));
            Box::pin(poll_fn(move |cx| match attempt.take() {
                Some(outcome) => Poll::Ready(outcome),
                None => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            }))
        };
        let streams = rules.expected_streams;
        let pool = Pool::new(owner, rules, Box::new(opener), Rc::default());
        Self { cluster, pool, attempts, streams }
    }

    /// Lets the `index`th attempt succeed.
    async fn succeed(&self, index: usize) -> Fake {
        let (closed, leaving) = Default::default();
        let fake = Fake { closed, leaving, streams: self.streams };
        self.end(index, Ok(fake.clone())).await;
        fake
    }

    async fn end(&self, index: usize, outcome: Result<Fake, ConnectError>) {
        *self.attempts.borrow()[index].borrow_mut() = Some(outcome);
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }

    fn attempts(&self) -> usize {
        self.attempts.borrow().len()
    }

    fn stat(&self, stat: ClusterStat) -> u64 {
        self.cluster.stats().value(stat)
    }

    fn used(&self, kind: LimitKind) -> u32 {
        self.cluster.limits().counter(RoutingPriority::Default, kind).used()
    }

    /// Every limit and gauge is back to zero.
    fn assert_at_rest(&self, connections: u32) {
        assert_eq!(self.used(LimitKind::Requests), 0);
        assert_eq!(self.used(LimitKind::PendingRequests), 0);
        assert_eq!(self.used(LimitKind::Connections), connections);
        assert_eq!(self.stat(ClusterStat::UpstreamRqActive), 0);
        assert_eq!(self.stat(ClusterStat::UpstreamRqPendingActive), 0);
        assert_eq!(self.stat(ClusterStat::UpstreamCxActive), u64::from(connections));
        let stats: std::collections::HashMap<_, _> =
            self.pool.owner.host.stats.values().into_iter().collect();
        assert_eq!((stats["rq_active"], stats["cx_active"]), (0, u64::from(connections)));
    }
}

fn now_or_pending(leasing: &mut Claiming<Fake>) -> Option<Result<Claim<Fake>, LeaseError>> {
    match Pin::new(leasing).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

fn leased(leasing: &mut Claiming<Fake>) -> Claim<Fake> {
    now_or_pending(leasing).expect("a lease by now").unwrap()
}

fn refused() -> ConnectError {
    ConnectError { kind: ConnectErrorKind::Remote, transport: "why".into() }
}

#[tokio::test(flavor = "local")]
async fn a_connection_is_kept_and_the_last_one_used_is_taken_first() {
    let rig = Rig::new(Thresholds::default(), RULES);
    let (mut one, mut two) = (rig.pool.lease(), rig.pool.lease());
    assert!(one.is_waiting());
    rig.succeed(0).await;
    let second = rig.succeed(1).await;
    let (one, two) = (leased(&mut one), leased(&mut two));
    assert!(one.is_first());
    one.finish(Reuse::Keep);
    two.finish(Reuse::Keep);
    let mut again = leased(&mut rig.pool.lease());
    assert!(Rc::ptr_eq(again.conn(), &second.closed));
    assert!(!again.is_first());
    again.finish(Reuse::Keep);
    assert_eq!(rig.attempts(), 2);
    assert_eq!(rig.stat(ClusterStat::UpstreamRqTotal), 3);
    assert_eq!(rig.stat(ClusterStat::UpstreamRqPendingTotal), 2);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxHttp1Total), 2);
    rig.assert_at_rest(2);
}

#[tokio::test(flavor = "local")]
async fn a_dropped_lease_closes_its_connection() {
    let rig = Rig::new(Thresholds::default(), RULES);
    let mut leasing = rig.pool.lease();
    rig.succeed(0).await;
    drop(leased(&mut leasing));
    assert_eq!(rig.stat(ClusterStat::UpstreamCxDestroyLocalWithActiveRq), 1);
    assert!(rig.pool.is_empty());
    rig.assert_at_rest(0);
}

#[tokio::test(flavor = "local")]
async fn a_connection_closed_while_idle_is_not_leased() {
    let rig = Rig::new(Thresholds::default(), RULES);
    let mut leasing = rig.pool.lease();
    let fake = rig.succeed(0).await;
    leased(&mut leasing).finish(Reuse::Keep);
    fake.closed.set(true);
    assert!(rig.pool.lease().is_waiting());
    assert_eq!(rig.stat(ClusterStat::UpstreamCxDestroyRemote), 1);
    assert_eq!(rig.attempts(), 2);
}

#[tokio::test(flavor = "local")]
async fn an_attempt_for_one_client_gives_all_back_failed_or_given_up() {
    let rig = Rig::new(Thresholds { max_requests: 0, ..Thresholds::default() }, RULES);
    let pools = Pools::new(WorkerId::worker(0), BufferPool::new(1), 7);
    let host = pools.upstream(&rig.cluster).pick(None).unwrap();
    // Nobody listens at port 1.
    assert!(matches!(host.connect().await, Err(LeaseError::Connect(_))));
    assert_eq!(rig.stat(ClusterStat::UpstreamRqPendingFailureEject), 1);
    let mut waiting = Box::pin(host.connect());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(waiting);
    assert_eq!(rig.stat(ClusterStat::UpstreamRqCancelled), 1);
    for kind in [LimitKind::Connections, LimitKind::PendingRequests, LimitKind::Requests] {
        assert_eq!(rig.used(kind), 0);
    }
    assert_eq!(rig.stat(ClusterStat::UpstreamCxActive), 0);
}

#[tokio::test(flavor = "local")]
async fn pending_requests_are_limited_and_freed_at_once() {
    let limits = Thresholds { max_pending_requests: 1, ..Thresholds::default() };
    let rig = Rig::new(limits, RULES);
    let waiting = rig.pool.lease();
    let refused = now_or_pending(&mut rig.pool.lease()).unwrap().unwrap_err();
    assert_eq!(refused, LeaseError::Overflow(Overflow(LimitKind::PendingRequests)));
    assert_eq!(rig.stat(ClusterStat::UpstreamRqPendingOverflow), 1);
    drop(waiting);
    assert_eq!(rig.used(LimitKind::PendingRequests), 0);
    assert_eq!(rig.stat(ClusterStat::UpstreamRqCancelled), 1);
    // The attempt goes on and its connection waits for the next request.
    rig.succeed(0).await;
    leased(&mut rig.pool.lease()).finish(Reuse::Keep);
    rig.assert_at_rest(1);
}

#[tokio::test(flavor = "local")]
async fn at_max_connections_requests_wait_for_the_one_there_is() {
    let limits = Thresholds { max_connections: 1, ..Thresholds::default() };
    let rig = Rig::new(limits, RULES);
    let (mut one, mut two) = (rig.pool.lease(), rig.pool.lease());
    assert_eq!(rig.attempts(), 1);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxOverflow), 1);
    rig.succeed(0).await;
    assert!(now_or_pending(&mut two).is_none());
    leased(&mut one).finish(Reuse::Keep);
    leased(&mut two).finish(Reuse::Keep);
    // Counted once a request that asks, not again when it is served.
    assert_eq!(rig.stat(ClusterStat::UpstreamCxOverflow), 1);
    rig.assert_at_rest(1);
}

#[tokio::test(flavor = "local")]
async fn a_pool_without_connections_may_open_one_above_the_limit() {
    let limits = Thresholds { max_connections: 0, ..Thresholds::default() };
    let rig = Rig::new(limits, RULES);
    let mut leasing = rig.pool.lease();
    rig.succeed(0).await;
    leased(&mut leasing).finish(Reuse::Keep);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxOverflow), 1);
    rig.assert_at_rest(1);
}

#[tokio::test(flavor = "local")]
async fn requests_in_progress_are_limited() {
    let limits = Thresholds { max_requests: 1, ..Thresholds::default() };
    let rig = Rig::new(limits, RULES);
    let (mut one, mut two) = (rig.pool.lease(), rig.pool.lease());
    rig.succeed(0).await;
    rig.succeed(1).await;
    let held = leased(&mut one);
    let refused = now_or_pending(&mut two).unwrap().unwrap_err();
    assert_eq!(refused, LeaseError::Overflow(Overflow(LimitKind::Requests)));
    held.finish(Reuse::Keep);
    assert_eq!(rig.stat(ClusterStat::UpstreamRqActiveOverflow), 1);
    assert_eq!(rig.stat(ClusterStat::UpstreamRqPendingOverflow), 0);
    rig.assert_at_rest(2);
}

#[tokio::test(flavor = "local")]
async fn a_failed_attempt_fails_those_who_wait() {
    let rig = Rig::new(Thresholds::default(), RULES);
    let mut leasing = rig.pool.lease();
    rig.end(0, Err(refused())).await;
    let error = now_or_pending(&mut leasing).unwrap().unwrap_err();
    assert_eq!(error, LeaseError::Connect(refused()));
    assert_eq!(error.to_string(), "remote connection failure");
    assert_eq!(rig.stat(ClusterStat::UpstreamCxConnectFail), 1);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxHttp1Total), 1);
    assert_eq!(rig.stat(ClusterStat::UpstreamRqPendingFailureEject), 1);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxDestroyRemote), 1);
    assert!(rig.pool.is_empty());
    rig.assert_at_rest(0);
}

#[tokio::test(flavor = "local")]
async fn a_timeout_is_counted_as_one() {
    let rig = Rig::new(Thresholds::default(), RULES);
    let mut leasing = rig.pool.lease();
    rig.end(0, Err(ConnectError::timeout())).await;
    let error = now_or_pending(&mut leasing).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "connection timeout");
    assert_eq!(rig.stat(ClusterStat::UpstreamCxConnectTimeout), 1);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxDestroyLocal), 1);
}

#[tokio::test(flavor = "local")]
async fn max_requests_per_connection_ends_it() {
    let rig = Rig::new(Thresholds::default(), Rules { max_requests: Some(2), ..RULES });
    let mut leasing = rig.pool.lease();
    rig.succeed(0).await;
    leased(&mut leasing).finish(Reuse::Keep);
    leased(&mut rig.pool.lease()).finish(Reuse::Keep);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxMaxRequests), 1);
    assert!(rig.pool.is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_lease_that_nobody_takes_goes_back_clean() {
    let rig = Rig::new(Thresholds::default(), RULES);
    let leasing = rig.pool.lease();
    rig.succeed(0).await;
    drop(leasing);
    rig.assert_at_rest(1);
    leased(&mut rig.pool.lease()).finish(Reuse::Keep);
    assert_eq!(rig.attempts(), 1);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_sweep_closes_what_is_idle_too_long_or_too_old() {
    let idle_timeout = Some(Duration::from_secs(10));
    let max_age = Some(Duration::from_secs(60));
    let rig = Rig::new(Thresholds::default(), Rules { idle_timeout, max_age, ..RULES });
    let mut leasing = rig.pool.lease();
    rig.succeed(0).await;
    leased(&mut leasing).finish(Reuse::Keep);
    let deadline = rig.pool.sweep(clock::now()).unwrap();
    assert_eq!(deadline, clock::now() + Duration::from_secs(10));
    rig.pool.sweep(deadline);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxIdleTimeout), 1);
    assert!(rig.pool.is_empty());

    let mut leasing = rig.pool.lease();
    rig.succeed(1).await;
    let held = leased(&mut leasing);
    tokio::time::advance(Duration::from_secs(61)).await;
    held.finish(Reuse::Keep);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxMaxDurationReached), 1);
    rig.assert_at_rest(0);
}

#[tokio::test(flavor = "local")]
async fn a_removed_host_keeps_no_connection_but_ends_none_under_a_request() {
    let rig = Rig::new(Thresholds::default(), RULES);
    let (mut one, mut two) = (rig.pool.lease(), rig.pool.lease());
    rig.succeed(0).await;
    rig.succeed(1).await;
    let (one, two) = (leased(&mut one), leased(&mut two));
    one.finish(Reuse::Keep);
    rig.pool.owner.host.set_removed();
    rig.pool.sweep(clock::now());
    assert_eq!(rig.stat(ClusterStat::UpstreamCxActive), 1);
    two.finish(Reuse::Keep);
    assert!(rig.pool.is_empty());
    rig.assert_at_rest(0);
}

#[tokio::test(flavor = "local")]
async fn a_drained_pool_makes_new_connections_and_ends_none_under_a_request() {
    let rig = Rig::new(Thresholds::default(), RULES);
    let (mut one, mut two) = (rig.pool.lease(), rig.pool.lease());
    rig.succeed(0).await;
    rig.succeed(1).await;
    let (one, two) = (leased(&mut one), leased(&mut two));
    one.finish(Reuse::Keep);
    rig.pool.drain();
    assert_eq!(rig.stat(ClusterStat::UpstreamCxActive), 1);
    two.finish(Reuse::Keep);
    rig.assert_at_rest(0);
    let mut next = rig.pool.lease();
    rig.succeed(2).await;
    leased(&mut next).finish(Reuse::Keep);
    rig.assert_at_rest(1);
}

#[tokio::test(flavor = "local")]
async fn a_shared_connection_carries_many_and_outlives_a_broken_one() {
    let rig = Rig::new(Thresholds::default(), Rules { expected_streams: 2, ..RULES });
    let mut waiting: Vec<_> = (0..3).map(|_| rig.pool.lease()).collect();
    // Two fit on the first connection, the third asks for another one.
    assert_eq!(rig.attempts(), 2);
    rig.succeed(0).await;
    let one = leased(&mut waiting[0]);
    drop(leased(&mut waiting[1]));
    leased(&mut waiting[2]).finish(Reuse::Keep);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxDestroy), 0);
    one.finish(Reuse::Keep);
    rig.succeed(1).await;
    rig.assert_at_rest(2);
}

#[tokio::test(flavor = "local")]
async fn a_connection_whose_peer_leaves_ends_with_its_last_request() {
    let rig = Rig::new(Thresholds::default(), Rules { expected_streams: 2, ..RULES });
    let mut leasing = rig.pool.lease();
    let fake = rig.succeed(0).await;
    let held = leased(&mut leasing);
    fake.leaving.set(true);
    assert!(rig.pool.lease().is_waiting());
    assert_eq!(rig.attempts(), 2);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxDestroy), 0);
    held.finish(Reuse::Keep);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxCloseNotify), 1);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxDestroyLocal), 1);
}

#[tokio::test(flavor = "local")]
async fn any_order_of_events_comes_to_rest() {
    let mut rng = fastrand::Rng::with_seed(11);
    for round in 0..200 {
        let limits = Thresholds {
            max_connections: rng.u32(0..3),
            max_pending_requests: rng.u32(1..4),
            max_requests: rng.u32(1..4),
            ..Thresholds::default()
        };
        let expected_streams = rng.u32(1..3);
        let rig = Rig::new(limits, Rules { expected_streams, ..RULES });
        storm(&rig, &mut rng).await;
        let connections = rig.used(LimitKind::Connections);
        rig.assert_at_rest(connections);
        rig.pool.owner.host.set_removed();
        rig.pool.sweep(clock::now());
        assert!(rig.pool.is_empty(), "round {round}: {:?}", rig.pool);
        rig.assert_at_rest(0);
    }
}

/// Leases, returns, cancels, connects and fails at random, then lets everything end.
async fn storm(rig: &Rig, rng: &mut fastrand::Rng) {
    let (mut waiting, mut held) = (Vec::new(), Vec::new());
    let mut ended = 0;
    for _ in 0..40 {
        match rng.u8(..5) {
            0 | 1 => waiting.push(rig.pool.lease()),
            2 if ended < rig.attempts() => {
                if rng.bool() {
                    rig.succeed(ended).await;
                } else {
                    rig.end(ended, Err(refused())).await;
                }
                ended += 1;
            }
            3 if !waiting.is_empty() => {
                let mut leasing = waiting.swap_remove(rng.usize(..waiting.len()));
                held.extend(now_or_pending(&mut leasing).and_then(Result::ok));
            }
            4 if !held.is_empty() => {
                let lease: Claim<Fake> = held.swap_remove(rng.usize(..held.len()));
                let reuse = if rng.bool() { Reuse::Keep } else { Reuse::Close };
                lease.finish(reuse);
            }
            _ => {}
        }
        let limits: &Limits = rig.cluster.limits();
        let requests = limits.counter(RoutingPriority::Default, LimitKind::Requests);
        assert!(requests.used() <= requests.max());
    }
    drop((waiting, held));
    while ended < rig.attempts() {
        rig.end(ended, Err(refused())).await;
        ended += 1;
    }
}
