//! Cases of `tests/data/config/<kind>/{accept,reject}`, and what one resource becomes.

use std::fs;
use std::path::{Path, PathBuf};

use proto::envoy::config::bootstrap::v3::Bootstrap;
use proto::rules::{Policy, PolicyRow};
use proto::text::ReadOptions;

use super::bootstrap;
use super::error::Problems;
use super::extension::{Body, ExtensionConfig, ExtensionParser};
use super::resource::{
    CLUSTER, Decoded, ENDPOINTS, LISTENER, Origin, ParseCx, ResourceValue, UnknownFields, decode,
};
use super::support;

/// A terminal filter, so that chains can be complete.
struct Router;

impl ExtensionParser for Router {
    fn name(&self) -> &'static str {
        "envoy.filters.http.router"
    }

    fn message(&self) -> &'static str {
        "envoy.extensions.filters.http.router.v3.Router"
    }

    fn fields(&self) -> &'static [PolicyRow<'static>] {
        &[("envoy.extensions.filters.http.router.v3.Router", &["suppress_envoy_headers"], &[])]
    }

    fn terminal(&self) -> bool {
        true
    }

    fn parse(&self, body: &Body<'_>, _: &ParseCx<'_>) -> Result<ExtensionConfig, Problems> {
        assert!(matches!(body, Body::Message(_)), "a known message comes as its encoding");
        Ok(ExtensionConfig::new(self.message(), ()))
    }
}

static FILTERS: &[&dyn ExtensionParser] = &[&Router];

