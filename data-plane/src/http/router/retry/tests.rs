//! Each condition, the waits, the places and the body that is kept, without a network.

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, StatusCode};

use super::*;
use crate::cluster::testing;
use crate::codec::{ResponseHead, Version};
use crate::route::NoRuntime;
use crate::telemetry::stats::Registry;

const NOW: SystemTime = UNIX_EPOCH;

fn cluster() -> Arc<Cluster> {
    let config = testing::cluster(testing::endpoints(Vec::new()));
    Arc::new(Cluster::new(Arc::new(config), &Registry::new(1)))
}

fn policy(text: &str) -> RetryPolicy {
    RetryPolicy { on: RetryOn::parse(text, RetryNames::All), num_retries: 9, ..Default::default() }
}

fn retries_of(policy: RetryPolicy) -> Retries {
    let head = RequestHead::unknown(Version::Http11);
    asked(policy, &head).expect("it may be tried again")
}

fn asked(policy: RetryPolicy, head: &RequestHead) -> Option<Retries> {
    let input = RouteInput {
        authority: None,
        path: b"/",
        method: b"GET",
        scheme: b"http",
        headers: &head.headers,
        random: 0,
        runtime: &NoRuntime,
    };
    let cluster = cluster();
    let to = (&cluster, RoutingPriority::Default);
    Retries::of(Some(&Arc::new(policy)), Some(head), &input, to, Some(10))
}

fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> ResponseHead {
    let mut head = ResponseHead::informational(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        head.headers.insert(*name, HeaderValue::from_static(value));
    }
    head
}

fn again(retries: &mut Retries, tried: Tried<'_>) -> bool {
    matches!(retries.decide(tried, 0, NOW), Verdict::Again(_))
}

#[test]
fn an_answer_is_tried_again_by_the_conditions_of_its_status_and_headers() {
    for (on, status, headers, want) in [
        ("5xx", 500, &[][..], true),
        ("5xx", 499, &[], false),
        ("gateway-error", 502, &[], true),
        ("gateway-error", 501, &[], false),
        ("retriable-4xx", 409, &[], true),
        ("retriable-4xx", 404, &[], false),
        ("reset,connect-failure,refused-stream", 503, &[], false),
        ("5xx", 503, &[("x-envoy-overloaded", "true")], true),
        ("5xx", 503, &[("x-envoy-ratelimited", "true")], false),
        ("envoy-ratelimited", 429, &[("x-envoy-ratelimited", "true")], true),
        ("unavailable", 200, &[("grpc-status", "14")], true),
        ("unavailable", 200, &[("grpc-status", "13")], false),
        ("cancelled,internal", 200, &[("grpc-status", "13")], true),
    ] {
        let head = answer(status, headers);
        let mut retries = retries_of(policy(on));
        assert_eq!(again(&mut retries, Tried::Answered(&head)), want, "{on} {status} {headers:?}");
    }
    let listed = RetryPolicy { status_codes: vec![418], ..policy("retriable-status-codes") };
    assert!(again(&mut retries_of(listed.clone()), Tried::Answered(&answer(418, &[]))));
    assert!(!again(&mut retries_of(listed), Tried::Answered(&answer(419, &[]))));
}

#[test]
fn a_failure_is_tried_again_by_its_kind() {
    use ErrorKind as K;
    let all = [
        K::ConnectTimeout,
        K::ConnectFailure,
        K::ConnectionTermination,
        K::LocalConnectFailure,
        K::Overflow,
        K::Protocol,
        K::RemoteRefused,
        K::RemoteReset,
    ];
    for (on, want) in [
        ("5xx", [true, true, true, true, false, true, true, true]),
        ("reset", [true, true, true, true, false, true, true, true]),
        ("connect-failure", [true, true, false, true, false, false, false, false]),
        ("refused-stream", [false, false, false, false, false, false, true, false]),
        ("retriable-4xx", [false; 8]),
    ] {
        for (kind, want) in all.into_iter().zip(want) {
            let error = ProxyError::new(kind, Sent::Head);
            let got = again(&mut retries_of(policy(on)), Tried::Failed(&error));
            assert_eq!(got, want, "{on} {kind:?}");
        }
    }
    let unsent = ProxyError::new(K::ConnectionTermination, Sent::Nothing);
    assert!(again(&mut retries_of(policy("reset-before-request")), Tried::Failed(&unsent)));
    let sent = ProxyError::new(K::ConnectionTermination, Sent::Head);
    assert!(!again(&mut retries_of(policy("reset-before-request")), Tried::Failed(&sent)));
}

