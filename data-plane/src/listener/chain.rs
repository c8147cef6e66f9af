//! Which filter chain a connection gets (`FilterChainMatch`), pure.
//!
//! Envoy looks at one criterion after the other, in a fixed order, and keeps at each step only the
//! chains that match most specifically; it never goes back. So a chain whose port matches beats one
//! without a port even if a later criterion then rules it out and nothing is left.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::config::filter_chain::{FilterChainMatch, SourceType};

/// What is known of a connection before its first byte is parsed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// Where it was made to; `None` for a Unix socket.
    pub local: Option<SocketAddr>,
    /// Where it comes from; `None` for a Unix socket.
    pub remote: Option<SocketAddr>,
    /// Name that the client asked for, in lower case.
    pub server_name: &'a str,
    /// `raw_buffer` or `tls`.
    pub transport_protocol: &'a str,
    /// Protocols that the client offers.
    pub application_protocols: &'a [&'a str],
}

/// The place of the chain for a connection; `None` is the default chain, if there is one.
#[must_use]
pub fn select(chains: &[&FilterChainMatch], facts: &Facts<'_>) -> Option<usize> {
    // Nearly every listener has one chain that takes everything.
    if let [only] = chains
        && **only == FilterChainMatch::default()
    {
        return Some(0);
    }
    let mut left: Vec<usize> = (0..chains.len()).collect();
    for criterion in CRITERIA {
        let best = left.iter().filter_map(|&at| criterion(chains[at], facts)).max()?;
        left.retain(|&at| criterion(chains[at], facts) == Some(best));
    }
    left.first().copied()
}

