//! The page of a real Envoy 1.40 (static bootstrap, clusters `dead` and `local`, listener
//! 127.0.0.1:28000, two workers), against what the same groups print here.

use super::super::*;
use super::*;
use crate::telemetry::WorkerId;

const W0: WorkerId = WorkerId::worker(0);
const W1: WorkerId = WorkerId::worker(1);

const NAMES: &str = include_str!("testdata/static_names.txt");
const SERIES: &str = include_str!("testdata/static_series.txt");

struct Page {
    registry: Registry,
    local: Group<ClusterStat>,
    edge: Group<HttpStat>,
    _rest: Vec<Box<dyn std::any::Any>>,
}

fn hold<S: StatSet>(rest: &mut Vec<Box<dyn std::any::Any>>, group: &Group<S>) {
    rest.push(Box::new(group.clone()));
}

/// The groups of that process.
fn page() -> Page {
    let registry = Registry::new(2);
    let mut rest = Vec::new();
    let edge = registry.group::<HttpStat>(Scope::http("edge"));
    let local = registry.group::<ClusterStat>(Scope::cluster("local"));
    let dead = registry.group::<ClusterStat>(Scope::cluster("dead"));
    dead.response(W0, Origin::External, 503);
    for code in [200, 200] {
        local.response(W0, Origin::External, code);
    }
    local.response_time(W0, Origin::External, 1);
    for cluster in [&local, &dead] {
        hold(&mut rest, cluster);
        hold(&mut rest, &registry.group::<Http1Stat>(cluster.scope().join("http1.")));
    }
    hold(&mut rest, &registry.group::<HttpTracingStat>(edge.scope().join("tracing.")));
    hold(&mut rest, &registry.group::<HttpStat>(Scope::http("admin")));
    hold(&mut rest, &registry.group::<RouterStat>(Scope::http("edge")));
    hold(&mut rest, &registry.group::<RouterStat>(Scope::http("async-client")));
    hold(&mut rest, &registry.group::<Http1Stat>(Scope::plain("http1.")));
    let address = "127.0.0.1:28000";
    hold(&mut rest, &registry.group::<ListenerStat>(Scope::listener(address)));
    let responses = registry.group::<ListenerHttpStat>(Scope::listener_http(address, "edge"));
    hold(&mut rest, &responses);
    hold(&mut rest, &registry.group::<AdminListenerStat>(Scope::plain("listener.admin.")));
    hold(&mut rest, &registry.group::<ListenerHttpStat>(Scope::admin_http()));
    hold(&mut rest, &registry.group::<ListenerManagerStat>(Scope::plain("listener_manager.")));
    hold(&mut rest, &registry.group::<ClusterManagerStat>(Scope::plain("cluster_manager.")));
    hold(&mut rest, &registry.group::<FilesystemStat>(Scope::plain("filesystem.")));
    hold(&mut rest, &registry.group::<RuntimeStat>(Scope::plain("runtime.")));
    hold(&mut rest, &registry.group::<ServerStat>(Scope::plain("server.")));
    hold(&mut rest, &registry.group::<OverloadStat>(Scope::plain("overload.")));
    let actions = Scope::plain("envoy.overload_actions.");
    hold(&mut rest, &registry.group::<OverloadActionStat>(actions));
    for prefix in ["main_thread.", "workers."] {
        hold(&mut rest, &registry.group::<WatchdogStat>(Scope::plain(prefix)));
    }
    let inflated = "thread_local_cluster_manager.";
    let main = Scope::plain(inflated).join("main_thread.");
    hold(&mut rest, &registry.group::<ThreadLocalStat>(main));
    for worker in 0..2 {
        hold(&mut rest, &registry.group::<WatchdogStat>(Scope::worker("server.", worker)));
        hold(&mut rest, &registry.group::<ThreadLocalStat>(Scope::worker(inflated, worker)));
    }
    Page { registry, local, edge, _rest: rest }
}

fn all(registry: &Registry) -> Vec<Row> {
    registry.rows(&Query::default())
}

