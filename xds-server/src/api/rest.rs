//! The API by REST: JSON out, JSON or YAML in.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use proto::control::v1::{
    DeregisterRequest, ListInstancesRequest, RegisterRequest, Registration, RenewRequest,
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::error::{Error, Kind, Problem};
use super::guard::{self, Hosts};
use super::instances::Instances;
use super::openapi;
use crate::intent::yaml;
use crate::registry::Keeper;

/// Largest body of a request about one instance.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// All routes of the API.
pub fn router(instances: Instances, hosts: Hosts) -> Router {
    let instance = "/v1/registry/services/{service}/instances/{id}";
    Router::new()
        .route("/v1/registry/instances", get(list_all))
        .route("/v1/registry/services/{service}/instances", get(list))
        .route(instance, get(show).put(register).delete(deregister))
        .route(&format!("{instance}/renew"), post(renew))
        .layer(middleware::from_fn_with_state(hosts, guard::guard))
        .with_state(instances)
        .route("/v1/openapi.json", get(description))
}

async fn description() -> Result<Response, Error> {
    let document = openapi::document();
    let document = document.map_err(|error| Error::new(Kind::Unavailable, error.to_string()))?;
    Ok(json(StatusCode::OK, &document))
}

async fn list_all(State(instances): State<Instances>) -> Result<Response, Error> {
    Ok(json(StatusCode::OK, &instances.list(&ListInstancesRequest::default())?))
}

async fn list(
    State(instances): State<Instances>,
    Path(service): Path<String>,
) -> Result<Response, Error> {
    Ok(json(StatusCode::OK, &instances.list(&ListInstancesRequest { service })?))
}

async fn show(
    State(instances): State<Instances>,
    Path((service, id)): Path<(String, String)>,
) -> Result<Response, Error> {
    let request = ListInstancesRequest { service: service.clone() };
    let found = instances.list(&request)?.instances.into_iter().find(|one| one.id == id);
    let missing = || {
        let message = format!("the service '{service}' has no instance '{id}'");
        Error::new(Kind::NotFound, message)
    };
    Ok(json(StatusCode::OK, &found.ok_or_else(missing)?))
}

async fn register(
    State(instances): State<Instances>,
    Path((service, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let registration: Registration = read(&headers, body).await?;
    let request = RegisterRequest { service, id, registration: Some(registration) };
    let (given, created) = instances.register(request, Keeper::Renewals).await?;
    Ok(json(if created { StatusCode::CREATED } else { StatusCode::OK }, &given))
}

async fn renew(
    State(instances): State<Instances>,
    Path((service, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let request: RenewRequest = read(&headers, body).await?;
    let request = RenewRequest { service, id, ..request };
    Ok(json(StatusCode::OK, &instances.renew(&request).await?))
}

async fn deregister(
    State(instances): State<Instances>,
    Path((service, id)): Path<(String, String)>,
) -> Result<Response, Error> {
    let request = DeregisterRequest { service, id };
    Ok(json(StatusCode::OK, &instances.deregister(&request).await?))
}

/// The forms of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
}

impl Format {
    /// What the head says.
    ///
    /// # Errors
    /// Any other type, or none.
    pub fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let value = value.unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Ok(Self::Json),
            "application/yaml" => Ok(Self::Yaml),
            _ => {
                let rule = "application/json or application/yaml";
                let message = format!("content-type: got '{value}'; must be {rule}");
                Err(Error::new(Kind::MediaType, message))
            }
        }
    }
}

/// The body as a message; an empty one is the empty message.
async fn read<M: DeserializeOwned + Default>(headers: &HeaderMap, body: Body) -> Result<M, Error> {
    let format = Format::of(headers)?;
    let bytes = body_bytes(body, BODY_BYTES_MAX).await?;
    parse(format, &bytes)
}

/// A body of bounded size.
///
/// # Errors
/// Where it is larger, or breaks off.
pub async fn body_bytes(body: Body, bytes_max: usize) -> Result<Bytes, Error> {
    axum::body::to_bytes(body, bytes_max).await.map_err(|_| {
        let message = format!("the body must be whole and at most {bytes_max} bytes");
        Error::new(Kind::TooLarge, message)
    })
}

fn parse<M: DeserializeOwned + Default>(format: Format, bytes: &Bytes) -> Result<M, Error> {
    if bytes.trim_ascii().is_empty() {
        return Ok(M::default());
    }
    let value: serde_json::Value = match format {
        Format::Json => serde_json::from_slice(bytes)
            .map_err(|error| Error::new(Kind::Malformed, format!("not JSON: {error}")))?,
        Format::Yaml => {
            let text = std::str::from_utf8(bytes)
                .map_err(|error| Error::new(Kind::Malformed, format!("not UTF-8: {error}")))?;
            let placed = |fault: yaml::Fault| {
                let yaml::Mark { line, column, .. } = fault.mark;
                Error::new(Kind::Malformed, format!("{line}:{column}: {}", fault.message))
            };
            yaml::read(text).map_err(placed)?.to_json()
        }
    };
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        Error::invalid(vec![Problem::new(path, error.into_inner().to_string())])
    })
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.message });
        if !self.problems.is_empty() {
            body["problems"] = json!(self.problems);
        }
        json(self.status(), &body)
    }
}

/// A response with that body.
pub fn json(code: StatusCode, body: &impl serde::Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(mut text) => {
            text.push('\n');
            (code, [(header::CONTENT_TYPE, "application/json")], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(format: Format, text: &str) -> (Kind, String) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let error = parse::<Registration>(format, &bytes).expect_err("is refused");
        (error.kind, error.message)
    }

    #[test]
    fn bodies_are_read_strictly() {
        let bytes = Bytes::from_static(b"address: 10.0.0.1\nport: 80\nlabels: { version: v1 }\n");
        let read: Registration = parse(Format::Yaml, &bytes).unwrap();
        assert_eq!((read.port, read.labels["version"].as_str()), (80, "v1"));
        let (kind, text) = refused(Format::Json, r#"{"port": "80"}"#);
        assert!(kind == Kind::Invalid && text.starts_with("port: invalid type"), "{text}");
        let (kind, text) = refused(Format::Json, r#"{"prot": 80}"#);
        assert!(kind == Kind::Invalid && text.contains("unknown field `prot`"), "{text}");
        assert_eq!(refused(Format::Json, "{").0, Kind::Malformed);
        let (kind, text) = refused(Format::Yaml, "a: 1\na: 2\n");
        assert!(kind == Kind::Malformed && text.starts_with("2:1: the key 'a'"), "{text}");
    }
}
