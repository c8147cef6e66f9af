//! Path templates (`envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig`):
//! `/v1/*/books`, `/files/**`, `/{shop}/{rest=**}`, `/*.png`.
//!
//! `*` stands for one segment, `**` for any number of them, none included; a variable for `*` or
//! for the template after its `=`. Nobody captures what variables held, so that all becomes one
//! regular expression over the path without its query.

use super::error::Reason;
use crate::base::pattern::Re2;

/// Most variables of a template.
const VARIABLES_MAX: usize = 5;

/// Longest name of a variable.
const NAME_BYTES_MAX: usize = 16;

/// Reads a template.
///
/// # Errors
/// If it is none by Envoy's rules.
pub fn parse(template: &str) -> Result<Re2, Reason> {
    let refused = |must: &str| Reason::Invalid {
        got: format!("{template:?}"),
        must: format!("a path template: {must}"),
    };
    let mut reader = Reader { rest: template, ..Reader::default() };
    reader.read().map_err(refused)?;
    Re2::new(&reader.pattern).map_err(|error| refused(&error))
}

/// What is left of a template, and what it means so far.
#[derive(Default)]
struct Reader<'t> {
    rest: &'t str,
    pattern: String,
    names: Vec<&'t str>,
    /// A `**` was read, after which there may be no other wildcard.
    open: bool,
}

