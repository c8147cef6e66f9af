//! `outlier_detection`: when a host that keeps failing is taken out, and for how long.

use std::time::Duration;

use proto::envoy::config::cluster::v3 as pb;
use proto::google::protobuf::UInt32Value;

use crate::config::error::{Collector, Problems, Reason};
use crate::config::field;

const INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
const BASE_EJECTION_TIME_DEFAULT: Duration = Duration::from_secs(30);
const MAX_EJECTION_TIME_DEFAULT: Duration = Duration::from_secs(300);

/// `OutlierDetection`, with Envoy's defaults resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlierConfig {
    /// Between two looks at rates and at hosts that may return; default 10 s.
    pub interval: Duration,
    /// How long a host is out the first time; default 30 s.
    pub base_ejection_time: Duration,
    /// How long at most; default 300 s, or the base time if that is longer.
    pub max_ejection_time: Duration,
    /// Random prolongation; default none.
    pub max_ejection_time_jitter: Duration,
    /// Share of hosts that may be out at once, in percent; default 10.
    pub max_ejection_percent: u32,
    /// One host may be out whatever the share says.
    pub always_eject_one_host: bool,
    /// Failures to reach a host are judged apart from its answers.
    pub split_local_origin: bool,
    /// A host whose probe passes returns at once; the default.
    pub returns_by_probe: bool,
    /// Answers 5xx in a row; default 5, enforced always.
    pub consecutive_5xx: Consecutive,
    /// Answers 502, 503, 504 in a row; default 5, enforced never.
    pub consecutive_gateway_failure: Consecutive,
    /// Failures to reach it in a row, where judged apart; default 5, enforced always.
    pub consecutive_local_origin_failure: Consecutive,
    /// Hosts much worse than the others.
    pub success_rate: SuccessRate,
    /// Hosts that fail more than a share.
    pub failure_percentage: FailurePercentage,
}

/// So many failures in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consecutive {
    /// How many; 0 never detects.
    pub threshold: u32,
    /// How often detection takes the host out, in percent.
    pub enforcing_percent: u32,
}

/// Ejection by success rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuccessRate {
    /// So many hosts must have enough requests; default 5.
    pub minimum_hosts: u32,
    /// So many requests within an interval are enough; default 100.
    pub request_volume: u32,
    /// Thousandths of a standard deviation below the mean; default 1900.
    pub stdev_thousandths: u32,
    /// How often it takes the host out, in percent; default 100.
    pub enforcing_percent: u32,
    /// The same for failures to reach it; default 100.
    pub enforcing_local_origin_percent: u32,
}

/// Ejection by failure percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePercentage {
    /// From this share of failures on; default 85.
    pub threshold_percent: u32,
    /// So many hosts must have enough requests; default 5.
    pub minimum_hosts: u32,
    /// So many requests within an interval are enough; default 50.
    pub request_volume: u32,
    /// How often it takes the host out, in percent; default 0.
    pub enforcing_percent: u32,
    /// The same for failures to reach it; default 0.
    pub enforcing_local_origin_percent: u32,
}

/// The message's rules beyond those of its annotations.
///
/// # Errors
/// If times contradict each other, or something of it is not built.
pub(super) fn parse(message: pb::OutlierDetection) -> Result<OutlierConfig, Problems> {
    let mut all = Collector::default();
    all.keep(field::refuse(!message.monitors.is_empty(), "monitors"));
    let degraded = field::flag(message.detect_degraded_hosts, false);
    all.keep(field::refuse(degraded, "detect_degraded_hosts"));
    let mut time =
        |value, name, default| all.keep(field::duration(value, name)).flatten().unwrap_or(default);
    let interval = time(message.interval, "interval", INTERVAL_DEFAULT);
    let base = time(message.base_ejection_time, "base_ejection_time", BASE_EJECTION_TIME_DEFAULT);
    let longest = MAX_EJECTION_TIME_DEFAULT.max(base);
    let longest = time(message.max_ejection_time, "max_ejection_time", longest);
    let no_jitter = Duration::ZERO;
    let jitter = time(message.max_ejection_time_jitter, "max_ejection_time_jitter", no_jitter);
    all.finish()?;
    if longest < base {
        let text = "max_ejection_time cannot be smaller than base_ejection_time".into();
        return Err(Reason::Rule(text).into());
    }
    let consecutive = |threshold, enforcing, by_default| Consecutive {
        threshold: field::uint(threshold, 5),
        enforcing_percent: field::uint(enforcing, by_default),
    };
    let (rate_hosts, rate_volume) =
        (message.success_rate_minimum_hosts, message.success_rate_request_volume);
    let or = |value: Option<UInt32Value>, default| field::uint(value, default);
    Ok(OutlierConfig {
        interval,
        base_ejection_time: base,
        max_ejection_time: longest,
        max_ejection_time_jitter: jitter,
        max_ejection_percent: or(message.max_ejection_percent, 10),
        always_eject_one_host: field::flag(message.always_eject_one_host, false),
        split_local_origin: message.split_external_local_origin_errors,
        returns_by_probe: field::flag(message.successful_active_health_check_uneject_host, true),
        consecutive_5xx: consecutive(
            message.consecutive_5xx,
            message.enforcing_consecutive_5xx,
            100,
        ),
        consecutive_gateway_failure: consecutive(
            message.consecutive_gateway_failure,
            message.enforcing_consecutive_gateway_failure,
            0,
        ),
        consecutive_local_origin_failure: consecutive(
            message.consecutive_local_origin_failure,
            message.enforcing_consecutive_local_origin_failure,
            100,
        ),
        success_rate: SuccessRate {
            minimum_hosts: or(rate_hosts, 5),
            request_volume: or(rate_volume, 100),
            stdev_thousandths: or(message.success_rate_stdev_factor, 1900),
            enforcing_percent: or(message.enforcing_success_rate, 100),
            enforcing_local_origin_percent: or(message.enforcing_local_origin_success_rate, 100),
        },
        failure_percentage: FailurePercentage {
            threshold_percent: or(message.failure_percentage_threshold, 85),
            minimum_hosts: or(message.failure_percentage_minimum_hosts, 5),
            request_volume: or(message.failure_percentage_request_volume, 50),
            enforcing_percent: or(message.enforcing_failure_percentage, 0),
            enforcing_local_origin_percent: or(
                message.enforcing_failure_percentage_local_origin,
                0,
            ),
        },
    })
}

impl Default for OutlierConfig {
    /// What an empty message means.
    fn default() -> Self {
        parse(pb::OutlierDetection::default()).expect("an empty message breaks no rule")
    }
}
