//! What TCP proxies count, under Envoy's names.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// What a TCP proxy counts (`tcp.<stat_prefix>.`).
    TcpStat {
        DownstreamCxDrainClose: [Counter] "downstream_cx_drain_close",
        DownstreamCxNoRoute: [Counter] "downstream_cx_no_route",
        DownstreamCxOverloadClose: [Counter] "downstream_cx_overload_close",
        DownstreamCxRxBytesBuffered: [Gauge] "downstream_cx_rx_bytes_buffered",
        DownstreamCxRxBytesTotal: [Counter] "downstream_cx_rx_bytes_total",
        DownstreamCxTotal: [Counter] "downstream_cx_total",
        DownstreamCxTxBytesBuffered: [Gauge] "downstream_cx_tx_bytes_buffered",
        DownstreamCxTxBytesTotal: [Counter] "downstream_cx_tx_bytes_total",
        DownstreamFlowControlPausedReadingTotal: [Counter]
            "downstream_flow_control_paused_reading_total",
        DownstreamFlowControlResumedReadingTotal: [Counter]
            "downstream_flow_control_resumed_reading_total",
        EarlyDataReceivedCountTotal: [Counter] "early_data_received_count_total",
        IdleTimeout: [Counter] "idle_timeout",
        MaxDownstreamConnectionDuration: [Counter] "max_downstream_connection_duration",
        RouteDelayedTotal: [Counter] "route_delayed_total",
        UpstreamFlushActive: [Gauge] "upstream_flush_active",
        UpstreamFlushTotal: [Counter] "upstream_flush_total",
    }
}
