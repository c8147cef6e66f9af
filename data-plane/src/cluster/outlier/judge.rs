//! Who is ejected and who returns. Time and chance come in; nothing here waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::monitor::{Monitor, Row, Side};
use crate::base::clock::Instant;
use crate::cluster::host::{HealthFlag, Host};
use crate::config::cluster::outlier::OutlierConfig;
use crate::telemetry::WorkerId;
use crate::telemetry::stats::{Group, OutlierStat};

/// Why a host is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    FailurePercentage(Side),
    Row(Row),
    SuccessRate(Side),
}

impl Reason {
    /// What counts its detection, what its enforcement.
    const fn stats(self) -> (OutlierStat, OutlierStat) {
        use OutlierStat as S;
        match self {
            Self::Row(Row::FiveXx) => {
                (S::EjectionsDetectedConsecutive5xx, S::EjectionsEnforcedConsecutive5xx)
            }
            Self::Row(Row::GatewayFailure) => (
                S::EjectionsDetectedConsecutiveGatewayFailure,
                S::EjectionsEnforcedConsecutiveGatewayFailure,
            ),
            Self::Row(Row::LocalOrigin) => (
                S::EjectionsDetectedConsecutiveLocalOriginFailure,
                S::EjectionsEnforcedConsecutiveLocalOriginFailure,
            ),
            Self::SuccessRate(Side::External) => {
                (S::EjectionsDetectedSuccessRate, S::EjectionsEnforcedSuccessRate)
            }
            Self::SuccessRate(Side::LocalOrigin) => (
                S::EjectionsDetectedLocalOriginSuccessRate,
                S::EjectionsEnforcedLocalOriginSuccessRate,
            ),
            Self::FailurePercentage(Side::External) => {
                (S::EjectionsDetectedFailurePercentage, S::EjectionsEnforcedFailurePercentage)
            }
            Self::FailurePercentage(Side::LocalOrigin) => (
                S::EjectionsDetectedLocalOriginFailurePercentage,
                S::EjectionsEnforcedLocalOriginFailurePercentage,
            ),
        }
    }

    const fn enforcing_percent(self, config: &OutlierConfig) -> u32 {
        match self {
            Self::Row(Row::FiveXx) => config.consecutive_5xx.enforcing_percent,
            Self::Row(Row::GatewayFailure) => config.consecutive_gateway_failure.enforcing_percent,
            Self::Row(Row::LocalOrigin) => {
                config.consecutive_local_origin_failure.enforcing_percent
            }
            Self::SuccessRate(Side::External) => config.success_rate.enforcing_percent,
            Self::SuccessRate(Side::LocalOrigin) => {
                config.success_rate.enforcing_local_origin_percent
            }
            Self::FailurePercentage(Side::External) => config.failure_percentage.enforcing_percent,
            Self::FailurePercentage(Side::LocalOrigin) => {
                config.failure_percentage.enforcing_local_origin_percent
            }
        }
    }
}

/// A host, and what becomes of it.
#[derive(Debug)]
struct Tracked {
    host: Arc<Host>,
    ejected_at: Option<Instant>,
    /// How many times the base time it is out; falls again while it stays in.
    times: u32,
    jitter: Duration,
}

/// The state of a cluster's ejections.
pub(super) struct Judge {
    config: Arc<OutlierConfig>,
    stats: Group<OutlierStat>,
    rng: fastrand::Rng,
    tracked: Vec<Tracked>,
    /// Hosts that are out.
    active: u32,
    averages: [(f64, f64); 2],
}

impl Judge {
    pub(super) fn new(
        config: &Arc<OutlierConfig>,
        stats: Group<OutlierStat>,
        rng: fastrand::Rng,
    ) -> Self {
        let (config, averages) = (Arc::clone(config), [(-1.0, -1.0); 2]);
        Self { config, stats, rng, tracked: Vec::new(), active: 0, averages }
    }

