//! What the RBAC filter counts, below `http.<stat_prefix>.`.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// Verdicts of RBAC rules that are enforced (`rbac.[<prefix>.]`).
    RbacStat {
        Allowed: [Counter] "allowed",
        Denied: [Counter] "denied",
    }
}

stat_set! {
    /// Verdicts of RBAC rules that are only tried (`rbac.[<prefix>.]`).
    RbacShadowStat {
        ShadowAllowed: [Counter] "shadow_allowed",
        ShadowDenied: [Counter] "shadow_denied",
    }
}

stat_set! {
    /// Verdicts by policy (`rbac.[<prefix>.]policy.<name>.`).
    RbacPolicyStat {
        Allowed: optional [Counter] "allowed",
        Denied: optional [Counter] "denied",
        ShadowAllowed: optional [Counter] "shadow_allowed",
        ShadowDenied: optional [Counter] "shadow_denied",
    }
}
