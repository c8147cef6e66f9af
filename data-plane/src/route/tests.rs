//! The cases of `tests/data/route`, the index against a plain scan, and Envoy's router check
//! vectors where they are at hand.

mod cases;
mod index;
mod router_check;

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use proto::envoy::config::route::v3::RouteConfiguration;
use proto::text::ReadOptions;
use serde_json::Value;

use super::*;
use crate::config::resource::ParseCx;
use crate::config::route::{self, RouteConfig};
use crate::telemetry::access_log::{Addr, Entry, Format};

/// The model of a message in JSON.
fn parse_config(json: &Value) -> Arc<RouteConfig> {
    let text = json.to_string();
    let read = proto::text::parse("table.json", text.as_bytes(), &ReadOptions::default());
    let message: RouteConfiguration = read.unwrap_or_else(|e| panic!("{e}")).message;
    Arc::new(route::parse(message, &ParseCx::bare()).unwrap_or_else(|e| panic!("{e}")))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("the file is YAML")
}

#[derive(Default)]
struct Runtime(HashMap<String, u64>);

impl RuntimeKeys for Runtime {
    fn integer(&self, key: &str) -> Option<u64> {
        self.0.get(key).copied()
    }
}

/// A request that owns its parts.
#[derive(Default)]
struct Request {
    authority: Option<HeaderValue>,
    path: String,
    method: String,
    headers: HeaderMap,
    random: u64,
    runtime: Runtime,
}

impl Request {
    fn get(authority: &str, path: &str) -> Self {
        let mut request = Self { path: path.into(), method: "GET".into(), ..Self::default() };
        request.authority = Some(HeaderValue::from_str(authority).expect("a host"));
        request
    }

    fn add(&mut self, name: &str, value: &str) {
        let name = name.parse::<HeaderName>().expect("a header name");
        self.headers.append(name, HeaderValue::from_str(value).expect("a header value"));
    }

    fn input(&self) -> RouteInput<'_> {
        RouteInput {
            authority: self.authority.as_ref().map(HeaderValue::as_bytes),
            path: self.path.as_bytes(),
            method: self.method.as_bytes(),
            scheme: self.scheme(),
            headers: &self.headers,
            random: self.random,
            runtime: &self.runtime,
        }
    }

    fn scheme(&self) -> &'static [u8] {
        let secure = self.headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
        if secure { b"https" } else { b"http" }
    }

    fn redirect(&self) -> RedirectRequest<'_> {
        RedirectRequest {
            authority: self.authority.as_ref().map_or(b"", HeaderValue::as_bytes),
            path: self.path.as_bytes(),
            scheme: self.scheme(),
            forwarded_proto: self.headers.get("x-forwarded-proto").map_or(b"", |v| v.as_bytes()),
        }
    }

    fn location(&self, route: &RouteRef<'_>) -> Option<String> {
        let location = match route.decision() {
            Decision::Redirect(_) => location(route, &self.redirect())?,
            Decision::TlsRedirect => location_of_tls_redirect(&self.redirect()),
            Decision::DirectResponse(_) | Decision::Forward(_) => return None,
        };
        Some(String::from_utf8(location).expect("an URL"))
    }
}

fn status(route: &RouteRef<'_>) -> Option<u16> {
    match route.decision() {
        Decision::DirectResponse(response) => Some(response.status.as_u16()),
        Decision::Redirect(redirect) => Some(redirect.status.as_u16()),
        Decision::TlsRedirect => Some(301),
        Decision::Forward(_) => None,
    }
}

/// Renders a header value with the request's headers and a client on loopback.
fn render(format: &Format, headers: &HeaderMap) -> Vec<u8> {
    let remote = Some(Addr::Ip(([127, 0, 0, 1], 50_000).into()));
    format.render(&Entry { request_headers: Some(headers), remote, ..Entry::default() })
}

/// The request as it goes upstream.
fn upstream(route: &RouteRef<'_>, mut request: Request) -> Request {
    let mut path = HeaderValue::from_str(&request.path).expect("a path");
    let scheme = request.scheme();
    let mut fields = RequestFields {
        method: request.method.as_bytes(),
        scheme,
        authority: &mut request.authority,
        path: &mut path,
        headers: &mut request.headers,
    };
    route.finalize_request(&mut fields, OriginalHeaders::Add, &mut render);
    request.path = path.to_str().expect("ASCII").to_owned();
    request
}
