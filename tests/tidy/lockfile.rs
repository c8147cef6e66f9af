//! Crates that must not be built in, read from `Cargo.lock`: unsound, unmaintained, or a second
//! stack beside the chosen one.

use std::process::Command;
use std::{env, fs};

use crate::none;
use crate::source;

/// Names that may not appear at all.
const BANNED: [&str; 21] = [
    "atty",
    "backoff",
    "bincode",
    "daemonize",
    "derivative",
    "fxhash",
    "instant",
    "native-tls",
    "openssl",
    "openssl-sys",
    "opentelemetry-jaeger",
    "paste",
    "proc-macro-error",
    "rustls-pemfile",
    "serde_yaml",
    "serde_yml",
    "trust-dns-proto",
    "trust-dns-resolver",
    "unsafe-libyaml",
    "yaml-rust",
    "hyper-tls",
];

/// Names that need at least a version, because of a fault before it.
const FLOORS: [(&str, [u64; 3]); 6] = [
    ("arc-swap", [1, 9, 5]),
    ("aws-lc-sys", [0, 39, 0]),
    ("h2", [0, 4, 20]),
    ("lru", [0, 18, 2]),
    ("rustls", [0, 23, 18]),
    ("rustls-webpki", [0, 103, 13]),
];

#[test]
fn banned_crates_are_absent() {
    let found: Vec<_> = packages()
        .into_iter()
        .filter(|(name, _)| BANNED.contains(&name.as_str()))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    none(&found);
}

#[test]
fn crates_with_known_faults_are_new_enough() {
    let mut problems = Vec::new();
    for (name, version) in packages() {
        let floor = FLOORS.iter().find(|(floor, _)| *floor == name);
        let parts: Vec<u64> = version.split('.').map_while(|part| part.parse().ok()).collect();
        if floor.is_some_and(|(_, floor)| parts.as_slice() < floor.as_slice()) {
            problems.push(format!("{name} {version}"));
        }
    }
    none(&problems);
}

/// `ring` stands in the lock as an option that nobody chose; what is built must not have it.
#[test]
fn one_stack_of_cryptography_is_built() {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(source::root());
    cargo.args(["tree", "--workspace", "--locked", "--prefix", "none", "-e", "normal,build"]);
    let output = cargo.output().expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Vec<_> =
        tree.lines().filter(|line| line.starts_with("ring ")).map(str::to_owned).collect();
    none(&found);
}

/// Names and versions of all packages.
fn packages() -> Vec<(String, String)> {
    let lock = fs::read_to_string(source::root().join("Cargo.lock")).expect("Cargo.lock is there");
    let value = |line: &str, key: &str| {
        let quoted = line.strip_prefix(key)?.trim().strip_prefix('=')?.trim();
        Some(quoted.trim_matches('"').to_owned())
    };
    let mut found = Vec::new();
    let mut name = None;
    for line in lock.lines() {
        if let Some(found) = value(line, "name") {
            name = Some(found);
        } else if let (Some(version), Some(name)) = (value(line, "version"), name.take()) {
            found.push((name, version));
        }
    }
    assert!(found.len() > 50, "Cargo.lock was not understood");
    found
}
