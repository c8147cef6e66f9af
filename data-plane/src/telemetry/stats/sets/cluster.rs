//! What clusters count, under Envoy's names.
//!
//! Stats that only the control runtime writes, or that describe a state of all workers together,
//! are shared, so that an idle cluster needs no block of cells.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// What a cluster counts (`cluster.<name>.`). `upstream_rq_time` stands first: the times of
    /// responses are recorded in it.
    ClusterStat responses ByOrigin {
        UpstreamRqTime: optional [Histogram] "upstream_rq_time",
        AssignmentStale: [SharedCounter] "assignment_stale",
        AssignmentTimeoutReceived: [SharedCounter] "assignment_timeout_received",
        AssignmentUseCached: [SharedCounter] "assignment_use_cached",
        BindErrors: [SharedCounter] "bind_errors",
        CircuitBreakersDefaultCxOpen: [SharedGauge] "circuit_breakers.default.cx_open",
        CircuitBreakersDefaultCxPoolOpen: [SharedGauge] "circuit_breakers.default.cx_pool_open",
        CircuitBreakersDefaultRqOpen: [SharedGauge] "circuit_breakers.default.rq_open",
        CircuitBreakersDefaultRqPendingOpen: [SharedGauge]
            "circuit_breakers.default.rq_pending_open",
        CircuitBreakersDefaultRqRetryOpen: [SharedGauge] "circuit_breakers.default.rq_retry_open",
        CircuitBreakersHighCxOpen: [SharedGauge] "circuit_breakers.high.cx_open",
        CircuitBreakersHighCxPoolOpen: [SharedGauge] "circuit_breakers.high.cx_pool_open",
        CircuitBreakersHighRqOpen: [SharedGauge] "circuit_breakers.high.rq_open",
        CircuitBreakersHighRqPendingOpen: [SharedGauge] "circuit_breakers.high.rq_pending_open",
        CircuitBreakersHighRqRetryOpen: [SharedGauge] "circuit_breakers.high.rq_retry_open",
        DefaultTotalMatchCount: [SharedCounter] "default.total_match_count",
        LbHealthyPanic: [Counter] "lb_healthy_panic",
        LbLocalClusterNotOk: [Counter] "lb_local_cluster_not_ok",
        LbRecalculateZoneStructures: [SharedCounter] "lb_recalculate_zone_structures",
        LbSubsetsActive: [SharedGauge] "lb_subsets_active",
        LbSubsetsCreated: [SharedCounter] "lb_subsets_created",
        LbSubsetsFallback: [SharedCounter] "lb_subsets_fallback",
        LbSubsetsFallbackPanic: [SharedCounter] "lb_subsets_fallback_panic",
        LbSubsetsRemoved: [SharedCounter] "lb_subsets_removed",
        LbSubsetsSelected: [SharedCounter] "lb_subsets_selected",
        LbZoneClusterTooSmall: [Counter] "lb_zone_cluster_too_small",
        LbZoneNoCapacityLeft: [Counter] "lb_zone_no_capacity_left",
        LbZoneRoutingAllDirectly: [Counter] "lb_zone_routing_all_directly",
        LbZoneRoutingCrossZone: [Counter] "lb_zone_routing_cross_zone",
        LbZoneRoutingSampled: [Counter] "lb_zone_routing_sampled",
        MaxHostWeight: [SharedGauge] "max_host_weight",
        MembershipChange: [SharedCounter] "membership_change",
        MembershipDegraded: [SharedGauge] "membership_degraded",
        MembershipExcluded: [SharedGauge] "membership_excluded",
        MembershipHealthy: [SharedGauge] "membership_healthy",
        MembershipTotal: [SharedGauge] "membership_total",
        OriginalDstHostInvalid: [SharedCounter] "original_dst_host_invalid",
        RetryOrShadowAbandoned: [Counter] "retry_or_shadow_abandoned",
        UpdateAttempt: [SharedCounter] "update_attempt",
        UpdateEmpty: [SharedCounter] "update_empty",
        UpdateFailure: [SharedCounter] "update_failure",
        UpdateNoRebuild: [SharedCounter] "update_no_rebuild",
        UpdateSuccess: [SharedCounter] "update_success",
        UpstreamCxActive: [Gauge] "upstream_cx_active",
        UpstreamCxCloseNotify: [Counter] "upstream_cx_close_notify",
        UpstreamCxConnectAttemptsExceeded: [Counter] "upstream_cx_connect_attempts_exceeded",
        UpstreamCxConnectFail: [Counter] "upstream_cx_connect_fail",
        UpstreamCxConnectMs: [Histogram] "upstream_cx_connect_ms",
        UpstreamCxConnectTimeout: [Counter] "upstream_cx_connect_timeout",
        UpstreamCxConnectWith0Rtt: [Counter] "upstream_cx_connect_with_0_rtt",
        UpstreamCxDestroy: [Counter] "upstream_cx_destroy",
        UpstreamCxDestroyLocal: [Counter] "upstream_cx_destroy_local",
        UpstreamCxDestroyLocalWithActiveRq: [Counter] "upstream_cx_destroy_local_with_active_rq",
        UpstreamCxDestroyRemote: [Counter] "upstream_cx_destroy_remote",
        UpstreamCxDestroyRemoteWithActiveRq: [Counter] "upstream_cx_destroy_remote_with_active_rq",
        UpstreamCxDestroyWithActiveRq: [Counter] "upstream_cx_destroy_with_active_rq",
        UpstreamCxHttp1Total: [Counter] "upstream_cx_http1_total",
        UpstreamCxHttp2Total: [Counter] "upstream_cx_http2_total",
        UpstreamCxHttp3Total: [Counter] "upstream_cx_http3_total",
        UpstreamCxIdleTimeout: [Counter] "upstream_cx_idle_timeout",
        UpstreamCxLengthMs: [Histogram] "upstream_cx_length_ms",
        UpstreamCxMaxDurationReached: [Counter] "upstream_cx_max_duration_reached",
        UpstreamCxMaxRequests: [Counter] "upstream_cx_max_requests",
        UpstreamCxNoneHealthy: [Counter] "upstream_cx_none_healthy",
        UpstreamCxOverflow: [Counter] "upstream_cx_overflow",
        UpstreamCxPoolOverflow: [Counter] "upstream_cx_pool_overflow",
        UpstreamCxPreconnectSkipped: [Counter] "upstream_cx_preconnect_skipped",
        UpstreamCxProtocolError: [Counter] "upstream_cx_protocol_error",
        UpstreamCxRxBytesBuffered: [Gauge] "upstream_cx_rx_bytes_buffered",
        UpstreamCxRxBytesTotal: [Counter] "upstream_cx_rx_bytes_total",
        UpstreamCxTotal: [Counter] "upstream_cx_total",
        UpstreamCxTxBytesBuffered: [Gauge] "upstream_cx_tx_bytes_buffered",
        UpstreamCxTxBytesTotal: [Counter] "upstream_cx_tx_bytes_total",
        UpstreamFlowControlBackedUpTotal: [Counter] "upstream_flow_control_backed_up_total",
        UpstreamFlowControlDrainedTotal: [Counter] "upstream_flow_control_drained_total",
        UpstreamFlowControlPausedReadingTotal: [Counter]
            "upstream_flow_control_paused_reading_total",
        UpstreamFlowControlResumedReadingTotal: [Counter]
            "upstream_flow_control_resumed_reading_total",
        UpstreamHttp3Broken: [Counter] "upstream_http3_broken",
        UpstreamInternalRedirectFailedTotal: [Counter] "upstream_internal_redirect_failed_total",
        UpstreamInternalRedirectSucceededTotal: [Counter]
            "upstream_internal_redirect_succeeded_total",
        UpstreamQueueOverloaded: [SharedGauge] "upstream_queue_overloaded",
        UpstreamRq0rtt: [Counter] "upstream_rq_0rtt",
        UpstreamRqActive: [Gauge] "upstream_rq_active",
        UpstreamRqActiveOverflow: [Counter] "upstream_rq_active_overflow",
        UpstreamRqCancelled: [Counter] "upstream_rq_cancelled",
        UpstreamRqMaintenanceMode: [Counter] "upstream_rq_maintenance_mode",
        UpstreamRqMaxDurationReached: [Counter] "upstream_rq_max_duration_reached",
        UpstreamRqPendingActive: [Gauge] "upstream_rq_pending_active",
        UpstreamRqPendingFailureEject: [Counter] "upstream_rq_pending_failure_eject",
        UpstreamRqPendingOverflow: [Counter] "upstream_rq_pending_overflow",
        UpstreamRqPendingTotal: [Counter] "upstream_rq_pending_total",
        UpstreamRqPerCx: [Histogram] "upstream_rq_per_cx",
        UpstreamRqPerTryIdleTimeout: [Counter] "upstream_rq_per_try_idle_timeout",
        UpstreamRqPerTryTimeout: [Counter] "upstream_rq_per_try_timeout",
        UpstreamRqRetry: [Counter] "upstream_rq_retry",
        UpstreamRqRetryBackoffExponential: [Counter] "upstream_rq_retry_backoff_exponential",
        UpstreamRqRetryBackoffRatelimited: [Counter] "upstream_rq_retry_backoff_ratelimited",
        UpstreamRqRetryLimitExceeded: [Counter] "upstream_rq_retry_limit_exceeded",
        UpstreamRqRetryOverflow: [Counter] "upstream_rq_retry_overflow",
        UpstreamRqRetrySuccess: [Counter] "upstream_rq_retry_success",
        UpstreamRqRxReset: [Counter] "upstream_rq_rx_reset",
        UpstreamRqRxResetNoError: [Counter] "upstream_rq_rx_reset_no_error",
        UpstreamRqTimeout: [Counter] "upstream_rq_timeout",
        UpstreamRqTotal: [Counter] "upstream_rq_total",
        UpstreamRqTxReset: [Counter] "upstream_rq_tx_reset",
        Version: [SharedGauge] "version",
        WarmingState: [SharedGauge] "warming_state",
        CircuitBreakersDefaultRemainingCx: optional [SharedGauge]
            "circuit_breakers.default.remaining_cx",
        CircuitBreakersDefaultRemainingCxPools: optional [SharedGauge]
            "circuit_breakers.default.remaining_cx_pools",
        CircuitBreakersDefaultRemainingPending: optional [SharedGauge]
            "circuit_breakers.default.remaining_pending",
        CircuitBreakersDefaultRemainingRetries: optional [SharedGauge]
            "circuit_breakers.default.remaining_retries",
        CircuitBreakersDefaultRemainingRq: optional [SharedGauge]
            "circuit_breakers.default.remaining_rq",
        CircuitBreakersHighRemainingCx: optional [SharedGauge] "circuit_breakers.high.remaining_cx",
        CircuitBreakersHighRemainingCxPools: optional [SharedGauge]
            "circuit_breakers.high.remaining_cx_pools",
        CircuitBreakersHighRemainingPending: optional [SharedGauge]
            "circuit_breakers.high.remaining_pending",
        CircuitBreakersHighRemainingRetries: optional [SharedGauge]
            "circuit_breakers.high.remaining_retries",
        CircuitBreakersHighRemainingRq: optional [SharedGauge] "circuit_breakers.high.remaining_rq",
    }
}

