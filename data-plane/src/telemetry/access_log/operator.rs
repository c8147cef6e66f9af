//! Command operators: `%REQ(X-A?X-B):10%` and its kind, parsed once, evaluated against an
//! [`Entry`].
//!
//! An operator that Envoy knows and this proxy does not is refused by name, never printed as `-`:
//! whoever reads a log must be able to trust a `-`.

use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;

use super::entry::Entry;
use super::time::TimeFormat;
use super::value::Value;

/// Why a format was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No operator of Envoy.
    #[error("%{0}% is no command operator")]
    Unknown(String),
    /// An operator of Envoy that is not built.
    #[error("%{0}% is known to Envoy 1.40, not supported here")]
    Unsupported(String),
    /// A `%` that begins no operator.
    #[error("{format:?}: no command operator at byte {at}; a plain percent sign is written %%")]
    Syntax {
        /// The whole format.
        format: String,
        /// Where the `%` stands.
        at: usize,
    },
    /// `%REQ%` and others need one.
    #[error("%{0}% needs a parameter in parentheses")]
    MissingParameter(String),
    /// `%DURATION(x)%`, `%DURATION:3%`.
    #[error("%{0}% takes neither a parameter nor a length")]
    UnexpectedParameter(String),
    /// `%REQ(a?b?c)%`.
    #[error("{0:?} has more than one alternative header")]
    Alternatives(String),
    /// Not a header name.
    #[error("{0:?} is no header name")]
    HeaderName(String),
    /// A parameter that the operator does not know.
    #[error("%{operator}({parameter})%: must be one of {expected}")]
    Parameter {
        /// The operator.
        operator: &'static str,
        /// What was given.
        parameter: String,
        /// What could be.
        expected: &'static str,
    },
    /// A time pattern that would print a line break.
    #[error("{0:?} would print a line break")]
    LineBreak(String),
}

/// A header, or its alternative where it is missing, cut after some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    first: Name,
    second: Option<Name>,
    limit: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Method,
    Path,
    Authority,
    Scheme,
    Status,
    /// Another pseudo header: never there.
    Never,
    Field(HeaderName),
}

/// How `%GRPC_STATUS%` prints a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcStatus {
    Camel,
    Snake,
    Number,
}

/// A parsed operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Request(Header),
    Response(Header),
    Trailer(Header),
    StartTime(TimeFormat),
    GrpcStatus(GrpcStatus),
    /// A value that does not change: the host's name, an environment variable.
    Constant(Option<Box<str>>),
    Fact(Fact),
}

macro_rules! facts {
    ($($variant:ident $name:literal => |$entry:ident| $value:expr;)*) => {
        /// Operators without parameters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Fact {
            $($variant,)*
        }

        impl Fact {
            fn named(name: &str) -> Option<Self> {
                Some(match name {
                    $($name => Self::$variant,)*
                    _ => return None,
                })
            }

            fn value<'a>(self, entry: &'a Entry<'a>) -> Value<'a> {
                match self {
                    $(Self::$variant => { let $entry = entry; $value })*
                }
            }
        }
    };
}

fn millis(duration: Option<Duration>) -> Value<'static> {
    Value::number(duration.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
}

