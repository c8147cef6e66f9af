//! `*`, said and unsaid (C10, D5, D6).

use super::*;
use Variant::{Delta, Sotw};

#[test]
fn c10_sotw_legacy_then_mixed_then_named_then_nothing() {
    let mut script =
        Script::new(Settings { node_on: NodeOn::FirstRequest, ..Settings::new(Sotw, 1) });
    script.want(&CDS, "*");
    script.connect();
    assert_eq!(script.sent(), ["CDS v n [] node"]);
    script.want(&CDS, "a");
    assert_eq!(script.sent(), ["CDS v n [*,a]"]);
    script.unwant(&CDS, "*");
    assert_eq!(script.sent(), ["CDS v n [a]"]);
    script.unwant(&CDS, "a");
    assert_eq!(script.sent(), ["CDS v n []"]);
    script.want(&CDS, "*");
    assert_eq!(script.sent(), ["CDS v n [*]"], "an empty list would now mean nothing");
}

#[test]
fn c10_sotw_wanting_nothing_is_not_said_where_it_would_mean_all() {
    let mut script = Script::open(Sotw, &[(CDS, "*")]);
    script.unwant(&CDS, "*");
    assert!(script.sent().is_empty());
    script.sotw(&CDS, "1", &["a=1"]);
    assert!(script.events().is_empty());
    assert_eq!(script.sent(), ["CDS v1 n1 []"]);
    script.want(&CDS, "*");
    assert_eq!(script.events(), ["CDS@1 Cached +a=1"]);
    assert!(script.sent().is_empty());
}

#[test]
fn d6_lone_wildcard_is_left_unsaid_until_a_name_joins_it() {
    let mut script =
        Script::new(Settings { node_on: NodeOn::FirstRequest, ..Settings::new(Delta, 1) });
    script.want(&CDS, "*");
    script.connect();
    assert_eq!(script.sent(), ["CDS +[] node"]);
    script.want(&CDS, "a");
    assert_eq!(script.sent(), ["CDS +[*,a]"]);
    script.want(&CDS, "b");
    assert_eq!(script.sent(), ["CDS +[b]"]);
}

#[test]
fn d6_wildcard_with_names_is_said_from_the_start() {
    let mut script = Script::new(Settings::new(Delta, 1));
    script.want(&CDS, "*");
    script.want(&CDS, "a");
    script.connect();
    assert_eq!(script.sent(), ["CDS +[*,a] node"]);
}

#[test]
fn d5_name_given_up_beside_a_wildcard_stays_until_the_server_decides() {
    let mut script = Script::open(Delta, &[(CDS, "*"), (CDS, "a")]);
    script.delta(&CDS, "1", &["a@1=x"], &[]);
    script.unwant(&CDS, "a");
    assert_eq!(script.sent(), ["CDS +[] n1", "CDS +[] -[a]"]);
    assert_eq!(script.events(), ["CDS@1 +a=x"]);
    script.delta(&CDS, "2", &[], &["a"]);
    assert_eq!(script.events(), ["CDS@2 -a"]);
}

#[test]
fn d5_an_ambiguous_resource_is_among_the_initial_versions() {
    let mut script = Script::open(Delta, &[(CDS, "*"), (CDS, "a")]);
    script.delta(&CDS, "1", &["a@1=x"], &[]);
    script.unwant(&CDS, "a");
    script.close();
    script.connect();
    assert_eq!(script.sent(), ["CDS +[] {a:1} node"]);
}
