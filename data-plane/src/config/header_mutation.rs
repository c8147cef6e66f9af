//! `HeaderValueOption` and lists of header names to remove, shared by routes, local replies and
//! the connection manager.
//!
//! A value is kept as the format string that was written; the formatter compiles it, and
//! [`super::format::FormatCheck`] has refused it here if it does not compile.

use std::sync::Arc;

use http::HeaderName;

/// What happens when the header exists already
/// (`envoy.config.core.v3.HeaderValueOption.HeaderAppendAction`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AppendAction {
    /// Add only if there is none of that name.
    AddIfAbsent,
    /// Add, whatever exists (the default).
    #[default]
    AppendIfExistsOrAdd,
    /// Replace if there is one; else nothing.
    OverwriteIfExists,
    /// Replace, or add.
    OverwriteIfExistsOrAdd,
}

/// One header to add or set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderValueOption {
    /// Name, in lower case.
    pub name: HeaderName,
    /// Value: a format string such as `%REQ(x-id)%`, or a literal.
    pub value: Arc<str>,
    /// What happens when it exists.
    pub append_action: AppendAction,
    /// Whether a value that comes out empty is still written.
    pub keep_empty_value: EmptyValue,
}

/// What becomes of a header whose formatted value is empty (`keep_empty_value`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EmptyValue {
    /// It is not written (the default).
    #[default]
    Drop,
    /// It is written with an empty value.
    Keep,
}