facts! {
    AccessLogType "ACCESS_LOG_TYPE" => |e| Value::text(Some(e.log_type.as_str()));
    BytesReceived "BYTES_RECEIVED" => |e| Value::Number(e.bytes_received);
    BytesSent "BYTES_SENT" => |e| Value::Number(e.bytes_sent);
    ConnectionId "CONNECTION_ID" => |e| Value::number(e.connection_id);
    ConnectionTerminationDetails "CONNECTION_TERMINATION_DETAILS" =>
        |e| Value::text(e.termination_details);
    DirectRemote "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => |e| Value::address(e.direct_remote);
    DirectRemoteIp "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" =>
        |e| Value::without_port(e.direct_remote);
    DirectRemotePort "DOWNSTREAM_DIRECT_REMOTE_PORT" => |e| Value::port(e.direct_remote);
    Local "DOWNSTREAM_LOCAL_ADDRESS" => |e| Value::address(e.local);
    LocalIp "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => |e| Value::without_port(e.local);
    LocalPort "DOWNSTREAM_LOCAL_PORT" => |e| Value::port(e.local);
    Remote "DOWNSTREAM_REMOTE_ADDRESS" => |e| Value::address(e.remote);
    RemoteIp "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => |e| Value::without_port(e.remote);
    RemotePort "DOWNSTREAM_REMOTE_PORT" => |e| Value::port(e.remote);
    Duration "DURATION" => |e| millis(e.duration);
    FilterChainName "FILTER_CHAIN_NAME" => |e| Value::filled(e.filter_chain);
    LocalReplyBody "LOCAL_REPLY_BODY" => |e| Value::text(Some(e.local_reply_body.unwrap_or("")));
    Protocol "PROTOCOL" => |e| Value::text(e.protocol.map(super::Protocol::as_str));
    RequestDuration "REQUEST_DURATION" => |e| millis(e.request_received);
    RequestTxDuration "REQUEST_TX_DURATION" => |e| millis(e.request_sent);
    RequestedServerName "REQUESTED_SERVER_NAME" => |e| Value::filled(e.server_name);
    ResponseCode "RESPONSE_CODE" => |e| Value::Number(e.status.unwrap_or(0).into());
    ResponseCodeDetails "RESPONSE_CODE_DETAILS" => |e| Value::text(e.details);
    ResponseDuration "RESPONSE_DURATION" => |e| millis(e.response_started);
    ResponseFlags "RESPONSE_FLAGS" => |e| Value::Flags(e.flags);
    ResponseFlagsLong "RESPONSE_FLAGS_LONG" => |e| Value::LongFlags(e.flags);
    ResponseTxDuration "RESPONSE_TX_DURATION" => |e| millis(
        e.response_sent.zip(e.response_started).map(|(sent, start)| sent.saturating_sub(start)));
    RouteName "ROUTE_NAME" => |e| Value::filled(e.route_name);
    StreamId "STREAM_ID" => |e| Value::text(e.stream_id);
    TraceId "TRACE_ID" => |e| Value::filled(e.trace_id);
    UpstreamCluster "UPSTREAM_CLUSTER" =>
        |e| Value::filled(e.cluster_observability_name.or(e.cluster));
    UpstreamClusterRaw "UPSTREAM_CLUSTER_RAW" => |e| Value::filled(e.cluster);
    UpstreamConnectionId "UPSTREAM_CONNECTION_ID" => |e| Value::number(e.upstream_connection_id);
    UpstreamHost "UPSTREAM_HOST" => |e| Value::address(e.upstream_host);
    UpstreamLocal "UPSTREAM_LOCAL_ADDRESS" => |e| Value::address(e.upstream_local);
    UpstreamLocalIp "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" =>
        |e| Value::without_port(e.upstream_local);
    UpstreamLocalPort "UPSTREAM_LOCAL_PORT" => |e| Value::port(e.upstream_local);
    UpstreamProtocol "UPSTREAM_PROTOCOL" =>
        |e| Value::text(e.upstream_protocol.map(super::Protocol::as_str));
    UpstreamRemote "UPSTREAM_REMOTE_ADDRESS" => |e| Value::address(e.upstream_host);
    UpstreamRemoteIp "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" =>
        |e| Value::without_port(e.upstream_host);
    UpstreamRemotePort "UPSTREAM_REMOTE_PORT" => |e| Value::port(e.upstream_host);
    UpstreamRequestAttemptCount "UPSTREAM_REQUEST_ATTEMPT_COUNT" =>
        |e| Value::Number(e.attempts.into());
    UpstreamTransportFailureReason "UPSTREAM_TRANSPORT_FAILURE_REASON" =>
        |e| Value::filled(e.upstream_failure);
    VirtualClusterName "VIRTUAL_CLUSTER_NAME" => |e| Value::filled(e.virtual_cluster);
}

/// Operators of Envoy 1.40 that are not built.
const UNSUPPORTED: &[&str] = &[
    "BYTES_RETRANSMITTED",
    "CEL",
    "CLUSTER_METADATA",
    "COALESCE",
    "COMMON_DURATION",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_LOCAL_PORT",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DYNAMIC_METADATA",
    "EMIT_TIME",
    "EMIT_TIME_LOCAL",
    "FILTER_STATE",
    "METADATA",
    "PACKETS_RETRANSMITTED",
    "PATH",
    "QUERY_PARAM",
    "QUERY_PARAMS",
    "REQUEST_HEADERS_BYTES",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "ROUNDTRIP_DURATION",
    "SPAN_ID",
    "START_TIME_LOCAL",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "UNIQUE_ID",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOSTS_ATTEMPTED",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_METADATA",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
];

