//! What a data plane is started with, besides its configuration.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::resource::UnknownFields;
use crate::http::drain::DrainPlan;

/// How a data plane runs.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Worker threads.
    pub concurrency: u16,
    /// `--drain-time-s`: the pace of listener drains.
    pub drain_time: Duration,
    /// `--drain-strategy`.
    pub drain_strategy: DrainStrategy,
    /// `--shutdown-grace-s`: what is in flight may take this long at the end.
    pub shutdown_grace: Duration,
    /// `--file-flush-interval-msec`.
    pub log_flush_interval: Duration,
    /// `--file-flush-min-size-kb`, in bytes.
    pub log_min_flush: usize,
    /// What to do with unknown fields in resources by xDS.
    pub unknown_dynamic_fields: UnknownFields,
    /// `--compat envoy`: nothing of ours on the wire.
    pub compat: Compat,
    /// `--request-log`: overrides `gomesh.request_log`.
    pub request_log: Option<bool>,
    /// `--admin-address-path`: a file that gets the admin interface's address.
    pub admin_address_path: Option<PathBuf>,
    /// Services whose series exist from the start (zero-config: the backend).
    pub services: Vec<String>,
    /// What `/server_info` shows of the command line, and dumps of it.
    pub command_line: Vec<(String, String)>,
}

/// Whether our additions are on (contracts §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    /// They are off.
    Envoy,
    /// They are as the configuration has them.
    #[default]
    GoMesh,
}

/// How the connections of a drained listener are closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DrainStrategy {
    /// More and more, over the drain time.
    #[default]
    Gradual,
    /// Each after its next response.
    Immediate,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            concurrency: default_concurrency(),
            drain_time: Duration::from_secs(600),
            drain_strategy: DrainStrategy::Gradual,
            shutdown_grace: Duration::from_secs(5),
            log_flush_interval: Duration::from_secs(10),
            log_min_flush: 64 * 1024,
            unknown_dynamic_fields: UnknownFields::Count,
            compat: Compat::GoMesh,
            request_log: None,
            admin_address_path: None,
            services: Vec::new(),
            command_line: Vec::new(),
        }
    }
}

impl Setup {
    /// How the connections of a replaced listener are closed.
    #[must_use]
    pub fn drain_plan(&self) -> DrainPlan {
        let over = match self.drain_strategy {
            DrainStrategy::Gradual => self.drain_time,
            DrainStrategy::Immediate => Duration::ZERO,
        };
        DrainPlan { over, until: self.drain_time }
    }
}

/// The processors that this process may use: affinity and cgroup limits included.
#[must_use]
pub fn default_concurrency() -> u16 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(processors).unwrap_or(u16::MAX)
}
