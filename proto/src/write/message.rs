//! Messages over wire bytes to JSON.

use std::collections::BTreeMap;

use super::printer::Printer;
use super::{Defaults, Sensitive, WriteOptions, scalar};
use crate::convert::type_name;
use crate::schema::read::{any_parts, is_default, items, known_fields, last_field};
use crate::schema::{Cardinality, Field, Kind, Message, Special, schema};
use crate::wire::{Value, unzigzag};

const DEPTH_MAX: usize = 100;

/// What stands for a sensitive text.
const REDACTED: &str = "[redacted]";

/// The JSON of a message; `None` if the bytes are no encoding of it.
pub(super) fn write(message: &Message, bytes: &[u8], options: &WriteOptions) -> Option<String> {
    let printer = Printer::new(options.layout);
    let mut writer = Writer { printer, options: *options, secret: 0, depth: 0 };
    writer.message(message, bytes)?;
    Some(writer.printer.finish())
}

struct Writer {
    printer: Printer,
    options: WriteOptions,
    /// Above 0 inside of what is sensitive and to be redacted.
    secret: usize,
    depth: usize,
}

impl Writer {
    fn message(&mut self, message: &Message, bytes: &[u8]) -> Option<()> {
        if self.depth >= DEPTH_MAX {
            return None;
        }
        self.depth += 1;
        match message.special {
            Special::None => {
                self.printer.open('{');
                self.fields(message, bytes)?;
                self.printer.close('}');
            }
            Special::Any => self.any(bytes)?,
            Special::Duration | Special::Timestamp => {
                let part = |number| Some(last_field(bytes, number)?.map_or(0, Value::number));
                // The second is 32 bits, sign-extended on the wire.
                let (seconds, nanos) = (part(1)?.cast_signed(), part(2)? as i32);
                let text = match message.special {
                    Special::Duration => scalar::duration(seconds, nanos),
                    _ => scalar::timestamp(seconds, nanos),
                };
                self.printer.text(&text);
            }
            Special::FieldMask => self.field_mask(message, bytes)?,
            Special::Struct => {
                let entries = known_fields(message, bytes, |_| {})?;
                self.map(&message.fields[0], &entries)?;
            }
            Special::ListValue => {
                let entries = known_fields(message, bytes, |_| {})?;
                self.list(&message.fields[0], &entries)?;
            }
            Special::Value => self.value(message, bytes)?,
            Special::Wrapper => {
                let field = &message.fields[0];
                let value = last_field(bytes, 1)?.unwrap_or(Value::Group);
                self.scalar(field.kind, value)?;
            }
        }
        self.depth -= 1;
        Some(())
    }

    fn fields(&mut self, message: &Message, bytes: &[u8]) -> Option<()> {
        let entries = known_fields(message, bytes, |_| {})?;
        let mut rest = entries.as_slice();
        for (position, field) in message.fields.iter().enumerate() {
            let count = rest.iter().take_while(|(at, _)| *at == position).count();
            let (mine, after) = rest.split_at(count);
            rest = after;
            let hide = field.sensitive && self.options.sensitive == Sensitive::Redact;
            self.secret += usize::from(hide);
            self.field(field, mine)?;
            self.secret -= usize::from(hide);
        }
        Some(())
    }

