//! What connection managers, the router and the codecs count, under Envoy's names.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// What a connection manager counts (`http.<stat_prefix>.`).
    HttpStat {
        DownstreamCxActive: [Gauge] "downstream_cx_active",
        DownstreamCxDelayedCloseTimeout: [Counter] "downstream_cx_delayed_close_timeout",
        DownstreamCxDestroy: [Counter] "downstream_cx_destroy",
        DownstreamCxDestroyActiveRq: [Counter] "downstream_cx_destroy_active_rq",
        DownstreamCxDestroyLocal: [Counter] "downstream_cx_destroy_local",
        DownstreamCxDestroyLocalActiveRq: [Counter] "downstream_cx_destroy_local_active_rq",
        DownstreamCxDestroyRemote: [Counter] "downstream_cx_destroy_remote",
        DownstreamCxDestroyRemoteActiveRq: [Counter] "downstream_cx_destroy_remote_active_rq",
        DownstreamCxDrainClose: [Counter] "downstream_cx_drain_close",
        DownstreamCxHttp1Active: [Gauge] "downstream_cx_http1_active",
        DownstreamCxHttp1SoftDrain: [Gauge] "downstream_cx_http1_soft_drain",
        DownstreamCxHttp1Total: [Counter] "downstream_cx_http1_total",
        DownstreamCxHttp2Active: [Gauge] "downstream_cx_http2_active",
        DownstreamCxHttp2Total: [Counter] "downstream_cx_http2_total",
        DownstreamCxHttp3Active: [Gauge] "downstream_cx_http3_active",
        DownstreamCxHttp3Total: [Counter] "downstream_cx_http3_total",
        DownstreamCxIdleTimeout: [Counter] "downstream_cx_idle_timeout",
        DownstreamCxLengthMs: [Histogram] "downstream_cx_length_ms",
        DownstreamCxMaxDurationReached: [Counter] "downstream_cx_max_duration_reached",
        DownstreamCxMaxRequestsReached: [Counter] "downstream_cx_max_requests_reached",
        DownstreamCxOverloadDisableKeepalive: [Counter] "downstream_cx_overload_disable_keepalive",
        DownstreamCxProtocolError: [Counter] "downstream_cx_protocol_error",
        DownstreamCxRxBytesBuffered: [Gauge] "downstream_cx_rx_bytes_buffered",
        DownstreamCxRxBytesTotal: [Counter] "downstream_cx_rx_bytes_total",
        DownstreamCxSslActive: [Gauge] "downstream_cx_ssl_active",
        DownstreamCxSslTotal: [Counter] "downstream_cx_ssl_total",
        DownstreamCxTotal: [Counter] "downstream_cx_total",
        DownstreamCxTxBytesBuffered: [Gauge] "downstream_cx_tx_bytes_buffered",
        DownstreamCxTxBytesTotal: [Counter] "downstream_cx_tx_bytes_total",
        DownstreamCxUpgradesActive: [Gauge] "downstream_cx_upgrades_active",
        DownstreamCxUpgradesTotal: [Counter] "downstream_cx_upgrades_total",
        DownstreamFlowControlPausedReadingTotal: [Counter]
            "downstream_flow_control_paused_reading_total",
        DownstreamFlowControlResumedReadingTotal: [Counter]
            "downstream_flow_control_resumed_reading_total",
        DownstreamRq1xx: [Counter] "downstream_rq_1xx",
        DownstreamRq2xx: [Counter] "downstream_rq_2xx",
        DownstreamRq3xx: [Counter] "downstream_rq_3xx",
        DownstreamRq4xx: [Counter] "downstream_rq_4xx",
        DownstreamRq5xx: [Counter] "downstream_rq_5xx",
        DownstreamRqActive: [Gauge] "downstream_rq_active",
        DownstreamRqCompleted: [Counter] "downstream_rq_completed",
        DownstreamRqFailedPathNormalization: [Counter] "downstream_rq_failed_path_normalization",
        DownstreamRqHeaderTimeout: [Counter] "downstream_rq_header_timeout",
        DownstreamRqHttp1Total: [Counter] "downstream_rq_http1_total",
        DownstreamRqHttp2Total: [Counter] "downstream_rq_http2_total",
        DownstreamRqHttp3Total: [Counter] "downstream_rq_http3_total",
        DownstreamRqIdleTimeout: [Counter] "downstream_rq_idle_timeout",
        DownstreamRqMaxDurationReached: [Counter] "downstream_rq_max_duration_reached",
        DownstreamRqNonRelativePath: [Counter] "downstream_rq_non_relative_path",
        DownstreamRqOverloadClose: [Counter] "downstream_rq_overload_close",
        DownstreamRqRedirectedWithNormalizedPath: [Counter]
            "downstream_rq_redirected_with_normalized_path",
        DownstreamRqRejectedViaIpDetection: [Counter] "downstream_rq_rejected_via_ip_detection",
        DownstreamRqResponseBeforeRqComplete: [Counter] "downstream_rq_response_before_rq_complete",
        DownstreamRqRxReset: [Counter] "downstream_rq_rx_reset",
        DownstreamRqTime: [Histogram] "downstream_rq_time",
        DownstreamRqTimeout: [Counter] "downstream_rq_timeout",
        DownstreamRqTooLarge: [Counter] "downstream_rq_too_large",
        DownstreamRqTooManyPrematureResets: [Counter] "downstream_rq_too_many_premature_resets",
        DownstreamRqTotal: [Counter] "downstream_rq_total",
        DownstreamRqTxReset: [Counter] "downstream_rq_tx_reset",
        DownstreamRqWsOnNonWsRoute: [Counter] "downstream_rq_ws_on_non_ws_route",
        RsTooLarge: [Counter] "rs_too_large",
    }
}

