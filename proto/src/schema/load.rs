//! Makes the tables of [`super`] out of an encoded `FileDescriptorSet`.
//!
//! Two passes: the first gives every message and enum its index, the second fills in fields,
//! whose types are then known. Options are read by their extension numbers.

use std::collections::HashMap;

use super::{
    Cardinality, Deprecation, Enum, EnumValue, Field, Kind, Message, Oneof, Schema, Special,
};
use crate::rules::pgv::FieldRules;
use crate::wire::{Reader, Value};

/// `validate.rules`, `.required` and `.disabled` share this extension number.
const VALIDATE: u32 = 1071;
const VALIDATE_IGNORED: u32 = 1072;
const SENSITIVE: u32 = 76_569_463;
const DISALLOWED: u32 = 189_503_207;
const DISALLOWED_ENUM: u32 = 70_100_853;

/// A message of the first pass.
struct RawMessage {
    name: String,
    bytes: &'static [u8],
    proto3: bool,
}

#[derive(Default)]
struct Names {
    messages: Vec<RawMessage>,
    enums: Vec<Enum>,
    message_by_name: HashMap<String, usize>,
    enum_by_name: HashMap<String, usize>,
}

/// The tables of all sets together; what is malformed is left out (the built-in set is tested).
pub(super) fn load(sets: &[&'static [u8]]) -> Schema {
    let mut names = Names::default();
    for file in sets.iter().flat_map(|set| all(set, 1)) {
        let package = text(file, 2);
        let proto3 = text(file, 12) == "proto3";
        for bytes in all(file, 4) {
            names.add_message(package, bytes, proto3);
        }
        for bytes in all(file, 5) {
            names.add_enum(package, bytes);
        }
    }
    let messages = (0..names.messages.len()).map(|index| names.message(index)).collect();
    Schema { messages, enums: names.enums, by_name: names.message_by_name }
}

impl Names {
    fn add_message(&mut self, scope: &str, bytes: &'static [u8], proto3: bool) {
        let name = join(scope, text(bytes, 1));
        for nested in all(bytes, 3) {
            self.add_message(&name, nested, proto3);
        }
        for nested in all(bytes, 4) {
            self.add_enum(&name, nested);
        }
        self.message_by_name.insert(name.clone(), self.messages.len());
        self.messages.push(RawMessage { name, bytes, proto3 });
    }

    fn add_enum(&mut self, scope: &str, bytes: &'static [u8]) {
        let name = join(scope, text(bytes, 1));
        let values = all(bytes, 2).map(enum_value).collect();
        self.enum_by_name.insert(name.clone(), self.enums.len());
        self.enums.push(Enum { name, values });
    }

    fn message(&self, index: usize) -> Message {
        let raw = &self.messages[index];
        let options = last(raw.bytes, 7).bytes();
        let oneofs = all(raw.bytes, 8)
            .map(|oneof| Oneof {
                name: text(oneof, 1),
                required: last(last(oneof, 2).bytes(), VALIDATE).number() == 1,
            })
            .collect();
        let mut fields: Vec<Field> =
            all(raw.bytes, 2).filter_map(|bytes| self.field(bytes, raw.proto3)).collect();
        fields.sort_by_key(|field| field.number);
        Message {
            index,
            special: special(&raw.name),
            map_entry: last(options, 7).number() == 1,
            validated: last(options, VALIDATE).number() == 0
                && last(options, VALIDATE_IGNORED).number() == 0,
            name: raw.name.clone(),
            fields,
            oneofs,
        }
    }

    fn field(&self, bytes: &'static [u8], proto3: bool) -> Option<Field> {
        let kind = self.kind(bytes)?;
        let options = last(bytes, 8).bytes();
        let repeated = last(bytes, 4).number() == 3;
        let optional = last(bytes, 17).number() == 1;
        let in_oneof = match last(bytes, 9) {
            Value::Varint(oneof) if !optional => usize::try_from(oneof).ok(),
            _ => None,
        };
        let cardinality = match kind {
            _ if !repeated => Cardinality::Single,
            Kind::Message(index) if self.is_map_entry(index) => Cardinality::Map,
            _ => Cardinality::Repeated,
        };
        let rules = last(options, VALIDATE).bytes();
        Some(Field {
            number: u32::try_from(last(bytes, 3).number()).ok()?,
            name: text(bytes, 1),
            json_name: text(bytes, 10),
            kind,
            cardinality,
            presence: !repeated
                && (!proto3 || optional || in_oneof.is_some() || matches!(kind, Kind::Message(_))),
            oneof: in_oneof,
            sensitive: last(options, SENSITIVE).number() == 1,
            deprecation: deprecation(options, 3, DISALLOWED),
            rules: (!rules.is_empty()).then(|| Box::new(FieldRules::decode(rules))),
        })
    }

    fn is_map_entry(&self, index: usize) -> bool {
        let options = last(self.messages[index].bytes, 7).bytes();
        last(options, 7).number() == 1
    }

    /// Type and type name of a `FieldDescriptorProto`; groups have no place here.
    fn kind(&self, field: &'static [u8]) -> Option<Kind> {
        let name = text(field, 6).trim_start_matches('.');
        Some(match last(field, 5).number() {
            1 => Kind::Double,
            2 => Kind::Float,
            3 => Kind::Int64,
            4 => Kind::Uint64,
            5 => Kind::Int32,
            6 => Kind::Fixed64,
            7 => Kind::Fixed32,
            8 => Kind::Bool,
            9 => Kind::String,
            11 => Kind::Message(*self.message_by_name.get(name)?),
            12 => Kind::Bytes,
            13 => Kind::Uint32,
            14 => Kind::Enum(*self.enum_by_name.get(name)?),
            15 => Kind::Sfixed32,
            16 => Kind::Sfixed64,
            17 => Kind::Sint32,
            18 => Kind::Sint64,
            _ => return None,
        })
    }
}

fn enum_value(bytes: &'static [u8]) -> EnumValue {
    EnumValue {
        name: text(bytes, 1),
        // Enum numbers are 32 bits; the wire sign-extends them.
        number: last(bytes, 2).number() as i32,
        deprecation: deprecation(last(bytes, 3).bytes(), 1, DISALLOWED_ENUM),
    }
}

fn deprecation(options: &'static [u8], deprecated: u32, disallowed: u32) -> Deprecation {
    if last(options, disallowed).number() == 1 {
        Deprecation::Disallowed
    } else if last(options, deprecated).number() == 1 {
        Deprecation::Warned
    } else {
        Deprecation::No
    }
}

fn special(name: &str) -> Special {
    let Some(short) = name.strip_prefix("google.protobuf.") else { return Special::None };
    match short {
        "Any" => Special::Any,
        "Duration" => Special::Duration,
        "Timestamp" => Special::Timestamp,
        "FieldMask" => Special::FieldMask,
        "Struct" => Special::Struct,
        "ListValue" => Special::ListValue,
        "Value" => Special::Value,
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
        | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue" => Special::Wrapper,
        _ => Special::None,
    }
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// The contents of every field `number`, in order.
fn all(bytes: &'static [u8], number: u32) -> impl Iterator<Item = &'static [u8]> {
    let mut reader = Reader::new(bytes);
    std::iter::from_fn(move || {
        while let Some(Ok((found, value))) = reader.next() {
            if found == number {
                return Some(value.bytes());
            }
        }
        None
    })
}

/// The last field `number`, which is what counts for a singular one.
fn last(bytes: &'static [u8], number: u32) -> Value<'static> {
    let mut reader = Reader::new(bytes);
    let mut found_last = Value::Group;
    while let Some(Ok((found, value))) = reader.next() {
        if found == number {
            found_last = value;
        }
    }
    found_last
}

fn text(bytes: &'static [u8], number: u32) -> &'static str {
    last(bytes, number).text()
}