fn with_cx<T>(run: impl FnOnce(&ParseCx<'_>) -> T) -> T {
    let policy: Policy = support::policy(FILTERS);
    assert_eq!(policy.check_table(), Vec::<String>::new());
    run(&ParseCx { http_filters: FILTERS, policy: &policy, ..ParseCx::bare() })
}

fn encoded(message: &str, yaml: &str) -> Vec<u8> {
    let name = message.rsplit('/').next().expect("a type URL");
    let read =
        proto::text::parse_encoded(name, "case.yaml", yaml.as_bytes(), &ReadOptions::default());
    read.unwrap_or_else(|diagnostics| panic!("{diagnostics}\n{yaml}")).message
}

fn decode_yaml(type_url: &str, yaml: &str, cx: &ParseCx<'_>) -> Result<ResourceValue, String> {
    match decode(type_url, &encoded(type_url, yaml), cx) {
        Decoded::Accepted(named) => Ok(named.value),
        Decoded::Rejected { problems, .. } => Err(problems.to_string()),
        Decoded::Undecodable(problem) => Err(problem.to_string()),
    }
}

fn decode_bootstrap(yaml: &str, cx: &ParseCx<'_>) -> Result<bootstrap::BootstrapConfig, String> {
    let read =
        proto::text::parse::<Bootstrap>("case.yaml", yaml.as_bytes(), &ReadOptions::default());
    let read = read.unwrap_or_else(|diagnostics| panic!("{diagnostics}\n{yaml}"));
    let (config, _) =
        bootstrap::parse::decode(read.message, cx).map_err(|problems| problems.to_string())?;
    bootstrap::check(&config).map_err(|problems| problems.to_string())?;
    Ok(config)
}

fn verdict(kind: &str, yaml: &str, cx: &ParseCx<'_>) -> Result<(), String> {
    match kind {
        "bootstrap" => decode_bootstrap(yaml, cx).map(|_| ()),
        "cluster" => decode_yaml(CLUSTER, yaml, cx).map(|_| ()),
        "endpoints" => decode_yaml(ENDPOINTS, yaml, cx).map(|_| ()),
        "http_manager" | "listener" => decode_yaml(LISTENER, yaml, cx).map(|_| ()),
        other => panic!("no such kind of case: {other}"),
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

const KINDS: [&str; 5] = ["bootstrap", "cluster", "endpoints", "http_manager", "listener"];

fn folder(kind: &str, verdict: &str) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/config");
    data.join(kind).join(verdict)
}

#[test]
fn every_accept_case_is_accepted() {
    let mut wrong = Vec::new();
    with_cx(|cx| {
        for kind in KINDS {
            for file in files(&folder(kind, "accept")) {
                if let Err(text) = verdict(kind, &fs::read_to_string(&file).unwrap(), cx) {
                    wrong.push(format!("{}: {text}", file.display()));
                }
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_reject_case_is_rejected_for_its_reason() {
    let mut wrong = Vec::new();
    with_cx(|cx| {
        for kind in KINDS {
            for file in files(&folder(kind, "reject")) {
                let yaml = fs::read_to_string(&file).unwrap();
                let expected: Vec<&str> =
                    yaml.lines().map_while(|line| line.strip_prefix("# expect: ")).collect();
                assert!(!expected.is_empty(), "{} says nothing", file.display());
                match verdict(kind, &yaml, cx) {
                    Ok(()) => wrong.push(format!("{}: accepted", file.display())),
                    Err(text) if expected.iter().all(|part| text.contains(part)) => {}
                    Err(text) => wrong.push(format!("{}: {text}", file.display())),
                }
            }
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn defaults_of_a_cluster_are_envoys() {
    let value = decode_yaml(CLUSTER, "name: c", &ParseCx::bare()).unwrap();
    let ResourceValue::Cluster(cluster) = value else { panic!("{value:?}") };
    assert_eq!(cluster.connect_timeout.as_secs(), 5);
    assert_eq!(cluster.per_connection_buffer_limit_bytes, 1024 * 1024);
    assert_eq!(cluster.circuit_breakers.default.max_requests, 1024);
    assert_eq!(cluster.circuit_breakers.high.max_retries, 3);
    assert_eq!(cluster.lb.policy, super::cluster::LbPolicy::RoundRobin);
    assert_eq!(cluster.discovery, super::cluster::Discovery::Static);
}

#[test]
fn zero_switches_a_timeout_off_and_absence_means_the_default() {
    let yaml = |extra: &str| {
        format!(
            "name: l\naddress: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n\
             filter_chains:\n- filters:\n  - name: hcm\n    typed_config:\n      \
             '@type': type.googleapis.com/envoy.extensions.filters.network.\
             http_connection_manager.v3.HttpConnectionManager\n      stat_prefix: s\n      \
             rds: {{route_config_name: r, config_source: {{ads: {{}}}}}}\n{extra}"
        )
    };
    let manager = |yaml: &str| {
        let value = decode_yaml(LISTENER, yaml, &ParseCx::bare()).unwrap();
        let ResourceValue::Listener(listener) = value else { panic!("{value:?}") };
        listener.managers().next().expect("one chain").clone()
    };
    let usual = manager(&yaml(""));
    assert_eq!(usual.timeouts.stream_idle.map(|t| t.as_secs()), Some(300));
    assert_eq!(usual.common.idle_timeout.map(|t| t.as_secs()), Some(3600));
    assert_eq!(usual.timeouts.delayed_close.map(|t| t.as_secs()), Some(1));
    assert_eq!(usual.timeouts.request, None);
    assert_eq!(usual.identity.server_name, "envoy");
    assert_eq!(usual.max_request_headers_kb, 60);
    assert!(usual.request_id.generate && usual.http1.allow_absolute_url);
    let off = manager(&yaml(
        "      stream_idle_timeout: 0s\n      delayed_close_timeout: 0s\n      \
         common_http_protocol_options: {idle_timeout: 0s}\n",
    ));
    assert_eq!(off.timeouts.stream_idle, None);
    assert_eq!(off.timeouts.delayed_close, None);
    assert_eq!(off.common.idle_timeout, None);
}

#[test]
fn a_resource_without_a_name_is_undecodable() {
    let bytes = encoded(CLUSTER, "connect_timeout: 1s");
    let decoded = decode(CLUSTER, &bytes, &ParseCx::bare());
    assert!(matches!(decoded, Decoded::Undecodable(_)), "{decoded:?}");
    let decoded = decode(CLUSTER, b"\xff", &ParseCx::bare());
    assert!(matches!(decoded, Decoded::Undecodable(_)), "{decoded:?}");
}

#[test]
fn unknown_field_numbers_are_counted_or_refused() {
    let mut bytes = encoded(CLUSTER, "name: c");
    bytes.extend([0xf8, 0x3f, 1]); // field 1023, varint 1
    let count = ParseCx { origin: Origin::Dynamic, ..ParseCx::bare() };
    let Decoded::Accepted(named) = decode(CLUSTER, &bytes, &count) else { panic!("refused") };
    assert_eq!(named.notes.unknown_fields, 1);
    let refuse = ParseCx { unknown_fields: UnknownFields::Refuse, ..count };
    let decoded = decode(CLUSTER, &bytes, &refuse);
    assert!(matches!(&decoded, Decoded::Rejected { name, .. } if name == "c"), "{decoded:?}");
}

#[test]
fn fields_without_effect_are_noted_once() {
    let yaml = "name: c\ntrack_cluster_stats: {timeout_budgets: true}\n";
    let decoded = decode(CLUSTER, &encoded(CLUSTER, yaml), &ParseCx::bare());
    let Decoded::Accepted(named) = decoded else { panic!("{decoded:?}") };
    assert_eq!(named.notes.ignored_fields, ["envoy.config.cluster.v3.Cluster.track_cluster_stats"]);
}

#[test]
fn same_bytes_give_equal_values_and_hashes() {
    let bytes = encoded(CLUSTER, "name: c\nmetadata: {filter_metadata: {a: {b: 1, c: 2}}}\n");
    let twice = [(); 2].map(|()| match decode(CLUSTER, &bytes, &ParseCx::bare()) {
        Decoded::Accepted(named) => named,
        other => panic!("{other:?}"),
    });
    assert_eq!(twice[0].value, twice[1].value);
    assert_eq!(twice[0].raw, twice[1].raw);
    let other = decode_yaml(CLUSTER, "name: c\nlb_policy: RANDOM\n", &ParseCx::bare()).unwrap();
    assert_ne!(twice[0].value, other);
}

#[test]
fn runtime_keys_are_flattened_and_the_last_layer_wins() {
    let yaml = "layered_runtime: {layers: [{name: a, static_layer: {x: {y: 1}, on: 'true'}}, \
                {name: b, static_layer: {x.y: 2}}]}";
    let config = decode_bootstrap(yaml, &ParseCx::bare()).unwrap();
    assert_eq!(config.runtime.find("x.y"), Some(&serde_json::json!(2)));
    assert!(config.runtime.flag("on", false));
    assert!(!config.runtime.flag("off", false));
}

#[test]
fn a_file_source_of_endpoints_must_exist() {
    struct Empty;
    impl super::data_source::DataSources for Empty {
        fn file(&self, _: &str) -> Result<Vec<u8>, String> {
            Err("there is nothing".into())
        }

        fn variable(&self, _: &str) -> Option<String> {
            None
        }
    }
    let yaml = "name: c\ntype: EDS\neds_cluster_config: {eds_config: {path_config_source: \
                {path: /eds.yaml}}}\n";
    let text = decode_yaml(CLUSTER, yaml, &ParseCx { sources: &Empty, ..ParseCx::bare() });
    let text = text.expect_err("the file is missing");
    assert_eq!(
        text,
        "eds_cluster_config.eds_config.path_config_source.path: got \"/eds.yaml\"; must be a \
         file that exists"
    );
    decode_yaml(CLUSTER, yaml, &ParseCx::bare()).expect("nothing is known of files here");
}

#[test]
fn problems_of_a_file_are_found_in_its_lines() {
    let yaml = "static_resources:\n  clusters:\n  - name: a\n    lb_policy: RING_HASH\n";
    let read = proto::text::parse::<Bootstrap>("b.yaml", yaml.as_bytes(), &ReadOptions::default());
    let read = read.expect("well-formed");
    let problems = bootstrap::parse::decode(read.message, &ParseCx::bare()).unwrap_err();
    let path = problems.all()[0].path.to_string();
    assert_eq!(read.positions.locate(&path), Some((4, 5)), "{path}");
}

#[test]
fn a_cluster_by_xds_binds_as_the_bootstrap_says_unless_it_says_it() {
    let yaml = "cluster_manager: {upstream_bind_config: {source_address: {address: 127.0.0.2, \
                port_value: 0}}}";
    let bootstrap = decode_bootstrap(yaml, &ParseCx::bare()).unwrap();
    let cx = ParseCx { origin: Origin::Dynamic, bind: bootstrap.bind.as_ref(), ..ParseCx::bare() };
    for (yaml, addresses) in
        [("name: c", vec!["127.0.0.2:0"]), ("name: c\nupstream_bind_config: {}", Vec::new())]
    {
        let ResourceValue::Cluster(cluster) = decode_yaml(CLUSTER, yaml, &cx).unwrap() else {
            panic!("no cluster");
        };
        let bound = &cluster.bind.as_ref().unwrap().addresses;
        assert_eq!(bound.iter().map(ToString::to_string).collect::<Vec<_>>(), addresses);
    }
}
