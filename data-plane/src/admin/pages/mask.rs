//! Field masks of `/config_dump`: which fields of a message are shown.
//!
//! Works on the JSON of a message, where an `Any` is unpacked: what is below an `@type` is looked
//! up in that type. As in Envoy, a path cannot go through a repeated field.

use proto::{Descriptors, descriptors};
use serde_json::{Map, Value};

/// Paths of one mask: `cluster.name,last_updated`.
pub(super) struct Mask<'a> {
    paths: Vec<Vec<&'a str>>,
    /// Held while the mask is used, since making it is dear.
    pool: Descriptors,
}

impl<'a> Mask<'a> {
    pub(super) fn parse(mask: &'a str) -> Self {
        let paths = mask.split(',').map(|path| path.split('.').collect()).collect();
        Self { paths, pool: descriptors() }
    }

    /// `value`, a message with its `@type`, with the fields of the mask alone; `None` if a path
    /// does not fit the type.
    pub(super) fn apply(&self, value: &Value) -> Option<Value> {
        let mut kept = Map::new();
        for path in &self.paths {
            let message = type_of(value)?;
            keep(&self.pool, &message, value.as_object()?, path, &mut kept)?;
        }
        Some(Value::Object(kept))
    }
}

fn type_of(value: &Value) -> Option<String> {
    let url = value.get("@type")?.as_str()?;
    Some(proto::convert::type_name(url).to_owned())
}

/// Copies what `path` names from `from` to `to`.
fn keep(
    pool: &Descriptors,
    message: &str,
    from: &Map<String, Value>,
    path: &[&str],
    to: &mut Map<String, Value>,
) -> Option<()> {
    let (first, rest) = path.split_first()?;
    let field = pool.get_message_by_name(message)?.get_field_by_name(first)?;
    if let Some(url) = from.get("@type") {
        to.entry("@type").or_insert_with(|| url.clone());
    }
    let value = from.get(*first);
    if rest.is_empty() {
        if let Some(value) = value {
            to.insert((*first).to_owned(), value.clone());
        }
        return Some(());
    }
    if field.is_list() || field.is_map() {
        return None;
    }
    let inner = field.kind().as_message()?.full_name().to_owned();
    let Some(Value::Object(value)) = value else { return Some(()) };
    let unpacked = value.get("@type").and_then(Value::as_str).map(proto::convert::type_name);
    let inner = unpacked.map_or(inner, str::to_owned);
    let mut kept = match to.remove(*first) {
        Some(Value::Object(kept)) => kept,
        _ => Map::new(),
    };
    keep(pool, &inner, value, rest, &mut kept)?;
    to.insert((*first).to_owned(), Value::Object(kept));
    Some(())
}
