//! `envoy.filters.http.router`: its configuration only; what it does is `http::router`.
//!
//! It ends every chain. Fields that change what it does and are not built are refused by the table
//! of supported fields.

mod config;

use crate::config::error::Problems;
use crate::config::extension::{Body, ExtensionConfig, ExtensionParser, PolicyRow, message};
use crate::config::resource::ParseCx;

pub use config::RouterConfig;

const MESSAGE: &str = "envoy.extensions.filters.http.router.v3.Router";

/// The kind, for the parsers' registry.
pub(super) struct Kind;

impl ExtensionParser for Kind {
    fn name(&self) -> &'static str {
        "envoy.filters.http.router"
    }

    fn message(&self) -> &'static str {
        MESSAGE
    }

    fn fields(&self) -> &'static [PolicyRow<'static>] {
        config::ROWS
    }

    fn terminal(&self) -> bool {
        true
    }

    fn parse(&self, body: &Body<'_>, _: &ParseCx<'_>) -> Result<ExtensionConfig, Problems> {
        let router = config::parse(&message(body)?);
        Ok(ExtensionConfig::new(MESSAGE, router))
    }
}
