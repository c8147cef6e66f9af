//! Responses by code: `upstream_rq_200`, `upstream_rq_2xx`, with their `external.` and `internal.`
//! twins.
//!
//! A response is charged to one origin only; the totals that Envoy counts a second time are added
//! up at scrape. Codes have cells by class, made when a class is first seen.

use std::sync::OnceLock;

use super::cell::{Cell, Reading};
use super::group::Origin;
use crate::telemetry::WorkerId;

/// Codes of one class.
type Codes = Box<[Cell; 100]>;

/// Responses of one origin, one worker.
#[derive(Debug, Default)]
struct Counts {
    completed: Cell,
    /// 1xx to 5xx.
    classes: [Cell; 5],
    codes: [OnceLock<Codes>; 5],
}

/// Responses of one worker.
#[derive(Debug, Default)]
pub(super) struct Responses {
    external: Counts,
    internal: Counts,
    /// Those that were not passed on because the request was tried again; few clusters have any.
    retried: OnceLock<Box<Counts>>,
}

impl Responses {
    fn of(&self, origin: Origin) -> &Counts {
        match origin {
            Origin::External => &self.external,
            Origin::Internal => &self.internal,
        }
    }

    #[inline]
    pub(super) fn charge(&self, worker: WorkerId, origin: Origin, code: u16) {
        self.of(origin).charge(worker, code);
    }

    pub(super) fn charge_retried(&self, worker: WorkerId, code: u16) {
        self.retried.get_or_init(Box::default).charge(worker, code);
    }

    /// Adds what this worker counted.
    pub(super) fn merge_into(&self, origin: Origin, total: &mut Merged) {
        self.of(origin).merge_into(total);
    }

    /// Adds what this worker tried again.
    pub(super) fn merge_retried_into(&self, total: &mut Merged) {
        if let Some(counts) = self.retried.get() {
            counts.merge_into(total);
        }
    }
}

impl Counts {
    #[inline]
    fn charge(&self, worker: WorkerId, code: u16) {
        self.completed.add(worker, 1);
        let class = usize::from(code / 100).wrapping_sub(1);
        let Some(of_class) = self.classes.get(class) else { return };
        of_class.add(worker, 1);
        let codes = self.codes[class].get_or_init(|| Box::new([const { Cell::new() }; 100]));
        codes[usize::from(code % 100)].add(worker, 1);
    }

    fn merge_into(&self, total: &mut Merged) {
        total.completed = total.completed.plus(self.completed.read());
        for class in 0..5 {
            total.classes[class] = total.classes[class].plus(self.classes[class].read());
            let Some(codes) = self.codes[class].get() else { continue };
            for (at, cell) in codes.iter().enumerate().filter(|(_, cell)| cell.read().used) {
                total.add_code((class + 1) * 100 + at, cell.read());
            }
        }
    }
}

/// What all workers counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Merged {
    pub(super) completed: Reading,
    pub(super) classes: [Reading; 5],
    pub(super) codes: Vec<(u16, Reading)>,
}

impl Merged {
    fn add_code(&mut self, code: usize, reading: Reading) {
        let code = u16::try_from(code).unwrap_or(u16::MAX);
        match self.codes.binary_search_by_key(&code, |&(code, _)| code) {
            Ok(at) => self.codes[at].1 = self.codes[at].1.plus(reading),
            Err(at) => self.codes.insert(at, (code, reading)),
        }
    }

    /// External and internal together.
    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.completed = sum.completed.plus(other.completed);
        for class in 0..5 {
            sum.classes[class] = sum.classes[class].plus(other.classes[class]);
        }
        for &(code, reading) in &other.codes {
            sum.add_code(usize::from(code), reading);
        }
        sum
    }
}
