//! Ends and beginnings of streams (C3, D2, K1–K3).

use super::*;
use Variant::{Delta, Sotw};

#[test]
fn c1_c3_new_stream_keeps_versions_and_order_and_forgets_nonces() {
    let mut script = Script::open(Sotw, &[(LDS, "*"), (CDS, "*"), (EDS, "a")]);
    script.sotw(&CDS, "c7", &["a=1"]);
    script.sotw(&EDS, "e3", &["a=1"]);
    script.sotw(&EDS, "e4", &["a=bad"]);
    script.close();
    assert!(script.sent().is_empty(), "answers of the old stream are not sent on none");
    script.connect();
    assert_eq!(script.sent(), ["LDS v n [] node", "CDS vc7 n []", "EDS ve3 n [a]"]);
}

#[test]
fn d2_new_stream_tells_all_versions_held() {
    let mut script = Script::open(Delta, &[(CDS, "*"), (EDS, "a"), (EDS, "b"), (EDS, "gone")]);
    script.delta(&CDS, "1", &["x@1=x", "y@2=y"], &[]);
    script.delta(&EDS, "1", &["a@5=x", "gone@1=x"], &[]);
    script.delta(&EDS, "2", &[], &["gone"]);
    script.close();
    script.connect();
    assert_eq!(script.sent(), ["CDS +[] {x:1,y:2} node", "EDS +[a,b,gone] {a:5}"]);
    script.want(&EDS, "c");
    assert_eq!(script.sent(), ["EDS +[c]"], "not in later messages");
}

#[test]
fn d2_type_refused_before_still_tells_the_version_held() {
    let mut script = Script::open(Delta, &[(EDS, "a")]);
    script.delta(&EDS, "1", &["a@1=x"], &[]);
    script.delta(&EDS, "2", &["a@2=bad"], &[]);
    script.close();
    script.connect();
    assert_eq!(script.sent(), ["EDS +[a] {a:1} node"]);
}

#[test]
fn k3_loss_of_the_server_removes_nothing() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    script.sotw(&CDS, "1", &["a=1"]);
    script.events();
    script.close();
    script.advance(Duration::from_secs(3600));
    assert_eq!(script.events(), ["ended", "connect"]);
}

#[test]
fn k2_stream_with_a_response_is_replaced_at_once_but_at_most_each_second() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    for _ in 0..10 {
        let opened = script.now;
        script.sotw(&CDS, "1", &["a=1"]);
        script.close();
        assert!(script.events().contains(&"ended".into()));
        let at = script.stream.poll_timeout().expect("a reconnect is planned");
        assert_eq!(at - opened, Duration::from_secs(1));
        script.connect();
    }
    script.advance(Duration::from_secs(300));
    script.sotw(&CDS, "1", &["a=1"]);
    script.close();
    assert_eq!(
        script.stream.poll_timeout(),
        Some(script.now),
        "after a long life there is no wait"
    );
}

#[test]
fn k1_xd03_waits_grow_to_the_cap_with_full_jitter_and_a_response_resets_them() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    let mut waits = Vec::new();
    for _ in 0..100 {
        script.close();
        let at = script.stream.poll_timeout().expect("a reconnect is planned");
        waits.push(at - script.now);
        script.connect();
    }
    let bound = |i: u32| Duration::from_secs(30).min(Duration::from_millis(500 << i.min(10)));
    for (i, wait) in (0..).zip(&waits) {
        assert!(*wait <= bound(i), "wait {i}: {wait:?}");
    }
    let long = &waits[10..];
    assert!(long.iter().any(|w| *w < Duration::from_secs(10)), "the jitter is full");
    assert!(long.iter().any(|w| *w > Duration::from_secs(20)), "the cap is reached");

    script.sotw(&CDS, "1", &[]);
    script.close();
    script.connect();
    script.close();
    let at = script.stream.poll_timeout().expect("a reconnect is planned");
    assert!(at - script.now <= Duration::from_millis(500));
}

#[test]
fn k1_retry_policy_overrides_the_bounds() {
    let backoff = BackoffBounds { base: Duration::from_millis(10), max: Duration::from_millis(20) };
    let mut script = Script::new(Settings { backoff, ..Settings::new(Sotw, 3) });
    script.connect();
    for _ in 0..20 {
        script.close();
        let at = script.stream.poll_timeout().expect("a reconnect is planned");
        assert!(at - script.now <= Duration::from_millis(20));
        script.connect();
    }
}

#[test]
fn c5_type_not_yet_asked_for_on_the_new_stream_is_ignored() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    script.close();
    script.connect();
    script.sotw(&CDS, "1", &["a=1"]);
    assert_eq!(script.events(), ["ignored CDS"]);
    assert_eq!(script.sent(), ["CDS v n [] node"]);
}