#[test]
fn text_prints_the_names_of_envoy_in_its_order() {
    let page = page();
    let text = text(all(&page.registry), Buckets::Summary);
    let ours: Vec<_> = text.lines().filter_map(|line| line.split(": ").next()).collect();
    let envoys: Vec<_> = NAMES.lines().collect();
    for (ours, envoys) in ours.iter().zip(&envoys) {
        assert_eq!(ours, envoys);
    }
    assert_eq!(ours.len(), envoys.len());
}

#[test]
fn prometheus_prints_the_series_of_envoy_in_its_order() {
    let page = page();
    let text = prometheus(all(&page.registry), Buckets::Cumulative, TextReadouts::Omit);
    let ours = text.lines().filter(|line| !line.contains("_bucket{"));
    let ours: Vec<_> = ours.filter_map(|line| line.rsplit_once(' ').map(|(s, _)| s)).collect();
    let envoys: Vec<_> = SERIES.lines().collect();
    for (ours, envoys) in ours.iter().zip(&envoys) {
        assert_eq!(ours, envoys);
    }
    assert_eq!(ours.len(), envoys.len());
}

fn only(filter: &str) -> Query {
    Query { filter: Some(regex::Regex::new(filter).unwrap()), ..Query::default() }
}

#[test]
fn values_of_workers_are_added_up_and_a_gauge_may_fall_elsewhere_than_it_rose() {
    let page = page();
    page.edge.add(W0, HttpStat::DownstreamRqTotal, 2);
    page.edge.inc(W1, HttpStat::DownstreamRqTotal);
    page.edge.inc(W0, HttpStat::DownstreamCxActive);
    page.edge.inc(W0, HttpStat::DownstreamCxActive);
    page.edge.dec(W1, HttpStat::DownstreamCxActive);
    page.local.set(ClusterStat::MembershipTotal, 3);
    let query = only("edge.downstream_(rq_total|cx_active)|local.membership_total");
    assert_eq!(
        text(page.registry.rows(&query), Buckets::Summary),
        "cluster.local.membership_total: 3\n\
         http.edge.downstream_cx_active: 1\n\
         http.edge.downstream_rq_total: 3\n"
    );
}

#[test]
fn used_only_prints_a_gauge_that_was_set_to_zero() {
    let page = page();
    page.local.set(ClusterStat::MembershipHealthy, 0);
    let query = Query { used_only: true, ..only("cluster.local.membership") };
    assert_eq!(
        text(page.registry.rows(&query), Buckets::Summary),
        "cluster.local.membership_healthy: 0\n"
    );
}

#[test]
fn responses_are_printed_by_code_class_and_origin() {
    let page = page();
    page.local.response(W1, Origin::Internal, 200);
    let query = only("local.*upstream_rq_(200|2xx|completed)");
    assert_eq!(
        text(page.registry.rows(&query), Buckets::Summary),
        "cluster.local.external.upstream_rq_200: 2\n\
         cluster.local.external.upstream_rq_2xx: 2\n\
         cluster.local.external.upstream_rq_completed: 2\n\
         cluster.local.internal.upstream_rq_200: 1\n\
         cluster.local.internal.upstream_rq_2xx: 1\n\
         cluster.local.internal.upstream_rq_completed: 1\n\
         cluster.local.upstream_rq_200: 3\n\
         cluster.local.upstream_rq_2xx: 3\n\
         cluster.local.upstream_rq_completed: 3\n"
    );
    let query = only("local.upstream_rq_(200|2xx)");
    assert_eq!(
        prometheus(page.registry.rows(&query), Buckets::Cumulative, TextReadouts::Omit),
        "# TYPE envoy_cluster_upstream_rq counter\n\
         envoy_cluster_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"local\"} 3\n\
         # TYPE envoy_cluster_upstream_rq_xx counter\n\
         envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"2\",\
         envoy_cluster_name=\"local\"} 3\n"
    );
}

