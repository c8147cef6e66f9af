//! What an operator writes: services, gateways, routes, in a mesh file.
//!
//! [`parse`] reads a file into a [`Mesh`] whose references all resolve, or into all of its faults
//! with their places. Nothing of Envoy's API appears here, and nothing is served from here.

mod fields;
mod objects;
mod parse;
mod retries;
pub mod suggest;
#[cfg(test)]
mod tests;
pub mod yaml;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use self::fields::parse_duration;
pub use self::objects::{DEFAULT, Kind, Object, Texts, merge, objects_of};
pub use self::parse::{NAME_RULE, assemble, is_name, parse};
use self::yaml::{Mark, Node};

/// A whole mesh file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mesh {
    /// What holds unless an object says otherwise.
    pub defaults: Defaults,
    /// By name.
    pub services: Vec<Service>,
    /// By name.
    pub gateways: Vec<Gateway>,
    /// As written; the order of matching is `translate`'s.
    pub routes: Vec<Route>,
    /// Envoy's resources from other files.
    pub raw: Vec<Raw>,
}

/// See [`Mesh::defaults`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// How long a request may take; Envoy's 15 s where nothing is said, 0 is no limit.
    pub timeout: Option<Duration>,
    /// When a request is tried again; never where nothing is said.
    pub retries: Option<Retries>,
}

/// When and how often a request is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    /// Conditions in Envoy's words.
    pub on: Vec<String>,
    /// Statuses that are a condition too.
    pub statuses: Vec<u32>,
    /// How often it is tried again at most; 0 is never.
    pub attempts: u32,
    /// How long one try may take.
    pub per_try: Option<Duration>,
}

/// Something that requests are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where it is written.
    pub mark: Mark,
    /// Where its instances are.
    pub endpoints: Vec<Endpoint>,
    /// Who else says where they are.
    pub discover: Discover,
    /// Parts of it, by the labels of instances.
    pub subsets: Vec<Subset>,
}

/// Who says where a service's instances are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discover {
    /// What is written, alone.
    #[default]
    Written,
    /// The instances themselves, by registering.
    Registry,
}

/// An address of a service's instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address or name.
    pub host: Host,
    /// TCP port.
    pub port: u16,
    /// For subsets.
    pub labels: BTreeMap<String, String>,
    /// Where it is written.
    pub mark: Mark,
}

/// An address, or a name for DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A literal address.
    Address(IpAddr),
    /// A name, looked up by the proxy.
    Name(String),
}

/// Instances of a service that have certain labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subset {
    /// Its name within the service.
    pub name: String,
    /// Labels that an instance must have.
    pub labels: BTreeMap<String, String>,
    /// Where it is written.
    pub mark: Mark,
}

/// A listener at the edge of the mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Its name.
    pub name: String,
    /// Where it is written.
    pub mark: Mark,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Which proxies are this gateway.
    pub nodes: Nodes,
    /// Envoy's HTTP filters that stand before the router.
    pub http_filters: Vec<Node>,
}

/// Which proxies something is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// Those of that `node.cluster`.
    Cluster(String),
    /// Those whose `node.metadata` has all of these.
    Metadata(BTreeMap<String, String>),
}

/// Requests of a gateway, and where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name, unique in the mesh.
    pub name: String,
    /// Where it is written.
    pub mark: Mark,
    /// The gateway that it belongs to.
    pub gateway: String,
    /// Host as in Envoy's `domains`: exact, `*.x`, `x.*`, `*`.
    pub host: String,
    /// Condition on the path.
    pub path: PathRule,
    /// One of these methods, or any.
    pub methods: Vec<String>,
    /// All must hold.
    pub headers: Vec<Condition>,
    /// All must hold.
    pub query: Vec<Condition>,
    /// Higher goes first.
    pub priority: i64,
    /// At least one; the weights' sum is not 0.
    pub to: Vec<Destination>,
    /// What changes on the way.
    pub rewrite: Rewrite,
    /// How long a request may take; that of the defaults where nothing is said.
    pub timeout: Option<Duration>,
    /// When a request is tried again; as the defaults where nothing is said.
    pub retries: Option<Retries>,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// `=/x`: the path itself.
    Exact(String),
    /// `/x`: it and what lies below it; never ends in a slash, `/` is the empty text.
    Prefix(String),
    /// `~re`: the whole path matches.
    Regex(String),
}

/// A condition on a header or query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Of the header (lower case) or parameter.
    pub name: String,
    /// What its value must be.
    pub value: ValueRule,
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueRule {
    /// The value itself.
    Exact(String),
    /// `*`: anything, but it must be there.
    Present,
    /// `~re`: the whole value matches.
    Regex(String),
}

/// A share of a route's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Name of a service of the mesh.
    pub service: String,
    /// Name of one of its subsets.
    pub subset: Option<String>,
    /// Weight among the destinations of the route.
    pub weight: u32,
}

impl Destination {
    /// `reviews` or `reviews/v1`, which is also the name of the cluster.
    #[must_use]
    pub fn cluster(&self) -> String {
        match &self.subset {
            Some(subset) => format!("{}/{subset}", self.service),
            None => self.service.clone(),
        }
    }
}

/// What a route changes on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Replaces what the path rule matched.
    pub path: Option<String>,
    /// Replaces the host.
    pub host: Option<String>,
}

/// Envoy's resources in other files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Path or pattern (`*` in the last part), relative to the mesh file.
    pub files: String,
    /// Who gets them; everyone who is a gateway, where nothing is said.
    pub nodes: Option<Nodes>,
    /// Where it is written.
    pub mark: Mark,
}
