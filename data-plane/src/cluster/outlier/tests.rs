//! Ejection and return, with a clock that the tests set.

use std::time::Duration;

use super::judge::Judge;
use super::*;
use crate::base::clock::Instant;
use crate::cluster::host::HealthFlag;
use crate::cluster::testing::{cluster, endpoints, locality};
use crate::config::cluster::outlier::{Consecutive, OutlierConfig};
use crate::telemetry::stats::{Query, Registry, Value};

struct Rig {
    cluster: Cluster,
    judge: Judge,
    now: Instant,
    registry: Registry,
}

impl Rig {
    fn new(hosts: u16, config: OutlierConfig) -> Self {
        let ports: Vec<u16> = (1..=hosts).collect();
        let mut cluster_config = cluster(endpoints(vec![locality("", 0, &ports)]));
        cluster_config.outlier = Some(Arc::new(config));
        let registry = Registry::new(1);
        let cluster = Cluster::new(Arc::new(cluster_config), &registry);
        let detector = cluster.outlier().unwrap();
        let rng = fastrand::Rng::with_seed(1);
        let mut judge = Judge::new(&detector.config, detector.stats.clone(), rng);
        judge.follow(cluster.hosts().hosts());
        Self { cluster, judge, now: clock::now(), registry }
    }

    fn say(&self, host: usize, report: Report, times: usize) {
        let hosts = self.cluster.hosts();
        for _ in 0..times {
            self.cluster.report(&hosts.hosts()[host], report);
        }
    }

    fn consecutive(&mut self) -> bool {
        self.judge.consecutive(self.now)
    }

    fn pass(&mut self, time: Duration) -> bool {
        self.now += time;
        self.judge.interval(self.now)
    }

    fn out(&self) -> Vec<usize> {
        let hosts = self.cluster.hosts();
        let out = hosts.hosts().iter().enumerate();
        out.filter(|(_, h)| h.has_flag(HealthFlag::FailedOutlier)).map(|(at, _)| at).collect()
    }

    fn stat(&self, name: &str) -> u64 {
        let name = format!("cluster.backend.outlier_detection.{name}");
        let rows = self.registry.rows(&Query::default());
        let row = rows.into_iter().find(|row| row.name == name);
        match row.unwrap_or_else(|| panic!("no {name}")).value {
            Value::Counter(value) | Value::Gauge(value) => value,
            other => panic!("{other:?}"),
        }
    }
}

