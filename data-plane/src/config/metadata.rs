//! `envoy.config.core.v3.Metadata`: opaque data for filters, balancing and access logs.

use std::collections::BTreeMap;

use serde_json::Value;

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
