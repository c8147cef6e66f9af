//! Whether a request is tried again, when, and with what (`RetryPolicy`).
//!
//! A [`Retries`] is made for a request that may be tried again and for no other. It decides on each
//! outcome, holds the place among the cluster's retries from a decision to the next, and keeps the
//! request's body, within a limit, since only what was kept can be said twice.

mod kept;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use crate::cluster::circuit::{LimitKind, Limits, Permit};
use crate::cluster::{Cluster, Host, RoutingPriority};
use crate::codec::{BodyPart, RequestHead, ResponseHead};
use crate::config::route::{
    BackOff, RateLimitedBackOff, ResetFormat, RetryNames, RetryOn, RetryPolicy,
};
use crate::http::error::{ErrorKind, ProxyError, Sent};
use crate::http::names as n;
use crate::route::{RouteInput, header_matches, response_matches};
use kept::Kept;

/// What an attempt came to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tried<'a> {
    /// A head of an answer.
    Answered(&'a ResponseHead),
    /// No answer.
    Failed(&'a ProxyError),
    /// Its own timeout passed.
    TimedOut,
    /// It was too old.
    TooOld,
}

/// What is to be done about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Try again after a while.
    Again(Wait),
    /// It is final.
    Final {
        /// After another attempt.
        retried: bool,
    },
    /// It is final, since it was tried as often as it may be.
    LimitExceeded,
    /// It is final, since too many retries of the cluster are under way.
    Overflow,
}

/// How long to wait before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// A random part of an interval that doubles.
    BackOff(Duration),
    /// As the upstream said, and a little more by chance.
    RateLimited(Duration),
}

/// Keeps a cluster for as long as a place among its retries is held.
struct Holder(Arc<Cluster>);

impl AsRef<Limits> for Holder {
    fn as_ref(&self) -> &Limits {
        self.0.limits()
    }
}

/// The retries of one request.
pub(super) struct Retries {
    policy: Arc<RetryPolicy>,
    on: RetryOn,
    left: u32,
    /// `x-envoy-retriable-status-codes`.
    more_codes: SmallVec<[u16; 2]>,
    /// `x-envoy-retriable-header-names`.
    more_headers: SmallVec<[HeaderName; 1]>,
    /// The most that the next wait takes.
    interval: Duration,
    largest_interval: Duration,
    cluster: Arc<Cluster>,
    priority: RoutingPriority,
    place: Option<Permit<Holder>>,
    /// Hosts that were tried, where another one is wanted.
    hosts: SmallVec<[Arc<Host>; 2]>,
    kept: Kept,
    limit: Option<u64>,
}

impl Retries {
    /// The retries of a request, if there may be any: by the route's policy and by what a trusted
    /// caller asks for. `head` is `None` where the request has no header of Envoy's.
    pub(super) fn of(
        policy: Option<&Arc<RetryPolicy>>,
        head: Option<&RequestHead>,
        input: &RouteInput<'_>,
        (cluster, priority): (&Arc<Cluster>, RoutingPriority),
        limit: Option<u64>,
    ) -> Option<Self> {
        let asked = |name| head.and_then(|head| head.headers.get(name)?.to_str().ok());
        let mut on = policy.map_or_else(RetryOn::default, |policy| policy.on);
        if let Some(text) = asked(n::X_ENVOY_RETRY_ON) {
            on = on.with(RetryOn::parse(text, RetryNames::Http));
        }
        if let Some(text) = asked(n::X_ENVOY_RETRY_GRPC_ON) {
            on = on.with(RetryOn::parse(text, RetryNames::Grpc));
        }
        if on.is_empty() {
            return None;
        }
        let policy = policy.cloned().unwrap_or_else(no_policy);
        if !policy.request_headers.is_empty()
            && !policy.request_headers.iter().any(|matcher| header_matches(matcher, input))
        {
            return None;
        }
        let most = asked(n::X_ENVOY_MAX_RETRIES).and_then(|text| text.parse().ok());
        let list = |name| asked(name).into_iter().flat_map(|text| text.split(','));
        let base = input.runtime.integer("upstream.base_retry_backoff_ms");
        let BackOff { base, max } = policy.back_off.unwrap_or_else(|| {
            let base = Duration::from_millis(base.unwrap_or(25).max(1));
            BackOff { base, max: base * 10 }
        });
        Some(Self {
            on,
            left: most.unwrap_or(policy.num_retries),
            more_codes: list(n::X_ENVOY_RETRIABLE_STATUS_CODES)
                .filter_map(|code| code.trim().parse().ok())
                .collect(),
            more_headers: list(n::X_ENVOY_RETRIABLE_HEADER_NAMES)
                .filter_map(|name| name.trim().parse().ok())
                .collect(),
            interval: base,
            largest_interval: max,
            cluster: Arc::clone(cluster),
            priority,
            place: None,
            hosts: SmallVec::new(),
            kept: Kept::default(),
            limit,
            policy,
        })
    }

