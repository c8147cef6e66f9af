//! What is known of one host from its checks, and when the next one is due. Chance comes in,
//! nothing here waits. The rules are Envoy's `HealthCheckerImplBase`.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::host::{HealthFlag, Host};
use crate::config::cluster::health::{HealthCheckConfig, Pace};
use crate::telemetry::WorkerId;
use crate::telemetry::stats::{Group, HealthCheckStat};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As expected; `degraded` if the host says so of itself.
    Passed { degraded: bool },
    /// Not as expected.
    Failed(Failure),
}

/// Why a check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The answer was another one: the host is out at once, unless it counts to the threshold.
    Answer { retriable: bool },
    /// There was no connection, or it broke.
    Network,
    /// It took too long.
    Timeout,
}

impl Failure {
    const fn is_network(self) -> bool {
        matches!(self, Self::Network | Self::Timeout)
    }
}

/// What a check did to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transition {
    /// Nothing.
    None,
    /// Something that balancing looks at.
    Changed,
    /// It is on its way to the other state.
    Pending,
}

/// What follows from a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The hosts must be grouped anew.
    pub(super) changed: bool,
    /// The next check comes after this.
    pub(super) next: Duration,
}

/// The state of one host's checks.
#[derive(Debug)]
pub(super) struct Record {
    config: Arc<HealthCheckConfig>,
    stats: Group<HealthCheckStat>,
    host: Arc<Host>,
    rng: fastrand::Rng,
    first: bool,
    successes: u32,
    failures: u32,
}

impl Record {
    pub(super) fn new(
        config: &Arc<HealthCheckConfig>,
        stats: &Group<HealthCheckStat>,
        host: &Arc<Host>,
        rng: fastrand::Rng,
    ) -> Self {
        let record = Self {
            config: Arc::clone(config),
            stats: stats.clone(),
            host: Arc::clone(host),
            rng,
            first: true,
            successes: 0,
            failures: 0,
        };
        if !host.has_flag(HealthFlag::FailedActiveHc) {
            record.count(HealthCheckStat::Healthy);
        }
        if host.has_flag(HealthFlag::DegradedActiveHc) {
            record.count(HealthCheckStat::Degraded);
        }
        record
    }

    /// How long the first check waits.
    pub(super) fn before_first(&mut self) -> Duration {
        match self.config.pace.initial_jitter {
            Duration::ZERO => Duration::ZERO,
            jitter => with_jitter(&mut self.rng, Duration::ZERO, jitter, 0),
        }
    }

    /// A check begins.
    pub(super) fn begin(&self) {
        self.count(HealthCheckStat::Attempt);
    }

    /// The name that the host has for its cluster is looked at.
    pub(super) fn identity_looked_at(&self) {
        self.count(HealthCheckStat::VerifyCluster);
    }

    /// Takes the end of a check. `traffic`: whether the cluster ever had a connection for requests.
    pub(super) fn take(&mut self, verdict: Verdict, traffic: bool) -> Outcome {
        let (transition, passed) = match verdict {
            Verdict::Passed { degraded } => (self.passed(degraded), true),
            Verdict::Failed(failure) => (self.failed(failure), false),
        };
        self.first = false;
        let pace = self.config.pace;
        let base = interval(&pace, passed, transition == Transition::Pending, traffic);
        let percent = pace.interval_jitter_percent;
        let next = with_jitter(&mut self.rng, base, pace.interval_jitter, percent);
        Outcome { changed: transition == Transition::Changed, next }
    }

