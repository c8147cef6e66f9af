//! A group of stats: one prefix, one set of names, a block of cells for each worker that counted.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::cell::{Cell, Reading};
use super::histogram::{Distribution, Histogram};
use super::responses::{Merged, Responses};
use super::scope::Scope;
use super::table::{Kind, Responses as CountsResponses, StatSet, Table};
use crate::telemetry::WorkerId;

/// Whose request a response answered (`external.upstream_rq_2xx`), as the connection manager
/// decided it from addresses and `x-forwarded-for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From outside.
    External,
    /// `x-envoy-internal: true`.
    Internal,
}

/// What one worker counted in a group.
#[derive(Debug)]
struct Block {
    cells: Box<[Cell]>,
    histograms: Box<[OnceLock<Box<Histogram>>]>,
    responses: OnceLock<Box<Responses>>,
    /// Times of internal requests; those of external ones are in `histograms`.
    internal_times: OnceLock<Box<Histogram>>,
}

impl Block {
    fn new(table: &Table) -> Self {
        Self {
            cells: (0..table.hot).map(|_| Cell::new()).collect(),
            histograms: (0..table.histograms).map(|_| OnceLock::new()).collect(),
            responses: OnceLock::new(),
            internal_times: OnceLock::new(),
        }
    }
}

/// What is rarely needed: values at the last reset, histograms at the last flushes.
#[derive(Debug, Default)]
pub(super) struct Cold {
    /// Counters as they stood at `/reset_counters`, by name; subtracted from what is printed.
    pub(super) baseline: std::collections::BTreeMap<String, u64>,
    /// Per histogram name: all values up to the last flush, and those of the interval before it.
    pub(super) flushed: std::collections::BTreeMap<String, (Distribution, Distribution)>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) scope: Scope,
    pub(super) table: &'static Table,
    blocks: Box<[OnceLock<Box<Block>>]>,
    shared: Box<[AtomicU64]>,
    /// A bit for each shared cell: it was written.
    used: Box<[AtomicU64]>,
    texts: Box<[Mutex<Option<Arc<str>>>]>,
    /// Guards the rarely used part alone; taken by scrapes, resets and flushes.
    cold: Mutex<Option<Box<Cold>>>,
}

impl Inner {
    pub(super) fn new(scope: Scope, table: &'static Table, rows: usize) -> Self {
        let zeros = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        Self {
            scope,
            table,
            blocks: (0..rows).map(|_| OnceLock::new()).collect(),
            shared: zeros(table.shared),
            used: zeros(table.shared.div_ceil(64)),
            texts: (0..table.texts).map(|_| Mutex::new(None)).collect(),
            cold: Mutex::new(None),
        }
    }

    #[inline]
    fn block(&self, worker: WorkerId) -> Option<&Block> {
        // A worker beyond those that the registry was made for is a mistake of the caller; its
        // counts are dropped, since a statistic is not worth a request.
        debug_assert!(worker.slot() < self.blocks.len(), "unknown {worker:?}");
        let block = self.blocks.get(worker.slot())?;
        Some(block.get_or_init(|| Box::new(Block::new(self.table))))
    }

    fn mark_used(&self, slot: usize) {
        self.used[slot / 64].fetch_or(1 << (slot % 64), Ordering::Relaxed);
    }

    fn rows(&self) -> impl Iterator<Item = (usize, &Block)> {
        self.blocks.iter().enumerate().filter_map(|(row, b)| Some((row, &**b.get()?)))
    }

    /// Number of workers, without the control runtime.
    pub(super) fn workers(&self) -> usize {
        self.blocks.len() - 1
    }

    /// The merged value of a counter or gauge.
    pub(super) fn read(&self, ordinal: usize) -> Reading {
        let slot = usize::from(self.table.slots[ordinal]);
        match self.table.defs[ordinal].kind {
            Kind::Counter => self.sum(slot),
            Kind::Gauge => {
                let sum = self.sum(slot);
                Reading { value: sum.as_gauge(), used: sum.used }
            }
            Kind::SharedCounter | Kind::SharedGauge => Reading {
                value: self.shared[slot].load(Ordering::Relaxed),
                used: self.used[slot / 64].load(Ordering::Relaxed) >> (slot % 64) & 1 == 1,
            },
            Kind::Histogram | Kind::Text => Reading::default(),
        }
    }

    fn sum(&self, slot: usize) -> Reading {
        self.rows().fold(Reading::default(), |sum, (_, b)| sum.plus(b.cells[slot].read()))
    }

