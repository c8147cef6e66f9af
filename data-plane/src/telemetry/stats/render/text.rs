//! `/stats` as text.

use std::fmt::Write;

use super::super::histogram::{BOUNDS, Distribution, QUANTILES};
use super::super::number::general;
use super::super::rows::{Row, Value};
use super::Buckets;

/// `name: value` lines; texts quoted, histograms last.
#[must_use]
pub fn text(mut rows: Vec<Row>, buckets: Buckets) -> String {
    super::sort(&mut rows);
    let mut out = String::new();
    for row in rows {
        let name = &row.name;
        // Writing to a String cannot fail.
        let _ = match &row.value {
            Value::Counter(value) | Value::Gauge(value) => writeln!(out, "{name}: {value}"),
            Value::Text(text) => writeln!(out, "{name}: \"{}\"", escape_html(text)),
            Value::Histogram { cumulative, interval } => {
                writeln!(out, "{name}:{}", histogram(cumulative, interval, buckets))
            }
        };
    }
    out
}

/// Envoy's text page is safe to show in a browser.
fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn histogram(cumulative: &Distribution, interval: &Distribution, buckets: Buckets) -> String {
    if buckets == Buckets::Detailed {
        let (totals, intervals) = (pairs(cumulative), pairs(interval));
        let summary = summary(cumulative, interval);
        return format!("\n  totals={totals}\n  intervals={intervals}\n  summary={summary}");
    }
    if cumulative.count() == 0 && buckets == Buckets::Summary {
        return " No recorded values".to_owned();
    }
    match buckets {
        Buckets::Cumulative => format!(" {}", counts(cumulative, interval, Distribution::below)),
        Buckets::Disjoint => format!(" {}", counts(cumulative, interval, Distribution::between)),
        _ => format!(" {}", summary(cumulative, interval)),
    }
}

fn summary(cumulative: &Distribution, interval: &Distribution) -> String {
    if cumulative.count() == 0 {
        return "No recorded values".to_owned();
    }
    let at =
        |d: &Distribution, q| d.quantile(q).map_or_else(|| "nan".to_owned(), |v| v.to_string());
    let quantile =
        |&q: &f64| format!("P{}({},{})", general(q * 100.0, 6), at(interval, q), at(cumulative, q));
    QUANTILES.iter().map(quantile).collect::<Vec<_>>().join(" ")
}

fn counts(
    cumulative: &Distribution,
    interval: &Distribution,
    count: fn(&Distribution, usize) -> u64,
) -> String {
    let bucket = |(at, &bound): (usize, &f64)| {
        format!("B{}({},{})", general(bound, 6), count(interval, at), count(cumulative, at))
    };
    BOUNDS.iter().enumerate().map(bucket).collect::<Vec<_>>().join(" ")
}

fn pairs(distribution: &Distribution) -> String {
    let pair = |(bucket, count): &(super::super::histogram::Bucket, u64)| {
        format!("{},{}:{count}", general(bucket.low, 6), general(bucket.width, 6))
    };
    distribution.buckets.iter().map(pair).collect::<Vec<_>>().join(", ")
}
