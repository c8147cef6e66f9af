//! The thin driver of a stream over gRPC: opens it, moves messages, opens it again.
//!
//! It decides nothing: when to connect, what to send and what a response means is the core's. A
//! [`Conversation`] is one gRPC call on one connection in a task of its own; when it ends, its last
//! word is why (K9). All runs on the control runtime.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Uri};
use hyper_util::rt::TokioIo;
use proto::envoy::config::core::v3::Node;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::Service;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request as GrpcRequest, Status as GrpcStatus};

use super::connect::{BoxedIo, Connect};
use super::pump::{Pump, Woken};
use super::stream::{Input, Request, Response, Variant};
use super::wire::XdsCodec;
use crate::base::clock;
use crate::base::task::{self, Task};
use crate::telemetry::WorkerId;
use crate::telemetry::stats::{ControlPlaneStat, Group};

/// Largest message read where the configuration does not say, in bytes (K5). gRPC libraries stop
/// at 4 MiB, which a large mesh exceeds; memory is only taken as bytes arrive.
pub const MESSAGE_BYTES_MAX_DEFAULT: usize = 512 << 20;

/// Longest silence before a PING: beyond the 5 minutes that gRPC servers allow by default.
const KEEPALIVE_INTERVAL_MAX: Duration = Duration::from_secs(600);

/// HTTP/2 windows: large responses should not wait for a round trip each 64 KiB.
const WINDOW_BYTES: u32 = 4 << 20;

/// Requests that may wait for the transport before the core is asked for no more.
const OUTGOING_MAX: usize = 64;

/// A management server and how to talk to it.
pub struct Server {
    /// Opens connections.
    pub connect: Arc<dyn Connect>,
    /// `:authority`.
    pub authority: String,
    /// The method, such as [`super::service::ADS_DELTA`].
    pub method: &'static str,
    /// Which variant the method speaks.
    pub variant: Variant,
    /// Who this client is.
    pub node: Arc<Node>,
    /// `initial_metadata`, on each call.
    pub metadata: HeaderMap,
    /// Largest message read, in bytes; a larger one ends the stream.
    pub message_bytes_max: usize,
    /// HTTP/2 PINGs; `None` sends none.
    pub keepalive: Option<Keepalive>,
}

/// HTTP/2 PINGs that notice a black-holed connection (K4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before a PING.
    pub interval: Duration,
    /// How long its answer may take.
    pub timeout: Duration,
}

impl Default for Keepalive {
    /// Together at most 30 s (K4).
    fn default() -> Self {
        Self { interval: Duration::from_secs(20), timeout: Duration::from_secs(10) }
    }
}

impl Keepalive {
    /// Servers end connections that bring more PINGs than they like, after the third by gRPC's
    /// rules, and the reason never reaches a stream that they had begun to serve. So a connection
    /// that was lost after that many is followed by one with half as many, as gRPC asks. What the
    /// kernel watches ([`super::connect::dial`]) still notices a cut within the 30 s.
    fn adapt(&mut self, ending: Ending, lasted: Duration) {
        if ending == Ending::Connection && lasted >= 3 * self.interval {
            self.interval = (2 * self.interval).min(KEEPALIVE_INTERVAL_MAX);
        }
    }
}

/// What a conversation reports.
enum Said {
    Opened,
    Response(Response),
    Closed {
        reason: String,
        ending: Ending,
    },
    /// The transport takes requests again.
    Room,
}

/// What ended a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The call, by the server or for what it sent.
    Call,
    /// The connection, without a word that reached the stream.
    Connection,
    /// The connection: a PING was not answered.
    PingUnanswered,
}

/// One gRPC call; ends with its task when dropped.
struct Conversation {
    outgoing: mpsc::Sender<Request>,
    inbox: mpsc::Receiver<Said>,
    _task: Task,
}

