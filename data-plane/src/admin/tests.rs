//! Pages over a made-up process, against what Envoy 1.40 answered.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use proto::prost::Message as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::base::pattern::{Case, StringMatcher};
use crate::telemetry::metrics::{BuildInfo, Metrics};
use crate::telemetry::stats::{HttpStat, Registry, Scope};
use crate::xds::status::ErrorState;

const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";

/// 2026-11-24T22:20:21.744Z
fn then() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_558_821_744)
}

struct Process {
    done: Mutex<Vec<String>>,
    state: Mutex<ServerState>,
    admin_layer: bool,
}

impl Process {
    fn note(&self, what: impl Into<String>) {
        self.done.lock().unwrap().push(what.into());
    }
}

fn node() -> Bytes {
    let json = serde_json::json!({
        "id": "n1", "cluster": "c1", "metadata": {"a": "b"},
        "locality": {"region": "r", "zone": "z"}, "user_agent_name": "envoy",
        "user_agent_build_version": {
            "version": {"major_number": 1, "minor_number": 40},
            "metadata": {
                "ssl.version": "BoringSSL", "build.type": "RELEASE", "revision.status": "Clean",
                "revision.sha": "9e5580933739775e8bce696a57a2e1bc99368f23",
            },
        },
    });
    encoded("envoy.config.core.v3.Node", &json)
}

fn encoded(message: &str, json: &Value) -> Bytes {
    let options = proto::text::ReadOptions::default();
    let text = json.to_string();
    let read = proto::text::parse_encoded(message, "x.json", text.as_bytes(), &options);
    read.unwrap_or_else(|error| panic!("{error}")).message.into()
}

fn cluster(name: &str) -> Bytes {
    encoded("envoy.config.cluster.v3.Cluster", &serde_json::json!({"name": name}))
}

fn entry(name: &str, state: ConfigState, type_url: &'static str, raw: Bytes) -> ConfigEntry {
    let version = if state == ConfigState::Static { "" } else { "v1" };
    ConfigEntry {
        name: name.into(),
        state,
        version: version.into(),
        type_url,
        raw,
        last_updated: Some(then()),
        error: None,
        client_status: None,
    }
}

fn config() -> ConfigView {
    let listener = encoded(
        "envoy.config.listener.v3.Listener",
        &serde_json::json!({"name": "in", "stat_prefix": "x"}),
    );
    let mut active = entry("in", ConfigState::Active, LISTENER, listener.clone());
    active.error = Some(ErrorState {
        details: "no good".into(),
        last_update_attempt: then(),
        version: "v2".into(),
        raw: listener.clone(),
    });
    let bootstrap = encoded(
        "envoy.config.bootstrap.v3.Bootstrap",
        &serde_json::json!({"node": {"id": "n1"}, "flags_path": "/f"}),
    );
    ConfigView {
        bootstrap: Some(BootstrapView { raw: bootstrap, last_updated: then() }),
        clusters: ConfigSection {
            version: "v1".into(),
            entries: vec![
                entry("local", ConfigState::Static, CLUSTER, cluster("local")),
                entry("dead", ConfigState::Static, CLUSTER, cluster("dead")),
                entry("far", ConfigState::Active, CLUSTER, cluster("far")),
            ],
            nameless: Vec::new(),
        },
        listeners: ConfigSection {
            version: "v1".into(),
            entries: vec![active, entry("in", ConfigState::Draining, LISTENER, listener)],
            nameless: Vec::new(),
        },
        ..ConfigView::default()
    }
}

impl AdminState for Process {
    fn server(&self) -> ServerView {
        ServerView {
            state: *self.state.lock().unwrap(),
            version: "9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/rustls".into(),
            uptime: Duration::from_millis(8700),
            options: CommandLine {
                concurrency: 2,
                config_path: "boot.yaml".into(),
                ..CommandLine::default()
            },
            node: node(),
        }
    }

    fn clusters(&self) -> Vec<ClusterView> {
        let host = HostView {
            cx_active: 2,
            cx_total: 2,
            rq_success: 4,
            rq_total: 4,
            ..HostView::new(HostAddress::Ip("127.0.0.1:28080".parse().unwrap()))
        };
        let name = "local".to_owned();
        let observability_name = name.clone();
        vec![ClusterView { name, observability_name, hosts: vec![host], ..ClusterView::default() }]
    }

    fn listeners(&self) -> Vec<ListenerView> {
        vec![ListenerView {
            name: "ingress".into(),
            address: HostAddress::Ip("127.0.0.1:28000".parse().unwrap()),
            additional: Vec::new(),
        }]
    }

