//! `envoy.config.core.v3.Metadata`: opaque data for filters, balancing and access logs.

use std::collections::BTreeMap;

use proto::envoy::config::core::v3 as pb;
use serde_json::Value;

use super::field;

/// Metadata by namespace, such as `envoy.lb`. Numbers are doubles, as in a proto `Struct`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `filter_metadata`; each value is a JSON object with sorted keys.
    pub filter: BTreeMap<String, Value>,
    /// `typed_filter_metadata`, as type URL and bytes: kept so that a change is a change.
    pub typed: BTreeMap<String, (String, Vec<u8>)>,
}

impl Metadata {
    /// The value at `path` inside namespace `filter`.
    #[must_use]
    pub fn find<'a>(
        &self,
        filter: &str,
        path: impl IntoIterator<Item = &'a str>,
    ) -> Option<&Value> {
        path.into_iter().try_fold(self.filter.get(filter)?, |value, key| value.get(key))
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filter.is_empty() && self.typed.is_empty()
    }
}

/// Metadata of a message that may have none; every value is good.
#[must_use]
pub fn parse(metadata: Option<pb::Metadata>) -> Metadata {
    let Some(metadata) = metadata else { return Metadata::default() };
    let object = |(key, value)| (key, Value::Object(field::json_object(value)));
    let typed = metadata.typed_filter_metadata.into_iter();
    Metadata {
        filter: metadata.filter_metadata.into_iter().map(object).collect(),
        typed: typed.map(|(key, any)| (key, (any.type_url, any.value))).collect(),
    }
}
