//! A connection manager at run time: what all workers share of it.

use std::sync::Arc;

use http::HeaderMap;

use crate::base::names::RouteConfigName;
use crate::codec::{RequestHead, ResponseHead};
use crate::config::http_manager::{HttpManagerConfig, RouteSource};
use crate::config::listener::TcpListenerConfig;
use crate::http::chain::Chains;
use crate::http::exchange::{Exchange, Keep};
use crate::http::reply::{LocalReply, ReplyFor};
use crate::http::view::{View, ViewCell};
use crate::telemetry::stats::{
    Group, HttpStat, ListenerHttpStat, Registry, RouterStat, Scope,
};

/// What a connection manager counts.
#[derive(Debug)]
pub struct ManagerStats {
    /// `http.<stat_prefix>.`
    pub http: Group<HttpStat>,
    /// `listener.<address>.http.<stat_prefix>.`
    pub listener: Group<ListenerHttpStat>,
    /// `http.<stat_prefix>.`, what the router counts.
    pub router: Group<RouterStat>,
}

/// What is needed to build connection managers.
pub struct ManagerCx {
    /// Where counters are registered.
    pub registry: Registry,
}

/// A connection manager.
#[derive(Debug)]
pub struct Manager {
    /// What was configured.
    pub config: Arc<HttpManagerConfig>,
    /// What it counts.
    pub stats: ManagerStats,
    /// The current view.
    pub cell: Arc<ViewCell>,
    /// Whether logs want response headers.
    pub keeps: Keep,
    /// `per_connection_buffer_limit_bytes` of its listener.
    pub buffer_limit: u32,
}

impl Manager {
    /// Builds a manager with its first view.
    #[must_use]
    pub fn build(
        config: &Arc<HttpManagerConfig>,
        listener_stat_name: &str,
        listener: &TcpListenerConfig,
        cx: &ManagerCx,
        view: impl FnOnce(Arc<Chains>) -> View,
    ) -> Self {
        let prefix = &config.stat_prefix;
        let stats = ManagerStats {
            http: cx.registry.group(Scope::http(prefix)),
            listener: cx.registry.group(Scope::listener_http(listener_stat_name, prefix)),
            router: cx.registry.group(Scope::http(prefix)),
        };
        let chains = Arc::new(Chains::build(config));
        Self {
            config: Arc::clone(config),
            stats,
            cell: Arc::new(ViewCell::new(Arc::new(view(chains)))),
            keeps: Keep::Nothing,
            buffer_limit: listener.per_connection_buffer_limit_bytes,
        }
    }

    /// The route table that it reads by RDS.
    #[must_use]
    pub fn rds_name(&self) -> Option<&RouteConfigName> {
        match &self.config.routes {
            RouteSource::Inline(_) => None,
            RouteSource::Rds { name, .. } => Some(name),
        }
    }
}

impl Manager {
    /// Head and body of an answer of our own.
    #[must_use]
    pub fn shape_reply(
        &self,
        reply: LocalReply,
        kind: ReplyFor,
        _request: &RequestHead,
        _ex: &Exchange,
    ) -> (ResponseHead, bytes::Bytes) {
        reply.into_response(kind)
    }

    /// A header value.
    #[must_use]
    pub fn render(&self, _f: &str, _h: &RequestHead, _n: &HeaderMap, _ex: &Exchange) -> Vec<u8> {
        Vec::new()
    }

    /// A header value.
    #[must_use]
    pub fn render_response(&self, _f: &str, _n: &HeaderMap, _ex: &Exchange) -> Vec<u8> {
        Vec::new()
    }
}
