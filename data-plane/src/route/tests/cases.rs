//! `tests/data/route/*.yaml`.

use std::path::Path;

use super::*;

#[test]
fn every_case_of_the_data_goes_where_envoy_sends_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/route");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    let mut failures = Vec::new();
    let mut cases = 0;
    for file in &files {
        let data = yaml(&std::fs::read_to_string(file).expect("a file of cases"));
        let table = RouteTable::build(parse_config(&data["route_config"]));
        for case in data["cases"].as_array().expect("cases") {
            cases += 1;
            let name = format!("{}: {}", file.display(), case["name"]);
            for wrong in differences(&table, &case["request"], &case["expect"]) {
                failures.push(format!("{name}: {wrong}"));
            }
        }
    }
    assert!(cases >= 200, "only {cases} cases");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn request(case: &Value) -> Request {
    let text = |key: &str| case[key].as_str();
    let mut request =
        Request::get(text("authority").expect("authority"), text("path").expect("path"));
    if let Some(method) = text("method") {
        request.method = method.into();
    }
    request.random = case["random"].as_u64().unwrap_or_default();
    for pair in case["headers"].as_array().into_iter().flatten() {
        request.add(pair[0].as_str().expect("a name"), pair[1].as_str().expect("a value"));
    }
    // What the connection manager puts there.
    if !request.headers.contains_key("x-forwarded-proto") {
        request.add("x-forwarded-proto", "http");
    }
    if case["internal"] == true {
        request.add("x-envoy-internal", "true");
    }
    for (key, value) in case["runtime"].as_object().into_iter().flatten() {
        request.runtime.0.insert(key.clone(), value.as_u64().expect("an integer"));
    }
    request
}

fn differences(table: &RouteTable, case: &Value, expect: &Value) -> Vec<String> {
    let request_of_case = request(case);
    let input = request_of_case.input();
    let Some(route) = table.find(&input) else {
        return match expect["none"] == true {
            true => Vec::new(),
            false => vec!["found no route".into()],
        };
    };
    let mut found = serde_json::json!({
        "route": route.name(),
        "cluster": route.cluster(&input),
        "status": status(&route),
        "location": request_of_case.location(&route),
        "virtual_cluster": route.virtual_cluster(&input).and_then(VirtualClusterRef::log_name),
        "virtual_cluster_stat": route.virtual_cluster(&input).map(VirtualClusterRef::stat_name),
    });
    let up = upstream(&route, request(case));
    found["path"] = up.path.clone().into();
    found["host"] = up.authority.as_ref().and_then(|host| host.to_str().ok()).into();
    found["original_path"] = up.headers.contains_key("x-envoy-original-path").into();
    found["original_host"] = up.headers.contains_key("x-envoy-original-host").into();
    found["request_headers"] = fields(&up.headers, &expect["request_headers"]);
    let mut answer = HeaderMap::new();
    for edits in route.response_edits() {
        edits.apply(&mut answer, &mut render);
    }
    found["response_headers"] = fields(&answer, &expect["response_headers"]);
    let expected = expect.as_object().expect("a map").iter();
    expected
        .filter(|(key, want)| found[key.as_str()] != **want)
        .map(|(key, want)| format!("{key}: want {want}, found {}", found[key.as_str()]))
        .collect()
}

/// The values of the fields that are asked for.
fn fields(headers: &HeaderMap, asked: &Value) -> Value {
    let mut found = serde_json::Map::new();
    for name in asked.as_object().into_iter().flat_map(|map| map.keys()) {
        let values = headers.get_all(name.as_str()).iter();
        let values = values.map(|value| value.to_str().expect("ASCII").into()).collect();
        found.insert(name.clone(), Value::Array(values));
    }
    Value::Object(found)
}
