//! Refusals: what they say, what they leave alone, how often they are said.

use super::*;
use Variant::Sotw;

#[test]
fn c11_xd18_one_bad_of_many_keeps_its_old_value_and_the_others_move_on() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    script.sotw(&CDS, "1", &["a=1", "b=1", "c=1"]);
    script.sent();
    script.sotw(&CDS, "2", &["a=2", "b=bad", "c=1"]);
    assert_eq!(script.events(), ["CDS@1 +a=1 +b=1 +c=1", "CDS@2 +a=2 ~c !b"]);
    assert_eq!(script.sent(), ["CDS v1 n2 [] NACK(b: value: got bad; must be good)"]);
}

#[test]
fn c11_holds_for_routes_and_endpoints_too() {
    for kind in [RDS, EDS] {
        let mut script = Script::open(Sotw, &[(kind.clone(), "a"), (kind.clone(), "b")]);
        script.sotw(&kind, "1", &["a=bad", "b=1"]);
        let events = script.events();
        assert!(events[0].ends_with("@1 +b=1 !a"), "{events:?}");
    }
}

#[test]
fn xd07_garbage_is_refused_by_its_place_and_deletes_nothing() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    script.sotw(&CDS, "1", &["a=1", "b=1"]);
    script.sent();
    script.sotw(&CDS, "2", &["a=1", "garbage"]);
    assert_eq!(script.events(), ["CDS@1 +a=1 +b=1", "CDS@2 ~a !resources[1]"]);
    assert_eq!(script.sent(), ["CDS v1 n2 [] NACK(resources[1]: no message of the type)"]);
}

#[test]
fn c4_duplicate_name_is_refused_and_keeps_its_value() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    script.sotw(&CDS, "1", &["a=1"]);
    script.sent();
    script.sotw(&CDS, "2", &["a=2", "b=2", "a=3"]);
    assert_eq!(script.events(), ["CDS@1 +a=1", "CDS@2 +b=2 !a"]);
    assert_eq!(script.sent(), ["CDS v1 n2 [] NACK(a: got a twice; must be unique)"]);
}

#[test]
fn c4_xd08_resource_of_another_type_is_refused() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    let alien = plain(&RDS, "r=1");
    script.respond(response(&CDS, "1", vec![plain(&CDS, "a=1"), alien]));
    assert_eq!(script.events(), ["CDS@1 +a=1 !resources[1]"]);
    let text = format!("resources[1]: got \"{RDS}\"; must be {CDS}");
    assert_eq!(script.sent(), [format!("CDS v n1 [] NACK({text})")]);
}

#[test]
fn c4_wrapper_in_state_of_the_world_gives_the_name() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    script.respond(response(&CDS, "7", vec![wrapped(&CDS, "a@ignored=1")]));
    let Some(Event::Update(update)) = script.stream.poll_event() else { panic!("an update") };
    assert_eq!(&*update.changed[0].name, "a");
    assert_eq!(update.changed[0].version, "7", "a version belongs to the type");
}

#[test]
fn c4_unreadable_wrapper_is_refused() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    let broken = RawResource { broken: Some("no Resource".into()), ..RawResource::default() };
    script.respond(response(&CDS, "1", vec![broken]));
    assert_eq!(script.sent(), ["CDS v n1 [] NACK(resources[0]: no Resource)"]);
}

#[test]
fn xd10_empty_name_is_refused() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    script.sotw(&CDS, "1", &["=1"]);
    assert_eq!(script.sent(), ["CDS v n1 [] NACK(resources[0]: got \"\"; must be a name)"]);
}

#[test]
fn xd19_bad_first_response_recovers_on_a_good_one() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    script.sotw(&CDS, "1", &["a=bad"]);
    script.sotw(&CDS, "2", &["a=2"]);
    assert_eq!(script.events(), ["CDS@1 !a", "CDS@2 +a=2"]);
    let sent = script.sent();
    assert_eq!(sent.last().map(String::as_str), Some("CDS v2 n2 []"));
    assert_eq!(sent.len(), 2);
}

/// A server that answers each NACK with the same bad response, for a minute.
#[test]
fn k8_identical_bad_responses_do_not_spin() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    let end = script.now + Duration::from_secs(60);
    let mut nacks = 0;
    script.sotw(&CDS, "1", &["a=bad"]);
    while script.now < end {
        if script.sent().is_empty() {
            script.now = script.stream.poll_timeout().expect("a NACK is delayed");
            script.stream.handle_timeout(script.now);
        } else {
            nacks += 1;
            script.sotw(&CDS, "1", &["a=bad"]);
        }
    }
    assert!((5..=20).contains(&nacks), "{nacks}");
}

#[test]
fn k8_delayed_answer_gives_way_to_a_good_response_and_to_new_names() {
    let mut script = Script::open(Sotw, &[(EDS, "a")]);
    for _ in 0..3 {
        script.sotw(&EDS, "1", &["a=bad"]);
    }
    assert_eq!(script.sent().len(), 1, "two are delayed");
    script.want(&EDS, "b");
    assert_eq!(script.sent().len(), 3, "both, and then the names");
    script.sotw(&EDS, "1", &["a=bad"]);
    assert!(script.sent().is_empty());
    script.sotw(&EDS, "2", &["a=2"]);
    let sent = script.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1], "EDS v2 n2 [a,b]");
}

#[test]
fn k8_responses_are_not_read_while_too_many_answers_wait() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    for _ in 0..=64 {
        script.sotw(&CDS, "1", &["a=bad"]);
    }
    script.sent();
    assert!(!script.stream.wants_response());
    script.advance(Duration::from_secs(5));
    script.sent();
    assert!(script.stream.wants_response());
}

/// Values that begin alike cannot be beside each other; who is there already stays.
fn one_of_a_letter() -> Review<String> {
    std::sync::Arc::new(|_, whole| {
        let mut standing: Vec<&str> = whole.held.values().map(|value| &***value).collect();
        let mut refused = Vec::new();
        for (place, (_, value)) in whole.accepted.iter().enumerate() {
            match standing.iter().find(|other| other[..1] == value[..1]) {
                Some(other) => refused.push((place, Reason::Rule(format!("as {other}")).into())),
                None => standing.push(value),
            }
        }
        refused
    })
}

#[test]
fn c11_what_cannot_be_beside_others_is_refused_alone() {
    for variant in [Variant::Sotw, Variant::Delta] {
        let mut script = Script::open(variant, &[(LDS, "*")]);
        script.stream = script.stream.with_review(Some(one_of_a_letter()));
        match variant {
            Variant::Sotw => {
                script.sotw(&LDS, "1", &["a=x1", "b=x2", "c=y1"]);
                // What goes with the response is in nobody's way.
                script.sotw(&LDS, "2", &["b=x2", "c=y1", "d=y2"]);
            }
            Variant::Delta => {
                script.delta(&LDS, "1", &["a@1=x1", "b@1=x2", "c@1=y1"], &[]);
                script.delta(&LDS, "2", &["b@1=x2", "d@1=y2"], &["a"]);
            }
        }
        let sent = script.sent().join("; ");
        assert!(sent.contains("NACK(b: as x1)") && sent.contains("NACK(d: as y1)"), "{sent}");
        let events = script.events();
        let (first, second) = (&events[0], &events[1]);
        assert!(first.contains("+a=x1 +c=y1") && first.contains("!b"), "{events:?}");
        assert!(second.contains("+b=x2") && second.contains("-a"), "{events:?}");
        assert!(second.contains("!d"), "{events:?}");
    }
}
