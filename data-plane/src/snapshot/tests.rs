//! Every order in which resources can arrive, change and go.

use std::sync::Arc;

use super::*;
use crate::app::load;
use crate::config::cluster::ClusterConfig;
use crate::config::listener::ListenerConfig;
use crate::config::route::RouteConfig;
use crate::route::NoRuntime;
use crate::telemetry::WorkerId;
use crate::telemetry::access_log::{LogOptions, Logs};
use crate::telemetry::metrics::{BuildInfo, Metrics};
use crate::telemetry::stats::{Query, RouteStat, Scope, Value};

struct Rig {
    snapshot: Snapshot,
    effects: Vec<Effect>,
}

impl Rig {
    fn new() -> Self {
        let registry = Registry::new(1);
        let metrics = Arc::new(Metrics::new(1, BuildInfo { version: "0", revision: "0" }));
        let group = registry.group(Scope::plain("filesystem."));
        let logs = Logs::new(1, LogOptions::default(), group);
        let cx = Arc::new(ManagerCx {
            registry: registry.clone(),
            metrics,
            logs,
            runtime: Arc::new(NoRuntime),
        });
        Self { snapshot: Snapshot::new(registry, cx), effects: Vec::new() }
    }

    fn cluster(&mut self, config: &Arc<ClusterConfig>) -> Vec<String> {
        self.snapshot.set_cluster(config, Origin::Dynamic, &mut self.effects);
        self.told()
    }

    fn remove_cluster(&mut self, name: &str) -> Vec<String> {
        self.snapshot.remove_cluster(&name.into(), &mut self.effects);
        self.told()
    }

    fn endpoints(&mut self, name: &str, port: u16) -> Vec<String> {
        let text = format!(
            "name: x, type: STATIC, load_assignment: {{cluster_name: {name}, endpoints: \
             [{{lb_endpoints: [{}]}}]}}",
            endpoint(port)
        );
        let config = cluster_of(&text);
        let endpoints = Arc::clone(&config.load_assignment);
        self.snapshot.set_endpoints(name, &endpoints, &mut self.effects);
        self.told()
    }

    fn give_up_endpoints(&mut self, name: &str) -> Vec<String> {
        self.snapshot.give_up_endpoints(name, &mut self.effects);
        self.told()
    }

    fn listener(&mut self, config: &Arc<ListenerConfig>) -> Vec<String> {
        self.snapshot.set_listener(config, Origin::Dynamic, &mut self.effects);
        self.told()
    }

    fn remove_listener(&mut self, name: &str) -> Vec<String> {
        self.snapshot.remove_listener(&name.into(), &mut self.effects);
        self.told()
    }

    fn routes(&mut self, name: &str, status: u16) -> Vec<String> {
        self.snapshot.set_routes(&routes(name, status), &mut self.effects);
        self.told()
    }

    fn give_up_routes(&mut self, name: &str) -> Vec<String> {
        self.snapshot.give_up_routes(&name.into(), &mut self.effects);
        self.told()
    }

    /// What is to be done since it was last asked, a word each.
    fn told(&mut self) -> Vec<String> {
        self.effects.drain(..).map(|effect| shown(&effect)).collect()
    }

    /// Clusters that requests may go to, with the number of their hosts.
    fn serving(&self) -> Vec<String> {
        let mut all: Vec<_> = self
            .snapshot
            .clusters()
            .map(|(cluster, _)| format!("{}:{}", cluster.name(), hosts(cluster)))
            .collect();
        all.sort();
        all
    }
}

fn hosts(cluster: &Cluster) -> usize {
    cluster.hosts().hosts().len()
}

fn shown(effect: &Effect) -> String {
    let wanted = |wanted: &Wanted| match wanted {
        Wanted::Endpoints(name) => format!("eds {name}"),
        Wanted::Routes(name) => format!("rds {name}"),
    };
    match effect {
        Effect::Begin(spec) => format!("begin {}", spec.name),
        Effect::Listen(spec) => format!("listen {}", spec.name),
        Effect::Resolve(cluster) => format!("resolve {}", cluster.name()),
        Effect::Subscribe(what, _) => format!("+{}", wanted(what)),
        Effect::Unlisten(name) => format!("unlisten {name}"),
        Effect::Unresolve(name) => format!("unresolve {name}"),
        Effect::Watch(cluster) => format!("watch {}", cluster.name()),
        Effect::Unsubscribe(what) => format!("-{}", wanted(what)),
    }
}

fn endpoint(port: u16) -> String {
    format!(
        "{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}"
    )
}