    /// Takes over the cluster's hosts; what is known of those that stay is kept.
    pub(super) fn follow(&mut self, hosts: &[Arc<Host>]) {
        let same = self.tracked.len() == hosts.len()
            && self.tracked.iter().zip(hosts).all(|(t, host)| Arc::ptr_eq(&t.host, host));
        if same {
            return;
        }
        let mut known: HashMap<*const Host, Tracked> =
            self.tracked.drain(..).map(|t| (Arc::as_ptr(&t.host), t)).collect();
        self.tracked = hosts
            .iter()
            .map(|host| {
                known.remove(&Arc::as_ptr(host)).unwrap_or_else(|| Tracked {
                    host: Arc::clone(host),
                    ejected_at: None,
                    times: 0,
                    jitter: Duration::ZERO,
                })
            })
            .collect();
        let gone = known.values().filter(|t| t.ejected_at.is_some()).count();
        self.fewer_are_out(u32::try_from(gone).unwrap_or(u32::MAX));
    }

    /// Looks at the hosts that failed often enough in a row. True if any was ejected.
    pub(super) fn consecutive(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for index in 0..self.tracked.len() {
            let host = Arc::clone(&self.tracked[index].host);
            let Some(monitor) = host.monitor() else { continue };
            for row in monitor.take_due() {
                // What was under way when it was ejected means nothing more.
                if host.has_flag(HealthFlag::FailedOutlier) {
                    continue;
                }
                changed |= self.detected(index, Reason::Row(row), now);
                if row == Row::FiveXx {
                    self.inc(OutlierStat::EjectionsConsecutive5xx);
                }
                // Detection begins anew even if nothing was enforced.
                monitor.end(row);
            }
        }
        changed
    }

    /// Looks at success rates, and at hosts whose time is over. True if any went or returned.
    pub(super) fn interval(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for index in 0..self.tracked.len() {
            changed |= self.let_return(index, now);
        }
        for side in Side::ALL {
            changed |= self.rates(side, now);
        }
        changed
    }

    /// Mean of the success rates and what a host had to reach at the last interval, negative where
    /// there were too few to tell.
    pub(super) fn averages(&self, side: Side) -> (f64, f64) {
        self.averages[side as usize]
    }

    fn inc(&self, stat: OutlierStat) {
        self.stats.inc(WorkerId::CONTROL, stat);
    }

    fn fewer_are_out(&mut self, by: u32) {
        let by = by.min(self.active);
        self.active -= by;
        if by > 0 {
            self.stats.sub(WorkerId::CONTROL, OutlierStat::EjectionsActive, u64::from(by));
        }
    }

    fn detected(&mut self, index: usize, reason: Reason, now: Instant) -> bool {
        self.inc(reason.stats().0);
        self.eject(index, reason, now)
    }

    fn eject(&mut self, index: usize, reason: Reason, now: Instant) -> bool {
        let hosts = u64::try_from(self.tracked.len()).unwrap_or(u64::MAX);
        let after = (u64::from(self.active) + 1) * 100;
        let most = u64::from(self.config.max_ejection_percent.min(100));
        let within = after <= most.saturating_mul(hosts)
            || self.config.always_eject_one_host && self.active == 0;
        if !within {
            self.inc(OutlierStat::EjectionsOverflow);
            return false;
        }
        if matches!(reason, Reason::Row(Row::FiveXx) | Reason::SuccessRate(_)) {
            self.inc(OutlierStat::EjectionsTotal);
        }
        if self.rng.u32(0..100) >= reason.enforcing_percent(&self.config) {
            return false;
        }
        self.inc(reason.stats().1);
        self.inc(OutlierStat::EjectionsEnforcedTotal);
        self.active += 1;
        self.inc(OutlierStat::EjectionsActive);
        let jitter = duration_below(&mut self.rng, self.config.max_ejection_time_jitter);
        let (base, longest) = (self.config.base_ejection_time, self.config.max_ejection_time);
        let tracked = &mut self.tracked[index];
        if base.saturating_mul(tracked.times) < longest.saturating_add(base) {
            tracked.times = tracked.times.saturating_add(1);
        }
        tracked.ejected_at = Some(now);
        tracked.jitter = jitter;
        tracked.host.set_flag(HealthFlag::FailedOutlier, true);
        tracked.host.let_connections_go();
        tracing::debug!(host = %tracked.host.address(), ?reason, "ejected");
        true
    }

    /// A host that is out returns when its time is over; one that is in is forgiven a bit.
    fn let_return(&mut self, index: usize, now: Instant) -> bool {
        let (base, longest) = (self.config.base_ejection_time, self.config.max_ejection_time);
        let tracked = &mut self.tracked[index];
        let Some(since) = tracked.ejected_at else {
            tracked.times = tracked.times.saturating_sub(1);
            return false;
        };
        let out = base.saturating_mul(tracked.times).min(longest).saturating_add(tracked.jitter);
        if now.saturating_duration_since(since) < out {
            return false;
        }
        self.return_now(index);
        true
    }

