//! Families of TCP proxies: raw connections instead of requests, a listener a case.
//!
//! A case says what the TCP proxy's fields are and what its client does, step by step. Backends
//! that speak no protocol stand behind clusters of the same names.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};
use tests::client::Connection;
use tests::proxy::{Kind, Proxy};
use tests::stats::{self, Stats};
use tests::tcp_backend::{Manner, TcpBackend};
use tests::{backend, binaries, setup, wait};

use crate::compare;
use crate::known::Known;
use crate::outcome::{Mask, Outcome};

/// Numbers that are compared.
const COUNTERS: &str = concat!(
    r"^(tcp\.|cluster\.[a-z0-9_]+\.(upstream_(cx|rq)|lb_healthy|outlier)",
    r"|listener\.127\.0\.0\.1_0\.downstream_cx)"
);

/// Numbers that depend on time, or on how much fits into a buffer.
///
/// Whether bytes still waited for the upstream when the client went (a flush) is one of timing.
const VOLATILE: &str = "_ms|_active|_buffered|_open|flow_control|upstream_flush";

/// Clusters of backends, by their manner.
const MANNERS: [(&str, Manner); 5] = [
    ("bye", Manner::Bye),
    ("deaf", Manner::Deaf),
    ("echo", Manner::Echo),
    ("greet", Manner::Greet("welcome")),
    ("reset", Manner::Reset),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Family {
    /// The format of access logs.
    format: String,
    /// Whether the listener writes them, and not the proxy.
    #[serde(default)]
    listener_log: bool,
    /// Numbers that are compared, where they are others.
    #[serde(default)]
    counters: Option<String>,
    /// Clusters beside those of the backends; `{{echo}}` stands for a port.
    clusters: Vec<Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// Fields of the TCP proxy beside prefix and log.
    proxy: Value,
    /// Filters before the proxy.
    #[serde(default)]
    before: Vec<Value>,
    /// Fields of the listener beside address and chain.
    #[serde(default)]
    listener: Value,
    /// What the client does.
    #[serde(default)]
    steps: Vec<Step>,
    /// How many log lines there will be.
    #[serde(default = "one")]
    logs: usize,
    #[serde(default)]
    mask: Vec<String>,
    /// What Envoy's client is known to see, a line a step that hears something.
    expect: Vec<String>,
}

/// One thing that a client does.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// Says this; `x*9` is nine x.
    Send(String),
    /// Hears so many bytes.
    Hear(usize),
    /// Says that it sends no more.
    Finish(()),
    /// Hears all until the end.
    Rest(()),
    /// Ends with a reset.
    Reset(()),
}

/// Runs a family on both sides at once and compares case by case.
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
        if envoy.responses != case.expect {
            let (name, wanted) = (&case.name, &case.expect);
            differences.push(format!("== {name}: expected {wanted:?}, Envoy:\n{envoy}"));
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
    let mut side = Side::start(kind, family);
    family.cases.iter().map(|case| side.run(case)).collect()
}

struct Side {
    proxy: Proxy,
    backends: Vec<(&'static str, TcpBackend)>,
    dead: SocketAddr,
    counters: Regex,
    volatile: Regex,
    before: Stats,
    log_lines: usize,
}

impl Side {
    fn start(kind: Kind, family: &Family) -> Self {
        let started = MANNERS.map(|(name, manner)| (name, TcpBackend::start(manner)));
        let (backends, dead) = (Vec::from(started), backend::dead_address());
        let mut clusters = vec![setup::cluster("dead", dead, false)];
        clusters
            .extend(backends.iter().map(|(name, at)| setup::cluster(name, at.address(), false)));
        clusters.extend(family.clusters.iter().cloned());
        let listeners: Vec<Value> =
            family.cases.iter().map(|case| listener(case, family)).collect();
        let mut text = setup::of(&listeners, &clusters);
        for (name, at) in &backends {
            let port = at.address().port().to_string();
            text = text.replace(&format!("\"{{{{{name}}}}}\""), &port);
        }
        let proxy = Proxy::start(kind, &text);
        Self {
            before: stats::read(proxy.admin_address(), ""),
            proxy,
            backends,
            dead,
            counters: Regex::new(family.counters.as_deref().unwrap_or(COUNTERS))
                .expect("a valid pattern"),
            volatile: Regex::new(VOLATILE).expect("a valid pattern"),
            log_lines: 0,
        }
    }

