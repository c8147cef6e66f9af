//! `:authority` → virtual host.
//!
//! Envoy's order: the exact domain, then the longest `*.suffix`, then the longest `prefix.*`, then
//! `*`. Here the rank is the order of the variants of `Domain`. Hosts have no case. A wildcard
//! stands for at least one byte.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::radix::Radix;
use crate::base::pattern::Case;
use crate::config::route::{Domain, HostPort, VirtualHostConfig};

#[derive(Clone, Debug)]
pub(super) struct DomainIndex {
    /// Keys are written backwards, so that a suffix is a prefix.
    backward: Radix<Backward>,
    prefixes: Radix<u32>,
    any: Option<u32>,
    port: HostPort,
}

#[derive(Clone, Copy, Debug, Default)]
struct Backward {
    exact: Option<u32>,
    suffix: Option<u32>,
}

impl DomainIndex {
    pub(super) fn build(hosts: &[VirtualHostConfig], port: HostPort) -> Self {
        let mut backward: BTreeMap<Vec<u8>, Backward> = BTreeMap::new();
        let mut prefixes = BTreeMap::new();
        let mut any = None;
        for (host, at) in hosts.iter().zip(0..) {
            for domain in &host.domains {
                match domain {
                    Domain::Exact(name) => {
                        backward.entry(reversed(name)).or_default().exact.get_or_insert(at);
                    }
                    Domain::Suffix(suffix) => {
                        backward.entry(reversed(suffix)).or_default().suffix.get_or_insert(at);
                    }
                    Domain::Prefix(prefix) => {
                        prefixes.entry(prefix.as_bytes().to_vec()).or_insert(at);
                    }
                    Domain::Any => {
                        any.get_or_insert(at);
                    }
                }
            }
        }
        Self { backward: Radix::build(backward), prefixes: Radix::build(prefixes), any, port }
    }

    /// The virtual host, as its place in the configuration.
    pub(super) fn find(&self, authority: Option<&[u8]>) -> Option<u32> {
        if self.backward.is_empty() && self.prefixes.is_empty() {
            return self.any;
        }
        // As in Envoy, a request without a host goes nowhere once domains are told apart.
        let mut host = authority?;
        if self.port == HostPort::Ignored {
            host = without_port(host);
        }
        let by_name = self.by_end(host);
        by_name.or_else(|| self.by_start(host)).or(self.any)
    }

    fn by_end(&self, host: &[u8]) -> Option<u32> {
        if self.backward.is_empty() {
            return None;
        }
        let text: SmallVec<[u8; 256]> = host.iter().rev().copied().collect();
        let (mut exact, mut suffix) = (None, None);
        self.backward.walk(&text, Case::Ignore, |depth, found| {
            if depth == text.len() {
                exact = found.exact;
            } else {
                suffix = found.suffix.or(suffix);
            }
        });
        exact.or(suffix)
    }

    fn by_start(&self, host: &[u8]) -> Option<u32> {
        let mut longest = None;
        self.prefixes.walk(host, Case::Ignore, |depth, &found| {
            if depth < host.len() {
                longest = Some(found);
            }
        });
        longest
    }
}

fn reversed(name: &str) -> Vec<u8> {
    name.bytes().rev().collect()
}

/// The host without `:port`. Colons inside an IPv6 address's brackets belong to the address.
pub(super) fn without_port(host: &[u8]) -> &[u8] {
    let colon = host.iter().rposition(|&b| b == b':');
    let bracket = host.iter().rposition(|&b| b == b']');
    match (colon, bracket) {
        (Some(colon), None) => &host[..colon],
        (Some(colon), Some(bracket)) if bracket < colon => &host[..colon],
        _ => host,
    }
}
