//! Cells: numbers that one thread writes and any thread reads.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry::WorkerId;

/// "Was ever written", which Envoy's `usedonly` asks for; a value has the other 63 bits.
const USED: u64 = 1 << 63;
const MASK: u64 = USED - 1;

/// A number of one worker, modulo 2^63: a gauge may rise on one worker and fall on another.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct Cell(AtomicU64);

impl Cell {
    pub(in crate::telemetry) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds, wrapping (`n` may be a negated amount). The owner of a worker's cell is its only
    /// writer, so a load and a store do; cells of the control runtime may have several.
    #[inline]
    pub(in crate::telemetry) fn add(&self, worker: WorkerId, n: u64) {
        if worker == WorkerId::CONTROL {
            self.0.fetch_add(n, Ordering::Relaxed);
            self.0.fetch_or(USED, Ordering::Relaxed);
        } else {
            let next = self.0.load(Ordering::Relaxed).wrapping_add(n) | USED;
            self.0.store(next, Ordering::Relaxed);
        }
    }

    /// The value, and whether it was ever written.
    pub(in crate::telemetry) fn read(&self) -> Reading {
        let raw = self.0.load(Ordering::Relaxed);
        Reading { value: raw & MASK, used: raw & USED != 0 }
    }
}

/// What one or more cells hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::telemetry) struct Reading {
    pub(in crate::telemetry) value: u64,
    pub(in crate::telemetry) used: bool,
}

impl Reading {
    /// Adds another worker's cell.
    #[must_use]
    pub(in crate::telemetry) fn plus(self, other: Self) -> Self {
        Self { value: self.value.wrapping_add(other.value) & MASK, used: self.used || other.used }
    }

    /// The sum as a gauge: cells are read one after the other, so that a sum may be short of what
    /// just moved from one worker to another; it is never printed as a huge number.
    pub(in crate::telemetry) fn as_gauge(self) -> u64 {
        if self.value > MASK / 2 { 0 } else { self.value }
    }
}
