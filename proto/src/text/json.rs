//! JSON as protobuf's lenient reader takes it: single quotes, bare keys, trailing commas and raw
//! line breaks in strings are fine; comments, leading zeros and a second value are not.

use super::diagnostic::Sink;
use super::tree::{DEPTH_MAX, Data, Entry, NODES_MAX, Node, Place};

/// The file's one object; `None` after an error.
pub(super) fn parse(source: &str, sink: &mut Sink) -> Option<Node> {
    let mut reader = Reader { rest: source, place: Place { line: 1, column: 1 }, nodes: 0 };
    match reader.document() {
        Ok(node) => Some(node),
        Err((place, message)) => {
            sink.error(place, "", &format!("not valid JSON: {message}"), None);
            None
        }
    }
}

type Failure = (Place, String);

struct Reader<'s> {
    rest: &'s str,
    place: Place,
    nodes: usize,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Node, Failure> {
        match self.peek() {
            None => return self.fail("the file is empty"),
            Some('{') => {}
            Some(_) => return self.fail("the file must hold an object"),
        }
        let node = self.value(0)?;
        match self.peek() {
            None => Ok(node),
            Some(_) => self.fail("more text after the end of the object"),
        }
    }

    fn fail<T>(&self, message: &str) -> Result<T, Failure> {
        Err((self.place, message.to_owned()))
    }

    /// The next character that is no white space; it is not consumed.
    fn peek(&mut self) -> Option<char> {
        while let Some(' ' | '\t' | '\n' | '\r') = self.rest.chars().next() {
            self.bump();
        }
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.place = Place { line: self.place.line + 1, column: 1 };
        } else {
            self.place.column += 1;
        }
        Some(c)
    }

    fn eat(&mut self, expected: char) -> bool {
        let there = self.peek() == Some(expected);
        if there {
            self.bump();
        }
        there
    }

    fn value(&mut self, depth: usize) -> Result<Node, Failure> {
        let next = self.peek();
        let place = self.place;
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return self.fail(&format!("more than {NODES_MAX} values"));
        }
        if depth >= DEPTH_MAX && matches!(next, Some('{' | '[')) {
            return self.fail(&format!("nested deeper than {DEPTH_MAX}"));
        }
        let data = match next {
            Some('{') => self.object(depth)?,
            Some('[') => self.array(depth)?,
            Some('"' | '\'') => Data::Text(self.string()?),
            Some('-' | '0'..='9') => Data::Number(self.number()?),
            Some(c) if c.is_ascii_alphabetic() => match self.word().as_str() {
                "true" => Data::Bool(true),
                "false" => Data::Bool(false),
                "null" => Data::Null,
                word => return Err((place, format!("unexpected '{word}'"))),
            },
            Some(c) => return self.fail(&format!("unexpected '{}'", c.escape_default())),
            None => return self.fail("the text ends too early"),
        };
        Ok(Node { place, data })
    }

    fn object(&mut self, depth: usize) -> Result<Data, Failure> {
        self.bump();
        let mut entries = Vec::new();
        while !self.eat('}') {
            let next = self.peek();
            let place = self.place;
            let key = match next {
                Some('"' | '\'') => self.string()?,
                _ => self.bare_key()?,
            };
            if !self.eat(':') {
                return self.fail("expected ':'");
            }
            let value = self.value(depth + 1)?;
            entries.push(Entry { key, place, value });
            if !self.eat(',') && self.peek() != Some('}') {
                return self.fail("expected ',' or '}'");
            }
        }
        Ok(Data::Map(entries))
    }

    fn array(&mut self, depth: usize) -> Result<Data, Failure> {
        self.bump();
        let mut items = Vec::new();
        while !self.eat(']') {
            items.push(self.value(depth + 1)?);
            if !self.eat(',') && self.peek() != Some(']') {
                return self.fail("expected ',' or ']'");
            }
        }
        Ok(Data::List(items))
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.rest.chars().next() {
            if !(c.is_ascii_alphanumeric() || matches!(c, '_' | '$')) {
                break;
            }
            word.push(c);
            self.bump();
        }
        word
    }

    fn bare_key(&mut self) -> Result<String, Failure> {
        let place = self.place;
        let word = self.word();
        let reserved = matches!(word.as_str(), "" | "null" | "true" | "false");
        if reserved || word.starts_with(|c: char| c.is_ascii_digit()) {
            return Err((place, "expected a key".to_owned()));
        }
        Ok(word)
    }

    fn string(&mut self) -> Result<String, Failure> {
        let quote = self.bump();
        let mut text = String::new();
        loop {
            let place = self.place;
            match self.bump() {
                None => return Err((place, "the text ends inside a string".to_owned())),
                c if c == quote => return Ok(text),
                Some('\\') => text.push(self.escape(place)?),
                Some(c) => text.push(c),
            }
        }
    }

    fn escape(&mut self, place: Place) -> Result<char, Failure> {
        let c = match self.bump() {
            Some('b') => '\x08',
            Some('f') => '\x0c',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(c @ ('"' | '\'' | '\\' | '/')) => c,
            Some('u') => return self.unicode(place),
            _ => return Err((place, "unknown escape".to_owned())),
        };
        Ok(c)
    }

    /// The character after `\u`; two escapes if it needs a surrogate pair.
    fn unicode(&mut self, place: Place) -> Result<char, Failure> {
        let first = self.four_digits(place)?;
        let mut units = vec![first];
        if (0xd800..0xdc00).contains(&first) && self.rest.starts_with("\\u") {
            self.bump();
            self.bump();
            units.push(self.four_digits(place)?);
        }
        match char::decode_utf16(units).next() {
            Some(Ok(c)) => Ok(c),
            _ => Err((place, "half of a surrogate pair".to_owned())),
        }
    }

    fn four_digits(&mut self, place: Place) -> Result<u16, Failure> {
        let mut value = 0_u32;
        for _ in 0..4 {
            let digit = self.bump().and_then(|c| c.to_digit(16));
            let Some(digit) = digit else { return Err((place, "bad \\u escape".to_owned())) };
            value = value << 4 | digit;
        }
        Ok(value as u16)
    }

    /// A number by JSON's grammar.
    fn number(&mut self) -> Result<String, Failure> {
        let place = self.place;
        let mut text = String::new();
        while let Some(c) = self.rest.chars().next() {
            if !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')) {
                break;
            }
            text.push(c);
            self.bump();
        }
        if is_number(&text) { Ok(text) } else { Err((place, format!("'{text}' is not a number"))) }
    }
}

fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}
