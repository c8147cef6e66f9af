//! Sends finished spans to their collector by OTLP over gRPC, in the background.
//!
//! Workers put spans into a bounded queue and never wait. One task a tracer, on the control
//! runtime, takes them in batches: as soon as there are a few, or after a while. It reaches the
//! collector through the named cluster as it is at that moment. What cannot be sent is lost, as in
//! Envoy; while a collector does not answer, spans wait in the queue until that is full.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use http::uri::PathAndQuery;
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Mutex, mpsc};
use tokio::time::MissedTickBehavior;
use tonic::Request;
use tonic::client::Grpc;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::base::{clock, task};
use crate::cluster::connect::{ConnectOptions, Socket, connect};
use crate::cluster::lb::PickCx;
use crate::cluster::pick::Picker;
use crate::cluster::{Cluster, Host};
use crate::config::source::GrpcServiceConfig;
use crate::config::tracing::OpenTelemetryConfig;
use crate::http::view::ViewCell;
use crate::route::RuntimeKeys;
use crate::telemetry::WorkerId;
use crate::telemetry::stats::{Group, OpenTelemetryStat};
use crate::tls::client::Offer;
use crate::xds::client::channel;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Most spans of one message.
const BATCH_MAX: usize = 512;

/// How long a collector may take where the configuration does not say.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long one that failed is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// When spans are sent (runtime keys `tracing.opentelemetry.…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// As soon as there are so many (`min_flush_spans`, 5).
    pub min_spans: usize,
    /// And every so often (`flush_interval_ms`, 5 s).
    pub interval: Duration,
}

impl Rules {
    fn of(runtime: &dyn RuntimeKeys) -> Self {
        let key = |name: &str| runtime.integer(&format!("tracing.opentelemetry.{name}"));
        let min = key("min_flush_spans").and_then(|n| usize::try_from(n).ok());
        Self {
            min_spans: min.unwrap_or(5).max(1),
            interval: Duration::from_millis(key("flush_interval_ms").unwrap_or(5000).max(1)),
        }
    }
}

/// Starts exporting; ends when the sender is gone and what it sent is out.
pub(super) fn start(
    config: &Arc<OpenTelemetryConfig>,
    cell: &Arc<ViewCell>,
    stats: Group<OpenTelemetryStat>,
    runtime: &dyn RuntimeKeys,
) -> mpsc::Sender<SpanData> {
    let (queue, spans) = mpsc::channel(config.max_cache_size.max(1) as usize);
    let collector = Collector::new(config, cell);
    task::spawn("spans", run(spans, collector, Rules::of(runtime), stats)).detach();
    queue
}

