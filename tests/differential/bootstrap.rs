//! The bootstrap of a family, for both proxies the same but for ports and folder.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::case::Family;

/// The access log of the template.
const LOG_FORMAT: &str = "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% rx=%BYTES_RECEIVED% tx=%BYTES_SENT% \
    route=%ROUTE_NAME% cluster=%UPSTREAM_CLUSTER% host=%UPSTREAM_HOST% \
    attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% xff=%REQ(X-FORWARDED-FOR)% \
    authority=%REQ(:AUTHORITY)% remote=%DOWNSTREAM_REMOTE_ADDRESS%\n";

/// Where the clusters of the template lead.
pub(crate) struct Places {
    pub(crate) backend: SocketAddr,
    pub(crate) other: SocketAddr,
    pub(crate) dead: SocketAddr,
    pub(crate) h2: SocketAddr,
    pub(crate) collector: Option<SocketAddr>,
}

/// The text of a bootstrap; JSON is YAML.
pub(crate) fn text(family: &Family, places: &Places) -> String {
    let mut clusters = vec![
        cluster("backend", Some(places.backend)),
        cluster("other", Some(places.other)),
        cluster("dead", Some(places.dead)),
        cluster("empty", None),
        h2_cluster("h2", places.h2),
    ];
    clusters.extend(places.collector.map(|at| h2_cluster("collector", at)));
    clusters.extend(family.clusters.iter().cloned());
    let runtime = if family.runtime.is_null() { json!({}) } else { family.runtime.clone() };
    let bootstrap = json!({
        "node": {"id": "node-1", "cluster": "edge"},
        "admin": {"address": address(SocketAddr::from(([127, 0, 0, 1], 0)))},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": runtime}]},
        "static_resources": {
            "listeners": [listener(family)],
            "clusters": clusters,
        },
    });
    let (backend, h2) = (("backend", places.backend), ("h2", places.h2));
    let ports = [backend, ("other", places.other), ("dead", places.dead), h2];
    let mut text = serde_json::to_string_pretty(&bootstrap).expect("JSON can be written");
    for (name, place) in ports {
        text = text.replace(&format!("\"{{{{{name}}}}}\""), &place.port().to_string());
    }
    text
}

fn listener(family: &Family) -> Value {
    let mut listener = json!({
        "name": "main",
        "address": address(SocketAddr::from(([127, 0, 0, 1], 0))),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": manager(family),
        }]}],
    });
    if let (Some(fields), Some(more)) = (listener.as_object_mut(), family.listener.as_object()) {
        fields.extend(more.clone());
    }
    listener
}

fn manager(family: &Family) -> Value {
    let format = match &family.log_format {
        Value::Null => json!({"text_format_source": {"inline_string": LOG_FORMAT}}),
        Value::String(text) => json!({"text_format_source": {"inline_string": text}}),
        whole => whole.clone(),
    };
    let mut manager = json!({
        "@type": type_url("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "in",
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": type_url("filters.http.router.v3.Router")},
        }],
        "access_log": [{
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": type_url("access_loggers.file.v3.FileAccessLog"),
                "path": "{{folder}}/access.log",
                "log_format": format,
            },
        }],
        "route_config": family.routes,
    });
    if let (Some(fields), Some(more)) = (manager.as_object_mut(), family.manager.as_object()) {
        fields.extend(more.clone());
    }
    manager
}

fn cluster(name: &str, at: Option<SocketAddr>) -> Value {
    let endpoint = |at| json!([{"lb_endpoints": [{"endpoint": {"address": address(at)}}]}]);
    let endpoints = at.map_or_else(|| json!([]), endpoint);
    json!({
        "name": name,
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    })
}

fn h2_cluster(name: &str, at: SocketAddr) -> Value {
    let mut cluster = cluster(name, Some(at));
    cluster["typed_extension_protocol_options"] = json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": type_url("upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": {"http2_protocol_options": {}},
        },
    });
    cluster
}

fn address(at: SocketAddr) -> Value {
    json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}})
}

fn type_url(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{name}")
}
