//! A gateway's listener: one filter chain, an HTTP connection manager, routes by RDS.

use proto::convert::{boolean, pack};
use proto::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use proto::envoy::extensions::filters::http::router::v3::Router;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds, http_connection_manager, http_filter,
};
use proto::text::{self, DuplicateKeys, Format, ReadOptions, UnknownFields};

use super::{ads, metadata, socket_address};
use crate::intent::Gateway;
use crate::intent::yaml::{Mark, Node, Value};

/// Name of the filter that sends requests on; always last.
const ROUTER: &str = "envoy.filters.http.router";

/// The listener, or what is wrong with the gateway's HTTP filters.
pub(super) fn build(gateway: &Gateway) -> Result<Listener, Vec<(Mark, String)>> {
    let mut http_filters = Vec::new();
    let mut faults = Vec::new();
    for node in &gateway.http_filters {
        match http_filter(node) {
            Ok(filter) => http_filters.push(filter),
            Err(found) => faults.extend(found),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let router = pack(&Router::default());
    http_filters.push(HttpFilter {
        name: ROUTER.into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(router)),
        ..Default::default()
    });
    let rds = Rds { config_source: ads(), route_config_name: gateway.name.clone() };
    let manager = HttpConnectionManager {
        stat_prefix: gateway.name.clone(),
        route_specifier: Some(http_connection_manager::RouteSpecifier::Rds(rds)),
        http_filters,
        // As for a proxy at the edge: what clients say of themselves is not taken for granted.
        use_remote_address: Some(boolean(true)),
        normalize_path: Some(boolean(true)),
        ..Default::default()
    };
    let filter = Filter {
        name: "envoy.filters.network.http_connection_manager".into(),
        config_type: Some(filter::ConfigType::TypedConfig(pack(&manager))),
    };
    Ok(Listener {
        name: gateway.name.clone(),
        address: socket_address(gateway.listen.ip().to_string(), gateway.listen.port()),
        filter_chains: vec![FilterChain { filters: vec![filter], ..Default::default() }],
        metadata: metadata(&gateway.name),
        ..Default::default()
    })
}

/// One of Envoy's HTTP filters as it stands in the mesh file.
fn http_filter(node: &Node) -> Result<hcm::HttpFilter, Vec<(Mark, String)>> {
    let options = ReadOptions {
        format: Format::Json,
        unknown_fields: UnknownFields::Refuse,
        duplicate_keys: DuplicateKeys::Refuse,
    };
    let json = node.to_json().to_string();
    let read = text::parse::<HttpFilter>("", json.as_bytes(), &options).map_err(|found| {
        let fault = |d: &text::Diagnostic| {
            let hint = d.suggestion.as_ref().map(|name| format!("; did you mean '{name}'?"));
            let path = if d.path.is_empty() { String::new() } else { format!("{}: ", d.path) };
            let text = format!("http_filters: {path}{}{}", d.message, hint.unwrap_or_default());
            (locate(node, &d.path), text)
        };
        found.errors.iter().map(fault).collect::<Vec<_>>()
    })?;
    if read.message.name == ROUTER {
        let text = format!("http_filters: {ROUTER} is put last by itself");
        return Err(vec![(node.mark, text)]);
    }
    Ok(read.message)
}

/// Where the part of the value is that the path names, or what encloses it most closely.
fn locate(node: &Node, path: &str) -> Mark {
    let mut found = node;
    let mut mark = node.mark;
    let steps = path.split(['.', '[']).map(|step| step.trim_matches(['"', ']']));
    for step in steps.filter(|step| !step.is_empty()) {
        let next = match &found.value {
            Value::Map(entries) => {
                entries.iter().find(|e| e.key == step).map(|e| (&e.value, e.key_mark))
            }
            Value::List(items) => {
                let item = step.parse::<usize>().ok().and_then(|index| items.get(index));
                item.map(|item| (item, item.mark))
            }
            Value::Scalar { .. } => None,
        };
        let Some((next, place)) = next else { break };
        (found, mark) = (next, place);
    }
    mark
}
