//! YAML (and so JSON) with the place of every value, for files that operators write.
//!
//! Stricter than YAML allows, since these files are ours: one document, no tags, no key twice, no
//! key that is not a text. Anchors and aliases work within bounds on depth and total size, so a
//! small file cannot become a large one in memory.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, options};

/// Deepest nesting.
pub const DEPTH_MAX: usize = 64;
/// Most values in one file, those that aliases repeat included.
pub const VALUES_MAX: usize = 500_000;

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Which text it is in, where a mesh comes from several: 0 is the file.
    pub text: u32,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub mark: Mark,
    /// What, as a sentence without a full stop.
    pub message: String,
    /// The other place, where it is about two.
    pub first: Option<Mark>,
}

impl Fault {
    /// A fault at that place.
    pub fn new(mark: Mark, message: impl Into<String>) -> Self {
        Self { mark, message: message.into(), first: None }
    }
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub mark: Mark,
    /// What it is.
    pub value: Value,
}

/// The kinds of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order in which it was written.
    Map(Vec<Entry>),
    /// Anything else; only a plain one can be a number, a truth value or null.
    Scalar {
        /// Its text.
        text: String,
        /// Whether it was written without quotes.
        plain: bool,
    },
}

/// One entry of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Where the key begins.
    pub key_mark: Mark,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// What to call it in a text to people.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Scalar { .. } if self.is_null() => "nothing",
            Value::Scalar { .. } => "a value",
        }
    }

    /// Whether it is null or was left out.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Says of all of it which text it is in.
    pub fn stamp(&mut self, text: u32) {
        self.mark.text = text;
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.stamp(text)),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| {
                entry.key_mark.text = text;
                entry.value.stamp(text);
            }),
            Value::Scalar { .. } => {}
        }
    }

    /// The text of a scalar that is not null.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// The same value as JSON. Plain scalars become numbers, truth values and null as in YAML's
    /// core schema.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => serde_json::Value::Object(
                entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect(),
            ),
            Value::Scalar { .. } if self.is_null() => serde_json::Value::Null,
            Value::Scalar { text, plain: false } => text.as_str().into(),
            Value::Scalar { text, plain: true } => plain_json(text),
        }
    }
}

