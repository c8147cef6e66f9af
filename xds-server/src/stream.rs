//! Drives one [`Session`] over one gRPC stream.
//!
//! One task a stream. A reply is made only when the stream has room for it, so that a slow client
//! holds at most one reply and then gets the newest snapshot. A client that takes nothing for
//! [`BLOCKED_MAX`] although something waits is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::config::core::v3 as core;
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use proto::google::protobuf::value::Kind;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Status as Code, Streaming};

use crate::clock::{self, Instant};
use crate::session::{self, Ask, Protocol, Refusal, Reply, Scope, Session, Verdict};
use crate::share::Node;
use crate::snapshot::Snapshot;
use crate::status::{Status, StreamStatus};
use crate::store::{Store, World};

/// How long a client may leave a reply unread.
pub const BLOCKED_MAX: Duration = Duration::from_secs(60);

/// The two forms of messages on the wire.
pub trait Wire: 'static {
    /// What clients send.
    type Request: Send + 'static;
    /// What they get.
    type Response: Send + 'static;
    /// The variant.
    const PROTOCOL: Protocol;

    /// The node, where the request names one.
    fn take_node(request: &mut Self::Request) -> Option<core::Node>;
    /// In the session's words.
    fn decode(request: Self::Request) -> Ask;
    /// For the wire.
    fn encode(reply: &Reply) -> Self::Response;
}

/// State of the world.
#[derive(Debug)]
pub struct Sotw;

impl Wire for Sotw {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    const PROTOCOL: Protocol = Protocol::Sotw;

    fn take_node(request: &mut DiscoveryRequest) -> Option<core::Node> {
        request.node.take()
    }

    fn decode(request: DiscoveryRequest) -> Ask {
        session::sotw::decode(request)
    }

    fn encode(reply: &Reply) -> DiscoveryResponse {
        session::sotw::encode(reply)
    }
}

/// Incremental.
#[derive(Debug)]
pub struct Delta;

impl Wire for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const PROTOCOL: Protocol = Protocol::Delta;

    fn take_node(request: &mut DeltaDiscoveryRequest) -> Option<core::Node> {
        request.node.take()
    }

    fn decode(request: DeltaDiscoveryRequest) -> Ask {
        session::delta::decode(request)
    }

    fn encode(reply: &Reply) -> DeltaDiscoveryResponse {
        session::delta::encode(reply)
    }
}

/// What all streams of a server share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What is served.
    pub store: Arc<Store>,
    /// What is known of clients.
    pub status: Arc<Status>,
    /// Cancelled when the server stops.
    pub stop: CancellationToken,
}

/// Replies on their way to one client; room for one.
pub type Replies<W> = mpsc::Receiver<Result<<W as Wire>::Response, Code>>;

/// Starts the task of one stream.
#[must_use]
pub fn spawn_stream<W: Wire>(
    shared: &Shared,
    scope: Scope,
    requests: Streaming<W::Request>,
) -> Replies<W> {
    let (replies, receiver) = mpsc::channel(1);
    let shared = shared.clone();
    tokio::spawn(async move {
        let end = run::<W>(&shared, scope, requests, &replies).await;
        if let Err(code) = end {
            // Best effort: a client that reads nothing learns of the end by the reset.
            let _ = replies.try_send(Err(code));
        }
    });
    receiver
}

/// One request answered at once (`Fetch*`): all that is owed for it now, in one response.
///
/// # Errors
/// Where the request is refused.
pub fn fetch(
    shared: &Shared,
    scope: Scope,
    mut request: DiscoveryRequest,
) -> Result<DiscoveryResponse, Code> {
    let node = node_of(request.node.take());
    let snapshot = shared.store.current().snapshot_for(&node).unwrap_or_default();
    let mut session = Session::new(Protocol::Sotw, scope, snapshot);
    request.response_nonce = String::new();
    let type_url = request.type_url.clone();
    let version_info = request.version_info.clone();
    session.handle_request(Sotw::decode(request)).map_err(refused)?;
    let reply = session.poll_reply(clock::now());
    let unchanged = DiscoveryResponse { type_url, version_info, ..Default::default() };
    Ok(reply.map_or(unchanged, |reply| Sotw::encode(&reply)))
}

async fn run<W: Wire>(
    shared: &Shared,
    scope: Scope,
    mut requests: Streaming<W::Request>,
    replies: &mpsc::Sender<Result<W::Response, Code>>,
) -> Result<(), Code> {
    let mut worlds = shared.store.watch();
    let first = tokio::select! {
        first = requests.message() => first?,
        () = shared.stop.cancelled() => return Err(stopping()),
    };
    let Some(mut first) = first else { return Ok(()) };
    let node = node_of(W::take_node(&mut first));
    let status = shared.status.open(&node);
    let world = worlds.borrow_and_update().clone();
    let snapshot = served(&world, &node, &status);
    let mut driver = Driver {
        session: Session::new(W::PROTOCOL, scope, snapshot),
        status,
        node,
        blocked_since: None,
    };
    driver.take(W::decode(first))?;
    driver.run::<W>(shared, &mut worlds, &mut requests, replies).await
}

