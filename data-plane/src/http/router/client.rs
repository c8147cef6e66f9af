//! Requests of the proxy's own: for a filter, or for what works beside requests.
//!
//! To its cluster such a request is like any other: balanced, in the pools, limits and counters of
//! the worker that it is made on, tried again by the rules of a route. The answer comes back whole,
//! so it is bounded. As in Envoy all of them are counted under `http.async-client.` too.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};

use super::retry::{Retries, Tried, Verdict, Wait};
use super::stream::{Cancelled, Stream};
use crate::base::clock::{self, Instant};
use crate::cluster::outlier::Report;
use crate::cluster::pool::{LeaseCx, Payload};
use crate::cluster::{Answered, Cluster, Host, RoutingPriority};
use crate::codec::{BodyError, BodyPart, RequestHead, ResponseEvent, ResponseHead, Version};
use crate::config::route::RetryPolicy;
use crate::http::error::{ErrorKind, ProxyError, Sent};
use crate::http::headers;
use crate::http::names as n;
use crate::http::pump::PART_BYTES;
use crate::http::worker::Worker;
use crate::route::RouteInput;
use crate::telemetry::stats::{ClusterStat, Group, Origin, RouterStat};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// `:authority`.
    pub authority: HeaderValue,
    /// `:path`.
    pub path: HeaderValue,
    /// The answer is here by then, however often it is asked.
    pub timeout: Option<Duration>,
    /// When it is asked again.
    pub retry: Option<Arc<RetryPolicy>>,
    /// Bytes that the answer's body may have.
    pub body_max: usize,
    /// `user-agent`.
    pub user_agent: Option<HeaderValue>,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// All of the body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The upstream failed.
    #[error("{}", .0.kind.text())]
    Failed(ProxyError),
    /// It took too long.
    #[error("timeout")]
    Late,
    /// The cluster has no host to offer.
    #[error("no healthy upstream")]
    NoHost,
    /// The answer has too long a body.
    #[error("the body is too long")]
    TooLong,
}

/// Where a request of the proxy's own is made.
#[derive(Clone)]
pub struct AskCx {
    /// Whose pools are used.
    pub worker: Rc<Worker>,
    /// `http.async-client.`
    pub own: Group<RouterStat>,
}

impl AskCx {
    /// GET.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn get(&self, cluster: &Arc<Cluster>, ask: &Ask) -> Result<Answer, AskError> {
        self.own.inc(self.worker.id, RouterStat::RqTotal);
        let mut asking = Asking::new(self, cluster, ask);
        let Some(limit) = ask.timeout else { return asking.run().await };
        let in_time = tokio::time::timeout(limit, asking.run()).await;
        in_time.unwrap_or_else(|_| {
            asking.time_out();
            Err(AskError::Late)
        })
    }
}

/// One request and the attempt that it is at.
struct Asking<'a> {
    worker: &'a Worker,
    cluster: &'a Arc<Cluster>,
    head: RequestHead,
    body_max: usize,
    /// When the whole is late.
    until: Option<Instant>,
    /// `per_try_timeout`, where it is shorter than that of the whole.
    per_try: Option<Duration>,
    retries: Option<Retries>,
    host: Option<Arc<Host>>,
    stream: Option<Stream>,
    answer: Option<ResponseHead>,
    body: BytesMut,
    since: Instant,
}

impl<'a> Asking<'a> {
    fn new(cx: &'a AskCx, cluster: &'a Arc<Cluster>, ask: &Ask) -> Self {
        let mut head = RequestHead {
            authority: Some(ask.authority.clone()),
            path: ask.path.clone(),
            ..RequestHead::unknown(Version::Http11)
        };
        head.headers.insert(n::X_ENVOY_INTERNAL, HeaderValue::from_static("true"));
        headers::append_own_address(&mut head.headers, &cx.worker.shared.local);
        head.headers.extend(ask.user_agent.clone().map(|name| (header::USER_AGENT, name)));
        let per_try = ask.retry.as_ref().and_then(|policy| policy.per_try_timeout);
        let retries = ask.retry.as_ref().and_then(|policy| {
            let input = RouteInput {
                authority: Some(ask.authority.as_bytes()),
                path: ask.path.as_bytes(),
                method: b"GET",
                scheme: b"http",
                headers: &head.headers,
                random: 0,
                runtime: &*cx.worker.shared.runtime,
            };
            let to = (cluster, RoutingPriority::Default);
            Retries::of(Some(policy), None, &input, to, None)
        });
        Self {
            worker: &cx.worker,
            cluster,
            head,
            body_max: ask.body_max,
            until: ask.timeout.map(|limit| clock::now() + limit),
            per_try: per_try.filter(|limit| ask.timeout.is_none_or(|whole| *limit < whole)),
            retries,
            host: None,
            stream: None,
            answer: None,
            body: BytesMut::new(),
            since: clock::now(),
        }
    }

