//! From configured endpoints to hosts, keeping what stays. Pure.
//!
//! The hosts of a cluster come from one place: its `load_assignment` (STATIC), an EDS update, or
//! the same form with names resolved (STRICT_DNS, LOGICAL_DNS). An address that was there before
//! keeps its [`Host`], with counters, health and connections; what left is marked removed.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::host::{CheckTarget, HealthFlag, Host, HostAddress, HostSpec};
use crate::config::address::Address;
use crate::config::endpoint::{EndpointConfig, EndpointsConfig, Locality};

/// Addresses of a name and port, as far as they are known.
pub type Resolve<'a> = &'a dyn Fn(&str, u16) -> Vec<SocketAddr>;

/// No name has an address: STATIC and EDS.
#[must_use]
pub fn no_names(_: &str, _: u16) -> Vec<SocketAddr> {
    Vec::new()
}

/// What the endpoints say about each host. Of equal addresses within a priority the first counts.
#[must_use]
pub fn specs(endpoints: &EndpointsConfig, resolve: Resolve<'_>) -> Vec<HostSpec> {
    let mut specs = Vec::new();
    let mut seen = HashSet::new();
    for level in &endpoints.localities {
        let locality = Arc::new(level.locality.clone());
        for endpoint in &level.endpoints {
            for address in addresses(&endpoint.address, resolve) {
                if seen.insert((address.clone(), level.priority)) {
                    specs.push(spec(endpoint, address, (&locality, level.priority)));
                }
            }
        }
    }
    specs
}

fn addresses(address: &Address, resolve: Resolve<'_>) -> Vec<HostAddress> {
    match address {
        Address::Ip(address) => vec![HostAddress::Socket(*address)],
        Address::Pipe(pipe) => vec![HostAddress::Pipe(Path::new(&*pipe.path).into())],
        Address::Name { host, port } => {
            resolve(host, *port).into_iter().map(HostAddress::Socket).collect()
        }
    }
}

fn spec(
    endpoint: &EndpointConfig,
    address: HostAddress,
    (locality, priority): (&Arc<Locality>, u32),
) -> HostSpec {
    let hostname = match &endpoint.address {
        Address::Name { host, .. } if endpoint.hostname.is_empty() => host,
        _ => &endpoint.hostname,
    };
    HostSpec {
        check: check_target(endpoint, &address),
        address,
        hostname: Arc::clone(hostname),
        locality: Arc::clone(locality),
        metadata: Arc::clone(&endpoint.metadata),
        weight: endpoint.weight,
        priority,
        health: endpoint.health_status,
    }
}

fn check_target(endpoint: &EndpointConfig, own: &HostAddress) -> CheckTarget {
    let check = &endpoint.health_check;
    let other = check.address.as_ref().and_then(|a| addresses(a, &no_names).into_iter().next());
    let address = match (check.port, other) {
        (None, other) => other,
        (Some(port), other) => Some(match other.unwrap_or_else(|| own.clone()) {
            HostAddress::Socket(address) => SocketAddr::new(address.ip(), port).into(),
            pipe @ HostAddress::Pipe(_) => pipe,
        }),
    };
    let hostname = Arc::clone(&check.hostname);
    CheckTarget { address, hostname, disabled: check.disable_active_health_check }
}

/// The hosts after an update.
#[derive(Debug)]
pub struct Merged {
    /// All hosts, in the order of the specs.
    pub hosts: Vec<Arc<Host>>,
    /// Those of them that are new.
    pub joined: Vec<Arc<Host>>,
    /// Hosts came or went (`membership_change`).
    pub membership_changed: bool,
    /// Hosts came or went, or something that balancing looks at changed.
    pub changed: bool,
}

/// Brings `old` hosts to what `specs` say. Hosts that leave are marked as removed, but for those
/// that `stays` of: they are marked as to be removed.
#[must_use]
pub fn merge(old: &[Arc<Host>], specs: &[HostSpec], stays: impl Fn(&Host) -> bool) -> Merged {
    let mut known: HashMap<(&HostAddress, &str, &CheckTarget), Vec<&Arc<Host>>> = HashMap::new();
    for host in old.iter().rev() {
        let key = (host.address(), host.hostname(), host.check());
        known.entry(key).or_default().push(host);
    }
    let mut merged = Merged {
        hosts: Vec::with_capacity(specs.len()),
        joined: Vec::new(),
        membership_changed: false,
        changed: old.len() < specs.len(),
    };
    for (index, spec) in specs.iter().enumerate() {
        let key = (&spec.address, &*spec.hostname, &spec.check);
        if let Some(host) = known.get_mut(&key).and_then(Vec::pop) {
            merged.changed |= host.update(spec);
            merged.changed |= old.get(index).is_none_or(|old| !Arc::ptr_eq(old, host));
            merged.hosts.push(Arc::clone(host));
        } else {
            let host = Arc::new(Host::new(spec));
            merged.hosts.push(Arc::clone(&host));
            merged.joined.push(host);
            merged.membership_changed = true;
        }
    }
    let leaving: HashSet<_> = known.into_values().flatten().map(Arc::as_ptr).collect();
    for host in old.iter().filter(|host| leaving.contains(&Arc::as_ptr(host))) {
        if stays(host) {
            merged.changed |= host.set_flag(HealthFlag::PendingDynamicRemoval, true);
            merged.hosts.push(Arc::clone(host));
        } else {
            host.set_removed();
            merged.membership_changed = true;
        }
    }
    merged.changed |= merged.membership_changed;
    merged
}

#[cfg(test)]
mod tests;
