//! The task of one mirror: lease, send what the pipe brings, drop the answer.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::super::attempt::judged_status;
use super::super::stream::{Cancelled, Stream};
use super::pipe::{Pipe, Taken};
use crate::base::clock::{self, Instant};
use crate::cluster::outlier::Report;
use crate::cluster::pool::{LeaseError, Leasing, Payload};
use crate::cluster::{Answered, Cluster, Host};
use crate::codec::{BodyError, BodyPart, Outgoing, RequestHead, ResponseEvent};
use crate::http::pump::PART_BYTES;
use crate::telemetry::WorkerId;
use crate::telemetry::stats::{ClusterStat, Origin};

/// One mirror, as a future that ends with it.
pub(super) struct Mirror {
    cluster: Arc<Cluster>,
    host: Arc<Host>,
    worker: WorkerId,
    head: RequestHead,
    pipe: Rc<Pipe>,
    phase: Phase,
    /// Nothing more goes to the upstream.
    said: bool,
    /// Status of the answer, once its head is here.
    status: Option<u16>,
    /// The route's timeout, which runs from the end of the request.
    timeout: Option<Duration>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    since: Instant,
}

enum Phase {
    Leasing(Leasing),
    Sent(Stream),
    Over,
}

impl Mirror {
    /// A mirror that asks this host of the cluster.
    pub(super) fn new(
        (cluster, host, worker): (&Arc<Cluster>, &Arc<Host>, WorkerId),
        leasing: Leasing,
        head: RequestHead,
        timeout: Option<Duration>,
        pipe: Rc<Pipe>,
    ) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            host: Arc::clone(host),
            worker,
            said: head.ends,
            head,
            pipe,
            phase: Phase::Leasing(leasing),
            status: None,
            timeout,
            timer: None,
            since: clock::now(),
        }
    }

    /// Ready when the time that the route gives is over.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.is_none()
            && self.pipe.is_complete()
            && let Some(limit) = self.timeout.take()
        {
            self.since = clock::now();
            self.timer = Some(Box::pin(tokio::time::sleep(limit)));
        }
        self.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }

    /// Gives the stream what the pipe has. `false` where the request was broken off.
    fn pass_on(&mut self, cx: &mut Context<'_>) -> bool {
        let Phase::Sent(stream) = &mut self.phase else { return true };
        while !self.said {
            // What it takes no more shows in its answer.
            if !matches!(stream.poll_ready(cx), Poll::Ready(Ok(()))) {
                if self.pipe.poll_abandoned(cx).is_ready() {
                    return false;
                }
                break;
            }
            match self.pipe.poll_take(cx) {
                Poll::Pending => break,
                Poll::Ready(Taken::Abandoned) => return false,
                Poll::Ready(Taken::End) => {
                    self.said = true;
                    stream.push(Outgoing::End);
                }
                Poll::Ready(Taken::Part(part)) => {
                    self.said = matches!(part, BodyPart::Trailers(_));
                    stream.push(Outgoing::Part(part));
                }
            }
        }
        let _shown_by_the_answer = stream.poll_flush(cx);
        true
    }

    /// Reads the answer to its end and drops it.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        loop {
            let Phase::Sent(stream) = &mut self.phase else { return Poll::Pending };
            if self.status.is_some() {
                match ready!(stream.poll_part(cx, PART_BYTES))? {
                    None | Some(BodyPart::Trailers(_)) => return Poll::Ready(Ok(())),
                    Some(BodyPart::Data(_)) => continue,
                }
            }
            match ready!(stream.poll_head(cx)) {
                Err(error) => {
                    stream.closed_by_peer();
                    return Poll::Ready(Err(error));
                }
                Ok(ResponseEvent::Informational(head)) => {
                    let stats = self.cluster.stats();
                    stats.response(self.worker, Origin::Internal, head.status.as_u16());
                }
                Ok(ResponseEvent::Head(head)) => {
                    self.status = Some(head.status.as_u16());
                    self.count(head.status.as_u16());
                    if self.cluster.outlier().is_some() {
                        let status = judged_status(&self.head, &head);
                        self.cluster.report(&self.host, Report::Status(status));
                    }
                    if head.ends {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }

    fn count(&self, status: u16) {
        self.cluster.stats().response(self.worker, Origin::Internal, status);
        let answered = if status >= 500 { Answered::Error } else { Answered::Success };
        self.host.stats.answered(answered);
    }

    /// It ended by itself.
    fn finish(&mut self, result: Result<(), BodyError>) {
        let Phase::Sent(stream) = std::mem::replace(&mut self.phase, Phase::Over) else { return };
        let stats = self.cluster.stats();
        match result {
            Ok(()) => {
                let taken = clock::now().saturating_duration_since(self.since);
                let millis = u64::try_from(taken.as_millis()).unwrap_or(u64::MAX);
                stats.response_time(self.worker, Origin::Internal, millis);
                stream.finish();
            }
            Err(error) => {
                self.cluster.report(&self.host, Report::Failed);
                if matches!(error, BodyError::Reset(_)) {
                    stats.inc(self.worker, ClusterStat::UpstreamRqRxReset);
                }
                if self.status.is_none() {
                    let broken = matches!(error, BodyError::Protocol(_));
                    self.count(if broken { 502 } else { 503 });
                }
            }
        }
    }

    /// It is given up from our side.
    fn give_up(&mut self) {
        if let Phase::Sent(stream) = std::mem::replace(&mut self.phase, Phase::Over)
            && stream.cancel() == Cancelled::Stream
        {
            self.cluster.stats().inc(self.worker, ClusterStat::UpstreamRqTxReset);
        }
    }

    /// The route's timeout passed.
    fn time_out(&mut self) {
        self.cluster.stats().inc(self.worker, ClusterStat::UpstreamRqTimeout);
        self.host.stats.timed_out();
        if self.status.is_none() {
            self.cluster.report(&self.host, Report::TimedOut);
            self.cluster.stats().response(self.worker, Origin::Internal, 504);
        }
        self.give_up();
    }

    /// Ready once there is a connection, or there will be none.
    fn poll_lease(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Phase::Leasing(leasing) = &mut self.phase else { return Poll::Ready(()) };
        let lease = ready!(Pin::new(leasing).poll(cx));
        match &lease {
            Ok(_) => self.cluster.report(&self.host, Report::Connected),
            // The cluster's limits say nothing about the host.
            Err(LeaseError::Overflow(_)) => {}
            Err(LeaseError::Connect(_)) => self.cluster.report(&self.host, Report::Failed),
        }
        let stream = lease.ok().map(|lease| Stream::start(lease, &self.head, Payload::Http));
        match stream {
            Some(Ok(stream)) => self.phase = Phase::Sent(stream),
            Some(Err(_)) | None => {
                self.count(503);
                self.phase = Phase::Over;
            }
        }
        Poll::Ready(())
    }
}

impl Future for Mirror {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.poll_late(cx).is_ready() {
            this.time_out();
            return Poll::Ready(());
        }
        if this.poll_lease(cx).is_pending() {
            if this.pipe.poll_abandoned(cx).is_pending() {
                return Poll::Pending;
            }
            this.give_up();
        }
        if matches!(this.phase, Phase::Over) {
            return Poll::Ready(());
        }
        if !this.pass_on(cx) {
            this.give_up();
            return Poll::Ready(());
        }
        let result = ready!(this.poll_answer(cx));
        this.finish(result);
        Poll::Ready(())
    }
}

impl Drop for Mirror {
    /// However it ended, a panic included: nobody waits for it.
    fn drop(&mut self) {
        self.pipe.close();
    }
}
