//! State of the world: requests, answers, full state, names.

use super::*;
use Variant::Sotw;

#[test]
fn c1_c2_first_request_ack_nack_ack() {
    let mut script = Script::new(Settings::new(Sotw, 1));
    script.want(&CDS, "*");
    assert!(script.sent().is_empty(), "nothing is sent before the transport stands");
    script.connect();
    assert_eq!(script.sent(), ["CDS v n [] node"]);

    script.sotw(&CDS, "1", &["a=1"]);
    assert_eq!(script.sent(), ["CDS v1 n1 [] node"]);
    script.sotw(&CDS, "2", &["a=bad"]);
    let nack = "CDS v1 n2 [] node NACK(a: value: got bad; must be good)";
    assert_eq!(script.sent(), [nack]);
    script.sotw(&CDS, "3", &["a=3"]);
    assert_eq!(script.sent(), ["CDS v3 n3 [] node"]);
    assert_eq!(script.events(), ["CDS@1 +a=1", "CDS@2 !a", "CDS@3 +a=3"]);
}

#[test]
fn c3_node_travels_once_where_that_is_asked_for() {
    let settings = Settings { node_on: NodeOn::FirstRequest, ..Settings::new(Sotw, 1) };
    let mut script = Script::new(settings);
    script.want(&CDS, "*");
    script.want(&LDS, "*");
    script.connect();
    assert_eq!(script.sent(), ["CDS v n [] node", "LDS v n []"]);
}

#[test]
fn c5_type_never_subscribed_is_ignored_unanswered() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    script.sotw(&RDS, "1", &["r=1"]);
    assert_eq!(script.events(), ["ignored RDS"]);
    assert!(script.sent().is_empty());
}

#[test]
fn c5_response_without_a_watch_left_is_acknowledged_unread() {
    let mut script = Script::open(Sotw, &[(EDS, "a")]);
    script.sotw(&EDS, "1", &["a=1"]);
    script.unwant(&EDS, "a");
    assert_eq!(script.sent(), ["EDS v1 n1 [a]", "EDS v1 n1 []"]);
    script.events();
    script.sotw(&EDS, "2", &["a=bad"]);
    assert_eq!(script.sent(), ["EDS v2 n2 []"]);
    assert!(script.events().is_empty());
}

#[test]
fn c6_resources_nobody_asked_for_are_ignored_even_if_bad() {
    let mut script = Script::open(Sotw, &[(EDS, "a")]);
    script.sotw(&EDS, "1", &["other=bad", "a=1", "more=2"]);
    assert_eq!(script.events(), ["EDS@1 +a=1"]);
    assert_eq!(script.sent(), ["EDS v1 n1 [a]"]);
}

#[test]
fn c6_empty_eds_response_is_acknowledged_and_changes_nothing() {
    let mut script = Script::open(Sotw, &[(EDS, "a")]);
    script.sotw(&EDS, "1", &["a=1"]);
    script.sotw(&EDS, "2", &[]);
    assert_eq!(script.events(), ["EDS@1 +a=1", "EDS@2"]);
    assert_eq!(script.sent(), ["EDS v1 n1 [a]", "EDS v2 n2 [a]"]);
}

#[test]
fn c7_absence_deletes_clusters_and_listeners_only() {
    let mut script = Script::open(Sotw, &[(CDS, "*"), (RDS, "r"), (RDS, "s")]);
    script.sotw(&CDS, "1", &["a=1", "b=1"]);
    script.sotw(&CDS, "2", &["b=1"]);
    script.sotw(&RDS, "1", &["r=1", "s=1"]);
    script.sotw(&RDS, "2", &["s=2"]);
    assert_eq!(
        script.events(),
        ["CDS@1 +a=1 +b=1", "CDS@2 ~b -a", "RDS@1 +r=1 +s=1", "RDS@2 +s=2"]
    );
}

#[test]
fn c7_empty_response_deletes_everything() {
    let mut script = Script::open(Sotw, &[(LDS, "*")]);
    script.sotw(&LDS, "1", &["a=1", "b=1"]);
    script.sotw(&LDS, "2", &[]);
    assert_eq!(script.events(), ["LDS@1 +a=1 +b=1", "LDS@2 -a -b"]);
    assert_eq!(script.sent(), ["LDS v1 n1 []", "LDS v2 n2 []"]);
}

#[test]
fn c8_new_name_sends_the_full_list_with_latest_nonce_and_accepted_version() {
    let mut script = Script::open(Sotw, &[(EDS, "a")]);
    script.sotw(&EDS, "1", &["a=1"]);
    script.sent();
    script.sotw(&EDS, "2", &["a=bad"]);
    script.sent();
    script.want(&EDS, "b");
    script.want(&EDS, "c");
    assert_eq!(script.sent(), ["EDS v1 n2 [a,b,c]"]);
}

#[test]
fn c8_d8_the_answer_goes_first_and_repeats_the_names_sent_before() {
    let mut script = Script::open(Sotw, &[(EDS, "a")]);
    script.sotw(&EDS, "1", &["a=1"]);
    script.want(&EDS, "b");
    assert_eq!(script.sent(), ["EDS v1 n1 [a]", "EDS v1 n1 [a,b]"]);
}

#[test]
fn c8_a_wish_taken_back_and_made_again_sends_nothing_and_loses_nothing() {
    let mut script = Script::open(Sotw, &[(EDS, "a"), (EDS, "b")]);
    script.sotw(&EDS, "1", &["a=1"]);
    script.sent();
    script.events();
    script.unwant(&EDS, "a");
    // An update between the two is kept for the wish that comes back.
    script.sotw(&EDS, "2", &["a=2"]);
    script.want(&EDS, "a");
    assert_eq!(script.events(), ["EDS@2", "EDS@2 Cached +a=2"]);
    assert_eq!(script.sent(), ["EDS v2 n2 [a,b]"], "the ACK alone");
}

#[test]
fn s8_value_still_held_answers_a_new_wish_at_once() {
    let mut script = Script::open(Sotw, &[(EDS, "a")]);
    script.sotw(&EDS, "1", &["a=1"]);
    script.events();
    script.unwant(&EDS, "a");
    script.want(&EDS, "a");
    assert_eq!(script.events(), ["EDS@1 Cached +a=1"]);
}

#[test]
fn xd12_same_version_with_other_content_is_applied() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    script.sotw(&CDS, "2", &["a=1"]);
    script.sotw(&CDS, "2", &["a=2"]);
    script.sotw(&CDS, "1", &["a=3"]);
    assert_eq!(script.events(), ["CDS@2 +a=1", "CDS@2 +a=2", "CDS@1 +a=3"]);
}

#[test]
fn xd11_repeated_and_empty_nonces_are_echoed() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    let with = |nonce: &str| Response { nonce: nonce.into(), ..response(&CDS, "1", vec![]) };
    script.respond(with("x"));
    script.respond(with("x"));
    script.respond(with(""));
    assert_eq!(script.sent(), ["CDS v1 nx []", "CDS v1 nx []", "CDS v1 n []"]);
}

#[test]
fn s7_ack_of_clusters_goes_before_the_subscriptions_that_follow_from_them() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    script.sotw(&CDS, "1", &["a=1"]);
    script.want(&EDS, "a");
    assert_eq!(script.sent(), ["CDS v1 n1 []", "EDS v n [a]"]);
}
