//! Local replies: every answer that no upstream gave, and the one mapping from a cause to it.
//!
//! Status, body, response flag and details are Envoy's for the same cause. A reply is a value: it
//! is returned, then passes the response side of all filters like any other response.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use smallvec::SmallVec;

use crate::codec::{ProtocolError, RequestHead, ResponseHead, Version};
use crate::config::header_mutation::AppendAction;
use crate::http::error::{ErrorKind, ProxyError, ResponseStage, protocol_details};
use crate::telemetry::flags::{ResponseFlags, details};
use crate::telemetry::metrics::ErrorType;

/// gRPC's status of a request that took too long.
const GRPC_DEADLINE_EXCEEDED: u32 = 4;

/// An answer of the proxy's own.
#[derive(Clone, Debug)]
pub struct LocalReply {
    /// HTTP status; a gRPC request gets 200 and [`LocalReply::grpc_status`].
    pub status: StatusCode,
    /// Text of the body; empty sends none.
    pub body: Bytes,
    /// `content-type` of a body; `text/plain` where nothing is said.
    pub content_type: Option<HeaderValue>,
    /// Headers besides.
    pub headers: SmallVec<[(HeaderName, HeaderValue); 1]>,
    /// Headers that a filter sets when all others, those of the route included, are there.
    pub late_headers: Vec<(HeaderName, HeaderValue, AppendAction)>,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: Cow<'static, str>,
    /// `%RESPONSE_FLAGS%`.
    pub flags: ResponseFlags,
    /// Value of `error_type` in `gomesh_errors_total`; `None` is no error.
    pub error_type: Option<ErrorType>,
    /// gRPC status where it does not follow from the HTTP status.
    pub grpc_status: Option<u32>,
    /// Whether it is shaped as answers of our own are.
    pub shape: Shape,
}

/// How an answer becomes a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// As it is: a filter's own response (Envoy's `encodeHeaders` of a filter on the request's
    /// side). Neither `local_reply_config` nor the route's header changes touch it, and gRPC gets
    /// its HTTP status.
    AsIs,
    /// As a local reply (`sendLocalReply`).
    #[default]
    Local,
}

impl LocalReply {
    /// An answer with a text.
    #[must_use]
    pub fn new(status: StatusCode, body: impl Into<Bytes>, details: &'static str) -> Self {
        Self {
            status,
            body: body.into(),
            content_type: None,
            headers: SmallVec::new(),
            late_headers: Vec::new(),
            details: Cow::Borrowed(details),
            flags: ResponseFlags::default(),
            error_type: None,
            grpc_status: None,
            shape: Shape::Local,
        }
    }

    fn flagged(mut self, flag: ResponseFlags, error_type: ErrorType) -> Self {
        self.flags.insert(flag);
        self.error_type = Some(error_type);
        self
    }

    /// A panic was caught.
    #[must_use]
    pub fn panic() -> Self {
        let mut reply =
            Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error", "panic");
        reply.error_type = Some(ErrorType::Panic);
        reply
    }

