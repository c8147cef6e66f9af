//! Configurations that tests give to proxies and control planes.

use std::net::SocketAddr;

use serde_json::{Value, json};

const MANAGER: &str = "filters.network.http_connection_manager.v3.HttpConnectionManager";

/// A bootstrap with one listener `main` at port 0, a cluster `backend`, and a cluster `h2`.
#[must_use]
pub fn bootstrap(filters: Vec<Value>, backend: SocketAddr, h2: SocketAddr) -> String {
    let bootstrap = json!({
        "node": {"id": "edge-1", "cluster": "edge"},
        "admin": {"address": address(SocketAddr::from(([127, 0, 0, 1], 0)))},
        "static_resources": {
            "listeners": [listener(filters, routes())],
            "clusters": [cluster("backend", backend, false), cluster("h2", h2, true)],
        },
        "layered_runtime": {"layers": [
            {"name": "gomesh", "static_layer": {"gomesh.request_log": true}},
        ]},
    });
    bootstrap.to_string()
}

/// The text of a bootstrap with more fields in its connection manager.
///
/// # Panics
/// Where it is no bootstrap as `bootstrap` makes it.
#[must_use]
pub fn with_manager(text: &str, fields: &Value) -> String {
    let mut bootstrap: Value = serde_json::from_str(text).expect("a bootstrap");
    let chain = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0];
    let manager = chain["filters"][0]["typed_config"].as_object_mut().expect("a manager");
    manager.extend(fields.as_object().cloned().unwrap_or_default());
    bootstrap.to_string()
}

/// The listener of `bootstrap`.
#[must_use]
pub fn listener(filters: Vec<Value>, routes: Value) -> Value {
    let mut filters = filters;
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": type_url("filters.http.router.v3.Router")},
    }));
    json!({
        "name": "main",
        "address": address(SocketAddr::from(([127, 0, 0, 1], 0))),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": type_url(MANAGER),
                "stat_prefix": "in",
                "http_protocol_options": {"enable_trailers": true},
                "http_filters": filters,
                "route_config": routes,
            },
        }]}],
    })
}

/// `/h2` leads to the HTTP/2 backend, all else to the HTTP/1 one.
#[must_use]
pub fn routes() -> Value {
    json!({"name": "routes", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
        {"match": {"headers": [{"name": "x-to", "string_match": {"exact": "h2"}}], "prefix": "/"},
         "route": {"cluster": "h2", "timeout": "0s"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "backend"}},
    ]}]})
}

/// A cluster with one endpoint.
#[must_use]
pub fn cluster(name: &str, at: SocketAddr, http2: bool) -> Value {
    let protocol = if http2 { "http2_protocol_options" } else { "http_protocol_options" };
    let options = if http2 { json!({}) } else { json!({"enable_trailers": true}) };
    json!({
        "name": name,
        "connect_timeout": "2s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": type_url("upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": {protocol: options},
            },
        },
        "load_assignment": {"cluster_name": name, "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": address(at)}}]},
        ]},
    })
}

/// The filter that panics on `path` at a point.
#[must_use]
pub fn panic_filter(path: &str, at: &str) -> Value {
    json!({
        "name": format!("panic_{at}"),
        "is_optional": true,
        "typed_config": {
            "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
            "type_url": "type.googleapis.com/gomesh.filters.http.panic.v1.Panic",
            "value": {"path": path, "at": at},
        },
    })
}

/// A listener of that name whose chain is a TCP proxy with these fields.
#[must_use]
pub fn tcp_listener(name: &str, fields: &Value) -> Value {
    let mut proxy = json!({
        "@type": type_url("filters.network.tcp_proxy.v3.TcpProxy"),
        "stat_prefix": name,
    });
    for (field, value) in fields.as_object().into_iter().flatten() {
        proxy[field] = value.clone();
    }
    json!({
        "name": name,
        "address": address(SocketAddr::from(([127, 0, 0, 1], 0))),
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": proxy,
        }]}],
    })
}

/// A bootstrap of these listeners and clusters.
#[must_use]
pub fn of(listeners: &[Value], clusters: &[Value]) -> String {
    let bootstrap = json!({
        "admin": {"address": address(SocketAddr::from(([127, 0, 0, 1], 0)))},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    });
    bootstrap.to_string()
}

/// An access log in `access.log` of the proxy's folder.
#[must_use]
pub fn file_log(format: &str) -> Value {
    json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": type_url("access_loggers.file.v3.FileAccessLog"),
            "path": "{{folder}}/access.log",
            "log_format": {"text_format_source": {"inline_string": format}},
        },
    })
}

/// A socket address as Envoy writes it.
#[must_use]
pub fn address(at: SocketAddr) -> Value {
    json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}})
}

fn type_url(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{name}")
}

/// A bootstrap that gets everything by ADS from a server at `xds`.
#[must_use]
pub fn ads_bootstrap(xds: SocketAddr, delta: bool) -> String {
    let source = json!({"ads": {}, "resource_api_version": "V3"});
    let bootstrap = json!({
        "node": {"id": "edge-1", "cluster": "edge"},
        "admin": {"address": address(SocketAddr::from(([127, 0, 0, 1], 0)))},
        "dynamic_resources": {
            "ads_config": {
                "api_type": if delta { "DELTA_GRPC" } else { "GRPC" },
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "lds_config": source,
            "cds_config": source,
        },
        "static_resources": {"clusters": [cluster("xds", xds, true)]},
    });
    bootstrap.to_string()
}

/// Resources of a mesh of one: a listener, its routes by RDS, an EDS cluster, its endpoint.
#[must_use]
pub fn resources(backend: SocketAddr, path: &str) -> Vec<Value> {
    let source = json!({"ads": {}, "resource_api_version": "V3"});
    let mut listener = listener(Vec::new(), Value::Null);
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    if let Some(fields) = manager.as_object_mut() {
        fields.remove("route_config");
        let rds = json!({"route_config_name": "routes", "config_source": source});
        fields.insert("rds".to_owned(), rds);
    }
    listener["@type"] = json!("type.googleapis.com/envoy.config.listener.v3.Listener");
    let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": address(backend)}}]}]);
    vec![
        listener,
        json!({
            "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            "name": "routes",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": path}, "route": {"cluster": "service"}},
            ]}],
        }),
        json!({
            "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            "name": "service", "type": "EDS", "connect_timeout": "2s",
            "eds_cluster_config": {"eds_config": source},
        }),
        json!({
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": "service", "endpoints": endpoints,
        }),
    ]
}
