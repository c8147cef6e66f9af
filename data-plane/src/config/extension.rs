//! Extensions: configurations that only their extension understands.
//!
//! `config` cannot import filters, so the arrow is inverted once, openly: whoever builds the
//! program puts the parsers into [`super::resource::ParseCx`], and a parsed configuration travels
//! through the model as an opaque, comparable [`ExtensionConfig`].

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use proto::google::protobuf::Struct;

use super::error::{Problems, Reason};
use super::resource::ParseCx;

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
        let what = format!("per-route configuration of {}", self.name());
        Err(Reason::NotSupported { what }.into())
    }
}

/// An extension's message as it came.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// The serialized message.
    Message(&'a [u8]),
    /// The value of a `TypedStruct` that names the message.
    Struct(&'a Struct),
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
