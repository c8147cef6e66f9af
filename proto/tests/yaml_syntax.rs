//! How Envoy reads YAML and JSON: the verdicts recorded from Envoy 1.40 against ours.
//!
//! The scenarios are no part of this repository. They are looked for in `GOMESH_CORPUS` and beside
//! the repository; without them the test says that it was skipped.

use std::path::{Path, PathBuf};

use proto::envoy::config::bootstrap::v3::Bootstrap;
use proto::rules::{FindingKind, Policy, check};
use proto::text::{ReadOptions, parse};

/// Scenarios that the readers alone cannot decide, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[];

fn corpus() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let given = std::env::var_os("GOMESH_CORPUS").map(PathBuf::from);
    let beside = ["../shared/corpus", "../../shared/corpus"].map(|path| root.join(path));
    given.into_iter().chain(beside).find(|path| path.join("yaml-syntax").is_dir())
}

/// Whether reading and Envoy's constraint rules accept the file; what objects if not.
fn verdict(path: &Path) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let read = parse::<Bootstrap>(name, &bytes, &ReadOptions::default())
        .map_err(|errors| errors.to_string())?;
    let encoded = proto::prost::Message::encode_to_vec(&read.message);
    let found = check("envoy.config.bootstrap.v3.Bootstrap", &encoded, &Policy::everything());
    let broken = found.iter().find(|f| matches!(f.kind, FindingKind::Constraint { .. }));
    broken.map_or(Ok(()), |finding| Err(finding.to_string()))
}

#[test]
fn every_scenario_gets_envoys_verdict() {
    let Some(corpus) = corpus() else {
        eprintln!("SKIPPED: no corpus found; set GOMESH_CORPUS to run the yaml-syntax family");
        return;
    };
    let family = corpus.join("yaml-syntax");
    let expected = std::fs::read(family.join("expected.json")).expect("expected.json is there");
    let expected: serde_json::Value = serde_json::from_slice(&expected).expect("it is JSON");
    let scenarios = expected["scenarios"].as_object().expect("it lists scenarios");
    let mut wrong = Vec::new();
    for (name, scenario) in scenarios {
        if EXCEPTIONS.iter().any(|(exception, _)| exception == name) {
            continue;
        }
        let suffixes = ["yaml", "json"].map(|s| family.join(format!("{name}.bootstrap.{s}")));
        let file = suffixes.iter().find(|path| path.is_file()).expect("a file for each name");
        let ours = verdict(file);
        if ours.is_ok() != (scenario["expect"] == "accept") {
            wrong.push(format!("{name}: Envoy says {}, ours {ours:?}", scenario["expect"]));
        }
    }
    assert!(scenarios.len() >= 86, "the whole family: {}", scenarios.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
