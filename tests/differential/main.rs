//! Envoy and our data plane beside each other: the same configuration, the same bytes, and then
//! the same responses, upstream requests, access log lines and counters.
//!
//! Cases are data: a file of `cases/` is a family that shares a configuration. What differs is
//! a failure unless `known.toml` gives a reason; a reason that is not needed is a failure too.
//!
//! - `DIFFERENTIAL_ONLY=text` runs the cases whose name contains it (unused reasons are allowed).
//! - `DIFFERENTIAL_BOTH=envoy` compares Envoy with itself: it shows that the cases are sound.
//! - `DIFFERENTIAL_REPORT=file` appends each difference to a file.

mod bootstrap;
mod case;
mod compare;
mod health;
mod known;
mod outcome;
mod side;
mod tcp;

use std::{fs, thread};

use case::Family;
use outcome::Outcome;
use side::Side;
use tests::binaries;
use tests::proxy::Kind;

macro_rules! families {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*
    };
}

families!(
    access_log,
    access_log_filters,
    access_log_types,
    admin,
    ages,
    connection,
    cors,
    csrf,
    durations,
    errors,
    fault,
    forwarded,
    headers,
    http2,
    jwt,
    jwt_remote,
    limits,
    listener_log,
    local_ratelimit,
    local_reply,
    mirrors,
    outlier,
    paths,
    protocol,
    rbac,
    redirects,
    retries,
    rewrites,
    router,
    routing,
    timeouts,
    tracing,
    tracing_egress,
    tracing_sampler,
    upgrades,
    upstream,
    virtual_clusters,
);

/// Hosts that are probed, without a client: another form of its own.
#[test]
fn health() {
    health::run("health");
}

/// Connections that carry bytes alone: a form of its own.
#[test]
fn tcp_proxy() {
    tcp::run("tcp_proxy");
}

/// Who may connect: the same form.
#[test]
fn network_rbac() {
    tcp::run("network_rbac");
}

/// Runs a family on both sides at once and compares case by case.
fn run(name: &str) {
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
        (envoy.join(), ours.join())
    });
    let envoy = envoy.unwrap_or_else(|_| panic!("{name}: Envoy's side failed"));
    let ours = ours.unwrap_or_else(|_| panic!("{name}: our side failed"));
    let mut known = known::Known::of(name, both_envoy);
    let mut differences = Vec::new();
    for ((case, envoy), ours) in family.cases.iter().zip(&envoy).zip(&ours) {
        differences.extend(case.check(envoy));
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
