//! Free data (`google.protobuf.Struct`) as a message: what a `TypedStruct` carries.

use super::diagnostic::{self, Diagnostics, Sink};
use super::encode::Encoder;
use super::positions::SourceMap;
use super::tree::{DEPTH_MAX, Data, Entry, Node, Place};
use super::{ReadOptions, UnknownFields};
use crate::google::protobuf::{Struct, Value, value::Kind};
use crate::schema::schema;

/// The encoding of `data` as the message of that full name, by the rules for JSON.
///
/// # Errors
/// Everything in it that does not fit the message, with paths but without a file.
pub fn encode_struct(
    message_name: &str,
    data: &Struct,
    unknown_fields: UnknownFields,
) -> Result<Vec<u8>, Diagnostics> {
    let Some(message) = schema().message(message_name) else {
        return Err(diagnostic::whole_file("", &format!("no message {message_name}")));
    };
    let Some(root) = mapping(data, 0) else {
        let text = format!("nested deeper than {DEPTH_MAX}");
        return Err(diagnostic::whole_file("", &text));
    };
    let mut sink = Sink::new("", "");
    let options = ReadOptions { unknown_fields, ..ReadOptions::default() };
    let mut encoder = Encoder::new(&mut sink, SourceMap::default(), &options);
    let bytes = encoder.root(message, &root);
    sink.finish().map(|_| bytes)
}

fn node(data: Data) -> Node {
    Node { place: Place::default(), data }
}

/// `None` if it goes too deep.
fn mapping(data: &Struct, depth: usize) -> Option<Node> {
    let mut keys: Vec<&String> = data.fields.keys().collect();
    keys.sort_unstable();
    let entries = keys.into_iter().filter_map(|key| Some((key, data.fields.get(key)?)));
    let entries: Option<Vec<Entry>> = entries
        .map(|(key, value)| {
            let value = value_node(value, depth + 1)?;
            Some(Entry { key: key.clone(), place: Place::default(), value })
        })
        .collect();
    entries.map(|entries| node(Data::Map(entries)))
}

fn value_node(value: &Value, depth: usize) -> Option<Node> {
    if depth >= DEPTH_MAX {
        return None;
    }
    Some(node(match &value.kind {
        None | Some(Kind::NullValue(_)) => Data::Null,
        Some(Kind::NumberValue(number)) => Data::Number(number.to_string()),
        Some(Kind::StringValue(text)) => Data::Text(text.clone()),
        Some(Kind::BoolValue(value)) => Data::Bool(*value),
        Some(Kind::StructValue(inner)) => return mapping(inner, depth),
        Some(Kind::ListValue(list)) => {
            let items: Option<Vec<Node>> =
                list.values.iter().map(|item| value_node(item, depth + 1)).collect();
            Data::List(items?)
        }
    }))
}
