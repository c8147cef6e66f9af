//! Which messages become a listener.
//!
//! Listener filters other than the TLS inspector are refused by name, harmless ones too: each of
//! them changes when a connection is closed (`listener_filters_timeout`) or what a filter chain is
//! chosen by.

use std::sync::Arc;
use std::time::Duration;

use proto::envoy::config::core::v3 as core;
use proto::envoy::config::core::v3::address::Address as Kind;
use proto::envoy::config::listener::v3 as pb;
use proto::envoy::config::listener::v3::listener_filter::ConfigType;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;

use super::{
    BindAddress, ListenAddress, ListenerConfig, ListenerKind, TcpListenerConfig, TlsInspection,
    TrafficDirection,
};
use crate::config::address::{Address, TcpKeepalive};
use crate::config::cluster::parse::BUFFER_LIMIT_BYTES_DEFAULT;
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::extension::{self, Body};
use crate::config::filter_chain::{
    FilterChainConfig, FilterChainMatch, filters, parse as filter_chain,
};
use crate::config::resource::ParseCx;
use crate::config::{access_log, address, field, http_manager, metadata};

const TLS_INSPECTOR: &str = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";

/// `listener_filters_timeout` where none is written.
const FILTERS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);

/// A listener.
///
/// # Errors
/// All that is wrong with it, up to the limit of problems.
pub fn parse(listener: pb::Listener, cx: &ParseCx<'_>) -> Result<ListenerConfig, Problems> {
    let name = listener.name.as_str().into();
    let stat_prefix = Some(listener.stat_prefix.as_str()).filter(|p| !p.is_empty());
    let stat_prefix = stat_prefix.map(Into::into);
    let metadata = metadata::parse(listener.metadata.clone());
    let kind = match listener.api_listener.clone() {
        Some(api) => parse_api(api, cx).at("api_listener").map(ListenerKind::Api)?,
        None => ListenerKind::Tcp(Arc::new(parse_tcp(listener, cx)?)),
    };
    Ok(ListenerConfig { name, kind, stat_prefix, metadata })
}

fn parse_api(
    api: proto::envoy::config::listener::v3::ApiListener,
    cx: &ParseCx<'_>,
) -> Result<Arc<http_manager::HttpManagerConfig>, Problems> {
    let any = field::required(api.api_listener, "api_listener")?;
    let opened = extension::open(&any).at("api_listener")?;
    let parsed = match opened.body {
        Body::Message(bytes) if opened.message == filters::HTTP_MANAGER => {
            let hcm: HttpConnectionManager = extension::decode(&bytes).at("api_listener")?;
            http_manager::parse::parse(hcm, cx)
        }
        _ => Err(extension::unknown("API listener", "", &opened.message).into()),
    };
    parsed.at("api_listener").map(Arc::new)
}

fn parse_tcp(mut listener: pb::Listener, cx: &ParseCx<'_>) -> Result<TcpListenerConfig, Problems> {
    let mut all = Collector::default();
    all.keep(refuse_unbuilt(&listener));
    let inspected = all.keep(parse_listener_filters(&listener.listener_filters, cx));
    let addresses = all.keep(parse_addresses(&mut listener));
    let chains = std::mem::take(&mut listener.filter_chains);
    let filter_chains = all.keep(parse_chains(chains, cx));
    let default = listener.default_filter_chain.take();
    let default = default.map(|chain| filter_chain::parse(chain, cx).map(Arc::new)).transpose();
    let default_filter_chain = all.keep(default.at("default_filter_chain"));
    if let (Some(chains), Some(None)) = (&filter_chains, &default_filter_chain)
        && chains.is_empty()
    {
        let missing: Result<(), Problems> = Err(Reason::Missing.into());
        all.keep(missing.at("filter_chains"));
    }
    let logs = std::mem::take(&mut listener.access_log);
    let access_log = all.keep(access_log::parse::parse_all(logs, "access_log", cx));
    let limit = listener.listener_filters_timeout;
    let limit =
        all.keep(field::timeout(limit, Some(FILTERS_TIMEOUT_DEFAULT), "listener_filters_timeout"));
    let traffic_direction = all.keep(parse_direction(listener.traffic_direction));
    all.finish()?;
    let build = || {
        let filter_chains = filter_chains?;
        Some(TcpListenerConfig {
            addresses: addresses?,
            tls_inspection: inspection(inspected?, &filter_chains),
            filter_chains,
            default_filter_chain: default_filter_chain?,
            per_connection_buffer_limit_bytes: field::uint(
                listener.per_connection_buffer_limit_bytes,
                BUFFER_LIMIT_BYTES_DEFAULT,
            ),
            bind_to_port: bind_to_port(&listener),
            reuse_port: field::flag(listener.enable_reuse_port, true),
            tcp_backlog_size: listener.tcp_backlog_size.map(|v| v.value),
            traffic_direction: traffic_direction?,
            access_log: access_log?,
            listener_filters_timeout: limit?,
            continue_on_listener_filters_timeout: listener.continue_on_listener_filters_timeout,
            ignore_global_conn_limit: listener.ignore_global_conn_limit,
        })
    };
    // The collector was clean, so every part is there.
    build().ok_or_else(|| Reason::Missing.into())
}

fn bind_to_port(listener: &pb::Listener) -> bool {
    let old = listener.deprecated_v1.and_then(|old| old.bind_to_port);
    field::flag(listener.bind_to_port, true) && field::flag(old, true)
}