stat_set! {
    /// Tracing decisions of a connection manager (`http.<stat_prefix>.tracing.`).
    HttpTracingStat {
        ClientEnabled: [Counter] "client_enabled",
        HealthCheck: [Counter] "health_check",
        NotTraceable: [Counter] "not_traceable",
        RandomSampling: [Counter] "random_sampling",
        ServiceForced: [Counter] "service_forced",
    }
}

stat_set! {
    /// What the router filter counts (`http.<stat_prefix>.`).
    RouterStat {
        NoCluster: [Counter] "no_cluster",
        NoRoute: [Counter] "no_route",
        PassthroughInternalRedirectBadLocation: [Counter]
            "passthrough_internal_redirect_bad_location",
        PassthroughInternalRedirectNoRoute: [Counter] "passthrough_internal_redirect_no_route",
        PassthroughInternalRedirectPredicate: [Counter] "passthrough_internal_redirect_predicate",
        PassthroughInternalRedirectTooManyRedirects: [Counter]
            "passthrough_internal_redirect_too_many_redirects",
        PassthroughInternalRedirectUnsafeScheme: [Counter]
            "passthrough_internal_redirect_unsafe_scheme",
        RqDirectResponse: [Counter] "rq_direct_response",
        RqOverloadLocalReply: [Counter] "rq_overload_local_reply",
        RqRedirect: [Counter] "rq_redirect",
        RqResetAfterDownstreamResponseStarted: [Counter]
            "rq_reset_after_downstream_response_started",
        RqTotal: [Counter] "rq_total",
    }
}

stat_set! {
    /// Responses of a connection manager by listener (`listener.<name>.http.<stat_prefix>.`).
    ListenerHttpStat {
        DownstreamRq1xx: [Counter] "downstream_rq_1xx",
        DownstreamRq2xx: [Counter] "downstream_rq_2xx",
        DownstreamRq3xx: [Counter] "downstream_rq_3xx",
        DownstreamRq4xx: [Counter] "downstream_rq_4xx",
        DownstreamRq5xx: [Counter] "downstream_rq_5xx",
        DownstreamRqCompleted: [Counter] "downstream_rq_completed",
    }
}

stat_set! {
    /// HTTP/1 codecs: `http1.` downstream, `cluster.<name>.http1.` upstream.
    Http1Stat {
        DroppedHeadersWithUnderscores: [Counter] "dropped_headers_with_underscores",
        MetadataNotSupportedError: [Counter] "metadata_not_supported_error",
        RequestsRejectedWithUnderscoresInHeaders: [Counter]
            "requests_rejected_with_underscores_in_headers",
        ResponseFlood: [Counter] "response_flood",
    }
}

stat_set! {
    /// HTTP/2 codecs: `http2.` downstream, `cluster.<name>.http2.` upstream.
    Http2Stat {
        CookieCount: [Histogram] "cookie_count",
        CookieSize: [Histogram] "cookie_size",
        CookiesTotalBytesTooLarge: [Counter] "cookies_total_bytes_too_large",
        DeferredStreamClose: [Gauge] "deferred_stream_close",
        DroppedHeadersWithUnderscores: [Counter] "dropped_headers_with_underscores",
        GoawaySent: [Counter] "goaway_sent",
        HeaderCount: [Histogram] "header_count",
        HeaderListSize: [Histogram] "header_list_size",
        HeaderListSizeTooLarge: [Counter] "header_list_size_too_large",
        HeaderOverflow: [Counter] "header_overflow",
        HeadersCbNoStream: [Counter] "headers_cb_no_stream",
        InboundEmptyFramesFlood: [Counter] "inbound_empty_frames_flood",
        InboundPriorityFramesFlood: [Counter] "inbound_priority_frames_flood",
        InboundWindowUpdateFramesFlood: [Counter] "inbound_window_update_frames_flood",
        KeepaliveTimeout: [Counter] "keepalive_timeout",
        MetadataEmptyFrames: [Counter] "metadata_empty_frames",
        Nghttp2DownstreamConnections: [Counter] "nghttp2_downstream_connections",
        Nghttp2UpstreamConnections: [Counter] "nghttp2_upstream_connections",
        Oghttp2DownstreamConnections: [Counter] "oghttp2_downstream_connections",
        Oghttp2UpstreamConnections: [Counter] "oghttp2_upstream_connections",
        OutboundControlFlood: [Counter] "outbound_control_flood",
        OutboundControlFramesActive: [Gauge] "outbound_control_frames_active",
        OutboundFlood: [Counter] "outbound_flood",
        OutboundFramesActive: [Gauge] "outbound_frames_active",
        PendingSendBytes: [Gauge] "pending_send_bytes",
        RequestsRejectedWithUnderscoresInHeaders: [Counter]
            "requests_rejected_with_underscores_in_headers",
        RxMessagingError: [Counter] "rx_messaging_error",
        RxReset: [Counter] "rx_reset",
        StreamRefusedErrors: [Counter] "stream_refused_errors",
        StreamsActive: [Gauge] "streams_active",
        Trailers: [Counter] "trailers",
        TxFlushTimeout: [Counter] "tx_flush_timeout",
        TxReset: [Counter] "tx_reset",
    }
}
