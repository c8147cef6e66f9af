//! `/metrics`: our own figures, in OpenTelemetry's words and Prometheus' form.
//!
//! Requests write per-worker cells ([`Service`], [`Metrics`]); OpenTelemetry reads them through
//! observable instruments when somebody scrapes, so that a request pays nanoseconds. The duration
//! histogram, for which OpenTelemetry has no observable form, is a collector of its own in the
//! same registry. Names and labels are a contract; Envoy's stats are not here but in
//! [`stats`](super::stats).
//!
//! The instruments live as long as a scrape: OpenTelemetry reserves a table of all series that an
//! instrument may have, which for every instrument at a limit that no mesh reaches was 147 MB of
//! resident memory. Made for the series that there are, they cost microseconds and hold nothing.

mod service;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::TextEncoder;

use self::service::{DurationCollector, Inner};
use super::WorkerId;
use super::access_log::Logs;
use super::stats::cell::{Cell, Reading};

pub use self::service::{ErrorType, Service};

/// `gomesh_build_info`.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// Our version (`0.1.0`).
    pub version: &'static str,
    /// The commit it was built from.
    pub revision: &'static str,
}

/// How a configuration update ended (`gomesh_config_updates_total{result}`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpdateResult {
    /// `accepted`
    Accepted,
    /// `rejected`
    Rejected,
}

impl UpdateResult {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }
}

/// The figures of one data plane. Cloning gives another handle to the same ones.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
    build: BuildInfo,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("shared", &self.shared).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Shared {
    workers: u16,
    in_flight: Box<[Cell]>,
    panics: Box<[Cell]>,
    xds_connected: AtomicU64,
    /// Guards the map alone: taken when a cluster is built and when somebody scrapes.
    services: Mutex<Services>,
    /// Guards the rare counters: by type and result.
    updates: Mutex<BTreeMap<(String, UpdateResult), u64>>,
    /// Guards the rare counters: by field.
    ignored: Mutex<BTreeMap<String, u64>>,
    /// Whose dropped lines are printed; set once, at the start.
    logs: OnceLock<Logs>,
}

#[derive(Debug, Default)]
struct Services {
    by_name: BTreeMap<Arc<str>, Weak<Inner>>,
    /// Those that are there for good.
    declared: Vec<Service>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sum(cells: &[Cell]) -> Reading {
    cells.iter().fold(Reading::default(), |sum, cell| sum.plus(cell.read()))
}

impl Shared {
    fn new(workers: u16) -> Self {
        let row = || (0..=workers).map(|_| Cell::default()).collect();
        Self {
            workers,
            in_flight: row(),
            panics: row(),
            xds_connected: AtomicU64::new(0),
            services: Mutex::default(),
            updates: Mutex::default(),
            ignored: Mutex::default(),
            logs: OnceLock::new(),
        }
    }

    /// At least as many series as any instrument has now. OpenTelemetry folds those beyond its
    /// limit into one, which must never happen.
    fn series(&self) -> usize {
        let services = lock(&self.services).by_name.len();
        // Some may be added while the page is made.
        let by_service = (services + 64) * service::SERIES_MAX;
        by_service.max(lock(&self.updates).len() + 1).max(lock(&self.ignored).len() + 1)
    }

    fn living(&self) -> Vec<Arc<Inner>> {
        lock(&self.services).by_name.values().filter_map(Weak::upgrade).collect()
    }
}

impl Metrics {
    /// No series yet, for `workers` workers and the control runtime.
    #[must_use]
    pub fn new(workers: u16, build: BuildInfo) -> Self {
        Self { shared: Arc::new(Shared::new(workers)), build }
    }

    /// The figures of a service: a cluster's name, or `none` for requests without a route. The
    /// same one as long as a handle lives; its series go with the last one.
    #[must_use]
    pub fn service(&self, name: &str) -> Service {
        let mut services = lock(&self.shared.services);
        if let Some(inner) = services.by_name.get(name).and_then(Weak::upgrade) {
            return Service::of(inner);
        }
        let name: Arc<str> = name.into();
        let inner = Arc::new(Inner::new(Arc::clone(&name), self.shared.workers));
        services.by_name.retain(|_, service| service.strong_count() > 0);
        services.by_name.insert(name, Arc::downgrade(&inner));
        Service::of(inner)
    }

    /// Makes all series of a service exist from now on, at 0 (zero-config).
    pub fn declare(&self, name: &str) -> Service {
        let service = self.service(name);
        service.declare();
        lock(&self.shared.services).declared.push(service.clone());
        service
    }

    /// A request begins (`gomesh_requests_in_flight`).
    #[inline]
    pub fn request_started(&self, worker: WorkerId) {
        if let Some(cell) = self.shared.in_flight.get(worker.slot()) {
            cell.add(worker, 1);
        }
    }

    /// A request is over, however it ended.
    #[inline]
    pub fn request_ended(&self, worker: WorkerId) {
        if let Some(cell) = self.shared.in_flight.get(worker.slot()) {
            cell.add(worker, 1u64.wrapping_neg());
        }
    }

    /// A panic was caught (`gomesh_panics_total`).
    pub fn panicked(&self, worker: WorkerId) {
        if let Some(cell) = self.shared.panics.get(worker.slot()) {
            cell.add(worker, 1);
        }
    }

    /// `gomesh_xds_connected`: 1 while the management stream stands.
    pub fn set_xds_connected(&self, connected: bool) {
        self.shared.xds_connected.store(u64::from(connected), Ordering::Relaxed);
    }

