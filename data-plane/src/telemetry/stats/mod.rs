//! Envoy's stat tree as the source of truth: who counts what, under which name.
//!
//! A [`Group`] is a prefix (`cluster.local.`) with a static table of names ([`ClusterStat`]). Each
//! worker owns a block of cells in it, made on first touch, so that ten thousand idle clusters cost
//! little. Three kinds of cells:
//! * counters and gauges that requests touch: one cell a worker, single writer, added up at scrape;
//! * `shared` ones: written rarely and from anywhere (memberships, breaker states, versions);
//! * histograms: log-linear as Envoy's, a cell a bucket and worker.
//!
//! Groups are kept alive by those who count; the [`Registry`] only knows them, and a group leaves
//! the tree when its last handle is dropped. Asking for a group that is alive gives the same one,
//! so a replaced cluster goes on counting where the old one stopped, as in Envoy.

pub(in crate::telemetry) mod cell;
mod group;
mod histogram;
mod number;
mod query;
mod registry;
pub mod render;
mod responses;
mod rows;
mod scope;
mod sets;
mod table;

pub use group::{Group, Origin};
pub use histogram::Distribution;
pub use query::{Kinds, Query};
pub use registry::Registry;
pub use rows::{Row, Value};
pub use scope::Scope;
pub use sets::*;
pub use table::{Kind, StatSet};