#[test]
fn what_a_virtual_cluster_counts_has_its_names_as_labels() {
    let registry = Registry::new(1);
    let group = registry.group::<RouteStat>(Scope::virtual_cluster("a.b:c", "vc"));
    let query = only("_(rq_total|completed|[0-9]+)$");
    let page = |buckets| text(registry.rows(&query), buckets);
    assert_eq!(page(Buckets::Summary), "vhost.a.b:c.vcluster.vc.upstream_rq_total: 0\n");
    group.inc(W0, RouteStat::UpstreamRqTotal);
    group.response(W0, Origin::Internal, 200);
    assert_eq!(
        page(Buckets::Summary),
        "vhost.a.b:c.vcluster.vc.upstream_rq_200: 1\n\
         vhost.a.b:c.vcluster.vc.upstream_rq_completed: 1\n\
         vhost.a.b:c.vcluster.vc.upstream_rq_total: 1\n"
    );
    assert_eq!(
        prometheus(registry.rows(&only("_total")), Buckets::Cumulative, TextReadouts::Omit),
        "# TYPE envoy_vhost_vcluster_upstream_rq_total counter\n\
         envoy_vhost_vcluster_upstream_rq_total{envoy_virtual_cluster=\"vc\",\
         envoy_virtual_host=\"a.b:c\"} 1\n"
    );
}

/// Seven values in the pattern of a captured page: 0 ×3, 1 ×3, 42.
fn request_times(page: &Page) {
    for value in [0, 0, 1, 1, 42] {
        page.edge.record(W0, HttpStat::DownstreamRqTime, value);
    }
    for value in [0, 1] {
        page.edge.record(W1, HttpStat::DownstreamRqTime, value);
    }
}

#[test]
fn percentiles_are_those_that_envoy_prints() {
    let page = page();
    request_times(&page);
    page.registry.flush();
    let query = only("http.edge.downstream_rq_time$");
    assert_eq!(
        text(page.registry.rows(&query), Buckets::Summary),
        "http.edge.downstream_rq_time: P0(0,0) P25(0,0) P50(1.025,1.025) P75(1.075,1.075) \
         P90(42.5,42.5) P95(42.5,42.5) P99(42.5,42.5) P99.5(42.5,42.5) P99.9(42.5,42.5) \
         P100(42.5,42.5)\n"
    );
    page.registry.flush();
    let text = text(page.registry.rows(&query), Buckets::Summary);
    assert!(text.contains("P50(nan,1.025)"), "the interval is over: {text}");
}

#[test]
fn buckets_are_those_that_envoy_prints() {
    let page = page();
    request_times(&page);
    page.registry.flush();
    let rows = || page.registry.rows(&only("http.edge.downstream_rq_time$"));
    let cumulative = text(rows(), Buckets::Cumulative);
    assert!(cumulative.contains(": B0.5(3,3) B1(6,6) B5(6,6)"), "{cumulative}");
    assert!(cumulative.ends_with("B600000(7,7) B1.8e+06(7,7) B3.6e+06(7,7)\n"), "{cumulative}");
    let disjoint = text(rows(), Buckets::Disjoint);
    assert!(disjoint.contains(": B0.5(3,3) B1(3,3) B5(0,0)"), "{disjoint}");
    let detailed = text(rows(), Buckets::Detailed);
    assert!(detailed.contains("\n  totals=0,0:3, 1,0.1:3, 42,1:1\n  intervals="), "{detailed}");
    let json = json(rows(), Buckets::Cumulative);
    assert!(json.contains("{\"upper_bound\":3e+05,\"interval\":7,\"cumulative\":7}"), "{json}");
}

#[test]
fn json_puts_numbers_first_and_all_histograms_in_one_object() {
    let page = page();
    page.local.record(W0, ClusterStat::UpstreamCxConnectMs, 0);
    let query = only("cluster.local.(upstream_cx_connect_ms|membership_total)$");
    let json = json(page.registry.rows(&query), Buckets::Summary);
    let start = "{\"stats\":[{\"name\":\"cluster.local.membership_total\",\"value\":0},\
                 {\"histograms\":{\"supported_quantiles\":[0,25,50,75,90,95,99,99.5,99.9,100],\
                 \"computed_quantiles\":[{\"name\":\"cluster.local.upstream_cx_connect_ms\",\
                 \"values\":[{\"cumulative\":0,\"interval\":null},";
    assert!(json.starts_with(start), "{json}");
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
}

