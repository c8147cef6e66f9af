//! Dynamic metadata: what filters tell those after them about a request, by namespace and key.

use std::sync::Arc;

use crate::config::value_matcher::{Leaf, MetadataMatcher};

/// What was told so far. Empty for most requests, and then it owns no memory.
#[derive(Debug, Default)]
pub struct DynamicMetadata {
    // A handful of keys: looking through them costs less than a map.
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    namespace: Arc<str>,
    key: Arc<str>,
    value: Told,
}

/// A value under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A truth value.
    Flag(bool),
    /// A text.
    Text(Arc<str>),
}

impl DynamicMetadata {
    /// Tells a value; what the key held before is gone.
    pub fn tell(&mut self, namespace: &Arc<str>, key: &Arc<str>, value: Told) {
        let mut fields = self.fields.iter_mut();
        match fields.find(|field| field.namespace == *namespace && field.key == *key) {
            Some(field) => field.value = value,
            None => self.fields.push(Field {
                namespace: Arc::clone(namespace),
                key: Arc::clone(key),
                value,
            }),
        }
    }

    /// Whether a test of what was told holds.
    #[must_use]
    pub fn matches(&self, matcher: &MetadataMatcher) -> bool {
        // No filter tells an object, so no path leads further than a key.
        let [key] = &*matcher.path else { return matcher.is_match(None) };
        let mut fields = self.fields.iter();
        let told = fields.find(|f| *f.namespace == *matcher.filter && *f.key == **key);
        matcher.is_match(told.map(|field| match &field.value {
            Told::Flag(flag) => Leaf::Flag(*flag),
            Told::Text(text) => Leaf::Text(text),
        }))
    }
}
