//! What went wrong with a request on the upstream's side, and what is still safe to do about it.
//!
//! The text of each kind is Envoy's (`Http::Utility::resetReasonToString`), because it stands in
//! bodies and access logs that people search. What the client is answered is decided in `reply`.

use std::borrow::Cow;

use crate::cluster::connect::ConnectErrorKind;
use crate::cluster::pool::LeaseError;
use crate::codec::{BodyError, ProtocolError, ResetCode};
use crate::telemetry::flags::ResponseFlags;
use crate::telemetry::metrics::ErrorType;

/// Why an attempt upstream failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The connection was not made within `connect_timeout`.
    ConnectTimeout,
    /// The connection could not be made.
    ConnectFailure,
    /// The connection ended before the response did.
    ConnectionTermination,
    /// We could not even try (no file descriptor, no address).
    LocalConnectFailure,
    /// A circuit breaker is open.
    Overflow,
    /// The upstream broke the protocol.
    Protocol,
    /// The upstream refused the stream before it looked at it.
    RemoteRefused,
    /// The upstream reset the stream.
    RemoteReset,
}

impl ErrorKind {
    /// Envoy's words for it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::ConnectTimeout => "connection timeout",
            Self::ConnectFailure => "remote connection failure",
            Self::ConnectionTermination => "connection termination",
            Self::LocalConnectFailure => "local connection failure",
            Self::Overflow => "overflow",
            Self::Protocol => "protocol error",
            Self::RemoteRefused => "remote refused stream reset",
            Self::RemoteReset => "remote reset",
        }
    }

    /// The response flag that tells of it.
    #[must_use]
    pub const fn flag(self) -> ResponseFlags {
        match self {
            Self::ConnectTimeout | Self::ConnectFailure | Self::LocalConnectFailure => {
                ResponseFlags::UPSTREAM_CONNECTION_FAILURE
            }
            Self::ConnectionTermination => ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
            Self::Overflow => ResponseFlags::UPSTREAM_OVERFLOW,
            Self::Protocol => ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
            Self::RemoteRefused | Self::RemoteReset => ResponseFlags::UPSTREAM_REMOTE_RESET,
        }
    }

    /// Value of `error_type` in `gomesh_errors_total`.
    #[must_use]
    pub const fn error_type(self) -> ErrorType {
        match self {
            Self::ConnectTimeout | Self::ConnectFailure | Self::LocalConnectFailure => {
                ErrorType::Connect
            }
            Self::ConnectionTermination | Self::RemoteRefused | Self::RemoteReset => {
                ErrorType::Reset
            }
            Self::Overflow => ErrorType::Overflow,
            Self::Protocol => ErrorType::Protocol,
        }
    }
}

/// How much of the request the upstream may have seen; decides whether a retry is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sent {
    /// Not a byte.
    Nothing,
    /// The head, or a part of it.
    Head,
    /// Some of the body.
    Body,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyError {
    /// What happened.
    pub kind: ErrorKind,
    /// What the upstream may have seen by then.
    pub sent: Sent,
    /// More about the transport, such as `delayed connect error: Connection refused`.
    pub transport: Option<Cow<'static, str>>,
}

impl ProxyError {
    /// A failure without more to say about the transport.
    #[must_use]
    pub const fn new(kind: ErrorKind, sent: Sent) -> Self {
        Self { kind, sent, transport: None }
    }

    /// What a broken response body or head means.
    #[must_use]
    pub fn from_body(error: &BodyError, sent: Sent) -> Self {
        let kind = match error {
            BodyError::Closed => ErrorKind::ConnectionTermination,
            BodyError::Protocol(_) | BodyError::Reset(ResetCode::Protocol) => ErrorKind::Protocol,
            BodyError::Reset(ResetCode::Refused) => ErrorKind::RemoteRefused,
            BodyError::Reset(_) => ErrorKind::RemoteReset,
        };
        Self::new(kind, sent)
    }

    /// `%RESPONSE_CODE_DETAILS%`: the reason in braces, spaces as underscores, as Envoy writes it.
    #[must_use]
    pub fn details(&self, response: ResponseStage) -> String {
        let stage = match response {
            ResponseStage::AfterHead => "after",
            ResponseStage::BeforeHead => "before",
        };
        let reason = match &self.transport {
            None => self.kind.text().to_owned(),
            Some(transport) => format!("{}|{transport}", self.kind.text()),
        };
        format!("upstream_reset_{stage}_response_started{{{}}}", reason.replace(' ', "_"))
    }
}

/// Whether the head of the response has been passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseStage {
    /// It has.
    AfterHead,
    /// It has not.
    BeforeHead,
}

impl From<LeaseError> for ProxyError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Overflow(_) => Self::new(ErrorKind::Overflow, Sent::Nothing),
            LeaseError::Connect(error) => {
                let kind = match error.kind {
                    ConnectErrorKind::Timeout => ErrorKind::ConnectTimeout,
                    ConnectErrorKind::Remote => ErrorKind::ConnectFailure,
                    ConnectErrorKind::Bind | ConnectErrorKind::Local => {
                        ErrorKind::LocalConnectFailure
                    }
                };
                let transport = Some(error.transport).filter(|text| !text.is_empty());
                Self { transport, ..Self::new(kind, Sent::Nothing) }
            }
        }
    }
}

/// `%RESPONSE_CODE_DETAILS%` of a request that broke a rule of the protocol.
#[must_use]
pub const fn protocol_details(error: ProtocolError) -> &'static str {
    match error {
        ProtocolError::ContentLengthAndTransferEncoding => {
            "http1.content_length_and_chunked_not_allowed"
        }
        ProtocolError::HeadersTooLarge => "http1.headers_too_large",
        ProtocolError::BadCharacter => "http1.invalid_characters",
        ProtocolError::BadConnectionHeader => "http1.connection_header_rejected",
        ProtocolError::BadHost => "http.invalid_authority",
        ProtocolError::BadScheme => "http1.invalid_scheme",
        ProtocolError::BadUrl => "http1.invalid_url",
        ProtocolError::BodyDisallowed => "http1.body_disallowed",
        ProtocolError::Http10NotAccepted | ProtocolError::BadVersion => "low_version",
        ProtocolError::Http2Frame => "http2.violation.of.messaging.rule",
        ProtocolError::TooManyHeaders => "http1.too_many_headers",
        ProtocolError::UnderscoreHeader => "http1.unexpected_underscore",
        ProtocolError::UnsupportedTransferEncoding | ProtocolError::BadTransferEncoding => {
            "http1.invalid_transfer_encoding"
        }
        _ => "http1.codec_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_name_stage_reason_and_transport_as_envoy_does() {
        let refused = ProxyError {
            transport: Some("delayed connect error: Connection refused".into()),
            ..ProxyError::new(ErrorKind::ConnectFailure, Sent::Nothing)
        };
        assert_eq!(
            refused.details(ResponseStage::BeforeHead),
            "upstream_reset_before_response_started{remote_connection_failure|\
             delayed_connect_error:_Connection_refused}"
        );
        let broken = ProxyError::from_body(&BodyError::Closed, Sent::Body);
        assert_eq!(
            broken.details(ResponseStage::AfterHead),
            "upstream_reset_after_response_started{connection_termination}"
        );
    }
}