fn cluster_of(fields: &str) -> Arc<ClusterConfig> {
    let yaml = format!("static_resources: {{clusters: [{{connect_timeout: 1s, {fields}}}]}}");
    let loaded = load::load_text("cluster.yaml", &yaml).expect("the test's own cluster");
    Arc::clone(&loaded.config.clusters[0].value)
}

/// Sources must exist; nobody reads them here.
const SOME_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

/// An EDS cluster; `timeout` makes two of a name differ.
fn eds(name: &str, timeout: u32) -> Arc<ClusterConfig> {
    cluster_of(&format!(
        "name: {name}, type: EDS, per_connection_buffer_limit_bytes: {timeout}, \
         eds_cluster_config: {{eds_config: {{path_config_source: {{path: {SOME_FILE}}}}}}}",
    ))
}

fn dns(name: &str, timeout: u32) -> Arc<ClusterConfig> {
    cluster_of(&format!(
        "name: {name}, type: STRICT_DNS, per_connection_buffer_limit_bytes: {timeout}, \
         load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: \
         {{address: {{socket_address: {{address: a.test, port_value: 80}}}}}}}}]}}]}}"
    ))
}

const HCM: &str = "\"@type\": type.googleapis.com/envoy.extensions.filters.network.\
                   http_connection_manager.v3.HttpConnectionManager, stat_prefix: in, \
                   http_filters: [{name: router, typed_config: {\"@type\": \
                   type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]";

fn listener_of(name: &str, source: &str) -> Arc<ListenerConfig> {
    listener_with(name, HCM, source)
}

fn listener_with(name: &str, manager: &str, source: &str) -> Arc<ListenerConfig> {
    let yaml = format!(
        "static_resources: {{listeners: [{{name: {name}, address: {{socket_address: \
         {{address: 127.0.0.1, port_value: 8000}}}}, filter_chains: [{{filters: [{{name: hcm, \
         typed_config: {{{manager}, {source}}}}}]}}]}}]}}"
    );
    let loaded = load::load_text("listener.yaml", &yaml).expect("the test's own listener");
    Arc::clone(&loaded.config.listeners[0].value)
}

fn rds(listener: &str, routes: &str) -> Arc<ListenerConfig> {
    let source = format!(
        "rds: {{route_config_name: {routes}, config_source: {{path_config_source: \
         {{path: {SOME_FILE}}}}}}}"
    );
    listener_of(listener, &source)
}

fn routes(name: &str, status: u16) -> Arc<RouteConfig> {
    let source = format!(
        "route_config: {{name: {name}, virtual_hosts: [{{name: v, domains: [\"*\"], \
         virtual_clusters: [{{name: vc, headers: [{{name: x, present_match: true}}]}}], routes: \
         [{{match: {{prefix: /}}, direct_response: {{status: {status}}}}}]}}]}}"
    );
    let config = listener_of("l", &source);
    let chain = &config.tcp().unwrap().filter_chains[0];
    let crate::config::filter_chain::NetworkFilters::Http(manager) = &chain.filters else {
        panic!("a connection manager was written")
    };
    match &manager.routes {
        crate::config::http_manager::RouteSource::Inline(routes) => Arc::clone(routes),
        crate::config::http_manager::RouteSource::Rds { .. } => panic!("routes were written"),
    }
}

#[test]
fn a_cluster_serves_once_its_endpoints_are_here() {
    let mut rig = Rig::new();
    assert_eq!(rig.cluster(&eds("a", 1)), ["+eds a"]);
    assert_eq!(rig.serving(), [""; 0]);
    assert!(rig.endpoints("a", 80).is_empty());
    assert_eq!(rig.serving(), ["a:1"]);
}

#[test]
fn endpoints_are_counted_under_the_name_of_their_cluster() {
    let mut rig = Rig::new();
    let config = cluster_of(&format!(
        "name: a, alt_stat_name: b, type: EDS, eds_cluster_config: {{service_name: s, \
         eds_config: {{path_config_source: {{path: {SOME_FILE}}}}}}}",
    ));
    assert_eq!(rig.cluster(&config), ["+eds s"]);
    let reader = rig.snapshot.endpoints_reader("s");
    assert_eq!(reader.map(|cluster| cluster.config().stat_name()), Some("b"));
    assert!(rig.snapshot.endpoints_reader("a").is_none());
}

#[test]
fn an_equal_cluster_changes_nothing() {
    let mut rig = Rig::new();
    rig.cluster(&eds("a", 1));
    rig.endpoints("a", 80);
    let map = Arc::clone(rig.snapshot.cluster_map());
    assert!(rig.cluster(&eds("a", 1)).is_empty());
    assert!(Arc::ptr_eq(&map, rig.snapshot.cluster_map()));
}

