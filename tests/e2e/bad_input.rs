//! Wrong words on the command line and in files: one clear line, and the exit code that scripts
//! rely on.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{backend, binaries, wait};

use tests::setup;

/// What is refused ends long before.
const PATIENCE: Duration = Duration::from_secs(20);

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(binaries::data_plane());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the data plane can be started");
    // What it says fits into a pipe, so that it can end before it is read.
    let ended = wait::within(PATIENCE, || child.try_wait().expect("a child's state"));
    if ended.is_none() {
        child.kill().expect("a child can be ended");
    }
    let output = child.wait_with_output().expect("its words");
    assert!(ended.is_some(), "{arguments:?} goes on instead of ending: {}", said(&output));
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs with a bootstrap of this text.
fn with_bootstrap(text: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("b.yaml");
    fs::write(&file, text).expect("a file");
    let file = file.to_string_lossy().into_owned();
    run(&[&["-c", file.as_str()], more].concat())
}

#[test]
fn a_wrong_flag_exits_64_and_is_named() {
    let output = run(&["--no-such-flag"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(said(&output).contains("--no-such-flag"), "{}", said(&output));
}

#[test]
fn a_missing_file_exits_64_and_is_named() {
    let output = run(&["-c", "no/such/file.yaml"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(said(&output).contains("no/such/file.yaml"), "{}", said(&output));
}

#[test]
fn broken_yaml_exits_64_with_its_line() {
    let output = with_bootstrap("admin:\n  address: [\n", &[]);
    assert_eq!(output.status.code(), Some(64));
    assert!(said(&output).contains("b.yaml:"), "{}", said(&output));
}

#[test]
fn an_unknown_field_exits_64_with_its_place_and_a_suggestion() {
    let output = with_bootstrap("node: {id: a, cluster: b}\nstatic_resource: {}\n", &[]);
    assert_eq!(output.status.code(), Some(64));
    let said = said(&output);
    assert!(said.contains("b.yaml:2:") && said.contains("static_resources"), "{said}");
}

#[test]
fn a_broken_rule_exits_64_with_its_path() {
    let text = "static_resources: {clusters: [{name: a, connect_timeout: 0s}]}\n";
    let output = with_bootstrap(text, &["--mode", "validate"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(said(&output).contains("clusters[0].connect_timeout"), "{}", said(&output));
}

#[test]
fn a_good_file_validates_and_exits_0() {
    let backend = backend::dead_address();
    let text = setup::bootstrap(Vec::new(), backend, backend);
    let output = with_bootstrap(&text, &["--mode", "validate"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("OK") || said(&output).contains("OK"), "{stdout}{}", said(&output));
}

#[test]
fn a_port_in_use_exits_1_and_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = taken.local_addr().expect("a bound socket has an address").port();
    let dead = backend::dead_address();
    let text = setup::bootstrap(Vec::new(), dead, dead)
        .replacen("\"port_value\":0", "\"port_value\":00", 1)
        .replace("\"port_value\":0}", &format!("\"port_value\":{port}}}"))
        .replace("\"port_value\":00", "\"port_value\":0");
    let output = with_bootstrap(&text, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains(&port.to_string()), "{}", said(&output));
}

#[test]
fn a_port_in_use_exits_1_although_a_control_plane_is_awaited() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let taken = taken.local_addr().map(|at| (taken, at)).expect("a bound socket has an address");
    let answer = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}});
    let host = json!({"name": "all", "domains": ["*"], "routes": [answer]});
    let mut listener = setup::listener(Vec::new(), json!({"virtual_hosts": [host]}));
    listener["address"] = setup::address(taken.1);
    let text = setup::ads_bootstrap(backend::dead_address(), false);
    let mut bootstrap: Value = serde_json::from_str(&text).expect("JSON");
    bootstrap["static_resources"]["listeners"] = json!([listener]);
    let output = with_bootstrap(&bootstrap.to_string(), &[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains(&taken.1.to_string()), "{}", said(&output));
}

#[test]
fn a_log_level_that_is_none_exits_64_and_an_agents_component_is_passed_over() {
    let dead = backend::dead_address();
    let text = setup::bootstrap(Vec::new(), dead, dead);
    let validate = |more: &[&str]| with_bootstrap(&text, &[&["--mode", "validate"], more].concat());
    for (more, names) in [
        (["--log-level", "foo"], "--log-level: got 'foo'"),
        (["--component-log-level", "upstream:foo"], "--component-log-level: got 'foo'"),
        (["--component-log-level", "upstream"], "must be component:level"),
        (["--component-log-level", "upstraem:info"], "got 'upstraem'; must be a component"),
        (["--drain-strategy", "slow"], "'slow'"),
        (["--concurrency", "many"], "'many'"),
    ] {
        let output = validate(&more);
        assert_eq!(output.status.code(), Some(64), "{}", said(&output));
        assert!(said(&output).contains(names), "{}", said(&output));
    }
    for more in [["--component-log-level", "misc:error,http:warn"], ["-l", "warning"]] {
        let output = validate(&more);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
}

#[test]
fn a_log_file_that_cannot_be_opened_exits_1_and_is_named() {
    let dead = backend::dead_address();
    let text = setup::bootstrap(Vec::new(), dead, dead);
    let output = with_bootstrap(&text, &["--log-path", "/nowhere/at/all.log"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("/nowhere/at/all.log"), "{}", said(&output));
}

#[test]
fn a_compat_mode_that_is_none_exits_64() {
    let mut command = Command::new(binaries::data_plane());
    command.args(["--mode", "validate"]).env("GOMESH_COMPAT", "envy");
    let output = command.output().expect("the data plane can be started");
    assert_eq!(output.status.code(), Some(64), "{}", said(&output));
    assert!(said(&output).contains("GOMESH_COMPAT: got 'envy'"), "{}", said(&output));
}

#[test]
fn a_check_leaves_no_log_file() {
    let dead = backend::dead_address();
    let text = setup::bootstrap(Vec::new(), dead, dead);
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let path = log.to_string_lossy();
    let output = with_bootstrap(&text, &["--mode", "validate", "--log-path", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!log.exists());
}

#[test]
fn an_access_log_that_cannot_be_written_exits_64_and_is_named() {
    let logger = json!({"name": "file", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": "/nonexistent/access.log",
    }});
    let mut listener = setup::listener(Vec::new(), setup::routes());
    listener["access_log"] = json!([logger]);
    let text = setup::bootstrap(Vec::new(), backend::dead_address(), backend::dead_address());
    let mut bootstrap: Value = serde_json::from_str(&text).expect("JSON");
    bootstrap["static_resources"]["listeners"] = json!([listener]);
    for mode in ["validate", "serve"] {
        let output = with_bootstrap(&bootstrap.to_string(), &["--mode", mode]);
        assert_eq!(output.status.code(), Some(64), "{mode}: {}", said(&output));
        let place = "listeners[0].access_log[0].typed_config.path: got \"/nonexistent/access.log\"";
        assert!(said(&output).contains(place), "{mode}: {}", said(&output));
    }
}
