//! Log-linear histograms: 90 buckets a decade, as Envoy's.
//!
//! A value keeps its two leading digits, so that a bucket is at most a tenth of its value wide and
//! an integer below 100 is exact. Recording is an index and a single-writer addition; decades are
//! allocated when a value first falls into them. Percentiles spread a bucket's values evenly over
//! its width, which gives the very figures that Envoy prints.

use std::sync::OnceLock;

use super::cell::Cell;
use crate::telemetry::WorkerId;

/// Envoy's default bucket bounds of `/stats`, in the histogram's own unit (mostly milliseconds).
pub(super) const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10000.0,
    30000.0,
    60000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Envoy's percentiles of `/stats`.
pub(super) const QUANTILES: [f64; 10] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0];

/// Decades 10^1 to 10^19.
const DECADES: usize = 19;

/// Values of one worker.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// 0 to 9.
    ones: [Cell; 10],
    decades: [OnceLock<Box<[Cell; 90]>>; DECADES],
}

impl Histogram {
    #[inline]
    pub(super) fn record(&self, worker: WorkerId, value: u64) {
        if value < 10 {
            self.ones[value as usize].add(worker, 1);
            return;
        }
        let (decade, at) = place(value);
        let cells = self.decades[decade].get_or_init(|| Box::new([const { Cell::new() }; 90]));
        cells[at].add(worker, 1);
    }

    /// Adds what this worker recorded.
    pub(super) fn merge_into(&self, sum: &mut Distribution) {
        for (value, cell) in self.ones.iter().enumerate() {
            sum.add(Bucket::ones(value), cell.read().value);
        }
        for (decade, cells) in self.decades.iter().enumerate() {
            for (at, cell) in cells.get().into_iter().flat_map(|cells| cells.iter().enumerate()) {
                sum.add(Bucket::at(decade, at), cell.read().value);
            }
        }
    }
}

/// Decade and place in it; divisions by constants, which cost a multiplication.
#[inline]
fn place(value: u64) -> (usize, usize) {
    let (decade, lead) = match value {
        0..100 => (0, value),
        100..1_000 => (1, value / 10),
        1_000..10_000 => (2, value / 100),
        10_000..100_000 => (3, value / 1_000),
        100_000..1_000_000 => (4, value / 10_000),
        _ => {
            let decade = value.ilog10() - 1;
            (decade as usize, value / 10u64.pow(decade))
        }
    };
    (decade, lead as usize - 10)
}

/// A bucket: from `low`, `width` wide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    pub(super) low: f64,
    pub(super) width: f64,
}

impl Bucket {
    #[expect(clippy::cast_precision_loss, reason = "0 to 9")]
    fn ones(value: usize) -> Self {
        Self { low: value as f64, width: if value == 0 { 0.0 } else { 0.1 } }
    }

    #[expect(clippy::cast_precision_loss, reason = "two digits")]
    fn at(decade: usize, at: usize) -> Self {
        let scale = 10f64.powi(i32::try_from(decade).unwrap_or(i32::MAX));
        Self { low: (at + 10) as f64 * scale, width: scale }
    }

    /// What a value counts for in the sum: the harmonic middle, as Envoy's library takes it.
    fn middle(self) -> f64 {
        let high = self.low + self.width;
        if self.low == 0.0 { 0.0 } else { 2.0 * self.low * high / (self.low + high) }
    }
}

/// Values of all workers: non-empty buckets in rising order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    pub(super) buckets: Vec<(Bucket, u64)>,
}

impl Distribution {
    fn add(&mut self, bucket: Bucket, count: u64) {
        if count == 0 {
            return;
        }
        match self.buckets.binary_search_by(|(known, _)| known.low.total_cmp(&bucket.low)) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// Adds another distribution.
    pub(super) fn merge(&mut self, other: &Self) {
        for &(bucket, count) in &other.buckets {
            self.add(bucket, count);
        }
    }

    /// What came since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let before = |bucket: Bucket| {
            earlier.buckets.iter().find(|(b, _)| *b == bucket).map_or(0, |&(_, count)| count)
        };
        let buckets = self.buckets.iter().map(|&(b, count)| (b, count.saturating_sub(before(b))));
        Self { buckets: buckets.filter(|&(_, count)| count > 0).collect() }
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|&(_, count)| count).sum()
    }

    /// Sum of the values, each taken at its bucket's middle.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate already")]
    pub fn sum(&self) -> f64 {
        self.buckets.iter().map(|&(bucket, count)| bucket.middle() * count as f64).sum()
    }

    /// The value below which the share `q` lies; `None` without values.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank within the count"
    )]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.count();
        let mut rank = ((q * total as f64).ceil() as u64).clamp(1, total.max(1));
        for &(bucket, count) in &self.buckets {
            if rank <= count {
                let share = rank as f64 / (count + 1) as f64;
                return Some(bucket.low + bucket.width * share);
            }
            rank -= count;
        }
        None
    }

    /// How many values lie in buckets that start at or below bound number `at`, as Envoy counts.
    pub(super) fn below(&self, at: usize) -> u64 {
        let below = |bucket: &Bucket| bucket.low <= BOUNDS[at];
        self.buckets.iter().filter(|(b, _)| below(b)).map(|&(_, count)| count).sum()
    }

    /// How many values lie between the bound before number `at` and this one.
    pub(super) fn between(&self, at: usize) -> u64 {
        self.below(at) - at.checked_sub(1).map_or(0, |before| self.below(before))
    }
}
