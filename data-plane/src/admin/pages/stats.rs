//! `/stats`, `/stats/prometheus`, `/reset_counters`.

use super::super::regex_error::compile;
use super::super::reply::{HTML, Reply};
use super::Call;
use crate::telemetry::stats::render::{self, Buckets, TextReadouts};
use crate::telemetry::stats::{Kinds, Query};

const FORMATS: &str = "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n";
const BUCKETS: &str = "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|\
                       prometheusnative)\n";

fn query(call: &Call<'_>) -> Result<Query, String> {
    let expression = |name: &str| {
        let source = call.params.get(name).filter(|source| !source.is_empty());
        let invalid = |error: String| format!("Invalid re2 regex: {error}");
        source.map(compile).transpose().map_err(invalid)
    };
    let filter = expression("filter")?;
    let invert = expression("invert_filter")?;
    if invert.is_some() && filter.is_none() {
        return Err("invert_filter can only be used if filter is also provided".to_owned());
    }
    let kinds = match call.params.get("type") {
        None => Kinds::All,
        Some(name) => Kinds::parse(name).ok_or("invalid &type= param")?,
    };
    Ok(Query { filter, invert, used_only: call.params.has("usedonly"), kinds })
}

pub(super) fn page(call: &Call<'_>) -> Reply {
    let format = call.params.get("format").unwrap_or("text");
    if format == "prometheus" {
        return prometheus(call);
    }
    if !matches!(format, "text" | "json" | "html" | "active-html" | "") {
        return Reply::error(400, FORMATS);
    }
    let buckets = Buckets::parse(call.params.get("histogram_buckets").unwrap_or_default());
    let Some(buckets) = buckets else {
        return Reply::error(400, BUCKETS);
    };
    let query = match query(call) {
        Ok(query) => query,
        Err(error) => return Reply::error(400, error),
    };
    call.state.refresh_stats();
    let rows = call.registry.rows(&query);
    match format {
        "json" => Reply::json(render::json(rows, buckets)),
        "html" | "active-html" => {
            let text = render::text(rows, buckets).replace('<', "&lt;");
            let page = format!(
                "<!DOCTYPE html>\n<html lang=\"en\">\n<head><title>Envoy Admin</title></head>\n\
                 <body>\n<pre>\n{text}</pre>\n</body>\n</html>\n"
            );
            Reply::text(page).of_type(HTML)
        }
        _ => Reply::text(render::text(rows, buckets)),
    }
}

pub(super) fn prometheus(call: &Call<'_>) -> Reply {
    let buckets = match call.params.get("histogram_buckets").map(Buckets::parse) {
        None => Buckets::Cumulative,
        Some(Some(buckets @ (Buckets::Cumulative | Buckets::Summary))) => buckets,
        Some(Some(_)) => {
            return Reply::error(400, "unsupported prometheus histogram bucket mode");
        }
        Some(None) => return Reply::error(400, BUCKETS),
    };
    let query = match query(call) {
        Ok(query) => query,
        Err(error) => return Reply::error(400, error),
    };
    let print = call.params.has("text_readouts");
    let texts = if print { TextReadouts::Print } else { TextReadouts::Omit };
    call.state.refresh_stats();
    Reply::text(render::prometheus(call.registry.rows(&query), buckets, texts))
}

pub(super) fn reset_counters(call: &Call<'_>) -> Reply {
    call.registry.reset_counters();
    Reply::ok()
}
