//! A connection manager at run time: what all workers share of it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::base::names::RouteConfigName;
use crate::codec::{RequestHead, ResponseHead};
use crate::config::format::{FormatConfig, FormatShape};
use crate::config::http_manager::{HttpManagerConfig, RouteSource};
use crate::config::listener::TcpListenerConfig;
use crate::http::access_log::AccessLog;
use crate::http::chain::Chains;
use crate::http::entry;
use crate::http::exchange::{Exchange, Keep};
use crate::http::filter::FilterCx;
use crate::http::log_filter::LogFilter;
use crate::http::reply::{LocalReply, ReplyFor};
use crate::http::span::{Traced, Tracing};
use crate::http::view::{View, ViewCell};
use crate::route::{RuntimeKeys, mutation};
use crate::telemetry::access_log::{Format, LogType, Logs};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::stats::{Group, HttpStat, ListenerHttpStat, Registry, RouterStat, Scope};

/// What a connection manager counts.
#[derive(Debug)]
pub struct ManagerStats {
    /// `http.<stat_prefix>.`
    pub http: Group<HttpStat>,
    /// `listener.<address>.http.<stat_prefix>.`
    pub listener: Group<ListenerHttpStat>,
    /// `http.<stat_prefix>.`, what the router counts.
    pub router: Group<RouterStat>,
    /// `http.async-client.`, what the router counts of requests of the proxy's own, such as
    /// mirrors.
    pub own: Group<RouterStat>,
}

/// What is needed to build connection managers.
pub struct ManagerCx {
    /// Where counters are registered.
    pub registry: Registry,
    /// The `gomesh_*` families.
    pub metrics: Arc<Metrics>,
    /// The sinks of access logs.
    pub logs: Logs,
    /// The runtime layers, flattened.
    pub runtime: Arc<dyn RuntimeKeys + Send>,
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
    /// Its access logs.
    pub access_logs: Vec<AccessLog>,
    /// Whether logs want response headers.
    pub keeps: Keep,
    /// Spans of its requests; a box, since most managers make none.
    pub tracing: Option<Box<Tracing>>,
    /// `per_connection_buffer_limit_bytes` of its listener.
    pub buffer_limit: u32,
    replies: Replies,
}

/// Compiled `local_reply_config`.
#[derive(Debug, Default)]
struct Replies {
    body: Option<BodyFormat>,
    /// In the order of the configuration's mappers.
    mappers: Vec<Mapper>,
}

#[derive(Debug)]
struct Mapper {
    filter: LogFilter,
    body: Option<BodyFormat>,
}

#[derive(Debug)]
struct BodyFormat {
    format: Format,
    content_type: HeaderValue,
}

impl BodyFormat {
    /// The configuration checked that it compiles.
    fn new(config: &FormatConfig) -> Option<Self> {
        let usual = match config.shape {
            FormatShape::Json(_) => "application/json",
            FormatShape::Text(_) => "text/plain",
        };
        let content_type = config.content_type.as_deref().unwrap_or(usual);
        Some(Self {
            format: Format::compile(config).ok()?,
            content_type: HeaderValue::from_str(content_type).ok()?,
        })
    }
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
            own: cx.registry.group(Scope::http("async-client")),
        };
        let filter_cx = FilterCx { registry: &cx.registry, stat_prefix: prefix };
        let chains = Arc::new(Chains::build(config, &filter_cx));
        let access_logs: Vec<_> =
            config.access_log.iter().filter_map(|log| AccessLog::open(log, &cx.logs)).collect();
        let mappers = &config.local_reply.mappers;
        let cell = Arc::new(ViewCell::new(Arc::new(view(chains))));
        let tracing = config.tracing.as_ref().map(|tracing| {
            let traced = Traced { config: tracing, stat_prefix: prefix, cell: &cell };
            Box::new(Tracing::new(&traced, listener.traffic_direction, cx))
        });
        Self {
            config: Arc::clone(config),
            stats,
            cell,
            tracing,
            keeps: if access_logs.is_empty() { Keep::Nothing } else { Keep::Headers },
            access_logs,
            buffer_limit: listener.per_connection_buffer_limit_bytes,
            replies: Replies {
                body: config.local_reply.body_format.as_ref().and_then(BodyFormat::new),
                mappers: mappers
                    .iter()
                    .map(|mapper| Mapper {
                        filter: LogFilter::new(&mapper.filter),
                        body: mapper.body_format_override.as_ref().and_then(BodyFormat::new),
                    })
                    .collect(),
            },
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

    /// Head and body of an answer of our own, as `local_reply_config` has it.
    #[must_use]
    pub fn shape_reply(
        &self,
        mut reply: LocalReply,
        kind: ReplyFor,
        request: &RequestHead,
        ex: &Exchange,
    ) -> (ResponseHead, Bytes) {
        let rules = &self.config.local_reply;
        if rules.mappers.is_empty() && self.replies.body.is_none() {
            return reply.into_response(kind);
        }
        let found = self.mapper_of(reply.status, request, ex);
        let mapper = found.map(|at| &rules.mappers[at]);
        let mut headers = HeaderMap::new();
        if let Some(mapper) = mapper {
            reply.status = mapper.status.unwrap_or(reply.status);
            if let Some(body) = &mapper.body {
                reply.body = Bytes::copy_from_slice(body);
            }
            let entry = entry::of(ex, request, LogType::NotSet);
            for option in &mapper.headers_to_add {
                let value = ex.worker.format(&option.value, &entry);
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    let side = mutation::Side::Response;
                    mutation::put(&mut headers, &option.name, value, option.append_action, side);
                }
            }
        }
        let own = found.and_then(|at| self.replies.mappers[at].body.as_ref());
        if let Some(format) = own.or(self.replies.body.as_ref()) {
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            let mut entry = entry::of(ex, request, LogType::NotSet);
            entry.local_reply_body = Some(&text);
            entry.status = Some(reply.status.as_u16());
            reply.body = format.format.render(&entry).into();
            reply.content_type = Some(format.content_type.clone());
        }
        let (mut head, body) = reply.into_response(kind);
        head.headers.extend(headers);
        (head, body)
    }
}

impl Manager {
    /// The place of the first mapper whose condition holds for an answer that is not sent yet.
    fn mapper_of(&self, status: StatusCode, request: &RequestHead, ex: &Exchange) -> Option<usize> {
        let mut entry = entry::of(ex, request, LogType::NotSet);
        entry.status = Some(status.as_u16());
        let mut mappers = self.replies.mappers.iter();
        mappers.position(|mapper| mapper.filter.holds_for(ex, request, &entry))
    }
}
