//! Filter chains and what a connection must be like to get one
//! (`envoy.config.listener.v3.FilterChain`, `FilterChainMatch`).
//!
//! Shape only; `parse.rs` has the rules. An empty list or `None` in a match means "any".

pub(in crate::config) mod filters;
pub mod parse;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::http_manager::HttpManagerConfig;
use super::metadata::Metadata;
use super::rbac::network::NetworkRbacConfig;
use super::tcp_proxy::TcpProxyConfig;
use super::tls::DownstreamTls;

/// One filter chain.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterChainConfig {
    /// `name`, empty if none was given.
    pub name: Arc<str>,
    /// Which connections it is for.
    pub matches: FilterChainMatch,
    /// What lies between socket and HTTP.
    pub transport: DownstreamTransport,
    /// How long the handshake of the transport may take; `None` (0, the default): for ever.
    pub transport_socket_connect_timeout: Option<Duration>,
    /// Which connections may be served; all of them must agree.
    pub access: Vec<Arc<NetworkRbacConfig>>,
    /// What is done with the connection.
    pub filters: NetworkFilters,
    /// `metadata`.
    pub metadata: Metadata,
}

/// The filter that ends a chain, as the one thing that it amounts to.
#[derive(Clone, Debug, PartialEq)]
pub enum NetworkFilters {
    /// No filter at all: Envoy closes the connection as soon as it is accepted.
    Close,
    /// The connection manager.
    Http(Arc<HttpManagerConfig>),
    /// The TCP proxy.
    Tcp(Arc<TcpProxyConfig>),
}

/// The transport socket of accepted connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum DownstreamTransport {
    /// In the clear (`envoy.transport_sockets.raw_buffer`, the default).
    #[default]
    RawBuffer,
    /// TLS (`envoy.transport_sockets.tls`).
    Tls(Arc<DownstreamTls>),
}

/// `FilterChainMatch`; Envoy looks at the fields in this order and picks the most specific.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FilterChainMatch {
    /// Port that the connection was made to.
    pub destination_port: Option<u16>,
    /// Address that the connection was made to.
    pub prefix_ranges: Vec<IpNet>,
    /// Names that the client asked for (SNI), exact or `*.suffix`, in lower case.
    pub server_names: Vec<Arc<str>>,
    /// `raw_buffer` or `tls`, as a listener filter found it.
    pub transport_protocol: Option<Arc<str>>,
    /// Protocols that the client offers (ALPN).
    pub application_protocols: Vec<Arc<str>>,
    /// The peer's own address, before a listener filter replaced it.
    pub direct_source_prefix_ranges: Vec<IpNet>,
    /// Whether the peer is on this machine.
    pub source_type: SourceType,
    /// The peer's address.
    pub source_prefix_ranges: Vec<IpNet>,
    /// The peer's port.
    pub source_ports: Vec<u16>,
}

/// `FilterChainMatch.ConnectionSourceType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SourceType {
    /// Any (the default).
    #[default]
    Any,
    /// Not this machine.
    External,
    /// The same address, or loopback.
    SameIpOrLoopback,
}

impl FilterChainConfig {
    /// Its connection manager, if it has one.
    #[must_use]
    pub const fn manager(&self) -> Option<&Arc<HttpManagerConfig>> {
        match &self.filters {
            NetworkFilters::Close | NetworkFilters::Tcp(_) => None,
            NetworkFilters::Http(manager) => Some(manager),
        }
    }
}
