//! The texts of `/stats` and `/stats/prometheus`, to the byte as Envoy prints them.

mod json;
mod prometheus;
mod text;

pub use json::json;
pub use prometheus::{TextReadouts, prometheus};
pub use text::text;

use super::rows::{Row, Value};

/// `histogram_buckets=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Buckets {
    /// Percentiles (the default of text and JSON).
    #[default]
    Summary,
    /// Buckets that count all below their bound.
    Cumulative,
    /// Buckets that count from the bound before.
    Disjoint,
    /// All that is known.
    Detailed,
}

impl Buckets {
    /// The value of `histogram_buckets=`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "summary" | "none" | "" => Self::Summary,
            "cumulative" => Self::Cumulative,
            "disjoint" => Self::Disjoint,
            "detailed" => Self::Detailed,
            _ => return None,
        })
    }
}

/// Texts first, then counters and gauges together, then histograms; each by name.
fn sort(rows: &mut [Row]) {
    rows.sort_unstable_by(|a, b| {
        let rank = |row: &Row| match row.value {
            Value::Text(_) => 0,
            Value::Counter(_) | Value::Gauge(_) => 1,
            Value::Histogram { .. } => 2,
        };
        rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name))
    });
}

#[cfg(test)]
mod tests;
