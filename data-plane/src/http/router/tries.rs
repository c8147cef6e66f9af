//! What a request has besides its attempt where it may be tried again, or where an attempt has
//! timeouts of its own.
//!
//! Envoy's order: an attempt's timeout runs from the moment when it has a connection and the whole
//! request is here; nothing is tried again once a head has gone to the client; the route's own
//! timeout goes on over all attempts and waits.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use super::attempt::{self, Attempt, Outcome};
use super::retry::{Retries, Tried, Verdict, Wait};
use super::{Router, payload};
use super::{headers, limits};
use crate::base::clock::{self, Instant};
use crate::cluster::pool::{HostPool, LeaseCx};
use crate::cluster::{Cluster, Host, RoutingPriority};
use crate::codec::{BodyPart, RequestHead};
use crate::http::exchange::Exchange;
use crate::http::names as n;
use crate::http::reply::LocalReply;
use crate::http::span;
use crate::route::RouteRef;
use crate::telemetry::WorkerId;
use crate::telemetry::flags::{ResponseFlags, details};
use crate::telemetry::stats::{ClusterStat, RouteStat};

/// A timer is a box of its own, since it is pinned; only requests with such a limit have one.
type Timer = Pin<Box<Sleep>>;

/// See the module.
pub(super) struct Tries {
    retries: Option<Retries>,
    cluster: Arc<Cluster>,
    priority: RoutingPriority,
    worker: WorkerId,
    /// `per_try_timeout`.
    per_try: Option<Duration>,
    /// `per_try_idle_timeout`.
    idle: Option<Duration>,
    per_try_timer: Option<Timer>,
    idle_timer: Option<Timer>,
    /// Until the next attempt.
    wait: Option<Timer>,
    /// The next attempt comes after one that took too long.
    after_timeout: bool,
    /// What was kept of the body grew too large while no attempt was under way.
    too_much: bool,
}

/// Which limit of an attempt passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// `per_try_idle_timeout`.
    Idle,
    /// `per_try_timeout`.
    Whole,
}

impl Tries {
    /// What the route's policy and, where `asked`, the request's own headers want.
    pub(super) fn of(
        route: &RouteRef<'_>,
        head: &RequestHead,
        asked: bool,
        (cluster, priority): (&Arc<Cluster>, RoutingPriority),
        ex: &Exchange,
    ) -> Self {
        let policy = route.retry_policy();
        let own = asked.then(|| head.headers.get(n::X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS));
        let own = own.flatten().and_then(limits::millis).map(Duration::from_millis);
        let limit = kept_bytes_max(route, ex.manager.buffer_limit);
        let input = ex.route_input(head);
        let named = asked.then_some(head);
        Self {
            retries: Retries::of(policy, named, &input, (cluster, priority), limit)
                .filter(|_| may_retry(ex)),
            cluster: Arc::clone(cluster),
            priority,
            worker: ex.worker.id,
            per_try: own.or(policy.and_then(|policy| policy.per_try_timeout)),
            idle: policy.and_then(|policy| policy.per_try_idle_timeout),
            per_try_timer: None,
            idle_timer: None,
            wait: None,
            after_timeout: false,
            too_much: false,
        }
    }

    /// Without what the route's timeout makes pointless; `None` if nothing is left.
    pub(super) fn within(mut self, whole: Option<Duration>) -> Option<Self> {
        let shorter = |limit: &Duration| whole.is_none_or(|whole| *limit < whole);
        self.per_try = self.per_try.filter(|limit| !limit.is_zero()).filter(shorter);
        let some = self.retries.is_some() || self.per_try.is_some() || self.idle.is_some();
        some.then_some(self)
    }

    /// `per_try_timeout`.
    pub(super) const fn per_try(&self) -> Option<Duration> {
        self.per_try
    }

    /// Whether the next attempt is waited for.
    pub(super) const fn is_waiting(&self) -> bool {
        self.wait.is_some()
    }

    /// Remembers a host that is tried.
    pub(super) fn tried(&mut self, host: &Arc<Host>) {
        if let Some(retries) = &mut self.retries {
            retries.tried(host);
        }
    }

    /// Keeps a part of the body for the next attempt.
    pub(super) fn keep(&mut self, part: &BodyPart) {
        let Some(retries) = &mut self.retries else { return };
        if retries.keep(part).is_err() {
            self.cluster.stats().inc(self.worker, ClusterStat::RetryOrShadowAbandoned);
            self.retries = None;
            self.too_much = self.wait.take().is_some();
        }
    }
}

/// Most bytes of a body that a request may hold back for another attempt.
pub(super) fn kept_bytes_max(route: &RouteRef<'_>, connection: u32) -> Option<u64> {
    let levels = [route.entry().map(|entry| entry.buffer_limit)];
    let levels = levels.into_iter().flatten().chain([route.virtual_host().buffer_limit]);
    let connection = Some(connection).filter(|limit| *limit > 0).map(u64::from);
    if let Some(limit) = levels.clone().find_map(|level| level.body_bytes) {
        return Some(limit);
    }
    let own = levels.into_iter().find_map(|level| level.per_request_bytes).map(u64::from);
    own.into_iter().chain(connection).min()
}