    /// No route matched.
    #[must_use]
    pub fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "", "route_not_found")
            .flagged(ResponseFlags::NO_ROUTE_FOUND, ErrorType::NoRoute)
    }

    /// The route's cluster does not exist.
    #[must_use]
    pub fn no_cluster(status: StatusCode) -> Self {
        Self::new(status, "", "cluster_not_found")
            .flagged(ResponseFlags::NO_CLUSTER_FOUND, ErrorType::NoRoute)
    }

    /// The cluster has no host to offer.
    #[must_use]
    pub fn no_healthy_upstream() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream", "no_healthy_upstream")
            .flagged(ResponseFlags::NO_HEALTHY_UPSTREAM, ErrorType::NoHealthy)
    }

    /// The route's timeout passed.
    #[must_use]
    pub fn upstream_timeout() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "upstream request timeout", "response_timeout")
            .flagged(ResponseFlags::UPSTREAM_REQUEST_TIMEOUT, ErrorType::Timeout)
    }

    /// A timeout of one attempt passed, and it is not tried again.
    #[must_use]
    pub fn try_timeout(details: &'static str) -> Self {
        Self { details: Cow::Borrowed(details), ..Self::upstream_timeout() }
    }

    /// What a retry needs of the body does not fit into what may be kept, and no attempt is under
    /// way that could take the rest.
    #[must_use]
    pub fn too_large_to_retry() -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "exceeded request buffer limit while retrying upstream",
            "request_payload_exceeded_retry_buffer_limit",
        )
        .flagged(ResponseFlags::NONE, ErrorType::Overflow)
    }

    /// Nothing moved on the stream for `stream_idle_timeout`.
    #[must_use]
    pub fn stream_idle_timeout() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "stream timeout", "stream_idle_timeout")
            .flagged(ResponseFlags::STREAM_IDLE_TIMEOUT, ErrorType::Timeout)
    }

    /// The request did not arrive within `request_timeout`.
    #[must_use]
    pub fn request_timeout() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request timeout", "request_overall_timeout")
            .flagged(ResponseFlags::NONE, ErrorType::Timeout)
    }

    /// The request's head did not arrive within `request_headers_timeout`.
    #[must_use]
    pub fn request_header_timeout() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request header timeout", "request_header_timeout")
            .flagged(ResponseFlags::NONE, ErrorType::Timeout)
    }

    /// The stream is older than `max_stream_duration`.
    #[must_use]
    pub fn max_duration(request_ended: bool) -> Self {
        let (body, details) = ("downstream duration timeout", details::MAX_DURATION_TIMEOUT);
        let reply = Self::new(too_long(request_ended), body, details);
        Self {
            grpc_status: Some(GRPC_DEADLINE_EXCEEDED),
            ..reply.flagged(ResponseFlags::NONE, ErrorType::Timeout)
        }
    }

    /// An attempt upstream is older than the cluster's `max_stream_duration`.
    #[must_use]
    pub fn upstream_max_duration(request_ended: bool) -> Self {
        Self::new(
            too_long(request_ended),
            "upstream max stream duration reached",
            details::UPSTREAM_MAX_STREAM_DURATION_REACHED,
        )
        .flagged(ResponseFlags::UPSTREAM_MAX_STREAM_DURATION_REACHED, ErrorType::Timeout)
    }

    /// A body outgrew a buffer's limit.
    #[must_use]
    pub fn payload_too_large() -> Self {
        let mut reply = Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Payload Too Large",
            "request_payload_too_large",
        );
        reply.error_type = Some(ErrorType::Overflow);
        reply
    }

    /// A response body outgrew a buffer's limit.
    #[must_use]
    pub fn response_too_large() -> Self {
        let mut reply = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal Server Error",
            "response_payload_too_large",
        );
        reply.error_type = Some(ErrorType::Overflow);
        reply
    }

    /// An attempt upstream failed before a head of a response came.
    #[must_use]
    pub fn upstream_failed(error: &ProxyError, attempts: u32) -> Self {
        let status = match error.kind {
            ErrorKind::Protocol => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = format!(
            "upstream connect error or disconnect/reset before headers. {}reset reason: {}",
            if attempts > 1 { "retried and the latest " } else { "" },
            error.kind.text()
        );
        let mut reply =
            Self::new(status, body, "").flagged(error.kind.flag(), error.kind.error_type());
        reply.details = Cow::Owned(error.details(ResponseStage::BeforeHead));
        if error.kind == ErrorKind::Overflow {
            reply.headers.push((
                HeaderName::from_static("x-envoy-overloaded"),
                HeaderValue::from_static("true"),
            ));
        }
        reply
    }

    /// The client broke a rule of the protocol.
    #[must_use]
    pub fn protocol(error: ProtocolError) -> Self {
        if error == ProtocolError::MissingHost {
            return Self::rejected(StatusCode::BAD_REQUEST, "missing_host_header");
        }
        let (status, body) = match error {
            ProtocolError::HeadersTooLarge | ProtocolError::TooManyHeaders => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request Header Fields Too Large")
            }
            ProtocolError::Http10NotAccepted | ProtocolError::BadVersion => {
                (StatusCode::UPGRADE_REQUIRED, "Upgrade Required")
            }
            ProtocolError::UnsupportedTransferEncoding | ProtocolError::BadTransferEncoding => {
                (StatusCode::NOT_IMPLEMENTED, "Not Implemented")
            }
            _ => (StatusCode::BAD_REQUEST, "Bad Request"),
        };
        Self::new(status, body, protocol_details(error))
            .flagged(ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR, ErrorType::Protocol)
    }

    /// A rule of the connection manager, answered without flag and body (`missing_host_header`,
    /// `path_normalization_failed`, `absolute_path_rejected`, `upgrade_failed`).
    #[must_use]
    pub fn rejected(status: StatusCode, details: &'static str) -> Self {
        let mut reply = Self::new(status, "", details);
        reply.error_type = Some(ErrorType::Protocol);
        reply
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Head and body as they enter the response side of the filters. For gRPC a trailers-only
    /// response, whatever the status was (as Envoy: `Utility::sendLocalReply`).
    #[must_use]
    pub fn into_response(self, request: ReplyFor) -> (ResponseHead, Bytes) {
        let mut headers = HeaderMap::with_capacity(8);
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        if request == ReplyFor::Grpc {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            let code = self.grpc_status.unwrap_or_else(|| grpc_status(self.status.as_u16()));
            headers.insert("grpc-status", HeaderValue::from(code));
            if !self.body.is_empty() {
                headers.insert("grpc-message", grpc_message(&self.body));
            }
            let head = ResponseHead {
                status: StatusCode::OK,
                version: Version::Http11,
                headers,
                ends: true,
            };
            return (head, Bytes::new());
        }
        if !self.body.is_empty() {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
            let plain = HeaderValue::from_static("text/plain");
            headers.insert(header::CONTENT_TYPE, self.content_type.unwrap_or(plain));
        }
        let body = if request == ReplyFor::Head { Bytes::new() } else { self.body };
        let head = ResponseHead {
            status: self.status,
            version: Version::Http11,
            headers,
            ends: body.is_empty(),
        };
        (head, body)
    }
}

