//! A service that calls the backend through its sidecar: the application's side of a mesh.
//!
//! It knows one address, that of its own proxy. It hands the caller's trace headers on, as an
//! application in a mesh has to, and answers with what the backend said.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Empty;
use serde_json::{Value, json};

use crate::client;
use crate::server::{self, Broken, Reply, Request, Service};

/// How long the call may take.
const CALL_MAX: Duration = Duration::from_secs(10);

/// Headers that tie the calls of one request together.
const TRACE_HEADERS: [&str; 4] = ["x-trace-id", "traceparent", "tracestate", "x-request-id"];

/// The service.
#[derive(Clone, Debug)]
pub struct Frontend {
    /// `host:port` of the sidecar.
    pub sidecar: String,
    /// The name by which the sidecar knows the backend.
    pub backend: String,
}

impl Service for Frontend {
    async fn answer(&self, request: Request) -> Result<Reply, Broken> {
        if request.uri().path() == "/health" {
            return Ok(server::json(StatusCode::OK, &json!({"status": "healthy"})));
        }
        let said = match client::ask(&self.sidecar, self.call(&request), CALL_MAX).await {
            Ok(said) => said,
            Err(error) => {
                let error = json!({"service": "frontend", "error": format!("{error:#}")});
                return Ok(server::json(StatusCode::BAD_GATEWAY, &error));
            }
        };
        let text = String::from_utf8_lossy(said.body());
        let backend: Value = serde_json::from_str(&text).unwrap_or_else(|_| json!(text));
        let page = json!({"service": "frontend", "backend": backend});
        Ok(server::json(said.status(), &page))
    }
}

impl Frontend {
    fn call(&self, request: &Request) -> http::Request<Empty<Bytes>> {
        let mut call = http::Request::new(Empty::new());
        // Path and query only: the sidecar is asked as a server, not as a forward proxy.
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        *call.uri_mut() = target.parse().unwrap_or_default();
        let headers = call.headers_mut();
        for name in TRACE_HEADERS {
            if let Some(value) = request.headers().get(name) {
                headers.insert(name, value.clone());
            }
        }
        if let Ok(host) = http::HeaderValue::from_str(&self.backend) {
            headers.insert(http::header::HOST, host);
        }
        call
    }
}
