//! Which messages become a filter chain, and which matches of two chains collide.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;
use proto::envoy::config::core::v3::TransportSocket;
use proto::envoy::config::listener::v3 as pb;
use proto::envoy::config::listener::v3::filter_chain_match::ConnectionSourceType;

use super::{DownstreamTransport, FilterChainConfig, FilterChainMatch, SourceType, filters};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::resource::ParseCx;
use crate::config::{field, metadata, tls};

/// Most combinations of match values over all chains of a listener.
const COMBINATIONS_MAX: usize = 1 << 20;

/// A filter chain.
///
/// # Errors
/// All that is wrong with it, up to the limit of problems.
pub fn parse(chain: pb::FilterChain, cx: &ParseCx<'_>) -> Result<FilterChainConfig, Problems> {
    let mut all = Collector::default();
    all.keep(refuse_proxy_proto(&chain));
    let matches = chain.filter_chain_match.unwrap_or_default();
    let matches = all.keep(parse_match(matches).at("filter_chain_match"));
    let transport = all.keep(parse_transport(chain.transport_socket.as_ref(), cx));
    let limit = chain.transport_socket_connect_timeout;
    let limit = all.keep(field::timeout(limit, None, "transport_socket_connect_timeout"));
    let filters = all.keep(filters::parse(chain.filters, cx));
    all.finish()?;
    let (Some(matches), Some(transport), Some((access, filters))) = (matches, transport, filters)
    else {
        return Err(Reason::Missing.into());
    };
    Ok(FilterChainConfig {
        name: chain.name.into(),
        matches,
        transport,
        transport_socket_connect_timeout: limit.flatten(),
        access,
        filters,
        metadata: metadata::parse(chain.metadata),
    })
}

fn parse_transport(
    socket: Option<&TransportSocket>,
    cx: &ParseCx<'_>,
) -> Result<DownstreamTransport, Problems> {
    let tls = socket.map(|socket| tls::parse::parse_downstream(socket, cx)).transpose();
    let tls = tls.at("transport_socket")?.flatten();
    Ok(tls.map_or(DownstreamTransport::RawBuffer, |tls| DownstreamTransport::Tls(Arc::new(tls))))
}

fn refuse_proxy_proto(chain: &pb::FilterChain) -> Result<(), Problems> {
    field::refuse(field::flag(chain.use_proxy_proto, false), "use_proxy_proto")
}

fn parse_match(m: pb::FilterChainMatch) -> Result<FilterChainMatch, Problems> {
    // Envoy: "contains unimplemented fields".
    field::refuse(!m.address_suffix.is_empty(), "address_suffix")?;
    field::refuse(m.suffix_len.is_some(), "suffix_len")?;
    let port = m.destination_port.map(|v| field::port(v.value, "destination_port"));
    let ports = m.source_ports.into_iter().enumerate();
    let ports = ports.map(|(i, port)| {
        let text = u16::try_from(port).map_err(|_| {
            let must = "between 1 and 65535".into();
            Problems::from(Reason::Invalid { got: port.to_string(), must })
        });
        text.at_index("source_ports", i)
    });
    let names = m.server_names.into_iter().enumerate();
    let names = names.map(|(i, name)| parse_server_name(&name).at_index("server_names", i));
    let source_type = match field::enumeration(m.source_type, "source_type")? {
        ConnectionSourceType::Any => SourceType::Any,
        ConnectionSourceType::SameIpOrLoopback => SourceType::SameIpOrLoopback,
        ConnectionSourceType::External => SourceType::External,
    };
    let direct = m.direct_source_prefix_ranges;
    let transport = Some(m.transport_protocol).filter(|t| !t.is_empty());
    Ok(FilterChainMatch {
        destination_port: port.transpose()?,
        prefix_ranges: field::cidrs(m.prefix_ranges, "prefix_ranges")?,
        server_names: names.collect::<Result<_, _>>()?,
        transport_protocol: transport.map(Into::into),
        application_protocols: m.application_protocols.into_iter().map(Into::into).collect(),
        direct_source_prefix_ranges: field::cidrs(direct, "direct_source_prefix_ranges")?,
        source_type,
        source_prefix_ranges: field::cidrs(m.source_prefix_ranges, "source_prefix_ranges")?,
        source_ports: ports.collect::<Result<_, _>>()?,
    })
}