/// What the next attempt has of the time for one and of what is left of the whole; at least a
/// millisecond, since zero would mean no limit.
fn time_left(
    per_try: Option<Duration>,
    whole: Option<Duration>,
    ex: &Exchange,
) -> Option<Duration> {
    let gone = ex.times.request_end.map(|end| clock::now().saturating_duration_since(end));
    let left = whole.map(|whole| whole.saturating_sub(gone.unwrap_or_default()));
    per_try.into_iter().chain(left).min().map(|left| left.max(Duration::from_millis(1)))
}

/// `upstream.use_retry` in runtime: a share of requests, all of them where nothing is written.
fn may_retry(ex: &Exchange) -> bool {
    match ex.worker.shared.runtime.fraction("upstream.use_retry") {
        None => true,
        Some((part, whole)) => ex.random % u64::from(whole.max(1)) < u64::from(part),
    }
}

impl Router {
    /// Waits for the next attempt if that is what there is to do, and begins it. Gives the answer
    /// where there can be none.
    pub(super) fn poll_wait(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut RequestHead,
        ex: &mut Exchange,
    ) -> Poll<Option<Box<LocalReply>>> {
        let Some(tries) = &mut self.tries else { return Poll::Ready(None) };
        if tries.too_much {
            tries.too_much = false;
            return Poll::Ready(Some(Box::new(LocalReply::too_large_to_retry())));
        }
        let Some(wait) = &mut tries.wait else { return Poll::Ready(None) };
        ready!(wait.as_mut().poll(cx));
        tries.wait = None;
        Poll::Ready(self.try_again(head, ex).err())
    }

    fn try_again(
        &mut self,
        head: &mut RequestHead,
        ex: &mut Exchange,
    ) -> Result<(), Box<LocalReply>> {
        let Some(tries) = &mut self.tries else { return Ok(()) };
        ex.upstream.attempts += 1;
        let (cluster, priority) = (Arc::clone(&tries.cluster), tries.priority);
        let Some(pool) = tries.pick(ex) else {
            ex.upstream.host = None;
            attempt::count_response(&cluster, ex, 503);
            return Err(Box::new(LocalReply::no_healthy_upstream()));
        };
        let host = Arc::clone(pool.host());
        let left = time_left(tries.per_try, self.limits.whole, ex);
        let left = self.limits.tell(head, left);
        headers::prepare_again(head, &host, left, tries.after_timeout, self.config, ex);
        tries.tried(&host);
        ex.upstream.host = Some(Arc::clone(&host));
        span::attempt(head, self.config, ex);
        let payload = payload(head, ex);
        let leasing = pool.lease(LeaseCx { priority, downstream: head.version, payload });
        let age = self.limits.attempt_age;
        let mut attempt = Attempt::begin(cluster, host, leasing, payload, age);
        for part in tries.retries.iter().flat_map(Retries::parts) {
            attempt.push(part);
        }
        if self.request_over && !head.ends {
            attempt.end();
        }
        self.attempt = Some(attempt);
        Ok(())
    }

    /// Whether an outcome is followed by another attempt, and so means nothing to the client.
    pub(super) fn is_tried_again(&mut self, outcome: &Outcome, ex: &mut Exchange) -> bool {
        let Some(tries) = &mut self.tries else { return false };
        // Something came: idleness begins anew.
        tries.idle_timer = None;
        let answered = self.attempt.as_ref().is_some_and(Attempt::has_answered);
        let tried = match outcome {
            Outcome::Head(head) => Tried::Answered(head),
            Outcome::Failed(error) if !answered => Tried::Failed(error),
            Outcome::Informational(_) => {
                // As in Envoy: the upstream has begun to answer.
                tries.retries = None;
                return false;
            }
            _ => return false,
        };
        if !tries.decide(tried, ex) {
            if matches!(tried, Tried::Answered(_)) {
                // The limit is one of an attempt's head, and this head is the client's.
                tries.per_try = None;
            }
            return false;
        }
        if let Some(attempt) = self.attempt.take() {
            match outcome {
                Outcome::Head(head) => {
                    span::answered(ex, head.status);
                    if head.ends {
                        span::over(ex);
                    } else {
                        span::canceled(ex, ResponseFlags::NONE);
                    }
                    attempt.discard(head, ex);
                }
                Outcome::Failed(error) => {
                    span::failed(ex, error.kind);
                    attempt.fail(error, ex);
                }
                _ => {}
            }
        }
        true
    }

