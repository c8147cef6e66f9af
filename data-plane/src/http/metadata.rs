//! Dynamic metadata: what filters tell those after them about a request, by namespace and key.

use std::ops::Deref;
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
    namespace: Text,
    key: Text,
    value: Told,
}

/// A name or a text. One of the program's own is cloned without touching a counter that other
/// cores touch.
#[derive(Clone, Debug)]
pub enum Text {
    /// The program's own.
    Fixed(&'static str),
    /// The configuration's.
    Shared(Arc<str>),
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

/// A value under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A truth value.
    Flag(bool),
    /// A text.
    Text(Text),
}

impl DynamicMetadata {
    /// Tells a value; what the key held before is gone.
    pub fn tell(&mut self, namespace: &Text, key: &Text, value: Told) {
        let mut fields = self.fields.iter_mut();
        match fields.find(|field| field.namespace == *namespace && field.key == *key) {
            Some(field) => field.value = value,
            None => {
                self.fields.push(Field { namespace: namespace.clone(), key: key.clone(), value })
            }
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
