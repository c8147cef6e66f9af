//! Descriptors: what `rate_limits` of routes make of a request. Pure.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::config::route::{Absent, RateLimitAction, RateLimitRule};
use crate::route::{RouteInput, header_matches, query_parameter, unescaped_queries_match};

/// Key and value of each entry. Values are bytes: headers need not be text.
pub type Descriptor<'a> = SmallVec<[(&'a str, Cow<'a, [u8]>); 4]>;

/// A request, as far as rules look at it.
pub struct Asked<'a> {
    /// Its head.
    pub request: RouteInput<'a>,
    /// The client, as far as it is believed; `None` over a Unix socket.
    pub client: Option<IpAddr>,
    /// Our own cluster.
    pub own_cluster: &'a [u8],
    /// Where its route leads.
    pub cluster: Option<&'a str>,
}

/// Adds the descriptors that rules of that stage make.
pub fn describe<'a>(
    rules: &'a [RateLimitRule],
    stage: u32,
    asked: &Asked<'a>,
    out: &mut SmallVec<[Descriptor<'a>; 4]>,
) {
    let of_stage = rules.iter().filter(|rule| rule.stage == stage);
    out.extend(of_stage.filter_map(|rule| descriptor(rule, asked)));
}

/// `None` where an action finds nothing.
fn descriptor<'a>(rule: &'a RateLimitRule, asked: &Asked<'a>) -> Option<Descriptor<'a>> {
    let mut entries = Descriptor::new();
    for action in &rule.actions {
        match entry(action, asked) {
            Found::Entry(key, value) => entries.push((key, value)),
            Found::Nothing(Absent::NoEntry) => {}
            Found::Nothing(Absent::NoDescriptor) => return None,
        }
    }
    (!entries.is_empty()).then_some(entries)
}

enum Found<'a> {
    Entry(&'a str, Cow<'a, [u8]>),
    Nothing(Absent),
}

impl<'a> Found<'a> {
    fn value(key: &'a str, value: Option<impl Into<Cow<'a, [u8]>>>, absent: Absent) -> Self {
        value.map_or(Self::Nothing(absent), |value| Self::Entry(key, value.into()))
    }

    fn when(holds: bool, key: &'a str, value: &'a str) -> Self {
        Self::value(key, holds.then_some(value.as_bytes()), Absent::NoDescriptor)
    }
}

fn entry<'a>(action: &'a RateLimitAction, asked: &Asked<'a>) -> Found<'a> {
    use RateLimitAction as A;
    let text = |text: String| Cow::Owned(text.into_bytes());
    match action {
        A::SourceCluster => Found::Entry("source_cluster", asked.own_cluster.into()),
        A::DestinationCluster => {
            let cluster = asked.cluster.map(str::as_bytes);
            Found::value("destination_cluster", cluster, Absent::NoDescriptor)
        }
        A::Header { name, key, absent } => Found::value(key, asked.request.field(name), *absent),
        A::Query { name, key, absent } => {
            Found::value(key, query_parameter(asked.request.path, name), *absent)
        }
        A::RemoteAddress => {
            let address = asked.client.map(|address| text(address.to_string()));
            Found::value("remote_address", address, Absent::NoDescriptor)
        }
        A::MaskedRemoteAddress { v4, v6 } => {
            let net = asked.client.and_then(|address| {
                let bits = if address.is_ipv4() { *v4 } else { *v6 };
                Some(text(IpNet::new(address, bits).ok()?.trunc().to_string()))
            });
            Found::value("masked_remote_address", net, Absent::NoDescriptor)
        }
        A::Generic { key, value } => Found::when(true, key, value),
        A::HeaderMatch { key, value, expected, headers } => {
            let holds = headers.iter().all(|header| header_matches(header, &asked.request));
            Found::when(holds == *expected, key, value)
        }
        A::QueryMatch { key, value, expected, query } => {
            let holds = unescaped_queries_match(query, asked.request.path);
            Found::when(holds == *expected, key, value)
        }
    }
}
