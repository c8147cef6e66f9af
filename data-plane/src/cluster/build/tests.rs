//! Updates keep hosts that stay and mark those that leave.

use super::*;
use crate::cluster::testing::{endpoint, endpoints, local, locality};
use crate::config::endpoint::HealthStatus;

fn of(ports: &[u16]) -> Vec<HostSpec> {
    specs(&endpoints(vec![locality("", 0, ports)]), &no_names)
}

#[test]
fn a_host_that_stays_is_the_same_object() {
    let first = merge(&[], &of(&[1, 2]), |_| false);
    assert!(first.membership_changed && first.changed);
    first.hosts[1].stats.request_begun();
    let second = merge(&first.hosts, &of(&[2, 3]), |_| false);
    assert!(second.membership_changed);
    assert!(Arc::ptr_eq(&first.hosts[1], &second.hosts[0]));
    assert!(first.hosts[0].is_removed() && !second.hosts[0].is_removed());
}

#[test]
fn an_equal_update_is_no_change() {
    let first = merge(&[], &of(&[1, 2]), |_| false);
    let second = merge(&first.hosts, &of(&[1, 2]), |_| false);
    assert!(!second.changed && !second.membership_changed);
    let swapped = merge(&first.hosts, &of(&[2, 1]), |_| false);
    assert!(swapped.changed && !swapped.membership_changed);
}

#[test]
fn health_alone_changes_no_membership() {
    let first = merge(&[], &of(&[1]), |_| false);
    let mut sick = of(&[1]);
    sick[0].health = HealthStatus::Unhealthy;
    let second = merge(&first.hosts, &sick, |_| false);
    assert!(second.changed && !second.membership_changed);
}

#[test]
fn doubles_within_a_priority_count_once() {
    assert_eq!(of(&[1, 1, 2]).len(), 2);
    let two = endpoints(vec![locality("", 0, &[1]), locality("", 1, &[1])]);
    let merged = merge(&[], &specs(&two, &no_names), |_| false);
    assert_eq!(merged.hosts.len(), 2);
    let again = merge(&merged.hosts, &specs(&two, &no_names), |_| false);
    assert!(!again.changed);
    assert!(Arc::ptr_eq(&merged.hosts[0], &again.hosts[0]));
}

#[test]
fn names_become_every_address_they_have() {
    let name = Address::Name { host: "svc.test".into(), port: 80 };
    let mut level = locality("", 0, &[]);
    level.endpoints = vec![endpoint(name)];
    let config = endpoints(vec![level]);
    let resolve = |name: &str, port| {
        assert_eq!((name, port), ("svc.test", 80));
        vec![local(1), local(2)]
    };
    let specs = specs(&config, &resolve);
    assert_eq!(specs.len(), 2);
    assert_eq!(&*specs[0].hostname, "svc.test");
}

#[test]
fn another_hostname_is_another_host() {
    let first = merge(&[], &of(&[1]), |_| false);
    let mut renamed = of(&[1]);
    renamed[0].hostname = "other".into();
    assert!(merge(&first.hosts, &renamed, |_| false).membership_changed);
    assert!(first.hosts[0].is_removed());
}
