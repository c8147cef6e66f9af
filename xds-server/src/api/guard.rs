//! Keeps web pages of other origins from writing.
//!
//! On loopback nobody needs a token, so a browser on the same machine could be made to write by
//! any page that it shows. What such a page cannot do: send a body as JSON or YAML without asking
//! first, name a loopback host after its own name was made to lead here, or hide its origin.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::error::{Error, Kind};
use super::rest::Format;

/// Who may be meant by a request's `Host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Loopback names and addresses.
    Loopback,
    /// Any: the address is reached by names that are not known here.
    Any,
}

/// Passes reads, and writes that no page of another origin can have made.
pub async fn guard(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    match check(hosts, request.method(), host.unwrap_or_default(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn check(hosts: Hosts, method: &Method, host: &str, headers: &HeaderMap) -> Result<(), Error> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    if hosts == Hosts::Loopback && !is_loopback(host) {
        let message = format!("Host: got '{host}'; must be a loopback name or address");
        return Err(Error::new(Kind::Forbidden, message));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        if !authority.eq_ignore_ascii_case(host) || host.is_empty() {
            let message = format!("Origin: got '{origin}'; must be the Host, '{host}'");
            return Err(Error::new(Kind::Forbidden, message));
        }
    }
    // A DELETE has no body; and no page of another origin sends one without asking first.
    if *method == Method::DELETE && !headers.contains_key(header::CONTENT_TYPE) {
        return Ok(());
    }
    Format::of(headers).map(|_| ())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    match name.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => {
            let name = name.to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn status(method: &Method, host: &str, more: &[(header::HeaderName, &'static str)]) -> u16 {
        let headers = more.iter().map(|(name, v)| (name.clone(), HeaderValue::from_static(v)));
        let checked = check(Hosts::Loopback, method, host, &headers.collect());
        checked.map_or_else(|error| error.status().as_u16(), |()| 200)
    }

    #[test]
    fn writes_of_other_origins_and_forms_are_refused() {
        let typed = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
        let with = |more| [typed[0].clone(), more];
        let own = (header::ORIGIN, "http://localhost:19000");
        for (method, host, headers, want) in [
            (Method::PUT, "127.0.0.1:19000", &typed[..], 200),
            (Method::PUT, "[::1]:19000", &typed, 200),
            (Method::PUT, "localhost:19000", &with(own.clone()), 200),
            (Method::PUT, "127.0.0.1:19000", &with(own), 403),
            (Method::PUT, "localhost", &with((header::ORIGIN, "null")), 403),
            (Method::PUT, "evil.example:19000", &typed, 403),
            (Method::PUT, "127.0.0.1.evil.example", &typed, 403),
            (Method::PUT, "", &typed, 403),
            (Method::PUT, "localhost", &[(header::CONTENT_TYPE, "text/plain")], 415),
            (Method::POST, "localhost", &[], 415),
            (Method::DELETE, "localhost", &[], 200),
            (Method::DELETE, "evil.example", &[], 403),
            (Method::GET, "evil.example", &[], 200),
        ] {
            assert_eq!(status(&method, host, headers), want, "{method} {host} {headers:?}");
        }
    }
}