struct Driver {
    session: Session,
    status: StreamStatus,
    node: Node,
    /// Since when a reply waits for room.
    blocked_since: Option<Instant>,
}

impl Driver {
    async fn run<W: Wire>(
        &mut self,
        shared: &Shared,
        worlds: &mut watch::Receiver<Arc<World>>,
        requests: &mut Streaming<W::Request>,
        replies: &mpsc::Sender<Result<W::Response, Code>>,
    ) -> Result<(), Code> {
        loop {
            let due = self.session.is_due(clock::now());
            self.blocked_since = due.then(|| self.blocked_since.unwrap_or_else(clock::now));
            let wake = match self.blocked_since {
                Some(since) => Some(since + BLOCKED_MAX),
                None => self.session.next_deadline(),
            };
            // Every branch is cancel-safe: messages stay in the stream, worlds in the watch, and
            // a permit that was not taken is given back.
            tokio::select! {
                request = requests.message() => match request? {
                    Some(request) => self.take(W::decode(request))?,
                    None => return Ok(()),
                },
                changed = worlds.changed() => {
                    changed.map_err(|_| stopping())?;
                    let world = worlds.borrow_and_update().clone();
                    self.session.apply_snapshot(served(&world, &self.node, &self.status));
                }
                permit = replies.reserve(), if due => {
                    let Ok(permit) = permit else { return Ok(()) };
                    self.blocked_since = None;
                    if let Some(reply) = self.session.poll_reply(clock::now()) {
                        self.status.note_sent(&reply.type_url, &reply.version);
                        permit.send(Ok(W::encode(&reply)));
                    }
                }
                () = sleep_until(wake) => {
                    if self.blocked_since.is_some_and(|s| clock::now() >= s + BLOCKED_MAX) {
                        tracing::warn!(node = %self.node.id, "a client takes no replies: dropped");
                        return Err(Code::deadline_exceeded("replies were not read"));
                    }
                }
                () = shared.stop.cancelled() => return Err(stopping()),
                () = replies.closed() => return Ok(()),
            }
            if !due {
                // Starts or ends the hold of what waits for acknowledgements.
                self.session.note_time(clock::now());
            }
        }
    }

    fn take(&mut self, ask: Ask) -> Result<(), Code> {
        let verdict = self.session.handle_request(ask).map_err(refused)?;
        self.session.note_time(clock::now());
        if let Verdict::Nacked { type_url, version, rejection } = &verdict {
            tracing::warn!(
                node = %self.node.id, %type_url, %version, message = %rejection.message,
                "a node refused a response"
            );
        }
        self.status.note_verdict(&verdict);
        Ok(())
    }
}

/// What the node is served, with the line for those that nothing is meant for.
fn served(world: &World, node: &Node, status: &StreamStatus) -> Arc<Snapshot> {
    let snapshot = world.snapshot_for(node);
    let note = snapshot.is_none().then(|| {
        format!("nothing is configured for node.cluster '{}': served an empty set", node.cluster)
    });
    if let Some(note) = &note {
        tracing::warn!(node = %node.id, "{note}");
    }
    status.set_note(note);
    snapshot.unwrap_or_default()
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn stopping() -> Code {
    Code::unavailable("the server is stopping")
}

fn refused(refusal: Refusal) -> Code {
    match refusal {
        Refusal::NoType | Refusal::OtherType { .. } => Code::invalid_argument(refusal.to_string()),
        Refusal::TooManyTypes | Refusal::TooManyNames(_) => {
            Code::resource_exhausted(refusal.to_string())
        }
    }
}

/// The node in the store's words; a request without one is the node with an empty id.
fn node_of(node: Option<core::Node>) -> Node {
    let Some(node) = node else { return Node::default() };
    let fields = node.metadata.unwrap_or_default().fields;
    let metadata: BTreeMap<String, String> = fields
        .into_iter()
        .filter_map(|(key, value)| {
            let text = match value.kind? {
                Kind::StringValue(text) => text,
                Kind::NumberValue(number) => number.to_string(),
                Kind::BoolValue(flag) => flag.to_string(),
                _ => return None,
            };
            Some((key, text))
        })
        .collect();
    Node { id: node.id, cluster: node.cluster, metadata }
}
