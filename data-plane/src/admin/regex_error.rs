//! Regular expressions of query strings, with RE2's words for what is wrong with them.

use regex::Regex;

/// Compiles an expression that is searched for.
pub(super) fn compile(source: &str) -> Result<Regex, String> {
    Regex::new(source).map_err(|error| explain(source, &error.to_string()))
}

fn explain(source: &str, error: &str) -> String {
    let last = error.lines().last().unwrap_or_default();
    let has = |words: &str| last.contains(words);
    if has("unclosed group") {
        format!("missing ): {source}")
    } else if has("unopened group") {
        format!("unexpected ): {source}")
    } else if has("unclosed character class") {
        let from = source.rfind('[').unwrap_or_default();
        format!("missing ]: {}", &source[from..])
    } else if has("repetition operator missing expression") {
        let operator = source.find(['*', '+', '?']).map_or(source, |at| &source[at..=at]);
        format!("no argument for repetition operator: {operator}")
    } else if has("unrecognized escape sequence") {
        let escape = source.find('\\').and_then(|at| source.get(at..at + 2)).unwrap_or(source);
        format!("invalid escape sequence: {escape}")
    } else {
        last.trim_start_matches("error: ").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn errors_read_as_those_of_re2() {
        for (source, text) in [
            ("(", "missing ): ("),
            ("a[", "missing ]: ["),
            ("a)", "unexpected ): a)"),
            ("*", "no argument for repetition operator: *"),
            (r"\q", r"invalid escape sequence: \q"),
        ] {
            assert_eq!(compile(source).unwrap_err(), text);
        }
        assert!(compile("^a|b$").is_ok());
    }
}
