//! The page as a scraper reads it.

use super::*;
use crate::telemetry::flags::ResponseFlags;

const W0: WorkerId = WorkerId::worker(0);
const W1: WorkerId = WorkerId::worker(1);

fn metrics() -> Metrics {
    Metrics::new(2, BuildInfo { version: "0.1.0", revision: "abc" })
}

fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
    let page = metrics.render();
    page.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

#[test]
fn a_declared_service_has_all_series_at_zero() {
    let metrics = metrics();
    metrics.declare("backend");
    let requests = lines(&metrics, "gomesh_requests_total");
    assert_eq!(requests.len(), 5);
    assert!(
        requests.contains(&"gomesh_requests_total{service=\"backend\",status=\"2xx\"} 0".into())
    );
    let errors = lines(&metrics, "gomesh_errors_total");
    assert!(
        errors
            .contains(&"gomesh_errors_total{error_type=\"timeout\",service=\"backend\"} 0".into())
    );
    let durations = lines(&metrics, "gomesh_request_duration_seconds");
    assert!(
        durations.contains(&"gomesh_request_duration_seconds_count{service=\"backend\"} 0".into())
    );
}

#[test]
fn other_services_have_a_series_after_its_first_request() {
    let metrics = metrics();
    let service = metrics.service("reviews");
    assert!(lines(&metrics, "gomesh_requests_total").is_empty());
    assert!(lines(&metrics, "gomesh_request_duration").is_empty());
    service.completed(W0, 200, Duration::from_millis(7));
    service.completed(W1, 204, Duration::from_secs(20));
    service.error(W1, ErrorType::Connect);
    assert_eq!(
        lines(&metrics, "gomesh_requests_total"),
        ["gomesh_requests_total{service=\"reviews\",status=\"2xx\"} 2"]
    );
    assert_eq!(
        lines(&metrics, "gomesh_errors_total"),
        ["gomesh_errors_total{error_type=\"connect\",service=\"reviews\"} 1"]
    );
    let durations = lines(&metrics, "gomesh_request_duration_seconds");
    let has = |line: &str| assert!(durations.iter().any(|l| l == line), "{line}: {durations:?}");
    has("gomesh_request_duration_seconds_bucket{service=\"reviews\",le=\"0.005\"} 0");
    has("gomesh_request_duration_seconds_bucket{service=\"reviews\",le=\"0.01\"} 1");
    has("gomesh_request_duration_seconds_bucket{service=\"reviews\",le=\"10\"} 1");
    has("gomesh_request_duration_seconds_bucket{service=\"reviews\",le=\"+Inf\"} 2");
    has("gomesh_request_duration_seconds_sum{service=\"reviews\"} 20.007");
    drop(service);
    assert!(lines(&metrics, "gomesh_requests_total").is_empty(), "series go with the cluster");
}

#[test]
fn the_page_says_nothing_of_opentelemetry_and_overflows_no_series() {
    let metrics = metrics();
    let services: Vec<_> = (0..3000).map(|n| metrics.service(&format!("s{n}"))).collect();
    for service in &services {
        service.completed(W0, 500, Duration::ZERO);
    }
    let page = metrics.render();
    assert_eq!(lines(&metrics, "gomesh_requests_total").len(), 3000);
    for word in ["otel", "target_info", "overflow"] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn process_figures_are_there_from_the_start() {
    let metrics = metrics();
    metrics.request_started(W0);
    metrics.request_started(W1);
    metrics.request_ended(W1);
    metrics.panicked(W1);
    metrics.set_xds_connected(true);
    metrics.config_update("cds", UpdateResult::Rejected);
    metrics.ignored_field("stats_config");
    let page = metrics.render();
    for line in [
        "# TYPE gomesh_requests_in_flight gauge",
        "gomesh_requests_in_flight 1",
        "# TYPE gomesh_panics_total counter",
        "gomesh_panics_total 1",
        "gomesh_xds_connected 1",
        "gomesh_build_info{revision=\"abc\",version=\"0.1.0\"} 1",
        "gomesh_config_updates_total{result=\"rejected\",type=\"cds\"} 1",
        "gomesh_config_ignored_fields_total{field=\"stats_config\"} 1",
    ] {
        assert!(page.lines().any(|l| l == line), "{line}\n{page}");
    }
}

#[test]
fn flags_tell_the_cause() {
    let cause = ErrorType::from_flags;
    let mut flags = ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED;
    assert_eq!(cause(flags), None);
    flags.insert(ResponseFlags::UPSTREAM_CONNECTION_FAILURE);
    assert_eq!(cause(flags), Some(ErrorType::Connect));
    assert_eq!(cause(ResponseFlags::NO_ROUTE_FOUND), Some(ErrorType::NoRoute));
}
