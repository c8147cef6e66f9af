//! Messages with a text form of their own: `Any`, durations, wrappers, free data.

use super::encode::{Encoder, LEVELS_OF_DATA, Step};
use super::record::{Encoded, Record};
use super::scalar;
use super::suggest::suggest;
use super::tree::{Data, Entry, Node};
use super::values::shown;
use crate::schema::{Message, Special, schema};

/// The key that names the type of an `Any`.
const TYPE: &str = "@type";

impl Encoder<'_> {
    /// A special message in its own form.
    pub(super) fn special(&mut self, message: &'static Message, node: &Node) -> Vec<u8> {
        match message.special {
            Special::Any => self.any(node),
            Special::Duration => self.time(node, scalar::duration, Self::bad_duration),
            Special::Timestamp => self.time(node, scalar::timestamp, |encoder, node| {
                let text = format!("{} is not a time such as 2026-01-31T12:00:00Z", shown(node));
                encoder.error(node.place, &text);
            }),
            Special::FieldMask => self.field_mask(node),
            Special::Struct => self.structure(node),
            Special::ListValue => self.list(node),
            Special::Value => self.value(node),
            Special::Wrapper => self.wrapper(message, node),
            Special::None => Vec::new(),
        }
    }

    fn wrapper(&mut self, message: &'static Message, node: &Node) -> Vec<u8> {
        let mut record = Record::default();
        let field = &message.fields[0];
        if let Some(value) = self.scalar(field.kind, node).filter(|value| !value.is_default()) {
            record.set(field.number, &value);
        }
        record.finish()
    }

    fn time(
        &mut self,
        node: &Node,
        read: fn(&str) -> Option<(i64, i32)>,
        refuse: impl Fn(&mut Self, &Node),
    ) -> Vec<u8> {
        let value = match &node.data {
            Data::Text(text) => read(text),
            _ => None,
        };
        let Some((seconds, nanos)) = value else {
            refuse(self, node);
            return Vec::new();
        };
        let mut record = Record::default();
        let parts = [(1, seconds), (2, i64::from(nanos))];
        for (number, part) in parts.into_iter().filter(|(_, part)| *part != 0) {
            record.set(number, &Encoded::Varint(part.cast_unsigned()));
        }
        record.finish()
    }

    fn bad_duration(&mut self, node: &Node) {
        let text = match &node.data {
            Data::Text(text) | Data::Number(text) => text.as_str(),
            _ => "",
        };
        let seconds = text.strip_suffix("ms").map(|ms| (ms, 0.001)).or(Some((text, 1.0)));
        let hint = seconds
            .and_then(|(number, unit)| Some(scalar::float(number)? * unit))
            .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
            .map_or_else(|| "such as 0.25s".to_owned(), |seconds| format!("as {seconds}s"));
        let got = shown(node);
        self.error(node.place, &format!("{got} is not a duration; write it in seconds, {hint}"));
    }

    fn field_mask(&mut self, node: &Node) -> Vec<u8> {
        let Data::Text(text) = &node.data else {
            self.error(node.place, "expected field names separated by commas");
            return Vec::new();
        };
        let mut record = Record::default();
        for path in text.split(',').filter(|path| !path.is_empty()) {
            record.push(1, &Encoded::Bytes(snake_case(path).into_bytes()));
        }
        record.finish()
    }

    /// `google.protobuf.Struct`.
    fn structure(&mut self, node: &Node) -> Vec<u8> {
        let Data::Map(entries) = &node.data else {
            let text = format!("expected a mapping, got {}", node.data.kind());
            self.error(node.place, &text);
            return Vec::new();
        };
        let mut record = Record::default();
        for entry in entries {
            let value = self.value(&entry.value);
            let key = Encoded::Bytes(entry.key.clone().into_bytes());
            record.insert(1, &key, Some(&Encoded::Bytes(value)));
        }
        record.finish()
    }

    /// `google.protobuf.ListValue`.
    fn list(&mut self, node: &Node) -> Vec<u8> {
        let Data::List(items) = &node.data else {
            self.error(node.place, &format!("expected a list, got {}", node.data.kind()));
            return Vec::new();
        };
        let mut record = Record::default();
        for item in items {
            let value = self.value(item);
            record.push(1, &Encoded::Bytes(value));
        }
        record.finish()
    }

    /// `google.protobuf.Value`, whose fields are one oneof and so are written even if default.
    fn value(&mut self, node: &Node) -> Vec<u8> {
        let (number, value) = match &node.data {
            Data::Null => (1, Encoded::Varint(0)),
            Data::Number(text) => {
                // What the readers let through always parses.
                let value = scalar::float(text).unwrap_or_default();
                (2, Encoded::Fixed64(value.to_bits()))
            }
            Data::Text(text) => (3, Encoded::Bytes(text.clone().into_bytes())),
            Data::Bool(value) => (4, Encoded::Varint((*value).into())),
            _ if !self.has_room() => {
                let text = "nested too deeply to be kept; null takes its place";
                self.warning(node.place, text);
                (1, Encoded::Varint(0))
            }
            Data::Map(_) => {
                let bytes = self.nested(LEVELS_OF_DATA, |encoder| encoder.structure(node));
                (5, Encoded::Bytes(bytes))
            }
            Data::List(_) => {
                let bytes = self.nested(LEVELS_OF_DATA, |encoder| encoder.list(node));
                (6, Encoded::Bytes(bytes))
            }
        };
        value.field(number)
    }

    fn any(&mut self, node: &Node) -> Vec<u8> {
        let Data::Map(entries) = &node.data else {
            let text = format!("expected a mapping with {TYPE}, got {}", node.data.kind());
            self.error(node.place, &text);
            return Vec::new();
        };
        if entries.is_empty() {
            return Vec::new();
        }
        let Some(entry) = entries.iter().rev().find(|entry| entry.key == TYPE) else {
            self.error(node.place, &format!("lacks '{TYPE}', the type of its content"));
            return Vec::new();
        };
        let Some((url, message)) = self.any_type(entry) else { return Vec::new() };
        let value = self.apart(|encoder| match message.special {
            Special::None => encoder.fields(message, entries, Some(TYPE)),
            _ => encoder.any_special(message, node, entries),
        });
        let mut record = Record::default();
        record.set(1, &Encoded::Bytes(url.into_bytes()));
        if !value.is_empty() {
            record.set(2, &Encoded::Bytes(value));
        }
        record.finish()
    }

    fn any_type(&mut self, entry: &Entry) -> Option<(String, &'static Message)> {
        self.within(Step::Field(TYPE), entry.place, |encoder| {
            let place = entry.value.place;
            let Data::Text(url) = &entry.value.data else {
                let text = format!("expected a type, got {}", entry.value.data.kind());
                encoder.error(place, &text);
                return None;
            };
            let Some((host, name)) = url.rsplit_once('/').filter(|(host, _)| !host.is_empty())
            else {
                let text = format!("'{url}' is not a type; write type.googleapis.com/NAME");
                encoder.error(place, &text);
                return None;
            };
            let found = schema().message(name).filter(|message| !message.map_entry);
            if found.is_none() {
                let near = near_type(name).map(|near| format!("{host}/{near}"));
                encoder.error_with(place, &format!("unknown type '{url}'"), near.as_deref());
            }
            found.map(|message| (url.clone(), message))
        })
    }

    /// A type with its own text form stands under `value` in an `Any`.
    fn any_special(
        &mut self,
        message: &'static Message,
        node: &Node,
        entries: &[Entry],
    ) -> Vec<u8> {
        let mut value = None;
        for entry in entries.iter().filter(|entry| entry.key != TYPE) {
            if entry.key == "value" {
                value = Some(&entry.value);
            } else {
                let short = message.short_name();
                let text = format!("'{}' cannot stand here; {short} stands in 'value'", entry.key);
                self.error(entry.place, &text);
            }
        }
        match value {
            Some(value) => self.message(message, value),
            None => {
                let text = format!("lacks 'value', the {}", message.short_name());
                self.error(node.place, &text);
                Vec::new()
            }
        }
    }
}

/// The known type that was probably meant: nearest as a whole, or the same last part elsewhere.
fn near_type(wrong: &str) -> Option<&'static str> {
    let names = || {
        let all = schema().messages.iter().filter(|message| !message.map_entry);
        all.map(|message| message.name.as_str())
    };
    let short = wrong.rsplit('.').next().unwrap_or(wrong);
    suggest(wrong, names())
        .or_else(|| names().find(|name| name.rsplit('.').next().is_some_and(|last| last == short)))
}

/// `fooBar.baz` as `foo_bar.baz`.
fn snake_case(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