    /// What worker `index` alone counted.
    pub(super) fn read_worker(&self, ordinal: usize, index: usize) -> Reading {
        let slot = usize::from(self.table.slots[ordinal]);
        let block = self.blocks.get(index + 1).and_then(OnceLock::get);
        block.map_or_else(Reading::default, |block| block.cells[slot].read())
    }

    pub(super) fn text(&self, ordinal: usize) -> Option<Arc<str>> {
        let slot = usize::from(self.table.slots[ordinal]);
        self.texts[slot].lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn histogram(&self, ordinal: usize) -> Distribution {
        let slot = usize::from(self.table.slots[ordinal]);
        let mut sum = Distribution::default();
        for (_, block) in self.rows() {
            if let Some(histogram) = block.histograms[slot].get() {
                histogram.merge_into(&mut sum);
            }
        }
        sum
    }

    pub(super) fn internal_times(&self) -> Distribution {
        let mut sum = Distribution::default();
        for (_, block) in self.rows() {
            if let Some(histogram) = block.internal_times.get() {
                histogram.merge_into(&mut sum);
            }
        }
        sum
    }

    pub(super) fn responses(&self, origin: Origin) -> Merged {
        let mut total = Merged::default();
        for (_, block) in self.rows() {
            if let Some(responses) = block.responses.get() {
                responses.merge_into(origin, &mut total);
            }
        }
        total
    }

    /// Responses that were not passed on, since the request was tried again.
    pub(super) fn retried_responses(&self) -> Merged {
        let mut total = Merged::default();
        for (_, block) in self.rows() {
            if let Some(responses) = block.responses.get() {
                responses.merge_retried_into(&mut total);
            }
        }
        total
    }

    /// What a counter stood at when it was last reset.
    pub(super) fn baseline(&self, name: &str) -> u64 {
        let cold = self.cold.lock().unwrap_or_else(PoisonError::into_inner);
        cold.as_ref().and_then(|cold| cold.baseline.get(name).copied()).unwrap_or_default()
    }

    /// What a histogram got in the last complete flush interval.
    pub(super) fn interval(&self, name: &str) -> Distribution {
        let cold = self.cold.lock().unwrap_or_else(PoisonError::into_inner);
        let flushed = cold.as_ref().and_then(|cold| cold.flushed.get(name));
        flushed.map(|(_, interval)| interval.clone()).unwrap_or_default()
    }

    /// Runs `f` with the rarely used part.
    pub(super) fn with_cold<T>(&self, f: impl FnOnce(&mut Cold) -> T) -> T {
        let mut cold = self.cold.lock().unwrap_or_else(PoisonError::into_inner);
        f(cold.get_or_insert_default())
    }
}

/// A handle to count with. Cloning it is cheap; the last one dropped removes the group from the
/// tree.
pub struct Group<S> {
    pub(super) inner: Arc<Inner>,
    set: PhantomData<fn(S)>,
}

impl<S> Clone for Group<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), set: PhantomData }
    }
}

impl<S> std::fmt::Debug for Group<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Group").field(&self.inner.scope.prefix).finish()
    }
}

impl<S: StatSet> Group<S> {
    pub(super) fn of(inner: Arc<Inner>) -> Self {
        Self { inner, set: PhantomData }
    }

    /// Adds 1 to a counter or gauge.
    #[inline]
    pub fn inc(&self, worker: WorkerId, stat: S) {
        self.add(worker, stat, 1);
    }

    /// Takes 1 from a gauge.
    #[inline]
    pub fn dec(&self, worker: WorkerId, stat: S) {
        self.sub(worker, stat, 1);
    }

    /// Adds `n` to a counter or gauge.
    #[inline]
    pub fn add(&self, worker: WorkerId, stat: S, n: u64) {
        let slot = usize::from(S::TABLE.slots[stat.ordinal()]);
        match S::TABLE.defs[stat.ordinal()].kind {
            Kind::Counter | Kind::Gauge => {
                if let Some(block) = self.inner.block(worker) {
                    block.cells[slot].add(worker, n);
                }
            }
            Kind::SharedCounter | Kind::SharedGauge => {
                self.inner.shared[slot].fetch_add(n, Ordering::Relaxed);
                self.inner.mark_used(slot);
            }
            Kind::Histogram | Kind::Text => self.misuse(stat),
        }
    }

