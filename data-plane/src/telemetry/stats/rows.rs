//! Reading the tree: every stat as a row with its merged value.

use std::sync::Arc;

use super::group::{Inner, Origin};
use super::histogram::Distribution;
use super::query::Query;
use super::registry::Registry;
use super::responses::Merged;
use super::table::{Kind, Responses};

/// A stat and its value over all workers.
#[derive(Clone, Debug)]
pub struct Row {
    /// Raw dotted name.
    pub name: String,
    pub(super) group: Arc<Inner>,
    /// Number of the worker whose row this is (`worker_0.downstream_cx_active`).
    pub(super) worker: Option<usize>,
    /// What it holds.
    pub value: Value,
}

/// What a stat holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// A counter, since the start or the last `/reset_counters`.
    Counter(u64),
    /// A gauge.
    Gauge(u64),
    /// A histogram.
    Histogram {
        /// All values.
        cumulative: Distribution,
        /// Those of the last complete flush interval.
        interval: Distribution,
    },
    /// A text readout.
    Text(Arc<str>),
}

impl Registry {
    /// The rows that `query` wants, in no order.
    #[must_use]
    pub fn rows(&self, query: &Query) -> Vec<Row> {
        let mut rows = Vec::new();
        for group in self.living() {
            Reader { group: &group, query, rows: &mut rows }.read();
        }
        rows
    }

    /// Ends a flush interval: what histograms got since the last call becomes their `interval`.
    /// Envoy does it every five seconds.
    pub fn flush(&self) {
        let query = Query { kinds: super::Kinds::Histograms, used_only: true, ..Query::default() };
        for row in self.rows(&query) {
            let Value::Histogram { cumulative, .. } = row.value else { continue };
            row.group.with_cold(|cold| {
                let (until, interval) = cold.flushed.entry(row.name).or_default();
                *interval = cumulative.since(until);
                *until = cumulative;
            });
        }
    }

    /// `/reset_counters`: counters print from 0 again. Cells are left alone, since only their
    /// worker may write them; what is printed is counted from here.
    pub fn reset_counters(&self) {
        let query = Query { kinds: super::Kinds::Counters, used_only: true, ..Query::default() };
        for row in self.rows(&query) {
            let Value::Counter(value) = row.value else { continue };
            row.group.with_cold(|cold| *cold.baseline.entry(row.name).or_default() += value);
        }
    }
}

struct Reader<'a> {
    group: &'a Arc<Inner>,
    query: &'a Query,
    rows: &'a mut Vec<Row>,
}

impl Reader<'_> {
    fn read(&mut self) {
        let table = self.group.table;
        for (ordinal, def) in table.defs.iter().enumerate() {
            if !self.query.kinds.admits(def.kind) {
                continue;
            }
            match def.kind {
                Kind::Histogram if table.responses != Responses::Uncounted && ordinal == 0 => {}
                Kind::Histogram => {
                    let distribution = self.group.histogram(ordinal);
                    self.histogram(def.name, distribution, def.optional);
                }
                Kind::Text => self.text(ordinal, def.name),
                kind => self.number(ordinal, def.name, kind, def.optional),
            }
        }
        for name in table.per_worker {
            self.per_worker(name);
        }
        match table.responses {
            Responses::Uncounted => {}
            Responses::Plain => self.responses(),
            Responses::ByOrigin => self.responses_by_origin(),
        }
    }

    fn push(&mut self, name: &str, used: bool, value: impl FnOnce(&Inner, &str) -> Value) {
        let name = format!("{}{name}", self.group.scope.prefix);
        if self.query.wants(&name, used) {
            let value = value(self.group, &name);
            self.rows.push(Row { name, group: Arc::clone(self.group), worker: None, value });
        }
    }

    fn counter(&mut self, name: &str, reading: super::cell::Reading) {
        self.push(name, reading.used, |group, name| {
            let before = group.baseline(name);
            Value::Counter(reading.value.saturating_sub(before))
        });
    }

    fn number(&mut self, ordinal: usize, name: &str, kind: Kind, optional: bool) {
        let reading = self.group.read(ordinal);
        if optional && !reading.used {
            return;
        }
        match kind {
            Kind::Counter | Kind::SharedCounter => self.counter(name, reading),
            _ => self.push(name, reading.used, |_, _| Value::Gauge(reading.value)),
        }
    }

    fn text(&mut self, ordinal: usize, name: &str) {
        let text = self.group.text(ordinal);
        let used = text.is_some();
        self.push(name, used, |_, _| Value::Text(text.unwrap_or_default()));
    }

    fn histogram(&mut self, name: &str, cumulative: Distribution, optional: bool) {
        let used = cumulative.count() > 0;
        if used || !optional {
            self.push(name, used, |group, name| {
                let interval = if used { group.interval(name) } else { Distribution::default() };
                Value::Histogram { cumulative, interval }
            });
        }
    }

    fn per_worker(&mut self, name: &'static str) {
        let Some(ordinal) = self.group.table.defs.iter().position(|def| def.name == name) else {
            return;
        };
        let kind = self.group.table.defs[ordinal].kind;
        if !self.query.kinds.admits(kind) {
            return;
        }
        for worker in 0..self.group.workers() {
            let reading = self.group.read_worker(ordinal, worker);
            let before = self.rows.len();
            let name = format!("worker_{worker}.{name}");
            match kind {
                Kind::Counter => self.counter(&name, reading),
                _ => self.push(&name, reading.used, |_, _| Value::Gauge(reading.as_gauge())),
            }
            for row in &mut self.rows[before..] {
                row.worker = Some(worker);
            }
        }
    }

    fn responses(&mut self) {
        let counts = self.group.responses(Origin::External);
        let counts = counts.plus(&self.group.responses(Origin::Internal));
        if self.query.kinds.admits(Kind::Counter) && counts.completed.used {
            self.counter("upstream_rq_completed", counts.completed);
            self.codes("", &counts);
        }
        if self.query.kinds.admits(Kind::Histogram) {
            let mut times = self.group.histogram(0);
            times.merge(&self.group.internal_times());
            self.histogram("upstream_rq_time", times, true);
        }
    }

    fn responses_by_origin(&mut self) {
        let external = self.group.responses(Origin::External);
        let internal = self.group.responses(Origin::Internal);
        if self.query.kinds.admits(Kind::Counter) {
            let total = external.plus(&internal);
            self.counter("upstream_rq_completed", total.completed);
            self.codes("", &total);
            let retried = self.group.retried_responses();
            let origins = [("external.", &external), ("internal.", &internal)];
            for (prefix, counts) in origins.into_iter().chain([("retry.", &retried)]) {
                if counts.completed.used {
                    self.counter(&format!("{prefix}upstream_rq_completed"), counts.completed);
                }
                self.codes(prefix, counts);
            }
        }
        if self.query.kinds.admits(Kind::Histogram) {
            let external = self.group.histogram(0);
            let internal = self.group.internal_times();
            let mut total = external.clone();
            total.merge(&internal);
            self.histogram("upstream_rq_time", total, true);
            self.histogram("external.upstream_rq_time", external, true);
            self.histogram("internal.upstream_rq_time", internal, true);
        }
    }

    fn codes(&mut self, prefix: &str, counts: &Merged) {
        for (class, reading) in (1..).zip(counts.classes).filter(|(_, reading)| reading.used) {
            self.counter(&format!("{prefix}upstream_rq_{class}xx"), reading);
        }
        for &(code, reading) in &counts.codes {
            self.counter(&format!("{prefix}upstream_rq_{code}"), reading);
        }
    }
}