    fn config(&self) -> ConfigView {
        config()
    }

    fn runtime(&self) -> RuntimeView {
        let values = |values: [&str; 2]| values.map(str::to_owned).to_vec();
        RuntimeView {
            layers: values(["base", "adm"]),
            entries: vec![("k".into(), values(["v", "w"])), ("n".into(), values(["5", ""]))],
        }
    }

    fn modify_runtime(&self, changes: &[(String, String)]) -> Result<(), String> {
        if !self.admin_layer {
            return Err("No admin layer specified".into());
        }
        self.note(format!("runtime {changes:?}"));
        Ok(())
    }

    fn loggers(&self) -> Vec<(String, LogLevel)> {
        vec![("admin".into(), LogLevel::Info), ("upstream".into(), LogLevel::Warning)]
    }

    fn set_log_levels(&self, change: &LogChange) -> Result<(), UnknownLogger> {
        let known = |name: &String| name == "admin" || name == "upstream";
        if let LogChange::Some(pairs) = change
            && !pairs.iter().all(|(name, _)| known(name))
        {
            return Err(UnknownLogger);
        }
        self.note(format!("{change:?}"));
        Ok(())
    }

    fn drain_listeners(&self, drain: Drain) {
        self.note(format!("{drain:?}"));
    }

    fn set_health(&self, health: Health) {
        let failed = health == Health::Failed;
        *self.state.lock().unwrap() =
            if failed { ServerState::Draining } else { ServerState::Live };
    }

    fn quit(&self) {
        self.note("quit");
    }

    fn reopen_logs(&self) {
        self.note("reopen");
    }

    fn own_page(&self, path: &str) -> Option<Reply> {
        (path == "/gomesh/x").then(|| Reply::text("ours"))
    }
}

fn process() -> Arc<Process> {
    let state = Mutex::new(ServerState::Live);
    Arc::new(Process { done: Mutex::default(), state, admin_layer: true })
}

fn admin_of(process: &Arc<Process>, options: AdminOptions) -> (Admin, Registry) {
    let registry = Registry::new(1);
    let metrics = Metrics::new(1, BuildInfo { version: "0", revision: "0" });
    let state: State = Arc::clone(process) as State;
    (Admin::new(state, registry.clone(), metrics, options), registry)
}

fn admin() -> Admin {
    admin_of(&process(), AdminOptions::default()).0
}

fn get(target: &str) -> Reply {
    admin().answer("GET", target, "")
}

fn json(reply: &Reply) -> Value {
    assert_eq!((reply.status, reply.content_type), (200, "application/json"), "{}", reply.body);
    serde_json::from_str(&reply.body).unwrap()
}

#[test]
fn help_is_that_of_envoy_and_an_unknown_path_gets_it_with_404() {
    assert_eq!(get("/help").body, include_str!("testdata/help.txt"));
    let unknown = get("/nope");
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.starts_with("invalid path. admin commands are:\n  /: Admin home page\n"));
    assert_eq!(get("/ready/").status, 404);
    assert!(get("/").body.contains("<a href=\"/clusters\">clusters</a>"));
}

#[test]
fn every_page_of_the_table_answers() {
    let process = process();
    let (admin, _) = admin_of(&process, AdminOptions::default());
    for line in include_str!("testdata/help.txt").lines().skip(1) {
        let Some((path, _)) = line.strip_prefix("  /").and_then(|line| line.split_once(':')) else {
            continue;
        };
        let path = format!("/{}", path.trim_end_matches(" (POST)"));
        let reply = admin.answer("POST", &path, "");
        assert!(![404, 405, 500].contains(&reply.status), "{path}: {reply:?}");
    }
}

#[test]
fn clusters_and_listeners_have_envoys_shapes() {
    assert_eq!(get("/clusters").body, include_str!("testdata/clusters.txt"));
    assert_eq!(get("/clusters?format=json").body, include_str!("testdata/clusters.json"));
    assert_eq!(get("/clusters?filter=dead").body, "");
    assert_eq!(get("/clusters?filter=(").body, "Invalid re2 regex");
    assert_eq!(get("/listeners?format=bad").body, "ingress::127.0.0.1:28000\n");
    let expected = "{\n \"listener_statuses\": [\n  {\n   \"name\": \"ingress\",\n   \
                    \"local_address\": {\n    \"socket_address\": {\n     \"address\": \
                    \"127.0.0.1\",\n     \"port_value\": 28000\n    }\n   }\n  }\n ]\n}\n";
    assert_eq!(get("/listeners?format=json").body, expected);
}

