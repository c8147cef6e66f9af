//! L2: what the proxy counts, measures and writes down about its work.
//!
//! | module | holds |
//! | --- | --- |
//! | [`stats`] | Envoy's stat tree: per-worker cells, groups, the registry, `/stats` texts |
//! | [`flags`] | `%RESPONSE_FLAGS%` and `%RESPONSE_CODE_DETAILS%` |
//! | [`access_log`] | formats compiled once, the facts of a request, sinks |
//! | [`metrics`] | `/metrics`: our own figures through OpenTelemetry |
//! | [`request_log`] | the two JSON lines a request, panics, start-up lines |
//!
//! A request touches only cells and buffers of its own worker: no lock that another worker's
//! request may hold, no allocation once a group was touched. Everything hangs off values that the
//! application owns ([`stats::Registry`], [`access_log::Logs`]); nothing here is process-wide.

pub mod access_log;
pub mod flags;
pub mod metrics;
pub mod request_log;
pub mod stats;
mod worker;

pub use worker::WorkerId;