#[test]
fn a_changed_cluster_takes_the_endpoints_that_are_here() {
    let mut rig = Rig::new();
    rig.cluster(&eds("a", 1));
    rig.endpoints("a", 80);
    let old = Arc::clone(rig.snapshot.clusters().next().unwrap().0);
    assert!(rig.cluster(&eds("a", 2)).is_empty(), "the subscription is kept");
    assert_eq!(rig.serving(), ["a:1"]);
    let new = Arc::clone(rig.snapshot.clusters().next().unwrap().0);
    assert!(old.is_removed() && !new.is_removed());
}

#[test]
fn the_newest_of_several_warming_changes_serves() {
    let mut rig = Rig::new();
    assert_eq!(rig.cluster(&eds("a", 1)), ["+eds a"]);
    assert!(rig.cluster(&eds("a", 2)).is_empty());
    assert!(rig.cluster(&eds("a", 3)).is_empty());
    rig.endpoints("a", 80);
    let serving = Arc::clone(rig.snapshot.clusters().next().unwrap().0);
    assert_eq!(serving.config().per_connection_buffer_limit_bytes, 3);
    assert_eq!(rig.remove_cluster("a"), ["-eds a"]);
}

#[test]
fn while_a_change_warms_the_old_one_serves() {
    let mut rig = Rig::new();
    let fixed = format!(
        "name: a, type: STATIC, load_assignment: {{cluster_name: a, endpoints: \
         [{{lb_endpoints: [{}, {}]}}]}}",
        endpoint(1),
        endpoint(2)
    );
    assert!(rig.cluster(&cluster_of(&fixed)).is_empty());
    assert_eq!(rig.cluster(&eds("a", 1)), ["+eds a"]);
    assert_eq!(rig.serving(), ["a:2"]);
    rig.endpoints("a", 80);
    assert_eq!(rig.serving(), ["a:1"]);
}

#[test]
fn what_comes_after_a_removal_is_not_kept() {
    let mut rig = Rig::new();
    rig.cluster(&eds("a", 1));
    assert_eq!(rig.remove_cluster("a"), ["-eds a"]);
    rig.endpoints("a", 80);
    rig.give_up_endpoints("a");
    assert_eq!(rig.cluster(&eds("a", 1)), ["+eds a"]);
    assert_eq!(rig.serving(), [""; 0], "old endpoints are not used");
}

#[test]
fn a_cluster_whose_endpoints_do_not_come_serves_without_hosts_and_so_does_its_change() {
    let mut rig = Rig::new();
    rig.cluster(&eds("a", 1));
    rig.give_up_endpoints("a");
    assert_eq!(rig.serving(), ["a:0"]);
    rig.cluster(&eds("a", 2));
    assert_eq!(rig.snapshot.warming_clusters().count(), 0, "nobody would answer a second time");
    rig.endpoints("a", 80);
    assert_eq!(rig.serving(), ["a:1"]);
    rig.give_up_endpoints("a");
    assert_eq!(rig.serving(), ["a:1"], "what is known is kept");
}

#[test]
fn names_are_resolved_until_nothing_needs_them() {
    let mut rig = Rig::new();
    assert_eq!(rig.cluster(&dns("a", 1)), ["resolve a"]);
    let first = rig.snapshot.warming_clusters().count();
    assert_eq!(first, 1);
    // A second one takes the place of the first, whose resolution it replaces by name.
    assert_eq!(rig.cluster(&dns("a", 2)), ["resolve a"]);
    assert_eq!(rig.cluster(&eds("a", 3)), ["+eds a", "unresolve a"]);
    assert_eq!(rig.cluster(&dns("a", 4)), ["resolve a", "-eds a"]);
    assert_eq!(rig.remove_cluster("a"), ["unresolve a"]);
}

#[test]
fn only_the_cluster_that_warms_is_made_active_by_its_names() {
    let mut rig = Rig::new();
    let mut resolved = Vec::new();
    for timeout in [1, 2] {
        let config = dns("a", timeout);
        rig.snapshot.set_cluster(&config, Origin::Dynamic, &mut rig.effects);
        resolved.extend(rig.effects.drain(..).filter_map(|effect| match effect {
            Effect::Resolve(cluster) => Some(cluster),
            _ => None,
        }));
    }
    rig.snapshot.resolved(&resolved[0], &mut rig.effects);
    assert_eq!(rig.serving(), [""; 0], "it was replaced before");
    rig.snapshot.resolved(&resolved[1], &mut rig.effects);
    assert_eq!(rig.serving(), ["a:0"]);
    assert!(rig.told().is_empty());
}

