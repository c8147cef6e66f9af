//! What goes into and comes out of a stream: messages of both variants, and updates.
//!
//! The messages hold what the protocol needs and nothing that belongs to a transport. Resources are
//! raw bytes with what their wrapper said; a value exists only after a decoder accepted it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config::error::Problems;
use crate::xds::{Name, TypeUrl};

/// Turns a resource's bytes into a value: the validation that decides between ACK and NACK.
pub type Decode<V> = Arc<dyn Fn(&TypeUrl, &Bytes) -> Decoded<V> + Send + Sync>;

/// A decoder's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<V> {
    /// Valid.
    Accepted {
        /// The resource's own name.
        name: Name,
        /// What it means.
        value: V,
    },
    /// It has a name, and breaks rules.
    Rejected {
        /// The resource's own name.
        name: Name,
        /// Which rules, where.
        problems: Problems,
    },
    /// The bytes are no message of the type, so that not even a name is known.
    Undecodable(Problems),
}

/// A response as a whole, once each of its resources was judged alone.
#[derive(Debug)]
pub struct Whole<'a, V> {
    /// What is held already and does not go with this response.
    pub held: BTreeMap<&'a str, &'a V>,
    /// What it brings and is valid alone, in its order.
    pub accepted: Vec<(&'a str, &'a V)>,
}

/// Looks for resources that can't be beside each other: the places in [`Whole::accepted`] that are
/// refused, and why.
pub type Review<V> = Arc<dyn Fn(&TypeUrl, &Whole<'_, V>) -> Vec<(usize, Problems)> + Send + Sync>;

/// What happens to a stream from outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// The transport that [`Event::Connect`] asked for stands.
    Opened,
    /// The transport failed or ended; `reason` is for logs and statistics (K9).
    Closed {
        /// Such as `UNAVAILABLE: connection refused`.
        reason: String,
    },
    /// A response, of either variant.
    Response(Response),
    /// Somebody wants a resource, or all of a type ([`crate::xds::WILDCARD`]).
    Subscribe(Subscribe),
    /// Nobody wants it any more.
    Unsubscribe {
        /// Its type.
        type_url: TypeUrl,
        /// Its name.
        name: Name,
    },
}

/// A wish for one resource, or for all of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Its type.
    pub type_url: TypeUrl,
    /// Its name, or `*`.
    pub name: Name,
    /// `ConfigSource.initial_fetch_timeout`; `None` waits for ever (0 on the wire).
    pub initial_fetch_timeout: Option<Duration>,
}

/// A response of either variant; what only the other one has stays empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// `type_url`.
    pub type_url: String,
    /// `version_info`, or delta's `system_version_info`.
    pub version: String,
    /// `nonce`.
    pub nonce: String,
    /// `resources`, unwrapped.
    pub resources: Vec<RawResource>,
    /// Delta's `removed_resources` and `removed_resource_names`.
    pub removed: Vec<Name>,
    /// `resource_errors` (C13).
    pub errors: Vec<ResourceError>,
    /// `control_plane.identifier`.
    pub control_plane: Option<String>,
}

/// One resource as it came, out of its wrapper if it had one (C4, C12).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawResource {
    /// The wrapper's `name`; `None` without a wrapper.
    pub name: Option<Name>,
    /// The wrapper's `version`; `None` without a wrapper.
    pub version: Option<String>,
    /// The `Any`'s type.
    pub type_url: String,
    /// The `Any`'s bytes; `None` for a wrapper without a body (heartbeat).
    pub body: Option<Bytes>,
    /// How long it stays valid without being sent again.
    pub ttl: Option<Duration>,
    /// The wrapper itself could not be read; says why.
    pub broken: Option<String>,
}

/// Why a server could not give a resource (C13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceError {
    /// Which.
    pub name: Name,
    /// gRPC status code.
    pub code: i32,
    /// The server's words.
    pub message: String,
}

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// `DiscoveryRequest`.
    Sotw(SotwRequest),
    /// `DeltaDiscoveryRequest`.
    Delta(DeltaRequest),
}

