//! What is served: an immutable set of resources, versioned by its content.
//!
//! A version is a hash of content alone (xds-protocol S9): the same resources have the same
//! version after a restart, on another machine, and after an edit that changes only comments.
//! So a [`Resource`]'s bytes must already be canonical (maps sorted) when it is made; `canonical`
//! sees to that. Where a resource was written ([`Place`]) is kept for texts to people and is no
//! part of a version.
//!
//! Nothing here knows nodes, streams or files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use proto::google::protobuf::Any;
use xxhash_rust::xxh64::Xxh64;

/// A type URL such as `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeUrl(Arc<str>);

impl TypeUrl {
    /// The whole URL, with its `type.googleapis.com/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the message without its package, such as `Cluster`.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or(&self.0)
    }
}

impl From<&str> for TypeUrl {
    fn from(url: &str) -> Self {
        Self(url.into())
    }
}

impl PartialEq<str> for TypeUrl {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl fmt::Display for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for TypeUrl {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// LDS.
pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
/// RDS.
pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// SRDS.
pub const SCOPED_ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration";
/// VHDS.
pub const VIRTUAL_HOST: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";
/// CDS.
pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
/// EDS.
pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// SDS.
pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// RTDS.
pub const RUNTIME: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
/// ECDS.
pub const EXTENSION: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// Most texts about what our own data plane does not support, in one place.
pub const UNSUPPORTED_MAX: usize = 100;

/// Where something was written, for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named to us.
    pub file: Arc<PathBuf>,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1; 0 where only the line is known.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)?;
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        Ok(())
    }
}

/// Names that a resource refers to, over ADS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Clusters that a route, filter or cluster sends to.
    pub clusters: Vec<Arc<str>>,
    /// Load assignments that a cluster asks for by EDS.
    pub endpoints: Vec<Arc<str>>,
    /// Route configurations that a listener or a scope asks for by RDS.
    pub routes: Vec<Arc<str>>,
}

/// One resource as it goes to clients.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The name under which clients ask for it.
    pub name: Arc<str>,
    /// Hash of name, type and bytes.
    pub version: Arc<str>,
    /// Type URL and canonical bytes.
    pub any: Any,
    /// What it refers to.
    pub references: References,
    /// Where it was written.
    pub place: Option<Place>,
    /// What our own data plane does not support of it: a text each, with its place. No part of
    /// the version, since what clients get is the same.
    pub unsupported: Vec<String>,
}

impl Resource {
    /// A resource; its version is made from the other parts.
    #[must_use]
    pub fn new(name: &str, any: Any, references: References, place: Option<Place>) -> Self {
        let mut hash = Xxh64::new(0);
        for part in [any.type_url.as_bytes(), name.as_bytes(), &any.value] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let version = hex(hash.digest());
        Self { name: name.into(), version, any, references, place, unsupported: Vec::new() }
    }

    /// `Cluster 'reviews'`, for texts to people.
    #[must_use]
    pub fn title(&self) -> String {
        let short = self.any.type_url.rsplit('.').next().unwrap_or_default();
        format!("{short} '{}'", self.name)
    }
}

/// What our own data plane does not support of these: at most [`UNSUPPORTED_MAX`] texts, and how
/// many more there are.
pub fn unsupported<'a>(resources: impl IntoIterator<Item = &'a Arc<Resource>>) -> Vec<String> {
    let mut texts = Vec::new();
    let mut more = 0;
    for text in resources.into_iter().flat_map(|resource| &resource.unsupported) {
        if texts.len() < UNSUPPORTED_MAX {
            texts.push(text.clone());
        } else {
            more += 1;
        }
    }
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    texts
}

/// All resources of one type.
#[derive(Debug, Default)]
pub struct TypeSet {
    version: Arc<str>,
    resources: BTreeMap<Arc<str>, Arc<Resource>>,
}