    /// Hosts whose probe passed while they were out return at once, where that is not switched
    /// off. True if any did.
    pub(super) fn probed(&mut self) -> bool {
        let mut changed = false;
        for index in 0..self.tracked.len() {
            let tracked = &self.tracked[index];
            let passed = tracked.host.monitor().is_some_and(Monitor::take_probed);
            if passed && self.config.returns_by_probe && tracked.ejected_at.is_some() {
                self.return_now(index);
                changed = true;
            }
        }
        changed
    }

    fn return_now(&mut self, index: usize) {
        let tracked = &mut self.tracked[index];
        tracked.ejected_at = None;
        tracked.host.set_flag(HealthFlag::FailedOutlier, false);
        if let Some(monitor) = tracked.host.monitor() {
            Row::ALL.into_iter().for_each(|row| monitor.end(row));
        }
        tracing::debug!(host = %tracked.host.address(), "returned");
        self.fewer_are_out(1);
    }

    fn rates(&mut self, side: Side, now: Instant) -> bool {
        let (rate, failures) = (self.config.success_rate, self.config.failure_percentage);
        let volume = u64::from(rate.request_volume.min(failures.request_volume));
        let mut known = Vec::new();
        let enough = self.tracked.len() >= rate.minimum_hosts.min(failures.minimum_hosts) as usize;
        for (index, tracked) in self.tracked.iter().enumerate() {
            let Some(monitor) = tracked.host.monitor() else { continue };
            let closed = monitor.close(side).filter(|_| enough && tracked.ejected_at.is_none());
            let told = closed.filter(|(_, requests)| *requests >= volume);
            monitor.set_rate(side, told.map(|(rate, _)| rate));
            known.extend(closed.map(|(rate, requests)| (index, rate, requests)));
        }
        let with = |volume: u32| {
            let busy = known.iter().filter(move |(.., requests)| *requests >= u64::from(volume));
            busy.map(|(index, rate, _)| (*index, *rate)).collect::<Vec<_>>()
        };
        let mut changed = false;
        let busy = with(rate.request_volume);
        self.averages[side as usize] = (-1.0, -1.0);
        if !busy.is_empty() && busy.len() >= rate.minimum_hosts as usize {
            let (mean, threshold) = threshold(&busy, rate.stdev_thousandths);
            self.averages[side as usize] = (mean, threshold);
            for (index, _) in busy.iter().filter(|(_, rate)| *rate < threshold) {
                self.inc(OutlierStat::EjectionsSuccessRate);
                changed |= self.detected(*index, Reason::SuccessRate(side), now);
            }
        }
        let busy = with(failures.request_volume);
        if !busy.is_empty() && busy.len() >= failures.minimum_hosts as usize {
            let most = f64::from(failures.threshold_percent);
            for (index, _) in busy.iter().filter(|(_, rate)| 100.0 - rate >= most) {
                if self.tracked[*index].ejected_at.is_none() {
                    changed |= self.detected(*index, Reason::FailurePercentage(side), now);
                }
            }
        }
        changed
    }
}

impl Drop for Judge {
    /// A cluster that takes the place of this one counts in the same gauge.
    fn drop(&mut self) {
        self.fewer_are_out(self.active);
    }
}

/// Mean of the rates, and so many thousandths of their standard deviation below it.
#[expect(clippy::cast_precision_loss, reason = "hosts of a cluster are far fewer than 2^52")]
fn threshold(rates: &[(usize, f64)], stdev_thousandths: u32) -> (f64, f64) {
    let count = rates.len() as f64;
    let mean = rates.iter().map(|(_, rate)| rate).sum::<f64>() / count;
    let variance = rates.iter().map(|(_, rate)| (rate - mean).powi(2)).sum::<f64>() / count;
    (mean, mean - variance.sqrt() * f64::from(stdev_thousandths) / 1000.0)
}

/// A time between none and `most`, both included.
fn duration_below(rng: &mut fastrand::Rng, most: Duration) -> Duration {
    Duration::from_millis(rng.u64(0..=u64::try_from(most.as_millis()).unwrap_or(u64::MAX)))
}
