//! Deadlines: does not exist (C9), initial fetch, time to live (C12).

use super::*;
use Variant::{Delta, Sotw};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn c9_silence_counts_from_the_request_on_an_open_stream() {
    let mut script = Script::new(Settings::new(Sotw, 1));
    script.want(&RDS, "r");
    script.advance(60 * SECOND);
    assert_eq!(script.events(), ["connect"], "no stream, no question, no silence");
    script.handle(Input::Opened);
    script.sent();
    script.advance(15 * SECOND - Duration::from_millis(1));
    assert!(script.events().is_empty());
    script.advance(Duration::from_millis(1));
    assert_eq!(script.events(), ["absent RDS r Silence"]);
}

#[test]
fn c9_xd16_a_resource_declared_absent_may_still_come() {
    let mut script = Script::open(Sotw, &[(RDS, "r")]);
    script.advance(60 * SECOND);
    script.sotw(&RDS, "1", &["r=1"]);
    assert_eq!(script.events(), ["absent RDS r Silence", "RDS@1 +r=1"]);
}

#[test]
fn c9_does_not_run_while_disconnected_and_never_again_once_it_ended() {
    let mut script = Script::open(Sotw, &[(RDS, "r"), (RDS, "s")]);
    script.advance(10 * SECOND);
    script.sotw(&RDS, "1", &["s=1"]);
    script.close();
    script.now += 20 * SECOND;
    script.connect();
    script.events();
    script.sent();
    script.advance(14 * SECOND);
    assert!(script.events().is_empty(), "the new stream's server has its own 15 s");
    script.advance(SECOND);
    assert_eq!(script.events(), ["absent RDS r Silence"]);
    script.close();
    script.connect();
    script.sent();
    script.events();
    script.advance(60 * SECOND);
    assert!(script.events().is_empty());
}

#[test]
fn initial_fetch_timeout_runs_without_a_server_and_ends_at_the_first_answer() {
    let mut script = Script::new(Settings::new(Sotw, 1));
    script.want_within(&LDS, "*", Some(15 * SECOND));
    script.want_within(&CDS, "*", Some(15 * SECOND));
    script.want_within(&EDS, "a", None);
    script.connect();
    script.sent();
    script.sotw(&CDS, "1", &["a=bad"]);
    script.events();
    script.close();
    script.now += 15 * SECOND;
    script.stream.handle_timeout(script.now);
    let events = script.events();
    assert!(events.contains(&"fetch-timeout LDS *".into()), "{events:?}");
    assert!(!events.iter().any(|e| e.contains("CDS") || e.contains("EDS")), "{events:?}");
}

#[test]
fn c12_ttl_ends_a_resource_unless_a_heartbeat_comes() {
    let mut script = Script::open(Delta, &[(EDS, "a"), (EDS, "b")]);
    let with_ttl = |text: &str| RawResource { ttl: Some(5 * SECOND), ..wrapped(&EDS, text) };
    script.respond(response(&EDS, "1", vec![with_ttl("a@1=x"), with_ttl("b@1=x")]));
    script.advance(3 * SECOND);
    script.respond(response(&EDS, "2", vec![with_ttl("a@1")]));
    assert_eq!(script.events(), ["EDS@1 +a=x +b=x", "EDS@2"]);
    script.advance(2 * SECOND);
    assert_eq!(script.events(), ["EDS@2 Ttl -b"]);
    script.advance(3 * SECOND);
    assert_eq!(script.events(), ["EDS@2 Ttl -a"]);
}

#[test]
fn c12_receipt_without_a_ttl_ends_the_timer() {
    let mut script = Script::open(Delta, &[(EDS, "a")]);
    let first = RawResource { ttl: Some(5 * SECOND), ..wrapped(&EDS, "a@1=x") };
    script.respond(response(&EDS, "1", vec![first]));
    script.delta(&EDS, "2", &["a@1=x"], &[]);
    script.events();
    script.advance(60 * SECOND);
    assert!(script.events().is_empty());
}

#[test]
fn c12_bodiless_resource_of_another_version_is_refused_and_blanks_nothing() {
    let mut script = Script::open(Delta, &[(EDS, "a")]);
    script.delta(&EDS, "1", &["a@1=x"], &[]);
    script.sent();
    script.delta(&EDS, "2", &["a@2"], &[]);
    assert_eq!(script.events(), ["EDS@1 +a=x", "EDS@2 !a"]);
    let sent = script.sent();
    assert!(sent[0].contains("NACK(a: got version \"2\"; must be \"1\""), "{sent:?}");
}

#[test]
fn c12_heartbeats_alone_are_no_state_of_the_world() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    script.sotw(&CDS, "1", &["a=1", "b=1"]);
    script.respond(response(&CDS, "1", vec![wrapped(&CDS, "a@1")]));
    assert_eq!(script.events(), ["CDS@1 +a=1 +b=1", "CDS@1"]);
}
