//! Envoy's messages, fields and enums as compact tables, made once from the descriptor set.
//!
//! [`schema`] walks the built-in set by hand (a few milliseconds, under 1 MiB; names are borrowed
//! from the set), so that reading, checking and writing need no reflection pool. Invariant: every
//! index stored in a table is valid for the schema that stores it.

mod load;
pub(crate) mod read;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::rules::pgv::FieldRules;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    load::load(&[crate::DESCRIPTOR_SET, crate::supplement::supplement_descriptor_set()])
});

/// The tables of the built-in descriptor set.
pub(crate) fn schema() -> &'static Schema {
    &SCHEMA
}

/// All messages and enums, by index.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    pub(crate) messages: Vec<Message>,
    pub(crate) enums: Vec<Enum>,
    pub(crate) by_name: HashMap<String, usize>,
}

impl Schema {
    /// The message of that full name.
    pub(crate) fn message(&self, full_name: &str) -> Option<&Message> {
        self.messages.get(*self.by_name.get(full_name)?)
    }
}

/// A message type.
#[derive(Debug)]
pub(crate) struct Message {
    /// Such as `envoy.config.cluster.v3.Cluster`.
    pub(crate) name: String,
    /// Where it stands in [`Schema::messages`].
    pub(crate) index: usize,
    /// By ascending number.
    pub(crate) fields: Vec<Field>,
    pub(crate) oneofs: Vec<Oneof>,
    pub(crate) special: Special,
    /// Whether it is the entry of a map.
    pub(crate) map_entry: bool,
    /// Whether its constraints count (`validate.disabled` and `validate.ignored` are absent).
    pub(crate) validated: bool,
}

impl Message {
    /// The field with that number and its position among the fields.
    pub(crate) fn field_numbered(&self, number: u32) -> Option<(usize, &Field)> {
        let at = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        Some((at, &self.fields[at]))
    }

    /// The field with that proto name or JSON name.
    pub(crate) fn field_named(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name || field.json_name == name)
    }

    /// The last part of the full name.
    pub(crate) fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }
}

/// A oneof of a message.
#[derive(Debug)]
pub(crate) struct Oneof {
    pub(crate) name: &'static str,
    /// `validate.required`: one of its fields must be set.
    pub(crate) required: bool,
}

/// Messages whose text form is their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    None,
    Any,
    Duration,
    Timestamp,
    FieldMask,
    Struct,
    ListValue,
    Value,
    /// `google.protobuf.UInt32Value` and its like.
    Wrapper,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Double,
    Float,
    Int64,
    Uint64,
    Int32,
    Fixed64,
    Fixed32,
    Bool,
    String,
    Bytes,
    Uint32,
    Sfixed32,
    Sfixed64,
    Sint32,
    Sint64,
    /// Index into [`Schema::enums`].
    Enum(usize),
    /// Index into [`Schema::messages`].
    Message(usize),
}

impl Kind {
    /// The wire type of one value.
    pub(crate) fn wire_type(self) -> u8 {
        match self {
            Self::Double | Self::Fixed64 | Self::Sfixed64 => 1,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => 5,
            Self::String | Self::Bytes | Self::Message(_) => 2,
            _ => 0,
        }
    }
}

/// Whether a field holds one value or many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cardinality {
    Single,
    Repeated,
    /// A repeated field of map entries.
    Map,
}

/// What is announced about the end of a field or enum value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deprecation {
    No,
    /// Still works, with a warning in Envoy.
    Warned,
    /// `envoy.annotations.disallowed_by_default`: refused unless runtime allows it.
    Disallowed,
}

/// A field of a message.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) name: &'static str,
    pub(crate) json_name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) cardinality: Cardinality,
    /// Whether "absent" and "default" differ (message, oneof, `optional`).
    pub(crate) presence: bool,
    /// Which oneof of the message it belongs to; none for the hidden one of `optional`.
    pub(crate) oneof: Option<usize>,
    /// `udpa.annotations.sensitive`.
    pub(crate) sensitive: bool,
    pub(crate) deprecation: Deprecation,
    pub(crate) rules: Option<Box<FieldRules>>,
}

/// An enum type.
#[derive(Debug)]
pub(crate) struct Enum {
    pub(crate) name: String,
    pub(crate) values: Vec<EnumValue>,
}

impl Enum {
    /// The first name of a number.
    pub(crate) fn name_of(&self, number: i32) -> Option<&'static str> {
        self.values.iter().find(|value| value.number == number).map(|value| value.name)
    }

    /// The number of a name in any case, as Envoy reads it.
    pub(crate) fn number_of(&self, name: &str) -> Option<i32> {
        let exact = self.values.iter().find(|value| value.name == name);
        exact
            .or_else(|| self.values.iter().find(|value| value.name.eq_ignore_ascii_case(name)))
            .map(|value| value.number)
    }
}

/// A value of an enum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EnumValue {
    pub(crate) name: &'static str,
    pub(crate) number: i32,
    pub(crate) deprecation: Deprecation,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_agree_with_the_reflection_pool() {
        let mut pool = prost_reflect::DescriptorPool::decode(crate::DESCRIPTOR_SET).expect("valid");
        let more = crate::supplement::supplement_descriptor_set();
        pool.decode_file_descriptor_set(more).expect("fits");
        let schema = schema();
        let mut messages = 0;
        for message in pool.all_messages() {
            let ours = schema.message(message.full_name()).expect("every message is there");
            assert_eq!(ours.fields.len(), message.fields().len(), "{}", ours.name);
            for field in message.fields() {
                let (_, mine) = ours.field_numbered(field.number()).expect("every field is");
                assert_eq!(mine.name, field.name());
                assert_eq!(mine.json_name, field.json_name());
                assert_eq!(mine.cardinality == Cardinality::Map, field.is_map());
                assert_eq!(mine.cardinality == Cardinality::Repeated, field.is_list());
                assert_eq!(mine.presence, field.supports_presence(), "{}", field.full_name());
            }
            messages += 1;
        }
        assert_eq!(messages, schema.messages.len());
        assert_eq!(pool.all_enums().len(), schema.enums.len());
    }

    #[test]
    fn annotations_are_read() {
        let schema = schema();
        let tls = "envoy.extensions.transport_sockets.tls.v3.TlsCertificate";
        let key = schema.message(tls).and_then(|m| m.field_named("private_key"));
        assert!(key.is_some_and(|field| field.sensitive));
        let zipkin = schema.message("envoy.config.trace.v3.ZipkinConfig").expect("known");
        let version = zipkin.field_named("collector_endpoint_version").expect("known");
        let Kind::Enum(at) = version.kind else { panic!("an enum") };
        let old = schema.enums[at].values[0];
        assert_eq!(old.deprecation, Deprecation::Disallowed, "{old:?}");
    }
}
