//! The checked-in descriptor set is the one that the locked `envoy-types` ships.

use std::process::Command;

#[test]
fn checked_in_descriptors_are_those_of_the_locked_envoy_types() {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--locked", "-p", "proto", "--example"])
        .args(["descriptors", "--", "--check"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => {}
        Some(2) => eprintln!("SKIPPED: the source of the descriptors is not at hand: {text}"),
        code => panic!("run `cargo run -p proto --example descriptors` ({code:?}): {text}"),
    }
}