stat_set! {
    /// Active health checks of a cluster (`cluster.<name>.health_check.`).
    HealthCheckStat {
        Attempt: [SharedCounter] "attempt",
        Degraded: [SharedGauge] "degraded",
        Failure: [SharedCounter] "failure",
        Healthy: [SharedGauge] "healthy",
        NetworkFailure: [SharedCounter] "network_failure",
        PassiveFailure: [SharedCounter] "passive_failure",
        Success: [SharedCounter] "success",
        VerifyCluster: [SharedCounter] "verify_cluster",
    }
}

stat_set! {
    /// Outlier detection of a cluster (`cluster.<name>.outlier_detection.`).
    OutlierStat {
        EjectionsActive: [SharedGauge] "ejections_active",
        EjectionsConsecutive5xx: [SharedCounter] "ejections_consecutive_5xx",
        EjectionsDetectedConsecutive5xx: [SharedCounter] "ejections_detected_consecutive_5xx",
        EjectionsDetectedConsecutiveGatewayFailure: [SharedCounter]
            "ejections_detected_consecutive_gateway_failure",
        EjectionsDetectedConsecutiveLocalOriginFailure: [SharedCounter]
            "ejections_detected_consecutive_local_origin_failure",
        EjectionsDetectedDegradation: [SharedCounter] "ejections_detected_degradation",
        EjectionsDetectedFailurePercentage: [SharedCounter] "ejections_detected_failure_percentage",
        EjectionsDetectedLocalOriginFailurePercentage: [SharedCounter]
            "ejections_detected_local_origin_failure_percentage",
        EjectionsDetectedLocalOriginSuccessRate: [SharedCounter]
            "ejections_detected_local_origin_success_rate",
        EjectionsDetectedSuccessRate: [SharedCounter] "ejections_detected_success_rate",
        EjectionsEnforcedConsecutive5xx: [SharedCounter] "ejections_enforced_consecutive_5xx",
        EjectionsEnforcedConsecutiveGatewayFailure: [SharedCounter]
            "ejections_enforced_consecutive_gateway_failure",
        EjectionsEnforcedConsecutiveLocalOriginFailure: [SharedCounter]
            "ejections_enforced_consecutive_local_origin_failure",
        EjectionsEnforcedFailurePercentage: [SharedCounter] "ejections_enforced_failure_percentage",
        EjectionsEnforcedLocalOriginFailurePercentage: [SharedCounter]
            "ejections_enforced_local_origin_failure_percentage",
        EjectionsEnforcedLocalOriginSuccessRate: [SharedCounter]
            "ejections_enforced_local_origin_success_rate",
        EjectionsEnforcedSuccessRate: [SharedCounter] "ejections_enforced_success_rate",
        EjectionsEnforcedTotal: [SharedCounter] "ejections_enforced_total",
        EjectionsOverflow: [SharedCounter] "ejections_overflow",
        EjectionsSuccessRate: [SharedCounter] "ejections_success_rate",
        EjectionsTotal: [SharedCounter] "ejections_total",
    }
}
