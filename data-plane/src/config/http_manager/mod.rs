//! The HTTP connection manager
//! (`envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`).
//!
//! Shape only; `parse.rs` has the rules. Envoy's defaults are resolved: `None` in a timeout or a
//! limit means "none", never "default".

mod chain;
mod client;
pub mod parse;
mod reply;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

pub use chain::check_upgrade_type;

use super::access_log::AccessLogConfig;
use super::extension::ExtensionConfig;
use super::format::FormatConfig;
use super::header_mutation::HeaderValueOption;
use super::http_protocol::{CommonHttpOptions, Http1Options, Http2Options};
use super::route::RouteConfig;
use super::source::ConfigSource;
use super::tracing::TracingConfig;
use crate::base::names::RouteConfigName;

/// Everything about one connection manager.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpManagerConfig {
    /// Which versions are spoken.
    pub codec: CodecType,
    /// `http.<stat_prefix>.` in front of its counters.
    pub stat_prefix: Arc<str>,
    /// Where the routes come from.
    pub routes: RouteSource,
    /// The filters in order; the last one is terminal.
    pub http_filters: Vec<HttpFilterConfig>,
    /// `upgrade_configs`: which `upgrade` values are let through.
    pub upgrades: Vec<UpgradeConfig>,
    /// Options of every version.
    pub common: CommonHttpOptions,
    /// Options of HTTP/1.
    pub http1: Http1Options,
    /// Options of HTTP/2.
    pub http2: Http2Options,
    /// All time limits.
    pub timeouts: ManagerTimeouts,
    /// Largest head of a request in KiB; default 60.
    pub max_request_headers_kb: u32,
    /// What it says about itself, and about what is behind it.
    pub identity: ManagerIdentity,
    /// Who the client is, and whom to believe.
    pub client: ClientAddressConfig,
    /// `x-request-id`.
    pub request_id: RequestIdConfig,
    /// Changes to path and host before routing.
    pub normalization: NormalizationConfig,
    /// Access logs of requests.
    pub access_log: Vec<AccessLogConfig>,
    /// When entries are written besides at the end.
    pub access_log_options: AccessLogOptions,
    /// `100-continue` is left to the upstream.
    pub proxy_100_continue: bool,
    /// A bad message ends its stream only (HTTP/1: keeps the connection); default false.
    pub stream_error_on_invalid_http_message: bool,
    /// Bodies, statuses and headers of local replies.
    pub local_reply: LocalReplyConfig,
    /// Spans; `None` traces nothing.
    pub tracing: Option<Arc<TracingConfig>>,
    /// `proxy-status` on responses; `None` adds none.
    pub proxy_status: Option<ProxyStatusConfig>,
}

/// `HttpConnectionManager.CodecType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CodecType {
    /// By ALPN or the HTTP/2 preface (the default).
    #[default]
    Auto,
    /// HTTP/1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// Where routes come from (`route_specifier`).
#[derive(Clone, Debug, PartialEq)]
pub enum RouteSource {
    /// `route_config`.
    Inline(Arc<RouteConfig>),
    /// `rds`.
    Rds {
        /// Where from.
        source: ConfigSource,
        /// Which one.
        name: RouteConfigName,
    },
}

/// One HTTP filter of the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpFilterConfig {
    /// `name`: the key of per-route configuration; unique in the chain.
    pub name: Arc<str>,
    /// Its parsed configuration; [`ExtensionConfig::message`] says which filter it is.
    pub config: ExtensionConfig,
    /// Off unless a route turns it on.
    pub disabled: bool,
    /// Whether it ends the chain (the router).
    pub terminal: bool,
}

/// `UpgradeConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct UpgradeConfig {
    /// Value of `upgrade`, such as `websocket`, or `CONNECT`; compared without case.
    pub upgrade_type: Arc<str>,
    /// A chain of its own; `None` uses the manager's.
    pub filters: Option<Vec<HttpFilterConfig>>,
    /// Whether it is on where the route does not say.
    pub enabled: bool,
}

/// Time limits of a manager. The idle time of a connection is in [`CommonHttpOptions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ManagerTimeouts {
    /// A stream without activity; default 5 min.
    pub stream_idle: Option<Duration>,
    /// The whole request must have arrived; default none.
    pub request: Option<Duration>,
    /// The head of a request must have arrived; default none.
    pub request_headers: Option<Duration>,
    /// Between the GOAWAY that announces a drain and the last one; default 5 s.
    pub drain: Duration,
    /// Random prolongation of `drain` in percent; default 0.
    pub drain_jitter_percent: u32,
    /// How long a closing connection waits for the peer to read; default 1 s; `None` (0): closes
    /// at once.
    pub delayed_close: Option<Duration>,
}

/// `server`, `via`, user agent and scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerIdentity {
    /// Value of `server`; default `envoy`.
    pub server_name: HeaderValue,
    /// What happens to an upstream's `server`.
    pub server_header: ServerHeader,
    /// Appended to `via` on requests and responses; `None` leaves it.
    pub via: Option<HeaderValue>,
    /// Adds `user-agent` and `x-envoy-downstream-service-cluster`.
    pub add_user_agent: bool,
    /// What `:scheme` becomes.
    pub scheme: SchemeTransformation,
}

/// `ServerHeaderTransformation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServerHeader {
    /// Set only if the upstream sent none.
    AppendIfAbsent,
    /// Always ours (the default).
    #[default]
    Overwrite,
    /// Never touched.
    PassThrough,
}

