//! Who is served what: nodes, audiences, and shares of resources for them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::check::Problem;
use crate::snapshot::{self, Place, Resource};

/// A client, as its first request describes it (S10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `node.id`: one instance.
    pub id: String,
    /// `node.cluster`: what it is an instance of.
    pub cluster: String,
    /// Texts, numbers and booleans at the top of `node.metadata`.
    pub metadata: BTreeMap<String, String>,
}

/// The nodes that a share is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Nodes of that `node.cluster`.
    Cluster(String),
    /// All nodes.
    Everyone,
    /// Nodes whose metadata has all of these.
    Metadata(BTreeMap<String, String>),
}

impl Audience {
    /// Whether the node is one of them.
    #[must_use]
    pub fn includes(&self, node: &Node) -> bool {
        match self {
            Self::Everyone => true,
            Self::Cluster(name) => node.cluster == *name,
            Self::Metadata(wanted) => {
                wanted.iter().all(|(key, value)| node.metadata.get(key) == Some(value))
            }
        }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("every node"),
            Self::Cluster(name) => write!(f, "nodes of cluster '{name}'"),
            Self::Metadata(wanted) => {
                f.write_str("nodes with metadata")?;
                wanted.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
            }
        }
    }
}

/// Resources for some nodes. One name and type may stand in several shares with equal content.
#[derive(Clone, Debug)]
pub struct Share {
    /// Who gets them.
    pub audience: Audience,
    /// What they get.
    pub resources: Vec<Arc<Resource>>,
}

/// All that is to be served.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Who gets what.
    pub shares: Vec<Share>,
    /// All services that the operator names, discovered ones and others.
    pub services: Services,
    /// Load assignments among them whose endpoints the registry has.
    pub discovered: Vec<Discovered>,
    /// What to tell the operator.
    pub warnings: Vec<Problem>,
}

/// Names of services, by who says where their instances are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// The registry.
    pub discovered: BTreeSet<String>,
    /// The operator.
    pub written: BTreeSet<String>,
}

/// A cluster whose endpoints are what the registry has; its share holds an empty load assignment
/// in their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    /// Name of the cluster and of its load assignment.
    pub cluster: String,
    /// The service whose instances it takes.
    pub service: String,
    /// Labels that an instance must have.
    pub labels: BTreeMap<String, String>,
    /// Where it is written.
    pub place: Option<Place>,
}

impl Loaded {
    /// Each resource once.
    #[must_use]
    pub fn resources(&self) -> Vec<Arc<Resource>> {
        let mut seen = BTreeSet::new();
        let all = self.shares.iter().flat_map(|share| &share.resources);
        all.filter(|resource| seen.insert(Arc::as_ptr(resource))).cloned().collect()
    }

    /// What our own data plane does not support of it.
    #[must_use]
    pub fn unsupported(&self) -> Vec<String> {
        snapshot::unsupported(&self.resources())
    }
}
