//! Bounded counters.
//!
//! A [`Bounded`] counts what is in use and never lets more than `max` in, from any number of
//! threads, without a lock. What was taken is given back by a guard: [`Permit`] here, or one of
//! the caller's own where an owner is at hand anyway. The counter knows nothing of what it counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A count of things in use, and its limit.
#[derive(Debug)]
pub struct Bounded {
    used: AtomicU32,
    max: u32,
}

impl Bounded {
    /// Nothing in use yet; at most `max` at a time.
    #[must_use]
    pub const fn new(max: u32) -> Self {
        Self { used: AtomicU32::new(0), max }
    }

    /// Takes one, unless the limit is reached. A success must be paired with
    /// [`Bounded::give_back`].
    #[must_use]
    pub fn try_take(&self) -> bool {
        self.try_take_below(self.max)
    }

    /// As [`Bounded::try_take`], with a limit that depends on the moment.
    #[must_use]
    pub fn try_take_below(&self, max: u32) -> bool {
        let one_more = |used: u32| (used < max).then(|| used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// Takes one even above the limit, for rules that are soft by design.
    pub fn take_anyway(&self) {
        self.used.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives one back.
    pub fn give_back(&self) {
        let before = self.used.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "gave back more than was taken");
    }

    /// How many are in use now.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// The limit.
    #[must_use]
    pub const fn max(&self) -> u32 {
        self.max
    }

    /// How many more fit.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        self.max.saturating_sub(self.used())
    }

    /// Nothing more fits.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.used() >= self.max
    }

    /// Takes one and gives it back when the permit drops; `None` at the limit.
    #[must_use]
    pub fn permit(self: &Arc<Self>) -> Option<Permit> {
        self.try_take().then(|| Permit(Arc::clone(self)))
    }
}

/// One taken from a [`Bounded`], given back on drop.
#[derive(Debug)]
pub struct Permit(Arc<Bounded>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permit_returns_on_drop() {
        let limit = Arc::new(Bounded::new(1));
        let held = limit.permit().unwrap();
        assert!(limit.permit().is_none());
        assert!(limit.is_full());
        drop(held);
        assert_eq!((limit.used(), limit.remaining()), (0, 1));
    }

    #[test]
    fn never_above_max_from_many_threads() {
        let limit = Arc::new(Bounded::new(3));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let held = limit.permit();
                        assert!(limit.used() <= 3);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!(limit.used(), 0);
    }

    #[test]
    fn soft_takes_count_and_block_later_ones() {
        let limit = Bounded::new(0);
        assert!(!limit.try_take());
        limit.take_anyway();
        assert_eq!((limit.used(), limit.remaining()), (1, 0));
        limit.give_back();
    }
}
