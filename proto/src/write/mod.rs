//! Encoded messages as JSON, in the form that Envoy's admin interface gives it.
//!
//! Proto field names, fields by number, map entries by key, 64-bit integers as texts. What the
//! tables do not know does not stop it: an unknown `Any` keeps its bytes in base64. Values that
//! are annotated as sensitive can be left out, as in `/config_dump`.

mod message;
mod printer;
mod scalar;
#[cfg(test)]
mod tests;

use std::fmt;

use prost::{Message, Name};

use crate::convert::type_name;
use crate::schema::schema;

/// Blanks and line breaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// One blank a level and a line break at the end, as Envoy's admin interface.
    #[default]
    Pretty,
    /// On one line without blanks.
    Compact,
}

/// Fields that hold their default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Defaults {
    /// Not written, as in `/config_dump`.
    #[default]
    Omit,
    /// Written if the field cannot be absent, as in `/server_info`.
    Print,
}

/// Values annotated with `udpa.annotations.sensitive`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sensitive {
    /// Texts become `[redacted]`, numbers and booleans are left out.
    #[default]
    Redact,
    /// Written as they are.
    Keep,
}

/// How to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Blanks and line breaks.
    pub layout: Layout,
    /// Fields that hold their default.
    pub defaults: Defaults,
    /// Values annotated as sensitive.
    pub sensitive: Sensitive,
}

/// Why a message cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotWritable {
    /// The tables have no message of that name.
    UnknownType(String),
    /// The bytes are no encoding of it, or nested more than 100 levels deep.
    Malformed,
}

impl fmt::Display for NotWritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType(name) => write!(f, "unknown message type {name:?}"),
            Self::Malformed => f.write_str("malformed or too deeply nested message"),
        }
    }
}

impl std::error::Error for NotWritable {}

/// The JSON of the message `bytes` of that type URL or full name.
///
/// # Errors
/// An unknown type; bytes that are no encoding of it.
pub fn bytes_to_json(
    type_url: &str,
    bytes: &[u8],
    options: &WriteOptions,
) -> Result<String, NotWritable> {
    let message = schema()
        .message(type_name(type_url))
        .ok_or_else(|| NotWritable::UnknownType(type_url.to_owned()))?;
    message::write(message, bytes, options).ok_or(NotWritable::Malformed)
}

/// The JSON of a message.
///
/// # Errors
/// A message that the descriptors do not have, or one nested too deeply.
pub fn to_json<M: Message + Name>(
    message: &M,
    options: &WriteOptions,
) -> Result<String, NotWritable> {
    bytes_to_json(&M::full_name(), &message.encode_to_vec(), options)
}
