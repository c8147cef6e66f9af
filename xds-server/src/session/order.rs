//! In which order types go out on one stream, and what waits for what.
//!
//! Make before break (xds-protocol S7): clusters, then their endpoints, then listeners, then
//! routes; what is no longer wanted goes last. Routes and listeners also wait until clusters and
//! endpoints are acknowledged (S13), since order alone does not make a cluster warm.
//!
//! The lists are explicit. Nothing here depends on the order of an enum or of a map.

use crate::snapshot::{
    CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME, SCOPED_ROUTE, SECRET, VIRTUAL_HOST,
};

/// The order in which additions and changes are sent; a type that is not named here comes last.
pub const SEND_ORDER: [&str; 9] =
    [SECRET, CLUSTER, ENDPOINT, EXTENSION, LISTENER, SCOPED_ROUTE, ROUTE, VIRTUAL_HOST, RUNTIME];

/// The order in which removals are sent, after everything else; unnamed types come last.
pub const REMOVE_ORDER: [&str; 9] =
    [VIRTUAL_HOST, ROUTE, SCOPED_ROUTE, LISTENER, EXTENSION, CLUSTER, ENDPOINT, SECRET, RUNTIME];

/// Types that [`WAITING`] types wait for.
pub const AWAITED: [&str; 2] = [CLUSTER, ENDPOINT];

/// Types that are held until the [`AWAITED`] ones are acknowledged.
pub const WAITING: [&str; 4] = [LISTENER, SCOPED_ROUTE, ROUTE, VIRTUAL_HOST];

/// Types of which a SotW response carries the whole set that the client wants (S3, C7).
#[must_use]
pub fn is_full_state(type_url: &str) -> bool {
    [LISTENER, CLUSTER, SCOPED_ROUTE].contains(&type_url)
}

/// Whether removals go out together with additions.
///
/// Only listeners: one that takes over an address must not meet the one that had it, and what a
/// listener leaves behind (routes, clusters) is removed later anyway.
#[must_use]
pub fn removes_at_once(type_url: &str) -> bool {
    type_url == LISTENER
}

/// Place of a type in one of the lists.
#[must_use]
pub fn rank(order: &[&str], type_url: &str) -> usize {
    order.iter().position(|listed| *listed == type_url).unwrap_or(order.len())
}
