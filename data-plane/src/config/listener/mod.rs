//! Listeners (`envoy.config.listener.v3.Listener`).
//!
//! Shape only; `parse.rs` has the rules. Defaults are Envoy's, resolved.

pub mod parse;

use std::sync::Arc;
use std::time::Duration;

use super::access_log::AccessLogConfig;
use super::address::{Pipe, TcpKeepalive};
use super::filter_chain::FilterChainConfig;
use super::http_manager::HttpManagerConfig;
use super::metadata::Metadata;
use crate::base::names::ListenerName;

/// A listener, ready to be bound.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerConfig {
    /// Its name; a static listener without one gets a unique name from the bootstrap's parser.
    pub name: ListenerName,
    /// Where it listens, or the connection manager that an API listener offers.
    pub kind: ListenerKind,
    /// `stat_prefix`; `None`: counters bear the address.
    pub stat_prefix: Option<Arc<str>>,
    /// `metadata`.
    pub metadata: Metadata,
}

/// The two kinds of listeners.
#[derive(Clone, Debug, PartialEq)]
pub enum ListenerKind {
    /// `api_listener`: no socket; for clients that embed the proxy.
    Api(Arc<HttpManagerConfig>),
    /// A listener on TCP or Unix sockets.
    Tcp(Arc<TcpListenerConfig>),
}

/// What a listener on sockets does.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpListenerConfig {
    /// `address` and then `additional_addresses`; at least one.
    pub addresses: Vec<ListenAddress>,
    /// Chains in the order written; their matches are all different.
    pub filter_chains: Vec<Arc<FilterChainConfig>>,
    /// The chain for connections that no other matches.
    pub default_filter_chain: Option<Arc<FilterChainConfig>>,
    /// Soft limit on what is buffered a connection and direction, in bytes; default 1 MiB; 0 is
    /// no limit.
    pub per_connection_buffer_limit_bytes: u32,
    /// Whether a socket is bound at all; default true.
    pub bind_to_port: bool,
    /// Whether each worker has a socket of its own; default true.
    pub reuse_port: bool,
    /// Length of the accept queue; `None` is the system's maximum.
    pub tcp_backlog_size: Option<u32>,
    /// What traffic it is for.
    pub traffic_direction: TrafficDirection,
    /// Access logs of connections.
    pub access_log: Vec<AccessLogConfig>,
    /// Whether a connection's first bytes are looked at for TLS before its chain is chosen.
    pub tls_inspection: TlsInspection,
    /// How long listener filters may take; default 15 s; `None` (0): for ever.
    pub listener_filters_timeout: Option<Duration>,
    /// After that time the connection goes on without them instead of being closed.
    pub continue_on_listener_filters_timeout: bool,
    /// Whether its connections are outside the global limit of connections.
    pub ignore_global_conn_limit: bool,
}

/// One socket address of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenAddress {
    /// What is bound.
    pub bind: BindAddress,
    /// TCP keep-alive of accepted connections; `None` leaves it off.
    pub tcp_keepalive: Option<TcpKeepalive>,
}

/// What is bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BindAddress {
    /// A Unix domain socket.
    Pipe(Pipe),
    /// TCP.
    Tcp {
        /// IP address and port; port 0 lets the system choose.
        address: std::net::SocketAddr,
        /// An IPv6 socket takes IPv4 connections too (`ipv4_compat`).
        ipv4_compat: bool,
    },
}

/// `envoy.config.core.v3.TrafficDirection`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrafficDirection {
    /// Traffic to the workload.
    Inbound,
    /// Traffic from the workload.
    Outbound,
    /// Not said (the default).
    #[default]
    Unspecified,
}

/// Why a connection's first bytes are looked at (`envoy.filters.listener.tls_inspector`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsInspection {
    /// They are not.
    #[default]
    Off,
    /// The filter is configured.
    Configured,
    /// A chain cannot be chosen without it; Envoy adds the filter by itself then.
    Needed,
}

impl ListenerConfig {
    /// The part with sockets, unless it is an API listener.
    #[must_use]
    pub fn tcp(&self) -> Option<&Arc<TcpListenerConfig>> {
        match &self.kind {
            ListenerKind::Api(_) => None,
            ListenerKind::Tcp(tcp) => Some(tcp),
        }
    }

    /// All connection managers, in the order of the chains.
    pub fn managers(&self) -> impl Iterator<Item = &Arc<HttpManagerConfig>> {
        let (api, tcp) = match &self.kind {
            ListenerKind::Api(manager) => (Some(manager), None),
            ListenerKind::Tcp(tcp) => (None, Some(tcp)),
        };
        let chains =
            tcp.into_iter().flat_map(|t| t.filter_chains.iter().chain(&t.default_filter_chain));
        api.into_iter().chain(chains.filter_map(|chain| chain.manager()))
    }
}
