//! Substitution formats (`envoy.config.core.v3.SubstitutionFormatString` and the older forms).
//!
//! The model holds what was written. Which command operators exist is the business of the
//! formatter two layers up, so its verdict comes in through [`FormatCheck`] in `ParseCx`.

use std::sync::Arc;

use proto::envoy::config::core::v3 as pb;
use proto::envoy::config::core::v3::substitution_format_string::Format;
use proto::google::protobuf::Struct;
use serde_json::Value;

use super::error::{At, Problems, Reason};
use super::resource::ParseCx;
use super::{data_source, field};

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

/// A `SubstitutionFormatString`.
///
/// # Errors
/// If nothing is said, an operator does not exist, or a formatter extension is wanted.
pub fn parse(
    format: pb::SubstitutionFormatString,
    cx: &ParseCx<'_>,
) -> Result<FormatConfig, Problems> {
    if let Some(formatter) = format.formatters.first() {
        let what = format!("formatter extension {}", formatter.name);
        return Err(Reason::NotSupported { what }.into()).at_index("formatters", 0);
    }
    let (shape, name) = match format.format.ok_or(Reason::Missing)? {
        Format::TextFormat(text) => (FormatShape::Text(text.into()), "text_format"),
        Format::JsonFormat(fields) => (json(fields), "json_format"),
        Format::TextFormatSource(source) => {
            let text = data_source::parse_text(source, cx).at("text_format_source")?;
            (FormatShape::Text(text), "text_format_source")
        }
    };
    let content_type = Some(format.content_type).filter(|t| !t.is_empty());
    let out = FormatConfig {
        shape,
        omit_empty_values: format.omit_empty_values,
        content_type: content_type.map(Into::into),
    };
    cx.formats.check(&out).at(name)?;
    Ok(out)
}

/// A text or JSON format without options, in field `name`.
///
/// # Errors
/// If an operator does not exist.
pub fn parse_shape(
    shape: FormatShape,
    name: &'static str,
    cx: &ParseCx<'_>,
) -> Result<FormatConfig, Problems> {
    let out = FormatConfig { shape, omit_empty_values: false, content_type: None };
    cx.formats.check(&out).at(name)?;
    Ok(out)
}

/// A JSON format.
#[must_use]
pub fn json(fields: Struct) -> FormatShape {
    FormatShape::Json(Arc::new(Value::Object(field::json_object(fields))))
}