#[test]
fn sums_and_buckets_of_prometheus_are_those_of_envoy() {
    let registry = Registry::new(1);
    let server = registry.group::<ServerStat>(Scope::plain("server."));
    server.record(WorkerId::CONTROL, ServerStat::InitializationTimeMs, 23);
    let rows = || registry.rows(&only("initialization"));
    let text = prometheus(rows(), Buckets::Cumulative, TextReadouts::Omit);
    let start = "# TYPE envoy_server_initialization_time_ms histogram\n\
                 envoy_server_initialization_time_ms_bucket{le=\"0.5\"} 0\n";
    assert!(text.starts_with(start), "{text}");
    let end = "envoy_server_initialization_time_ms_bucket{le=\"3600000\"} 1\n\
               envoy_server_initialization_time_ms_bucket{le=\"+Inf\"} 1\n\
               envoy_server_initialization_time_ms_sum{} 23.489361702127659725647390587255\n\
               envoy_server_initialization_time_ms_count{} 1\n";
    assert!(text.ends_with(end), "{text}");
    let text = prometheus(rows(), Buckets::Summary, TextReadouts::Omit);
    assert!(text.contains("envoy_server_initialization_time_ms{quantile=\"0.995\"} 23.5\n"));
}

#[test]
fn texts_come_first_and_are_gauges_with_a_label() {
    let registry = Registry::new(1);
    let scope = Scope::plain("cluster_manager.cds.");
    let cds = registry.group::<SubscriptionStat>(scope);
    cds.set_text(SubscriptionStat::VersionText, "v1");
    cds.set(SubscriptionStat::Version, 9_194_640_092_791_331_756);
    let rows = || registry.rows(&only("version"));
    assert_eq!(
        text(rows(), Buckets::Summary),
        "cluster_manager.cds.version_text: \"v1\"\n\
         cluster_manager.cds.version: 9194640092791331756\n"
    );
    let text = prometheus(rows(), Buckets::Cumulative, TextReadouts::Print);
    let end = "envoy_cluster_manager_cds_version_text{text_value=\"v1\"} 0\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn reset_counters_prints_from_zero_and_keeps_gauges() {
    let page = page();
    page.edge.add(W0, HttpStat::DownstreamRqTotal, 5);
    page.edge.inc(W0, HttpStat::DownstreamCxActive);
    page.registry.reset_counters();
    page.edge.inc(W0, HttpStat::DownstreamRqTotal);
    page.registry.reset_counters();
    page.edge.add(W1, HttpStat::DownstreamRqTotal, 2);
    let query = only("edge.downstream_(rq_total|cx_active)");
    assert_eq!(
        text(page.registry.rows(&query), Buckets::Summary),
        "http.edge.downstream_cx_active: 1\nhttp.edge.downstream_rq_total: 2\n"
    );
}

#[test]
fn a_group_leaves_the_tree_with_its_last_handle_and_lives_on_when_asked_for_again() {
    let registry = Registry::new(1);
    let old = registry.group::<ClusterStat>(Scope::cluster("a"));
    old.inc(W0, ClusterStat::UpstreamRqTotal);
    let new = registry.group::<ClusterStat>(Scope::cluster("a"));
    drop(old);
    assert_eq!(new.value(ClusterStat::UpstreamRqTotal), 1);
    drop(new);
    assert!(all(&registry).is_empty());
}

#[test]
fn an_idle_cluster_costs_little_memory() {
    let registry = Registry::new(2);
    let cluster = registry.group::<ClusterStat>(Scope::cluster("outbound|8080||reviews"));
    cluster.set(ClusterStat::MembershipTotal, 3);
    cluster.inc(WorkerId::CONTROL, ClusterStat::MembershipChange);
    assert!(cluster.footprint() <= 1024, "{} bytes", cluster.footprint());
    let idle = cluster.footprint();
    cluster.inc(W0, ClusterStat::UpstreamRqTotal);
    assert!(cluster.footprint() > idle, "the first request makes the worker's block");
}