fn all_may_go() -> OutlierConfig {
    OutlierConfig { max_ejection_percent: 100, ..OutlierConfig::default() }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn five_5xx_in_a_row_eject_and_four_do_not() {
    let mut rig = Rig::new(2, all_may_go());
    rig.say(0, Report::Status(500), 4);
    rig.say(0, Report::Status(200), 1);
    rig.say(0, Report::Status(500), 4);
    assert!(!rig.consecutive());
    rig.say(0, Report::Status(599), 1);
    assert!(rig.consecutive());
    assert_eq!(rig.out(), [0]);
    assert_eq!(rig.stat("ejections_active"), 1);
    assert_eq!(rig.stat("ejections_enforced_consecutive_5xx"), 1);
    assert_eq!(rig.stat("ejections_enforced_total"), 1);
}

#[test]
fn what_is_not_enforced_is_detected_again_and_again() {
    let mut rig = Rig::new(2, all_may_go());
    for round in 1..=3 {
        // 502 are both; the gateway failures alone are never enforced by default.
        rig.say(0, Report::Status(502), 4);
        rig.say(0, Report::Status(404), 1);
        rig.say(1, Report::Status(503), 5);
        rig.consecutive();
        assert_eq!(rig.stat("ejections_detected_consecutive_gateway_failure"), 1.min(round));
    }
    assert_eq!(rig.out(), [1]);
    let never = Consecutive { threshold: 2, enforcing_percent: 0 };
    let mut rig = Rig::new(1, OutlierConfig { consecutive_5xx: never, ..all_may_go() });
    for round in 1..=3 {
        rig.say(0, Report::Status(500), 2);
        assert!(!rig.consecutive());
        assert_eq!(rig.stat("ejections_detected_consecutive_5xx"), round);
    }
    assert_eq!(rig.stat("ejections_enforced_total"), 0);
}

#[test]
fn no_more_than_the_share_goes() {
    let config = OutlierConfig { max_ejection_percent: 50, ..OutlierConfig::default() };
    let mut rig = Rig::new(4, config);
    for host in 0..4 {
        rig.say(host, Report::Status(500), 5);
    }
    assert!(rig.consecutive());
    assert_eq!(rig.out(), [0, 1]);
    assert_eq!(rig.stat("ejections_overflow"), 2);
    let config = OutlierConfig { always_eject_one_host: true, ..OutlierConfig::default() };
    let mut rig = Rig::new(2, config);
    rig.say(1, Report::Failed, 5);
    rig.say(0, Report::Failed, 5);
    assert!(rig.consecutive());
    assert_eq!(rig.out(), [0]);
}

#[test]
fn a_host_is_out_longer_each_time_and_forgiven_in_time() {
    let config = OutlierConfig { base_ejection_time: 30 * SECOND, ..all_may_go() };
    let mut rig = Rig::new(2, config);
    let eject = |rig: &mut Rig| {
        rig.say(0, Report::TimedOut, 5);
        assert!(rig.consecutive());
    };
    eject(&mut rig);
    assert!(!rig.pass(29 * SECOND));
    assert!(rig.pass(SECOND));
    assert_eq!(rig.out(), [0; 0]);
    eject(&mut rig);
    assert!(!rig.pass(59 * SECOND));
    assert!(rig.pass(SECOND));
    assert_eq!(rig.stat("ejections_active"), 0);
    // Two intervals in good standing, and it is as if nothing had been.
    assert!(!rig.pass(10 * SECOND) && !rig.pass(10 * SECOND));
    eject(&mut rig);
    assert!(rig.pass(30 * SECOND));
}

#[test]
fn no_host_is_out_longer_than_the_most() {
    let mut rig = Rig::new(1, OutlierConfig { max_ejection_time: 60 * SECOND, ..all_may_go() });
    for _ in 0..10 {
        rig.say(0, Report::Failed, 5);
        assert!(rig.consecutive());
        assert!(rig.pass(60 * SECOND));
    }
}

#[test]
fn jitter_prolongs_within_its_bound() {
    let config = OutlierConfig { max_ejection_time_jitter: 10 * SECOND, ..all_may_go() };
    let mut rig = Rig::new(1, config);
    rig.say(0, Report::Failed, 5);
    assert!(rig.consecutive());
    assert!(!rig.pass(29 * SECOND));
    assert!(rig.pass(11 * SECOND));
}

#[test]
fn failures_to_reach_a_host_are_judged_apart_where_that_is_asked() {
    let mut rig = Rig::new(2, OutlierConfig { split_local_origin: true, ..all_may_go() });
    rig.say(0, Report::Failed, 4);
    rig.say(0, Report::Connected, 1);
    rig.say(0, Report::TimedOut, 4);
    assert!(!rig.consecutive());
    // An answer is no word on whether it was reached.
    rig.say(0, Report::Status(200), 1);
    rig.say(0, Report::Failed, 1);
    assert!(rig.consecutive());
    assert_eq!(rig.stat("ejections_enforced_consecutive_local_origin_failure"), 1);
    assert_eq!(rig.stat("ejections_total"), 0);
}

#[test]
fn a_host_far_worse_than_the_others_is_ejected() {
    let mut rig = Rig::new(5, all_may_go());
    for host in 0..5 {
        let bad = if host == 4 { 40 } else { 0 };
        for _ in 0..bad {
            rig.say(host, Report::Status(500), 1);
            rig.say(host, Report::Status(200), 1);
        }
        rig.say(host, Report::Status(200), 100 - 2 * bad);
    }
    assert!(rig.pass(10 * SECOND));
    assert_eq!(rig.out(), [4]);
    assert_eq!(rig.judge.averages(Side::External).0, 92.0);
    assert_eq!(rig.stat("ejections_enforced_success_rate"), 1);
    let hosts = rig.cluster.hosts();
    assert_eq!(hosts.hosts()[4].monitor().unwrap().success_rate(Side::External), Some(60.0));
    // The next interval has no requests, and nothing to say.
    rig.pass(10 * SECOND);
    assert_eq!(hosts.hosts()[0].monitor().unwrap().success_rate(Side::External), None);
}

#[test]
fn a_host_above_the_failure_percentage_is_ejected() {
    let mut config = all_may_go();
    config.failure_percentage.minimum_hosts = 1;
    config.failure_percentage.enforcing_percent = 100;
    config.consecutive_5xx.threshold = 0;
    let mut rig = Rig::new(2, config);
    rig.say(0, Report::Status(500), 84);
    rig.say(0, Report::Status(200), 16);
    rig.say(1, Report::Status(500), 85);
    rig.say(1, Report::Status(200), 15);
    assert!(rig.pass(10 * SECOND));
    assert_eq!(rig.out(), [1]);
    assert_eq!(rig.stat("ejections_enforced_failure_percentage"), 1);
}

#[test]
fn a_probe_that_passes_brings_a_host_back_unless_that_is_switched_off() {
    for returns in [true, false] {
        let mut rig = Rig::new(2, OutlierConfig { returns_by_probe: returns, ..all_may_go() });
        let passes = |rig: &Rig| rig.cluster.hosts().hosts()[0].monitor().unwrap().probe_passed();
        rig.say(0, Report::Status(500), 5);
        assert!(rig.consecutive());
        assert!(!rig.judge.probed(), "nothing passed yet");
        passes(&rig);
        assert_eq!(rig.judge.probed(), returns);
        assert_eq!(rig.out().is_empty(), returns);
        assert_eq!(rig.stat("ejections_active"), u64::from(!returns));
    }
}

#[test]
fn a_host_that_leaves_counts_no_more() {
    let mut rig = Rig::new(2, all_may_go());
    rig.say(1, Report::Failed, 5);
    assert!(rig.consecutive());
    let fewer = endpoints(vec![locality("", 0, &[1])]);
    rig.cluster.set_endpoints(Arc::new(fewer), &crate::cluster::build::no_names);
    rig.judge.follow(rig.cluster.hosts().hosts());
    assert_eq!(rig.stat("ejections_active"), 0);
}

#[test]
fn the_gauge_forgets_a_cluster_that_is_replaced() {
    let mut old = Rig::new(2, all_may_go());
    old.say(0, Report::Failed, 5);
    old.say(1, Report::Failed, 5);
    assert!(old.consecutive());
    assert_eq!(old.stat("ejections_active"), 2);
    let (cluster, registry) = (old.cluster, old.registry);
    let new = Cluster::new(Arc::clone(cluster.config()), &registry);
    let rng = fastrand::Rng::with_seed(1);
    let detector = new.outlier().unwrap();
    let mut judge = Judge::new(&detector.config, detector.stats.clone(), rng);
    judge.follow(new.hosts().hosts());
    for _ in 0..5 {
        new.report(&new.hosts().hosts()[0], Report::Failed);
    }
    assert!(judge.consecutive(old.now));
    assert_eq!(detector.stats.value(OutlierStat::EjectionsActive), 3);
    drop(old.judge);
    assert_eq!(detector.stats.value(OutlierStat::EjectionsActive), 1);
}

#[tokio::test]
async fn a_cluster_that_is_removed_is_watched_no_longer() {
    let rig = Rig::new(1, all_may_go());
    let (cluster, registry) = (Arc::new(rig.cluster), rig.registry);
    let detector = cluster.outlier().unwrap();
    start(&cluster);
    for _ in 0..5 {
        cluster.report(&cluster.hosts().hosts()[0], Report::Failed);
    }
    let active = || detector.stats.value(OutlierStat::EjectionsActive);
    while active() == 0 {
        tokio::task::yield_now().await;
    }
    cluster.set_removed();
    while active() == 1 {
        tokio::task::yield_now().await;
    }
    assert!(detector.task.get().unwrap().is_finished());
    drop(registry);
}

#[test]
fn a_status_beyond_5xx_is_no_failure() {
    let mut rig = Rig::new(1, all_may_go());
    rig.say(0, Report::Status(600), 5);
    assert!(!rig.consecutive());
}

/// Whatever happens in whatever order, the gauge is the number of flags, and within the share.
#[test]
fn the_gauge_is_the_number_of_hosts_that_are_out() {
    let mut rng = fastrand::Rng::with_seed(7);
    let config = OutlierConfig { max_ejection_percent: 60, ..OutlierConfig::default() };
    let mut rig = Rig::new(7, config);
    let reports = [Report::Status(503), Report::Status(200), Report::Failed, Report::TimedOut];
    for _ in 0..3000 {
        let report = reports[rng.usize(0..reports.len())];
        rig.say(rng.usize(0..7), report, rng.usize(0..6));
        rig.consecutive();
        if rng.u8(0..20) == 0 {
            rig.pass(Duration::from_secs(rng.u64(0..60)));
        }
        let out = rig.out().len() as u64;
        assert!(out <= 4);
        assert_eq!(rig.stat("ejections_active"), out);
    }
}
