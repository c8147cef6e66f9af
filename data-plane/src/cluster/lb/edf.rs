//! Earliest deadline first: fair picking by weight without randomness.
//!
//! Each entry's next deadline is one period (1 / weight) after its last; the earliest is picked,
//! ties go to the one that waited longer. Over any stretch an entry gets its share of the picks
//! to within one.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Entries by their next deadline. An empty schedule picks nothing.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct Edf {
    heap: BinaryHeap<Entry>,
    order: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    deadline: f64,
    order: u64,
    index: u32,
}

impl Edf {
    /// A schedule of entries `0..`, weighted; entries whose weight is not above 0 are left out.
    /// `skip` picks are made at once, so that schedules with different seeds do not walk in step.
    pub(in crate::cluster) fn new(weights: &[f64], skip: u64) -> Self {
        let entries = weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0);
        let heap: BinaryHeap<Entry> = entries
            .filter_map(|(index, weight)| {
                let index = u32::try_from(index).ok()?;
                Some(Entry { deadline: weight.recip(), order: u64::from(index), index })
            })
            .collect();
        let mut edf = Self { order: heap.len() as u64, heap };
        for _ in 0..skip.checked_rem(edf.heap.len() as u64).unwrap_or(0) {
            edf.pick(|index| weights[index]);
        }
        edf
    }

    /// The entry with the earliest deadline; it is put back by the weight that it has now (at
    /// least a small positive one).
    pub(in crate::cluster) fn pick(&mut self, weight: impl FnOnce(usize) -> f64) -> Option<usize> {
        let mut top = self.heap.peek_mut()?;
        let index = top.index as usize;
        top.deadline += weight(index).max(1e-9).recip();
        top.order = self.order;
        self.order += 1;
        Some(index)
    }
}

impl Ord for Entry {
    /// Reversed: the heap's greatest is the earliest deadline.
    fn cmp(&self, other: &Self) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then_with(|| other.order.cmp(&self.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_weights_over_any_stretch() {
        let weights = [1.0, 2.0, 5.0];
        let mut edf = Edf::new(&weights, 0);
        let mut counts = [0u32; 3];
        for round in 1..=100u32 {
            for _ in 0..8 {
                counts[edf.pick(|i| weights[i]).unwrap()] += 1;
            }
            for (count, share) in counts.iter().zip([1, 2, 5]) {
                assert!(count.abs_diff(round * share) <= 1, "{counts:?} after {round} rounds");
            }
        }
    }

    #[test]
    fn equal_weights_take_turns() {
        let mut edf = Edf::new(&[1.0; 3], 4);
        let picks: Vec<_> = (0..6).map(|_| edf.pick(|_| 1.0).unwrap()).collect();
        assert_eq!(picks, [1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn nothing_to_pick_without_weights() {
        assert_eq!(Edf::new(&[0.0], 3).pick(|_| 1.0), None);
        assert_eq!(Edf::new(&[], 3).pick(|_| 1.0), None);
    }
}
