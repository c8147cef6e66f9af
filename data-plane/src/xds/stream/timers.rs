//! The deadlines of single resources, earliest first.
//!
//! A deadline that was overtaken by events stays in the heap and is recognised when it fires, since
//! it no longer equals what its owner remembers. That costs a spurious wake-up, and saves a search.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::base::clock::Instant;

use crate::xds::Name;

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerKind {
    /// The wait for a resource that the server was asked for (C9).
    Absent,
    /// `initial_fetch_timeout`.
    Fetch,
    /// A resource's time to live (C12).
    Ttl,
}

/// One deadline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    pub(super) at: Instant,
    pub(super) kind: TimerKind,
    /// Position of the type in the stream's list.
    pub(super) type_index: usize,
    pub(super) name: Name,
}

/// All deadlines of a stream.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<Timer>>,
}

impl Timers {
    pub(super) fn arm(&mut self, timer: Timer) {
        self.heap.push(Reverse(timer));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(timer)| timer.at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(timer)| timer)
    }
}
