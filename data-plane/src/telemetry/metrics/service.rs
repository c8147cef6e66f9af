//! Figures of one service: requests by status class, errors by cause, durations.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::KeyValue;
use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::super::WorkerId;
use super::super::flags::ResponseFlags;
use super::super::stats::cell::{Cell, Reading};
use super::{Shared, nanos};

/// `status`.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Upper bounds of the duration's buckets, in nanoseconds and in seconds.
const BOUNDS: [(u64, f64); 11] = [
    (5_000_000, 0.005),
    (10_000_000, 0.01),
    (25_000_000, 0.025),
    (50_000_000, 0.05),
    (100_000_000, 0.1),
    (250_000_000, 0.25),
    (500_000_000, 0.5),
    (1_000_000_000, 1.0),
    (2_500_000_000, 2.5),
    (5_000_000_000, 5.0),
    (10_000_000_000, 10.0),
];

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident $label:literal;)*) => {
        /// `error_type` of `gomesh_errors_total`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorType {
            $($(#[$doc])* $name,)*
        }

        impl ErrorType {
            const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

errors! {
    /// No connection to the host.
    Connect "connect";
    /// The client went away.
    Downstream "downstream";
    /// No healthy host.
    NoHealthy "no_healthy";
    /// No route, or no such cluster.
    NoRoute "no_route";
    /// A circuit breaker was open, or an overload limit reached.
    Overflow "overflow";
    /// A panic was caught.
    Panic "panic";
    /// One of the two sides broke the protocol.
    Protocol "protocol";
    /// The host reset the stream or closed the connection.
    Reset "reset";
    /// A timeout ran out.
    Timeout "timeout";
}

impl ErrorType {
    /// The cause that response flags tell, the most telling first.
    #[must_use]
    pub const fn from_flags(flags: ResponseFlags) -> Option<Self> {
        use ResponseFlags as F;
        const CAUSES: [(ResponseFlags, ErrorType); 8] = [
            (F::UPSTREAM_CONNECTION_FAILURE, ErrorType::Connect),
            (F::NO_HEALTHY_UPSTREAM, ErrorType::NoHealthy),
            (F::NO_ROUTE_FOUND.or(F::NO_CLUSTER_FOUND), ErrorType::NoRoute),
            (
                F::UPSTREAM_OVERFLOW.or(F::OVERLOAD_MANAGER).or(F::DROP_OVERLOAD),
                ErrorType::Overflow,
            ),
            (
                F::UPSTREAM_REQUEST_TIMEOUT
                    .or(F::STREAM_IDLE_TIMEOUT)
                    .or(F::DURATION_TIMEOUT)
                    .or(F::UPSTREAM_MAX_STREAM_DURATION_REACHED),
                ErrorType::Timeout,
            ),
            (
                F::UPSTREAM_REMOTE_RESET.or(F::UPSTREAM_CONNECTION_TERMINATION).or(F::LOCAL_RESET),
                ErrorType::Reset,
            ),
            (F::DOWNSTREAM_PROTOCOL_ERROR.or(F::UPSTREAM_PROTOCOL_ERROR), ErrorType::Protocol),
            (
                F::DOWNSTREAM_CONNECTION_TERMINATION.or(F::DOWNSTREAM_REMOTE_RESET),
                ErrorType::Downstream,
            ),
        ];
        let mut at = 0;
        while at < CAUSES.len() {
            if flags.intersects(CAUSES[at].0) {
                return Some(CAUSES[at].1);
            }
            at += 1;
        }
        None
    }
}

/// Most series that one instrument has for a service.
pub(super) const SERIES_MAX: usize = {
    let (statuses, errors) = (CLASSES.len(), ErrorType::ALL.len());
    if statuses > errors { statuses } else { errors }
};

/// What one worker counted for a service.
#[derive(Debug, Default)]
struct Block {
    statuses: [Cell; CLASSES.len()],
    errors: [Cell; ErrorType::ALL.len()],
    /// The last one counts what is longer than the last bound.
    durations: [Cell; BOUNDS.len() + 1],
    total_nanos: Cell,
}

#[derive(Debug)]
pub(super) struct Inner {
    name: Arc<str>,
    blocks: Box<[OnceLock<Box<Block>>]>,
    /// All series are printed, at 0 too.
    declared: AtomicBool,
}

/// A handle to count a service's requests with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    inner: Arc<Inner>,
}

impl Service {
    pub(super) fn of(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    pub(super) fn declare(&self) {
        self.inner.declared.store(true, Ordering::Relaxed);
    }

    /// The name that the label `service` bears.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// A request is over: its status (0 when no response was begun: only the duration counts) and
    /// how long it took.
    #[inline]
    pub fn completed(&self, worker: WorkerId, status: u16, duration: Duration) {
        let Some(block) = self.inner.block(worker) else { return };
        if let Some(cell) = block.statuses.get(usize::from(status / 100).wrapping_sub(1)) {
            cell.add(worker, 1);
        }
        let nanos = nanos(duration);
        let bucket = BOUNDS.iter().position(|&(bound, _)| nanos <= bound).unwrap_or(BOUNDS.len());
        block.durations[bucket].add(worker, 1);
        block.total_nanos.add(worker, nanos);
    }

    /// A request failed.
    pub fn error(&self, worker: WorkerId, error: ErrorType) {
        if let Some(block) = self.inner.block(worker) {
            block.errors[error as usize].add(worker, 1);
        }
    }
}

impl Inner {
    pub(super) fn new(name: Arc<str>, workers: u16) -> Self {
        let blocks = (0..=workers).map(|_| OnceLock::new()).collect();
        Self { name, blocks, declared: AtomicBool::new(false) }
    }

    #[inline]
    fn block(&self, worker: WorkerId) -> Option<&Block> {
        Some(self.blocks.get(worker.slot())?.get_or_init(Box::default))
    }

    pub(super) fn label(&self) -> KeyValue {
        KeyValue::new("service", Arc::clone(&self.name))
    }

    fn sum<'a>(&'a self, cell: impl Fn(&'a Block) -> &'a Cell) -> Reading {
        let blocks = self.blocks.iter().filter_map(OnceLock::get);
        blocks.fold(Reading::default(), |sum, block| sum.plus(cell(block).read()))
    }

    fn is_printed(&self, reading: Reading) -> bool {
        reading.used || self.declared.load(Ordering::Relaxed)
    }

    pub(super) fn each_status(&self, mut with: impl FnMut(&'static str, u64)) {
        for (at, class) in CLASSES.into_iter().enumerate() {
            let reading = self.sum(|block| &block.statuses[at]);
            if self.is_printed(reading) {
                with(class, reading.value);
            }
        }
    }

    pub(super) fn each_error(&self, mut with: impl FnMut(ErrorType, u64)) {
        for &error in ErrorType::ALL {
            let reading = self.sum(|block| &block.errors[error as usize]);
            if self.is_printed(reading) {
                with(error, reading.value);
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats")]
    fn histogram(&self) -> Option<proto::Metric> {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BOUNDS.len());
        for at in 0..=BOUNDS.len() {
            count += self.sum(|block| &block.durations[at]).value;
            if let Some(&(_, bound)) = BOUNDS.get(at) {
                let mut bucket = proto::Bucket::default();
                bucket.set_upper_bound(bound);
                bucket.set_cumulative_count(count);
                buckets.push(bucket);
            }
        }
        let total = self.sum(|block| &block.total_nanos);
        if !self.is_printed(total) {
            return None;
        }
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count);
        histogram.set_sample_sum(total.value as f64 / 1e9);
        let mut label = proto::LabelPair::default();
        label.set_name("service".to_owned());
        label.set_value(self.name.to_string());
        let mut metric = proto::Metric::from_label(vec![label]);
        metric.set_histogram(histogram);
        Some(metric)
    }
}

/// `gomesh_request_duration_seconds`.
pub(super) struct DurationCollector {
    shared: Arc<Shared>,
    desc: Desc,
}

impl DurationCollector {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let desc = Desc::new(
            "gomesh_request_duration_seconds".to_owned(),
            "Time from a request's first byte to the last one of its response.".to_owned(),
            vec!["service".to_owned()],
            HashMap::new(),
        );
        Self { shared, desc: desc.expect("a constant name and label") }
    }
}

impl Collector for DurationCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let series: Vec<_> =
            self.shared.living().iter().filter_map(|service| service.histogram()).collect();
        if series.is_empty() {
            return Vec::new();
        }
        let mut family = proto::MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(proto::MetricType::HISTOGRAM);
        family.set_metric(series);
        vec![family]
    }
}
