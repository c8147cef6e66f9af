//! What becomes of messages that the cases under `tests/data/config` accept.

use proto::envoy::config::bootstrap::v3::Bootstrap;
use proto::envoy::config::route::v3 as route;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as manager;
use proto::envoy::r#type::v3::{FractionalPercent, Percent};
use proto::text::{self, ReadOptions};

use super::parse::{parse, parse_route};
use crate::config::bootstrap;
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

/// What a manager gets of a bootstrap's tracer, and whether its fields are said to be without
/// effect.
fn fallback(message: &str, fields: &str) -> (Option<String>, bool) {
    let yaml = format!(
        "tracing: {{http: {{name: t, typed_config: {{\"@type\": type.googleapis.com/{message}, \
         {fields}}}}}}}"
    );
    let read = text::parse::<Bootstrap>("b.yaml", yaml.as_bytes(), &ReadOptions::default());
    let decoded = bootstrap::parse::decode(read.expect("well-formed").message, &ParseCx::bare());
    let (config, notes) = decoded.expect("accepted");
    let cx = ParseCx { tracer: config.tracer.as_ref(), ..ParseCx::bare() };
    let parsed = parse(manager::http_connection_manager::Tracing::default(), &cx);
    let provider = parsed.expect("accepted").provider;
    let ignored = notes.ignored_fields.iter().any(|field| field.contains("ZipkinConfig"));
    (provider.map(|provider| provider.service.cluster.to_string()), ignored)
}

#[test]
fn a_manager_without_a_tracer_takes_the_bootstraps_if_it_is_built() {
    let ours = "envoy.config.trace.v3.OpenTelemetryConfig";
    let fields = "grpc_service: {envoy_grpc: {cluster_name: c}}";
    assert_eq!(fallback(ours, fields), (Some("c".to_owned()), false));
    let other = "envoy.config.trace.v3.ZipkinConfig";
    assert_eq!(fallback(other, "collector_cluster: c, collector_endpoint: /"), (None, true));
}
