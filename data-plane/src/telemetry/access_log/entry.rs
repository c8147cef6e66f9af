//! What is known of a request, as a borrowed view.
//!
//! An [`Entry`] is put together where a line is written, or where a header value with `%…%` is
//! made; it owns nothing, so that making one costs a copy of references. What is not known yet is
//! `None` and printed as `-`.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::telemetry::flags::ResponseFlags;

/// `%PROTOCOL%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `HTTP/1.0`
    Http10,
    /// `HTTP/1.1`
    Http11,
    /// `HTTP/2`
    Http2,
}

impl Protocol {
    /// As Envoy prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// Where a connection comes from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addr<'a> {
    /// `127.0.0.1:8000`, `[::1]:8000`.
    Ip(SocketAddr),
    /// The path of a Unix socket.
    Pipe(&'a str),
}

impl From<SocketAddr> for Addr<'_> {
    fn from(addr: SocketAddr) -> Self {
        Self::Ip(addr)
    }
}

/// `%ACCESS_LOG_TYPE%`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogType {
    /// Outside a log, as in header values.
    #[default]
    NotSet,
    /// The end of a request.
    DownstreamEnd,
    /// The start of a request (`flush_access_log_on_new_request`).
    DownstreamStart,
    /// A tunnel stands (`flush_log_on_tunnel_successfully_established`).
    TunnelEstablished,
    /// The end of a connection, for access logs of listeners.
    NotHttp,
    /// A connection begins (`flush_access_log_on_start` of the TCP proxy).
    TcpStart,
    /// Its upstream is connected (`flush_access_log_on_connected`).
    TcpConnected,
    /// It goes on (`access_log_flush_interval`).
    TcpPeriodic,
    /// It is over.
    TcpEnd,
}

impl LogType {
    /// As Envoy prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSet | Self::NotHttp => "NotSet",
            Self::DownstreamEnd => "DownstreamEnd",
            Self::DownstreamStart => "DownstreamStart",
            Self::TunnelEstablished => "DownstreamTunnelSuccessfullyEstablished",
            Self::TcpStart => "TcpConnectionStart",
            Self::TcpConnected => "TcpUpstreamConnected",
            Self::TcpPeriodic => "TcpPeriodic",
            Self::TcpEnd => "TcpConnectionEnd",
        }
    }
}

/// All that a format can ask about a request, or about a connection without one.
///
/// Make it with `Entry { …, ..Entry::default() }`. Durations count from [`Entry::start`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry<'a> {
    /// `%START_TIME%`.
    pub start: Option<SystemTime>,
    /// `%PROTOCOL%`.
    pub protocol: Option<Protocol>,
    /// `:method`.
    pub method: Option<&'a str>,
    /// `:path` as it goes upstream; the original stands in `x-envoy-original-path`.
    pub path: Option<&'a str>,
    /// `:authority`.
    pub authority: Option<&'a str>,
    /// `:scheme`.
    pub scheme: Option<&'a str>,
    /// Headers of the request, after filters and router changed them.
    pub request_headers: Option<&'a HeaderMap>,
    /// Headers of the response, as they went to the client.
    pub response_headers: Option<&'a HeaderMap>,
    /// Trailers of the response.
    pub response_trailers: Option<&'a HeaderMap>,
    /// `%RESPONSE_CODE%`; printed as 0 when no response was begun.
    pub status: Option<u16>,
    /// `%RESPONSE_FLAGS%`.
    pub flags: ResponseFlags,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: Option<&'a str>,
    /// `%CONNECTION_TERMINATION_DETAILS%`.
    pub termination_details: Option<&'a str>,
    /// `%ROUTE_NAME%`.
    pub route_name: Option<&'a str>,
    /// `%VIRTUAL_CLUSTER_NAME%`.
    pub virtual_cluster: Option<&'a str>,
    /// `%UPSTREAM_CLUSTER_RAW%`: the cluster's name.
    pub cluster: Option<&'a str>,
    /// `%UPSTREAM_CLUSTER%`: the cluster's `alt_stat_name`, where it has one, else its name.
    pub cluster_observability_name: Option<&'a str>,
    /// `%UPSTREAM_HOST%` and `%UPSTREAM_REMOTE_ADDRESS%`: the host that was tried last.
    pub upstream_host: Option<Addr<'a>>,
    /// `%UPSTREAM_LOCAL_ADDRESS%`.
    pub upstream_local: Option<Addr<'a>>,
    /// `%UPSTREAM_PROTOCOL%`.
    pub upstream_protocol: Option<Protocol>,
    /// `%UPSTREAM_CONNECTION_ID%`.
    pub upstream_connection_id: Option<u64>,
    /// `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub upstream_failure: Option<&'a str>,
    /// `%UPSTREAM_REQUEST_ATTEMPT_COUNT%`.
    pub attempts: u32,
    /// `%BYTES_RECEIVED%`: body bytes of the request.
    pub bytes_received: u64,
    /// `%BYTES_SENT%`: body bytes of the response.
    pub bytes_sent: u64,
    /// `%REQUEST_DURATION%`: the last byte of the request had come in.
    pub request_received: Option<Duration>,
    /// `%REQUEST_TX_DURATION%`: the last byte of the request had gone upstream.
    pub request_sent: Option<Duration>,
    /// `%RESPONSE_DURATION%`: the first byte of the response had come from upstream.
    pub response_started: Option<Duration>,
    /// `%RESPONSE_TX_DURATION%` counts from `response_started` to this: the last byte had gone to
    /// the client.
    pub response_sent: Option<Duration>,
    /// `%DURATION%`: all was over.
    pub duration: Option<Duration>,
    /// `%DOWNSTREAM_REMOTE_ADDRESS%`: the client, as told by `x-forwarded-for` where trusted.
    pub remote: Option<Addr<'a>>,
    /// `%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%`: the other end of the connection.
    pub direct_remote: Option<Addr<'a>>,
    /// `%DOWNSTREAM_LOCAL_ADDRESS%`.
    pub local: Option<Addr<'a>>,
    /// `%CONNECTION_ID%`.
    pub connection_id: Option<u64>,
    /// `%FILTER_CHAIN_NAME%`.
    pub filter_chain: Option<&'a str>,
    /// `%REQUESTED_SERVER_NAME%`.
    pub server_name: Option<&'a str>,
    /// `%STREAM_ID%`: the request id, a UUID, or a made-up one.
    pub stream_id: Option<&'a str>,
    /// `%TRACE_ID%`.
    pub trace_id: Option<&'a str>,
    /// `%LOCAL_REPLY_BODY%`.
    pub local_reply_body: Option<&'a str>,
    /// `%ACCESS_LOG_TYPE%`.
    pub log_type: LogType,
}