    fn run(&mut self, case: &Case) -> Outcome {
        let mut outcome = Outcome::default();
        let listener = self.proxy.listener(&case.name);
        let connection = Connection::open(listener).expect("the proxy takes connections");
        let client = connection.local().expect("a connected socket has an address");
        outcome.responses = act(connection, &case.steps);
        self.settle();
        outcome.log = self.log(case);
        let after = stats::read(self.proxy.admin_address(), "");
        self.backends_settle(&after);
        for (name, backend) in &self.backends {
            let seen = backend.take_seen();
            outcome.upstream.extend(seen.into_iter().map(|line| format!("({name}) {line}")));
        }
        outcome.counters = stats::growth(&self.before, &after);
        let (counters, volatile) = (&self.counters, &self.volatile);
        outcome.counters.retain(|name, _| counters.is_match(name) && !volatile.is_match(name));
        self.before = after;
        let mut own = vec![
            (client.to_string(), "<client>"),
            (listener.to_string(), "<listener>"),
            (self.dead.to_string(), "<dead>"),
        ];
        own.extend(self.backends.iter().map(|(name, at)| (at.address().to_string(), *name)));
        let mask = Mask::new(&case.mask, own);
        for texts in [&mut outcome.responses, &mut outcome.upstream, &mut outcome.log] {
            texts.iter_mut().for_each(|text| *text = mask.apply(text));
        }
        outcome
    }

    /// Waits until the proxy has forgotten the connection.
    fn settle(&self) {
        let admin = self.proxy.admin_address();
        wait::until("the end of the client's connection", || {
            let active =
                stats::read(admin, "^(listener.127.*downstream|cluster.*upstream)_cx_active$");
            active.values().all(|value| *value == 0).then_some(())
        });
    }

    /// Waits until the backends know the end of every connection that the proxy made.
    fn backends_settle(&self, stats: &Stats) {
        let all = |name: &str| -> u64 {
            let ours = stats.iter().filter(|(key, _)| key.starts_with("cluster."));
            ours.filter(|(key, _)| key.ends_with(name)).map(|(_, value)| value).sum()
        };
        let made = all(".upstream_cx_total") - all(".upstream_cx_connect_fail");
        wait::until("the ends of connections at the backends", || {
            let done: u64 = self.backends.iter().map(|(_, backend)| backend.done()).sum();
            (done == made).then_some(())
        });
    }

    fn log(&mut self, case: &Case) -> Vec<String> {
        let path = self.proxy.folder().join("access.log");
        let wanted = self.log_lines + case.logs;
        let read = || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            text.rfind('\n').map_or(String::new(), |end| text[..=end].to_owned())
        };
        let enough = || Some(read()).filter(|text| text.lines().count() >= wanted);
        let text = wait::within(Duration::from_secs(3), enough).unwrap_or_else(read);
        let lines: Vec<_> = text.lines().skip(self.log_lines).map(str::to_owned).collect();
        self.log_lines += lines.len();
        lines
    }
}

/// What the client hears while it does what it is told; it ends its connection at last.
fn act(mut connection: Connection, steps: &[Step]) -> Vec<String> {
    let mut heard = Vec::new();
    let text = |bytes: Vec<u8>| match bytes.len() {
        0..=64 => String::from_utf8_lossy(&bytes).into_owned(),
        length => format!("{length} bytes"),
    };
    for step in steps {
        match step {
            Step::Send(text) => {
                // What the proxy does not take shows in what it answers.
                let _ = connection.send(repeated(text).as_bytes());
            }
            Step::Finish(_) => {
                let _ = connection.finish();
            }
            Step::Hear(length) => heard.push(match connection.exactly(*length) {
                Ok(bytes) => text(bytes),
                Err(error) => format!("{:?}", error.kind()),
            }),
            Step::Rest(_) => heard.push(match connection.rest() {
                Ok(bytes) => format!("{}, the end", text(bytes)),
                Err(error) => format!("{:?}", error.kind()),
            }),
            Step::Reset(_) => {
                let _ = connection.reset();
                return heard;
            }
        }
    }
    heard
}

fn repeated(text: &str) -> String {
    match text.split_once('*') {
        Some((part, times)) => part.repeat(times.parse().expect("a number")),
        None => text.to_owned(),
    }
}

fn listener(case: &Case, family: &Family) -> Value {
    let mut fields = case.proxy.clone();
    let log = json!([setup::file_log(&family.format)]);
    if fields["access_log"].is_null() && !family.listener_log {
        fields["access_log"] = log.clone();
    }
    let mut listener = setup::tcp_listener(&case.name, &fields);
    if family.listener_log {
        listener["access_log"] = log;
    }
    let filters = &mut listener["filter_chains"][0]["filters"];
    let chain: Vec<&Value> =
        case.before.iter().chain(filters.as_array().into_iter().flatten()).collect();
    *filters = json!(chain);
    for (name, value) in case.listener.as_object().into_iter().flatten() {
        listener[name] = value.clone();
    }
    listener
}

const fn one() -> usize {
    1
}
