//! A document against the schema: nodes become the encoding of a message.
//!
//! Goes on after an error, so that one run finds them all. The path of the current field is kept
//! as text; every field's place is noted under it.

use std::fmt::Write;

use super::diagnostic::Sink;
use super::positions::SourceMap;
use super::record::{Encoded, Record};
use super::suggest::suggest;
use super::tree::{Data, Entry, Node, Place};
use super::{ReadOptions, UnknownFields};
use crate::schema::{Cardinality, Field, Kind, Message, Special, schema};

/// Most messages inside each other that prost decodes.
const LEVELS_MAX: usize = 100;

/// Messages that one mapping or list of free data costs: value, struct, entry.
pub(super) const LEVELS_OF_DATA: usize = 3;

/// Turns nodes into bytes.
pub(super) struct Encoder<'s> {
    pub(super) sink: &'s mut Sink,
    positions: SourceMap,
    unknown_fields: UnknownFields,
    path: String,
    /// Messages that a decoder is inside of; an `Any` starts anew.
    levels: usize,
}

/// Which field of each oneof is set, and on which line.
type Chosen = Vec<Option<(&'static str, u32)>>;

impl<'s> Encoder<'s> {
    pub(super) fn new(sink: &'s mut Sink, positions: SourceMap, options: &ReadOptions) -> Self {
        let unknown_fields = options.unknown_fields;
        Self { sink, positions, unknown_fields, path: String::new(), levels: 0 }
    }

    pub(super) fn into_positions(self) -> SourceMap {
        self.positions
    }

    /// The whole document as a message.
    pub(super) fn root(&mut self, message: &'static Message, node: &Node) -> Vec<u8> {
        self.positions.set("", node.place);
        self.message(message, node)
    }

    pub(super) fn error(&mut self, place: Place, message: &str) {
        self.sink.error(place, &self.path, message, None);
    }

    pub(super) fn warning(&mut self, place: Place, message: &str) {
        self.sink.warning(place, &self.path, message);
    }

    pub(super) fn error_with(&mut self, place: Place, message: &str, suggestion: Option<&str>) {
        self.sink.error(place, &self.path, message, suggestion.map(str::to_owned));
    }

    /// Something that only a newer schema would know.
    pub(super) fn unknown(&mut self, place: Place, message: &str, suggestion: Option<&str>) {
        match self.unknown_fields {
            UnknownFields::Refuse => self.error_with(place, message, suggestion),
            UnknownFields::Allow => {
                self.sink.warning(place, &self.path, &format!("{message}; ignored"));
            }
        }
    }

    /// Runs `f` with a step added to the path, whose place is noted.
    pub(super) fn within<T>(
        &mut self,
        step: Step<'_>,
        place: Place,
        f: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let length = self.path.len();
        // Writing to a string cannot fail.
        let _ = match step {
            Step::Field(name) if length == 0 => write!(self.path, "{name}"),
            Step::Field(name) => write!(self.path, ".{name}"),
            Step::Index(index) => write!(self.path, "[{index}]"),
            Step::Key(key) => write!(self.path, "[{key:?}]"),
        };
        self.positions.set(&self.path, place);
        let result = f(self);
        self.path.truncate(length);
        result
    }

    /// A message of any kind.
    pub(super) fn message(&mut self, message: &'static Message, node: &Node) -> Vec<u8> {
        self.nested(1, |encoder| encoder.message_here(message, node))
    }

    /// Runs `f` that many messages deeper.
    pub(super) fn nested<T>(&mut self, levels: usize, f: impl FnOnce(&mut Self) -> T) -> T {
        self.levels += levels;
        let result = f(self);
        self.levels -= levels;
        result
    }

    /// Runs `f` for content that is decoded on its own.
    pub(super) fn apart<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let levels = std::mem::take(&mut self.levels);
        let result = f(self);
        self.levels = levels;
        result
    }

    /// Whether free data may go deeper here and still be decoded.
    pub(super) fn has_room(&self) -> bool {
        self.levels + LEVELS_OF_DATA < LEVELS_MAX
    }

    fn message_here(&mut self, message: &'static Message, node: &Node) -> Vec<u8> {
        let own_form = match (message.special, &node.data) {
            (Special::None, _) => false,
            (Special::Any | Special::Struct | Special::ListValue | Special::Value, _) => true,
            // Envoy also takes the plain form, such as `{seconds: 1}`.
            (_, Data::Map(_)) => false,
            _ => true,
        };
        if own_form {
            return self.special(message, node);
        }
        let Data::Map(entries) = &node.data else {
            let short = message.short_name();
            let text = format!("expected a mapping ({short}), got {}", node.data.kind());
            self.error(node.place, &text);
            return Vec::new();
        };
        self.fields(message, entries, None)
    }

    /// The fields of a message; the key `skip` is not one of them.
    pub(super) fn fields(
        &mut self,
        message: &'static Message,
        entries: &[Entry],
        skip: Option<&str>,
    ) -> Vec<u8> {
        let mut record = Record::default();
        let mut chosen: Chosen = vec![None; message.oneofs.len()];
        for entry in entries.iter().filter(|entry| Some(entry.key.as_str()) != skip) {
            match message.field_named(&entry.key) {
                Some(field) => {
                    self.within(Step::Field(field.name), entry.place, |encoder| {
                        if encoder.choose(message, field, entry, &mut chosen) {
                            encoder.field(field, &entry.value, &mut record);
                        }
                    });
                }
                None => self.unknown_field(message, entry),
            }
        }
        record.finish()
    }

    fn unknown_field(&mut self, message: &Message, entry: &Entry) {
        let names = message.fields.iter().map(|field| field.name);
        let suggestion = suggest(&entry.key, names);
        let text = match suggestion {
            _ if entry.key == "<<" => "merge keys have no meaning in Envoy's YAML".to_owned(),
            Some(_) => "unknown field".to_owned(),
            None => format!("unknown field of {}", message.short_name()),
        };
        self.within(Step::Field(&entry.key), entry.place, |encoder| {
            encoder.unknown(entry.place, &text, suggestion);
        });
    }

    /// Whether the field may be set: no other of its oneof is.
    fn choose(
        &mut self,
        message: &Message,
        field: &Field,
        entry: &Entry,
        chosen: &mut Chosen,
    ) -> bool {
        let Some(slot) = field.oneof.and_then(|index| chosen.get_mut(index)) else { return true };
        if matches!(entry.value.data, Data::Null) {
            return true;
        }
        if let Some((other, line)) = slot {
            let oneof = field.oneof.and_then(|index| message.oneofs.get(index));
            let name = oneof.map_or("", |oneof| oneof.name);
            let text = if *other == field.name {
                format!("is set twice, first at line {line}")
            } else {
                format!("cannot stand beside '{other}' (line {line}); only one {name} is possible")
            };
            self.error(entry.place, &text);
            return false;
        }
        *slot = Some((field.name, entry.place.line));
        true
    }

    fn field(&mut self, field: &'static Field, node: &Node, record: &mut Record) {
        match field.cardinality {
            Cardinality::Single => self.single(field, node, record),
            Cardinality::Repeated => self.repeated(field, node, record),
            Cardinality::Map => self.map(field, node, record),
        }
    }

    fn single(&mut self, field: &'static Field, node: &Node, record: &mut Record) {
        match field.kind {
            Kind::Message(at) => {
                let message = &schema().messages[at];
                if matches!(node.data, Data::Null) && message.special != Special::Value {
                    return;
                }
                let bytes = self.message(message, node);
                record.push(field.number, &Encoded::Bytes(bytes));
            }
            _ => {
                if matches!(node.data, Data::Null) && !is_null_enum(field.kind) {
                    return;
                }
                if let Some(value) = self.scalar(field.kind, node) {
                    if value.is_default() && !field.presence {
                        record.clear(field.number);
                    } else {
                        record.set(field.number, &value);
                    }
                }
            }
        }
    }

    fn repeated(&mut self, field: &'static Field, node: &Node, record: &mut Record) {
        let mut numbers = Vec::new();
        match &node.data {
            Data::List(items) => {
                for item in items {
                    self.item(field, item, record, &mut numbers);
                }
            }
            Data::Null => {}
            // Protobuf's lenient reader takes a lone value for a list of one.
            _ => self.item(field, node, record, &mut numbers),
        }
        record.push_packed(field.number, &numbers);
    }

    fn item(
        &mut self,
        field: &'static Field,
        node: &Node,
        record: &mut Record,
        numbers: &mut Vec<Encoded>,
    ) {
        let message = match field.kind {
            Kind::Message(at) => Some(&schema().messages[at]),
            _ => None,
        };
        let takes_lists =
            message.is_some_and(|m| matches!(m.special, Special::Value | Special::ListValue));
        if let (Data::List(items), false) = (&node.data, takes_lists) {
            for item in items {
                self.item(field, item, record, numbers);
            }
            return;
        }
        let index = self.positions.next_index(&self.path);
        self.within(Step::Index(index), node.place, |encoder| match message {
            Some(message) => {
                let bytes = encoder.message_or_empty(message, node);
                record.push(field.number, &Encoded::Bytes(bytes));
            }
            None => match encoder.scalar_or_default(field.kind, node) {
                Some(value @ Encoded::Bytes(_)) => record.push(field.number, &value),
                Some(value) => numbers.push(value),
                None => {}
            },
        });
    }

    /// In lists, null stands for the default.
    fn scalar_or_default(&mut self, kind: Kind, node: &Node) -> Option<Encoded> {
        match (&node.data, kind.wire_type()) {
            (Data::Null, 0) => Some(Encoded::Varint(0)),
            (Data::Null, 1) => Some(Encoded::Fixed64(0)),
            (Data::Null, 5) => Some(Encoded::Fixed32(0)),
            (Data::Null, _) => Some(Encoded::Bytes(Vec::new())),
            _ => self.scalar(kind, node),
        }
    }

    /// In lists and maps, null stands for an empty message.
    fn message_or_empty(&mut self, message: &'static Message, node: &Node) -> Vec<u8> {
        match node.data {
            Data::Null if message.special != Special::Value => Vec::new(),
            _ => self.message(message, node),
        }
    }

    fn map(&mut self, field: &'static Field, node: &Node, record: &mut Record) {
        let Kind::Message(at) = field.kind else { return };
        let [key_field, value_field] = schema().messages[at].fields.as_slice() else { return };
        let entries = match &node.data {
            Data::Map(entries) => entries,
            Data::Null => return,
            other => {
                let text = format!("expected a mapping of names to values, got {}", other.kind());
                return self.error(node.place, &text);
            }
        };
        for entry in entries {
            self.within(Step::Key(&entry.key), entry.place, |encoder| {
                let key_node = Node { place: entry.place, data: Data::Text(entry.key.clone()) };
                let key = encoder.scalar(key_field.kind, &key_node);
                let value = match value_field.kind {
                    Kind::Message(at) => {
                        let message = &schema().messages[at];
                        let bytes = encoder.message_or_empty(message, &entry.value);
                        Some(Encoded::Bytes(bytes))
                    }
                    kind => encoder.scalar(kind, &entry.value),
                };
                if let Some(key) = key {
                    record.insert(field.number, &key, value.as_ref());
                }
            });
        }
    }
}

/// One step of a path.
pub(super) enum Step<'a> {
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

/// Whether null is a value of the field's own.
fn is_null_enum(kind: Kind) -> bool {
    matches!(kind, Kind::Enum(at) if schema().enums[at].name == "google.protobuf.NullValue")
}
