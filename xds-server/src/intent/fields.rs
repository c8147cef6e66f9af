//! Readers of one mapping: known keys, keys that come later, and all others with a suggestion.

use std::collections::BTreeMap;
use std::time::Duration;

use super::suggest;
use super::yaml::{Entry, Fault, Mark, Node, Value};

/// Faults that are reported at once.
pub(super) const FAULTS_MAX: usize = 50;

/// Collects faults, so that one run names them all.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, mark: Mark, message: impl Into<String>) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(Fault::new(mark, message));
        }
    }

    pub(super) fn into_result<T>(mut self, value: T) -> Result<T, Vec<Fault>> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort_by_key(|fault| fault.mark);
        Err(self.0)
    }
}

/// The keys of one kind of object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    /// What the object is, with its article.
    pub(super) object: &'static str,
    /// Keys that are read.
    pub(super) known: &'static [&'static str],
    /// Keys that a later version reads.
    pub(super) later: &'static [&'static str],
}

/// A mapping whose keys have been checked.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    entries: &'a [Entry],
    pub(super) mark: Mark,
    object: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(node: &'a Node, keys: Keys, faults: &mut Faults) -> Self {
        let mark = node.mark;
        let object = keys.object;
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            _ => {
                faults.add(mark, format!("{object} must be a mapping, got {}", node.kind()));
                &[]
            }
        };
        for entry in entries {
            let key = entry.key.as_str();
            if keys.known.contains(&key) {
                continue;
            }
            let message = if keys.later.contains(&key) {
                format!("'{key}' of {object} comes later; this version does not read it")
            } else {
                let known = keys.known.iter().copied();
                format!("{object} has no key '{key}'{}", suggest::hint(key, known))
            };
            faults.add(entry.key_mark, message);
        }
        Self { entries, mark, object }
    }

    /// The value of a key that is there and not null.
    pub(super) fn find(&self, key: &str) -> Option<&'a Node> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (!entry.value.is_null()).then_some(&entry.value)
    }

    pub(super) fn require(&self, key: &str, faults: &mut Faults) -> Option<&'a Node> {
        let found = self.find(key);
        if found.is_none() {
            faults.add(self.mark, format!("{} must have '{key}'", self.object));
        }
        found
    }

    pub(super) fn text(&self, key: &str, faults: &mut Faults) -> Option<&'a str> {
        text(self.find(key)?, key, faults)
    }
}

pub(super) fn text<'a>(node: &'a Node, what: &str, faults: &mut Faults) -> Option<&'a str> {
    let text = node.text();
    if text.is_none() {
        faults.add(node.mark, format!("{what} must be a text, got {}", node.kind()));
    }
    text
}

/// Entries of a mapping whose keys are names.
pub(super) fn named<'a>(node: &'a Node, what: &str, faults: &mut Faults) -> &'a [Entry] {
    match &node.value {
        Value::Map(entries) => entries,
        _ => {
            faults.add(node.mark, format!("{what} must be a mapping, got {}", node.kind()));
            &[]
        }
    }
}

pub(super) fn items<'a>(node: &'a Node, what: &str, faults: &mut Faults) -> &'a [Node] {
    match &node.value {
        Value::List(items) => items,
        _ => {
            faults.add(node.mark, format!("{what} must be a list, got {}", node.kind()));
            &[]
        }
    }
}

/// A mapping of texts to texts.
pub(super) fn texts(node: &Node, what: &str, faults: &mut Faults) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in named(node, what, faults) {
        if let Some(value) = text(&entry.value, &format!("{what}.{}", entry.key), faults) {
            found.insert(entry.key.clone(), value.to_owned());
        }
    }
    found
}

/// `500ms`, `2s`, `1m`, `1h`.
pub(super) fn duration(node: &Node, what: &str, faults: &mut Faults) -> Option<Duration> {
    let written = text(node, what, faults)?;
    let parsed = parse_duration(written);
    if parsed.is_none() {
        let rule = "a number with ms, s, m or h, such as 500ms, and at most a year";
        faults.add(node.mark, format!("{what}: got '{written}'; must be {rule}"));
    }
    parsed
}

/// A duration as it is written: a number with `ms`, `s`, `m` or `h`, at most a year.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    const YEAR_MS: f64 = 365.0 * 24.0 * 3_600_000.0;
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit {
        "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return None,
    };
    let ms = number.parse::<f64>().ok()? * scale;
    (ms <= YEAR_MS).then(|| Duration::from_secs_f64(ms / 1_000.0))
}
