//! Cases of `tests/data/config/http_filters/{accept,reject}`, read with the parsers of this build.
//! A case holds fields of a connection manager's `http_filters`, and of a route's
//! `typed_per_filter_config`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::app::load;

/// A listener with the filters and the route of a case, as a bootstrap; JSON is YAML.
fn bootstrap(case: &str) -> String {
    let case: Value = serde_saphyr::from_str(case).expect("a case is YAML");
    let list = |key: &str| case.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let map = |key: &str| case.get(key).cloned().unwrap_or_else(|| json!({}));
    let mut filters = list("http_filters");
    filters.push(json!({"name": "router", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}));
    let mut route = map("route");
    route["cluster"] = json!("c");
    let hcm = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    json!({"static_resources": {
        "clusters": [{"name": "c"}],
        "listeners": [{
            "name": "l",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
                "@type": format!("type.googleapis.com/{hcm}"),
                "stat_prefix": "s",
                "http_filters": filters,
                "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{
                    "match": {"prefix": "/"},
                    "route": route,
                    "typed_per_filter_config": map("typed_per_filter_config"),
                }]}]},
            }}]}],
        }],
    }})
    .to_string()
}

fn verdict(case: &str) -> Result<(), String> {
    load::load_text("case.yaml", &bootstrap(case)).map(|_| ()).map_err(|error| error.to_string())
}

fn cases(of: &str) -> Vec<(PathBuf, String)> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/config/http_filters");
    let files = fs::read_dir(data.join(of)).expect("a folder of cases");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("readable").path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).expect("readable");
        (file, text)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn every_accept_case_of_a_filter_is_accepted() {
    let wrong = |(file, text): (PathBuf, String)| {
        Some(format!("{}: {}", file.display(), verdict(&text).err()?))
    };
    let wrong: Vec<String> = cases("accept").into_iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_reject_case_of_a_filter_is_rejected_for_its_reason() {
    let mut wrong = Vec::new();
    for (file, text) in cases("reject") {
        let expected: Vec<&str> =
            text.lines().map_while(|line| line.strip_prefix("# expect: ")).collect();
        assert!(!expected.is_empty(), "{} says nothing", file.display());
        match verdict(&text) {
            Ok(()) => wrong.push(format!("{}: accepted", file.display())),
            Err(text) if expected.iter().all(|part| text.contains(part)) => {}
            Err(text) => wrong.push(format!("{}: {text}", file.display())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
