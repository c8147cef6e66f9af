//! Metrics of one server, in Prometheus' text form.
//!
//! Every server has its own provider and registry, so that many can live in one process. Labels
//! are bounded: types that clients make up count as `other`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, MeterProvider as _};
use opentelemetry_prometheus::ResourceSelector;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::{Encoder as _, Registry, TextEncoder};

use crate::registry::{Health, Registry as Instances};
use crate::snapshot::{
    CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME, SCOPED_ROUTE, SECRET, TypeUrl,
    VIRTUAL_HOST,
};

/// How many instances of each service are in which state.
const INSTANCES: &str = "gomesh_registry_instances";

/// Series of that name: four states of every object that may be a service.
const SERIES_MAX: usize = 100_000;

/// See the module.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Kept because its instruments end with it.
    provider: SdkMeterProvider,
    levels: Arc<Levels>,
    pushes: Counter<u64>,
    nacks: Counter<u64>,
    reloads: Counter<u64>,
}

#[derive(Debug, Default)]
struct Levels {
    clients: AtomicU64,
    revision: AtomicU64,
}

/// How a reading of the files ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// New content is served.
    Applied,
    /// The files are bad; what was served before stays.
    Refused,
    /// Nothing that is served changed.
    Unchanged,
}

impl Metrics {
    /// Metrics that all stand at zero.
    ///
    /// # Errors
    /// Where the registry refuses the exporter.
    pub fn new() -> anyhow::Result<Self> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .with_resource_selector(ResourceSelector::None)
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .context("metrics exporter")?;
        let provider = SdkMeterProvider::builder()
            // The limit of the SDK would merge the series of many services into one.
            .with_view(|instrument: &Instrument| {
                let stream = Stream::builder().with_cardinality_limit(SERIES_MAX);
                (instrument.name() == INSTANCES).then(|| stream.build().ok())?
            })
            .with_reader(exporter)
            .build();
        let meter = provider.meter("xds-server");
        let levels = Arc::new(Levels::default());
        let seen = levels.clone();
        meter
            .u64_observable_gauge("gomesh_xds_clients")
            .with_description("Nodes that have at least one stream")
            .with_callback(move |gauge| gauge.observe(seen.clients.load(Ordering::Relaxed), &[]))
            .build();
        let seen = levels.clone();
        meter
            .u64_observable_gauge("gomesh_snapshot_revision")
            .with_description("Number of the generation that is served")
            .with_callback(move |gauge| gauge.observe(seen.revision.load(Ordering::Relaxed), &[]))
            .build();
        meter
            .u64_observable_gauge("gomesh_build_info")
            .with_description("Always 1; the version is a label")
            .with_callback(|gauge| {
                gauge.observe(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
            })
            .build();
        let counter = |name: &'static str, text: &'static str| {
            meter.u64_counter(name).with_description(text).build()
        };
        let pushes = counter("gomesh_xds_pushes", "Responses sent");
        let nacks = counter("gomesh_xds_nacks", "Responses that a client refused");
        let reloads = counter("gomesh_config_reloads", "Readings of the files after the start");
        Ok(Self { registry, provider, levels, pushes, nacks, reloads })
    }

    /// Shows how many instances of each service are in which state, from now on.
    pub fn observe_instances(&self, instances: Arc<Instances>) {
        let meter = self.provider.meter("xds-server");
        meter
            .u64_observable_gauge(INSTANCES)
            .with_description("Instances that registered")
            .with_callback(move |gauge| {
                for (service, health, count) in instances.counts() {
                    let state = match health {
                        Health::Passing => "passing",
                        Health::Warning => "warning",
                        Health::Critical => "critical",
                        Health::Draining => "draining",
                    };
                    let labels = [KeyValue::new("service", service), KeyValue::new("state", state)];
                    gauge.observe(count as u64, &labels);
                }
            })
            .build();
    }

    /// A response of that type went out.
    pub fn count_push(&self, type_url: &TypeUrl) {
        self.pushes.add(1, &[KeyValue::new("type", label(type_url))]);
    }

    /// A response of that type was refused.
    pub fn count_nack(&self, type_url: &TypeUrl) {
        self.nacks.add(1, &[KeyValue::new("type", label(type_url))]);
    }

    /// The files were read again.
    pub fn count_reload(&self, reload: Reload) {
        let result = match reload {
            Reload::Applied => "applied",
            Reload::Refused => "refused",
            Reload::Unchanged => "unchanged",
        };
        self.reloads.add(1, &[KeyValue::new("result", result)]);
    }

    /// Nodes that are connected now.
    pub fn set_clients(&self, clients: usize) {
        self.levels.clients.store(clients as u64, Ordering::Relaxed);
    }

    /// The revision that is served now.
    pub fn set_revision(&self, revision: u64) {
        self.levels.revision.store(revision, Ordering::Relaxed);
    }

    /// Everything, in Prometheus' text form.
    ///
    /// # Errors
    /// Where a family cannot be written.
    pub fn render(&self) -> anyhow::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8(text)?)
    }
}

/// Envoy's word for the discovery service of a type.
fn label(type_url: &TypeUrl) -> &'static str {
    match type_url.as_str() {
        CLUSTER => "cds",
        ENDPOINT => "eds",
        EXTENSION => "ecds",
        LISTENER => "lds",
        ROUTE => "rds",
        RUNTIME => "rtds",
        SCOPED_ROUTE => "srds",
        SECRET => "sds",
        VIRTUAL_HOST => "vhds",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_as_promised() {
        let metrics = Metrics::new().unwrap();
        metrics.count_push(&CLUSTER.into());
        metrics.count_nack(&"made/up".into());
        metrics.set_clients(2);
        metrics.set_revision(7);
        let text = metrics.render().unwrap();
        for line in [
            "gomesh_xds_clients 2",
            "gomesh_snapshot_revision 7",
            "gomesh_xds_pushes_total{type=\"cds\"} 1",
            "gomesh_xds_nacks_total{type=\"other\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in {text}");
        }
        assert!(!text.contains("otel_") && !text.contains("target_info"), "{text}");
    }
}
