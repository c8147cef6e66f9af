//! A cluster's hosts are swapped as one; its limits stay.

use super::testing::{cluster, endpoints, locality};
use super::*;

fn backend(ports: &[u16]) -> Cluster {
    Cluster::new(Arc::new(cluster(endpoints(vec![locality("", 0, ports)]))), &Registry::new(1))
}

#[test]
fn a_static_cluster_has_its_hosts_at_once() {
    let membership = backend(&[1, 2]).hosts().membership();
    assert_eq!(membership, Membership { total: 2, healthy: 2, ..Membership::default() });
}

#[test]
fn an_equal_update_publishes_nothing() {
    let cluster = backend(&[1]);
    let before = Arc::clone(&cluster.hosts());
    cluster.set_endpoints(Arc::clone(&cluster.config().load_assignment), &build::no_names);
    assert!(Arc::ptr_eq(&before, &cluster.hosts()));
    let other = endpoints(vec![locality("", 0, &[1, 2])]);
    cluster.set_endpoints(Arc::new(other), &build::no_names);
    assert_eq!(cluster.hosts().hosts().len(), 2);
    assert!(Arc::ptr_eq(&before.hosts()[0], &cluster.hosts().hosts()[0]));
}

#[test]
fn a_map_finds_by_name() {
    let map: ClusterMap = [Arc::new(backend(&[1]))].into_iter().collect();
    assert_eq!(map.get("backend").map(|cluster| cluster.name().as_str()), Some("backend"));
    assert!(map.get("other").is_none());
    assert_eq!((map.len(), map.is_empty(), map.iter().count()), (1, false, 1));
}

#[test]
fn an_idle_cluster_is_small() {
    assert!(size_of::<Cluster>() + size_of::<HostSet>() + size_of::<Host>() < 800);
}
