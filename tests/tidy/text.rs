//! Words that must not stand in the tree: unfinished code, skipped tests without a reason,
//! names that say nothing, and places of one machine.

use regex::Regex;

use crate::none;
use crate::source::{self, Source};

const SAYS_NOTHING: [&str; 5] = ["util.rs", "common.rs", "helpers.rs", "types.rs", "misc.rs"];

#[test]
fn file_names_say_what_is_inside() {
    let named = |source: &Source| SAYS_NOTHING.contains(&source.file_name());
    let found: Vec<_> =
        source::rust().iter().filter(|one| named(one)).map(|one| one.path.clone()).collect();
    none(&found);
}

#[test]
fn nothing_is_left_unfinished() {
    let unfinished = Regex::new(r"\b(todo|unimplemented|dbg)!\(").expect("a valid pattern");
    none(&in_code(&unfinished));
}

#[test]
fn every_skipped_test_says_why() {
    let bare = Regex::new(r#"#\[ignore\s*(\]|=\s*"")"#).expect("a valid pattern");
    none(&in_code(&bare));
}

#[test]
fn todos_name_an_issue() {
    let pattern = concat!(r"\b(TODO\b([^(]|\([^#]|$)|FIX", r"ME\b|XX", r"X\b)");
    let nameless = Regex::new(pattern).expect("a valid pattern");
    let mut problems = Vec::new();
    for source in source::rust().iter().filter(|source| !source.path.starts_with("tests/tidy/")) {
        for (at, line) in source.text.lines().enumerate() {
            if line.contains("//") && nameless.is_match(line) {
                problems.push(format!("{}:{}: {}", source.path, at + 1, line.trim()));
            }
        }
    }
    none(&problems);
}

#[test]
fn no_place_of_a_machine_is_named() {
    let places = [
        concat!(r"/wo", r"rk/(wt|tgt|main|shared|bin|probe)\b"),
        concat!(r"/ro", r"ot/\.[a-z]"),
        concat!(r"/ho", r"me/[a-z]+/"),
        concat!(r"index\.crates", r"\.io"),
        concat!(r"static\.crates", r"\.io"),
        concat!(r"py", r"pi\.org"),
        concat!(r"pythonhosted", r"\.org"),
        concat!(r"proxy\.golang", r"\.org"),
        concat!(r"registry\.npm", r"js"),
    ];
    let place = Regex::new(&places.join("|")).expect("a valid pattern");
    let mut problems = Vec::new();
    for source in source::all().iter().filter(|source| source.path != "Cargo.lock") {
        for (at, line) in source.text.lines().enumerate().filter(|(_, line)| place.is_match(line)) {
            problems.push(format!("{}:{}: {}", source.path, at + 1, line.trim()));
        }
    }
    none(&problems);
}

#[test]
fn known_differences_and_skips_have_reasons() {
    let entry = Regex::new(r#"(?m)^\s*[^#=\n]+=\s*"\s*"\s*$"#).expect("a valid pattern");
    let mut problems = Vec::new();
    for source in source::all() {
        let list = matches!(source.file_name(), "known.toml" | "skips.toml");
        if list && entry.is_match(&source.text) {
            problems.push(format!("{}: an entry without a reason", source.path));
        }
    }
    none(&problems);
}

fn in_code(pattern: &Regex) -> Vec<String> {
    let mut problems = Vec::new();
    for source in source::rust().iter().filter(|source| !source.path.starts_with("tests/tidy/")) {
        for (at, line) in source.code().filter(|(_, line)| pattern.is_match(line)) {
            problems.push(format!("{}:{at}: {}", source.path, line.trim()));
        }
    }
    problems
}
