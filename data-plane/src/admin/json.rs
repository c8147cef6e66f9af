//! JSON in the form of Envoy's admin pages: one blank a level, a line break at the end.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::telemetry::access_log::time::TimeFormat;

/// A document with its line break.
pub(super) fn pretty(value: &Value) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // Writing a value into memory cannot fail.
    let _ = value.serialize(&mut serializer);
    out.push(b'\n');
    String::from_utf8_lossy(&out).into_owned()
}

/// `2026-11-24T22:20:21.744Z`.
pub(super) fn timestamp(time: SystemTime) -> Value {
    let mut out = Vec::new();
    TimeFormat::iso().write(time, &mut out);
    String::from_utf8_lossy(&out).into_owned().into()
}

/// An object in the making that leaves out what holds its default.
#[derive(Default)]
pub(super) struct Object(Map<String, Value>);

impl Object {
    /// Adds a field, whatever it holds.
    pub(super) fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a field unless it is empty, zero, false or null.
    pub(super) fn put(self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let is_default = match &value {
            Value::Null => true,
            Value::Bool(truth) => !truth,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(_) => false,
        };
        if is_default { self } else { self.set(name, value) }
    }

    pub(super) fn done(self) -> Value {
        Value::Object(self.0)
    }
}

/// A 64-bit number as proto JSON writes it; empty for 0, so that [`Object::put`] leaves it out.
pub(super) fn long(number: u64) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}
