//! Header changes of one level, compiled: what they do to a message's fields.
//!
//! Removals come first, then the additions in their order (Envoy's `HeaderParser`). A value without
//! `%` is made once, when the table is built; others are formats whose facts only the caller
//! knows, so it renders them. Names with a colon and `host` cannot stand here: the configuration
//! refuses them.

use http::header::Entry;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::header_mutation::{AppendAction, EmptyValue, HeaderValueOption};

/// The changes of one level to one side's headers.
#[derive(Clone, Debug, Default)]
pub struct HeaderEdits {
    remove: Vec<HeaderName>,
    add: Vec<Addition>,
}

#[derive(Clone, Debug)]
struct Addition {
    name: HeaderName,
    value: Value,
    action: AppendAction,
    empty: EmptyValue,
}

#[derive(Clone, Debug)]
enum Value {
    Format(Box<str>),
    Static(HeaderValue),
}

impl HeaderEdits {
    /// Compiles the two lists of one level.
    #[must_use]
    pub fn new(remove: &[HeaderName], add: &[HeaderValueOption]) -> Self {
        let add = add.iter().map(|option| Addition {
            name: option.name.clone(),
            value: Value::new(&option.value),
            action: option.append_action,
            empty: option.keep_empty_value,
        });
        Self { remove: remove.to_vec(), add: add.collect() }
    }

    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    /// Changes `headers`. `render` makes a value of a format with operators, given the headers as
    /// they are at that moment; what cannot stand in a header is dropped.
    pub fn apply(
        &self,
        headers: &mut HeaderMap,
        render: &mut dyn FnMut(&str, &HeaderMap) -> Vec<u8>,
    ) {
        for name in &self.remove {
            headers.remove(name);
        }
        for addition in &self.add {
            let value = match &addition.value {
                Value::Static(value) => value.clone(),
                Value::Format(format) => {
                    let Ok(value) = HeaderValue::from_maybe_shared(render(format, headers)) else {
                        continue;
                    };
                    value
                }
            };
            if !value.is_empty() || addition.empty == EmptyValue::Keep {
                put(headers, &addition.name, value, addition.action);
            }
        }
    }
}

impl Value {
    fn new(text: &str) -> Self {
        match HeaderValue::from_str(text) {
            Ok(value) if !text.contains('%') => Self::Static(value),
            _ => Self::Format(text.into()),
        }
    }
}

/// Adds or sets one field.
pub fn put(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue, action: AppendAction) {
    match (action, headers.entry(name)) {
        (AppendAction::OverwriteIfExists, Entry::Vacant(_))
        | (AppendAction::AddIfAbsent, Entry::Occupied(_)) => {}
        (_, Entry::Vacant(entry)) => {
            entry.insert(value);
        }
        (AppendAction::AppendIfExistsOrAdd, Entry::Occupied(mut entry)) => {
            if is_single(name) {
                let joined = [entry.get().as_bytes(), b",", value.as_bytes()].concat();
                if let Ok(joined) = HeaderValue::from_bytes(&joined) {
                    entry.insert(joined);
                }
            } else {
                entry.append(value);
            }
        }
        (_, Entry::Occupied(mut entry)) => {
            entry.insert(value);
        }
    }
}

/// Whether Envoy keeps one field of that name and joins what is appended with a comma (its
/// predefined inline headers).
fn is_single(name: &HeaderName) -> bool {
    SINGLE.binary_search(&name.as_str()).is_ok()
}

/// Sorted. Found by asking Envoy 1.40.0 for each.
const SINGLE: &[&str] = &[];