#[test]
fn server_info_has_envoys_fields_in_its_order() {
    let ours = get("/server_info").body;
    let envoys = include_str!("testdata/server_info.json");
    // Maps have no order in Envoy; the version and the hot restart differ.
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.trim_end_matches(',').to_owned());
        lines.filter(|l| !l.contains("ersion\": \"") && !l.contains("revision")).collect()
    };
    let sorted = |text: &str| {
        let mut lines = lines(text);
        lines.sort();
        lines
    };
    assert_eq!(sorted(&ours), sorted(envoys));
    let head = |text: &str| lines(text).into_iter().take(30).collect::<Vec<_>>();
    assert_eq!(head(&ours), head(envoys));
}

#[test]
fn ready_follows_the_health_that_was_set() {
    let process = process();
    let (admin, _) = admin_of(&process, AdminOptions::default());
    let ready = || {
        let reply = admin.answer("GET", "/ready?x=y", "");
        (reply.status, reply.body)
    };
    assert_eq!(ready(), (200, "LIVE\n".into()));
    assert_eq!(admin.answer("POST", "/healthcheck/fail", ""), Reply::ok());
    assert_eq!(ready(), (503, "DRAINING\n".into()));
    assert_eq!(admin.answer("POST", "/healthcheck/ok", ""), Reply::ok());
    assert_eq!(ready(), (200, "LIVE\n".into()));
    *process.state.lock().unwrap() = ServerState::PreInitializing;
    assert_eq!(ready(), (503, "PRE_INITIALIZING\n".into()));
}

#[test]
fn what_changes_something_needs_post_and_reaches_the_application() {
    let process = process();
    let (admin, _) = admin_of(&process, AdminOptions::default());
    let refused = admin.answer("GET", "/quitquitquit", "");
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (405, "Method GET not allowed, POST required.")
    );
    assert!(process.done.lock().unwrap().is_empty());
    for target in ["/quitquitquit", "/reopen_logs", "/drain_listeners?graceful&inboundonly"] {
        assert_eq!(admin.answer("POST", target, ""), Reply::ok());
    }
    let drain = "Drain { graceful: true, skip_exit: false, inbound_only: true }";
    assert_eq!(*process.done.lock().unwrap(), ["quit", "reopen", drain]);
}

#[test]
fn runtime_shows_layers_and_takes_changes_from_query_or_form() {
    let page = json(&get("/runtime"));
    assert_eq!(
        page["entries"]["k"],
        serde_json::json!({"final_value": "w", "layer_values": ["v", "w"]})
    );
    assert_eq!(page["entries"]["n"]["final_value"], "5");
    let process = process();
    let (admin, _) = admin_of(&process, AdminOptions::default());
    assert_eq!(admin.answer("POST", "/runtime_modify?a=1&b=", ""), Reply::ok());
    assert_eq!(admin.answer("POST", "/runtime_modify", "c=%20"), Reply::ok());
    let done = process.done.lock().unwrap().clone();
    assert_eq!(done, ["runtime [(\"a\", \"1\"), (\"b\", \"\")]", "runtime [(\"c\", \" \")]"]);
    assert_eq!(admin.answer("POST", "/runtime_modify", "").status, 400);
    let plain = Arc::new(Process {
        done: Mutex::default(),
        state: Mutex::new(ServerState::Live),
        admin_layer: false,
    });
    let (admin, _) = admin_of(&plain, AdminOptions::default());
    let refused = admin.answer("POST", "/runtime_modify?a=1", "");
    assert_eq!((refused.status, refused.body.as_str()), (503, "No admin layer specified"));
}

#[test]
fn logging_lists_changes_and_refuses_as_envoy_does() {
    let post = |target: &str| {
        let process = process();
        let (admin, _) = admin_of(&process, AdminOptions::default());
        let reply = admin.answer("POST", target, "");
        let done = process.done.lock().unwrap().clone();
        (reply.status, reply.body, done)
    };
    let list = "active loggers:\n  admin: info\n  upstream: warning\n\n";
    assert_eq!(post("/logging"), (200, list.into(), vec![]));
    assert_eq!(post("/logging?level=debug").2, ["All(Debug)"]);
    assert_eq!(post("/logging?admin=trace").2, ["Some([(\"admin\", Trace)])"]);
    assert_eq!(post("/logging?paths=admin:off,upstream:error").2.len(), 1);
    for (target, error) in [
        ("/logging?level=warn", "unknown logger level"),
        ("/logging?foo=debug", "unknown logger name"),
        ("/logging?level=info&admin=debug", "invalid number of parameters"),
        ("/logging?group=a:info", "group parameter requires fine-grain logging to be enabled"),
    ] {
        let (status, body, done) = post(target);
        assert_eq!((status, done.len()), (400, 0), "{target}");
        assert!(body.starts_with(&format!("error: {error}\n\nusage: /logging?<name>")), "{body}");
        assert!(body.contains("critical off \nactive loggers:\n"), "{body}");
    }
}

