//! The document of a YAML or JSON file, with the place of every node.

use std::collections::HashMap;

use super::DuplicateKeys;
use super::diagnostic::Sink;

/// Most mappings and lists inside each other: protobuf's limit for JSON, and so Envoy's.
pub const DEPTH_MAX: usize = 100;

/// Most nodes of a document, those that aliases repeat included.
pub const NODES_MAX: usize = 1_000_000;

/// Most of them that come from aliases.
pub const ALIASED_NODES_MAX: usize = 100_000;

/// A place in a file; both count from 1, columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) data: Data,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    /// A JSON number as written, or a YAML integer in decimal.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) value: Node,
}

impl Data {
    /// What it is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Line and column just after `text`.
pub(super) fn place_of(text: &[u8]) -> (u32, u32) {
    let text = String::from_utf8_lossy(text);
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// Reports keys that stand twice. In YAML only the last one stays; in JSON protobuf merges them,
/// so they stay.
pub(super) fn check_duplicates(node: &mut Node, keys: DuplicateKeys, json: bool, sink: &mut Sink) {
    match &mut node.data {
        Data::List(items) => {
            for item in items {
                check_duplicates(item, keys, json, sink);
            }
        }
        Data::Map(entries) => {
            let mut seen: HashMap<String, usize> = HashMap::with_capacity(entries.len());
            let mut kept: Vec<Entry> = Vec::with_capacity(entries.len());
            for mut entry in entries.drain(..) {
                check_duplicates(&mut entry.value, keys, json, sink);
                let Some(first) = seen.get(&entry.key).copied() else {
                    seen.insert(entry.key.clone(), kept.len());
                    kept.push(entry);
                    continue;
                };
                let text = format!(
                    "key '{}' already stands at line {}",
                    entry.key, kept[first].place.line
                );
                match keys {
                    DuplicateKeys::Refuse => sink.error(entry.place, "", &text, None),
                    DuplicateKeys::Warn => {
                        let text = format!("{text}; Envoy takes the last one");
                        sink.warning(entry.place, "", &text);
                    }
                }
                if json {
                    kept.push(entry);
                } else {
                    kept[first] = entry;
                }
            }
            *entries = kept;
        }
        _ => {}
    }
}