/// Runs a stream against `server` until nobody commands it any more.
pub(super) async fn run<V: Clone>(
    mut pump: Pump<V>,
    server: Server,
    stats: Option<Group<ControlPlaneStat>>,
) {
    let mut gauges = Gauges { stats, enforced: 0 };
    gauges.connected(0);
    let server = Arc::new(server);
    let mut keepalive = server.keepalive;
    let mut opened_at = None;
    let mut talk: Option<Conversation> = None;
    loop {
        if pump.turn() {
            talk = Some(Conversation::start(&server, keepalive));
        }
        let blocked = talk.as_ref().is_some_and(|talk| transmit(&mut pump, talk));
        gauges.read(&pump);
        let said = async {
            match &mut talk {
                // A full transport takes no ACK, so that no response is read either.
                Some(talk) if blocked => talk.room().await,
                Some(talk) => talk.next().await,
                None => std::future::pending().await,
            }
        };
        match pump.wait(said).await {
            Woken::Stop => return,
            Woken::Again | Woken::Input(Said::Room) => {}
            Woken::Input(Said::Opened) => {
                gauges.connected(1);
                opened_at = Some(clock::now());
                pump.handle(Input::Opened);
            }
            Woken::Input(Said::Response(response)) => {
                gauges.identified(&response);
                pump.handle(Input::Response(response));
            }
            Woken::Input(Said::Closed { reason, ending }) => {
                talk = None;
                gauges.connected(0);
                if let (Some(keepalive), Some(opened_at)) = (&mut keepalive, opened_at.take()) {
                    keepalive.adapt(ending, clock::now() - opened_at);
                }
                pump.handle(Input::Closed { reason });
            }
        }
    }
}

/// Hands requests to the transport; true if it takes no more.
fn transmit<V: Clone>(pump: &mut Pump<V>, talk: &Conversation) -> bool {
    loop {
        match talk.outgoing.try_reserve() {
            Ok(permit) => match pump.stream.poll_transmit(clock::now()) {
                Some(request) => permit.send(request),
                None => return false,
            },
            Err(mpsc::error::TrySendError::Full(())) => return true,
            // The conversation is over; its inbox says why.
            Err(mpsc::error::TrySendError::Closed(())) => return false,
        }
    }
}

impl Conversation {
    fn start(server: &Arc<Server>, keepalive: Option<Keepalive>) -> Self {
        let (outgoing, requests) = mpsc::channel(OUTGOING_MAX);
        let (said, inbox) = mpsc::channel(1);
        let server = Arc::clone(server);
        let task = task::spawn("xds-stream", async move {
            let (reason, ending) = match converse(&server, keepalive, requests, &said).await {
                Ok(()) => ("the server ended the stream".to_owned(), Ending::Call),
                Err(end) => (end.reason, end.ending),
            };
            // Nobody listens only where nobody cares.
            let _unheard = said.send(Said::Closed { reason, ending }).await;
        });
        Self { outgoing, inbox, _task: task }
    }

    /// What it says next. Cancel safe.
    async fn next(&mut self) -> Said {
        self.inbox.recv().await.unwrap_or_else(|| {
            // Only a panic, which its task has logged, ends it without a last word.
            let reason = "the stream's task failed".to_owned();
            Said::Closed { reason, ending: Ending::Call }
        })
    }

    /// Waits for room; where there is nobody to make any, the next word will say so. Cancel safe.
    async fn room(&self) -> Said {
        let _closed = self.outgoing.reserve().await;
        Said::Room
    }
}

/// Why a conversation ended.
struct End {
    reason: String,
    ending: Ending,
}

