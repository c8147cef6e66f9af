//! `HeaderValueOption` and lists of header names to remove, shared by routes, local replies and
//! the connection manager.
//!
//! A value is kept as the format string that was written; the formatter compiles it, and
//! [`super::format::FormatCheck`] has refused it here if it does not compile.

use std::sync::Arc;

use http::HeaderName;
use proto::envoy::config::core::v3 as pb;
use proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;

use super::error::{At, Collector, Problems, Reason};
use super::field;
use super::resource::ParseCx;

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

/// The headers to add of field `name`.
///
/// # Errors
/// If a header may not be changed, is none, or its value is no format.
pub fn parse_additions(
    list: Vec<pb::HeaderValueOption>,
    name: &'static str,
    cx: &ParseCx<'_>,
) -> Result<Vec<HeaderValueOption>, Problems> {
    let mut all = Collector::default();
    let mut out = Vec::with_capacity(list.len());
    for (i, option) in list.into_iter().enumerate() {
        out.extend(all.keep(parse_addition(option, cx).at_index(name, i)));
    }
    all.finish().map(|()| out)
}

/// The headers to remove of field `name`.
///
/// # Errors
/// If a header may not be removed or is none.
pub fn parse_removals(list: &[String], name: &'static str) -> Result<Vec<HeaderName>, Problems> {
    let mut all = Collector::default();
    let mut out = Vec::with_capacity(list.len());
    for (i, text) in list.iter().enumerate() {
        let parsed = modifiable(text, "removed").and_then(|()| field::token(text));
        out.extend(all.keep(parsed.at_index(name, i)));
    }
    all.finish().map(|()| out)
}

fn parse_addition(
    option: pb::HeaderValueOption,
    cx: &ParseCx<'_>,
) -> Result<HeaderValueOption, Problems> {
    let append_action = parse_action(&option)?;
    let header = field::required(option.header, "header")?;
    let (name, value) = parse_header(header, cx).at("header")?;
    let keep_empty_value =
        if option.keep_empty_value { EmptyValue::Keep } else { EmptyValue::Drop };
    Ok(HeaderValueOption { name, value, append_action, keep_empty_value })
}

fn parse_header(
    header: pb::HeaderValue,
    cx: &ParseCx<'_>,
) -> Result<(HeaderName, Arc<str>), Problems> {
    modifiable(&header.key, "modified").at("key")?;
    let name = field::header_name(&header.key, "key")?;
    if !header.value.is_empty() && !header.raw_value.is_empty() {
        let text = "value and raw_value may not both be set".into();
        return Err(Reason::Rule(text).into());
    }
    let value = if header.raw_value.is_empty() {
        header.value
    } else {
        let raw = String::from_utf8(header.raw_value);
        raw.map_err(|_| {
            Reason::NotSupported { what: "a header value that is not UTF-8".into() }.into()
        })
        .at("raw_value")?
    };
    cx.formats.check_header_value(&value).at("value")?;
    Ok((name, value.into()))
}

fn parse_action(option: &pb::HeaderValueOption) -> Result<AppendAction, Problems> {
    let action = field::enumeration::<HeaderAppendAction>(option.append_action, "append_action")?;
    if let Some(append) = option.append {
        // HeaderParser::configure: the old field and a new action exclude each other.
        if action != HeaderAppendAction::AppendIfExistsOrAdd {
            let text = "append and append_action may not both be set".into();
            return Err(Reason::Rule(text).into());
        }
        return Ok(match append.value {
            true => AppendAction::AppendIfExistsOrAdd,
            false => AppendAction::OverwriteIfExistsOrAdd,
        });
    }
    Ok(match action {
        HeaderAppendAction::AppendIfExistsOrAdd => AppendAction::AppendIfExistsOrAdd,
        HeaderAppendAction::AddIfAbsent => AppendAction::AddIfAbsent,
        HeaderAppendAction::OverwriteIfExistsOrAdd => AppendAction::OverwriteIfExistsOrAdd,
        HeaderAppendAction::OverwriteIfExists => AppendAction::OverwriteIfExists,
    })
}

/// `host` and pseudo-headers are what routing went by; only rewrites change them.
fn modifiable(name: &str, verb: &str) -> Result<(), Problems> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        let must = format!("no pseudo-header and not host: these may not be {verb}");
        return Err(Reason::Invalid { got: format!("\"{name}\""), must }.into());
    }
    Ok(())
}
