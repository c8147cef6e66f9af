//! Name tables: what a group counts, as static data.
//!
//! `stat_set!` turns a list of names into an enum and its table. A name's place in its storage
//! class is computed at compile time, so that `group.inc(worker, ClusterStat::UpstreamRqTotal)` is
//! two loads, an addition and a store.

/// What a stat is, and where its cells live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; a cell a worker.
    Counter,
    /// Goes up and down by `add` and `sub`; a cell a worker.
    Gauge,
    /// Only grows; one cell, written atomically from anywhere.
    SharedCounter,
    /// Is `set`, or goes up and down; one cell, written atomically from anywhere.
    SharedGauge,
    /// Values in log-linear buckets; a row of cells a worker.
    Histogram,
    /// A text (`version_text`).
    Text,
}

/// One name of a set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Def {
    /// Dotted name after the group's prefix.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Printed only once it was used (Envoy makes such stats on first use).
    pub(super) optional: bool,
}

/// Whether a set counts responses by code (`upstream_rq_200`), in its first histogram their times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Responses {
    /// It does not.
    Uncounted,
    /// It does; all of them appear with the first response.
    Plain,
    /// A second time by whose request it was (`external.upstream_rq_2xx`).
    ByOrigin,
}

/// A set's names and the number of cells that a group of it needs.
#[derive(Debug)]
pub struct Table {
    pub(super) defs: &'static [Def],
    pub(super) slots: &'static [u16],
    pub(super) hot: usize,
    pub(super) shared: usize,
    pub(super) histograms: usize,
    pub(super) texts: usize,
    pub(super) responses: Responses,
    /// Names that are also printed for each worker (`worker_0.downstream_cx_active`).
    pub(super) per_worker: &'static [&'static str],
}

/// A set of stats that a group can hold. Made by `stat_set!`.
pub trait StatSet: Copy + 'static {
    /// The set's names.
    const TABLE: &'static Table;
    /// The place of this stat in the table.
    fn ordinal(self) -> usize;
}

const fn class(kind: Kind) -> usize {
    match kind {
        Kind::Counter | Kind::Gauge => 0,
        Kind::SharedCounter | Kind::SharedGauge => 1,
        Kind::Histogram => 2,
        Kind::Text => 3,
    }
}

/// How many defs have storage of the class of `kind`.
pub(super) const fn count(defs: &[Def], kind: Kind) -> usize {
    let (mut at, mut found) = (0, 0);
    while at < defs.len() {
        if class(defs[at].kind) == class(kind) {
            found += 1;
        }
        at += 1;
    }
    found
}

/// Place of each def within its storage class.
pub(super) const fn slots<const N: usize>(defs: &[Def; N]) -> [u16; N] {
    let mut slots = [0; N];
    let mut used = [0u16; 4];
    let mut at = 0;
    while at < N {
        let class = class(defs[at].kind);
        slots[at] = used[class];
        used[class] += 1;
        at += 1;
    }
    slots
}

macro_rules! stat_set {
    (@optional) => { false };
    (@optional optional) => { true };
    (@responses) => { Responses::Uncounted };
    (@responses $responses:ident) => { Responses::$responses };
    (
        $(#[$doc:meta])*
        $set:ident $(responses $responses:ident)? $(per_worker [$($worker:literal),*])? {
            $($variant:ident: $($optional:ident)? [$kind:ident] $name:literal,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $set {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl $set {
            const NAMES: [$crate::telemetry::stats::table::Def; [$($name),*].len()] = [
                $($crate::telemetry::stats::table::Def {
                    name: $name,
                    kind: $crate::telemetry::stats::table::Kind::$kind,
                    optional: stat_set!(@optional $($optional)?),
                },)*
            ];
        }

        impl $crate::telemetry::stats::table::StatSet for $set {
            const TABLE: &'static $crate::telemetry::stats::table::Table = {
                use $crate::telemetry::stats::table::{Kind, Responses, Table, count, slots};
                &Table {
                    defs: &$set::NAMES,
                    slots: &slots(&$set::NAMES),
                    hot: count(&$set::NAMES, Kind::Counter),
                    shared: count(&$set::NAMES, Kind::SharedGauge),
                    histograms: count(&$set::NAMES, Kind::Histogram),
                    texts: count(&$set::NAMES, Kind::Text),
                    responses: stat_set!(@responses $($responses)?),
                    per_worker: &[$($($worker),*)?],
                }
            };

            fn ordinal(self) -> usize {
                self as usize
            }
        }
    };
}

pub(super) use stat_set;