#[test]
fn the_bootstraps_resources_are_not_xds_to_change() {
    let mut rig = Rig::new();
    let fixed = listener_of("l", "route_config: {name: r}");
    rig.snapshot.set_listener(&fixed, Origin::Static, &mut rig.effects);
    rig.snapshot.set_cluster(&dns("a", 1), Origin::Static, &mut rig.effects);
    assert_eq!(rig.told(), ["listen l", "resolve a"]);
    assert!(rig.cluster(&eds("a", 1)).is_empty());
    assert!(rig.remove_cluster("a").is_empty());
    assert!(rig.listener(&rds("l", "r")).is_empty());
    assert!(rig.remove_listener("l").is_empty());
    assert_eq!(rig.snapshot.dynamic_clusters().count(), 0);
    assert_eq!(rig.snapshot.dynamic_listeners().count(), 0);
}

#[test]
fn a_listener_serves_once_its_routes_are_here() {
    let mut rig = Rig::new();
    assert_eq!(rig.listener(&rds("l", "r")), ["+rds r"]);
    assert_eq!(rig.snapshot.listener_counts(), (0, 1));
    assert_eq!(rig.routes("r", 200), ["listen l"]);
    assert_eq!(rig.snapshot.listener_counts(), (1, 0));
    assert!(rig.routes("r", 201).is_empty(), "new routes need no new listener");
}

/// A listener whose filters fetch keys; `path` makes two of a name differ.
fn with_chores(name: &str, path: &str) -> Arc<ListenerConfig> {
    let jwt = format!(
        "http_filters: [{{name: jwt, typed_config: {{\"@type\": type.googleapis.com/envoy.\
         extensions.filters.http.jwt_authn.v3.JwtAuthentication, providers: {{p: {{remote_jwks: \
         {{async_fetch: {{}}, http_uri: {{uri: \"http://k{path}\", cluster: k, timeout: 1s}}}}}}}}\
         }}}}, "
    );
    listener_with(name, &HCM.replace("http_filters: [", &jwt), "route_config: {name: r}")
}

#[test]
fn a_listener_serves_once_its_filters_are_ready() {
    let mut rig = Rig::new();
    let mut begun = Vec::new();
    for path in ["/1", "/2"] {
        rig.snapshot.set_listener(&with_chores("l", path), Origin::Dynamic, &mut rig.effects);
        begun.extend(rig.effects.drain(..).filter_map(|effect| match effect {
            Effect::Begin(spec) => Some(Arc::downgrade(&spec)),
            _ => None,
        }));
    }
    assert_eq!(rig.snapshot.listener_counts(), (0, 1));
    assert!(begun[0].upgrade().is_none(), "nothing keeps what was replaced");
    rig.snapshot.begun(&begun[0], &mut rig.effects);
    assert_eq!(rig.snapshot.listener_counts(), (0, 1));
    rig.snapshot.begun(&begun[1], &mut rig.effects);
    assert_eq!(rig.told(), ["listen l"]);
    assert_eq!(rig.remove_listener("l"), ["unlisten l"]);
    rig.snapshot.begun(&begun[1], &mut rig.effects);
    assert!(rig.told().is_empty());
}

#[test]
fn listeners_share_a_route_table_until_the_last_is_gone() {
    let mut rig = Rig::new();
    assert_eq!(rig.listener(&rds("l", "r")), ["+rds r"]);
    assert!(rig.listener(&rds("m", "r")).is_empty());
    assert_eq!(rig.routes("r", 200), ["listen l", "listen m"]);
    assert_eq!(rig.listener(&rds("o", "r")), ["listen o"], "the routes are here");
    assert_eq!(rig.remove_listener("l"), ["unlisten l"]);
    assert_eq!(rig.remove_listener("m"), ["unlisten m"]);
    assert_eq!(rig.remove_listener("o"), ["unlisten o", "-rds r"]);
}

#[test]
fn a_listener_that_changes_its_routes_serves_the_old_ones_meanwhile() {
    let mut rig = Rig::new();
    rig.listener(&rds("l", "r"));
    rig.routes("r", 200);
    assert_eq!(rig.listener(&rds("l", "s")), ["+rds s"]);
    assert_eq!(rig.snapshot.listener_counts(), (1, 1));
    assert_eq!(rig.routes("s", 200), ["listen l", "-rds r"]);
}

