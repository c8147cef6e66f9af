//! Resources of xDS and of files: bytes in, one of three outcomes out.
//!
//! A bad resource never blocks its neighbours: what has a name is rejected by it, what has none is
//! undecodable. Static resources of a bootstrap go through the same functions.

use std::sync::Arc;

use proto::envoy::config::cluster::v3::Cluster;
use proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use proto::envoy::config::listener::v3::Listener;
use proto::envoy::config::route::v3::RouteConfiguration;
use proto::prost::Message;
use proto::rules::Policy;

use super::cluster::{self, ClusterConfig};
use super::data_source::{DataSources, NoSources};
use super::endpoint::{self, EndpointsConfig};
use super::error::{At, Problem, Problems, Reason};
use super::extension::ExtensionParser;
use super::format::{AnyFormat, FormatCheck};
use super::listener::{self, ListenerConfig};
use super::route::{self, RouteConfig};
use super::tls::Secrets;
use super::tracing::OpenTelemetryConfig;
use super::verdict::{self, Verdict};
use crate::base::bind::BindConfig;

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
    /// Secrets of the bootstrap, by name.
    pub secrets: &'a Secrets,
    /// Where connections come from, unless a cluster says it.
    pub bind: Option<&'a Arc<BindConfig>>,
    /// The bootstrap's tracer, for managers that name none.
    pub tracer: Option<&'a Arc<OpenTelemetryConfig>>,
    /// Where the resource comes from.
    pub origin: Origin,
    /// What to do with fields that the descriptors do not know.
    pub unknown_fields: UnknownFields,
    /// Which fields are supported; [`super::support::policy`] of the same extensions.
    pub policy: &'a Policy,
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
    /// Full names of fields and enum values that Envoy is giving up; each once.
    pub deprecated_fields: Vec<String>,
    /// How many field numbers the descriptors do not know.
    pub unknown_fields: usize,
}

impl ParseCx<'static> {
    /// A context without extensions, for static configuration: tests and tools.
    #[must_use]
    pub fn bare() -> Self {
        Self {
            http_filters: &[],
            formats: &AnyFormat,
            sources: &NoSources,
            secrets: Secrets::none(),
            bind: None,
            tracer: None,
            origin: Origin::Static,
            unknown_fields: UnknownFields::Count,
            policy: super::support::bare_policy(),
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

/// Decodes one resource. `type_url` is that of the resource itself, not of a wrapper.
#[must_use]
pub fn decode(type_url: &str, bytes: &[u8], cx: &ParseCx<'_>) -> Decoded<ResourceValue> {
    match type_url {
        CLUSTER => decode_as(type_url, bytes, cx, |message: Cluster| {
            let parse = |message| Ok(Arc::new(cluster::parse::parse(message, cx)?));
            (message.name.clone(), Box::new(move || parse(message).map(ResourceValue::Cluster)))
        }),
        ENDPOINTS => decode_as(type_url, bytes, cx, |message: ClusterLoadAssignment| {
            let parse = |message| Ok(Arc::new(endpoint::parse::parse_eds(message)?));
            let name = message.cluster_name.clone();
            (name, Box::new(move || parse(message).map(ResourceValue::Endpoints)))
        }),
        LISTENER => decode_as(type_url, bytes, cx, |message: Listener| {
            let parse = |message| Ok(Arc::new(listener::parse::parse(message, cx)?));
            (message.name.clone(), Box::new(move || parse(message).map(ResourceValue::Listener)))
        }),
        ROUTE_CONFIG => decode_as(type_url, bytes, cx, |message: RouteConfiguration| {
            let parse = |message| Ok(Arc::new(route::parse(message, cx)?));
            (message.name.clone(), Box::new(move || parse(message).map(ResourceValue::RouteConfig)))
        }),
        other => {
            let must = "one of the resource types that are asked for".into();
            Decoded::Undecodable(Problem::here(Reason::Invalid { got: other.to_owned(), must }))
        }
    }
}

/// A parser that has its message already.
type Parser<'a> = Box<dyn FnOnce() -> Result<ResourceValue, Problems> + 'a>;

fn decode_as<'a, M: Message + Default>(
    type_url: &str,
    bytes: &[u8],
    cx: &ParseCx<'a>,
    split: impl FnOnce(M) -> (String, Parser<'a>),
) -> Decoded<ResourceValue> {
    let message = match M::decode(bytes) {
        Ok(message) => message,
        Err(error) => {
            let got = format!("bytes that cannot be decoded ({error})");
            let must = format!("an encoding of {}", proto::convert::type_name(type_url));
            return Decoded::Undecodable(Problem::here(Reason::Invalid { got, must }));
        }
    };
    let (name, parse) = split(message);
    if name.is_empty() {
        let nameless: Result<(), Problems> = Err(Reason::Missing.into());
        let field = if type_url == ENDPOINTS { "cluster_name" } else { "name" };
        return match nameless.at(field) {
            Ok(()) => Decoded::Undecodable(Problem::here(Reason::Missing)),
            Err(problems) => Decoded::Undecodable(problems.all()[0].clone()),
        };
    }
    match verdict::check(type_url, bytes, cx).and_then(|verdict| accept(verdict, parse)) {
        Ok((value, notes)) => {
            Decoded::Accepted(Named { name, value, raw: Raw::new(type_url, bytes), notes })
        }
        Err(problems) => Decoded::Rejected { name, problems },
    }
}

/// Runs the parser; what the table holds against the message counts if the parser has nothing
/// better to say.
fn accept<T>(
    verdict: Verdict,
    parse: impl FnOnce() -> Result<T, Problems>,
) -> Result<(T, Notes), Problems> {
    let value = parse()?;
    Ok((value, verdict.finish()?))
}
