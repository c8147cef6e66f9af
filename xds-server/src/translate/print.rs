//! Resources as YAML for people, in the form of Envoy's file subscriptions.
//!
//! Each resource has a comment with the place that it comes from. The text can be put into a
//! folder and served in raw mode: it reads back to the same resources.

use std::fmt::Write as _;

use anyhow::Context as _;
use proto::prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use crate::snapshot::Resource;

/// The resources as one document.
///
/// # Errors
/// A resource of a type that is not part of Envoy's API.
pub fn print<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> anyhow::Result<String> {
    let pool = proto::descriptors();
    let mut text = String::from("resources:");
    let mut any = false;
    for resource in resources {
        any = true;
        if let Some(place) = &resource.place {
            write!(text, "\n# {place}")?;
        }
        text.push_str("\n- ");
        emit(&mut text, &json(&pool, resource)?, 1);
    }
    text.push_str(if any { "\n" } else { " []\n" });
    Ok(text)
}

fn json(pool: &DescriptorPool, resource: &Resource) -> anyhow::Result<Value> {
    let url = &resource.any.type_url;
    let name = url.rsplit('/').next().unwrap_or(url);
    let descriptor = pool.get_message_by_name(name).with_context(|| format!("no type {url}"))?;
    let message = DynamicMessage::decode(descriptor, resource.any.value.as_slice())
        .with_context(|| resource.title())?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    let body = message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .with_context(|| resource.title())?;
    let mut object = serde_json::Map::new();
    object.insert("@type".into(), url.as_str().into());
    if let Value::Object(fields) = body {
        object.extend(fields);
    }
    Ok(Value::Object(object))
}

/// Writes a value that begins at the cursor; `depth` is the indent of its further lines.
fn emit(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (index, (key, value)) in fields.iter().enumerate() {
                if index > 0 {
                    let _ = write!(text, "\n{indent}");
                }
                text.push_str(&scalar(key));
                text.push(':');
                nested(text, value, depth);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    let _ = write!(text, "\n{indent}");
                }
                text.push_str("- ");
                emit(text, item, depth + 1);
            }
        }
        Value::String(string) => text.push_str(&scalar(string)),
        Value::Number(number) => text.push_str(&plain_number(number)),
        other => text.push_str(&other.to_string()),
    }
}

/// What follows a key: on its line where it fits, else below.
fn nested(text: &mut String, value: &Value, depth: usize) {
    let below = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if !below {
        text.push(' ');
        emit(text, value, depth);
        return;
    }
    // Lists stand at their key's own indent, as people write them.
    let depth = if value.is_array() { depth } else { depth + 1 };
    let _ = write!(text, "\n{}", "  ".repeat(depth));
    emit(text, value, depth);
}

/// A text plainly where YAML cannot take it for anything else, else quoted as in JSON.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let word = words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain) && !word {
        return text.to_owned();
    }
    Value::String(text.to_owned()).to_string()
}

/// `Struct` knows floats only; whole ones are shown as they were written.
fn plain_number(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => {
            format!("{float:.0}")
        }
        _ => number.to_string(),
    }
}
