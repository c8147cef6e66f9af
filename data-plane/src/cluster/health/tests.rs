//! What checks do to a host, with verdicts that the tests write down.

use std::net::SocketAddr;
use std::time::Duration;

use ::http::uri::PathAndQuery;
use ::http::{HeaderValue, Method};
use bytes::Bytes;

use super::grpc::says_serving;
use super::http::contains;
use super::record::{Failure, Record, Verdict};
use super::*;
use crate::cluster::host::{Availability, HostSpec};
use crate::cluster::testing::{cluster, endpoints, locality};
use crate::config::cluster::health::{CheckKind, HttpCheck, Pace};
use crate::config::cluster::{Discovery, DnsConfig};
use crate::telemetry::stats::{Registry, Scope};

const PASSED: Verdict = Verdict::Passed { degraded: false };
const DEGRADED: Verdict = Verdict::Passed { degraded: true };
const ANSWER: Verdict = Verdict::Failed(Failure::Answer { retriable: false });
const RETRIABLE: Verdict = Verdict::Failed(Failure::Answer { retriable: true });
const NETWORK: Verdict = Verdict::Failed(Failure::Network);
const TIMEOUT: Verdict = Verdict::Failed(Failure::Timeout);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn check() -> HealthCheckConfig {
    HealthCheckConfig {
        timeout: seconds(1),
        pace: Pace {
            interval: seconds(1),
            initial_jitter: Duration::ZERO,
            interval_jitter: Duration::ZERO,
            interval_jitter_percent: 0,
            no_traffic: seconds(2),
            no_traffic_healthy: seconds(3),
            unhealthy: seconds(4),
            unhealthy_edge: seconds(5),
            healthy_edge: seconds(6),
        },
        unhealthy_threshold: 3,
        healthy_threshold: 2,
        reuse_connection: true,
        kind: CheckKind::Http(Box::new(HttpCheck {
            host: HeaderValue::from_static("h"),
            path: PathAndQuery::from_static("/"),
            method: Method::GET,
            headers: Default::default(),
            expected: std::iter::once(200..201).collect(),
            retriable: Vec::new(),
            http2: false,
            service_name: None,
            send: Bytes::new(),
            receive: Vec::new(),
            response_buffer_bytes: 1024,
        })),
    }
}

struct Rig {
    host: Arc<Host>,
    record: Record,
    stats: Group<HealthCheckStat>,
}

impl Rig {
    /// A host that joined and was not checked yet.
    fn new(config: HealthCheckConfig) -> Self {
        let host = Arc::new(Host::new(&HostSpec::new(SocketAddr::from(([127, 0, 0, 1], 80)))));
        host.set_flag(HealthFlag::FailedActiveHc, true);
        let stats: Group<HealthCheckStat> = Registry::new(1).group(Scope::cluster("c"));
        let record = Record::new(&Arc::new(config), &stats, &host, fastrand::Rng::with_seed(1));
        Self { host, record, stats }
    }

    /// Takes verdicts; the last one's outcome: changed, and seconds until the next.
    fn take(&mut self, verdicts: &[Verdict]) -> (bool, u64) {
        let outcomes = verdicts.iter().map(|verdict| self.record.take(*verdict, true));
        let last = outcomes.last().expect("a verdict");
        (last.changed, last.next.as_secs())
    }

    fn flags(&self) -> String {
        self.host.health_text()
    }

    fn stat(&self, stat: HealthCheckStat) -> u64 {
        self.stats.value(stat)
    }
}

#[test]
fn the_first_success_is_enough_then_the_threshold_counts() {
    let mut rig = Rig::new(check());
    assert_eq!(rig.take(&[PASSED]), (true, 1));
    assert_eq!(rig.flags(), "healthy");
    assert_eq!(rig.take(&[ANSWER]), (true, 4));
    assert_eq!(rig.flags(), "/failed_active_hc");
    assert_eq!(rig.take(&[PASSED]), (false, 6), "on its way back");
    assert_eq!(rig.take(&[NETWORK]), (false, 4), "the row is broken");
    assert_eq!(rig.take(&[PASSED]), (false, 6));
    assert_eq!(rig.take(&[PASSED]), (true, 1));
    assert_eq!(rig.flags(), "healthy");
    assert_eq!(rig.stat(HealthCheckStat::Success), 4);
    assert_eq!(rig.stat(HealthCheckStat::Failure), 2);
    assert_eq!(rig.stat(HealthCheckStat::NetworkFailure), 1);
}