async fn converse(
    server: &Server,
    keepalive: Option<Keepalive>,
    requests: mpsc::Receiver<Request>,
    said: &mpsc::Sender<Said>,
) -> Result<(), End> {
    let limit = server.connect.timeout();
    let opened = tokio::time::timeout(limit, open(server, keepalive)).await;
    let channel = opened.unwrap_or_else(|_| {
        let reason = format!("no connection within {limit:?}");
        Err(End { reason, ending: Ending::Connection })
    })?;
    let _unheard = said.send(Said::Opened).await;
    let mut grpc = Grpc::new(channel).max_decoding_message_size(server.message_bytes_max);
    grpc.ready().await.map_err(|error| End::of_transport(&error))?;
    let mut request = GrpcRequest::new(ReceiverStream::new(requests));
    *request.metadata_mut() = MetadataMap::from_headers(server.metadata.clone());
    let path = PathAndQuery::from_static(server.method);
    let codec = XdsCodec { variant: server.variant, node: Arc::clone(&server.node) };
    let response = grpc.streaming(request, path, codec).await;
    let mut responses = response.map_err(|status| End::of_call(&status))?.into_inner();
    while let Some(response) = responses.message().await.map_err(|s| End::of_call(&s))? {
        if said.send(Said::Response(response)).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn open(server: &Server, keepalive: Option<Keepalive>) -> Result<Channel, End> {
    let wrong = |error: String| End { reason: error, ending: Ending::Connection };
    let io = server.connect.connect().await.map_err(|error| wrong(error.to_string()))?;
    channel(io, &server.authority, keepalive).await.map_err(|error| End::of_transport(&error))
}

/// A channel on a connection that is open, and on no other.
///
/// # Errors
/// The authority is none, or the other side does not speak HTTP/2.
pub async fn channel(
    io: BoxedIo,
    authority: &str,
    keepalive: Option<Keepalive>,
) -> Result<Channel, tonic::transport::Error> {
    let mut endpoint = Endpoint::from_shared(format!("http://{authority}"))?
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    if let Some(keepalive) = keepalive {
        endpoint = endpoint
            .http2_keep_alive_interval(keepalive.interval)
            .keep_alive_timeout(keepalive.timeout)
            .keep_alive_while_idle(true);
    }
    endpoint.connect_with_connector(Once(Some(io))).await
}

impl End {
    fn of_call(status: &GrpcStatus) -> Self {
        // A status that the server sent has no cause on this side.
        let ending = match status.source() {
            None => Ending::Call,
            Some(error) if is_timeout(error) => Ending::PingUnanswered,
            Some(_) => Ending::Connection,
        };
        let mut reason = format!("{:?}: {}", status.code(), status.message());
        append_sources(&mut reason, status.source());
        Self { reason, ending }
    }

    fn of_transport(error: &tonic::transport::Error) -> Self {
        let mut reason = error.to_string();
        append_sources(&mut reason, error.source());
        Self { reason, ending: Ending::Connection }
    }
}

fn append_sources(reason: &mut String, mut source: Option<&(dyn std::error::Error + 'static)>) {
    while let Some(error) = source {
        let text = error.to_string();
        if !reason.contains(&text) {
            reason.push_str(": ");
            reason.push_str(&text);
        }
        source = error.source();
    }
}

fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    let here = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout);
    here || error.source().is_some_and(is_timeout)
}

/// Gives away the one connection that was opened; a channel that lost it has to end, since a new
/// one belongs to a new stream.
struct Once(Option<BoxedIo>);

impl Service<Uri> for Once {
    type Response = TokioIo<BoxedIo>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<TokioIo<BoxedIo>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "the connection is lost");
        std::future::ready(self.0.take().map(TokioIo::new).ok_or_else(gone))
    }
}

/// `control_plane.`.
struct Gauges {
    stats: Option<Group<ControlPlaneStat>>,
    enforced: u64,
}

impl Gauges {
    fn connected(&self, state: u64) {
        if let Some(stats) = &self.stats {
            stats.set(ControlPlaneStat::ConnectedState, state);
        }
    }

    fn identified(&self, response: &Response) {
        if let (Some(stats), Some(identifier)) = (&self.stats, &response.control_plane) {
            stats.set_text(ControlPlaneStat::Identifier, identifier);
        }
    }

    fn read<V: Clone>(&mut self, pump: &Pump<V>) {
        let Some(stats) = &self.stats else { return };
        let pending = u64::try_from(pump.stream.pending_requests()).unwrap_or(u64::MAX);
        stats.set(ControlPlaneStat::PendingRequests, pending);
        let enforced = pump.stream.rate_limit_enforced();
        if enforced > self.enforced {
            let more = enforced - self.enforced;
            stats.add(WorkerId::CONTROL, ControlPlaneStat::RateLimitEnforced, more);
            self.enforced = enforced;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k4_pings_get_rarer_only_where_they_may_be_why_the_connection_was_lost() {
        let mut keepalive = Keepalive::default();
        let second = Duration::from_secs(1);
        keepalive.adapt(Ending::Connection, 59 * second);
        keepalive.adapt(Ending::Call, 3600 * second);
        keepalive.adapt(Ending::PingUnanswered, 3600 * second);
        assert_eq!(keepalive, Keepalive::default());
        keepalive.adapt(Ending::Connection, 60 * second);
        assert_eq!(keepalive.interval, 40 * second);
        for _ in 0..10 {
            keepalive.adapt(Ending::Connection, 3600 * second);
        }
        assert_eq!(keepalive.interval, KEEPALIVE_INTERVAL_MAX);
    }
}
