//! Logging: the request log (contracts §6) and the access logs of the connection manager.

use super::Layer;

/// See the module.
pub(super) struct Logging;

impl Layer for Logging {
    fn name(&self) -> &'static str {
        "logging"
    }
}