/// Whom a stream that took too long waited for: the client, or the upstream.
const fn too_long(request_ended: bool) -> StatusCode {
    if request_ended { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::REQUEST_TIMEOUT }
}

/// What kind of request a reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFor {
    /// gRPC: status in headers.
    Grpc,
    /// `HEAD`: no body.
    Head,
    /// Any other.
    Plain,
}

impl ReplyFor {
    /// Of a request's head (gRPC: `content-type` `application/grpc` or `application/grpc+…`).
    #[must_use]
    pub fn of(head: &RequestHead) -> Self {
        let grpc = head
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.as_bytes().strip_prefix(b"application/grpc"))
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'+');
        match (grpc, &head.method) {
            (true, _) => Self::Grpc,
            (false, &Method::HEAD) => Self::Head,
            (false, _) => Self::Plain,
        }
    }
}

/// gRPC status of an HTTP status (gRPC's `http-grpc-status-mapping`, as Envoy applies it).
#[must_use]
pub const fn grpc_status(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// `grpc-message`: percent-encoded as gRPC over HTTP/2 says.
fn grpc_message(text: &[u8]) -> HeaderValue {
    let mut encoded = Vec::with_capacity(text.len());
    for &byte in text {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            encoded.push(byte);
        } else {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    HeaderValue::from_bytes(&encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_answered_with_the_overloaded_header_and_flag() {
        let error = ProxyError::new(ErrorKind::Overflow, crate::http::error::Sent::Nothing);
        let reply = LocalReply::upstream_failed(&error, 1);
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        let (head, body) = reply.into_response(ReplyFor::Plain);
        assert_eq!(head.headers["x-envoy-overloaded"], "true");
        assert_eq!(head.headers[header::CONTENT_LENGTH], "81");
        assert!(body.ends_with(b"reset reason: overflow"));
    }

    #[test]
    fn head_gets_the_length_but_no_body() {
        let reply = LocalReply::new(StatusCode::IM_A_TEAPOT, "teapot", "direct_response");
        let (head, body) = reply.into_response(ReplyFor::Head);
        assert!(head.ends && body.is_empty());
        assert_eq!(head.headers[header::CONTENT_LENGTH], "6");
    }

    #[test]
    fn grpc_gets_its_status_in_the_head() {
        let (head, body) = LocalReply::no_healthy_upstream().into_response(ReplyFor::Grpc);
        assert!(head.ends && body.is_empty());
        assert_eq!(head.status, StatusCode::OK);
        assert_eq!(head.headers["grpc-status"], "14");
        assert_eq!(head.headers["grpc-message"], "no healthy upstream");
    }
}
