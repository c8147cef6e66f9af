//! Who is connected, what each node was sent, took and refused (S12).
//!
//! Kept per node id, since that is what people ask for; streams of one node add up. An entry
//! stays [`KEPT`] after its last stream ended, and there are at most [`NODES_MAX`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::clock::{self, Instant};
use crate::metrics::Metrics;
use crate::session::Verdict;
use crate::share::Node;
use crate::snapshot::TypeUrl;
use crate::store::World;

/// How long a node is remembered after its last stream ended.
pub const KEPT: Duration = Duration::from_secs(600);
/// Nodes that are remembered; of those that are gone the oldest give way.
pub const NODES_MAX: usize = 100_000;

/// See the module.
#[derive(Debug)]
pub struct Status {
    /// Guards the map alone; never held while anything else is done.
    nodes: Mutex<BTreeMap<String, Entry>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Entry {
    node: Node,
    streams: usize,
    gone_since: Option<Instant>,
    note: Option<String>,
    types: BTreeMap<TypeUrl, TypeStatus>,
}

#[derive(Clone, Debug, Default)]
struct TypeStatus {
    sent: Option<Arc<str>>,
    acked: Option<Arc<str>>,
    nack: Option<Nack>,
}

#[derive(Clone, Debug)]
struct Nack {
    version: Arc<str>,
    message: String,
    at: SystemTime,
    count: u64,
}

/// A node, in the form of `GET /v1/nodes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeView {
    /// `node.id`.
    pub id: String,
    /// `node.cluster`.
    pub cluster: String,
    /// Whether it has a stream.
    pub connected: bool,
    /// How many it has.
    pub streams: usize,
    /// By type URL.
    pub types: BTreeMap<String, TypeView>,
    /// Why it is served nothing, or what else to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What our own data plane does not support of what it is served, while it is connected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One type of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TypeView {
    /// Version sent last.
    pub sent: Option<String>,
    /// Version acknowledged last.
    pub acked: Option<String>,
    /// The refusal that still stands.
    pub nack: Option<NackView>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NackView {
    /// The refused version.
    pub version: String,
    /// The client's words.
    pub message: String,
    /// When the client first refused this version with these words (RFC 3339, UTC).
    pub at: String,
    /// How often since.
    pub count: u64,
}

impl Status {
    /// An empty status that keeps these metrics up to date.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { nodes: Mutex::default(), metrics }
    }

    /// Notes a stream of that node, until the handle is dropped.
    #[must_use]
    pub fn open(self: &Arc<Self>, node: &Node) -> StreamStatus {
        let now = clock::now();
        let mut nodes = self.lock();
        sweep(&mut nodes, now);
        let entry = nodes.entry(node.id.clone()).or_default();
        entry.node.clone_from(node);
        entry.streams += 1;
        entry.gone_since = None;
        self.count_clients(&nodes);
        StreamStatus { status: self.clone(), id: node.id.clone() }
    }

    /// All nodes, by id, of which that world is served.
    #[must_use]
    pub fn nodes(&self, world: &World) -> Vec<NodeView> {
        let found: Vec<_> = {
            let mut nodes = self.lock();
            sweep(&mut nodes, clock::now());
            nodes.iter().map(|(id, entry)| (entry.node.clone(), view(id, entry))).collect()
        };
        found.into_iter().map(|(node, view)| warned(view, &node, world)).collect()
    }

    /// One node.
    #[must_use]
    pub fn find(&self, id: &str, world: &World) -> Option<NodeView> {
        let (node, view) = {
            let mut nodes = self.lock();
            sweep(&mut nodes, clock::now());
            nodes.get(id).map(|entry| (entry.node.clone(), view(id, entry)))?
        };
        Some(warned(view, &node, world))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_clients(&self, nodes: &BTreeMap<String, Entry>) {
        self.metrics.set_clients(nodes.values().filter(|entry| entry.streams > 0).count());
    }
}

/// What happens on one stream; its drop is the stream's end.
#[derive(Debug)]
pub struct StreamStatus {
    status: Arc<Status>,
    id: String,
}

impl StreamStatus {
    /// A response went out.
    pub fn note_sent(&self, type_url: &TypeUrl, version: &Arc<str>) {
        self.status.metrics.count_push(type_url);
        self.change(type_url, |status| status.sent = Some(version.clone()));
    }

    /// A request came in.
    pub fn note_verdict(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Acked { type_url, version } => self.change(type_url, |status| {
                status.acked = Some(version.clone());
                status.nack = None;
            }),
            Verdict::Resumed { type_url, version } => self.change(type_url, |status| {
                status.sent = Some(version.clone());
                status.acked = Some(version.clone());
                status.nack = None;
            }),
            Verdict::Nacked { type_url, version, rejection } => {
                self.status.metrics.count_nack(type_url);
                let message = &rejection.message;
                self.change(type_url, |status| match &mut status.nack {
                    Some(nack) if nack.version == *version && nack.message == *message => {
                        nack.count += 1;
                    }
                    nack => {
                        let (version, message) = (version.clone(), message.clone());
                        *nack = Some(Nack { version, message, at: clock::system_now(), count: 1 });
                    }
                });
            }
            Verdict::Subscribed | Verdict::Stale => {}
        }
    }

