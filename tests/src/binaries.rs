//! The programs under test, built once a test run, and the programs that they are compared with.
//!
//! `GOMESH_BIN_DIR` names a folder of ready-made binaries. Without it, `cargo build` makes them
//! in the profile of the running test, so that a stale binary is never tested.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The proxy.
#[must_use]
pub fn data_plane() -> PathBuf {
    folder().join("data-plane")
}

/// The control plane.
#[must_use]
pub fn xds_server() -> PathBuf {
    folder().join("xds-server")
}

/// The mesh in one process, and its echo service.
#[must_use]
pub fn demo() -> PathBuf {
    folder().join("demo")
}

/// Envoy: `$ENVOY`, else `envoy` in `PATH`.
///
/// # Panics
/// Where there is none: a check that needs Envoy fails, it is never skipped.
#[must_use]
pub fn envoy() -> PathBuf {
    if let Some(path) = env::var_os("ENVOY") {
        return path.into();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join("envoy"))
        .find(|file| file.is_file())
        .expect("Envoy is needed: set ENVOY or put envoy into PATH")
}

/// The repository's root.
#[must_use]
pub fn root() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match env::var_os("GOMESH_BIN_DIR") {
        Some(folder) => folder.into(),
        None => build(),
    })
}

/// Builds into the folder that the running test was built into, and returns it.
fn build() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own file");
    let profile = test.parent().and_then(Path::parent).expect("tests lie in PROFILE/deps");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(["build", "--quiet"]);
    for package in ["data-plane", "xds-server", "demo"] {
        cargo.args(["-p", package]);
    }
    if profile.file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    if let Some(target) = profile.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "the binaries under test do not build");
    profile.to_owned()
}
