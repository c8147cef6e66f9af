//! Which node is served what, now.
//!
//! A [`World`] is one consistent generation: shares of resources, each for an
//! [audience](crate::share::Audience). Streams watch the [`Store`] for the next world; nothing is
//! queued for them, they see the newest when they look (a slow node skips what lies between).
//!
//! Revisions count the worlds whose content differs; they are no part of any version.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::share::{Node, Share};
use crate::snapshot::{Snapshot, version_of};

/// One generation of everything.
#[derive(Debug)]
pub struct World {
    revision: u64,
    version: Arc<str>,
    shares: Vec<Share>,
    /// Snapshots by the shares that make them up; filled when a node first asks.
    snapshots: Mutex<HashMap<Vec<usize>, Arc<Snapshot>>>,
}

impl World {
    fn new(revision: u64, shares: Vec<Share>) -> Self {
        let keyed: Vec<(String, Arc<str>)> = shares
            .iter()
            .map(|share| {
                let snapshot = Snapshot::new(share.resources.iter().cloned());
                (share.audience.to_string(), snapshot.version())
            })
            .collect();
        let version = version_of(keyed.iter().map(|(audience, v)| (audience.as_str(), &**v)));
        Self { revision, version, shares, snapshots: Mutex::default() }
    }

    /// Number of this generation, from 1.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What that node is served; `None` where nothing is meant for it.
    #[must_use]
    pub fn snapshot_for(&self, node: &Node) -> Option<Arc<Snapshot>> {
        let of_node: Vec<usize> = (0..self.shares.len())
            .filter(|index| self.shares[*index].audience.includes(node))
            .collect();
        if of_node.is_empty() {
            return None;
        }
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        let made = snapshots.entry(of_node).or_insert_with_key(|indexes| {
            let shares = indexes.iter().map(|index| &self.shares[*index]);
            Arc::new(Snapshot::new(shares.flat_map(|share| share.resources.iter().cloned())))
        });
        Some(made.clone())
    }

    /// All shares.
    #[must_use]
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }
}

/// The newest world, and its watchers.
#[derive(Debug)]
pub struct Store {
    world: watch::Sender<Arc<World>>,
}

impl Store {
    /// A store that begins with revision 1.
    #[must_use]
    pub fn new(shares: Vec<Share>) -> Self {
        Self { world: watch::Sender::new(Arc::new(World::new(1, shares))) }
    }

    /// Puts new shares in force; equal content keeps the revision and wakes no one.
    ///
    /// Returns the new revision where there is one.
    pub fn publish(&self, shares: Vec<Share>) -> Option<u64> {
        let revision = self.world.borrow().revision + 1;
        let world = World::new(revision, shares);
        let changed = self.world.send_if_modified(|current| {
            let changed = current.version != world.version;
            let revision = if changed { world.revision } else { current.revision };
            // Places may have moved within the file although nothing that is served changed.
            *current = Arc::new(World { revision, ..world });
            changed
        });
        changed.then_some(revision)
    }

    /// The newest world.
    #[must_use]
    pub fn current(&self) -> Arc<World> {
        self.world.borrow().clone()
    }

    /// Sees every later world, or only the newest of several.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<World>> {
        self.world.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::share::Audience;
    use crate::snapshot::{CLUSTER, References, Resource};
    use proto::google::protobuf::Any;

    fn share(audience: Audience, names: &[&str]) -> Share {
        let made = |name: &&str| {
            let any = Any { type_url: CLUSTER.into(), value: vec![] };
            Arc::new(Resource::new(name, any, References::default(), None))
        };
        Share { audience, resources: names.iter().map(made).collect() }
    }

    fn node(cluster: &str, metadata: &[(&str, &str)]) -> Node {
        let metadata = metadata.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Node { id: "n".into(), cluster: cluster.into(), metadata }
    }

    fn names(world: &World, node: &Node) -> Option<Vec<String>> {
        let snapshot = world.snapshot_for(node)?;
        Some(snapshot.of(CLUSTER).iter().map(|r| r.name.to_string()).collect())
    }

    #[test]
    fn nodes_get_the_shares_that_name_them() {
        let role = BTreeMap::from([("role".to_owned(), "edge".to_owned())]);
        let store = Store::new(vec![
            share(Audience::Cluster("edge".into()), &["a"]),
            share(Audience::Metadata(role), &["b"]),
        ]);
        let world = store.current();
        assert_eq!(names(&world, &node("edge", &[])), Some(vec!["a".to_owned()]));
        let both = node("edge", &[("role", "edge")]);
        assert_eq!(names(&world, &both), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(names(&world, &node("x", &[("role", "edge")])), Some(vec!["b".to_owned()]));
        assert_eq!(names(&world, &node("x", &[])), None);
    }

    #[test]
    fn equal_content_keeps_the_revision_and_wakes_no_one() {
        let store = Store::new(vec![share(Audience::Everyone, &["a"])]);
        let watcher = store.watch();
        assert_eq!(store.publish(vec![share(Audience::Everyone, &["a"])]), None);
        assert!(!watcher.has_changed().unwrap());
        assert_eq!(store.publish(vec![share(Audience::Everyone, &["a", "b"])]), Some(2));
        assert!(watcher.has_changed().unwrap());
        assert_eq!(store.current().revision(), 2);
    }

    #[test]
    fn change_of_audience_alone_is_a_change() {
        let store = Store::new(vec![share(Audience::Everyone, &["a"])]);
        let narrowed = vec![share(Audience::Cluster("x".into()), &["a"])];
        assert_eq!(store.publish(narrowed), Some(2));
    }
}