#[test]
fn after_a_first_failure_the_threshold_counts() {
    let mut rig = Rig::new(check());
    assert_eq!(rig.take(&[NETWORK]), (false, 4));
    assert_eq!(rig.take(&[PASSED]), (false, 6));
    assert_eq!(rig.take(&[PASSED]), (true, 1));
}

#[test]
fn networks_and_retriable_answers_fail_by_the_threshold() {
    for failure in [NETWORK, RETRIABLE] {
        let mut rig = Rig::new(check());
        assert_eq!(rig.take(&[PASSED, failure]), (false, 5));
        assert_eq!(rig.take(&[PASSED, failure, failure]), (false, 5), "{failure:?}");
        assert_eq!(rig.host.availability(), Availability::Healthy);
        assert_eq!(rig.take(&[failure]), (true, 4));
        assert_eq!(rig.flags(), "/failed_active_hc");
        assert_eq!(rig.host.partings(), 1, "connections that were made before are let go");
    }
}

#[test]
fn a_timeout_is_told_apart_until_it_is_well() {
    let mut rig = Rig::new(check());
    rig.take(&[PASSED, TIMEOUT, TIMEOUT]);
    assert_eq!(rig.flags(), "healthy");
    rig.take(&[TIMEOUT]);
    assert_eq!(rig.flags(), "/failed_active_hc/active_hc_timeout");
    rig.take(&[ANSWER]);
    assert_eq!(rig.flags(), "/failed_active_hc");
    rig.take(&[TIMEOUT, PASSED, PASSED]);
    assert_eq!(rig.flags(), "healthy");
}

#[test]
fn a_new_host_is_excluded_until_its_first_check() {
    for (verdict, flags) in [(PASSED, "healthy"), (NETWORK, "/failed_active_hc")] {
        let mut rig = Rig::new(check());
        rig.host.set_flag(HealthFlag::PendingActiveHc, true);
        assert!(rig.host.is_excluded());
        assert!(rig.take(&[verdict]).0, "the counts of hosts change");
        assert_eq!(rig.flags(), flags);
    }
}

#[test]
fn a_host_says_that_it_is_degraded() {
    let mut rig = Rig::new(check());
    assert!(rig.take(&[DEGRADED]).0);
    assert_eq!(
        (rig.flags().as_str(), rig.stat(HealthCheckStat::Degraded)),
        ("/degraded_active_hc", 1)
    );
    assert!(!rig.take(&[DEGRADED]).0);
    assert!(rig.take(&[PASSED]).0);
    assert_eq!((rig.flags().as_str(), rig.stat(HealthCheckStat::Degraded)), ("healthy", 0));
}

#[test]
fn the_gauge_follows_hosts_that_come_fail_and_go() {
    let mut rig = Rig::new(check());
    let healthy = |rig: &Rig| rig.stat(HealthCheckStat::Healthy);
    assert_eq!(healthy(&rig), 0);
    rig.take(&[PASSED]);
    assert_eq!(healthy(&rig), 1);
    rig.take(&[ANSWER]);
    assert_eq!(healthy(&rig), 0);
    rig.take(&[PASSED, PASSED]);
    let stats = rig.stats.clone();
    drop(rig);
    assert_eq!(stats.value(HealthCheckStat::Healthy), 0);
}

#[test]
fn without_traffic_checks_are_slower() {
    let mut rig = Rig::new(check());
    assert_eq!(rig.record.take(PASSED, false).next, seconds(3));
    assert_eq!(rig.record.take(NETWORK, false).next, seconds(2));
    assert_eq!(rig.record.take(PASSED, true).next, seconds(1));
}

