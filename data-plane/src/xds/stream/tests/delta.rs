//! Delta: subscriptions, removals, answers.

use super::*;
use Variant::Delta;

#[test]
fn d1_subscriptions_carry_no_nonce_and_acks_nothing_else() {
    let mut script = Script::open(Delta, &[(EDS, "a")]);
    script.delta(&EDS, "n1", &["a@1=x"], &[]);
    script.want(&EDS, "b");
    assert_eq!(script.sent(), ["EDS +[] nn1", "EDS +[b]"]);
    assert_eq!(script.events(), ["EDS@n1 +a=x"]);
}

#[test]
fn d1_response_without_a_nonce_is_applied_and_only_refused_aloud() {
    let mut script = Script::open(Delta, &[(EDS, "a")]);
    let good = response(&EDS, "1", vec![wrapped(&EDS, "a@1=x")]);
    script.respond(Response { nonce: String::new(), ..good });
    assert!(script.sent().is_empty());
    let bad = response(&EDS, "1", vec![wrapped(&EDS, "a@2=bad")]);
    script.respond(Response { nonce: String::new(), ..bad });
    assert_eq!(script.sent(), ["EDS +[] NACK(a: value: got bad; must be good)"]);
    assert_eq!(script.events(), ["EDS@1 +a=x", "EDS@1 !a"]);
}

#[test]
fn d3_removal_drops_and_of_an_unknown_name_is_fine() {
    let mut script = Script::open(Delta, &[(CDS, "*")]);
    script.delta(&CDS, "1", &["a@1=x", "b@1=x"], &[]);
    script.delta(&CDS, "2", &[], &["a", "zz"]);
    assert_eq!(script.events(), ["CDS@1 +a=x +b=x", "CDS@2 -a"]);
    assert_eq!(script.sent(), ["CDS +[] n1", "CDS +[] n2"]);
}

#[test]
fn d3_a_name_sent_and_removed_at_once_is_refused_and_keeps_its_value() {
    let mut script = Script::open(Delta, &[(CDS, "*")]);
    script.delta(&CDS, "1", &["a@1=x"], &[]);
    script.sent();
    script.delta(&CDS, "2", &["a@2=y", "b@1=x"], &["a"]);
    assert_eq!(script.events(), ["CDS@1 +a=x", "CDS@2 +b=x !a"]);
    let nack = "CDS +[] n2 NACK(a: stands in resources and in removed_resources; must be in one)";
    assert_eq!(script.sent(), [nack]);
}

#[test]
fn d3_a_name_twice_is_refused() {
    let mut script = Script::open(Delta, &[(CDS, "*")]);
    script.delta(&CDS, "1", &["a@1=x", "b@1=x", "a@1=y"], &[]);
    assert_eq!(script.events(), ["CDS@1 +b=x !a"]);
    assert_eq!(script.sent(), ["CDS +[] n1 NACK(a: got a twice; must be unique)"]);
}

#[test]
fn d4_unsubscribe_then_subscribe_goes_out_as_a_subscribe() {
    let mut script = Script::open(Delta, &[(EDS, "a")]);
    script.delta(&EDS, "1", &["a@1=x"], &[]);
    script.sent();
    script.unwant(&EDS, "a");
    script.want(&EDS, "a");
    assert_eq!(script.sent(), ["EDS +[a]"]);
}

#[test]
fn d4_a_wish_taken_back_before_it_was_sent_leaves_no_trace() {
    let mut script = Script::open(Delta, &[(EDS, "a")]);
    script.want(&EDS, "b");
    script.unwant(&EDS, "b");
    assert!(script.sent().is_empty());
    script.unwant(&EDS, "a");
    assert_eq!(script.sent(), ["EDS +[] -[a]"]);
}

#[test]
fn d10_removal_answers_a_subscription_and_the_resource_may_come_later() {
    let mut script = Script::open(Delta, &[(EDS, "a")]);
    script.delta(&EDS, "1", &[], &["a"]);
    assert_eq!(script.events(), ["EDS@1", "absent EDS a Removed"]);
    script.advance(Duration::from_secs(60));
    assert!(script.events().is_empty(), "no timer fires after the answer");
    script.delta(&EDS, "2", &["a@1=x"], &[]);
    assert_eq!(script.events(), ["EDS@2 +a=x"]);
}

#[test]
fn c11_valid_neighbours_of_a_bad_resource_are_applied() {
    let mut script = Script::open(Delta, &[(EDS, "a"), (EDS, "b"), (EDS, "c")]);
    script.delta(&EDS, "1", &["a@1=x", "b@1=bad", "c@1=x"], &[]);
    assert_eq!(script.events(), ["EDS@1 +a=x +c=x !b"]);
    assert_eq!(script.sent(), ["EDS +[] n1 NACK(b: value: got bad; must be good)"]);
}

#[test]
fn c5_after_the_last_unsubscribe_responses_are_acknowledged_unread() {
    let mut script = Script::open(Delta, &[(EDS, "a")]);
    script.unwant(&EDS, "a");
    script.sent();
    script.delta(&EDS, "1", &["a@1=bad"], &[]);
    assert_eq!(script.sent(), ["EDS +[] n1"]);
    assert!(script.events().is_empty());
}
