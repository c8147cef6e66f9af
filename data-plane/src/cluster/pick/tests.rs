//! Levels, health classes and localities decide whose turn it is.

use super::*;
use crate::cluster::Cluster;
use crate::cluster::host::HealthFlag;
use crate::cluster::testing::{cluster, endpoints, locality};
use crate::config::cluster::{ClusterConfig, LocalityLb};
use crate::config::endpoint::LocalityConfig;
use crate::telemetry::stats::Registry;

fn weighted(zone: &str, weight: u32, ports: &[u16]) -> LocalityConfig {
    LocalityConfig { weight: Some(weight), ..locality(zone, 0, ports) }
}

fn by_locality(localities: Vec<LocalityConfig>) -> Cluster {
    let mut config = cluster(endpoints(localities));
    config.lb.locality = LocalityLb::Weighted;
    Cluster::new(Arc::new(config), &Registry::new(1))
}

fn of(config: ClusterConfig) -> Cluster {
    Cluster::new(Arc::new(config), &Registry::new(1))
}

/// Picks of `workers` pickers by host, and whether all or none of them were in panic.
fn shares(cluster: &Cluster, workers: u64, picks: usize) -> (Vec<usize>, bool) {
    let set = Arc::clone(&cluster.hosts());
    let mut counts = vec![0; set.hosts().len()];
    let mut panics = 0;
    for worker in 0..workers {
        let mut rng = fastrand::Rng::with_seed(worker);
        let mut picker = Picker::new(Arc::clone(&set));
        for _ in 0..picks {
            let pick = picker.pick(&mut PickCx { rng: &mut rng, hash: None }).unwrap();
            counts[pick.index] += 1;
            panics += usize::from(pick.panic);
        }
    }
    let all = picks * usize::try_from(workers).unwrap();
    assert!(panics == 0 || panics == all);
    (counts, panics > 0)
}

fn fail(cluster: &Cluster, hosts: &[usize]) {
    for host in hosts {
        cluster.hosts().hosts()[*host].set_flag(HealthFlag::FailedActiveHc, true);
    }
    cluster.refresh();
}

fn near(counts: &[usize], expected: &[usize], percent: usize) {
    for (count, expected) in counts.iter().zip(expected) {
        assert!(count.abs_diff(*expected) * 100 <= expected * percent, "{counts:?}");
    }
}

#[test]
fn three_equal_hosts_on_two_workers_get_a_third_each() {
    let cluster = of(cluster(endpoints(vec![locality("", 0, &[1, 2, 3])])));
    near(&shares(&cluster, 2, 15_000).0, &[10_000; 3], 3);
}

#[test]
fn no_host_is_no_pick() {
    let cluster = of(cluster(endpoints(Vec::new())));
    let mut picker = Picker::new(Arc::clone(&cluster.hosts()));
    let mut rng = fastrand::Rng::with_seed(0);
    assert_eq!(picker.pick(&mut PickCx { rng: &mut rng, hash: None }), None);
}

#[test]
fn unhealthy_hosts_get_nothing_until_panic() {
    let cluster = of(cluster(endpoints(vec![locality("", 0, &[1, 2, 3, 4])])));
    fail(&cluster, &[0]);
    let (counts, panic) = shares(&cluster, 1, 300);
    assert_eq!((counts, panic), (vec![0, 100, 100, 100], false));
    fail(&cluster, &[1, 2]);
    assert_eq!(shares(&cluster, 1, 400), (vec![100; 4], true));
}

#[test]
fn requests_spill_to_the_next_priority() {
    let levels = vec![locality("", 0, &[1, 2]), locality("", 1, &[3, 4])];
    let cluster = of(cluster(endpoints(levels)));
    assert_eq!(shares(&cluster, 1, 100).0, [50, 50, 0, 0]);
    fail(&cluster, &[0]);
    near(&shares(&cluster, 1, 10_000).0, &[0, 7000, 1500, 1500], 5);
    fail(&cluster, &[1]);
    assert_eq!(shares(&cluster, 1, 100).0, [0, 0, 50, 50]);
}

#[test]
fn degraded_hosts_take_the_rest() {
    let cluster = of(cluster(endpoints(vec![locality("", 0, &[1, 2])])));
    cluster.hosts().hosts()[1].set_flag(HealthFlag::DegradedActiveHc, true);
    cluster.refresh();
    near(&shares(&cluster, 1, 10_000).0, &[7000, 3000], 5);
}

#[test]
fn localities_share_by_weight_and_health() {
    let cluster = by_locality(vec![weighted("a", 1, &[1, 2]), weighted("b", 3, &[3, 4])]);
    near(&shares(&cluster, 2, 4000).0, &[1000, 1000, 3000, 3000], 1);
    // Half of b is left: 3 × min(1, 1.4 × 0.5) = 2.1 against 1.
    fail(&cluster, &[2]);
    near(&shares(&cluster, 1, 3100).0, &[500, 500, 0, 2100], 2);
}

#[test]
fn a_locality_without_weight_gets_nothing() {
    let cluster = by_locality(vec![locality("a", 0, &[1]), weighted("b", 1, &[2])]);
    assert_eq!(shares(&cluster, 1, 100).0, [0, 100]);
}

#[test]
fn traffic_may_fail_in_panic() {
    let mut config = cluster(endpoints(vec![locality("", 0, &[1, 2])]));
    config.lb.locality = LocalityLb::ZoneAware {
        routing_enabled_percent: 100.0,
        min_cluster_size: 6,
        fail_traffic_on_panic: true,
    };
    let cluster = of(config);
    fail(&cluster, &[0, 1]);
    let mut picker = Picker::new(Arc::clone(&cluster.hosts()));
    let mut rng = fastrand::Rng::with_seed(0);
    assert_eq!(picker.pick(&mut PickCx { rng: &mut rng, hash: None }), None);
}
