//! `envoy.filters.http.router`: its configuration only; what it does is `http::router`.
//!
//! It ends every chain. Fields that change what it does and are not built are refused by the table
//! of supported fields.

use crate::config::error::Problems;
use crate::config::extension::{Body, ExtensionConfig, ExtensionParser};
use crate::config::resource::ParseCx;

const MESSAGE: &str = "envoy.extensions.filters.http.router.v3.Router";

/// The kind, for the parsers' registry.
pub(super) struct Kind;

/// A parsed router; there is nothing to choose yet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RouterConfig;

impl ExtensionParser for Kind {
    fn name(&self) -> &'static str {
        "envoy.filters.http.router"
    }

    fn message(&self) -> &'static str {
        MESSAGE
    }

    fn terminal(&self) -> bool {
        true
    }

    fn parse(&self, _: &Body<'_>, _: &ParseCx<'_>) -> Result<ExtensionConfig, Problems> {
        Ok(ExtensionConfig::new(MESSAGE, RouterConfig))
    }
}
