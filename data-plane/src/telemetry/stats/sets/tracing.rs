//! What tracers count, under Envoy's names.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// The tracer `envoy.tracers.opentelemetry` (`tracing.opentelemetry.`).
    OpenTelemetryStat {
        SpansDropped: [Counter] "spans_dropped",
        SpansSent: [Counter] "spans_sent",
        TimerFlushed: [Counter] "timer_flushed",
    }
}
