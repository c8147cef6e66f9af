//! Shares of the policies, with seeded randomness.

use std::net::SocketAddr;

use super::*;
use crate::cluster::host::HostSpec;
use std::sync::atomic::Ordering;

fn hosts(weights: &[u32]) -> Vec<Arc<Host>> {
    let host = |(index, weight): (usize, &u32)| {
        let port = 1000 + u16::try_from(index).unwrap();
        let spec = HostSpec::new(SocketAddr::from(([127, 0, 0, 1], port)));
        Arc::new(Host::new(&HostSpec { weight: *weight, ..spec }))
    };
    weights.iter().enumerate().map(host).collect()
}

/// Picks of `workers` balancers, each with its own seed.
fn counts(
    factory: &dyn BalancerFactory,
    hosts: &[Arc<Host>],
    workers: u64,
    picks: usize,
) -> Vec<usize> {
    let mut counts = vec![0; hosts.len()];
    for worker in 0..workers {
        let mut rng = fastrand::Rng::with_seed(worker);
        let mut balancer = factory.balancer(hosts, rng.u64(..));
        let mut cx = PickCx { rng: &mut rng, hash: None };
        for _ in 0..picks {
            counts[balancer.pick(hosts, &mut cx).unwrap()] += 1;
        }
    }
    counts
}

fn assert_near(counts: &[usize], expected: &[usize], percent: usize) {
    for (count, expected) in counts.iter().zip(expected) {
        assert!(count.abs_diff(*expected) * 100 <= expected * percent, "{counts:?}");
    }
}

#[test]
fn three_equal_hosts_get_a_third_each_over_two_workers() {
    let hosts = hosts(&[1, 1, 1]);
    let thirds = [10_000; 3];
    assert_near(&counts(&RoundRobin, &hosts, 2, 15_000), &thirds, 0);
    assert_near(&counts(&Random, &hosts, 2, 15_000), &thirds, 3);
    assert_near(&counts(&LeastRequest::default(), &hosts, 2, 15_000), &thirds, 3);
}

#[test]
fn round_robin_follows_weights() {
    let hosts = hosts(&[1, 2, 7]);
    assert_near(&counts(&RoundRobin, &hosts, 4, 2_500), &[1000, 2000, 7000], 1);
}

#[test]
fn round_robin_workers_start_at_different_places() {
    let hosts = hosts(&[1, 1, 1, 1]);
    let mut first = [0; 4];
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..64 {
        let mut balancer = RoundRobin.balancer(&hosts, rng.u64(..));
        first[balancer.pick(&hosts, &mut PickCx { rng: &mut rng, hash: None }).unwrap()] += 1;
    }
    assert!(first.iter().all(|count| *count > 4), "{first:?}");
}

#[test]
fn random_ignores_weights() {
    let hosts = hosts(&[1, 9]);
    assert_near(&counts(&Random, &hosts, 1, 10_000), &[5000, 5000], 3);
}

#[test]
fn least_request_avoids_the_busy_host() {
    let hosts = hosts(&[1, 1]);
    hosts[0].stats.rq_active.store(5, Ordering::Relaxed);
    let picks = counts(&LeastRequest::default(), &hosts, 1, 10_000);
    // The busy one is taken only when both choices fall on it.
    assert_near(&picks, &[2500, 7500], 5);
    let scan = LeastRequest { selection: Selection::FullScan, ..LeastRequest::default() };
    assert_eq!(counts(&scan, &hosts, 1, 100), [0, 100]);
}

#[test]
fn more_choices_find_the_idle_host_more_often() {
    let hosts = hosts(&[1, 1, 1, 1]);
    for host in &hosts[1..] {
        host.stats.rq_active.store(1, Ordering::Relaxed);
    }
    let picked = |choice_count| {
        let policy = LeastRequest { choice_count, ..LeastRequest::default() };
        counts(&policy, &hosts, 1, 10_000)[0]
    };
    // 1 - (3/4)^n of the picks.
    assert!(picked(2).abs_diff(4375) < 200);
    assert!(picked(8).abs_diff(8999) < 200);
}

#[test]
fn weighted_least_request_counts_requests_in_progress() {
    let hosts = hosts(&[1, 3]);
    let policy = LeastRequest::default();
    assert_near(&counts(&policy, &hosts, 1, 8000), &[2000, 6000], 1);
    hosts[1].stats.rq_active.store(2, Ordering::Relaxed);
    assert_near(&counts(&policy, &hosts, 1, 8000), &[4000, 4000], 1);
    let unbiased = LeastRequest { active_request_bias: 0.0, ..policy };
    assert_near(&counts(&unbiased, &hosts, 1, 8000), &[2000, 6000], 1);
}

#[test]
fn no_host_no_pick() {
    let policies: [&dyn BalancerFactory; 3] = [&RoundRobin, &Random, &LeastRequest::default()];
    for factory in policies {
        let mut rng = fastrand::Rng::with_seed(0);
        let mut balancer = factory.balancer(&[], 5);
        assert_eq!(balancer.pick(&[], &mut PickCx { rng: &mut rng, hash: None }), None);
    }
}
