//! What is wrong with a request, in the words of both protocols.

use axum::http::StatusCode;
use serde::Serialize;
use tonic::{Code, Status};

/// The kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The body is not JSON or YAML at all.
    Malformed,
    /// A value is not what it must be.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// It does not fit the present state.
    Conflict,
    /// The present object is another one than the client knows.
    Precondition,
    /// A limit is reached.
    Exhausted,
    /// The body is too large.
    TooLarge,
    /// The body's type is not read.
    MediaType,
    /// Not from there.
    Forbidden,
    /// Not in this version, or not in this mode.
    NotBuilt,
    /// Not now; to be tried again.
    Unavailable,
}

/// One value that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The field.
    pub path: String,
    /// What it is and what it must be.
    pub message: String,
    /// The line of the document, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl Problem {
    /// A problem without a line.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), line: None, suggestion: None }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Its kind.
    pub kind: Kind,
    /// A sentence.
    pub message: String,
    /// The values that are wrong, where it is about values.
    pub problems: Vec<Problem>,
}

impl Error {
    /// An error that is not about values.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), problems: Vec::new() }
    }

    /// Values that are not what they must be.
    #[must_use]
    pub fn invalid(problems: Vec<Problem>) -> Self {
        let text = |problem: &Problem| match (problem.path.as_str(), problem.line) {
            ("", None) => problem.message.clone(),
            ("", Some(line)) => format!("line {line}: {}", problem.message),
            (path, None) => format!("{path}: {}", problem.message),
            (path, Some(line)) => format!("{path}:{line}: {}", problem.message),
        };
        let message = problems.iter().map(text).collect::<Vec<_>>().join("; ");
        Self { kind: Kind::Invalid, message, problems }
    }

    /// Its status in HTTP.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.kind {
            Kind::Malformed => StatusCode::BAD_REQUEST,
            Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Precondition => StatusCode::PRECONDITION_FAILED,
            Kind::Exhausted => StatusCode::TOO_MANY_REQUESTS,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotBuilt => StatusCode::NOT_IMPLEMENTED,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match error.kind {
            Kind::Malformed | Kind::Invalid | Kind::MediaType => Code::InvalidArgument,
            Kind::NotFound => Code::NotFound,
            Kind::Conflict => Code::FailedPrecondition,
            Kind::Precondition => Code::Aborted,
            Kind::Exhausted | Kind::TooLarge => Code::ResourceExhausted,
            Kind::Forbidden => Code::PermissionDenied,
            Kind::NotBuilt => Code::Unimplemented,
            Kind::Unavailable => Code::Unavailable,
        };
        Self::new(code, error.message)
    }
}