/// Fields of a `DiscoveryRequest`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SotwRequest {
    /// `type_url`.
    pub type_url: String,
    /// Last accepted version (C1, C2).
    pub version: String,
    /// Nonce of the response answered, or the latest (C8).
    pub nonce: String,
    /// `resource_names`, sorted.
    pub names: Vec<Name>,
    /// Text of `error_detail`; `Some` makes it a NACK.
    pub error: Option<String>,
    /// Whether the node goes along (C3).
    pub with_node: bool,
}

/// Fields of a `DeltaDiscoveryRequest`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeltaRequest {
    /// `type_url`.
    pub type_url: String,
    /// `resource_names_subscribe`, sorted.
    pub subscribe: Vec<Name>,
    /// `resource_names_unsubscribe`, sorted.
    pub unsubscribe: Vec<Name>,
    /// `initial_resource_versions` (D2).
    pub initial_versions: BTreeMap<Name, String>,
    /// Only in an ACK or NACK (D1).
    pub nonce: String,
    /// Text of `error_detail`; `Some` makes it a NACK.
    pub error: Option<String>,
    /// Whether the node goes along (C3).
    pub with_node: bool,
}

/// What a stream asks of or tells its surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<V> {
    /// Open a transport now, then say [`Input::Opened`] or [`Input::Closed`].
    Connect,
    /// The transport is gone; the last good resources stay (K3).
    Disconnected {
        /// As given to [`Input::Closed`].
        reason: String,
        /// Whether this counts as a failure, which a stream with a response does not (K2).
        failed: bool,
    },
    /// A response was judged; or a resource's TTL ended (C12); or a cached value answers a new
    /// subscription (S8).
    Update(Update<V>),
    /// A resource does not exist now; it may still come (C9, C13, D10).
    Absent {
        /// Its type.
        type_url: TypeUrl,
        /// Its name.
        name: Name,
        /// How this is known.
        why: AbsentReason,
    },
    /// A response for a type that nobody ever subscribed was dropped unanswered (C5).
    Ignored {
        /// The type, as it stood in the response.
        type_url: String,
    },
    /// `initial_fetch_timeout` ended without an answer; initialisation goes on without it.
    FetchTimeout {
        /// The subscription's type.
        type_url: TypeUrl,
        /// The subscription's name, or `*`.
        name: Name,
    },
}

/// How a resource is known not to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AbsentReason {
    /// The server said so in `resource_errors` (C13).
    Error(String),
    /// Delta: the server answered the subscription with a removal (D10).
    Removed,
    /// The server was asked over a standing connection and kept silent (C9).
    Silence,
}

/// What one response changed. A rejected resource keeps its last good value (C11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update<V> {
    /// Type of all that it names.
    pub type_url: TypeUrl,
    /// Version of the response: `version_info`, or delta's `system_version_info`.
    pub version: String,
    /// Why there is an update.
    pub cause: Cause,
    /// New or other than before, in the order of the response.
    pub changed: Vec<Changed<V>>,
    /// Sent again with the same bytes: name and version, which may be new.
    pub unchanged: Vec<(Name, String)>,
    /// Gone.
    pub removed: Vec<Name>,
    /// Refused; if there is one, the response was answered by a NACK.
    pub rejected: Vec<Rejected>,
    /// What the server could not give, and why; the cached value stays unless it is removed (C13).
    pub errors: Vec<ResourceError>,
}

/// Why there is an [`Update`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A new subscription of a name whose value is still held (S8).
    Cached,
    /// A response (or a file's new content).
    Response,
    /// A time to live ended (C12).
    Ttl,
}

/// A resource that is new or has new content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed<V> {
    /// Its name.
    pub name: Name,
    /// Its version; in state of the world that of the response.
    pub version: String,
    /// What it means.
    pub value: V,
    /// The bytes of the `Any`, for dumps.
    pub raw: Bytes,
}

/// What [`Rejected::name`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// The resource's name.
    ByName,
    /// Its place in the response: `resources[3]`.
    ByPlace,
}

/// A resource that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its name, or its place where not even a name could be read.
    pub name: Name,
    /// Which of the two `name` is.
    pub called: Called,
    /// The version that was refused.
    pub version: String,
    /// Which rules it breaks.
    pub problems: Problems,
    /// The refused bytes, for dumps; empty when there were none.
    pub raw: Bytes,
}