/// `envoy.config.core.v3.SchemeHeaderTransformation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SchemeTransformation {
    /// As the client's (the default).
    #[default]
    Keep,
    /// As the upstream connection's transport (`match_upstream`).
    MatchUpstream,
    /// Always `http`.
    Http,
    /// Always `https`.
    Https,
}

/// Whose address is believed, and what is forwarded about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddressConfig {
    /// The peer's address is the client's (an edge); default false: the header is believed.
    pub use_remote_address: bool,
    /// How many proxies in front are trusted.
    pub xff_num_trusted_hops: u32,
    /// `x-forwarded-for` is not extended.
    pub skip_xff_append: bool,
    /// Which addresses count as internal.
    pub internal: InternalAddresses,
    /// An IPv4 address is written in its IPv6 form.
    pub represent_ipv4_as_mapped_ipv6: bool,
    /// `x-forwarded-port` is added.
    pub append_x_forwarded_port: bool,
    /// `x-forwarded-client-cert`.
    pub forward_client_cert: ForwardClientCert,
    /// What is told of a client's certificate.
    pub client_cert_details: ClientCertDetails,
}

/// `InternalAddressConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InternalAddresses {
    /// Peers on Unix sockets are internal.
    pub unix_sockets: bool,
    /// Addresses that are internal; default none, as in Envoy since 1.33.
    pub cidr_ranges: Vec<IpNet>,
}

/// `ForwardClientCertDetails`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ForwardClientCert {
    /// Forward over mutual TLS or not.
    AlwaysForwardOnly,
    /// Append to it over mutual TLS.
    AppendForward,
    /// Forward over mutual TLS.
    ForwardOnly,
    /// Remove it (the default).
    #[default]
    Sanitize,
    /// Replace it over mutual TLS.
    SanitizeSet,
}

/// `SetCurrentClientCertDetails`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientCertDetails {
    /// The subject.
    pub subject: bool,
    /// The certificate, URL-encoded PEM.
    pub cert: bool,
    /// The whole chain.
    pub chain: bool,
    /// DNS names.
    pub dns: bool,
    /// URIs.
    pub uri: bool,
}

/// `x-request-id` and the trace decision packed into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestIdConfig {
    /// One is made where there is none; default true.
    pub generate: bool,
    /// An outside client's is kept.
    pub preserve_external: bool,
    /// It is on the response too.
    pub always_set_in_response: bool,
    /// The id carries the trace decision (`UuidRequestIdConfig.pack_trace_reason`); default true.
    pub pack_trace_reason: bool,
    /// The id decides sampling (`use_request_id_for_trace_sampling`); default true.
    pub use_for_trace_sampling: bool,
}

/// What is done to path and host before routing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NormalizationConfig {
    /// RFC 3986 normalisation; default false.
    pub normalize_path: bool,
    /// `//` becomes `/`.
    pub merge_slashes: bool,
    /// `%2F` and `%5C` in the path.
    pub escaped_slashes: EscapedSlashes,
    /// What is cut off the host.
    pub strip_port: StripPort,
    /// A trailing dot of the host is cut off.
    pub strip_trailing_host_dot: bool,
}

/// `PathWithEscapedSlashesAction`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EscapedSlashes {
    /// Left as they are (the default).
    #[default]
    KeepUnchanged,
    /// Answered with 400.
    RejectRequest,
    /// Unescaped and forwarded.
    UnescapeAndForward,
    /// Answered with a redirect to the unescaped path.
    UnescapeAndRedirect,
}

/// `strip_matching_host_port`, `strip_any_host_port`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StripPort {
    /// Any port.
    Any,
    /// The port of the listener.
    Matching,
    /// None (the default).
    #[default]
    Never,
}

/// `HcmAccessLogOptions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AccessLogOptions {
    /// An entry when the head has arrived.
    pub flush_on_new_request: bool,
    /// An entry when a tunnel stands.
    pub flush_on_tunnel_established: bool,
}

/// `LocalReplyConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalReplyConfig {
    /// The first whose condition holds is applied.
    pub mappers: Vec<ResponseMapper>,
    /// Body of all local replies; `None`: the text itself, `text/plain`.
    pub body_format: Option<FormatConfig>,
}

/// `ResponseMapper`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseMapper {
    /// When it applies.
    pub filter: super::access_log::AccessLogFilter,
    /// New status.
    pub status: Option<http::StatusCode>,
    /// New `%LOCAL_REPLY_BODY%`.
    pub body: Option<Arc<[u8]>>,
    /// Format in place of the manager's.
    pub body_format_override: Option<FormatConfig>,
    /// Headers to add.
    pub headers_to_add: Vec<HeaderValueOption>,
}

/// `ProxyStatusConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyStatusConfig {
    /// No `details`.
    pub remove_details: bool,
    /// No connection termination details.
    pub remove_connection_termination_details: bool,
    /// No response flags.
    pub remove_response_flags: bool,
    /// The status becomes the one that RFC 9209 recommends.
    pub set_recommended_response_code: bool,
    /// How the proxy is called.
    pub proxy_name: ProxyName,
}

/// `ProxyStatusConfig.proxy_name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProxyName {
    /// A fixed name.
    Literal(Arc<str>),
    /// The node's id.
    NodeId,
    /// The manager's server name (the default).
    ServerName,
}
