//! `/stats?format=json`: one line, numbers as numbers.

use std::fmt::Write;

use super::super::histogram::{BOUNDS, Bucket, Distribution, QUANTILES};
use super::super::number::shortest;
use super::super::rows::{Row, Value};
use super::Buckets;

type Histograms<'a> = Vec<(&'a str, &'a Distribution, &'a Distribution)>;

/// `{"stats":[{"name":…,"value":…},…,{"histograms":…}]}`.
#[must_use]
pub fn json(mut rows: Vec<Row>, buckets: Buckets) -> String {
    super::sort(&mut rows);
    let mut items = Vec::new();
    let mut histograms = Histograms::new();
    for row in &rows {
        let name = quoted(&row.name);
        match &row.value {
            Value::Counter(value) | Value::Gauge(value) => {
                items.push(format!("{{\"name\":{name},\"value\":{value}}}"));
            }
            Value::Text(text) => {
                items.push(format!("{{\"name\":{name},\"value\":{}}}", quoted(text)));
            }
            Value::Histogram { cumulative, interval } => {
                histograms.push((&row.name, cumulative, interval));
            }
        }
    }
    if !histograms.is_empty() {
        let histograms = match buckets {
            Buckets::Summary => summaries(&histograms),
            Buckets::Cumulative => counts(&histograms, Distribution::below),
            Buckets::Disjoint => counts(&histograms, Distribution::between),
            Buckets::Detailed => details(&histograms),
        };
        items.push(format!("{{\"histograms\":{histograms}}}"));
    }
    format!("{{\"stats\":[{}]}}", items.join(","))
}

fn quoted(text: &str) -> String {
    // A string always serialises.
    serde_json::to_string(text).unwrap_or_default()
}

fn list<T>(items: impl IntoIterator<Item = T>, one: impl Fn(T) -> String) -> String {
    let mut out = String::from("[");
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&one(item));
    }
    out.push(']');
    out
}

fn percents() -> String {
    list(QUANTILES, |q| shortest((q * 1000.0).round() / 10.0))
}

fn quantiles(cumulative: &Distribution, interval: &Distribution) -> String {
    let at = |d: &Distribution, q| d.quantile(q).map_or_else(|| "null".to_owned(), shortest);
    list(QUANTILES, |q| {
        format!("{{\"cumulative\":{},\"interval\":{}}}", at(cumulative, q), at(interval, q))
    })
}

fn summaries(histograms: &Histograms<'_>) -> String {
    let computed = list(histograms, |(name, cumulative, interval)| {
        format!("{{\"name\":{},\"values\":{}}}", quoted(name), quantiles(cumulative, interval))
    });
    format!("{{\"supported_quantiles\":{},\"computed_quantiles\":{computed}}}", percents())
}

fn counts(histograms: &Histograms<'_>, count: fn(&Distribution, usize) -> u64) -> String {
    list(histograms, |(name, cumulative, interval)| {
        let buckets = list(BOUNDS.iter().enumerate(), |(at, &bound)| {
            let mut bucket = String::new();
            // Writing to a String cannot fail.
            let _ = write!(
                bucket,
                "{{\"upper_bound\":{},\"interval\":{},\"cumulative\":{}}}",
                shortest(bound),
                count(interval, at),
                count(cumulative, at)
            );
            bucket
        });
        format!("{{\"name\":{},\"buckets\":{buckets}}}", quoted(name))
    })
}

fn details(histograms: &Histograms<'_>) -> String {
    let parts = |d: &Distribution| {
        list(&d.buckets, |(bucket, count): &(Bucket, u64)| {
            let (low, width) = (shortest(bucket.low), shortest(bucket.width));
            format!("{{\"lower_bound\":{low},\"width\":{width},\"count\":{count}}}")
        })
    };
    let details = list(histograms, |(name, cumulative, interval)| {
        format!(
            "{{\"name\":{},\"totals\":{},\"intervals\":{},\"percentiles\":{}}}",
            quoted(name),
            parts(cumulative),
            parts(interval),
            quantiles(cumulative, interval)
        )
    });
    format!("{{\"supported_percentiles\":{},\"details\":{details}}}", percents())
}
