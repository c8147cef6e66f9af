//! The index gives what a scan from the top gives.

use proptest::prelude::*;

use super::*;
use crate::config::route::RouteEntry;
use crate::route::matching::{path_matches, rest_matches};

/// Few letters, so that paths and patterns meet often.
const TEXT: &str = "[aAb/]{0,5}";

fn pattern() -> impl Strategy<Value = Value> {
    prop_oneof![
        TEXT.prop_map(|text| serde_json::json!({"prefix": text})),
        TEXT.prop_map(|text| serde_json::json!({"path": text})),
        "[aAb/]{1,4}[ab]".prop_map(|text| serde_json::json!({"path_separated_prefix": text})),
        "[ab/]{1,2}"
            .prop_map(|text| serde_json::json!({"safe_regex": {"regex": format!("{text}.*")}})),
    ]
}

fn route() -> impl Strategy<Value = Value> {
    (pattern(), any::<bool>(), 0..4_u8).prop_map(|(mut matcher, sensitive, header)| {
        matcher["case_sensitive"] = sensitive.into();
        if header == 0 {
            matcher["headers"] = serde_json::json!([{"name": "x"}]);
        }
        serde_json::json!({"match": matcher, "route": {"cluster": "c"}})
    })
}

fn scan(routes: &[RouteEntry], path: &[u8], input: &RouteInput<'_>) -> Option<usize> {
    routes.iter().position(|route| {
        path_matches(&route.matcher.path, path) && rest_matches(&route.matcher, input)
    })
}

proptest! {
    #[test]
    fn the_first_match_in_order_wins(
        routes in prop::collection::vec(route(), 0..40),
        paths in prop::collection::vec("/[aAb/]{0,6}", 1..20),
        header: bool,
    ) {
        let mut routes = routes;
        for (i, route) in routes.iter_mut().enumerate() {
            route["name"] = i.to_string().into();
        }
        let host = serde_json::json!({"name": "v", "domains": ["*"], "routes": routes});
        let config = parse_config(&serde_json::json!({"virtual_hosts": [host]}));
        let table = RouteTable::build(config.clone());
        for path in paths {
            let mut request = Request::get("h", &path);
            if header {
                request.add("x", "y");
            }
            let input = request.input();
            let wanted = scan(&config.virtual_hosts[0].routes, path.as_bytes(), &input);
            let found = table.find(&input).map(|route| route.name().parse().expect("its place"));
            prop_assert_eq!(found, wanted, "{}", path);
        }
    }
}

/// Prints what a look-up costs; `cargo test --release -- --ignored --nocapture look_up`.
#[test]
#[ignore = "a measurement, not a check"]
fn look_up_of_the_last_of_many_prefixes() {
    for count in [10, 1_000, 10_000, 100_000] {
        let routes: Vec<Value> = (0..count)
            .map(|i| {
                let prefix = format!("/service-{i}/");
                serde_json::json!({"match": {"prefix": prefix}, "route": {"cluster": "c"}})
            })
            .collect();
        let host = serde_json::json!({"name": "v", "domains": ["*.com"], "routes": routes});
        let config = parse_config(&serde_json::json!({"virtual_hosts": [host]}));
        let start = crate::base::clock::now();
        let table = RouteTable::build(config);
        let built = start.elapsed();
        let request = Request::get("www.example.com", &format!("/service-{}/x?q=1", count - 1));
        let rounds = 200_000_u32;
        let start = crate::base::clock::now();
        for _ in 0..rounds {
            assert!(std::hint::black_box(&table).find(&request.input()).is_some());
        }
        println!("{count} routes: {:?} a look-up, built in {built:?}", start.elapsed() / rounds);
    }
}
