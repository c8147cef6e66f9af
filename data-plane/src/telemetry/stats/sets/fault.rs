//! What the fault filter counts, under Envoy's names.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// Faults (`http.<stat_prefix>.fault.`). The gauge is one cell: it is a limit of all workers.
    FaultStat {
        AbortsInjected: [Counter] "aborts_injected",
        ActiveFaults: [SharedGauge] "active_faults",
        DelaysInjected: [Counter] "delays_injected",
        FaultsOverflow: [Counter] "faults_overflow",
        ResponseRlInjected: [Counter] "response_rl_injected",
    }
}

stat_set! {
    /// Faults of the requests of one caller (`http.<stat_prefix>.fault.<cluster>.`).
    FaultClusterStat {
        AbortsInjected: optional [Counter] "aborts_injected",
        DelaysInjected: optional [Counter] "delays_injected",
    }
}
