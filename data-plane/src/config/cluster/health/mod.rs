//! `health_checks`: how the hosts of a cluster are probed.
//!
//! Shape only; `parse.rs` has the rules. Envoy's defaults are resolved.

pub(super) mod parse;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::base::pattern::StringMatcher;
use crate::config::header_mutation::AppendAction;

/// A `HealthCheck`.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheckConfig {
    /// How long a check may take, its connection included.
    pub timeout: Duration,
    /// When the next one is due.
    pub pace: Pace,
    /// So many failures in a row take a host out.
    pub unhealthy_threshold: u32,
    /// So many successes in a row bring it back.
    pub healthy_threshold: u32,
    /// Checks go over one connection as long as it lives; the default.
    pub reuse_connection: bool,
    /// What is asked.
    pub kind: CheckKind,
}

/// Times between two checks of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The usual one.
    pub interval: Duration,
    /// The first check comes after a random part of this.
    pub initial_jitter: Duration,
    /// A random part of this is added.
    pub interval_jitter: Duration,
    /// A random part of this share of the interval is added, in percent.
    pub interval_jitter_percent: u32,
    /// Where the cluster never had a connection for a request; default 60 s.
    pub no_traffic: Duration,
    /// The same of a healthy host; default `no_traffic`.
    pub no_traffic_healthy: Duration,
    /// After a failure; default `interval`.
    pub unhealthy: Duration,
    /// After a failure that does not count yet; default `unhealthy`.
    pub unhealthy_edge: Duration,
    /// After a success that does not count yet; default `interval`.
    pub healthy_edge: Duration,
}

/// What is asked of a host.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// `http_health_check`.
    Http(Box<HttpCheck>),
    /// `tcp_health_check`.
    Tcp(TcpCheck),
    /// `grpc_health_check`.
    Grpc(Box<GrpcCheck>),
}

/// `TcpHealthCheck`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpCheck {
    /// What is said; empty: nothing.
    pub send: Bytes,
    /// What must be heard, one after another; empty: the connection is enough.
    pub receive: Vec<Bytes>,
}

/// `GrpcHealthCheck`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcCheck {
    /// Which service is asked about; empty: the server.
    pub service: Arc<str>,
    /// `authority`, else the cluster's name.
    pub authority: HeaderValue,
    /// Fields that are added.
    pub metadata: HeaderChanges,
}

/// `HttpHealthCheck`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCheck {
    /// `host`, else the cluster's name.
    pub host: HeaderValue,
    /// What is asked for.
    pub path: PathAndQuery,
    /// Default GET.
    pub method: Method,
    /// Changes of the request's header.
    pub headers: HeaderChanges,
    /// Statuses of a healthy host; default 200.
    pub expected: Vec<Range<u16>>,
    /// Statuses that count as failures but take a host out by the threshold only.
    pub retriable: Vec<Range<u16>>,
    /// Whether HTTP/2 is spoken, by prior knowledge.
    pub http2: bool,
    /// What the host must call its cluster (`x-envoy-upstream-healthchecked-cluster`).
    pub service_name: Option<StringMatcher>,
    /// The request's body; empty: none.
    pub send: Bytes,
    /// What must be found in the answer's body, one after another.
    pub receive: Vec<Bytes>,
    /// So much of the body is looked at; default 1024.
    pub response_buffer_bytes: usize,
}

/// Header fields that are taken away, and then those that are added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Names to remove.
    pub remove: Vec<HeaderName>,
    /// Fields to add.
    pub add: Vec<(HeaderName, HeaderValue, AppendAction)>,
}

impl HeaderChanges {
    /// Makes the changes. As in Envoy, what is overwritten comes before what is added, and whether
    /// a field is there is asked before either.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        let (mut overwrite, mut append) = (Vec::new(), Vec::new());
        for (name, value, action) in &self.add {
            let exists = headers.contains_key(name);
            match action {
                AppendAction::AppendIfExistsOrAdd => append.push((name, value)),
                AppendAction::AddIfAbsent if !exists => append.push((name, value)),
                AppendAction::OverwriteIfExists if exists => overwrite.push((name, value)),
                AppendAction::OverwriteIfExistsOrAdd => overwrite.push((name, value)),
                AppendAction::AddIfAbsent | AppendAction::OverwriteIfExists => {}
            }
        }
        for (name, value) in overwrite {
            headers.insert(name, value.clone());
        }
        for (name, value) in append {
            headers.append(name, value.clone());
        }
    }
}
