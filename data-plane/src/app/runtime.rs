//! Runtime keys as the data path asks for them: the static layers, flattened.

use std::collections::HashMap;

use serde_json::Value;

use crate::config::bootstrap::RuntimeConfig;
use crate::route::RuntimeKeys;

/// All keys that are numbers or fractions, by the last layer that has them.
#[derive(Debug, Default)]
pub(super) struct FlatRuntime {
    values: HashMap<String, Value>,
}

impl FlatRuntime {
    pub(super) fn new(config: &RuntimeConfig) -> Self {
        let layers = config.layers.iter().flat_map(|layer| layer.values.clone());
        Self { values: layers.collect() }
    }
}

impl RuntimeKeys for FlatRuntime {
    fn integer(&self, key: &str) -> Option<u64> {
        match self.values.get(key)? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn fraction(&self, key: &str) -> Option<(u32, u32)> {
        let Value::Object(fraction) = self.values.get(key)? else {
            let percent = self.integer(key)?.min(100);
            return Some((u32::try_from(percent).unwrap_or(100), 100));
        };
        let numerator = fraction.get("numerator").and_then(Value::as_u64).unwrap_or(0);
        let denominator = match fraction.get("denominator").and_then(Value::as_str) {
            Some("MILLION") => 1_000_000,
            Some("TEN_THOUSAND") => 10_000,
            _ => 100,
        };
        Some((u32::try_from(numerator).unwrap_or(u32::MAX), denominator))
    }
}