/// Fields whose default is harmless to write out, and whose other values are not built.
fn refuse_unbuilt(listener: &pb::Listener) -> Result<(), Problems> {
    let mut all = Collector::default();
    for (present, name) in [
        (field::flag(listener.use_original_dst, false), "use_original_dst"),
        (field::flag(listener.transparent, false), "transparent"),
        (field::flag(listener.freebind, false), "freebind"),
        (!listener.socket_options.is_empty(), "socket_options"),
        (listener.udp_listener_config.is_some(), "udp_listener_config"),
        (listener.filter_chain_matcher.is_some(), "filter_chain_matcher"),
        (listener.fcds_config.is_some(), "fcds_config"),
        (listener.listener_specifier.is_some(), "internal_listener"),
        (listener.enable_mptcp, "enable_mptcp"),
        (
            listener.per_connection_buffer_high_watermark_timeout.is_some(),
            "per_connection_buffer_high_watermark_timeout",
        ),
    ] {
        all.keep(field::refuse(present, name));
    }
    all.finish()
}

/// Whether the TLS inspector is among them; all others are refused.
fn parse_listener_filters(
    filters: &[pb::ListenerFilter],
    cx: &ParseCx<'_>,
) -> Result<bool, Problems> {
    let mut all = Collector::default();
    for (i, filter) in filters.iter().enumerate() {
        all.keep(parse_listener_filter(filter, cx).at_index("listener_filters", i));
    }
    all.finish().map(|()| !filters.is_empty())
}

fn parse_listener_filter(filter: &pb::ListenerFilter, cx: &ParseCx<'_>) -> Result<(), Problems> {
    field::refuse(filter.filter_disabled.is_some(), "filter_disabled")?;
    let message = match &filter.config_type {
        Some(ConfigType::TypedConfig(any)) => {
            extension::open_checked(any, cx).at("typed_config")?.message
        }
        _ => String::new(),
    };
    if message == TLS_INSPECTOR {
        return Ok(());
    }
    Err(extension::unknown("listener filter", &filter.name, &message).into())
}

/// Whether connections are looked at for TLS, as Envoy decides it.
fn inspection(configured: bool, chains: &[Arc<FilterChainConfig>]) -> TlsInspection {
    let needs = |m: &FilterChainMatch| match m.transport_protocol.as_deref() {
        Some(protocol) => protocol == "tls",
        None => !(m.server_names.is_empty() && m.application_protocols.is_empty()),
    };
    if configured {
        TlsInspection::Configured
    } else if chains.iter().any(|chain| needs(&chain.matches)) {
        TlsInspection::Needed
    } else {
        TlsInspection::Off
    }
}

fn parse_addresses(listener: &mut pb::Listener) -> Result<Vec<ListenAddress>, Problems> {
    let keepalive = listener.tcp_keepalive.map(address::parse_keepalive);
    let first = field::required(listener.address.take(), "address")?;
    let mut out = vec![parse_bind(first, keepalive).at("address")?];
    let more = std::mem::take(&mut listener.additional_addresses);
    for (i, additional) in more.into_iter().enumerate() {
        let parsed = parse_additional(additional, keepalive).at_index("additional_addresses", i)?;
        if out.contains(&parsed) {
            let value = format!("{:?}", parsed.bind);
            return Err(Reason::Duplicate { value }.into()).at_index("additional_addresses", i);
        }
        out.push(parsed);
    }
    Ok(out)
}

fn parse_additional(
    additional: pb::AdditionalAddress,
    keepalive: Option<TcpKeepalive>,
) -> Result<ListenAddress, Problems> {
    let options = additional.socket_options.is_some_and(|o| !o.socket_options.is_empty());
    field::refuse(options, "socket_options")?;
    let own = additional.tcp_keepalive.map(address::parse_keepalive);
    let place = field::required(additional.address, "address")?;
    parse_bind(place, own.or(keepalive)).at("address")
}

fn parse_bind(
    place: core::Address,
    tcp_keepalive: Option<TcpKeepalive>,
) -> Result<ListenAddress, Problems> {
    let ipv4_compat = match &place.address {
        Some(Kind::SocketAddress(socket)) => socket.ipv4_compat,
        _ => false,
    };
    let bind = match address::parse(place)? {
        Address::Ip(address) => BindAddress::Tcp { address, ipv4_compat },
        Address::Pipe(pipe) => BindAddress::Pipe(pipe),
        Address::Name { host, .. } => {
            field::ip(&host).at("address").at("socket_address")?;
            return Err(Reason::Missing.into());
        }
    };
    Ok(ListenAddress { bind, tcp_keepalive })
}

fn parse_chains(
    chains: Vec<pb::FilterChain>,
    cx: &ParseCx<'_>,
) -> Result<Vec<Arc<FilterChainConfig>>, Problems> {
    let mut all = Collector::default();
    let mut out = Vec::with_capacity(chains.len());
    for (i, chain) in chains.into_iter().enumerate() {
        let parsed = filter_chain::parse(chain, cx).at_index("filter_chains", i);
        out.extend(all.keep(parsed).map(Arc::new));
    }
    all.finish()?;
    filter_chain::check_disjoint(&out)?;
    Ok(out)
}

fn parse_direction(direction: i32) -> Result<TrafficDirection, Problems> {
    Ok(match field::enumeration(direction, "traffic_direction")? {
        core::TrafficDirection::Unspecified => TrafficDirection::Unspecified,
        core::TrafficDirection::Inbound => TrafficDirection::Inbound,
        core::TrafficDirection::Outbound => TrafficDirection::Outbound,
    })
}
