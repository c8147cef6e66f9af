//! Resources of xDS and of files: bytes in, one of three outcomes out.
//!
//! A bad resource never blocks its neighbours: what has a name is rejected by it, what has none is
//! undecodable. Static resources of a bootstrap go through the same functions.

use std::sync::Arc;

use super::cluster::ClusterConfig;
use super::data_source::{DataSources, NoSources};
use super::endpoint::EndpointsConfig;
use super::error::{Problem, Problems};
use super::extension::ExtensionParser;
use super::format::{AnyFormat, FormatCheck};
use super::listener::ListenerConfig;
use super::route::RouteConfig;

/// Type URL of listeners.
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// Type URL of route configurations.
pub const ROUTE_CONFIG: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// Type URL of clusters.
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// Type URL of load assignments.
pub const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";

/// What a parser may know besides the message.
#[derive(Clone, Copy)]
pub struct ParseCx<'a> {
    /// HTTP filters that exist.
    pub http_filters: &'a [&'a dyn ExtensionParser],
    /// Which formats compile.
    pub formats: &'a dyn FormatCheck,
    /// Files and environment variables that a configuration names.
    pub sources: &'a dyn DataSources,
    /// Where the resource comes from.
    pub origin: Origin,
    /// What to do with fields that the descriptors do not know.
    pub unknown_fields: UnknownFields,
}

/// Where a resource comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Over xDS or from a file source.
    Dynamic,
    /// From the bootstrap.
    Static,
}

/// What to do with field numbers that the descriptors do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownFields {
    /// Accept and count them.
    Count,
    /// Refuse the resource.
    Refuse,
}

/// A resource of any type.
#[derive(Clone, Debug, PartialEq)]
pub enum ResourceValue {
    /// A cluster.
    Cluster(Arc<ClusterConfig>),
    /// A load assignment.
    Endpoints(Arc<EndpointsConfig>),
    /// A listener.
    Listener(Arc<ListenerConfig>),
    /// A route configuration.
    RouteConfig(Arc<RouteConfig>),
}

/// What became of one resource.
#[derive(Clone, Debug)]
pub enum Decoded<T> {
    /// Good.
    Accepted(Named<T>),
    /// Its name is known, and something is wrong with it.
    Rejected {
        /// Its name.
        name: String,
        /// What is wrong.
        problems: Problems,
    },
    /// Not even its name could be read.
    Undecodable(Problem),
}

/// An accepted resource and what was noticed on the way.
#[derive(Clone, Debug)]
pub struct Named<T> {
    /// Its name in its type's name space.
    pub name: String,
    /// Its value.
    pub value: T,
    /// Its bytes, and a hash of them.
    pub raw: Raw,
    /// What was accepted without effect.
    pub notes: Notes,
}

/// A resource as it came, for dumps, and a hash to tell versions apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Type URL.
    pub type_url: Arc<str>,
    /// The serialized message.
    pub bytes: Arc<[u8]>,
    /// xxHash64 of `bytes`.
    pub hash: u64,
}

/// A static resource of the bootstrap: its value and its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted<T> {
    /// Its value.
    pub value: Arc<T>,
    /// Its bytes.
    pub raw: Raw,
}

/// What was accepted without effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Full names of fields that are set and have no effect here, such as
    /// `envoy.config.cluster.v3.Cluster.track_cluster_stats`; each once.
    pub ignored_fields: Vec<String>,
    /// Field numbers that the descriptors do not know.
    pub unknown_fields: usize,
}

impl ParseCx<'static> {
    /// A context without extensions, for static configuration: tests and tools.
    #[must_use]
    pub const fn bare() -> Self {
        Self {
            http_filters: &[],
            formats: &AnyFormat,
            sources: &NoSources,
            origin: Origin::Static,
            unknown_fields: UnknownFields::Count,
        }
    }
}

impl Raw {
    /// Keeps `bytes` and computes their hash.
    #[must_use]
    pub fn new(type_url: &str, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let hash = xxhash_rust::xxh64::xxh64(&bytes, 0);
        Self { type_url: type_url.into(), bytes, hash }
    }
}