    /// `gomesh_config_updates_total{type,result}`; `kind` is `cds`, `lds`, `rds`, `eds`, `file`.
    pub fn config_update(&self, kind: &str, result: UpdateResult) {
        *lock(&self.shared.updates).entry((kind.to_owned(), result)).or_default() += 1;
    }

    /// `gomesh_config_ignored_fields_total{field}`.
    pub fn ignored_field(&self, field: &str) {
        *lock(&self.shared.ignored).entry(field.to_owned()).or_default() += 1;
    }

    /// Prints `gomesh_log_lines_dropped_total` from `logs` from now on; to be called once.
    pub fn observe_logs(&self, logs: &Logs) {
        let _first_stays = self.shared.logs.set(logs.clone());
    }

    /// The page, in Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let registry = prometheus::Registry::new();
        // Shut down when dropped; what it reads are our cells, so that nothing is lost with it.
        let _provider = self.instrumented(&registry);
        let families = registry.gather();
        // Only a family without series could fail, and none is given.
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }

    /// Instruments over our cells that print into `registry`.
    fn instrumented(&self, registry: &prometheus::Registry) -> SdkMeterProvider {
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .without_units()
            .scope_info_enabled(false)
            .build()
            .expect("an empty registry takes the exporter");
        let series = self.shared.series();
        let provider = SdkMeterProvider::builder()
            .with_resource(Resource::builder_empty().build())
            .with_view(move |_: &Instrument| {
                Stream::builder().with_cardinality_limit(series).build().ok()
            })
            .with_reader(exporter)
            .build();
        instruments(&provider.meter("gomesh"), &self.shared, self.build);
        let durations = DurationCollector::new(Arc::clone(&self.shared));
        registry.register(Box::new(durations)).expect("its name is used once");
        provider
    }
}

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Observes through a handle that does not keep the figures alive.
fn watching<T: 'static>(
    shared: &Arc<Shared>,
    observe: fn(&Shared, &dyn AsyncInstrument<T>),
) -> impl Fn(&dyn AsyncInstrument<T>) + Send + Sync + 'static {
    let shared = Arc::downgrade(shared);
    move |instrument| {
        if let Some(shared) = shared.upgrade() {
            observe(&shared, instrument);
        }
    }
}

fn instruments(meter: &Meter, shared: &Arc<Shared>, build: BuildInfo) {
    meter
        .u64_observable_counter("gomesh_requests")
        .with_description("Requests by service and class of the response's status.")
        .with_callback(watching(shared, |shared, counter| {
            for service in shared.living() {
                service.each_status(|status, count| {
                    counter.observe(count, &[service.label(), KeyValue::new("status", status)]);
                });
            }
        }))
        .build();
    meter
        .u64_observable_counter("gomesh_errors")
        .with_description("Requests that failed in or behind the proxy, by cause.")
        .with_callback(watching(shared, |shared, counter| {
            for service in shared.living() {
                service.each_error(|error, count| {
                    let error = KeyValue::new("error_type", error.as_str());
                    counter.observe(count, &[service.label(), error]);
                });
            }
        }))
        .build();
    meter
        .u64_observable_gauge("gomesh_requests_in_flight")
        .with_description("Requests that have begun and not ended.")
        .with_callback(watching(shared, |shared, gauge| {
            gauge.observe(sum(&shared.in_flight).as_gauge(), &[]);
        }))
        .build();
    meter
        .u64_observable_counter("gomesh_panics")
        .with_description("Panics that were caught.")
        .with_callback(watching(shared, |shared, counter| {
            counter.observe(sum(&shared.panics).value, &[]);
        }))
        .build();
    meter
        .u64_observable_gauge("gomesh_build_info")
        .with_description("Always 1; what is running stands in the labels.")
        .with_callback(move |gauge| {
            let version = KeyValue::new("version", build.version);
            gauge.observe(1, &[version, KeyValue::new("revision", build.revision)]);
        })
        .build();
    if shared.logs.get().is_some() {
        meter
            .u64_observable_counter("gomesh_log_lines_dropped")
            .with_description("Log lines dropped because their target blocked or failed.")
            .with_callback(watching(shared, |shared, counter| {
                counter.observe(shared.logs.get().map_or(0, Logs::dropped), &[]);
            }))
            .build();
    }
    control_instruments(meter, shared);
}

fn control_instruments(meter: &Meter, shared: &Arc<Shared>) {
    meter
        .u64_observable_gauge("gomesh_xds_connected")
        .with_description("1 while the stream to the management server stands.")
        .with_callback(watching(shared, |shared, gauge| {
            gauge.observe(shared.xds_connected.load(Ordering::Relaxed), &[]);
        }))
        .build();
    meter
        .u64_observable_counter("gomesh_config_updates")
        .with_description("Configuration updates, by type and result.")
        .with_callback(watching(shared, |shared, counter| {
            for ((kind, result), count) in &*lock(&shared.updates) {
                let kind = KeyValue::new("type", kind.clone());
                counter.observe(*count, &[kind, KeyValue::new("result", result.as_str())]);
            }
        }))
        .build();
    meter
        .u64_observable_counter("gomesh_config_ignored_fields")
        .with_description("Fields that were accepted without effect.")
        .with_callback(watching(shared, |shared, counter| {
            for (field, count) in &*lock(&shared.ignored) {
                counter.observe(*count, &[KeyValue::new("field", field.clone())]);
            }
        }))
        .build();
}

/// For tests and for timings.
#[cfg(test)]
mod tests;

/// A duration as the histogram counts it.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX >> 1)
}