#[test]
fn jitter_is_added_within_its_bounds() {
    let mut config = check();
    config.pace.interval_jitter = seconds(2);
    config.pace.interval_jitter_percent = 100;
    config.pace.initial_jitter = seconds(9);
    let mut rig = Rig::new(config);
    let mut waits: Vec<Duration> = (0..200).map(|_| rig.record.take(PASSED, true).next).collect();
    waits.sort();
    assert!(waits[0] >= seconds(1) && waits[0] < Duration::from_millis(1600), "{:?}", waits[0]);
    let longest = waits[199];
    assert!(longest < seconds(4) && longest > Duration::from_millis(3200), "{longest:?}");
    let first: Vec<Duration> = (0..50).map(|_| rig.record.before_first()).collect();
    assert!(first.iter().all(|wait| !wait.is_zero() && *wait < seconds(9)));
    assert!(first.iter().any(|wait| *wait > seconds(3)));
}

#[test]
fn parts_are_found_one_after_another() {
    let parts = |list: &[&'static str]| -> Vec<Bytes> {
        list.iter().map(|part| Bytes::from_static(part.as_bytes())).collect()
    };
    assert!(contains(b"", &[]));
    assert!(contains(b"xxabyycd", &parts(&["ab", "cd"])));
    assert!(!contains(b"xxcdyyab", &parts(&["ab", "cd"])));
    assert!(!contains(b"ab", &parts(&["ab", "b"])), "a part is used once");
    assert!(!contains(b"a", &parts(&["ab"])));
}

#[test]
fn one_whole_message_that_serves_is_wanted() {
    let says = |bytes: &'static [u8]| says_serving(Bytes::from_static(bytes));
    assert!(says(&[0, 0, 0, 0, 2, 8, 1]));
    assert!(!says(&[0, 0, 0, 0, 2, 8, 2]), "it does not serve");
    assert!(!says(&[0, 0, 0, 0, 0]), "unknown");
    assert!(!says(&[1, 0, 0, 0, 2, 8, 1]), "compressed");
    assert!(!says(&[0, 0, 0, 0, 2, 8]), "cut");
    assert!(!says(&[0, 0, 0, 0, 2, 8, 1, 0, 0, 0, 0, 2, 8, 1]), "two");
    assert!(!says(&[0, 0, 0, 0, 2, 8, 0x80]), "no number");
    assert!(!says(&[]));
}

#[test]
fn hosts_begin_failed_unless_they_are_not_checked() {
    let mut places = endpoints(vec![locality("", 0, &[1, 2])]);
    places.localities[0].endpoints[1].health_check.disable_active_health_check = true;
    let mut config = cluster(places);
    config.health_check = Some(Arc::new(check()));
    let cluster = Cluster::new(Arc::new(config), &Registry::new(1));
    let hosts = cluster.hosts();
    let flags: Vec<String> = hosts.hosts().iter().map(|host| host.health_text()).collect();
    assert_eq!(flags, ["/failed_active_hc", "healthy"]);
    assert!(!cluster.is_checked());
    assert_eq!(hosts.membership().healthy, 1);
}

#[test]
fn a_healthy_host_that_discovery_drops_stays_until_its_checks_fail() {
    let mut config = cluster(endpoints(vec![locality("", 0, &[])]));
    config.discovery = Discovery::Dns(DnsConfig::default());
    config.health_check = Some(Arc::new(check()));
    config.lb_common.ignore_new_hosts_until_first_hc = true;
    let cluster = Cluster::new(Arc::new(config), &Registry::new(1));
    let set = |ports: &[u16]| {
        let places = Arc::new(endpoints(vec![locality("", 0, ports)]));
        cluster.set_endpoints(places, &crate::cluster::build::no_names);
        cluster.hosts().hosts().iter().map(|host| host.health_text()).collect::<Vec<_>>()
    };
    let new = "/failed_active_hc/pending_active_hc";
    assert_eq!(set(&[1, 2]), [new, new]);
    let first = Arc::clone(&cluster.hosts().hosts()[0]);
    first.set_flag(HealthFlag::FailedActiveHc, false);
    first.set_flag(HealthFlag::PendingActiveHc, false);
    assert_eq!(set(&[2]), [new, "/pending_dynamic_removal"]);
    assert_eq!(set(&[1, 2]), ["healthy", new], "it is back, and the same");
    assert!(Arc::ptr_eq(&first, &cluster.hosts().hosts()[0]));
    set(&[2]);
    first.set_flag(HealthFlag::FailedActiveHc, true);
    cluster.refresh();
    assert_eq!(cluster.hosts().hosts().len(), 1);
    assert!(first.is_removed());
}