    /// What becomes of the request after an attempt. `random` is a number by chance.
    pub(super) fn decide(&mut self, tried: Tried<'_>, random: u64, now: SystemTime) -> Verdict {
        let retried = self.place.take().is_some();
        let wanted = match tried {
            Tried::Answered(head) => self.wants_after_answer(head),
            Tried::Failed(error) => self.wants_after_failure(error),
            Tried::TimedOut | Tried::TooOld => {
                self.on.any_of(RetryOn::RESET.with(RetryOn::ANY_5XX).with(RetryOn::GATEWAY_ERROR))
            }
        };
        if !wanted {
            return Verdict::Final { retried };
        }
        if self.left == 0 {
            return Verdict::LimitExceeded;
        }
        self.left -= 1;
        let owner = Holder(Arc::clone(&self.cluster));
        match Limits::try_acquire(owner, self.priority, LimitKind::Retries) {
            Ok(place) => self.place = Some(place),
            Err(_) => return Verdict::Overflow,
        }
        let limited = match (tried, &self.policy.rate_limited) {
            (Tried::Answered(head), Some(rules)) => reset_after(rules, &head.headers, now),
            _ => None,
        };
        Verdict::Again(match limited {
            Some(wait) => Wait::RateLimited(wait + part_of(wait / 2, random)),
            None => {
                let most = self.interval;
                self.interval = most.saturating_mul(2).min(self.largest_interval);
                Wait::BackOff(part_of(most, random).min(self.largest_interval))
            }
        })
    }

    fn wants_after_answer(&self, head: &ResponseHead) -> bool {
        let (on, status) = (self.on, head.status.as_u16());
        if head.headers.contains_key(n::X_ENVOY_RATELIMITED) {
            return on.any_of(RetryOn::ENVOY_RATELIMITED);
        }
        let matches = || {
            let fits = |matcher| response_matches(matcher, status, &head.headers);
            self.policy.headers.iter().any(fits)
                || self.more_headers.iter().any(|name| head.headers.contains_key(name))
        };
        let listed =
            || self.policy.status_codes.contains(&status) || self.more_codes.contains(&status);
        (on.any_of(RetryOn::ANY_5XX) && status >= 500)
            || (on.any_of(RetryOn::GATEWAY_ERROR) && matches!(status, 502..=504))
            || (on.any_of(RetryOn::RETRIABLE_4XX) && status == 409)
            || (on.any_of(RetryOn::STATUS_CODES) && listed())
            || (on.any_of(RetryOn::HEADERS) && matches())
            || grpc_condition(&head.headers).is_some_and(|condition| on.any_of(condition))
    }

    /// A missing answer counts as a 5xx, as in Envoy; a circuit breaker's word is final.
    fn wants_after_failure(&self, error: &ProxyError) -> bool {
        let any_reset = RetryOn::RESET.with(RetryOn::ANY_5XX).with(RetryOn::GATEWAY_ERROR);
        match error.kind {
            ErrorKind::Overflow => false,
            _ if self.on.any_of(any_reset) => true,
            _ if error.sent == Sent::Nothing && self.on.any_of(RetryOn::RESET_BEFORE_REQUEST) => {
                true
            }
            ErrorKind::RemoteRefused => self.on.any_of(RetryOn::REFUSED_STREAM),
            ErrorKind::ConnectFailure
            | ErrorKind::ConnectTimeout
            | ErrorKind::LocalConnectFailure => self.on.any_of(RetryOn::CONNECT_FAILURE),
            ErrorKind::ConnectionTermination | ErrorKind::Protocol | ErrorKind::RemoteReset => {
                false
            }
        }
    }

    /// Remembers a host that was tried.
    pub(super) fn tried(&mut self, host: &Arc<Host>) {
        if self.policy.avoid_previous_hosts {
            self.hosts.push(Arc::clone(host));
        }
    }

    /// Whether another host should be looked for, and how often at most.
    pub(super) fn avoids(&self, host: &Arc<Host>) -> bool {
        self.hosts.iter().any(|known| Arc::ptr_eq(known, host))
    }

    /// How often another host is looked for.
    pub(super) fn host_attempts(&self) -> u32 {
        self.policy.host_selection_attempts
    }

    /// Keeps a part for the next attempt.
    ///
    /// # Errors
    /// It is too much: nothing is tried again from here on.
    pub(super) fn keep(&mut self, part: &BodyPart) -> Result<(), TooMuch> {
        let more = if let BodyPart::Data(data) = part { data.len() as u64 } else { 0 };
        if self.limit.is_some_and(|limit| self.kept.bytes() + more > limit) {
            return Err(TooMuch);
        }
        self.kept.add(part);
        Ok(())
    }

    /// What was kept.
    pub(super) fn parts(&self) -> impl Iterator<Item = BodyPart> {
        self.kept.parts()
    }
}

/// The body does not fit into what may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

/// What stands for a policy where only the request's headers ask.
fn no_policy() -> Arc<RetryPolicy> {
    Arc::new(RetryPolicy::default())
}

/// The condition that `grpc-status` of an answer without a body stands for.
fn grpc_condition(headers: &HeaderMap) -> Option<RetryOn> {
    match headers.get("grpc-status")?.as_bytes() {
        b"1" => Some(RetryOn::CANCELLED),
        b"4" => Some(RetryOn::DEADLINE_EXCEEDED),
        b"8" => Some(RetryOn::RESOURCE_EXHAUSTED),
        b"13" => Some(RetryOn::INTERNAL),
        b"14" => Some(RetryOn::UNAVAILABLE),
        _ => None,
    }
}

/// When the upstream says that it may be asked again: the first header with a time that is within
/// the bounds counts, as in Envoy.
fn reset_after(
    rules: &RateLimitedBackOff,
    headers: &HeaderMap,
    now: SystemTime,
) -> Option<Duration> {
    rules.headers.iter().find_map(|(name, format)| {
        let number: u64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
        let said = match format {
            ResetFormat::Seconds => Duration::from_secs(number),
            ResetFormat::UnixTimestamp => {
                let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
                Duration::from_secs(number.checked_sub(now)?)
            }
        };
        (!said.is_zero() && said <= rules.max).then_some(said)
    })
}

/// A part of a time, in whole milliseconds; never all of it.
fn part_of(most: Duration, random: u64) -> Duration {
    let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(random % millis)
}

#[cfg(test)]
mod tests;
