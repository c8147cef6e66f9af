//! Extensions: configurations that only their extension understands.
//!
//! `config` cannot import filters, so the arrow is inverted once, openly: whoever builds the
//! program puts the parsers into [`super::resource::ParseCx`], and a parsed configuration travels
//! through the model as an opaque, comparable [`ExtensionConfig`].

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use proto::envoy::config::route::v3::FilterConfig;
use proto::google::protobuf::{Any as PbAny, Struct};
use proto::prost::Message;
pub use proto::rules::PolicyRow;
use proto::rules::{FindingKind, Policy};
use proto::text::{Format, ReadOptions};

use super::error::{At, Problems, Reason};
use super::resource::ParseCx;
use super::{field, verdict};

/// Parses the configuration of one extension.
pub trait ExtensionParser: Sync {
    /// Canonical name, such as `envoy.filters.http.router`.
    fn name(&self) -> &'static str;

    /// Full name of its message, such as `envoy.extensions.filters.http.router.v3.Router`.
    fn message(&self) -> &'static str;

    /// Full name of its per-route message, where it has one of its own.
    fn override_message(&self) -> Option<&'static str> {
        None
    }

    /// Which fields of its messages it honours, and which it accepts without effect: what
    /// `super::support` holds for the messages of `config`. A message without a row is refused as
    /// soon as one of its fields is set.
    fn fields(&self) -> &'static [PolicyRow<'static>] {
        &[]
    }

    /// Whether it ends a chain of HTTP filters.
    fn terminal(&self) -> bool {
        false
    }

    /// Parses its message.
    ///
    /// # Errors
    /// Whatever the extension's rules refuse; paths begin inside the message.
    fn parse(&self, body: &Body<'_>, cx: &ParseCx<'_>) -> Result<ExtensionConfig, Problems>;

    /// Parses its per-route message.
    ///
    /// # Errors
    /// As for `parse`; by default there is no per-route configuration.
    fn parse_override(&self, _: &Body<'_>, _: &ParseCx<'_>) -> Result<ExtensionConfig, Problems> {
        let text = format!("{} takes no configuration for a host or route", self.name());
        Err(Reason::Rule(text).into())
    }
}

/// An extension's message as it came.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// The serialized message.
    Message(Cow<'a, [u8]>),
    /// The value of a `TypedStruct` whose message the descriptors do not have.
    Struct(Struct),
}

/// An `Any` with its wrapping taken off.
#[derive(Clone, Debug)]
pub struct Opened<'a> {
    /// Full name of the message, without a prefix; empty if nothing was said.
    pub message: String,
    /// The message.
    pub body: Body<'a>,
}

/// A parsed configuration, opaque outside its extension; cheap to clone, comparable.
#[derive(Clone)]
pub struct ExtensionConfig {
    message: &'static str,
    value: Arc<dyn ExtensionValue>,
}

impl ExtensionConfig {
    /// Wraps what a parser made of `message` (its full name, without a prefix).
    #[must_use]
    pub fn new<T: Any + fmt::Debug + PartialEq + Send + Sync>(
        message: &'static str,
        value: T,
    ) -> Self {
        Self { message, value: Arc::new(value) }
    }

    /// Full name of the message that it was parsed from.
    #[must_use]
    pub const fn message(&self) -> &'static str {
        self.message
    }

    /// The value, for the extension that made it.
    #[must_use]
    pub fn value<T: Any>(&self) -> Option<&T> {
        self.value.as_any().downcast_ref()
    }
}

impl PartialEq for ExtensionConfig {
    fn eq(&self, other: &Self) -> bool {
        self.message == other.message && self.value.equals(&*other.value)
    }
}

impl fmt::Debug for ExtensionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(self.message).field(&self.value).finish()
    }
}

/// What a value must do to be compared and printed without knowing its type.
trait ExtensionValue: fmt::Debug + Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn equals(&self, other: &dyn ExtensionValue) -> bool;
}

impl<T: Any + fmt::Debug + PartialEq + Send + Sync> ExtensionValue for T {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn equals(&self, other: &dyn ExtensionValue) -> bool {
        other.as_any().downcast_ref::<T>() == Some(self)
    }
}

/// What a route, virtual host or weighted cluster says about one filter of the chain
/// (`typed_per_filter_config`).
#[derive(Clone, Debug, PartialEq)]
pub struct FilterOverride {
    /// The filter's own configuration for this route; `None` only switches it.
    pub config: Option<ExtensionConfig>,
    /// Whether the filter is on or off here; `None` leaves what the level above says.
    pub enabled: Option<bool>,
}

impl Opened<'_> {
    /// The message's name if `name` is a name of Envoy's, else nothing: an option under a key that
    /// nobody reads is unknown, whatever its value is.
    #[must_use]
    pub fn message_if_named(&self, name: &str) -> String {
        if name.starts_with("envoy.") { self.message.clone() } else { String::new() }
    }
}

/// Takes a `TypedStruct` off an `Any`, if there is one.
///
/// # Errors
/// If the `TypedStruct` cannot be decoded or names no type.
pub fn open(any: &PbAny) -> Result<Opened<'_>, Problems> {
    let message = proto::convert::type_name(&any.type_url);
    if message != "xds.type.v3.TypedStruct" && message != "udpa.type.v1.TypedStruct" {
        return Ok(Opened {
            message: message.into(),
            body: Body::Message(Cow::Borrowed(&any.value)),
        });
    }
    // A TypedStruct has the wire form of an Any whose value is a Struct.
    let PbAny { type_url, value } = decode(&any.value)?;
    if type_url.is_empty() {
        return Err(Reason::Missing.into()).at("type_url");
    }
    let message = proto::convert::type_name(&type_url).to_owned();
    let value: Struct = decode(&value)?;
    if !is_described(&message) {
        return Ok(Opened { message, body: Body::Struct(value) });
    }
    let bytes = encode(&message, value).at("value")?;
    Ok(Opened { message, body: Body::Message(Cow::Owned(bytes)) })
}

