//! `resource_errors` (C13).

use super::*;
use Variant::Sotw;

fn with_error(name: &str, code: i32) -> Response {
    let error = ResourceError { name: name.into(), code, message: "says the server".into() };
    Response { errors: vec![error], ..response(&RDS, "2", vec![]) }
}

#[test]
fn c13_transient_error_keeps_the_value_and_is_reported() {
    let mut script = Script::open(Sotw, &[(RDS, "r")]);
    script.sotw(&RDS, "1", &["r=1"]);
    script.events();
    script.respond(with_error("r", 14));
    let Some(Event::Update(update)) = script.stream.poll_event() else { panic!("an update") };
    assert!(update.removed.is_empty());
    assert_eq!(update.errors[0].code, 14);
}

#[test]
fn c13_any_error_ends_the_wait_for_a_resource() {
    let mut script = Script::open(Sotw, &[(RDS, "r")]);
    script.respond(with_error("r", 7));
    script.events();
    script.advance(Duration::from_secs(60));
    assert!(script.events().is_empty());
}

#[test]
fn c13_not_found_removes_what_is_held_and_names_what_is_not() {
    let mut script = Script::open(Sotw, &[(RDS, "r"), (RDS, "s")]);
    script.sotw(&RDS, "1", &["r=1"]);
    script.events();
    script.respond(with_error("r", 5));
    assert_eq!(script.events(), ["RDS@2 -r"]);
    script.respond(with_error("s", 5));
    assert_eq!(script.events(), ["RDS@2", "absent RDS s Error(\"says the server\")"]);
}

#[test]
fn c13_transient_error_keeps_a_cluster_that_the_full_state_lacks() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    script.sotw(&CDS, "1", &["a=1", "b=1"]);
    let error = ResourceError { name: "a".into(), code: 13, message: String::new() };
    script.respond(Response { errors: vec![error], ..response(&CDS, "2", vec![]) });
    assert_eq!(script.events(), ["CDS@1 +a=1 +b=1", "CDS@2 -b"]);
}
