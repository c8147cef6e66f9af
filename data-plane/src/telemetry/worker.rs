//! Who counts: each worker owns one row of every group's cells.

use std::fmt;

/// One thread that writes statistics: a worker, or the control runtime.
///
/// A worker's cells are written by its own thread alone (a plain load and store, no locked
/// instruction); handing another worker's id in loses counts, it never corrupts memory. Cells of
/// [`WorkerId::CONTROL`] are written atomically, so that any thread may use it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(u16);

impl WorkerId {
    /// The control runtime: xDS, admin, DNS, health checks.
    pub const CONTROL: Self = Self(0);

    /// Worker `index`, counted from 0 as in Envoy's `worker_0`.
    #[must_use]
    pub const fn worker(index: u16) -> Self {
        Self(index + 1)
    }

    /// The number of this worker, `None` for the control runtime.
    #[must_use]
    pub const fn index(self) -> Option<u16> {
        self.0.checked_sub(1)
    }

    /// Its place in a row of cells.
    pub(super) const fn slot(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index() {
            Some(index) => write!(f, "worker_{index}"),
            None => f.write_str("main_thread"),
        }
    }
}
