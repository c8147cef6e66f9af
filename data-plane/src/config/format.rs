//! Substitution formats (`envoy.config.core.v3.SubstitutionFormatString` and the older forms).
//!
//! The model holds what was written. Which command operators exist is the business of the
//! formatter two layers up, so its verdict comes in through [`FormatCheck`] in `ParseCx`.

use std::sync::Arc;

use serde_json::Value;

use super::error::Problems;

/// A text or JSON format with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatConfig {
    /// What is written.
    pub shape: FormatShape,
    /// Absent values: `-` in text and `null` in JSON (false), or nothing at all (true).
    pub omit_empty_values: bool,
    /// `content-type` of a local reply; `None` follows the shape.
    pub content_type: Option<Arc<str>>,
}

/// The two shapes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatShape {
    /// A JSON document; its strings are formats. Keys are sorted. No newline is part of it.
    Json(Arc<Value>),
    /// A text with command operators, written as it is (a newline only if it holds one).
    Text(Arc<str>),
}

/// Says whether a format compiles; implemented by the formatter.
pub trait FormatCheck: Sync {
    /// Checks all operators of an access log or local reply format.
    ///
    /// # Errors
    /// Names the operator that does not exist or is not supported.
    fn check(&self, format: &FormatConfig) -> Result<(), Problems>;

    /// Checks the value of a header to add, which is a text format too.
    ///
    /// # Errors
    /// As for `check`.
    fn check_header_value(&self, value: &str) -> Result<(), Problems> {
        self.check(&FormatConfig {
            shape: FormatShape::Text(value.into()),
            omit_empty_values: false,
            content_type: None,
        })
    }
}

/// Accepts every format: for tests and for callers that have no formatter.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyFormat;

impl FormatCheck for AnyFormat {
    fn check(&self, _: &FormatConfig) -> Result<(), Problems> {
        Ok(())
    }
}