/// Moves spans from a queue to an exporter.
pub async fn run<E: SpanExporter>(
    mut spans: mpsc::Receiver<SpanData>,
    exporter: E,
    rules: Rules,
    stats: Group<OpenTelemetryStat>,
) {
    let mut timer = tokio::time::interval_at(clock::now() + rules.interval, rules.interval);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let batch_max = BATCH_MAX.max(rules.min_spans);
    let mut batch = Vec::new();
    let mut open = true;
    while open {
        let room = batch_max - batch.len();
        // Both are safe to cancel.
        let due = tokio::select! {
            count = spans.recv_many(&mut batch, room) => {
                open = count > 0;
                !open || batch.len() >= rules.min_spans
            }
            _ = timer.tick() => {
                stats.inc(WorkerId::CONTROL, OpenTelemetryStat::TimerFlushed);
                true
            }
        };
        if !due || batch.is_empty() {
            continue;
        }
        let count = batch.len() as u64;
        stats.add(WorkerId::CONTROL, OpenTelemetryStat::SpansSent, count);
        if let Err(error) = exporter.export(std::mem::take(&mut batch)).await {
            tracing::debug!(%error, spans = count, "spans were not exported");
            if open {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A collector behind a cluster of ours.
struct Collector {
    config: Arc<OpenTelemetryConfig>,
    cell: Arc<ViewCell>,
    resource: ResourceAttributesWithSchema,
    /// One call at a time, so that nobody ever waits for it.
    open: Mutex<Option<Open>>,
}

/// A connection to it.
struct Open {
    channel: Channel,
    /// The other side closed it.
    ended: Arc<AtomicBool>,
    cluster: Arc<Cluster>,
    host: Arc<Host>,
}

impl Open {
    /// Whether it is open, and still leads to where the configuration says.
    fn leads_to(&self, cluster: Option<&Arc<Cluster>>) -> bool {
        let same = cluster.is_some_and(|cluster| Arc::ptr_eq(cluster, &self.cluster));
        same && !self.host.is_removed() && !self.ended.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("config", &self.config).finish_non_exhaustive()
    }
}

impl SpanExporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let limit = self.config.service.timeout.unwrap_or(TIMEOUT);
        let message = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        let mut open = self.open.lock().await;
        let sent = tokio::time::timeout(limit, self.send(message, &mut open)).await;
        let sent = match sent {
            Ok(sent) => sent.map_err(OTelSdkError::InternalFailure),
            Err(_elapsed) => Err(OTelSdkError::Timeout(limit)),
        };
        if sent.is_err() {
            // Whatever it was, another connection may be better.
            *open = None;
        }
        sent
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

impl Collector {
    fn new(config: &Arc<OpenTelemetryConfig>, cell: &Arc<ViewCell>) -> Self {
        let mut resource = Resource::builder_empty();
        if config.sdk_attributes {
            resource = resource.with_detector(Box::new(TelemetryResourceDetector));
        }
        let name = config.service_name.clone();
        let name = name.map(|name| KeyValue::new("service.name", name));
        Self {
            resource: (&resource.with_attributes(name).build()).into(),
            config: Arc::clone(config),
            cell: Arc::clone(cell),
            open: Mutex::new(None),
        }
    }

    async fn send(
        &self,
        message: ExportTraceServiceRequest,
        open: &mut Option<Open>,
    ) -> Result<(), String> {
        let service = &self.config.service;
        let cluster = self.cell.load().clusters.get(service.cluster.as_str()).cloned();
        if !open.as_ref().is_some_and(|open| open.leads_to(cluster.as_ref())) {
            let cluster = cluster.ok_or_else(|| format!("unknown cluster {}", service.cluster))?;
            *open = Some(dial(cluster, service).await?);
        }
        let Some(open) = open else { return Ok(()) };
        let mut grpc = Grpc::new(open.channel.clone());
        grpc.ready().await.map_err(|error| error.to_string())?;
        let mut request = Request::new(message);
        for (name, value) in &service.initial_metadata {
            let name: Result<AsciiMetadataKey, _> = name.parse();
            let value: Result<AsciiMetadataValue, _> = value.parse();
            if let (Ok(name), Ok(value)) = (name, value) {
                request.metadata_mut().insert(name, value);
            }
        }
        let codec: ProstCodec<_, ExportTraceServiceResponse> = ProstCodec::default();
        let answer = grpc.unary(request, PathAndQuery::from_static(EXPORT), codec).await;
        answer.map(drop).map_err(|status| status.to_string())
    }
}

/// Opens a connection to a host of the cluster, chosen as for a request.
async fn dial(cluster: Arc<Cluster>, service: &GrpcServiceConfig) -> Result<Open, String> {
    let host = pick(&cluster).ok_or_else(|| format!("no host in cluster {}", service.cluster))?;
    let tls = cluster.tls().map(|client| (Arc::clone(client), Offer::Http2));
    let options = ConnectOptions { tls, ..ConnectOptions::from(&**cluster.config()) };
    let socket = connect(host.address(), &options, WorkerId::CONTROL).await;
    let socket = socket.map_err(|error| error.to_string())?;
    let authority = service.authority.as_deref().unwrap_or(service.cluster.as_str());
    let ended = Arc::new(AtomicBool::new(false));
    let watched = Watched { socket, ended: Arc::clone(&ended) };
    let channel = channel(Box::new(watched), authority, None).await;
    let channel = channel.map_err(|error| error.to_string())?;
    Ok(Open { channel, ended, cluster, host })
}

fn pick(cluster: &Cluster) -> Option<Arc<Host>> {
    let mut picker = Picker::new(Arc::clone(&cluster.hosts()));
    let picked = picker.pick(&mut PickCx { rng: &mut fastrand::Rng::new(), hash: None })?;
    picker.set().hosts().get(picked.index).cloned()
}

/// A connection that tells of its end, so that no batch is lost on one that a collector closed
/// while there was nothing to send.
struct Watched {
    socket: Socket,
    ended: Arc<AtomicBool>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        let ended = match &read {
            Poll::Ready(Ok(())) => buf.filled().len() == before,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if ended {
            self.ended.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
