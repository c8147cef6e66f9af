//! RE2's syntax → the `regex` crate's.
//!
//! The two agree on most expressions. Where one text means different things to them, it is
//! rewritten to mean what RE2 says (<https://github.com/google/re2/wiki/Syntax>); where only the
//! `regex` crate accepts it, it is refused, so that a configuration never works here and fails in
//! Envoy. The scanner knows no grammar beyond classes, escapes and repetitions.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::CharIndices;

/// RE2's limit on `{n,m}` (`kMaxRepeat`).
const REPEAT_MAX: u32 = 1000;

pub(super) fn translate(source: &str) -> Result<String, String> {
    let chars = source.char_indices().peekable();
    let mut scanner = Scanner { source, chars, out: String::new() };
    // A repetition operator may not follow another one.
    let mut repeated = false;
    let mut counts = Counts::default();
    while let Some((at, c)) = scanner.chars.next() {
        let repetition = match c {
            '*' | '+' | '?' => Some((c.to_string(), 1)),
            '{' => scanner.counted(at)?,
            _ => None,
        };
        if let Some((operator, times)) = repetition {
            if repeated {
                return Err(format!("bad repetition operator: {operator} after another one"));
            }
            counts.repeat(times).map_err(|()| format!("invalid repetition size: {operator}"))?;
            scanner.out.push_str(&operator);
            scanner.keep_if('?');
            repeated = true;
            continue;
        }
        repeated = false;
        counts.step(c);
        match c {
            '\\' => scanner.escape(false)?,
            '[' => scanner.class()?,
            '(' => scanner.group()?,
            '{' | '}' => {
                scanner.out.push('\\');
                scanner.out.push(c);
            }
            other => scanner.out.push(other),
        }
    }
    Ok(scanner.out)
}

/// How often the atoms of the groups around the scanner are repeated: RE2 limits the product of
/// nested counts too.
#[derive(Default)]
struct Counts {
    /// Largest product inside each group that is open.
    open: Vec<u32>,
    /// Largest product inside this group so far.
    group: u32,
    /// Product inside the atom before the scanner.
    atom: u32,
}

impl Counts {
    fn step(&mut self, c: char) {
        self.atom = 1;
        match c {
            '(' => {
                self.open.push(self.group);
                self.group = 1;
            }
            ')' => {
                self.atom = self.group.max(1);
                self.group = self.open.pop().unwrap_or(1).max(self.atom);
            }
            _ => self.group = self.group.max(1),
        }
    }

    fn repeat(&mut self, times: u32) -> Result<(), ()> {
        let product = self.atom.max(1).saturating_mul(times.max(1));
        self.group = self.group.max(product);
        if product > REPEAT_MAX { Err(()) } else { Ok(()) }
    }
}

struct Scanner<'s> {
    source: &'s str,
    chars: Peekable<CharIndices<'s>>,
    out: String,
}