#[test]
fn stats_pages_filter_and_refuse_as_envoy_does() {
    let (admin, registry) = admin_of(&process(), AdminOptions::default());
    let http = registry.group::<HttpStat>(Scope::http("edge"));
    http.inc(crate::telemetry::WorkerId::worker(0), HttpStat::DownstreamRqTotal);
    let get = |target: &str| admin.answer("GET", target, "");
    assert_eq!(
        get("//stats?filter=edge.downstream_rq_total").body,
        "http.edge.downstream_rq_total: 1\n"
    );
    assert_eq!(
        get("/stats?format=json&filter=edge.downstream_rq_total").body,
        "{\"stats\":[{\"name\":\"http.edge.downstream_rq_total\",\"value\":1}]}"
    );
    assert_eq!(
        get("/stats/prometheus?usedonly&filter=edge").body,
        "# TYPE envoy_http_downstream_rq_total counter\n\
         envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix=\"edge\"} 1\n"
    );
    assert!(get("/stats?format=html&filter=edge").body.contains("<pre>\nhttp.edge."));
    for (target, text) in [
        ("/stats?format=bad", "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n"),
        ("/stats?filter=(", "Invalid re2 regex: missing ): ("),
        ("/stats?type=gauges", "invalid &type= param"),
        ("/stats?invert_filter=a", "invert_filter can only be used if filter is also provided"),
        (
            "/stats/prometheus?histogram_buckets=detailed",
            "unsupported prometheus histogram bucket mode",
        ),
    ] {
        let reply = get(target);
        assert_eq!((reply.status, reply.body.as_str()), (400, text));
    }
    assert_eq!(admin.answer("POST", "/reset_counters", ""), Reply::ok());
    assert_eq!(
        get("/stats?filter=edge.downstream_rq_total").body,
        "http.edge.downstream_rq_total: 0\n"
    );
}

