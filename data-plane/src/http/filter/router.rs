//! `envoy.filters.http.router`: its configuration only; what it does is `http::router`.
//!
//! It ends every chain. Fields that change what it does and are not built are refused by the table
//! of supported fields.

use proto::envoy::extensions::filters::http::router::v3 as pb;
use proto::rules::PolicyRow;

use crate::config::error::Problems;
use crate::config::extension::{self, Body, ExtensionConfig, ExtensionParser};
use crate::config::resource::ParseCx;

const MESSAGE: &str = "envoy.extensions.filters.http.router.v3.Router";

/// The kind, for the parsers' registry.
pub(super) struct Kind;

/// What a chain says about its router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouterConfig {
    /// `suppress_envoy_headers`: neither upstream nor client is told anything in `x-envoy-*`.
    pub suppress_envoy_headers: bool,
}

/// The fields that are built.
const ROWS: &[PolicyRow<'static>] = &[(MESSAGE, &["suppress_envoy_headers"], &[])];

impl ExtensionParser for Kind {
    fn name(&self) -> &'static str {
        "envoy.filters.http.router"
    }

    fn message(&self) -> &'static str {
        MESSAGE
    }

    fn fields(&self) -> &'static [PolicyRow<'static>] {
        ROWS
    }

    fn terminal(&self) -> bool {
        true
    }

    fn parse(&self, body: &Body<'_>, _: &ParseCx<'_>) -> Result<ExtensionConfig, Problems> {
        let pb::Router { suppress_envoy_headers, .. } = extension::message(body)?;
        Ok(ExtensionConfig::new(MESSAGE, RouterConfig { suppress_envoy_headers }))
    }
}
