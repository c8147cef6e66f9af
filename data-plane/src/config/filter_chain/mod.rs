//! Filter chains and what a connection must be like to get one
//! (`envoy.config.listener.v3.FilterChain`, `FilterChainMatch`).
//!
//! Shape only; `parse.rs` has the rules. An empty list or `None` in a match means "any".

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::http_manager::HttpManagerConfig;
use super::metadata::Metadata;

/// One filter chain: today always a connection manager over a transport.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterChainConfig {
    /// `name`, empty if none was given.
    pub name: Arc<str>,
    /// Which connections it is for.
    pub matches: FilterChainMatch,
    /// What lies between socket and HTTP.
    pub transport: DownstreamTransport,
    /// How long the handshake of the transport may take; `None` (0): for ever; default 15 s.
    pub transport_socket_connect_timeout: Option<Duration>,
    /// The one network filter.
    pub manager: Arc<HttpManagerConfig>,
    /// `metadata`.
    pub metadata: Metadata,
}

/// The transport socket of accepted connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DownstreamTransport {
    /// In the clear (`envoy.transport_sockets.raw_buffer`, the default).
    #[default]
    RawBuffer,
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
