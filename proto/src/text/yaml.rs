//! YAML events to [`Node`]s, by yaml-cpp's rules where those of YAML 1.2 differ.
//!
//! Where yaml-cpp takes what is no YAML (a quote that is never closed, a key without a colon, a
//! lone `-` in braces), this reader refuses it. Only the first document counts. Aliases are copies
//! of what they name, bounded by [`ALIASED_NODES_MAX`]; merge keys have no meaning; entries whose
//! key is tagged `!ignore` are dropped.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StructureStyle, Tag};

use super::diagnostic::Sink;
use super::scalar;
use super::tree::{ALIASED_NODES_MAX, DEPTH_MAX, Data, Entry, NODES_MAX, Node, Place};

/// The first document; `None` after an error.
pub(super) fn parse(source: &str, sink: &mut Sink) -> Option<Node> {
    let mut builder = Builder { lines: source.lines().collect(), ..Builder::default() };
    for event in Parser::new_from_str(source) {
        let result = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => Err(syntax(&error)),
        };
        if let Err((place, message)) = result {
            sink.error(place, "", &message, None);
            return None;
        }
        if builder.done {
            break;
        }
    }
    // Envoy has no use for a document without a mapping or list in it.
    match builder.root {
        Some(root) if matches!(root.node.data, Data::Map(_)) => Some(root.node),
        Some(root) => {
            let message = format!("the file holds {}, not a mapping", root.node.data.kind());
            sink.error(root.node.place, "", &message, None);
            None
        }
        None => {
            sink.error(Place { line: 1, column: 1 }, "", "the file is empty", None);
            None
        }
    }
}

type Failure = (Place, String);

fn syntax(error: &ScanError) -> Failure {
    (place(error.marker()), format!("not valid YAML: {}", error.info()))
}

fn place(marker: &Marker) -> Place {
    Place {
        line: u32::try_from(marker.line()).unwrap_or(u32::MAX),
        column: u32::try_from(marker.col() + 1).unwrap_or(u32::MAX),
    }
}

/// A finished node with its size, for the limits.
#[derive(Clone, Debug)]
struct Sized {
    node: Node,
    nodes: usize,
    depth: usize,
    /// As a map key: its text if it is a scalar, and whether its entry is to be dropped.
    key: Key,
}

#[derive(Clone, Debug)]
enum Key {
    Text(String),
    Ignored,
    Unfit,
}

/// A list or mapping that is not finished.
#[derive(Debug)]
struct Open {
    place: Place,
    anchor: usize,
    ignored: bool,
    nodes: usize,
    depth: usize,
    content: Content,
}

#[derive(Debug)]
enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(Key, Place)>, block: bool },
}

