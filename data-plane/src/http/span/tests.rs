//! When spans leave the queue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};
use tokio::sync::mpsc;

use super::{Rules, run};
use crate::base::clock;
use crate::telemetry::stats::{Group, OpenTelemetryStat, Registry, Scope};

const RULES: Rules = Rules { min_spans: 3, interval: Duration::from_secs(5) };

/// Tells of each batch; the first `failing` of them are refused.
#[derive(Debug)]
struct Told {
    batches: mpsc::UnboundedSender<usize>,
    failing: AtomicUsize,
}

impl SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let _unheard = self.batches.send(batch.len());
        let failing = self.failing.load(Ordering::Relaxed);
        self.failing.store(failing.saturating_sub(1), Ordering::Relaxed);
        match failing {
            0 => Ok(()),
            _ => Err(OTelSdkError::InternalFailure("down".into())),
        }
    }
}

struct Rig {
    spans: mpsc::Sender<SpanData>,
    batches: mpsc::UnboundedReceiver<usize>,
    stats: Group<OpenTelemetryStat>,
    task: tokio::task::JoinHandle<()>,
}

fn rig(failing: usize) -> Rig {
    let stats: Group<OpenTelemetryStat> =
        Registry::new(1).group(Scope::plain("tracing.opentelemetry."));
    let (spans, queue) = mpsc::channel(4);
    let (told, batches) = mpsc::unbounded_channel();
    let exporter = Told { batches: told, failing: failing.into() };
    let task = tokio::spawn(run(queue, exporter, RULES, stats.clone()));
    Rig { spans, batches, stats, task }
}

fn span() -> SpanData {
    SpanData {
        span_context: SpanContext::NONE,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Server,
        name: "ingress".into(),
        start_time: SystemTime::UNIX_EPOCH,
        end_time: SystemTime::UNIX_EPOCH,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_leave_at_once_and_the_rest_with_the_timer() {
    let mut rig = rig(0);
    let begun = clock::now();
    for _ in 0..3 {
        rig.spans.send(span()).await.unwrap();
    }
    assert_eq!(rig.batches.recv().await, Some(3));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    rig.spans.send(span()).await.unwrap();
    assert_eq!(rig.batches.recv().await, Some(1));
    assert_eq!(begun.elapsed(), RULES.interval);
    assert_eq!(rig.stats.value(OpenTelemetryStat::TimerFlushed), 1);
    assert_eq!(rig.stats.value(OpenTelemetryStat::SpansSent), 4);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_leaves_when_nobody_sends_any_more() {
    let mut rig = rig(0);
    rig.spans.send(span()).await.unwrap();
    drop(rig.spans);
    rig.task.await.unwrap();
    assert_eq!(rig.batches.recv().await, Some(1));
    assert_eq!(rig.batches.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_failed_is_left_alone_for_a_while() {
    let mut rig = rig(1);
    for _ in 0..3 {
        rig.spans.send(span()).await.unwrap();
    }
    assert_eq!(rig.batches.recv().await, Some(3));
    let failed = clock::now();
    // The queue holds four; the fifth waits for the exporter, a worker would drop it.
    for _ in 0..4 {
        rig.spans.try_send(span()).unwrap();
    }
    assert!(rig.spans.try_send(span()).is_err());
    assert_eq!(rig.batches.recv().await, Some(4));
    assert_eq!(failed.elapsed(), Duration::from_secs(1));
    assert_eq!(rig.stats.value(OpenTelemetryStat::SpansSent), 7);
}
