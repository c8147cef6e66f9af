//! What subscriptions and the management stream count, under Envoy's names.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// A subscription: `cluster_manager.cds.`, `listener_manager.lds.`,
    /// `http.<stat_prefix>.rds.<name>.`.
    SubscriptionStat {
        InitFetchTimeout: [SharedCounter] "init_fetch_timeout",
        UpdateAttempt: [SharedCounter] "update_attempt",
        UpdateFailure: [SharedCounter] "update_failure",
        UpdateRejected: [SharedCounter] "update_rejected",
        UpdateSuccess: [SharedCounter] "update_success",
        UpdateTime: [SharedGauge] "update_time",
        Version: [SharedGauge] "version",
        VersionText: [Text] "version_text",
        UpdateDuration: [Histogram] "update_duration",
    }
}

stat_set! {
    /// The management server (`control_plane.`).
    ControlPlaneStat {
        Identifier: [Text] "identifier",
        ConnectedState: [SharedGauge] "connected_state",
        PendingRequests: [SharedGauge] "pending_requests",
        RateLimitEnforced: [SharedCounter] "rate_limit_enforced",
    }
}

stat_set! {
    /// What subscriptions to `cds.` and `rds.` have beside [`SubscriptionStat`].
    ReloadStat {
        ConfigReload: [SharedCounter] "config_reload",
        ConfigReloadTimeMs: [SharedGauge] "config_reload_time_ms",
    }
}

stat_set! {
    /// What subscriptions to `rds.` have beside [`SubscriptionStat`] and [`ReloadStat`].
    RdsStat {
        UpdateEmpty: [SharedCounter] "update_empty",
    }
}

stat_set! {
    /// What the EDS subscription of a cluster has beside [`ClusterStat`](super::ClusterStat)
    /// (`cluster.<name>.`).
    EdsStat {
        InitFetchTimeout: [SharedCounter] "init_fetch_timeout",
        UpdateRejected: [SharedCounter] "update_rejected",
        UpdateTime: [SharedGauge] "update_time",
        VersionText: [Text] "version_text",
        UpdateDuration: [Histogram] "update_duration",
    }
}