impl Scanner<'_> {
    fn keep_if(&mut self, want: char) -> bool {
        let found = self.chars.next_if(|&(_, c)| c == want).is_some();
        if found {
            self.out.push(want);
        }
        found
    }

    fn skip(&mut self, bytes: usize) {
        let Some(&(start, _)) = self.chars.peek() else { return };
        while self.chars.next_if(|&(at, _)| at < start + bytes).is_some() {}
    }

    /// `{n}`, `{n,}` or `{n,m}` at `at`; anything else is a literal brace in RE2.
    fn counted(&mut self, at: usize) -> Result<Option<(String, u32)>, String> {
        let rest = &self.source[at + 1..];
        let Some(end) = rest.find('}') else { return Ok(None) };
        let inside = &rest[..end];
        let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
        let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if low.is_empty() || !is_number(low) || !is_number(high) {
            return Ok(None);
        }
        let mut times = 0;
        for bound in [low, high].into_iter().filter(|text| !text.is_empty()) {
            let bound = bound.parse::<u32>().ok().filter(|n| *n <= REPEAT_MAX);
            let bound = bound.ok_or_else(|| format!("invalid repetition size: {{{inside}}}"))?;
            times = times.max(bound);
        }
        self.skip(end + 1);
        Ok(Some((format!("{{{inside}}}"), times)))
    }

    /// After `(`: flags that only the `regex` crate knows are refused.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if !self.keep_if('?') {
            return Ok(());
        }
        let rest = self.chars.peek().map_or("", |&(at, _)| &self.source[at..]);
        let named = rest.starts_with("P<") || rest.starts_with('<');
        if named {
            return Ok(());
        }
        let flags = rest.find([':', ')']).map_or(rest, |end| &rest[..end]);
        if flags.chars().any(|c| !"imsU-".contains(c)) {
            return Err(format!("invalid perl operator: (?{flags}"));
        }
        Ok(())
    }

    /// After `\`.
    fn escape(&mut self, in_class: bool) -> Result<(), String> {
        let Some((at, c)) = self.chars.next() else {
            return Err("trailing backslash at end of regexp".into());
        };
        let perl = |inside: &str, negated: bool| match (negated, in_class) {
            (false, true) => inside.to_owned(),
            (false, false) => format!("[{inside}]"),
            (true, _) => format!("[^{inside}]"),
        };
        const DIGIT: &str = "0-9";
        const SPACE: &str = r"\t\n\f\r ";
        const WORD: &str = "0-9A-Za-z_";
        match c {
            'd' | 'D' => self.out.push_str(&perl(DIGIT, c == 'D')),
            's' | 'S' => self.out.push_str(&perl(SPACE, c == 'S')),
            'w' | 'W' => self.out.push_str(&perl(WORD, c == 'W')),
            'b' | 'B' if !in_class => write!(self.out, "(?-u:\\{c})").map_err(|e| e.to_string())?,
            'C' if !in_class => self.out.push_str("(?s-u:.)"),
            'Q' => self.quoted(),
            '0'..='7' => self.octal(at, c)?,
            'A' | 'z' if !in_class => {
                self.out.push('\\');
                self.out.push(c);
            }
            'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'x' | 'p' | 'P' => {
                self.out.push('\\');
                self.out.push(c);
                // The braces of \x{10FFFF} and \p{Greek} are no repetition.
                if matches!(c, 'x' | 'p' | 'P') && self.chars.peek().is_some_and(|p| p.1 == '{') {
                    self.braced();
                }
            }
            c if c.is_ascii_punctuation() => self.literal(c),
            c => return Err(format!("invalid escape sequence: \\{c}")),
        }
        Ok(())
    }

    fn braced(&mut self) {
        for (_, c) in self.chars.by_ref() {
            self.out.push(c);
            if c == '}' {
                break;
            }
        }
    }

    fn literal(&mut self, c: char) {
        if c.is_ascii_punctuation() && !matches!(c, '<' | '>') {
            self.out.push('\\');
        }
        self.out.push(c);
    }

    /// `\Q…\E`: everything between is literal; without `\E` up to the end.
    fn quoted(&mut self) {
        let Some(&(start, _)) = self.chars.peek() else { return };
        let rest = &self.source[start..];
        let (text, skipped) =
            rest.find(r"\E").map_or((rest, rest.len()), |end| (&rest[..end], end + 2));
        for c in text.chars() {
            self.literal(c);
        }
        self.skip(skipped);
    }

    /// `\123` is octal; `\1` alone would be a back reference, which RE2 has not.
    fn octal(&mut self, at: usize, first: char) -> Result<(), String> {
        let digits: String =
            self.source[at..].chars().take(3).take_while(|c| ('0'..='7').contains(c)).collect();
        if first != '0' && digits.len() == 1 {
            return Err(format!("invalid escape sequence: \\{first}"));
        }
        self.skip(digits.len() - 1);
        let code = u32::from_str_radix(&digits, 8).map_err(|error| error.to_string())?;
        write!(self.out, "\\x{{{code:X}}}").map_err(|error| error.to_string())
    }

    /// After `[`: nested brackets and the set operators are literal characters in RE2.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        self.keep_if('^');
        let mut first = true;
        while let Some((at, c)) = self.chars.next() {
            match c {
                ']' if !first => {
                    self.out.push(']');
                    return Ok(());
                }
                '\\' => self.escape(true)?,
                '[' if self.source[at..].starts_with("[:") => self.posix(at)?,
                '[' | ']' | '&' | '~' => {
                    self.out.push('\\');
                    self.out.push(c);
                }
                // `--` is an operator of the `regex` crate.
                '-' if self.out.ends_with('-') => self.out.push_str(r"\-"),
                other => self.out.push(other),
            }
            first = false;
        }
        Err("missing closing ]".into())
    }

    fn posix(&mut self, at: usize) -> Result<(), String> {
        let rest = &self.source[at..];
        let end = rest.find(":]").ok_or("missing closing ]")? + 2;
        self.out.push_str(&rest[..end]);
        self.skip(end - 1);
        Ok(())
    }
}
