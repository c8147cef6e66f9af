//! What the README promises is tested: each row of its feature table names a test that exists.
//!
//! A row belongs to the table under a heading that contains "Features"; its last cell names one
//! or more tests in backquotes, `file.rs`, `function` or `file::function`.

use regex::Regex;

use crate::none;
use crate::source::{self, Source};

const LINES_MAX: usize = 250;

#[test]
fn feature_rows_name_their_tests() {
    let Some(readme) = readme() else { return };
    let sources = source::all();
    let quoted = Regex::new("`([^`]+)`").expect("a valid pattern");
    let mut problems = Vec::new();
    let rows = rows(&readme);
    assert!(!rows.is_empty(), "README.md has no table under a heading Features");
    for row in rows {
        let cell = row.trim().trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        let names: Vec<&str> = quoted
            .captures_iter(cell)
            .filter_map(|found| found.get(1))
            .map(|m| m.as_str())
            .collect();
        if names.is_empty() {
            problems.push(format!("README.md: no test in: {row}"));
        }
        for name in names.into_iter().filter(|name| !exists(&sources, name)) {
            problems.push(format!("README.md: no such test: {name}"));
        }
    }
    none(&problems);
}

#[test]
fn the_readme_is_short() {
    let Some(readme) = readme() else { return };
    let lines = readme.lines().count();
    assert!(lines <= LINES_MAX, "README.md has {lines} lines");
}

fn readme() -> Option<String> {
    std::fs::read_to_string(source::root().join("README.md")).ok()
}

/// Rows of the feature table without its head.
fn rows(readme: &str) -> Vec<&str> {
    let mut lines = readme
        .lines()
        .skip_while(|line| !(line.starts_with('#') && line.to_lowercase().contains("features")));
    lines.next();
    lines
        .take_while(|line| !line.starts_with('#'))
        .filter(|line| line.trim_start().starts_with('|'))
        .skip(2)
        .collect()
}

fn exists(sources: &[Source], name: &str) -> bool {
    let file = |source: &Source| source.path == name || source.path.ends_with(&format!("/{name}"));
    if name.contains('.') || name.contains('/') {
        let folder = format!("{}/", name.trim_end_matches('/'));
        return sources.iter().any(|source| file(source) || source.path.starts_with(&folder));
    }
    let function = name.rsplit("::").next().unwrap_or(name);
    let definition = format!("fn {function}(");
    let case = format!("name: {function}");
    sources.iter().any(|source| source.text.contains(&definition) || source.text.contains(&case))
}