/// An operator as it stands between two percent signs.
pub(super) struct Token<'a> {
    pub(super) name: &'a str,
    pub(super) parameter: Option<&'a str>,
    pub(super) limit: Option<usize>,
}

impl Operator {
    pub(super) fn parse(token: &Token<'_>) -> Result<Self, FormatError> {
        let name = token.name;
        if let Some(fact) = Fact::named(name) {
            if token.parameter.is_some() || token.limit.is_some() {
                return Err(FormatError::UnexpectedParameter(name.to_owned()));
            }
            return Ok(Self::Fact(fact));
        }
        match name {
            "REQ" | "REQUEST_HEADER" => Ok(Self::Request(Header::parse(token)?)),
            "RESP" | "RESPONSE_HEADER" => Ok(Self::Response(Header::parse(token)?)),
            "TRAILER" | "RESPONSE_TRAILER" => Ok(Self::Trailer(Header::parse(token)?)),
            "START_TIME" => start_time(token.parameter),
            "GRPC_STATUS" => grpc_status(token.parameter),
            "GRPC_STATUS_NUMBER" => Ok(Self::GrpcStatus(GrpcStatus::Number)),
            "HOSTNAME" => Ok(Self::Constant(host_name())),
            "ENVIRONMENT" => environment(token),
            _ if UNSUPPORTED.contains(&name) => Err(FormatError::Unsupported(name.to_owned())),
            _ => Err(FormatError::Unknown(name.to_owned())),
        }
    }

    pub(super) fn value<'a>(&'a self, entry: &'a Entry<'a>) -> Value<'a> {
        match self {
            Self::Request(header) => header.of_request(entry),
            Self::Response(header) => header.of(entry.response_headers, entry.status_text()),
            Self::Trailer(header) => header.of(entry.response_trailers, None),
            Self::StartTime(format) => {
                entry.start.map_or(Value::Absent, |start| Value::Time(start, format))
            }
            Self::GrpcStatus(style) => grpc_value(entry, *style),
            Self::Constant(text) => Value::text(text.as_deref()),
            Self::Fact(fact) => fact.value(entry),
        }
    }
}

fn required<'a>(token: &Token<'a>) -> Result<&'a str, FormatError> {
    let missing = || FormatError::MissingParameter(token.name.to_owned());
    token.parameter.filter(|parameter| !parameter.is_empty()).ok_or_else(missing)
}

fn start_time(parameter: Option<&str>) -> Result<Operator, FormatError> {
    match parameter {
        None | Some("") => Ok(Operator::StartTime(TimeFormat::iso())),
        Some(pattern) if pattern.contains(['\n', '\r']) || pattern.contains("%n") => {
            Err(FormatError::LineBreak(pattern.to_owned()))
        }
        Some(pattern) => Ok(Operator::StartTime(TimeFormat::parse(pattern))),
    }
}

fn grpc_status(parameter: Option<&str>) -> Result<Operator, FormatError> {
    Ok(Operator::GrpcStatus(match parameter.unwrap_or_default() {
        "" | "CAMEL_STRING" => GrpcStatus::Camel,
        "SNAKE_STRING" => GrpcStatus::Snake,
        "NUMBER" => GrpcStatus::Number,
        other => {
            return Err(FormatError::Parameter {
                operator: "GRPC_STATUS",
                parameter: other.to_owned(),
                expected: "CAMEL_STRING, SNAKE_STRING, NUMBER",
            });
        }
    }))
}

fn environment(token: &Token<'_>) -> Result<Operator, FormatError> {
    let value = std::env::var(required(token)?).unwrap_or_else(|_| "-".to_owned());
    let limit = token.limit.unwrap_or(usize::MAX);
    let cut: String = value.chars().take(limit).collect();
    Ok(Operator::Constant(Some(cut.into())))
}

/// The kernel's name for this machine, as `gethostname` gives it.
fn host_name() -> Option<Box<str>> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    name.or_else(|| std::env::var("HOSTNAME").ok()).map(|name| name.trim().into())
}

