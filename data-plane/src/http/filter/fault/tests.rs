//! Which fault a request gets, without a request.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::config::{Abort, Delay, FaultConfig, Length, Share, Status};
use super::counters::Counters;
use super::decide::Decide;
use crate::route::{RouteInput, RuntimeKeys};
use crate::telemetry::WorkerId;
use crate::telemetry::stats::{FaultClusterStat, FaultStat, Registry, Scope};

/// Runtime keys that are integers.
#[derive(Default)]
struct Runtime(HashMap<&'static str, u64>);

impl RuntimeKeys for Runtime {
    fn integer(&self, key: &str) -> Option<u64> {
        self.0.get(key).copied()
    }
}

fn fields(fields: &[(&str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &'static str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_static(value))
    };
    fields.iter().map(field).collect()
}

/// What `ask` says where chance gives `random`.
fn decide<T>(
    config: &FaultConfig,
    headers: &HeaderMap,
    (runtime, random): (&Runtime, u64),
    ask: impl FnOnce(&Decide<'_>) -> T,
) -> T {
    let request = RouteInput {
        authority: None,
        path: b"/",
        method: b"GET",
        scheme: b"http",
        headers,
        random: 0,
        runtime,
    };
    ask(&Decide::new(config, request, Some("up"), &|| random))
}

const ALL: Share = Share { numerator: 100, denominator: 100 };

fn aborting(status: Status, share: Share) -> FaultConfig {
    let abort = Some(Abort { status, share, body: "b".into() });
    FaultConfig { abort, ..FaultConfig::default() }
}

fn delaying(length: Length, share: Share) -> FaultConfig {
    FaultConfig { delay: Some(Delay { length, share }), ..FaultConfig::default() }
}

#[test]
fn a_share_is_hit_by_the_numbers_below_its_numerator() {
    let none = Runtime::default();
    let third = Share { numerator: 333, denominator: 10_000 };
    let config = aborting(Status::Http(503), third);
    for (random, hit) in [(0, true), (332, true), (333, false), (9_999, false), (10_332, true)] {
        let abort = decide(&config, &fields(&[]), (&none, random), |d| d.abort());
        assert_eq!(abort.is_some(), hit, "{random}");
    }
}

#[test]
fn a_caller_may_ask_for_less_than_the_share_but_never_for_more() {
    let none = Runtime::default();
    let half = Share { numerator: 50, denominator: 100 };
    let config = aborting(Status::Header, half);
    for (asked, hit) in [("20", false), ("100", true), ("no number", true), (" 10 ", false)] {
        let headers = fields(&[
            ("x-envoy-fault-abort-request", "418"),
            ("x-envoy-fault-abort-request-percentage", asked),
        ]);
        let abort = decide(&config, &headers, (&none, 30), |d| d.abort());
        assert_eq!(abort, hit.then_some((418, None)), "{asked}");
        assert_eq!(decide(&config, &headers, (&none, 60), |d| d.abort()), None, "{asked}");
    }
}

#[test]
fn a_header_asks_for_a_status_that_is_one_and_else_for_that_of_grpc() {
    let none = Runtime::default();
    let config = aborting(Status::Header, ALL);
    let http = |asked| vec![("x-envoy-fault-abort-request", asked)];
    let grpc = ("x-envoy-fault-abort-grpc-request", "7");
    let cases = [
        (vec![], None),
        (http("199"), None),
        (http("600"), None),
        (http("599"), Some((599, None))),
        (vec![grpc], Some((200, Some(7)))),
        ([http("1"), vec![grpc]].concat(), Some((200, Some(7)))),
    ];
    for (written, expected) in cases {
        let abort = decide(&config, &fields(&written), (&none, 0), |d| d.abort());
        assert_eq!(abort, expected, "{written:?}");
    }
}

#[test]
fn a_delay_of_no_time_is_none() {
    let none = Runtime::default();
    let fixed = |micros| delaying(Length::Fixed(Duration::from_micros(micros)), ALL);
    assert_eq!(decide(&fixed(999), &fields(&[]), (&none, 0), |d| d.delay()), None);
    let two = decide(&fixed(2_999), &fields(&[]), (&none, 0), |d| d.delay());
    assert_eq!(two, Some(Duration::from_millis(2)));
    let header = delaying(Length::Header, ALL);
    for (asked, millis) in [("0", None), ("20", Some(20)), ("-1", None), ("1s", None)] {
        let headers = fields(&[("x-envoy-fault-delay-request", asked)]);
        let delay = decide(&header, &headers, (&none, 0), |d| d.delay());
        assert_eq!(delay, millis.map(Duration::from_millis), "{asked}");
    }
}

#[test]
fn runtime_keys_change_share_length_status_and_limit() {
    let runtime = Runtime(HashMap::from([
        ("fault.http.abort.abort_percent", 100),
        ("fault.http.abort.http_status", 418),
        ("fault.http.delay.fixed_delay_percent", 100),
        ("fault.http.delay.fixed_duration_ms", 7),
        ("fault.http.max_active_faults", 3),
    ]));
    let none = Share { numerator: 0, denominator: 100 };
    let config = aborting(Status::Http(503), none);
    let abort = decide(&config, &fields(&[]), (&runtime, 99), |d| d.abort());
    assert_eq!(abort, Some((418, None)));
    let config = delaying(Length::Fixed(Duration::from_secs(1)), none);
    let delay = decide(&config, &fields(&[]), (&runtime, 99), |d| d.delay());
    assert_eq!(delay, Some(Duration::from_millis(7)));
    assert_eq!(decide(&config, &fields(&[]), (&runtime, 0), |d| d.limit()), 3);
}

#[test]
fn only_requests_of_that_cluster_node_and_headers_are_concerned() {
    let none = Runtime::default();
    let concerned = |config: &FaultConfig, headers: &HeaderMap| {
        decide(config, headers, (&none, 0), |d| d.concerned())
    };
    let plain = FaultConfig::default();
    assert!(concerned(&plain, &fields(&[])));
    let other = FaultConfig { upstream_cluster: Some("other".into()), ..plain.clone() };
    assert!(!concerned(&other, &fields(&[])));
    let up = FaultConfig { upstream_cluster: Some("up".into()), ..plain.clone() };
    assert!(concerned(&up, &fields(&[])));
    let nodes = FaultConfig { nodes: vec!["a".into(), "b".into()], ..plain };
    assert!(!concerned(&nodes, &fields(&[])));
    assert!(!concerned(&nodes, &fields(&[("x-envoy-downstream-service-node", "c")])));
    assert!(concerned(&nodes, &fields(&[("x-envoy-downstream-service-node", "b")])));
}

#[test]
fn active_faults_have_a_limit_and_what_is_over_it_is_counted() {
    let registry = Registry::new(1);
    let counters = Counters::new(&registry, "in");
    let worker = WorkerId::worker(0);
    assert!(counters.activate(1, worker));
    assert!(!counters.activate(1, worker));
    counters.deactivate();
    assert!(counters.activate(1, worker));
    counters.aborted(worker, Some("shop"));
    let all = registry.group::<FaultStat>(Scope::http("in").join("fault."));
    assert_eq!(all.value(FaultStat::FaultsOverflow), 1);
    assert_eq!(all.value(FaultStat::ActiveFaults), 1);
    let shop = registry.group::<FaultClusterStat>(Scope::fault_caller("in", "shop"));
    assert_eq!(shop.value(FaultClusterStat::AbortsInjected), 1);
}
