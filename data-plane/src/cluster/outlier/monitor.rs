//! What all workers count of one host. Atomic, pure.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::config::cluster::outlier::OutlierConfig;

/// Whose failures a success rate is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What the host answers.
    External,
    /// Whether it is reached.
    LocalOrigin,
}

impl Side {
    pub(super) const ALL: [Self; 2] = [Self::External, Self::LocalOrigin];
}

/// A row of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    GatewayFailure,
    FiveXx,
    LocalOrigin,
}

impl Row {
    /// In the order in which one failure shows them.
    pub(super) const ALL: [Self; 3] = [Self::GatewayFailure, Self::FiveXx, Self::LocalOrigin];

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    Answer(u16),
    Reached,
    Unreached,
}

/// Requests within an interval.
#[derive(Debug, Default)]
struct Bucket {
    total: AtomicU64,
    success: AtomicU64,
}

/// The counters.
#[derive(Debug)]
pub struct Monitor {
    rows: [AtomicU32; 3],
    /// A bit for each row that has grown to its threshold and was not yet looked at.
    due: AtomicU32,
    /// A probe passed while it was out, and that was not yet looked at.
    probed: AtomicBool,
    buckets: [Bucket; 2],
    /// Success rates in percent, as bits; negative where there is none.
    rates: [AtomicU64; 2],
}

impl Default for Monitor {
    fn default() -> Self {
        Self {
            rows: Default::default(),
            due: AtomicU32::new(0),
            probed: AtomicBool::new(false),
            buckets: Default::default(),
            rates: std::array::from_fn(|_| AtomicU64::new((-1.0f64).to_bits())),
        }
    }
}

impl Monitor {
    /// Counts; says whether somebody should look at the host.
    pub(super) fn take(&self, told: Told, config: &OutlierConfig) -> bool {
        match told {
            Told::Answer(status) => {
                let failed = matches!(status, 500..=599);
                self.count(Side::External, !failed);
                if !failed {
                    self.end(Row::GatewayFailure);
                    self.end(Row::FiveXx);
                    return false;
                }
                let gateway = if matches!(status, 502..=504) {
                    self.lengthen(Row::GatewayFailure, config.consecutive_gateway_failure.threshold)
                } else {
                    self.end(Row::GatewayFailure);
                    false
                };
                self.lengthen(Row::FiveXx, config.consecutive_5xx.threshold) || gateway
            }
            Told::Reached => {
                self.count(Side::LocalOrigin, true);
                self.end(Row::LocalOrigin);
                false
            }
            Told::Unreached => {
                self.count(Side::LocalOrigin, false);
                self.lengthen(Row::LocalOrigin, config.consecutive_local_origin_failure.threshold)
            }
        }
    }

    fn count(&self, side: Side, success: bool) {
        let bucket = &self.buckets[side as usize];
        bucket.total.fetch_add(1, Ordering::Relaxed);
        if success {
            bucket.success.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One more failure. True for the one that reaches the threshold, and for no other.
    fn lengthen(&self, row: Row, threshold: u32) -> bool {
        let before = self.rows[row as usize].fetch_add(1, Ordering::Relaxed);
        let reached = before.wrapping_add(1) == threshold;
        if reached {
            self.due.fetch_or(row.bit(), Ordering::Relaxed);
        }
        reached
    }

    /// Begins a row anew.
    pub(super) fn end(&self, row: Row) {
        let row = &self.rows[row as usize];
        // Looking does not take the line away from other workers; writing would, on each success.
        if row.load(Ordering::Relaxed) != 0 {
            row.store(0, Ordering::Relaxed);
        }
    }

    /// A probe passed while it was out.
    pub(in crate::cluster) fn probe_passed(&self) {
        self.probed.store(true, Ordering::Relaxed);
    }

    /// Takes whether one did.
    pub(super) fn take_probed(&self) -> bool {
        self.probed.swap(false, Ordering::Relaxed)
    }

    /// Takes the rows that reached their threshold.
    pub(super) fn take_due(&self) -> impl Iterator<Item = Row> + use<> {
        let due = match self.due.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.due.swap(0, Ordering::Relaxed),
        };
        Row::ALL.into_iter().filter(move |row| due & row.bit() != 0)
    }

    /// Closes an interval: its success rate in percent and its requests, if there were any.
    pub(super) fn close(&self, side: Side) -> Option<(f64, u64)> {
        let bucket = &self.buckets[side as usize];
        let success = bucket.success.swap(0, Ordering::Relaxed);
        let total = bucket.total.swap(0, Ordering::Relaxed);
        // A request may be counted in the middle of this; no rate is above 100 %.
        let success = success.min(total);
        #[expect(clippy::cast_precision_loss, reason = "requests of an interval, far below 2^52")]
        (total > 0).then(|| (success as f64 * 100.0 / total as f64, total))
    }

    /// Success rate in percent, where the last interval had enough requests to tell.
    #[must_use]
    pub fn success_rate(&self, side: Side) -> Option<f64> {
        rate(&self.rates[side as usize])
    }

    pub(super) fn set_rate(&self, side: Side, rate: Option<f64>) {
        self.rates[side as usize].store(rate.unwrap_or(-1.0).to_bits(), Ordering::Relaxed);
    }
}

/// A stored rate, if there is one.
pub(super) fn rate(bits: &AtomicU64) -> Option<f64> {
    Some(f64::from_bits(bits.load(Ordering::Relaxed))).filter(|rate| *rate >= 0.0)
}