    /// Something to show beside the node, or nothing any more.
    pub fn set_note(&self, note: Option<String>) {
        if let Some(entry) = self.status.lock().get_mut(&self.id) {
            entry.note = note;
        }
    }

    fn change(&self, type_url: &TypeUrl, change: impl FnOnce(&mut TypeStatus)) {
        if let Some(entry) = self.status.lock().get_mut(&self.id) {
            change(entry.types.entry(type_url.clone()).or_default());
        }
    }
}

impl Drop for StreamStatus {
    fn drop(&mut self) {
        let mut nodes = self.status.lock();
        if let Some(entry) = nodes.get_mut(&self.id) {
            entry.streams = entry.streams.saturating_sub(1);
            if entry.streams == 0 {
                entry.gone_since = Some(clock::now());
            }
        }
        self.status.count_clients(&nodes);
    }
}

fn sweep(nodes: &mut BTreeMap<String, Entry>, now: Instant) {
    nodes.retain(|_, entry| entry.gone_since.is_none_or(|gone| now < gone + KEPT));
    while nodes.len() >= NODES_MAX {
        let gone = nodes.iter().filter(|(_, entry)| entry.gone_since.is_some());
        let Some(oldest) = gone.min_by_key(|(_, e)| e.gone_since).map(|(id, _)| id.clone()) else {
            return;
        };
        nodes.remove(&oldest);
    }
}

fn view(id: &str, entry: &Entry) -> NodeView {
    let types = entry.types.iter().map(|(url, status)| (url.to_string(), type_view(status)));
    NodeView {
        id: id.to_owned(),
        cluster: entry.node.cluster.clone(),
        connected: entry.streams > 0,
        streams: entry.streams,
        types: types.collect(),
        note: entry.note.clone(),
        warnings: Vec::new(),
    }
}

/// The view with what concerns the node's snapshot, which is not looked for under the lock.
fn warned(mut view: NodeView, node: &Node, world: &World) -> NodeView {
    if view.connected
        && let Some(snapshot) = world.snapshot_for(node)
    {
        view.warnings = snapshot.unsupported().to_vec();
    }
    view
}

fn type_view(status: &TypeStatus) -> TypeView {
    TypeView {
        sent: status.sent.as_ref().map(ToString::to_string),
        acked: status.acked.as_ref().map(ToString::to_string),
        nack: status.nack.as_ref().map(|nack| NackView {
            version: nack.version.to_string(),
            message: nack.message.clone(),
            at: clock::rfc3339(nack.at),
            count: nack.count,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Rejection;
    use crate::snapshot::CLUSTER;
    use crate::store::Store;

    fn nacked(message: &str) -> Verdict {
        let rejection = Rejection { code: 13, message: message.into() };
        Verdict::Nacked { type_url: CLUSTER.into(), version: "v2".into(), rejection }
    }

    fn status() -> Arc<Status> {
        Arc::new(Status::new(Arc::new(Metrics::new().unwrap())))
    }

    fn nothing() -> Arc<World> {
        Store::new(Vec::new()).current()
    }

    fn node(id: &str) -> Node {
        Node { id: id.into(), cluster: "edge".into(), ..Default::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn s12_nack_is_kept_with_first_time_and_count_until_ack() {
        let status = status();
        let stream = status.open(&node("n1"));
        stream.note_sent(&CLUSTER.into(), &"v1".into());
        stream.note_verdict(&Verdict::Acked { type_url: CLUSTER.into(), version: "v1".into() });
        stream.note_sent(&CLUSTER.into(), &"v2".into());
        stream.note_verdict(&nacked("no"));
        stream.note_verdict(&nacked("no"));
        let view = status.find("n1", &nothing()).unwrap();
        let cds = &view.types[CLUSTER];
        assert_eq!((cds.sent.as_deref(), cds.acked.as_deref()), (Some("v2"), Some("v1")));
        let nack = cds.nack.clone().unwrap();
        assert_eq!((&*nack.version, &*nack.message, nack.count), ("v2", "no", 2));
        assert!(nack.at.ends_with('Z') && nack.at.len() == 24, "{}", nack.at);
        stream.note_verdict(&Verdict::Acked { type_url: CLUSTER.into(), version: "v2".into() });
        assert_eq!(status.find("n1", &nothing()).unwrap().types[CLUSTER].nack, None);
    }

    #[tokio::test(start_paused = true)]
    async fn node_stays_ten_minutes_after_its_last_stream() {
        let status = status();
        let (one, two) = (status.open(&node("n1")), status.open(&node("n1")));
        drop(one);
        assert!(status.find("n1", &nothing()).unwrap().connected);
        drop(two);
        let view = status.find("n1", &nothing()).unwrap();
        assert!(!view.connected && view.streams == 0);
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        assert_eq!(status.nodes(&nothing()).len(), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(status.nodes(&nothing()).len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn view_has_the_promised_shape() {
        let status = status();
        let stream = status.open(&node("n1"));
        stream.note_sent(&CLUSTER.into(), &"v1".into());
        let json = serde_json::to_value(status.nodes(&nothing())).unwrap();
        let want = serde_json::json!([{
            "id": "n1", "cluster": "edge", "connected": true, "streams": 1,
            "types": { CLUSTER: { "sent": "v1", "acked": null, "nack": null } }
        }]);
        assert_eq!(json, want);
    }
}