#[test]
fn what_the_caller_asks_for_is_added_to_the_policy_and_its_number_wins() {
    let mut head = RequestHead::unknown(Version::Http11);
    for (name, value) in [
        ("x-envoy-retry-on", "retriable-status-codes,retriable-headers"),
        ("x-envoy-max-retries", "1"),
        ("x-envoy-retriable-status-codes", "404, 405"),
        ("x-envoy-retriable-header-names", "x-again"),
    ] {
        head.headers.insert(name, HeaderValue::from_static(value));
    }
    let mut retries = asked(RetryPolicy::default(), &head).expect("the caller asks");
    assert!(again(&mut retries, Tried::Answered(&answer(405, &[]))));
    let last = retries.decide(Tried::Answered(&answer(200, &[("x-again", "1")])), 0, NOW);
    assert_eq!(last, Verdict::LimitExceeded);
    let plain = RequestHead::unknown(Version::Http11);
    assert!(asked(RetryPolicy::default(), &plain).is_none(), "nobody asks");
}

#[test]
fn waits_double_up_to_the_largest_and_are_a_part_by_chance() {
    let back_off = BackOff { base: Duration::from_millis(10), max: Duration::from_millis(30) };
    let mut retries = retries_of(RetryPolicy { back_off: Some(back_off), ..policy("5xx") });
    let bad = answer(503, &[]);
    let waits = [9, 19, 29, 29].map(|millis| Wait::BackOff(Duration::from_millis(millis)));
    for wait in waits {
        // One less than any multiple of the intervals: the largest part that there is.
        assert_eq!(retries.decide(Tried::Answered(&bad), 59, NOW), Verdict::Again(wait));
    }
}

#[test]
fn the_upstream_may_say_when_it_is_to_be_asked_again() {
    let rules = RateLimitedBackOff {
        headers: vec![
            (HeaderName::from_static("retry-after"), ResetFormat::Seconds),
            (HeaderName::from_static("x-reset"), ResetFormat::UnixTimestamp),
        ],
        max: Duration::from_secs(60),
    };
    let now = UNIX_EPOCH + Duration::from_secs(1000);
    let after = |headers: &[(&'static str, &'static str)]| {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        reset_after(&rules, &headers, now).map(|wait| wait.as_secs())
    };
    assert_eq!(after(&[("retry-after", "5")]), Some(5));
    assert_eq!(after(&[("x-reset", "1007")]), Some(7));
    assert_eq!(after(&[("retry-after", "soon"), ("x-reset", "1007")]), Some(7));
    assert_eq!(after(&[("x-reset", "999")]), None);
    assert_eq!(after(&[("retry-after", "61")]), None);
    assert_eq!(after(&[("retry-after", "61"), ("x-reset", "1007")]), Some(7));
    assert_eq!(after(&[("retry-after", "0")]), None);
}

#[test]
fn places_among_the_clusters_retries_run_out_and_come_back() {
    let cluster = cluster();
    let used = |cluster: &Cluster| {
        cluster.limits().counter(RoutingPriority::Default, LimitKind::Retries).used()
    };
    let mut all = Vec::new();
    let bad = answer(503, &[]);
    let head = RequestHead::unknown(Version::Http11);
    let max = cluster.limits().counter(RoutingPriority::Default, LimitKind::Retries).max();
    for _ in 0..=max {
        let input = RouteInput {
            authority: None,
            path: b"/",
            method: b"GET",
            scheme: b"http",
            headers: &head.headers,
            random: 0,
            runtime: &NoRuntime,
        };
        let to = (&cluster, RoutingPriority::Default);
        let made = Retries::of(Some(&Arc::new(policy("5xx"))), None, &input, to, None);
        all.push(made.expect("it may be tried again"));
    }
    let verdicts: Vec<_> =
        all.iter_mut().map(|one| one.decide(Tried::Answered(&bad), 0, NOW)).collect();
    assert_eq!(verdicts.last(), Some(&Verdict::Overflow));
    assert_eq!(used(&cluster), max);
    let good = answer(200, &[]);
    assert_eq!(all[0].decide(Tried::Answered(&good), 0, NOW), Verdict::Final { retried: true });
    assert_eq!(used(&cluster), max - 1);
    drop(all);
    assert_eq!(used(&cluster), 0);
}

#[test]
fn a_body_is_kept_up_to_its_limit() {
    let mut retries = retries_of(policy("5xx"));
    let part = |text: &'static [u8]| BodyPart::Data(text.into());
    assert_eq!(retries.keep(&part(b"12345")), Ok(()));
    assert_eq!(retries.keep(&part(b"67890")), Ok(()));
    assert_eq!(retries.parts().collect::<Vec<_>>(), [part(b"1234567890")]);
    assert_eq!(retries.keep(&part(b"x")), Err(TooMuch));
}