    /// Takes `n` from a gauge; it may have been added on another worker.
    #[inline]
    pub fn sub(&self, worker: WorkerId, stat: S, n: u64) {
        self.add(worker, stat, n.wrapping_neg());
    }

    /// Sets a shared gauge. A gauge set to 0 counts as used.
    pub fn set(&self, stat: S, value: u64) {
        let slot = usize::from(S::TABLE.slots[stat.ordinal()]);
        match S::TABLE.defs[stat.ordinal()].kind {
            Kind::SharedCounter | Kind::SharedGauge => {
                self.inner.shared[slot].store(value, Ordering::Relaxed);
                self.inner.mark_used(slot);
            }
            _ => self.misuse(stat),
        }
    }

    /// Sets a text readout.
    pub fn set_text(&self, stat: S, text: &str) {
        let slot = usize::from(S::TABLE.slots[stat.ordinal()]);
        match S::TABLE.defs[stat.ordinal()].kind {
            Kind::Text => {
                let mut held =
                    self.inner.texts[slot].lock().unwrap_or_else(PoisonError::into_inner);
                *held = Some(text.into());
            }
            _ => self.misuse(stat),
        }
    }

    /// Records a value of a histogram, in its unit.
    #[inline]
    pub fn record(&self, worker: WorkerId, stat: S, value: u64) {
        let slot = usize::from(S::TABLE.slots[stat.ordinal()]);
        if S::TABLE.defs[stat.ordinal()].kind != Kind::Histogram {
            self.misuse(stat);
        } else if let Some(block) = self.inner.block(worker) {
            block.histograms[slot].get_or_init(Box::default).record(worker, value);
        }
    }

    /// The value of a counter or gauge, over all workers.
    #[must_use]
    pub fn value(&self, stat: S) -> u64 {
        self.inner.read(stat.ordinal()).value
    }

    /// All values of a histogram, over all workers.
    #[must_use]
    pub fn distribution(&self, stat: S) -> Distribution {
        self.inner.histogram(stat.ordinal())
    }

    /// Counts a response under its code, its class and `upstream_rq_completed`.
    #[inline]
    pub fn response(&self, worker: WorkerId, origin: Origin, code: u16) {
        if S::TABLE.responses == CountsResponses::Uncounted {
            debug_assert!(false, "{self:?} counts no responses");
        } else if let Some(block) = self.inner.block(worker) {
            block.responses.get_or_init(Box::default).charge(worker, origin, code);
        }
    }

    /// Counts a response that is not passed on, since the request is tried again, under `retry.`.
    pub fn retried_response(&self, worker: WorkerId, code: u16) {
        if S::TABLE.responses == CountsResponses::Uncounted {
            debug_assert!(false, "{self:?} counts no responses");
        } else if let Some(block) = self.inner.block(worker) {
            block.responses.get_or_init(Box::default).charge_retried(worker, code);
        }
    }

    /// Records `upstream_rq_time`, in milliseconds, with its `external.` or `internal.` twin.
    #[inline]
    pub fn response_time(&self, worker: WorkerId, origin: Origin, millis: u64) {
        let Some(block) = self.inner.block(worker) else { return };
        let times = match origin {
            // The first histogram of a set that counts responses is `upstream_rq_time`.
            Origin::External => block.histograms.first(),
            Origin::Internal => Some(&block.internal_times),
        };
        if let Some(times) = times {
            times.get_or_init(Box::default).record(worker, millis);
        }
    }

    /// Where the group stands; [`Scope::join`] gives the place of a group below it.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.inner.scope
    }

    /// Bytes that the group takes, without its histograms' decades and codes.
    #[cfg(test)]
    pub(super) fn footprint(&self) -> usize {
        let inner = &*self.inner;
        let scope = inner.scope.prefix.len()
            + inner.scope.family.len()
            + inner.scope.tags.iter().map(|(_, value)| value.len() + 32).sum::<usize>();
        let blocks: usize = inner
            .rows()
            .map(|(_, block)| {
                size_of_val(block) + size_of_val(&*block.cells) + size_of_val(&*block.histograms)
            })
            .sum();
        size_of::<Inner>()
            + 16
            + scope
            + blocks
            + size_of_val(&*inner.blocks)
            + size_of_val(&*inner.shared)
            + size_of_val(&*inner.used)
            + size_of_val(&*inner.texts)
    }

    #[cold]
    fn misuse(&self, stat: S) {
        let name = S::TABLE.defs[stat.ordinal()].name;
        debug_assert!(false, "{self:?}: {name} has another kind");
    }
}