/// Envoy: "partial wildcards are not supported".
fn parse_server_name(name: &str) -> Result<Arc<str>, Problems> {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    if rest.contains('*') {
        let must = "a name or *.suffix".into();
        return Err(Reason::Invalid { got: format!("\"{name}\""), must }.into());
    }
    Ok(name.to_ascii_lowercase().into())
}

/// One value of each kind of a match; what is `None` matches everything.
type Combination<'a> = (
    Option<u16>,
    Option<IpNet>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<IpNet>,
    SourceType,
    Option<IpNet>,
    Option<u16>,
);

/// Whether no combination of match values belongs to two chains; paths begin at the listener.
///
/// # Errors
/// Names both chains.
pub(in crate::config) fn check_disjoint(chains: &[Arc<FilterChainConfig>]) -> Result<(), Problems> {
    let mut owners: HashMap<Combination<'_>, usize> = HashMap::new();
    for (i, chain) in chains.iter().enumerate() {
        if owners.len().saturating_add(combination_count(&chain.matches)) > COMBINATIONS_MAX {
            let text = format!("more than {COMBINATIONS_MAX} combinations of match values");
            return Err(Reason::Rule(text).into()).at("filter_chains");
        }
        for combination in combinations(&chain.matches) {
            let Some(owner) = owners.insert(combination, i).filter(|owner| *owner != i) else {
                continue;
            };
            let other = &chains[owner];
            let text = if other.matches == chain.matches {
                "has the same match as"
            } else {
                "has a match that overlaps that of"
            };
            let text = format!("{text} filter_chains[{owner}] '{}'", other.name);
            return Err(Reason::Rule(text).into())
                .at("filter_chain_match")
                .at_index("filter_chains", i);
        }
    }
    Ok(())
}

fn combination_count(m: &FilterChainMatch) -> usize {
    [
        m.prefix_ranges.len(),
        m.server_names.len(),
        m.application_protocols.len(),
        m.direct_source_prefix_ranges.len(),
        m.source_prefix_ranges.len(),
        m.source_ports.len(),
    ]
    .into_iter()
    .fold(1, |product: usize, len| product.saturating_mul(len.max(1)))
}

/// All combinations of a match, as Envoy's manager spreads them over its tree.
fn combinations(m: &FilterChainMatch) -> impl Iterator<Item = Combination<'_>> {
    let copy = |list: &[IpNet]| any_of(list.iter().copied());
    let destinations = copy(&m.prefix_ranges);
    let names = any_of(m.server_names.iter().map(|name| &**name));
    let protocols = any_of(m.application_protocols.iter().map(|name| &**name));
    let direct = copy(&m.direct_source_prefix_ranges);
    let sources = copy(&m.source_prefix_ranges);
    let ports = any_of(m.source_ports.iter().copied());
    let radices = [
        destinations.len(),
        names.len(),
        protocols.len(),
        direct.len(),
        sources.len(),
        ports.len(),
    ];
    let transport = m.transport_protocol.as_deref();
    (0..combination_count(m)).map(move |mut n| {
        let mut digit = |radix: usize| {
            let d = n % radix;
            n /= radix;
            d
        };
        let at = radices.map(&mut digit);
        (
            m.destination_port,
            destinations[at[0]],
            names[at[1]],
            transport,
            protocols[at[2]],
            direct[at[3]],
            m.source_type,
            sources[at[4]],
            ports[at[5]],
        )
    })
}

/// The values, or the one that stands for all.
fn any_of<T>(values: impl Iterator<Item = T>) -> Vec<Option<T>> {
    let mut list: Vec<Option<T>> = values.map(Some).collect();
    if list.is_empty() {
        list.push(None);
    }
    list
}
