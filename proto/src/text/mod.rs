//! Files in YAML, JSON or binary form, read into Envoy's messages as Envoy reads them.
//!
//! Verdicts are those of Envoy 1.40: yaml-cpp's scalars, protobuf's lenient JSON. Unlike Envoy,
//! all errors of one file are reported together, each with line, column, path and a suggestion.
//! Input is bounded: depth, number of nodes (aliases included) and number of errors.
//!
//! Constraint rules are not looked at here: that is [`crate::rules`].

mod diagnostic;
mod encode;
mod free_data;
mod json;
mod positions;
mod record;
mod resources;
mod scalar;
mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod values;
mod well_known;
mod yaml;

use prost::{Message, Name};

pub use diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Diagnostics};
pub use free_data::encode_struct;
pub use positions::SourceMap;
pub use resources::{FileResource, parse_resources};
pub use suggest::suggest;
pub use tree::{ALIASED_NODES_MAX, DEPTH_MAX, NODES_MAX};

use diagnostic::Sink;
use tree::Node;

/// How the bytes of a file are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// By suffix (`.yaml`, `.yml`, `.json`, `.pb`), else by content.
    #[default]
    Detect,
    /// YAML by Envoy's rules (also for `--config-yaml`).
    Yaml,
    /// JSON by protobuf's lenient rules.
    Json,
    /// Encoded protobuf.
    Binary,
}

/// What happens to fields and enum values that the schema does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// An error, as for Envoy's static configuration.
    #[default]
    Refuse,
    /// A warning, as with `--allow-unknown-static-fields`.
    Allow,
}

/// What happens to a key that stands twice in one mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DuplicateKeys {
    /// Envoy's verdict (the last one counts) and a warning with both lines.
    #[default]
    Warn,
    /// An error, for our own files.
    Refuse,
}

/// How to read a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The format of the bytes.
    pub format: Format,
    /// What to do with unknown fields.
    pub unknown_fields: UnknownFields,
    /// What to do with duplicate keys.
    pub duplicate_keys: DuplicateKeys,
}

/// A message read from a file.
#[derive(Clone, Debug)]
pub struct Read<M> {
    /// The message.
    pub message: M,
    /// What is odd but accepted.
    pub warnings: Vec<Diagnostic>,
    /// Where each field stood; empty for a binary file.
    pub positions: SourceMap,
}

/// Reads a file into a message. `file_name` is for messages and for its suffix; nothing is opened.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn parse<M>(
    file_name: &str,
    bytes: &[u8],
    options: &ReadOptions,
) -> Result<Read<M>, Diagnostics>
where
    M: Message + Name + Default,
{
    let read = parse_encoded(&M::full_name(), file_name, bytes, options)?;
    let message = M::decode(read.message.as_slice())
        .map_err(|error| diagnostic::whole_file(file_name, &error.to_string()))?;
    Ok(Read { message, warnings: read.warnings, positions: read.positions })
}

/// Reads a file into the encoding of the message with that full name.
///
/// # Errors
/// Everything that is wrong with the file; a message name that the API does not have.
pub fn parse_encoded(
    message_name: &str,
    file_name: &str,
    bytes: &[u8],
    options: &ReadOptions,
) -> Result<Read<Vec<u8>>, Diagnostics> {
    let Some(message) = crate::schema::schema().message(message_name) else {
        return Err(diagnostic::whole_file(file_name, &format!("no message {message_name}")));
    };
    if detect(file_name, bytes, options.format) == Format::Binary {
        let positions = SourceMap::new(file_name, "");
        return Ok(Read { message: bytes.to_vec(), warnings: Vec::new(), positions });
    }
    let (root, mut sink, source) = parse_tree(file_name, bytes, options)?;
    let mut encoder = encode::Encoder::new(&mut sink, SourceMap::new(file_name, &source), options);
    let message = encoder.root(message, &root);
    let positions = encoder.into_positions();
    let warnings = sink.finish()?;
    Ok(Read { message, warnings, positions })
}

/// Merges `over` into `base` as protobuf does (`--config-yaml` over `--config-path`): single
/// fields are replaced, messages merged, repeated fields appended.
///
/// # Errors
/// The messages together are nested too deeply to be decoded.
pub fn merge<M>(base: Read<M>, over: Read<M>) -> Result<Read<M>, Diagnostics>
where
    M: Message + Default,
{
    let mut bytes = base.message.encode_to_vec();
    bytes.extend(over.message.encode_to_vec());
    let message = M::decode(bytes.as_slice())
        .map_err(|error| diagnostic::whole_file(over.positions.file(), &error.to_string()))?;
    let mut warnings = base.warnings;
    warnings.extend(over.warnings);
    Ok(Read { message, warnings, positions: base.positions.merge(over.positions) })
}

/// The format that Envoy would take for this name, or else what the content looks like.
fn detect(file_name: &str, bytes: &[u8], format: Format) -> Format {
    if format != Format::Detect {
        return format;
    }
    let name = file_name.to_ascii_lowercase();
    let suffix = |suffix: &str| name.ends_with(suffix);
    if suffix(".yaml") || suffix(".yml") {
        Format::Yaml
    } else if suffix(".json") {
        Format::Json
    } else if suffix(".pb") || looks_binary(bytes) {
        Format::Binary
    } else if bytes.trim_ascii_start().starts_with(b"{") {
        Format::Json
    } else {
        Format::Yaml
    }
}

fn looks_binary(bytes: &[u8]) -> bool {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let control = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    !utf16 && (bytes.iter().any(control) || std::str::from_utf8(bytes).is_err())
}

/// The document of a file, with what was found so far and the text that it was read from.
fn parse_tree(
    file_name: &str,
    bytes: &[u8],
    options: &ReadOptions,
) -> Result<(Node, Sink, String), Diagnostics> {
    let json = detect(file_name, bytes, options.format) == Format::Json;
    let source = if json {
        match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(error) => {
                let (line, column) = tree::place_of(&bytes[..error.valid_up_to()]);
                let source = String::from_utf8_lossy(bytes);
                let mut sink = Sink::new(file_name, &source);
                sink.error(tree::Place { line, column }, "", "text is not UTF-8", None);
                return Err(sink.into_errors());
            }
        }
    } else {
        decode_yaml_text(bytes)
    };
    let mut sink = Sink::new(file_name, &source);
    let root = if json { json::parse(&source, &mut sink) } else { yaml::parse(&source, &mut sink) };
    let Some(mut root) = root else { return Err(sink.into_errors()) };
    tree::check_duplicates(&mut root, options.duplicate_keys, json, &mut sink);
    Ok((root, sink, source))
}

/// yaml-cpp reads UTF-8 and UTF-16 and replaces what is neither.
fn decode_yaml_text(bytes: &[u8]) -> String {
    let units = |read: fn([u8; 2]) -> u16| {
        let (pairs, _) = bytes[2..].as_chunks::<2>();
        pairs.iter().map(|pair| read(*pair)).collect::<Vec<u16>>()
    };
    let units = match bytes {
        [0xff, 0xfe, ..] => units(u16::from_le_bytes),
        [0xfe, 0xff, ..] => units(u16::from_be_bytes),
        _ => return String::from_utf8_lossy(bytes).into_owned(),
    };
    String::from_utf16_lossy(&units)
}