/// How specifically a chain matches in one respect; `None`: it does not. 0 says nothing about it.
type Criterion = fn(&FilterChainMatch, &Facts<'_>) -> Option<u32>;

/// In Envoy's order.
const CRITERIA: [Criterion; 9] = [
    |m, f| match m.destination_port {
        None => Some(0),
        Some(port) => (f.local.map(|a| a.port()) == Some(port)).then_some(1),
    },
    |m, f| prefix(&m.prefix_ranges, f.local.map(|a| a.ip())),
    |m, f| server_name(m, f.server_name),
    |m, f| match &m.transport_protocol {
        None => Some(0),
        Some(wanted) => (**wanted == *f.transport_protocol).then_some(1),
    },
    |m, f| {
        if m.application_protocols.is_empty() {
            return Some(0);
        }
        let offered = |p: &str| m.application_protocols.iter().any(|own| **own == *p);
        f.application_protocols.iter().any(|p| offered(p)).then_some(1)
    },
    |m, f| prefix(&m.direct_source_prefix_ranges, f.remote.map(|a| a.ip())),
    |m, f| match m.source_type {
        SourceType::Any => Some(0),
        SourceType::SameIpOrLoopback => is_local(f).then_some(1),
        SourceType::External => (!is_local(f)).then_some(1),
    },
    |m, f| prefix(&m.source_prefix_ranges, f.remote.map(|a| a.ip())),
    |m, f| {
        if m.source_ports.is_empty() {
            return Some(0);
        }
        f.remote.is_some_and(|a| m.source_ports.contains(&a.port())).then_some(1)
    },
];

/// The longest range that holds the address, one longer than its prefix, so that `/0` beats none.
fn prefix(ranges: &[IpNet], address: Option<IpAddr>) -> Option<u32> {
    if ranges.is_empty() {
        return Some(0);
    }
    let address = unmapped(address?);
    ranges
        .iter()
        .filter(|net| net.contains(&address))
        .map(|net| u32::from(net.prefix_len()) + 1)
        .max()
}

/// An IPv4 address in IPv6's clothes is matched as what it is.
fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Exact beats the longest `*.suffix` beats none.
fn server_name(m: &FilterChainMatch, asked: &str) -> Option<u32> {
    if m.server_names.is_empty() {
        return Some(0);
    }
    let rank = |name: &str| {
        if name == asked {
            return Some(u32::MAX);
        }
        let suffix = name.strip_prefix('*')?;
        let longer = asked.len() > suffix.len() && asked.ends_with(suffix);
        longer.then(|| u32::try_from(suffix.len()).unwrap_or(u32::MAX - 1) + 1)
    };
    m.server_names.iter().filter_map(|name| rank(name)).max()
}

fn is_local(facts: &Facts<'_>) -> bool {
    match (facts.local, facts.remote) {
        (Some(local), Some(remote)) => remote.ip().is_loopback() || local.ip() == remote.ip(),
        // A peer on a Unix socket is on this machine.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(local: &str, remote: &str) -> Facts<'static> {
        Facts {
            local: Some(local.parse().unwrap()),
            remote: Some(remote.parse().unwrap()),
            transport_protocol: "raw_buffer",
            ..Facts::default()
        }
    }

    fn by_prefix(prefix: &str) -> FilterChainMatch {
        FilterChainMatch { prefix_ranges: vec![prefix.parse().unwrap()], ..Default::default() }
    }

    #[test]
    fn the_longest_prefix_wins_and_any_is_last() {
        let chains = [by_prefix("10.0.0.0/8"), by_prefix("10.1.0.0/16"), Default::default()];
        let refs: Vec<_> = chains.iter().collect();
        assert_eq!(select(&refs, &facts("10.1.2.3:80", "1.1.1.1:5")), Some(1));
        assert_eq!(select(&refs, &facts("10.9.2.3:80", "1.1.1.1:5")), Some(0));
        assert_eq!(select(&refs, &facts("11.9.2.3:80", "1.1.1.1:5")), Some(2));
    }

    #[test]
    fn a_port_beats_a_prefix_and_there_is_no_way_back() {
        let port = FilterChainMatch {
            destination_port: Some(80),
            source_ports: vec![1],
            ..Default::default()
        };
        let chains = [port, by_prefix("10.0.0.0/8")];
        let refs: Vec<_> = chains.iter().collect();
        assert_eq!(select(&refs, &facts("10.1.2.3:80", "1.1.1.1:1")), Some(0));
        assert_eq!(select(&refs, &facts("10.1.2.3:80", "1.1.1.1:2")), None);
        assert_eq!(select(&refs, &facts("10.1.2.3:81", "1.1.1.1:2")), Some(1));
    }

    #[test]
    fn tls_chains_are_not_for_plain_connections() {
        let tls = FilterChainMatch { transport_protocol: Some("tls".into()), ..Default::default() };
        let chains = [tls];
        let refs: Vec<_> = chains.iter().collect();
        assert_eq!(select(&refs, &facts("10.1.2.3:80", "1.1.1.1:2")), None);
    }

    #[test]
    fn peers_on_this_machine_are_told_from_others() {
        let local =
            FilterChainMatch { source_type: SourceType::SameIpOrLoopback, ..Default::default() };
        let outside = FilterChainMatch { source_type: SourceType::External, ..Default::default() };
        let chains = [local, outside];
        let refs: Vec<_> = chains.iter().collect();
        assert_eq!(select(&refs, &facts("10.1.2.3:80", "127.0.0.1:2")), Some(0));
        assert_eq!(select(&refs, &facts("10.1.2.3:80", "10.1.2.3:2")), Some(0));
        assert_eq!(select(&refs, &facts("10.1.2.3:80", "10.1.2.4:2")), Some(1));
    }

    #[test]
    fn an_exact_server_name_beats_a_wildcard() {
        let named =
            |name: &str| FilterChainMatch { server_names: vec![name.into()], ..Default::default() };
        let chains = [named("*.a.com"), named("x.a.com"), named("*.com")];
        let refs: Vec<_> = chains.iter().collect();
        let ask =
            |name| select(&refs, &Facts { server_name: name, ..facts("1.1.1.1:1", "1.1.1.1:2") });
        assert_eq!(ask("x.a.com"), Some(1));
        assert_eq!(ask("y.a.com"), Some(0));
        assert_eq!(ask("b.com"), Some(2));
        assert_eq!(ask("com"), None);
    }
}