#[derive(Debug, Default)]
struct Builder<'s> {
    lines: Vec<&'s str>,
    stack: Vec<Open>,
    anchors: HashMap<usize, Sized>,
    root: Option<Sized>,
    copied: usize,
    done: bool,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Failure> {
        let at = place(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = scalar_node(at, text, style, tag.as_deref());
                self.add(scalar, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(at, anchor, tag.as_deref(), Content::List(Vec::new()))
            }
            Event::MappingStart(style, anchor, tag) => {
                let block = style == StructureStyle::Block;
                let content = Content::Map { entries: Vec::new(), key: None, block };
                self.open(at, anchor, tag.as_deref(), content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let Some(mut copy) = self.anchors.get(&anchor).cloned() else {
                    return Err((at, "an alias of something it is part of".to_owned()));
                };
                self.copied += copy.nodes;
                if self.copied > ALIASED_NODES_MAX {
                    let text = format!("aliases repeat more than {ALIASED_NODES_MAX} values");
                    return Err((at, text));
                }
                copy.node.place = at;
                self.add(copy, 0)
            }
            Event::DocumentEnd => {
                self.done = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn open(
        &mut self,
        place: Place,
        anchor: usize,
        tag: Option<&Tag>,
        content: Content,
    ) -> Result<(), Failure> {
        if self.stack.len() >= DEPTH_MAX {
            return Err((place, format!("nested deeper than {DEPTH_MAX}")));
        }
        let ignored = tag.is_some_and(is_ignore);
        self.stack.push(Open { place, anchor, ignored, nodes: 1, depth: 1, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failure> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let data = match open.content {
            Content::List(items) => Data::List(items),
            Content::Map { entries, .. } => Data::Map(entries),
        };
        let node = Node { place: open.place, data };
        let key = if open.ignored { Key::Ignored } else { Key::Unfit };
        self.add(Sized { node, nodes: open.nodes, depth: open.depth, key }, open.anchor)
    }

    fn add(&mut self, value: Sized, anchor: usize) -> Result<(), Failure> {
        let place = value.node.place;
        if anchor != 0 {
            // The copy for later aliases counts as well.
            self.copied += value.nodes;
            if self.copied > ALIASED_NODES_MAX {
                let text = format!("anchors hold more than {ALIASED_NODES_MAX} values");
                return Err((place, text));
            }
            self.anchors.insert(anchor, value.clone());
        }
        let depth = self.stack.len() + value.depth;
        if depth > DEPTH_MAX {
            return Err((place, format!("nested deeper than {DEPTH_MAX}")));
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(value);
            return Ok(());
        };
        open.nodes += value.nodes;
        open.depth = open.depth.max(value.depth + 1);
        if open.nodes > NODES_MAX {
            return Err((place, format!("more than {NODES_MAX} values")));
        }
        match &mut open.content {
            Content::List(items) => items.push(value.node),
            Content::Map { key: slot @ None, block, .. } => {
                if *block && tab_before(&self.lines, place) {
                    return Err((place, "a tab cannot indent a key; use blanks".to_owned()));
                }
                if matches!(value.key, Key::Unfit) {
                    return Err((place, "a key must be a text, not a list or mapping".to_owned()));
                }
                *slot = Some((value.key, place));
            }
            Content::Map { entries, key, .. } => {
                // An ignored key takes its value with it.
                if let Some((Key::Text(key), place)) = key.take() {
                    entries.push(Entry { key, place, value: value.node });
                }
            }
        }
        Ok(())
    }
}

/// Whether only white space stands before `place` on its line, and a tab in it.
fn tab_before(lines: &[&str], place: Place) -> bool {
    let line = lines.get((place.line as usize).wrapping_sub(1)).copied().unwrap_or_default();
    let mut before = line.chars().take((place.column as usize).saturating_sub(1));
    let mut tab = false;
    before.all(|c| {
        tab |= c == '\t';
        c.is_whitespace()
    }) && tab
}

fn is_ignore(tag: &Tag) -> bool {
    tag.handle() == "!" && tag.suffix() == "ignore"
}

/// A scalar by Envoy's rule: text unless plain (or tagged) and a boolean, integer or null.
fn scalar_node(place: Place, text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Sized {
    let plain = style == ScalarStyle::Plain;
    let fixed = match tag {
        // The tag `!` asks for a text, as quotes do.
        Some(tag) => {
            tag.handle().is_empty() && tag.suffix() == "!"
                || tag.handle() == "!" && tag.suffix().is_empty()
        }
        None => !plain,
    };
    let null = plain && tag.is_none() && scalar::is_null(&text);
    let key = match tag {
        Some(tag) if is_ignore(tag) => Key::Ignored,
        _ if null => Key::Text("null".to_owned()),
        _ => Key::Text(text.clone().into_owned()),
    };
    let data = if null {
        Data::Null
    } else if fixed {
        Data::Text(text.into_owned())
    } else if let Some(value) = scalar::boolean(&text) {
        Data::Bool(value)
    } else {
        match scalar::integer(&text) {
            // Envoy keeps what does not fit into 32 bits as text, in decimal.
            Some(value) if i32::try_from(value).is_ok() => Data::Number(value.to_string()),
            Some(value) => Data::Text(value.to_string()),
            None => Data::Text(text.into_owned()),
        }
    };
    Sized { node: Node { place, data }, nodes: 1, depth: 0, key }
}
