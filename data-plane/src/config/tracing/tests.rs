//! What becomes of messages that the cases under `tests/data/config` accept.

use proto::envoy::config::route::v3 as route;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as manager;
use proto::envoy::r#type::v3::{FractionalPercent, Percent};

use super::parse::{parse, parse_route};
use crate::config::resource::ParseCx;

#[test]
fn shares_of_a_manager_are_cut_and_rounded_as_envoy_does() {
    let message = manager::http_connection_manager::Tracing {
        client_sampling: Some(Percent { value: 12.9 }),
        random_sampling: Some(Percent { value: 0.126 }),
        ..Default::default()
    };
    let parsed = parse(message, &ParseCx::bare()).expect("accepted");
    let share = |f: &super::RuntimeFraction| (f.numerator, f.denominator);
    assert_eq!(share(&parsed.sampling.client), (12, 100));
    assert_eq!(share(&parsed.sampling.random), (13, 10_000));
    assert_eq!(share(&parsed.sampling.overall), (10_000, 10_000));
    assert!(parsed.provider.is_none());
}

#[test]
fn a_route_that_gives_one_share_samples_all_by_the_others() {
    let message = route::Tracing {
        random_sampling: Some(FractionalPercent { numerator: 5, denominator: 2 }),
        ..Default::default()
    };
    let parsed = parse_route(message, &ParseCx::bare()).expect("accepted");
    assert_eq!(
        (parsed.sampling.random.numerator, parsed.sampling.random.denominator),
        (5, 1_000_000)
    );
    assert_eq!(parsed.sampling.client.numerator, 100);
    assert_eq!(parsed.sampling.overall.denominator, 100);
}