#[test]
fn a_listener_removed_while_it_warms_leaves_nothing() {
    let mut rig = Rig::new();
    rig.listener(&rds("l", "r"));
    assert_eq!(rig.remove_listener("l"), ["-rds r"], "it never listened");
    assert!(rig.give_up_routes("r").is_empty());
    assert!(rig.routes("r", 200).is_empty());
    assert_eq!(rig.listener(&rds("l", "r")), ["+rds r"], "late routes were not kept");
}

#[test]
fn routes_that_do_not_come_are_an_empty_table() {
    let mut rig = Rig::new();
    rig.listener(&rds("l", "r"));
    assert_eq!(rig.give_up_routes("r"), ["listen l"]);
    assert!(rig.routes("r", 200).is_empty());
    assert!(rig.give_up_routes("r").is_empty());
}

/// The connections of a replaced listener may go on for as long as its drain takes; they too must
/// see the clusters and routes of now.
#[test]
fn a_draining_listeners_view_follows_until_its_last_connection_ends() {
    let mut rig = Rig::new();
    rig.listener(&rds("l", "r"));
    rig.snapshot.set_routes(&routes("r", 200), &mut rig.effects);
    let Some(Effect::Listen(old)) = rig.effects.pop() else { panic!("it listens") };
    let manager = Arc::clone(old.chains[0].handler.manager().unwrap());
    drop(old);
    rig.remove_listener("l");
    rig.cluster(&eds("a", 1));
    rig.endpoints("a", 80);
    let view = manager.cell.load();
    assert!(Arc::ptr_eq(&view.clusters, rig.snapshot.cluster_map()));
    drop((view, manager));
    rig.snapshot.sweep();
    assert!(rig.snapshot.draining.is_empty());
}

#[test]
fn a_warming_listener_begins_with_the_clusters_of_now() {
    let mut rig = Rig::new();
    rig.listener(&rds("l", "r"));
    rig.cluster(&eds("a", 1));
    rig.endpoints("a", 80);
    rig.snapshot.set_routes(&routes("r", 200), &mut rig.effects);
    let Some(Effect::Listen(spec)) = rig.effects.pop() else { panic!("it listens") };
    let view = spec.chains[0].handler.manager().unwrap().cell.load();
    assert!(Arc::ptr_eq(&view.clusters, rig.snapshot.cluster_map()));
    assert_eq!(view.routes.table.config().name.as_str(), "r");
    assert_eq!(view.routes.table.config().virtual_hosts.len(), 1);
}

#[test]
fn a_tcp_proxy_sees_the_clusters_of_now_from_its_first_connection_on() {
    let mut rig = Rig::new();
    let yaml = "static_resources: {listeners: [{name: t, address: {socket_address: {address: \
                127.0.0.1, port_value: 8001}}, filter_chains: [{name: c, filters: [{name: tcp, \
                typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.\
                tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: a}}]}]}]}";
    let loaded = load::load_text("listener.yaml", yaml).expect("the test's own listener");
    rig.snapshot.set_listener(&loaded.config.listeners[0].value, Origin::Static, &mut rig.effects);
    let Some(Effect::Listen(spec)) = rig.effects.pop() else { panic!("it listens at once") };
    let proxy = spec.chains[0].handler.tcp_proxy().expect("a TCP proxy");
    assert_eq!(&*proxy.chain, "c");
    assert!(proxy.clusters().get("a").is_none());
    rig.cluster(&eds("a", 1));
    rig.endpoints("a", 80);
    assert!(proxy.clusters().get("a").is_some());
}

#[test]
fn virtual_clusters_count_as_long_as_a_table_names_them() {
    let mut rig = Rig::new();
    let registry = rig.snapshot.registry.clone();
    let total = || {
        let mut rows = registry.rows(&Query::default()).into_iter();
        rows.find(|row| row.name == "vhost.v.vcluster.vc.upstream_rq_total").map(|row| row.value)
    };
    rig.listener(&rds("l", "r"));
    assert!(total().is_none());
    rig.routes("r", 200);
    let group = registry.group::<RouteStat>(Scope::virtual_cluster("v", "vc"));
    group.inc(WorkerId::worker(0), RouteStat::UpstreamRqTotal);
    drop(group);
    rig.routes("r", 204);
    rig.snapshot.sweep();
    assert!(matches!(total(), Some(Value::Counter(1))), "a changed table goes on counting");
    rig.remove_listener("l");
    rig.snapshot.sweep();
    assert!(total().is_none());
}
