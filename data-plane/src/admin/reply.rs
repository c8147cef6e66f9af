//! What a page answers.

/// A page's answer; the server adds the headers that all pages bear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// `content-type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

pub(super) const TEXT: &str = "text/plain; charset=UTF-8";
pub(super) const JSON: &str = "application/json";
pub(super) const HTML: &str = "text/html; charset=UTF-8";

impl Reply {
    /// 200 with a text.
    #[must_use]
    pub fn text(body: impl Into<String>) -> Self {
        Self { status: 200, content_type: TEXT, body: body.into() }
    }

    /// 200 with JSON.
    #[must_use]
    pub fn json(body: impl Into<String>) -> Self {
        Self { status: 200, content_type: JSON, body: body.into() }
    }

    /// `OK`, which mutating pages answer.
    #[must_use]
    pub fn ok() -> Self {
        Self::text("OK\n")
    }

    /// An error with a text.
    #[must_use]
    pub fn error(status: u16, body: impl Into<String>) -> Self {
        Self { status, ..Self::text(body) }
    }

    /// The same with another content type.
    #[must_use]
    pub const fn of_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }
}