/// The message that a `Struct` means, by way of its JSON form, as Envoy does it.
fn encode(message: &str, value: Struct) -> Result<Vec<u8>, Problems> {
    let json = serde_json::Value::Object(field::json_object(value)).to_string();
    let options = ReadOptions { format: Format::Json, ..ReadOptions::default() };
    let read = proto::text::parse_encoded(message, "value.json", json.as_bytes(), &options);
    read.map(|read| read.message).map_err(|diagnostics| {
        let must = format!("the fields of {message} ({diagnostics})");
        Reason::Invalid { got: "a Struct".into(), must }.into()
    })
}

/// [`open`], and the rules and the table of supported fields for a message that was hidden from
/// the check of the whole resource by its `TypedStruct`.
///
/// # Errors
/// As for [`open`], and whatever the rules refuse.
pub fn open_checked<'a>(any: &'a PbAny, cx: &ParseCx<'_>) -> Result<Opened<'a>, Problems> {
    let opened = open(any)?;
    if let Body::Message(Cow::Owned(bytes)) = &opened.body {
        verdict::check(&opened.message, bytes, cx).at("value")?;
    }
    Ok(opened)
}

/// The message of an extension whose message the descriptors have.
///
/// # Errors
/// As for [`decode`].
pub fn message<M: Message + Default>(body: &Body<'_>) -> Result<M, Problems> {
    match body {
        Body::Message(bytes) => decode(bytes),
        Body::Struct(_) => {
            Err(Reason::Rule("a message that is described, as a Struct".into()).into())
        }
    }
}

/// Decodes a message.
///
/// # Errors
/// If the bytes are not an encoding of it.
pub fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, Problems> {
    M::decode(bytes).map_err(|error| {
        let got = format!("bytes that cannot be decoded ({error})");
        Reason::Invalid { got, must: "an encoding of the message that it says it is".into() }.into()
    })
}

/// The reason for which an extension that nobody here parses is refused: Envoy knows it, or
/// nobody does.
#[must_use]
pub fn unknown(kind: &'static str, name: &str, message: &str) -> Reason {
    if is_known(message) {
        return Reason::NotSupported { what: format!("{kind} {name} ({message})") };
    }
    let got = if message.is_empty() { "no typed_config".into() } else { message.to_owned() };
    Reason::Unknown { kind, name: format!("{name}' of type '{got}") }
}

/// Whether Envoy's API has an extension's message of that name.
#[must_use]
pub fn is_known(message: &str) -> bool {
    message.starts_with("envoy.") && is_described(message)
}

/// Whether the descriptors have a message of that name.
fn is_described(message: &str) -> bool {
    let findings = proto::rules::check(message, &[], &Policy::default());
    let unknown = |kind: &FindingKind| matches!(kind, FindingKind::UnknownType { .. });
    !findings.iter().any(|finding| unknown(&finding.kind))
}

/// The HTTP filter that `message` belongs to.
#[must_use]
pub fn find<'a>(message: &str, cx: &ParseCx<'a>) -> Option<&'a dyn ExtensionParser> {
    cx.http_filters.iter().copied().find(|parser| parser.message() == message)
}

/// What one level of a route table says about the filter called `name`
/// (`typed_per_filter_config`); `None` if it is optional and nobody knows it.
///
/// # Errors
/// If the filter's rules refuse it.
pub fn parse_override(
    name: &str,
    any: &PbAny,
    cx: &ParseCx<'_>,
) -> Result<Option<FilterOverride>, Problems> {
    if proto::convert::type_name(&any.type_url) != "envoy.config.route.v3.FilterConfig" {
        // A configuration without a wrapper wakes a filter that is `disabled` in the chain.
        let config = parse_override_config(name, any, cx)?;
        return Ok(Some(FilterOverride { config: Some(config), enabled: Some(true) }));
    }
    let wrapper: FilterConfig = decode(&any.value)?;
    let enabled = Some(!wrapper.disabled);
    let Some(inner) = wrapper.config.filter(|config| !config.type_url.is_empty()) else {
        // Envoy: a FilterConfig without a config is good only to switch the filter.
        return Ok(Some(FilterOverride { config: None, enabled }));
    };
    match parse_override_config(name, &inner, cx) {
        Ok(config) => Ok(Some(FilterOverride { config: Some(config), enabled })),
        Err(_) if wrapper.is_optional && !is_parsed(&inner, cx) => Ok(None),
        Err(problems) => Err(problems).at("config"),
    }
}

fn is_parsed(any: &PbAny, cx: &ParseCx<'_>) -> bool {
    open(any).is_ok_and(|opened| find_override(&opened.message, cx).is_some())
}

fn find_override<'a>(message: &str, cx: &ParseCx<'a>) -> Option<&'a dyn ExtensionParser> {
    let bears = |parser: &&dyn ExtensionParser| {
        parser.override_message().unwrap_or_else(|| parser.message()) == message
    };
    cx.http_filters.iter().copied().find(bears)
}

fn parse_override_config(
    name: &str,
    any: &PbAny,
    cx: &ParseCx<'_>,
) -> Result<ExtensionConfig, Problems> {
    let opened = open_checked(any, cx)?;
    match find_override(&opened.message, cx) {
        Some(parser) => parser.parse_override(&opened.body, cx),
        None => Err(unknown("HTTP filter", name, &opened.message).into()),
    }
}