impl Header {
    fn parse(token: &Token<'_>) -> Result<Self, FormatError> {
        let parameter = required(token)?;
        let mut names = parameter.split('?');
        let first = Name::parse(names.next().unwrap_or_default())?;
        let second = names.next().filter(|name| !name.is_empty()).map(Name::parse).transpose()?;
        if names.next().is_some() {
            return Err(FormatError::Alternatives(parameter.to_owned()));
        }
        Ok(Self { first, second, limit: token.limit.unwrap_or(usize::MAX) })
    }

    fn of_request<'a>(&self, entry: &Entry<'a>) -> Value<'a> {
        let first = entry.request_header(&self.first);
        let found =
            first.or_else(|| self.second.as_ref().and_then(|name| entry.request_header(name)));
        self.cut(found)
    }

    fn of<'a>(&self, headers: Option<&'a HeaderMap>, status: Option<&'a str>) -> Value<'a> {
        let get = |name: &Name| match name {
            Name::Status => status.map(str::as_bytes),
            Name::Field(name) => Some(headers?.get(name)?.as_bytes()),
            _ => None,
        };
        self.cut(get(&self.first).or_else(|| self.second.as_ref().and_then(get)))
    }

    fn cut<'a>(&self, value: Option<&'a [u8]>) -> Value<'a> {
        value.map_or(Value::Absent, |bytes| Value::Bytes(&bytes[..bytes.len().min(self.limit)]))
    }
}

impl Name {
    fn parse(name: &str) -> Result<Self, FormatError> {
        if name.starts_with(':') {
            return Ok(match name.to_ascii_lowercase().as_str() {
                ":method" => Self::Method,
                ":path" => Self::Path,
                ":authority" => Self::Authority,
                ":scheme" => Self::Scheme,
                ":status" => Self::Status,
                _ => Self::Never,
            });
        }
        let invalid = |_| FormatError::HeaderName(name.to_owned());
        HeaderName::from_bytes(name.as_bytes()).map(Self::Field).map_err(invalid)
    }
}

impl<'a> Entry<'a> {
    fn request_header(&self, name: &Name) -> Option<&'a [u8]> {
        let text = match name {
            Name::Method => self.method,
            Name::Path => self.path,
            Name::Authority => self.authority,
            Name::Scheme => self.scheme,
            // Envoy keeps Host as :authority and finds it under either name.
            Name::Field(name) if *name == http::header::HOST => self.authority,
            Name::Field(name) => return Some(self.request_headers?.get(name)?.as_bytes()),
            Name::Status | Name::Never => None,
        };
        text.map(str::as_bytes)
    }

    /// `:status` as text, for `%RESP(:STATUS)%`.
    fn status_text(&self) -> Option<&'static str> {
        let code = self.status?;
        // The standard library of HTTP keeps these texts; codes beyond it are never sent.
        http::StatusCode::from_u16(code).ok().map(status_digits)
    }
}

/// The three digits of a status, from one static text.
fn status_digits(status: http::StatusCode) -> &'static str {
    static DIGITS: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| (100..1000).map(|code: u16| code.to_string()).collect());
    let at = usize::from(status.as_u16().saturating_sub(100)) * 3;
    DIGITS.get(at..at + 3).unwrap_or_default()
}

/// Codes of gRPC 0 to 16, in the two ways to write them.
const GRPC_CODES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// `grpc-status` of the trailers, else of the headers, for requests whose content type is gRPC's.
fn grpc_value<'a>(entry: &Entry<'a>, style: GrpcStatus) -> Value<'a> {
    let content_type = entry.request_headers.and_then(|h| h.get(http::header::CONTENT_TYPE));
    let is_grpc = content_type.is_some_and(|value| {
        let rest = value.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
    });
    if !is_grpc {
        return Value::Absent;
    }
    let find = |headers: Option<&'a HeaderMap>| headers?.get("grpc-status")?.to_str().ok();
    let Some(text) = find(entry.response_trailers).or_else(|| find(entry.response_headers)) else {
        return Value::Absent;
    };
    let number: Option<usize> = text.parse().ok();
    match (style, number.and_then(|number| GRPC_CODES.get(number))) {
        (GrpcStatus::Number, _) => Value::number(number.map(|number| number as u64)),
        (GrpcStatus::Camel, Some((camel, _))) => Value::text(Some(camel)),
        (GrpcStatus::Snake, Some((_, snake))) => Value::text(Some(snake)),
        (_, None) => Value::text(Some(text)),
    }
}
