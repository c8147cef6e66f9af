//! `/stats/prometheus`: Envoy's exposition, with its label order, `{}` on series without labels, no
//! HELP and no `_total`.
//!
//! Tags come from the group's place in the tree, not from expressions over names: a cluster's name
//! with dots stays one label (Envoy cuts it at the first dot unless `stats_tags` says otherwise).

use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::histogram::{BOUNDS, Distribution, QUANTILES};
use super::super::number::general;
use super::super::rows::{Row, Value};
use super::Buckets;

/// `text_readouts`: whether texts are printed, as gauges of value 0 with a label `text_value`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextReadouts {
    /// They are left out.
    #[default]
    Omit,
    /// They are printed.
    Print,
}

/// Counters, gauges, texts, histograms, each family by name. `buckets` is `Cumulative` (the
/// default here) or `Summary`.
#[must_use]
pub fn prometheus(rows: Vec<Row>, buckets: Buckets, texts: TextReadouts) -> String {
    let mut families: BTreeMap<(u8, String), Vec<(Series, Row)>> = BTreeMap::new();
    for row in rows {
        let rank = match row.value {
            Value::Counter(_) => 0,
            Value::Gauge(_) => 1,
            Value::Text(_) if texts == TextReadouts::Omit => continue,
            Value::Text(_) => 2,
            Value::Histogram { .. } => 3,
        };
        let series = Series::of(&row);
        families.entry((rank, series.family.clone())).or_default().push((series, row));
    }
    let mut out = String::new();
    for ((rank, family), mut series) in families {
        series.sort_unstable_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        let kind = match (rank, buckets) {
            (0, _) => "counter",
            (1 | 2, _) => "gauge",
            (_, Buckets::Summary) => "summary",
            _ => "histogram",
        };
        let name = metric_name(&family);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# TYPE {name} {kind}");
        for (series, row) in &series {
            print(&mut out, &name, &series.labels, &row.value, buckets);
        }
    }
    out
}

fn print(out: &mut String, name: &str, labels: &str, value: &Value, buckets: Buckets) {
    let _ = match value {
        Value::Counter(value) | Value::Gauge(value) => {
            writeln!(out, "{name}{{{labels}}} {value}")
        }
        Value::Text(text) => {
            let labels = with(labels, "text_value", text);
            writeln!(out, "{name}{{{labels}}} 0")
        }
        Value::Histogram { cumulative, .. } => {
            match buckets {
                Buckets::Summary => print_quantiles(out, name, labels, cumulative),
                _ => print_buckets(out, name, labels, cumulative),
            }
            let sum = general(cumulative.sum(), 32);
            let count = cumulative.count();
            writeln!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}")
        }
    };
}

fn print_buckets(out: &mut String, name: &str, labels: &str, distribution: &Distribution) {
    for (at, &bound) in BOUNDS.iter().enumerate() {
        let labels = with(labels, "le", &general(bound, 32));
        let _ = writeln!(out, "{name}_bucket{{{labels}}} {}", distribution.below(at));
    }
    let labels = with(labels, "le", "+Inf");
    let _ = writeln!(out, "{name}_bucket{{{labels}}} {}", distribution.count());
}

fn print_quantiles(out: &mut String, name: &str, labels: &str, distribution: &Distribution) {
    for q in QUANTILES {
        let labels = with(labels, "quantile", &general(q, 6));
        let value = general(distribution.quantile(q).unwrap_or_default(), 32);
        let _ = writeln!(out, "{name}{{{labels}}} {value}");
    }
}

fn with(labels: &str, key: &str, value: &str) -> String {
    let comma = if labels.is_empty() { "" } else { "," };
    format!("{labels}{comma}{key}=\"{}\"", escaped(value))
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

/// A row's family (dotted, without what labels say) and its labels.
struct Series {
    family: String,
    labels: String,
}

impl Series {
    fn of(row: &Row) -> Self {
        let scope = &row.group.scope;
        let mut rest = row.name.strip_prefix(&*scope.prefix).unwrap_or(&row.name);
        let mut labels = String::new();
        let mut family = scope.family.to_string();
        if let Some(worker) = row.worker {
            labels = with(&labels, "envoy_worker_id", &worker.to_string());
            family.push_str("worker_");
            rest = rest.split_once('.').map_or(rest, |(_, rest)| rest);
        }
        if let Some((stem, tag, value)) = response_tag(rest) {
            labels = with(&labels, tag, value);
            family.push_str(&stem);
        } else {
            family.push_str(rest);
        }
        for (tag, value) in &scope.tags {
            labels = with(&labels, &format!("envoy_{tag}"), value);
        }
        Self { family, labels }
    }
}

/// `upstream_rq_2xx` is `upstream_rq_xx` of class 2, `upstream_rq_200` is `upstream_rq` of code
/// 200.
fn response_tag(name: &str) -> Option<(String, &'static str, &str)> {
    let (stem, last) = name.rsplit_once('_')?;
    if !stem.ends_with("_rq") || last.len() != 3 {
        return None;
    }
    let (class, tail) = last.split_at(1);
    if !class.starts_with(['1', '2', '3', '4', '5']) {
        return None;
    }
    if tail == "xx" {
        return Some((format!("{stem}_xx"), "envoy_response_code_class", class));
    }
    let digits = tail.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| (stem.to_owned(), "envoy_response_code", last))
}

fn metric_name(family: &str) -> String {
    let mut name = String::from("envoy_");
    name.extend(family.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    name
}