    /// Waits for a limit of the attempt to pass.
    pub(super) fn poll_try_timeout(
        &mut self,
        cx: &mut Context<'_>,
        request: &RequestHead,
    ) -> Poll<Late> {
        let (Some(tries), Some(attempt)) = (&mut self.tries, &self.attempt) else {
            return Poll::Pending;
        };
        // As in Envoy a WebSocket is to be answered from its head on: it has no end before that.
        let asked = self.request_over || request.wants_websocket();
        if !asked || !attempt.is_under_way() {
            return Poll::Pending;
        }
        let Tries { per_try, idle, per_try_timer, idle_timer, .. } = &mut **tries;
        let mut passed = |limit: Option<Duration>, timer: &mut Option<Timer>| {
            let Some(limit) = limit else { return false };
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            timer.as_mut().poll(cx).is_ready()
        };
        if passed(*per_try, per_try_timer) {
            Poll::Ready(Late::Whole)
        } else if passed(*idle, idle_timer) {
            Poll::Ready(Late::Idle)
        } else {
            Poll::Pending
        }
    }

    /// A limit of the attempt passed: it is tried again, or this is the answer.
    pub(super) fn try_timed_out(
        &mut self,
        late: Late,
        ex: &mut Exchange,
    ) -> Option<Box<LocalReply>> {
        let (stat, words) = match late {
            Late::Idle => {
                (ClusterStat::UpstreamRqPerTryIdleTimeout, details::UPSTREAM_PER_TRY_IDLE_TIMEOUT)
            }
            Late::Whole => {
                (ClusterStat::UpstreamRqPerTryTimeout, details::UPSTREAM_PER_TRY_TIMEOUT)
            }
        };
        let attempt = self.attempt.take()?;
        let again = !attempt.has_answered()
            && self.tries.as_mut().is_some_and(|tries| tries.decide(Tried::TimedOut, ex));
        attempt.try_timed_out(stat, again, ex);
        span::canceled(ex, ResponseFlags::UPSTREAM_REQUEST_TIMEOUT);
        if again {
            return None;
        }
        self.tries = None;
        Some(Box::new(LocalReply::try_timeout(words)))
    }

    /// Ends an attempt that is too old by now: it is tried again as one that was reset, or this is
    /// the answer.
    pub fn end_too_old(&mut self, now: Instant, ex: &mut Exchange) -> Option<Box<LocalReply>> {
        let attempt = self.attempt.take_if(|a| a.too_old_at().is_some_and(|at| at <= now))?;
        let again = !attempt.has_answered()
            && self.tries.as_mut().is_some_and(|tries| tries.decide(Tried::TooOld, ex));
        attempt.too_old(ex);
        if again {
            return None;
        }
        self.tries = None;
        Some(Box::new(LocalReply::upstream_max_duration(ex.request_ended)))
    }
}

impl Tries {
    /// Decides on an outcome; true if another attempt follows, for which everything is prepared.
    fn decide(&mut self, tried: Tried<'_>, ex: &mut Exchange) -> bool {
        let Some(retries) = &mut self.retries else { return false };
        let (worker, stats) = (ex.worker.id, self.cluster.stats());
        let count = |ex: &Exchange, cluster: ClusterStat, route: RouteStat| {
            stats.inc(worker, cluster);
            for counters in ex.counters() {
                counters.inc(worker, route);
            }
        };
        match retries.decide(tried, ex.worker.random_u64(), clock::system_now()) {
            Verdict::Again(wait) => {
                count(ex, ClusterStat::UpstreamRqRetry, RouteStat::UpstreamRqRetry);
                let (stat, wait) = match wait {
                    Wait::BackOff(wait) => (ClusterStat::UpstreamRqRetryBackoffExponential, wait),
                    Wait::RateLimited(wait) => {
                        (ClusterStat::UpstreamRqRetryBackoffRatelimited, wait)
                    }
                };
                stats.inc(worker, stat);
                self.after_timeout = matches!(tried, Tried::TimedOut);
                self.per_try_timer = None;
                self.idle_timer = None;
                self.wait = Some(Box::pin(tokio::time::sleep(wait)));
                return true;
            }
            Verdict::Final { retried: false } => {}
            Verdict::Final { retried: true } => {
                count(ex, ClusterStat::UpstreamRqRetrySuccess, RouteStat::UpstreamRqRetrySuccess);
            }
            Verdict::LimitExceeded => {
                ex.flags.insert(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
                count(
                    ex,
                    ClusterStat::UpstreamRqRetryLimitExceeded,
                    RouteStat::UpstreamRqRetryLimitExceeded,
                );
            }
            Verdict::Overflow => {
                ex.flags.insert(ResponseFlags::UPSTREAM_OVERFLOW);
                count(ex, ClusterStat::UpstreamRqRetryOverflow, RouteStat::UpstreamRqRetryOverflow);
            }
        }
        // What was kept is of no use any more.
        self.retries = None;
        false
    }

    /// A host for the next attempt: another one than before, where the policy wants that and
    /// chance finds one.
    fn pick(&self, ex: &Exchange) -> Option<std::rc::Rc<HostPool>> {
        let upstream = ex.worker.pools.upstream(&self.cluster);
        let mut pool = upstream.pick(None)?;
        if let Some(retries) = &self.retries {
            for _ in 0..retries.host_attempts() {
                if !retries.avoids(pool.host()) {
                    break;
                }
                pool = upstream.pick(None)?;
            }
        }
        Some(pool)
    }
}
