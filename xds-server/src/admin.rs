//! The HTTP side: readiness, who is connected, metrics, and the API.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::api::config::Config;
use crate::api::guard::Hosts;
use crate::api::instances::Instances;
use crate::api::rest::{self, json as json_response};
use crate::api::rest_config;
use crate::metrics::Metrics;
use crate::status::Status;
use crate::store::Store;

/// What the pages show.
#[derive(Clone, Debug)]
pub struct Pages {
    /// What is served.
    pub store: Arc<Store>,
    /// Who is connected.
    pub status: Arc<Status>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Handlers of the registry.
    pub instances: Instances,
    /// Handlers of the configuration.
    pub config: Config,
    /// Cancelled when the server stops.
    pub stop: CancellationToken,
    /// Who may be meant by a write's `Host`.
    pub hosts: Hosts,
}

const INDEX: &str = "xds-server\n\n\
    /ready          200 while a snapshot is served\n\
    /v1/nodes       every node: what it was sent, took and refused\n\
    /v1/nodes/{id}  one node\n\
    /metrics        Prometheus\n\
    /v1/registry/instances                            instances that registered\n\
    /v1/registry/services/{service}/instances/{id}    one; PUT, DELETE\n\
    /v1/config/{kind}, /v1/config/{kind}/{name}       objects of the API; PUT, DELETE\n\
    /v1/apply    POST a whole mesh file\n\
    /v1/revisions, /v1/watch                          changes, and as they come\n";

/// All pages.
pub fn router(pages: Pages) -> Router {
    let api = rest::router(pages.instances.clone(), pages.hosts).merge(rest_config::router(
        pages.config.clone(),
        pages.stop.clone(),
        pages.hosts,
    ));
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/nodes", get(nodes))
        .route("/v1/nodes/{id}", get(node))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "no such page; / lists them") })
        .with_state(pages)
        .merge(api)
}

/// A server without a snapshot does not start, so to answer is to be ready.
async fn ready(State(pages): State<Pages>) -> String {
    format!("ready, revision {}\n", pages.store.current().revision())
}

async fn nodes(State(pages): State<Pages>) -> Response {
    json_response(StatusCode::OK, &json!({ "nodes": pages.status.nodes(&pages.store.current()) }))
}

async fn node(State(pages): State<Pages>, Path(id): Path<String>) -> Response {
    match pages.status.find(&id, &pages.store.current()) {
        Some(node) => json_response(StatusCode::OK, &node),
        None => error(StatusCode::NOT_FOUND, &format!("no node '{id}' in the last ten minutes")),
    }
}

async fn metrics(State(pages): State<Pages>) -> Response {
    match pages.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(failed) => error(StatusCode::INTERNAL_SERVER_ERROR, &failed.to_string()),
    }
}

fn error(code: StatusCode, text: &str) -> Response {
    json_response(code, &json!({ "error": text }))
}
