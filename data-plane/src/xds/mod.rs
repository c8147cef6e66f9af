//! L3: the xDS client, from a discovery service or from files, to ordered updates.
//!
//! [`stream`] is the protocol without I/O: pure, generic over what a resource becomes. What
//! surrounds it is thin: a driver that moves messages between the stream and a channel, file
//! subscriptions, and the record of what was accepted and refused.
//!
//! Rule ids (C1, D3, K2, …) are those of the protocol notes; a test's name begins with the rule
//! that it checks. This module never looks inside a resource: a decoder is handed in, and its
//! verdict is all that counts. It never builds anything live; whoever reads the updates does.

pub mod client;
pub mod connect;
mod counters;
pub mod decode;
pub mod file;
mod journal;
pub mod node;
mod pump;
pub mod service;
pub mod status;
pub mod stream;
pub mod subscriptions;
#[cfg(test)]
mod tests;
pub mod type_url;
mod watcher;
mod wire;

pub use counters::WatchStats;
pub use decode::decoder;
pub use stream::{Changed, Decode, Decoded, Event, Rejected, Review, Update, Whole};
pub use subscriptions::{Connectors, Options, Subscriptions, Watch};
pub use type_url::TypeUrl;

use std::sync::Arc;

/// Name of a resource, as control planes write it.
pub type Name = Arc<str>;

/// The name that subscribes to all resources of a type (C10).
pub const WILDCARD: &str = "*";