    fn field(&mut self, field: &Field, entries: &[(usize, Value<'_>)]) -> Option<()> {
        let print_defaults = self.options.defaults == Defaults::Print;
        // Redaction takes numbers and booleans away.
        let cleared = self.secret > 0 && is_number(field.kind);
        match field.cardinality {
            Cardinality::Map | Cardinality::Repeated => {
                let entries = if cleared { &[] } else { entries };
                if entries.is_empty() && !print_defaults {
                    return Some(());
                }
                self.printer.key(field.name);
                match field.cardinality {
                    Cardinality::Map => self.map(field, entries),
                    _ => self.list(field, entries),
                }
            }
            Cardinality::Single => {
                let last = entries.last().map(|(_, value)| *value).filter(|_| !cleared);
                let shown = match last {
                    None => print_defaults && !field.presence,
                    Some(value) => field.presence || print_defaults || !is_default(value),
                };
                if !shown {
                    return Some(());
                }
                self.printer.key(field.name);
                if entries.len() > 1 && matches!(field.kind, Kind::Message(_)) {
                    // Protobuf merges a message that comes in parts.
                    let joined: Vec<u8> =
                        entries.iter().flat_map(|(_, part)| part.bytes()).copied().collect();
                    return self.scalar(field.kind, Value::Bytes(&joined));
                }
                self.scalar(field.kind, last.unwrap_or(Value::Group))
            }
        }
    }

    fn list(&mut self, field: &Field, entries: &[(usize, Value<'_>)]) -> Option<()> {
        self.printer.open('[');
        for value in items(field, entries)? {
            self.printer.item();
            self.scalar(field.kind, value)?;
        }
        self.printer.close(']');
        Some(())
    }

    fn map(&mut self, field: &Field, entries: &[(usize, Value<'_>)]) -> Option<()> {
        let Kind::Message(at) = field.kind else { return None };
        let [key_field, value_field] = schema().messages[at].fields.as_slice() else {
            return None;
        };
        let mut pairs = BTreeMap::new();
        for (_, entry) in entries {
            let key = last_field(entry.bytes(), 1)?.unwrap_or(Value::Group);
            let value = last_field(entry.bytes(), 2)?.unwrap_or(Value::Group);
            let key = match number_text(key_field.kind, key) {
                Some(text) => text,
                None => std::str::from_utf8(key.bytes()).ok()?.to_owned(),
            };
            pairs.insert(key, value);
        }
        self.printer.open('{');
        for (key, value) in pairs {
            if self.secret > 0 && is_number(value_field.kind) {
                continue;
            }
            self.printer.key(&key);
            self.scalar(value_field.kind, value)?;
        }
        self.printer.close('}');
        Some(())
    }

    /// One value; [`Value::Group`] is the default.
    fn scalar(&mut self, kind: Kind, value: Value<'_>) -> Option<()> {
        match kind {
            Kind::Message(at) => return self.message(&schema().messages[at], value.bytes()),
            Kind::String if self.secret > 0 => self.printer.text(REDACTED),
            Kind::Bytes if self.secret > 0 => {
                self.printer.text(&scalar::base64(REDACTED.as_bytes()));
            }
            Kind::String => self.printer.text(std::str::from_utf8(value.bytes()).ok()?),
            Kind::Bytes => self.printer.text(&scalar::base64(value.bytes())),
            Kind::Enum(at) => {
                let number = value.number() as i32;
                match schema().enums[at].name_of(number) {
                    Some("NULL_VALUE") => self.printer.raw("null"),
                    Some(name) => self.printer.text(name),
                    None => self.printer.raw(&number.to_string()),
                }
            }
            Kind::Double | Kind::Float => self.float(kind, value),
            Kind::Int64 | Kind::Uint64 | Kind::Fixed64 | Kind::Sfixed64 | Kind::Sint64 => {
                self.printer.text(&number_text(kind, value)?);
            }
            _ => self.printer.raw(&number_text(kind, value)?),
        }
        Some(())
    }

    fn float(&mut self, kind: Kind, value: Value<'_>) {
        let (number, text) = match (kind, value) {
            (Kind::Float, Value::Fixed32(bits)) => {
                // The shortest text of the 32-bit number, not that of its 64-bit neighbour.
                let short: f64 = f32::from_bits(bits).to_string().parse().unwrap_or(f64::NAN);
                (f64::from(f32::from_bits(bits)), scalar::float(short))
            }
            (_, Value::Fixed64(bits)) => {
                (f64::from_bits(bits), scalar::float(f64::from_bits(bits)))
            }
            _ => (0.0, Some("0".to_owned())),
        };
        match text {
            Some(text) => self.printer.raw(&text),
            None => self.printer.text(scalar::not_finite(number)),
        }
    }

    fn any(&mut self, bytes: &[u8]) -> Option<()> {
        let (type_url, value) = any_parts(bytes)?;
        self.printer.open('{');
        if !type_url.is_empty() {
            self.printer.key("@type");
            self.printer.text(type_url);
            match schema().message(type_name(type_url)) {
                Some(message) if message.special == Special::None => {
                    self.fields(message, value)?;
                }
                Some(message) => {
                    self.printer.key("value");
                    self.message(message, value)?;
                }
                None => {
                    self.printer.key("value");
                    self.scalar(Kind::Bytes, Value::Bytes(value))?;
                }
            }
        }
        self.printer.close('}');
        Some(())
    }

    fn field_mask(&mut self, message: &Message, bytes: &[u8]) -> Option<()> {
        let mut paths = Vec::new();
        for (_, path) in known_fields(message, bytes, |_| {})? {
            paths.push(camel_case(path.text()));
        }
        self.printer.text(&paths.join(","));
        Some(())
    }

    /// `google.protobuf.Value`: the last field that is set counts.
    fn value(&mut self, message: &Message, bytes: &[u8]) -> Option<()> {
        let mut last = None;
        known_fields(message, bytes, |_| {})?;
        let mut reader = crate::wire::Reader::new(bytes);
        while let Some(field) = reader.next() {
            let (number, value) = field.ok()?;
            last = message.field_numbered(number).map(|(_, field)| (field.kind, value)).or(last);
        }
        match last {
            Some((kind, _)) if self.secret > 0 && is_number(kind) => self.printer.raw("null"),
            Some((kind, value)) => self.scalar(kind, value)?,
            None => self.printer.raw("null"),
        }
        Some(())
    }
}

/// Whether redaction clears the kind rather than replacing its value.
fn is_number(kind: Kind) -> bool {
    !matches!(kind, Kind::String | Kind::Bytes | Kind::Message(_))
}

/// The text of an integer or boolean; `None` for other kinds.
fn number_text(kind: Kind, value: Value<'_>) -> Option<String> {
    let number = match value {
        Value::Varint(bits) | Value::Fixed64(bits) => bits,
        Value::Fixed32(bits) => u64::from(bits),
        Value::Bytes(_) | Value::Group => 0,
    };
    // Truncations undo the sign extension of the wire.
    Some(match kind {
        Kind::Int64 | Kind::Sfixed64 => number.cast_signed().to_string(),
        Kind::Uint64 | Kind::Fixed64 => number.to_string(),
        Kind::Int32 | Kind::Sfixed32 => (number as i32).to_string(),
        Kind::Uint32 | Kind::Fixed32 => (number as u32).to_string(),
        Kind::Sint32 | Kind::Sint64 => unzigzag(number).to_string(),
        Kind::Bool => (number != 0).to_string(),
        _ => return None,
    })
}

/// `foo_bar.baz` as `fooBar.baz`.
fn camel_case(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut upper = false;
    for c in path.chars() {
        if c == '_' {
            upper = true;
        } else {
            out.push(if upper { c.to_ascii_uppercase() } else { c });
            upper = false;
        }
    }
    out
}