fn plain_json(text: &str) -> serde_json::Value {
    match text {
        "true" | "True" | "TRUE" => return true.into(),
        "false" | "False" | "FALSE" => return false.into(),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    if let Ok(number) = text.parse::<u64>() {
        return number.into();
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    match text.parse::<f64>().ok().filter(|_| numeric).and_then(serde_json::Number::from_f64) {
        Some(number) => serde_json::Value::Number(number),
        None => text.into(),
    }
}

/// Reads one document. An empty one is null.
///
/// # Errors
/// The first place that is not YAML, or not YAML as this module wants it.
pub fn read(text: &str) -> Result<Node, Fault> {
    let options = options! { emit_comments: false, block_nesting_limit: DEPTH_MAX,
    flow_nesting_limit: DEPTH_MAX };
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        values: 0,
    };
    reader.document()
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    values: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        loop {
            let Some(next) = self.parser.next_event() else {
                return Ok((Event::StreamEnd, Span::default()));
            };
            match next {
                Ok((Event::Comment(..), _)) => {}
                Ok(event) => return Ok(event),
                Err(error) => {
                    let at = error.marker();
                    let mark = Mark { text: 0, line: at.line(), column: at.col() + 1 };
                    return Err(Fault::new(mark, format!("not valid YAML: {}", error.info())));
                }
            }
        }
    }

    fn document(&mut self) -> Result<Node, Fault> {
        let null = Node {
            mark: Mark { text: 0, line: 1, column: 1 },
            value: Value::Scalar { text: String::new(), plain: true },
        };
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Fault::new(mark(&span), "a second document; one file is one"));
                }
                Event::DocumentStart(..) => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, &span, 0)?);
                }
                _ => return Ok(root.unwrap_or(null)),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, Fault> {
        let at = mark(span);
        self.spend(1, at)?;
        if depth > DEPTH_MAX {
            return Err(Fault::new(at, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        if event.tag().is_some() {
            return Err(Fault::new(at, "tags (`!…`) are not used here"));
        }
        let anchor = event.anchor_id();
        let value = match event {
            Event::Scalar(text, style, ..) => {
                Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            Event::Alias(id) => {
                let Some(target) = self.anchors.get(&id).cloned() else {
                    return Err(Fault::new(at, "an alias of a value that contains it"));
                };
                self.spend(weight(&target), at)?;
                return Ok(target);
            }
            _ => return Err(Fault::new(at, "a value is missing")),
        };
        let node = Node { mark: at, value };
        if let Some(id) = anchor {
            self.spend(weight(&node), at)?;
            self.anchors.insert(id, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::List(items));
            }
            items.push(self.node(event, &span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen: HashMap<String, Mark> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Value::Map(entries));
            }
            let key_mark = mark(&span);
            let Event::Scalar(key, ..) = event else {
                return Err(Fault::new(key_mark, "a key must be a text"));
            };
            let key = key.into_owned();
            if let Some(first) = seen.insert(key.clone(), key_mark) {
                let Mark { line, column, .. } = first;
                let message = format!("the key '{key}' stands twice; first at {line}:{column}");
                return Err(Fault::new(key_mark, message));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, &span, depth + 1)?;
            entries.push(Entry { key, key_mark, value });
        }
    }

    fn spend(&mut self, values: usize, at: Mark) -> Result<(), Fault> {
        self.values += values;
        if self.values > VALUES_MAX {
            return Err(Fault::new(at, format!("more than {VALUES_MAX} values")));
        }
        Ok(())
    }
}

fn weight(node: &Node) -> usize {
    match &node.value {
        Value::Scalar { .. } => 1,
        Value::List(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|e| weight(&e.value)).sum::<usize>(),
    }
}

fn mark(span: &Span) -> Mark {
    Mark { text: 0, line: span.start.line(), column: span.start.col() + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        let fault = read(text).expect_err("is refused");
        format!("{}:{}: {}", fault.mark.line, fault.mark.column, fault.message)
    }

    #[test]
    fn values_know_their_place() {
        let root = read("a:\n  - b: 1\n    c: \"2\"\n").unwrap();
        let Value::Map(entries) = &root.value else { panic!("{root:?}") };
        let Value::List(items) = &entries[0].value.value else { panic!("{root:?}") };
        let Value::Map(inner) = &items[0].value else { panic!("{root:?}") };
        assert_eq!(inner[1].key_mark, Mark { text: 0, line: 3, column: 5 });
        assert_eq!(inner[1].value.mark, Mark { text: 0, line: 3, column: 8 });
        let json = serde_json::json!({"a": [{"b": 1, "c": "2"}]});
        assert_eq!(root.to_json(), json);
    }

    #[test]
    fn key_twice_is_refused_with_both_places() {
        assert_eq!(fault("a: 1\nb: 2\na: 3\n"), "3:1: the key 'a' stands twice; first at 1:1");
    }

    #[test]
    fn alias_works_and_a_bomb_does_not() {
        assert_eq!(
            read("a: &x [1]\nb: *x\n").unwrap().to_json(),
            serde_json::json!({"a": [1], "b": [1]})
        );
        let mut bomb = String::from("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n");
        for n in 1..30 {
            let p = n - 1;
            bomb += &format!("a{n}: &a{n} [*a{p},*a{p},*a{p},*a{p},*a{p},*a{p},*a{p}]\n");
        }
        assert!(fault(&bomb).contains("values"));
    }

    #[test]
    fn odd_yaml_is_refused_with_its_place() {
        assert!(fault("a: 1\n\tb: 2\n").contains("tab"));
        assert_eq!(fault("a: 1\n---\nb: 1\n"), "2:1: a second document; one file is one");
        assert!(fault("a: !x 1\n").contains("tags"));
        assert!(fault("[a, b]: 1\n").contains("key must be a text"));
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        assert!(fault(&deep).contains("recursion"), "{}", fault(&deep));
    }

    #[test]
    fn empty_document_is_null() {
        assert!(read("").unwrap().is_null());
        assert!(read("# nothing\n").unwrap().is_null());
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        let json = read("[1, -2, 1.5, true, null, ~, 1.2.3, 0s, nan, '1']").unwrap().to_json();
        let want = serde_json::json!([1, -2, 1.5, true, null, null, "1.2.3", "0s", "nan", "1"]);
        assert_eq!(json, want);
    }
}