#[test]
fn config_dump_has_its_sections_in_the_order_on_which_tools_rely() {
    let types = |target: &str| -> Vec<String> {
        let dump = json(&get(target));
        let configs = dump["configs"].as_array().unwrap().clone();
        let name = |config: &Value| {
            config["@type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned()
        };
        configs.iter().map(name).collect()
    };
    let rest =
        ["ListenersConfigDump", "ScopedRoutesConfigDump", "RoutesConfigDump", "SecretsConfigDump"];
    let mut expected = vec!["BootstrapConfigDump", "ClustersConfigDump"];
    expected.extend(rest);
    assert_eq!(types("/config_dump"), expected);
    expected.insert(2, "EndpointsConfigDump");
    assert_eq!(types("/config_dump?include_eds"), expected);
    let dump = json(&get("/config_dump"));
    assert_eq!(dump["configs"][0]["bootstrap"]["node"]["id"], "n1");
    let clusters = &dump["configs"][1];
    assert_eq!(clusters["version_info"], "v1");
    assert_eq!(
        clusters["static_clusters"][0],
        serde_json::json!({
            "cluster": {"@type": CLUSTER, "name": "local"},
            "last_updated": "2026-11-24T22:20:21.744Z",
        })
    );
    let listeners = &dump["configs"][2]["dynamic_listeners"];
    assert_eq!(listeners.as_array().unwrap().len(), 1, "one entry for all states of a name");
    assert_eq!(listeners[0]["active_state"]["listener"]["name"], "in");
    assert_eq!(listeners[0]["draining_state"]["version_info"], "v1");
    assert_eq!(listeners[0]["error_state"]["details"], "no good");
    assert!(listeners[0]["active_state"].get("error_state").is_none());
}

#[test]
fn config_dump_parses_as_envoys_message() {
    let body = get("/config_dump?include_eds").body;
    let options = proto::text::ReadOptions::default();
    let read = proto::text::parse_encoded(
        "envoy.admin.v3.ConfigDump",
        "dump.json",
        body.as_bytes(),
        &options,
    );
    let bytes = read.unwrap_or_else(|error| panic!("{error}")).message;
    let dump = proto::envoy::admin::v3::ConfigDump::decode(bytes.as_slice()).unwrap();
    assert_eq!(dump.configs.len(), 7);
}

#[test]
fn config_dump_is_cut_by_resource_mask_and_name() {
    let body = get("/config_dump?resource=static_clusters&mask=cluster.name&name_regex=dead").body;
    let expected = "{\n \"configs\": [\n  {\n   \"@type\": \
        \"type.googleapis.com/envoy.admin.v3.ClustersConfigDump.StaticCluster\",\n   \"cluster\": \
        {\n    \"@type\": \"type.googleapis.com/envoy.config.cluster.v3.Cluster\",\n    \"name\": \
        \"dead\"\n   }\n  }\n ]\n}\n";
    assert_eq!(body, expected);
    assert_eq!(get("/config_dump?resource=dynamic_warming_clusters").body, "{}\n");
    let masked = json(&get("/config_dump?mask=bootstrap.node.id,last_updated"));
    assert_eq!(masked["configs"].as_array().unwrap().len(), 1);
    assert_eq!(masked["configs"][0]["bootstrap"], serde_json::json!({"node": {"id": "n1"}}));
    for (target, status, text) in [
        ("resource=bogus", 404, "bogus not found in config dump"),
        (
            "resource=static_endpoint_configs",
            404,
            "static_endpoint_configs not found in config dump",
        ),
        (
            "resource=bootstrap",
            400,
            "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field",
        ),
        ("mask=bogus", 400, "FieldMask bogus could not be successfully applied to any configs."),
        (
            "mask=static_clusters.cluster.name",
            400,
            "FieldMask static_clusters.cluster.name could not be successfully applied to any \
             configs.",
        ),
        (
            "name_regex=(",
            400,
            "INVALID_ARGUMENT: Error while parsing name_regex from (: missing ): (",
        ),
    ] {
        let reply = get(&format!("/config_dump?{target}"));
        assert_eq!((reply.status, reply.body.as_str()), (status, text));
        assert_eq!(reply.content_type, "text/plain");
    }
}

#[test]
fn paths_that_are_not_allowed_are_refused() {
    let allow_paths = vec![StringMatcher::Prefix("/ready".into(), Case::Sensitive)];
    let options = AdminOptions { allow_paths, ..AdminOptions::default() };
    let (admin, _) = admin_of(&process(), options);
    assert_eq!(admin.answer("GET", "/ready", "").status, 200);
    let refused = admin.answer("GET", "/config_dump?x", "");
    assert_eq!(refused, Reply::error(403, "request to path /config_dump not allowed"));
    assert_eq!(admin.answer("GET", "/metrics", "").status, 403);
}

#[test]
fn our_own_pages_stand_beside_envoys() {
    assert_eq!(get("/gomesh/x"), Reply::text("ours"));
    assert_eq!(get("/gomesh/y").status, 404);
    let metrics = get("/metrics");
    assert!(metrics.body.contains("# TYPE gomesh_build_info gauge\n"), "{}", metrics.body);
}

async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_server_answers_with_envoys_headers_and_counts_itself() {
    let (admin, registry) = admin_of(&process(), AdminOptions::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let _server = crate::base::task::spawn("admin", async move {
        admin.serve(listener).await;
    });
    let request = "GET //ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = exchange(address, request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for field in [
        "content-type: text/plain; charset=UTF-8",
        "cache-control: no-cache, max-age=0",
        "x-content-type-options: nosniff",
        "server: envoy",
        "transfer-encoding: chunked",
    ] {
        assert!(head.contains(field), "{field} in {head}");
    }
    assert_eq!(body, "5\r\nLIVE\n\r\n0\r\n\r\n");
    let too_large = format!(
        "POST /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 70000\r\n\r\n{}",
        "x".repeat(70_000)
    );
    assert!(exchange(address, &too_large).await.starts_with("HTTP/1.1 413"));
    let http = registry.group::<HttpStat>(Scope::http("admin"));
    assert_eq!(http.value(HttpStat::DownstreamRqTotal), 2);
    assert_eq!(http.value(HttpStat::DownstreamRq4xx), 1);
}

#[tokio::test]
async fn healthcheck_tells_why_it_failed() {
    let process = process();
    let (admin, _) = admin_of(&process, AdminOptions::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = crate::base::task::spawn("admin", async move {
        admin.serve(listener).await;
    });
    assert_eq!(healthcheck(&address, "/ready").await, Ok(()));
    *process.state.lock().unwrap() = ServerState::Initializing;
    let error = healthcheck(&address, "/ready").await.unwrap_err();
    assert_eq!(error, format!("http://{address}/ready: HTTP/1.1 503 Service Unavailable"));
    drop(server);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let error = healthcheck(&closed, "/ready").await.unwrap_err();
    assert!(error.contains("refused"), "{error}");
}
