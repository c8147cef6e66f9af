//! The family of health checks: no client asks anything, and a cluster is a case.
//!
//! A case says what its backend answers, check by check; after the last answer it says nothing
//! more, so that the check hangs and all numbers stand still. Then the requests that the backend
//! saw, the host's flags and the cluster's counters are compared.

use std::fs;
use std::net::SocketAddr;
use std::thread;

use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};
use tests::backend::{Backend, Reply, Then};
use tests::grpc_health::GrpcHealth;
use tests::proxy::{Kind, Proxy};
use tests::{binaries, setup, stats, wait};

use crate::compare;
use crate::known::Known;
use crate::outcome::{self, Mask, Outcome};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Family {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// Fields of the check beside those of `cluster`.
    check: Value,
    /// Fields of the cluster beside name, endpoint and check.
    #[serde(default)]
    cluster: Value,
    /// Fields of the endpoint beside its address.
    #[serde(default)]
    endpoint: Value,
    /// What the backend answers: a status, `close`, `hang`, or a whole answer.
    script: Vec<String>,
    /// The backend is one of gRPC, and the script its own.
    #[serde(default)]
    grpc: bool,
    /// Checks go on for ever: numbers are not compared.
    #[serde(default)]
    endless: bool,
    /// The host's flags in Envoy.
    expect: String,
}

/// Runs the family on both sides at once and compares case by case.
pub(crate) fn run(name: &str) {
    let file = binaries::root().join(format!("tests/differential/cases/{name}.yaml"));
    let text = fs::read_to_string(file).expect("the file of a family");
    let mut family: Family = serde_saphyr::from_str(&text).expect("a family of cases");
    let only = std::env::var("DIFFERENTIAL_ONLY").unwrap_or_default();
    family.cases.retain(|case| case.name.contains(&only));
    let both_envoy = std::env::var("DIFFERENTIAL_BOTH").is_ok_and(|both| both == "envoy");
    let second = if both_envoy { Kind::Envoy } else { Kind::OursAsEnvoy };
    let (envoy, ours) = thread::scope(|scope| {
        let envoy = scope.spawn(|| outcomes(Kind::Envoy, &family));
        let ours = scope.spawn(|| outcomes(second, &family));
        (envoy.join().expect("Envoy's side"), ours.join().expect("our side"))
    });
    let mut known = Known::of(name, both_envoy);
    let mut differences = Vec::new();
    for ((case, envoy), ours) in family.cases.iter().zip(&envoy).zip(&ours) {
        if envoy.responses != [case.expect.as_str()] {
            let (name, wanted) = (&case.name, &case.expect);
            differences.push(format!("== {name}: expected {wanted}, Envoy:\n{envoy}"));
        }
        differences.extend(compare::differences(name, &case.name, envoy, ours, &mut known));
    }
    if only.is_empty() {
        differences.extend(known.unused());
    }
    compare::report(&differences);
    assert!(differences.is_empty(), "{name}\n{}", differences.join("\n"));
}

fn outcomes(kind: Kind, family: &Family) -> Vec<Outcome> {
    let backends: Vec<Asked> = family.cases.iter().map(Asked::start).collect();
    let of_cases = family.cases.iter().zip(&backends);
    let clusters: Vec<Value> = of_cases.map(|(case, at)| cluster(case, at.address())).collect();
    let routes = json!({"name": "r", "virtual_hosts": []});
    let text = setup::of(&[setup::listener(Vec::new(), routes)], &clusters);
    let proxy = Proxy::start(kind, &text);
    let of_cases = family.cases.iter().zip(&backends);
    of_cases.map(|(case, backend)| outcome(&proxy, case, backend)).collect()
}

/// A backend that hangs once its script is over.
enum Asked {
    Http(Backend),
    Grpc(GrpcHealth),
}

impl Asked {
    fn start(case: &Case) -> Self {
        if case.grpc {
            return Self::Grpc(GrpcHealth::start(case.script.iter().cloned()));
        }
        let backend = Backend::start();
        backend.next(case.script.iter().map(|said| reply(said)));
        backend.always(reply("hang"));
        Self::Http(backend)
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Http(backend) => backend.address(),
            Self::Grpc(backend) => backend.address(),
        }
    }

    fn seen_count(&self) -> usize {
        match self {
            Self::Http(backend) => backend.seen_count(),
            Self::Grpc(backend) => backend.seen_count(),
        }
    }

    fn seen(&self) -> Vec<String> {
        match self {
            Self::Http(backend) => {
                backend.take_seen().iter().map(|seen| outcome::seen("backend", seen)).collect()
            }
            Self::Grpc(backend) => backend.seen(),
        }
    }
}

fn reply(said: &str) -> Reply {
    match said {
        "close" => Reply { then: Then::Close, ..Reply::bytes("") },
        "hang" => Reply { then: Then::Hang, ..Reply::bytes("") },
        status if status.len() == 3 => {
            Reply::bytes(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n"))
        }
        whole => Reply::bytes(whole.replace('\n', "\r\n")),
    }
}

fn cluster(case: &Case, at: SocketAddr) -> Value {
    let mut check = json!({
        "timeout": "60s", "interval": "0.02s", "no_traffic_interval": "0.02s",
        "unhealthy_threshold": 2, "healthy_threshold": 2,
    });
    extend(&mut check, &case.check);
    let mut cluster = setup::cluster(&case.name, at, case.grpc);
    cluster["health_checks"] = json!([check]);
    let mut endpoint = json!({"address": setup::address(at)});
    extend(&mut endpoint, &case.endpoint);
    cluster["load_assignment"]["endpoints"] = json!([{"lb_endpoints": [{"endpoint": endpoint}]}]);
    extend(&mut cluster, &case.cluster);
    cluster
}

fn extend(value: &mut Value, more: &Value) {
    let fields = value.as_object_mut().expect("an object");
    fields.extend(more.as_object().cloned().unwrap_or_default());
}

fn outcome(proxy: &Proxy, case: &Case, backend: &Asked) -> Outcome {
    // The last answer was taken in before the check after it began.
    let wanted = case.script.len() + usize::from(!case.endless && !case.script.is_empty());
    wait::until(&case.name, || (backend.seen_count() >= wanted).then_some(()));
    let mut seen = backend.seen();
    seen.truncate(wanted);
    let mask = Mask::new(&[], vec![(backend.address().to_string(), "<backend>")]);
    let pattern = format!(r"^cluster\.{}\.(health_check|membership)", case.name);
    let counters = Regex::new(&pattern).expect("a pattern of counters");
    let mut numbers = stats::read(proxy.admin_address(), "");
    numbers.retain(|name, _| counters.is_match(name) && !case.endless);
    Outcome {
        responses: vec![flags(proxy, &case.name)],
        upstream: seen.iter().map(|seen| mask.apply(seen)).collect(),
        counters: numbers,
        ..Outcome::default()
    }
}

fn flags(proxy: &Proxy, cluster: &str) -> String {
    let page = proxy.admin("/clusters").expect("the page of clusters").text();
    let own = format!("{cluster}::");
    let mut lines = page.lines().filter(|line| line.starts_with(&own));
    let line = lines.find_map(|line| line.split_once("::health_flags::"));
    line.map_or("none", |(_, flags)| flags).to_owned()
}
