//! L8: Envoy's admin interface, a file a page.
//!
//! Tools of other projects call these pages (agents, `istioctl`, `egctl`, dashboards), so paths,
//! shapes, codes and texts are Envoy's to the byte; our own pages stand beside them (`/metrics`,
//! `/gomesh/…`), never inside. Pages read what [`AdminState`] and the stat registry show and
//! decide nothing; what a page changes, it asks the application to change.
//!
//! The server is bounded: connections, head size, request bodies and the time for a head.

mod healthcheck;
mod json;
mod pages;
mod query;
mod regex_error;
mod reply;
mod server;
mod view;

use std::sync::Arc;

pub use healthcheck::healthcheck;
pub use reply::Reply;
pub use server::{Admin, AdminOptions};
pub use view::{
    BootstrapView, ClusterView, CommandLine, ConfigEntry, ConfigSection, ConfigState, ConfigView,
    Drain, Health, HostAddress, HostView, ListenerView, LogChange, LogLevel, OutlierView,
    RuntimeView, ServerState, ServerView, Thresholds,
};

/// What the application shows and lets the admin interface do. All methods answer at once.
pub trait AdminState: Send + Sync + 'static {
    /// Facts of the process: `/ready`, `/server_info`.
    fn server(&self) -> ServerView;

    /// All clusters that are in force, in the order of `/clusters`.
    fn clusters(&self) -> Vec<ClusterView>;

    /// All listeners that are bound.
    fn listeners(&self) -> Vec<ListenerView>;

    /// What `/config_dump` shows.
    fn config(&self) -> ConfigView;

    /// Runtime layers and their values.
    fn runtime(&self) -> RuntimeView;

    /// `/runtime_modify`: an empty value removes an override.
    ///
    /// # Errors
    /// There is no admin layer: the text of the 503.
    fn modify_runtime(&self, changes: &[(String, String)]) -> Result<(), String>;

    /// The loggers and their levels.
    fn loggers(&self) -> Vec<(String, LogLevel)>;

    /// `/logging`.
    ///
    /// # Errors
    /// A logger that does not exist; nothing was changed.
    fn set_log_levels(&self, change: &LogChange) -> Result<(), UnknownLogger>;

    /// `/drain_listeners`.
    fn drain_listeners(&self, drain: Drain);

    /// `/healthcheck/fail`, `/healthcheck/ok`.
    fn set_health(&self, health: Health);

    /// `/quitquitquit`: shut down in good order.
    fn quit(&self);

    /// `/reopen_logs`.
    fn reopen_logs(&self);

    /// Called before statistics are read, to bring gauges up to date (`server.uptime`).
    fn refresh_stats(&self) {}

    /// Names of what is not initialized yet: `(target, resources)`, for `/init_dump`.
    fn unready(&self) -> Vec<(String, Vec<String>)> {
        Vec::new()
    }

    /// `/certs`: one JSON object a certificate in Envoy's form.
    fn certificates(&self) -> Vec<serde_json::Value> {
        Vec::new()
    }

    /// A page of our own below `/gomesh/`; `None` if there is none at `path`.
    fn own_page(&self, path: &str) -> Option<Reply> {
        let _ = path;
        None
    }
}

/// There is no logger of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLogger;

/// Shared by the server's connections.
type State = Arc<dyn AdminState>;

#[cfg(test)]
mod tests;
