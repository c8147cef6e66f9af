//! JSON text: structure, blanks and escapes, as protobuf's C++ writer has them.

use std::fmt::Write;

use super::Layout;

/// Writes JSON; callers see to it that keys and values alternate.
#[derive(Debug)]
pub(super) struct Printer {
    out: String,
    layout: Layout,
    depth: usize,
    /// Whether the next item is the first of its object or list.
    first: bool,
}

impl Printer {
    pub(super) fn new(layout: Layout) -> Self {
        Self { out: String::new(), layout, depth: 0, first: true }
    }

    /// Opens an object or list.
    pub(super) fn open(&mut self, bracket: char) {
        self.out.push(bracket);
        self.depth += 1;
        self.first = true;
    }

    /// Closes it; an empty one takes no line of its own.
    pub(super) fn close(&mut self, bracket: char) {
        self.depth -= 1;
        if !self.first {
            self.line();
        }
        self.out.push(bracket);
        self.first = false;
    }

    /// Begins an item of a list, or a key.
    pub(super) fn item(&mut self) {
        if !self.first {
            self.out.push(',');
        }
        self.line();
        self.first = false;
    }

    /// Begins an entry of an object.
    pub(super) fn key(&mut self, key: &str) {
        self.item();
        self.text(key);
        self.out.push(':');
        if self.layout == Layout::Pretty {
            self.out.push(' ');
        }
    }

    /// A value that needs no quotes.
    pub(super) fn raw(&mut self, value: &str) {
        self.out.push_str(value);
    }

    /// A text in quotes.
    pub(super) fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\x08' => self.out.push_str("\\b"),
                '\x0c' => self.out.push_str("\\f"),
                // Safe inside HTML and scripts.
                '<' | '>' | '\u{2028}' | '\u{2029}' | '\u{feff}' => self.escape(c),
                c if c.is_control() => self.escape(c),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, c: char) {
        // Writing to a string cannot fail.
        let _ = write!(self.out, "\\u{:04x}", u32::from(c));
    }

    fn line(&mut self) {
        if self.layout == Layout::Pretty {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', self.depth));
        }
    }

    pub(super) fn finish(mut self) -> String {
        if self.layout == Layout::Pretty {
            self.out.push('\n');
        }
        self.out
    }
}
