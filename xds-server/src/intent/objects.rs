//! Objects of a mesh that stand alone, as they come by the API, and their union with a mesh file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fields::{Faults, Fields, items, named, text};
use super::parse::{MESH, ROUTE, check_version};
use super::yaml::{Entry, Fault, Mark, Node, Value};

/// The name of the one object of kind [`Kind::Defaults`].
pub const DEFAULT: &str = "default";

/// The kinds of objects, in the order in which they refer to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What holds unless an object says otherwise.
    Defaults,
    /// Services.
    Services,
    /// Gateways.
    Gateways,
    /// Routes.
    Routes,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Defaults, Self::Services, Self::Gateways, Self::Routes];

    /// Its key in a mesh file.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Defaults => "defaults",
            Self::Services => "services",
            Self::Gateways => "gateways",
            Self::Routes => "routes",
        }
    }

    /// The kind of that key.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.key() == key)
    }
}

/// An object with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What it is.
    pub node: Node,
}

/// The objects of a mesh file that may come by the API: all but `raw`.
///
/// # Errors
/// What is wrong with the file as a whole; the objects are not looked into.
pub fn objects_of(root: &Node) -> Result<Vec<Object>, Vec<Fault>> {
    let mut faults = Faults::default();
    let fields = Fields::new(root, MESH, &mut faults);
    check_version(&fields, &mut faults);
    if let Some(raw) = fields.find("raw") {
        let text = "'raw' names files of the server; it can stand in the server's own file only";
        faults.add(raw.mark, text);
    }
    let mut objects = Vec::new();
    let mut add = |kind, name: &str, node: &Node| {
        objects.push(Object { kind, name: name.to_owned(), node: node.clone() });
    };
    if let Some(node) = fields.find("defaults") {
        add(Kind::Defaults, DEFAULT, node);
    }
    for kind in [Kind::Services, Kind::Gateways] {
        let found = fields.find(kind.key());
        for entry in found.map_or(&[][..], |node| named(node, kind.key(), &mut faults)) {
            add(kind, &entry.key, &entry.value);
        }
    }
    let mut seen = HashMap::new();
    for node in fields.find("routes").map_or(&[][..], |n| items(n, "routes", &mut faults)) {
        let fields = Fields::new(node, ROUTE, &mut faults);
        let name = fields.require("name", &mut faults);
        let Some(name) = name.and_then(|node| text(node, "name", &mut faults)) else { continue };
        if seen.insert(name.to_owned(), node.mark).is_some() {
            faults.add(node.mark, format!("the route '{name}' stands twice"));
        }
        add(Kind::Routes, name, node);
    }
    faults.into_result(objects)
}

/// The texts that a mesh comes from: the file, then the objects.
#[derive(Clone, Debug)]
pub struct Texts(Vec<Arc<PathBuf>>);

impl Texts {
    /// A file and objects.
    #[must_use]
    pub fn new<'a>(file: &Path, objects: impl IntoIterator<Item = &'a Object>) -> Self {
        let named = |object: &Object| format!("api:{}/{}", object.kind.key(), object.name);
        let objects = objects.into_iter().map(|object| Arc::new(named(object).into()));
        Self(std::iter::once(Arc::new(file.to_owned())).chain(objects).collect())
    }

    /// The text that a mark is in.
    #[must_use]
    pub fn of(&self, mark: Mark) -> Arc<PathBuf> {
        let found = self.0.get(mark.text as usize).or_else(|| self.0.first());
        found.cloned().unwrap_or_default()
    }
}

/// The root of a mesh file with the objects put in; their marks are those of the texts after the
/// file, in their order.
///
/// # Errors
/// Names that stand in both.
pub fn merge<'a>(
    mut root: Node,
    objects: impl IntoIterator<Item = &'a Object>,
) -> Result<Node, Vec<Fault>> {
    let Value::Map(top) = &mut root.value else { return Ok(root) };
    let mut faults = Vec::new();
    let written = written(top);
    for (index, object) in objects.into_iter().enumerate() {
        let mut node = object.node.clone();
        node.stamp(u32::try_from(index + 1).unwrap_or(u32::MAX));
        if let Some(first) = written.get(&(object.kind, object.name.clone())) {
            let (kind, name) = (object.kind.key(), &object.name);
            let message = format!("'{name}' of {kind} stands in the mesh file and in the API");
            faults.push(Fault { first: Some(*first), ..Fault::new(node.mark, message) });
            continue;
        }
        put(top, object.kind, &object.name, node);
    }
    if faults.is_empty() { Ok(root) } else { Err(faults) }
}

/// What the file has, by kind and name.
fn written(top: &[Entry]) -> HashMap<(Kind, String), Mark> {
    let mut found = HashMap::new();
    for entry in top.iter().filter(|entry| !entry.value.is_null()) {
        match (Kind::parse(&entry.key), &entry.value.value) {
            (Some(Kind::Defaults), _) => {
                found.insert((Kind::Defaults, DEFAULT.to_owned()), entry.key_mark);
            }
            (Some(kind), Value::Map(entries)) => {
                let named = entries.iter().map(|e| ((kind, e.key.clone()), e.key_mark));
                found.extend(named);
            }
            (Some(Kind::Routes), Value::List(items)) => {
                let named = |item: &Node| {
                    let Value::Map(entries) = &item.value else { return None };
                    let name = entries.iter().find(|e| e.key == "name")?.value.text()?;
                    Some(((Kind::Routes, name.to_owned()), item.mark))
                };
                found.extend(items.iter().filter_map(named));
            }
            _ => {}
        }
    }
    found
}

fn put(top: &mut Vec<Entry>, kind: Kind, name: &str, mut node: Node) {
    let mark = node.mark;
    let entry = |key: &str, value: Node| Entry { key: key.to_owned(), key_mark: mark, value };
    if kind == Kind::Defaults {
        top.retain(|other| other.key != kind.key());
        top.push(entry(kind.key(), node));
        return;
    }
    let of_kind = match top.iter_mut().position(|e| e.key == kind.key() && !e.value.is_null()) {
        Some(at) => &mut top[at].value.value,
        None => {
            let empty = match kind {
                Kind::Routes => Value::List(Vec::new()),
                _ => Value::Map(Vec::new()),
            };
            top.retain(|other| other.key != kind.key());
            top.push(entry(kind.key(), Node { mark, value: empty }));
            let last = top.len() - 1;
            &mut top[last].value.value
        }
    };
    match of_kind {
        Value::List(items) => {
            if let Value::Map(entries) = &mut node.value
                && !entries.iter().any(|e| e.key == "name")
            {
                let value = Value::Scalar { text: name.to_owned(), plain: false };
                entries.push(entry("name", Node { mark, value }));
            }
            items.push(node);
        }
        Value::Map(entries) => entries.push(entry(name, node)),
        // The file's value is of a kind that the reader of the whole will refuse.
        Value::Scalar { .. } => {}
    }
}
