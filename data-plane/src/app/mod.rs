//! L9: the only place that knows everyone: build, wire channels, wait, drain.
//!
//! [`start`] makes a data plane on the current runtime, which becomes its control runtime; a
//! program may run several. It ends when its [`Handle`] says so, and nothing process-wide is left
//! behind.

mod addresses;
mod admin_state;
pub mod cli;
mod connectors;
mod control;
pub mod load;
mod logging;
mod runtime;
pub mod setup;
mod short_file;
mod start;
pub mod zero_config;

pub use control::{Command, Handle, Reload};
pub use load::{LoadError, Loaded, Sources};
pub use setup::{Compat, DrainStrategy, Setup};
pub use start::{Running, StartError, start};

#[cfg(test)]
mod tests;
