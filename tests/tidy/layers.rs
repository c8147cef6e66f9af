//! One direction of dependencies inside the data plane: a module uses lower layers only.
//!
//! The order is the table in `data-plane/src/lib.rs`; this file repeats it, and a test holds the
//! two together. Siblings (`route`, `codec`, `tls`, `xds`) know nothing of each other. Tests
//! beside the code may reach up, since they build what the code is given.

use crate::none;
use crate::source::{self, Source};

/// Modules and their layers.
const LAYERS: [(&str, u8); 14] = [
    ("app", 10),
    ("admin", 9),
    ("listener", 8),
    ("snapshot", 7),
    ("tcp", 6),
    ("http", 5),
    ("cluster", 4),
    ("route", 3),
    ("codec", 3),
    ("tls", 3),
    ("xds", 3),
    ("telemetry", 2),
    ("config", 1),
    ("base", 0),
];

#[test]
fn modules_use_lower_layers_only() {
    let problems: Vec<_> = source::data_plane().iter().flat_map(wrong_edges).collect();
    none(&problems);
}

#[test]
fn the_table_of_the_crate_is_the_same() {
    let lib = source::data_plane().into_iter().find(|source| source.path == "lib.rs");
    let lib = lib.expect("the data plane has a lib.rs").text;
    for (module, layer) in LAYERS {
        let row = lib.lines().find(|line| line.starts_with(&format!("//! | L{layer} |")));
        let names = row.is_some_and(|row| row.contains(&format!("`{module}`")));
        assert!(names, "lib.rs does not list {module} in L{layer}");
    }
    for module in lib.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")) {
        let module = module.trim_end_matches(';');
        assert!(layer(module).is_some(), "{module} has no layer");
    }
}

#[test]
fn edges_are_found_in_every_form() {
    let text = "use crate::{app, base::x};\nuse crate::admin::{a, b};\n// crate::listener\n\
                fn f() { crate::snapshot::g() }\n";
    let source = Source { path: "http/mod.rs".to_owned(), text: text.to_owned() };
    let found = wrong_edges(&source);
    let ends: Vec<_> = found.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(ends, ["app", "admin", "snapshot"]);
}

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

fn wrong_edges(source: &Source) -> Vec<String> {
    let module = source.path.split(['/', '.']).next().unwrap_or_default();
    let Some(own) = layer(module) else { return Vec::new() };
    if source.is_test() {
        return Vec::new();
    }
    let mut problems = Vec::new();
    for (at, line) in source.code().take_while(|(at, _)| *at < source.tests_from()) {
        for target in targets(line) {
            let higher = layer(target).is_some_and(|layer| layer >= own);
            if higher && target != module {
                let path = &source.path;
                problems.push(format!("data-plane/src/{path}:{at}: {module} uses {target}"));
            }
        }
    }
    problems
}

/// The modules named behind `crate::` in a line.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        if line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            continue;
        }
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => found.extend(list.split(',').map(first_name)),
            None => found.push(first_name(rest)),
        }
    }
    found
}

fn first_name(text: &str) -> &str {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}