    async fn run(&mut self) -> Result<Answer, AskError> {
        loop {
            self.tell_timeout();
            let outcome = match self.per_try {
                None => self.try_once().await,
                Some(limit) => tokio::time::timeout(limit, self.try_once())
                    .await
                    .unwrap_or(Err(AskError::Late)),
            };
            let Some(wait) = self.settle(&outcome) else {
                return outcome
                    .map(|head| Answer { status: head.status, body: self.body.split().freeze() });
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Says how long the upstream has: what is left, and at least a millisecond.
    fn tell_timeout(&mut self) {
        let left = self.until.map(|until| until.saturating_duration_since(clock::now()));
        if let Some(left) = self.per_try.into_iter().chain(left).min() {
            // As in Envoy a part of one counts as a whole.
            let millis = u64::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
            let name = n::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS;
            self.head.headers.insert(name, headers::number(millis.max(1)));
        }
    }

    /// One attempt. Its stream is left where it is until the outcome is counted.
    async fn try_once(&mut self) -> Result<ResponseHead, AskError> {
        self.body.clear();
        self.since = clock::now();
        let pool = self.worker.pools.upstream(self.cluster).pick(None).ok_or(AskError::NoHost)?;
        self.host = Some(Arc::clone(pool.host()));
        if let (Some(retries), Some(host)) = (&mut self.retries, &self.host) {
            retries.tried(host);
        }
        let leasing = pool.lease(LeaseCx {
            priority: RoutingPriority::Default,
            downstream: Version::Http11,
            payload: Payload::Http,
        });
        let lease = leasing.await.map_err(|error| AskError::Failed(error.into()))?;
        self.cluster.report(pool.host(), Report::Connected);
        let stream = Stream::start(lease, &self.head, Payload::Http);
        self.stream = Some(stream.map_err(|error| failed(&error, Sent::Nothing))?);
        poll_fn(|cx| self.poll_answer(cx)).await
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, AskError>> {
        let Self { stream: Some(stream), answer, body, body_max, cluster, worker, .. } = self
        else {
            return Poll::Pending;
        };
        let _shown_by_the_answer = stream.poll_flush(cx);
        loop {
            if answer.is_none() {
                match ready!(stream.poll_head(cx)) {
                    Err(error) => {
                        stream.closed_by_peer();
                        return Poll::Ready(Err(failed(&error, Sent::Head)));
                    }
                    Ok(ResponseEvent::Informational(head)) => {
                        let status = head.status.as_u16();
                        cluster.stats().response(worker.id, Origin::Internal, status);
                        continue;
                    }
                    Ok(ResponseEvent::Head(head)) => *answer = Some(head),
                }
            }
            let ends = answer.as_ref().is_none_or(|head| head.ends);
            let part =
                if ends { None } else { ready!(stream.poll_part(cx, PART_BYTES)).transpose() };
            match part {
                Some(Ok(BodyPart::Data(data))) if body.len() + data.len() > *body_max => {
                    return Poll::Ready(Err(AskError::TooLong));
                }
                Some(Ok(BodyPart::Data(data))) => body.extend_from_slice(&data),
                Some(Ok(BodyPart::Trailers(_))) | None => {
                    return Poll::Ready(answer.clone().ok_or(AskError::TooLong));
                }
                Some(Err(error)) => return Poll::Ready(Err(failed(&error, Sent::Head))),
            }
        }
    }

    /// Counts an attempt, and lets its connection go; says how long to wait for the next one.
    fn settle(&mut self, outcome: &Result<ResponseHead, AskError>) -> Option<Duration> {
        let tried = match outcome {
            Ok(head) => Some(Tried::Answered(head)),
            Err(AskError::Failed(error)) if self.answer.is_none() => Some(Tried::Failed(error)),
            Err(AskError::Late) if self.answer.is_none() => Some(Tried::TimedOut),
            Err(_) => None,
        };
        let again = tried.and_then(|tried| self.decide(tried));
        let (worker, stats) = (self.worker.id, self.cluster.stats());
        let status = match (&self.answer, outcome) {
            (Some(head), _) => head.status.as_u16(),
            (None, Err(AskError::Failed(error))) if error.kind == ErrorKind::Protocol => 502,
            (None, Err(AskError::Late)) => 504,
            (None, _) => 503,
        };
        match again {
            Some(_) if self.answer.is_some() => stats.retried_response(worker, status),
            Some(_) => {}
            None => stats.response(worker, Origin::Internal, status),
        }
        if let Some(host) = &self.host {
            let good = status < 500 && again.is_none();
            host.stats.answered(if good { Answered::Success } else { Answered::Error });
            match (&self.answer, outcome) {
                (Some(_), _) => self.cluster.report(host, Report::Status(status)),
                (None, Err(AskError::Late)) => self.cluster.report(host, Report::TimedOut),
                // A circuit breaker says nothing about the host.
                (None, Err(AskError::Failed(error))) if error.kind != ErrorKind::Overflow => {
                    self.cluster.report(host, Report::Failed);
                }
                (None, _) => {}
            }
        }
        if let Err(AskError::Late) = outcome {
            stats.inc(worker, ClusterStat::UpstreamRqPerTryTimeout);
            if let Some(host) = &self.host {
                host.stats.timed_out();
            }
        }
        if let Err(AskError::Failed(error)) = outcome
            && matches!(error.kind, ErrorKind::RemoteReset | ErrorKind::RemoteRefused)
        {
            stats.inc(worker, ClusterStat::UpstreamRqRxReset);
        }
        match (outcome, self.stream.take()) {
            (Ok(_), Some(stream)) => {
                let taken = clock::now().saturating_duration_since(self.since);
                let millis = u64::try_from(taken.as_millis()).unwrap_or(u64::MAX);
                stats.response_time(worker, Origin::Internal, millis);
                stream.finish();
            }
            (Err(AskError::TooLong | AskError::Late), Some(stream)) => self.cancel(stream),
            (_, _) => {}
        }
        (self.answer, self.host) = (None, None);
        again
    }

    fn decide(&mut self, tried: Tried<'_>) -> Option<Duration> {
        let (worker, stats) = (self.worker.id, self.cluster.stats());
        let retries = self.retries.as_mut()?;
        let (stat, wait) =
            match retries.decide(tried, self.worker.random_u64(), clock::system_now()) {
                Verdict::Again(Wait::BackOff(wait)) => {
                    stats.inc(worker, ClusterStat::UpstreamRqRetryBackoffExponential);
                    (ClusterStat::UpstreamRqRetry, Some(wait))
                }
                Verdict::Again(Wait::RateLimited(wait)) => {
                    stats.inc(worker, ClusterStat::UpstreamRqRetryBackoffRatelimited);
                    (ClusterStat::UpstreamRqRetry, Some(wait))
                }
                Verdict::Final { retried: false } => return None,
                Verdict::Final { retried: true } => (ClusterStat::UpstreamRqRetrySuccess, None),
                Verdict::LimitExceeded => (ClusterStat::UpstreamRqRetryLimitExceeded, None),
                Verdict::Overflow => (ClusterStat::UpstreamRqRetryOverflow, None),
            };
        stats.inc(worker, stat);
        wait
    }

    /// The whole took too long, at whatever point it was.
    fn time_out(&mut self) {
        let stats = self.cluster.stats();
        stats.inc(self.worker.id, ClusterStat::UpstreamRqTimeout);
        if let Some(host) = self.host.take() {
            host.stats.timed_out();
            if self.answer.is_none() {
                self.cluster.report(&host, Report::TimedOut);
            }
        }
        let status = self.answer.as_ref().map_or(504, |head| head.status.as_u16());
        stats.response(self.worker.id, Origin::Internal, status);
        if let Some(stream) = self.stream.take() {
            self.cancel(stream);
        }
    }

    fn cancel(&self, stream: Stream) {
        if stream.cancel() == Cancelled::Stream {
            self.cluster.stats().inc(self.worker.id, ClusterStat::UpstreamRqTxReset);
        }
    }
}

fn failed(error: &BodyError, sent: Sent) -> AskError {
    AskError::Failed(ProxyError::from_body(error, sent))
}