impl TypeSet {
    /// A set; of two resources with one name the later stays (callers refuse that before).
    #[must_use]
    pub fn new(resources: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        let resources: BTreeMap<_, _> =
            resources.into_iter().map(|resource| (resource.name.clone(), resource)).collect();
        let version = version_of(resources.values().map(|r| (&*r.name, &*r.version)));
        Self { version, resources }
    }

    /// Hash over names and versions of all resources.
    #[must_use]
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// The resource of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Resource>> {
        self.resources.get(name)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }
}

/// The version of a set of resources, given by name in ascending order.
#[must_use]
pub fn version_of<'a>(resources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Arc<str> {
    let mut hash = Xxh64::new(0);
    for (name, version) in resources {
        hash.update(&(name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(version.as_bytes());
    }
    hex(hash.digest())
}

fn hex(digest: u64) -> Arc<str> {
    format!("{digest:016x}").into()
}

/// Everything that one kind of node is served.
#[derive(Debug, Default)]
pub struct Snapshot {
    types: BTreeMap<TypeUrl, Arc<TypeSet>>,
    empty: Arc<TypeSet>,
    unsupported: Vec<String>,
}

impl Snapshot {
    /// A snapshot of these resources, of any types.
    #[must_use]
    pub fn new(resources: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        let mut types: BTreeMap<TypeUrl, Vec<Arc<Resource>>> = BTreeMap::new();
        for resource in resources {
            let url = TypeUrl::from(resource.any.type_url.as_str());
            types.entry(url).or_default().push(resource);
        }
        let types: BTreeMap<_, _> =
            types.into_iter().map(|(url, set)| (url, Arc::new(TypeSet::new(set)))).collect();
        let unsupported = unsupported(types.values().flat_map(|set| set.iter()));
        Self { types, empty: Arc::new(TypeSet::new([])), unsupported }
    }

    /// The set of a type, empty where there is none.
    #[must_use]
    pub fn of(&self, type_url: &str) -> &Arc<TypeSet> {
        self.types.get(type_url).unwrap_or(&self.empty)
    }

    /// All types that have a resource.
    pub fn types(&self) -> impl Iterator<Item = (&TypeUrl, &Arc<TypeSet>)> {
        self.types.iter()
    }

    /// What our own data plane does not support of it.
    #[must_use]
    pub fn unsupported(&self) -> &[String] {
        &self.unsupported
    }

    /// How many resources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.types.values().map(|set| set.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One version over all types: equal exactly where all content is.
    #[must_use]
    pub fn version(&self) -> Arc<str> {
        version_of(self.types.iter().map(|(url, set)| (url.as_str(), &**set.version())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str, value: &[u8], line: usize) -> Arc<Resource> {
        let any = Any { type_url: CLUSTER.into(), value: value.to_vec() };
        let file = Arc::new(PathBuf::from("mesh.yaml"));
        let place = Place { file, line, column: 1 };
        Arc::new(Resource::new(name, any, References::default(), Some(place)))
    }

    #[test]
    fn version_is_content_alone() {
        let one = Snapshot::new([resource("a", b"1", 3), resource("b", b"2", 9)]);
        let two = Snapshot::new([resource("b", b"2", 90), resource("a", b"1", 30)]);
        assert_eq!(one.version(), two.version());
        assert_eq!(one.of(CLUSTER).version(), two.of(CLUSTER).version());
        let other = Snapshot::new([resource("a", b"1", 3), resource("b", b"3", 9)]);
        assert_ne!(one.of(CLUSTER).version(), other.of(CLUSTER).version());
        let renamed = Snapshot::new([resource("a", b"1", 3), resource("c", b"2", 9)]);
        assert_ne!(one.of(CLUSTER).version(), renamed.of(CLUSTER).version());
    }

    #[test]
    fn absent_type_is_empty_and_has_a_version() {
        let snapshot = Snapshot::new([]);
        assert!(snapshot.of(LISTENER).is_empty());
        assert_eq!(snapshot.of(LISTENER).version(), &version_of([]));
        assert_eq!(&**snapshot.of(LISTENER).version(), "ef46db3751d8e999");
    }
}
