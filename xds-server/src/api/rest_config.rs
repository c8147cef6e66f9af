//! The configuration by REST.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use proto::control::v1::{
    ApplyRequest, DeleteConfigRequest, GetConfigRequest, ListConfigRequest, UpdateConfigRequest,
};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::config::{Config, Revisions};
use super::error::{Error, Kind};
use super::guard::{self, Hosts};
use super::rest::{Format, body_bytes, json};

/// Largest document of one object.
pub const OBJECT_BYTES_MAX: usize = 1 << 20;
/// Largest mesh that is applied as a whole.
pub const MESH_BYTES_MAX: usize = 16 << 20;
/// Between two signs of life of a watch.
const HEARTBEAT: Duration = Duration::from_secs(15);

#[derive(Clone)]
struct Context {
    config: Config,
    stop: CancellationToken,
}

/// The routes of the configuration.
pub fn router(config: Config, stop: CancellationToken, hosts: Hosts) -> Router {
    Router::new()
        .route("/v1/config/{kind}", get(list))
        .route("/v1/config/{kind}/{name}", get(show).put(put).delete(delete))
        .route("/v1/apply", post(apply))
        .route("/v1/revisions", get(revisions))
        .route("/v1/watch", get(watch))
        .layer(middleware::from_fn_with_state(hosts, guard::guard))
        .with_state(Context { config, stop })
}

async fn list(State(context): State<Context>, Path(kind): Path<String>) -> Result<Response, Error> {
    let found = context.config.list(&ListConfigRequest { kind })?.objects;
    let objects: Result<Vec<_>, _> = found
        .into_iter()
        .map(|object| {
            // Kept as it was checked and written: JSON.
            let document = RawValue::from_string(object.document)?;
            let (name, etag) = (object.name, object.etag);
            serde_json::to_value(json!({ "name": name, "etag": etag, "document": document }))
        })
        .collect();
    let objects = objects.map_err(|error| Error::new(Kind::Unavailable, error.to_string()))?;
    Ok(json(StatusCode::OK, &json!({ "objects": objects })))
}

async fn show(
    State(context): State<Context>,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Response, Error> {
    let object = context.config.get(&GetConfigRequest { kind, name })?;
    let head = [(header::CONTENT_TYPE, "application/json")];
    let response = (head, format!("{}\n", object.document)).into_response();
    Ok(tagged(response, &object.etag))
}

async fn put(
    State(context): State<Context>,
    Path((kind, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let if_match = if_match(&headers)?;
    let document = document(&headers, body, OBJECT_BYTES_MAX).await?;
    let request = UpdateConfigRequest { kind, name, document, if_match };
    let given = context.config.update(request).await?;
    let code = if given.created { StatusCode::CREATED } else { StatusCode::OK };
    let etag = given.etag.clone();
    Ok(tagged(json(code, &given), &etag))
}

async fn delete(
    State(context): State<Context>,
    Path((kind, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let request = DeleteConfigRequest { kind, name, if_match: if_match(&headers)? };
    Ok(json(StatusCode::OK, &context.config.delete(request).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplyQuery {
    #[serde(default)]
    dry_run: bool,
}

async fn apply(
    State(context): State<Context>,
    query: Result<Query<ApplyQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let query = query.map_err(|rejection| Error::new(Kind::Malformed, rejection.body_text()))?;
    let document = document(&headers, body, MESH_BYTES_MAX).await?;
    let request = ApplyRequest { document, dry_run: query.dry_run };
    Ok(json(StatusCode::OK, &context.config.apply(request).await?))
}

async fn revisions(State(context): State<Context>) -> Result<Response, Error> {
    Ok(json(StatusCode::OK, &context.config.revisions()?))
}

/// Server-sent events, one a revision. `Last-Event-ID` is the revision to begin after; without it
/// the next one is the first.
async fn watch(State(context): State<Context>, headers: HeaderMap) -> Result<Response, Error> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let newest = || Ok(context.config.revisions()?.revisions.last().map_or(0, |r| r.revision));
    let after = last.map_or_else(newest, Ok)?;
    let (events, receiver) = mpsc::channel(1);
    tokio::spawn(tell(context.config.watch(after)?, events, context.stop.clone()));
    let keep_alive = KeepAlive::new().interval(HEARTBEAT);
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(keep_alive).into_response())
}

async fn tell(
    mut revisions: Revisions,
    events: mpsc::Sender<Result<Event, Infallible>>,
    stop: CancellationToken,
) {
    loop {
        let next = tokio::select! {
            next = revisions.next() => next,
            // Cancel-safe: it is over.
            () = events.closed() => return,
            () = stop.cancelled() => return,
        };
        let Some(next) = next else { return };
        for revision in next {
            let event = Event::default().event("revision").id(revision.revision.to_string());
            // Cannot fail: texts and numbers under names.
            let Ok(event) = event.json_data(&*revision) else { return };
            if events.send(Ok(event)).await.is_err() {
                return;
            }
        }
    }
}

fn if_match(headers: &HeaderMap) -> Result<String, Error> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(String::new()) };
    let text = value.to_str().unwrap_or_default();
    let plain = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match (text, plain) {
        ("*", _) => Ok("*".to_owned()),
        (_, Some(etag)) if !etag.is_empty() && !etag.contains('"') => Ok(etag.to_owned()),
        _ => {
            let message = format!("If-Match: got '{text}'; must be one etag in quotes, or *");
            Err(Error::new(Kind::Malformed, message))
        }
    }
}

/// The body as a text that [`crate::intent::yaml`] reads: JSON is, where it is JSON at all.
async fn document(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<String, Error> {
    let format = Format::of(headers)?;
    let bytes = body_bytes(body, bytes_max).await?;
    if format == Format::Json {
        let read: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(&bytes);
        read.map_err(|error| Error::new(Kind::Malformed, format!("not JSON: {error}")))?;
    }
    String::from_utf8(bytes.into())
        .map_err(|error| Error::new(Kind::Malformed, format!("not UTF-8: {error}")))
}

fn tagged(mut response: Response, etag: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}
