//! Limits hold under any order of taking and returning, and from many threads.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// An owner as the cluster is one.
#[derive(Clone, Debug)]
struct Owner(Arc<Limits>);

impl AsRef<Limits> for Owner {
    fn as_ref(&self) -> &Limits {
        &self.0
    }
}

fn owner(max: u32) -> Owner {
    let thresholds = Thresholds {
        max_connections: max,
        max_pending_requests: max,
        max_requests: max,
        max_retries: max,
        track_remaining: true,
        ..Thresholds::default()
    };
    Owner(Arc::new(Limits::new(&thresholds, &Thresholds::default())))
}

const KINDS: [LimitKind; 4] =
    [LimitKind::Connections, LimitKind::PendingRequests, LimitKind::Requests, LimitKind::Retries];

proptest! {
    #[test]
    fn permits_return_to_zero_and_stay_below_max(
        max in 0u32..5,
        steps in proptest::collection::vec((0usize..4, any::<bool>(), any::<bool>()), 0..200),
    ) {
        let owner = owner(max);
        let mut held = Vec::new();
        for (kind, take, high) in steps {
            let priority =
                if high { RoutingPriority::High } else { RoutingPriority::Default };
            if take {
                let limit = owner.0.counter(priority, KINDS[kind]).max();
                let used = owner.0.counter(priority, KINDS[kind]).used();
                let taken = Limits::try_acquire(owner.clone(), priority, KINDS[kind]);
                prop_assert_eq!(taken.is_ok(), used < limit);
                held.extend(taken);
            } else if !held.is_empty() {
                drop(held.swap_remove(kind % held.len()));
            }
            for kind in KINDS {
                let counter = owner.0.counter(RoutingPriority::Default, kind);
                prop_assert!(counter.used() <= max);
            }
        }
        drop(held);
        for priority in RoutingPriority::ALL {
            for kind in KINDS {
                prop_assert_eq!(owner.0.counter(priority, kind).used(), 0);
            }
        }
    }
}

#[test]
fn threads_never_pass_the_limit() {
    let owner = owner(2);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5000 {
                    let kind = LimitKind::Requests;
                    let held = Limits::try_acquire(&owner, RoutingPriority::Default, kind);
                    assert!(owner.0.counter(RoutingPriority::Default, kind).used() <= 2);
                    drop(held);
                }
            });
        }
    });
    assert_eq!(owner.0.counter(RoutingPriority::Default, LimitKind::Requests).used(), 0);
}

#[test]
fn gauges_tell_open_and_remaining() {
    let owner = owner(1);
    let value = |stat: ClusterStat| {
        owner.0.gauges(RoutingPriority::Default).find(|(s, _)| *s == stat).unwrap().1
    };
    let rq = || {
        (
            value(ClusterStat::CircuitBreakersDefaultRqOpen),
            value(ClusterStat::CircuitBreakersDefaultRemainingRq),
        )
    };
    let cx = || {
        (
            value(ClusterStat::CircuitBreakersDefaultCxOpen),
            value(ClusterStat::CircuitBreakersDefaultRemainingCx),
        )
    };
    assert_eq!(rq(), (0, 1));
    let held = Limits::try_acquire(&owner, RoutingPriority::Default, LimitKind::Requests).unwrap();
    assert_eq!(rq(), (1, 0));
    drop(held);
    let soft = Limits::connection_anyway(&owner, RoutingPriority::Default);
    let softer = Limits::connection_anyway(&owner, RoutingPriority::Default);
    assert_eq!(cx(), (1, 0));
    drop((soft, softer));
    assert_eq!(cx(), (0, 1));
    // Envoy shows what is left of all that a number can say.
    owner.0.pool_made(RoutingPriority::Default);
    let pools = value(ClusterStat::CircuitBreakersDefaultRemainingCxPools);
    assert_eq!(pools, 18_446_744_073_709_551_614);
}

#[test]
fn untracked_remaining_is_no_gauge() {
    let owner = owner(1);
    let high: Vec<_> = owner.0.gauges(RoutingPriority::High).collect();
    assert_eq!(high.len(), 4);
    assert!(high.contains(&(ClusterStat::CircuitBreakersHighRqOpen, 0)));
}

#[test]
fn a_retry_budget_follows_the_requests_in_progress() {
    let budget = RetryBudget { budget_basis_points: 2_000, min_retry_concurrency: 1 };
    let thresholds = Thresholds { retry_budget: Some(budget), ..Thresholds::default() };
    let owner = Owner(Arc::new(Limits::new(&thresholds, &Thresholds::default())));
    let take = |kind| Limits::try_acquire(&owner, RoutingPriority::Default, kind);
    let first = take(LimitKind::Retries).unwrap();
    let overflow = take(LimitKind::Retries).unwrap_err();
    assert_eq!(overflow, Overflow(LimitKind::Retries));
    let requests: Vec<_> = (0..10).map(|_| take(LimitKind::Requests).unwrap()).collect();
    let second = take(LimitKind::Retries).unwrap();
    assert!(take(LimitKind::Retries).is_err());
    drop((first, second, requests));
    assert_eq!(owner.0.counter(RoutingPriority::Default, LimitKind::Retries).used(), 0);
}