impl<'t> Reader<'t> {
    fn read(&mut self) -> Result<(), &'static str> {
        if !self.rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("visible ASCII characters only");
        }
        if !self.take("/") {
            return Err("it begins with '/'");
        }
        self.pattern.push('/');
        while !self.rest.is_empty() {
            self.segment()?;
            if self.take("/") {
                self.pattern.push('/');
            } else if !self.rest.is_empty() {
                let suffix = std::mem::take(&mut self.rest);
                return self.literal(suffix);
            }
        }
        Ok(())
    }

    fn segment(&mut self) -> Result<(), &'static str> {
        if self.wildcard()? {
            return Ok(());
        }
        if self.take("{") {
            let (variable, rest) = self.rest.split_once('}').ok_or("'{' has its '}'")?;
            self.rest = rest;
            return self.variable(variable);
        }
        let (literal, rest) = self.rest.split_at(self.rest.find('/').unwrap_or(self.rest.len()));
        self.rest = rest;
        self.literal(literal)
    }

    /// `name`, or `name=` and a template of its own.
    fn variable(&mut self, text: &'t str) -> Result<(), &'static str> {
        let (name, inside) = text.split_once('=').map_or((text, "*"), |(n, inside)| (n, inside));
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err("the name of a variable is a letter, then letters, digits and '_'");
        }
        if name.len() > NAME_BYTES_MAX {
            return Err("the name of a variable has at most 16 characters");
        }
        if self.names.contains(&name) {
            return Err("each variable has a name of its own");
        }
        if self.names.len() == VARIABLES_MAX {
            return Err("it has at most 5 variables");
        }
        self.names.push(name);
        let mut inner = Reader { rest: inside, open: self.open, ..Reader::default() };
        loop {
            if !inner.wildcard()? {
                let end = inner.rest.find('/').unwrap_or(inner.rest.len());
                let (literal, rest) = inner.rest.split_at(end);
                inner.rest = rest;
                inner.literal(literal)?;
            }
            if inner.rest.is_empty() {
                break;
            }
            if !inner.take("/") {
                return Err("a wildcard inside of a variable is a segment of its own");
            }
            inner.pattern.push('/');
        }
        self.open = inner.open;
        self.pattern += &inner.pattern;
        Ok(())
    }

    /// Whether it goes on with `*` or `**`.
    fn wildcard(&mut self) -> Result<bool, &'static str> {
        let (text, of_segment) = match () {
            () if self.take("**") => ("[a-zA-Z0-9._~%!$&'()*+,;=:@/-]*", false),
            () if self.take("*") => ("[a-zA-Z0-9._~%!$&'()*+,;=:@-]+", true),
            () => return Ok(false),
        };
        if self.open {
            return Err("no wildcard follows '**'");
        }
        self.open = !of_segment;
        self.pattern += text;
        Ok(true)
    }

    fn literal(&mut self, text: &str) -> Result<(), &'static str> {
        let may = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;=:@".contains(&byte);
        if text.is_empty() || !text.bytes().all(may) {
            return Err("between wildcards and '/' stand letters, digits and -._~%!$&'()+,;=:@");
        }
        for c in text.chars() {
            if "$().+".contains(c) {
                self.pattern.push('\\');
            }
            self.pattern.push(c);
        }
        Ok(())
    }

    fn take(&mut self, start: &str) -> bool {
        let rest = self.rest.strip_prefix(start);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_holds_what_envoys_holds() {
        for (template, path, holds) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/", false),
            ("/a/*", "/a/b/c", false),
            ("/a/*/", "/a/b/", true),
            ("/a/**", "/a/", true),
            ("/a/**", "/a", false),
            ("/a/**", "/a/b/c", true),
            ("/**/c", "/a/b/c", true),
            ("/**/c", "//c", true),
            ("/**/c", "/c", false),
            ("/*.png", "/x.png", true),
            ("/*.png", "/xypng", false),
            ("/**.png", "/a/b.png", true),
            ("/{a}/{b=x/*}/c", "/1/x/2/c", true),
            ("/{a}/{b=x/*}/c", "/1/y/2/c", false),
            ("/{a=**}", "/", true),
            ("/a.b", "/a.b", true),
            ("/a.b", "/axb", false),
            ("/a(b)$+", "/a(b)$+", true),
            ("/a=", "/a=", true),
            ("/*", "/a=b", true),
            ("/*", "/a\"b", false),
            ("/*", "/\u{e4}", false),
            ("/*", "/a-b_c*", true),
            ("/*", "/a-b", true),
        ] {
            let compiled = parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
            assert_eq!(compiled.is_match(path.as_bytes()), holds, "{template} {path}");
        }
    }

    proptest::proptest! {
        /// What the rules let through is a regular expression, and one without a wildcard holds
        /// itself.
        #[test]
        fn a_template_by_the_rules_compiles(template in "/[*{}=/a-c.$()+%_-]{0,12}") {
            let mut reader = Reader { rest: &template, ..Reader::default() };
            if reader.read().is_ok() {
                let compiled = Re2::new(&reader.pattern);
                proptest::prop_assert!(compiled.is_ok(), "{}", reader.pattern);
                let literal = !template.contains(['*', '{']);
                proptest::prop_assert!(!literal || compiled.unwrap().is_match(template.as_bytes()));
            }
        }
    }

    /// Envoy 1.40 refuses each of them.
    #[test]
    fn what_is_no_template_is_refused() {
        for template in REFUSED {
            assert!(parse(template).is_err(), "{template}");
        }
    }

    /// Envoy 1.40 takes them, and then `*` repeats the character before it, as in the regular
    /// expression that it makes of the template. Nobody can mean that.
    #[test]
    fn a_star_inside_of_a_literal_is_refused() {
        for template in ["/a*", "/a*b", "/***", "/**.x*"] {
            assert!(parse(template).is_err(), "{template}");
        }
    }

    const REFUSED: [&str; 25] = [
        "a",
        "//",
        "/a//b",
        "/ä",
        "/a b",
        "/*a/b",
        "/**/*",
        "/**/**",
        "/{a=**}/*",
        "/**/{a}",
        "/{a=**/b/*}",
        "/{",
        "/{a",
        "/{}",
        "/{1a}",
        "/{a-b}",
        "/{a=}",
        "/{a=*b}",
        "/{a=b/}",
        "/{a=/b}",
        "/{a}{b}",
        "/{a}/{a}",
        "/{a2345678901234567}",
        "/{a}/{b}/{c}/{d}/{e}/{f}",
        "/a?b",
    ];
}
