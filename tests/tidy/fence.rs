//! The fence around Envoy's messages: the data path never sees `proto`.
//!
//! `proto` may be named where messages become configuration (`config`, an extension's
//! `config.rs`), where they travel (`xds`), and where they are shown (`admin`, `app`).

use crate::none;
use crate::source::{self, Source};

const OPEN: [&str; 4] = ["config/", "xds/", "admin/", "app/"];

#[test]
fn envoys_messages_stay_behind_the_fence() {
    let mut problems = Vec::new();
    let sources = source::data_plane();
    let fenced = |source: &&Source| !allowed(source) && !of_prometheus(source);
    for source in sources.iter().filter(fenced) {
        for (at, line) in source.code().take_while(|(at, _)| *at < source.tests_from()) {
            if names_proto(line) {
                problems.push(format!("data-plane/src/{}:{at}: {}", source.path, line.trim()));
            }
        }
    }
    none(&problems);
}

#[test]
fn only_the_proto_crate_names_envoy_types() {
    let mut problems = Vec::new();
    for source in source::all() {
        let manifest = source.path.ends_with("/Cargo.toml") && !source.path.starts_with("proto/");
        if manifest && source.text.contains(concat!("envoy", "-types")) {
            problems.push(format!("{} depends on envoy-types", source.path));
        }
    }
    none(&problems);
}

fn allowed(source: &Source) -> bool {
    let path = source.path.as_str();
    let extension = path.contains("/filter/") && source.file_name() == "config.rs";
    let top = matches!(path, "config.rs" | "xds.rs" | "admin.rs" | "app.rs");
    OPEN.iter().any(|folder| path.starts_with(folder)) || extension || top || source.is_test()
}

/// Whether `proto` is the module of that name in the `prometheus` crate.
fn of_prometheus(source: &Source) -> bool {
    let mut imports = source.text.split("use prometheus::").skip(1);
    imports.any(|rest| rest.split(';').next().is_some_and(|names| names.contains("proto")))
}

fn names_proto(line: &str) -> bool {
    [concat!("proto", "::"), concat!("envoy_", "types::")].iter().any(|word| {
        line.match_indices(word).any(|(at, _)| {
            !line[..at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before))
        })
    })
}