    fn passed(&mut self, degraded: bool) -> Transition {
        self.failures = 0;
        let mut transition = Transition::None;
        if self.host.has_flag(HealthFlag::FailedActiveHc) {
            self.successes = self.successes.saturating_add(1);
            // The first check of all counts at once, so that a start is quick.
            if self.first || self.successes == self.config.healthy_threshold {
                for flag in [
                    HealthFlag::FailedActiveHc,
                    HealthFlag::ActiveHcTimeout,
                    HealthFlag::ExcludedByImmediateHc,
                ] {
                    self.host.set_flag(flag, false);
                }
                self.count(HealthCheckStat::Healthy);
                transition = Transition::Changed;
            } else {
                transition = Transition::Pending;
            }
        }
        transition = self.no_longer_pending(transition);
        if self.host.set_flag(HealthFlag::DegradedActiveHc, degraded) {
            match degraded {
                true => self.count(HealthCheckStat::Degraded),
                false => self.uncount(HealthCheckStat::Degraded),
            }
            if transition == Transition::None {
                transition = Transition::Changed;
            }
        }
        let well = !self.host.has_flag(HealthFlag::FailedActiveHc);
        if well
            && self.host.has_flag(HealthFlag::FailedOutlier)
            && let Some(monitor) = self.host.monitor()
        {
            monitor.probe_passed();
        }
        self.count(HealthCheckStat::Success);
        transition
    }

    fn failed(&mut self, failure: Failure) -> Transition {
        self.successes = 0;
        let mut transition = Transition::None;
        if !self.host.has_flag(HealthFlag::FailedActiveHc) {
            let at_once = failure == Failure::Answer { retriable: false };
            if !at_once {
                self.failures = self.failures.saturating_add(1);
            }
            if at_once || self.failures == self.config.unhealthy_threshold {
                self.host.set_flag(HealthFlag::FailedActiveHc, true);
                self.uncount(HealthCheckStat::Healthy);
                transition = Transition::Changed;
            } else {
                transition = Transition::Pending;
            }
        }
        if self.host.has_flag(HealthFlag::FailedActiveHc) {
            self.host.set_flag(HealthFlag::ActiveHcTimeout, failure == Failure::Timeout);
        }
        transition = self.no_longer_pending(transition);
        if transition == Transition::Changed && self.host.has_flag(HealthFlag::FailedActiveHc) {
            self.host.let_connections_go();
        }
        self.count(HealthCheckStat::Failure);
        if failure.is_network() {
            self.count(HealthCheckStat::NetworkFailure);
        }
        transition
    }

    /// Counts of hosts change when the first check of one is done, whatever came out.
    fn no_longer_pending(&self, transition: Transition) -> Transition {
        match self.host.set_flag(HealthFlag::PendingActiveHc, false) {
            true => Transition::Changed,
            false => transition,
        }
    }

    fn count(&self, stat: HealthCheckStat) {
        self.stats.inc(WorkerId::CONTROL, stat);
    }

    fn uncount(&self, stat: HealthCheckStat) {
        self.stats.dec(WorkerId::CONTROL, stat);
    }
}

impl Drop for Record {
    /// A host that is not checked any more is in no gauge.
    fn drop(&mut self) {
        if !self.host.has_flag(HealthFlag::FailedActiveHc) {
            self.uncount(HealthCheckStat::Healthy);
        }
        if self.host.has_flag(HealthFlag::DegradedActiveHc) {
            self.uncount(HealthCheckStat::Degraded);
        }
    }
}

/// Which of the intervals follows.
fn interval(pace: &Pace, passed: bool, on_its_way: bool, traffic: bool) -> Duration {
    match (traffic, passed, on_its_way) {
        (false, true, false) => pace.no_traffic_healthy,
        (false, ..) => pace.no_traffic,
        (true, false, true) => pace.unhealthy_edge,
        (true, false, false) => pace.unhealthy,
        (true, true, true) => pace.healthy_edge,
        (true, true, false) => pace.interval,
    }
}

/// A time with random parts added, in whole milliseconds as Envoy counts; never 0, which would
/// check without a pause.
fn with_jitter(
    rng: &mut fastrand::Rng,
    base: Duration,
    jitter: Duration,
    percent: u32,
) -> Duration {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut below = |most: u64| if most > 0 { rng.u64(..most) } else { 0 };
    let share = millis(base).saturating_mul(u64::from(percent)) / 100;
    let total = millis(base).saturating_add(below(share)).saturating_add(below(millis(jitter)));
    Duration::from_millis(total.max(1))
}
