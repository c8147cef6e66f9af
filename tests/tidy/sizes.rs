//! Sizes: a file, a function, a line; and each module's opening words.

use crate::none;
use crate::source::{self, Source};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const FUNCTION_LINES_P95: usize = 45;
const LINE_COLUMNS_MAX: usize = 100;
const DOC_LINES_MAX: usize = 30;

#[test]
fn files_are_short() {
    let long = |source: &Source| {
        let lines = source.text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", source.path))
    };
    none(&source::rust().iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn lines_fit() {
    let mut problems = Vec::new();
    for source in source::rust() {
        for (at, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > LINE_COLUMNS_MAX {
                problems.push(format!("{}:{}: {columns} columns", source.path, at + 1));
            }
        }
    }
    none(&problems);
}

#[test]
fn functions_are_short() {
    let mut problems = Vec::new();
    for source in source::rust() {
        for function in functions(&source.text) {
            if function.lines > FUNCTION_LINES_MAX {
                let Function { name, line, lines } = function;
                problems.push(format!("{}:{line}: {name} has {lines} lines", source.path));
            }
        }
    }
    none(&problems);
}

#[test]
fn most_functions_are_far_below_the_limit() {
    let all = source::rust();
    let mut lines: Vec<usize> =
        all.iter().flat_map(|source| functions(&source.text)).map(|one| one.lines).collect();
    lines.sort_unstable();
    let p95 = lines.get(lines.len() * 95 / 100).copied().unwrap_or(0);
    assert!(p95 <= FUNCTION_LINES_P95, "95 of 100 functions have up to {p95} lines");
}

#[test]
fn modules_begin_with_their_purpose() {
    let mut problems = Vec::new();
    for source in source::rust() {
        let doc = source.text.lines().take_while(|line| line.starts_with("//!")).count();
        if doc == 0 {
            problems.push(format!("{}: does not begin with //!", source.path));
        } else if doc > DOC_LINES_MAX {
            problems.push(format!("{}: {doc} lines of //!", source.path));
        }
    }
    none(&problems);
}

#[test]
fn the_reader_of_functions_sees_their_ends() {
    let text = "fn a() {}\nfn b(\n    x: u8,\n) -> u8 {\n    x\n}\n\
                trait T {\n    fn c(&self);\n    fn d() {\n    }\n}\n";
    let found: Vec<_> = functions(text).into_iter().map(|one| (one.name, one.lines)).collect();
    let expected = [("a", 1), ("b", 5), ("c", 1), ("d", 2)];
    assert_eq!(found, expected.map(|(name, lines)| (name.to_owned(), lines)));
}

struct Function {
    name: String,
    /// Where it begins, from 1.
    line: usize,
    /// From its signature to its closing brace, both counted.
    lines: usize,
}

/// Finds functions by their indentation, as `rustfmt` leaves it.
fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if let Some(name) = function_name(line) {
            let lines = 1 + end_of(&lines, at) - at;
            found.push(Function { name: name.to_owned(), line: at + 1, lines });
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    if rest.starts_with("pub(") {
        rest = rest.split_once(") ")?.1;
    }
    for word in ["pub ", "default ", "const ", "async ", "unsafe ", "extern \"C\" "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let rest = rest.strip_prefix("fn ")?;
    let end = rest.find(['(', '<'])?;
    Some(&rest[..end])
}

/// The line that closes the function which begins at `from`.
fn end_of(lines: &[&str], from: usize) -> usize {
    let indent = indent(lines[from]);
    let mut in_body = false;
    for (at, line) in lines.iter().enumerate().skip(from) {
        if line.trim().is_empty() || self::indent(line) != indent {
            continue;
        }
        let end = line.trim_end();
        match (in_body, end.ends_with('{')) {
            (false, true) => in_body = true,
            (false, false) if end.ends_with(';') || end.ends_with('}') => return at,
            (true, _) if end.trim_start().starts_with('}') => return at,
            _ => {}
        }
    }
    from
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}
