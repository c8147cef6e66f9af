//! Encoded messages read with the tables: known fields in order, packed numbers taken apart.

use super::{Cardinality, Field, Message};
use crate::wire::{Reader, Value};

/// Fields of a message on the wire, by position in [`Message::fields`].
pub(crate) type Entries<'e, 'a> = &'e [(usize, Value<'a>)];

/// The known fields, by position in the message and else in order; `None` if malformed. The
/// numbers of the others go to `unknown`.
pub(crate) fn known_fields<'a>(
    message: &Message,
    bytes: &'a [u8],
    mut unknown: impl FnMut(u32),
) -> Option<Vec<(usize, Value<'a>)>> {
    let mut entries = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next() {
        let (number, value) = field.ok()?;
        match message.field_numbered(number) {
            Some((position, field)) if fits(field, value) => entries.push((position, value)),
            Some(_) => return None,
            None => unknown(number),
        }
    }
    entries.sort_by_key(|(position, _)| *position);
    Some(entries)
}

/// Whether the wire type is one that the field can have.
fn fits(field: &Field, value: Value<'_>) -> bool {
    let expected = field.kind.wire_type();
    match value {
        Value::Varint(_) => expected == 0,
        Value::Fixed64(_) => expected == 1,
        Value::Fixed32(_) => expected == 5,
        // Repeated numbers may be packed.
        Value::Bytes(_) => expected == 2 || field.cardinality == Cardinality::Repeated,
        Value::Group => false,
    }
}

/// Whether a value is proto3's default.
pub(crate) fn is_default(value: Value<'_>) -> bool {
    match value {
        Value::Varint(bits) | Value::Fixed64(bits) => bits == 0,
        Value::Fixed32(bits) => bits == 0,
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::Group => true,
    }
}

/// The values of a repeated field, packed ones taken apart; `None` if malformed.
pub(crate) fn items<'a>(field: &Field, entries: Entries<'_, 'a>) -> Option<Vec<Value<'a>>> {
    let mut values = Vec::with_capacity(entries.len());
    for (_, value) in entries {
        match (value, field.kind.wire_type()) {
            (Value::Bytes(packed), wire_type @ (0 | 1 | 5)) => {
                let mut reader = Reader::new(packed);
                while !reader.rest().is_empty() {
                    values.push(match wire_type {
                        0 => Value::Varint(reader.varint().ok()?),
                        1 => Value::Fixed64(reader.fixed64().ok()?),
                        _ => Value::Fixed32(reader.fixed32().ok()?),
                    });
                }
            }
            _ => values.push(*value),
        }
    }
    Some(values)
}

/// The last value of a field: inner `None` if absent, outer `None` if malformed.
#[expect(clippy::option_option, reason = "malformed and absent differ")]
pub(crate) fn last_field(bytes: &[u8], number: u32) -> Option<Option<Value<'_>>> {
    let mut last = None;
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next() {
        let (found, value) = field.ok()?;
        if found == number {
            last = Some(value);
        }
    }
    Some(last)
}

/// Type URL and content of an encoded `Any`; `None` if malformed.
pub(crate) fn any_parts(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let url = last_field(bytes, 1)?.map(Value::bytes).unwrap_or_default();
    let value = last_field(bytes, 2)?.map(Value::bytes).unwrap_or_default();
    Some((std::str::from_utf8(url).ok()?, value))
}
