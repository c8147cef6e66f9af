//! Which messages become a bootstrap. `runtime.rs`, `overload.rs`, `stats.rs` have parts of it.

use std::sync::Arc;
use std::time::Duration;

use proto::envoy::config::bootstrap::v3 as pb;
use proto::envoy::config::bootstrap::v3::bootstrap::application_log_config::log_format::LogFormat;
use proto::envoy::config::bootstrap::v3::bootstrap::{
    DynamicResources as PbDynamic, StaticResources,
};
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::trace::v3 as trace;
use proto::prost::{Message, Name};

use super::{AdminConfig, BootstrapConfig, DynamicResources, NodeConfig, overload, runtime, stats};
use crate::config::cluster::discovery;
use crate::config::cluster::{ClusterConfig, DnsConfig};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::format::FormatShape;
use crate::config::listener::ListenerConfig;
use crate::config::resource::{Accepted, CLUSTER, LISTENER, Notes, ParseCx, Raw};
use crate::config::route::match_rules::parse_string_matcher;
use crate::config::source::ApiUse;
use crate::config::tls::Secrets;
use crate::config::tracing::{self, OpenTelemetryConfig};
use crate::config::{
    access_log, address, cluster, endpoint, extension, field, format, listener, source, verdict,
};

const STATS_FLUSH_DEFAULT: Duration = Duration::from_secs(5);

/// Checks a bootstrap against Envoy's rules and the table of supported fields, and parses it.
///
/// # Errors
/// All that is wrong with it, up to the limit of problems; paths begin at the bootstrap.
pub fn decode(
    bootstrap: pb::Bootstrap,
    cx: &ParseCx<'_>,
) -> Result<(BootstrapConfig, Notes), Problems> {
    let verdict = verdict::check(&pb::Bootstrap::type_url(), &bootstrap.encode_to_vec(), cx)?;
    let config = parse(bootstrap, cx)?;
    Ok((config, verdict.finish()?))
}

/// Parses a bootstrap whose rules have been checked.
///
/// # Errors
/// As for [`decode`].
#[expect(deprecated, reason = "tracing is still written")]
pub fn parse(bootstrap: pb::Bootstrap, cx: &ParseCx<'_>) -> Result<BootstrapConfig, Problems> {
    let mut all = Collector::default();
    all.keep(refuse_unbuilt(&bootstrap));
    all.keep(check_extensions(&bootstrap));
    all.keep(stats::check(bootstrap.stats_config.as_ref()).at("stats_config"));
    all.keep(stats::check_sinks(&bootstrap.stats_sinks, bootstrap.node.as_ref()));
    let dns = all.keep(parse_dns(&bootstrap));
    let node = all.keep(parse_node(bootstrap.node.unwrap_or_default()).at("node"));
    let admin = bootstrap.admin.map(|admin| parse_admin(admin, cx)).transpose();
    let admin = all.keep(admin.at("admin"));
    let manager = bootstrap.cluster_manager.unwrap_or_default();
    let local = manager.local_cluster_name;
    let bind = manager.upstream_bind_config.map(cluster::bind::parse).transpose();
    let bind = all.keep(bind.at("upstream_bind_config").at("cluster_manager"));
    let bind = bind.flatten().map(Arc::new);
    let tracer = all.keep(parse_tracer(bootstrap.tracing, cx)).flatten();
    let cx = &ParseCx { bind: bind.as_ref(), tracer: tracer.as_ref(), ..*cx };
    let resources = bootstrap.static_resources.unwrap_or_default();
    let resources = all.keep(parse_static(resources, cx).at("static_resources"));
    let dynamic = parse_dynamic(bootstrap.dynamic_resources.unwrap_or_default());
    let dynamic = all.keep(dynamic.at("dynamic_resources"));
    let layers = bootstrap.layered_runtime.unwrap_or_default();
    let runtime = all.keep(runtime::parse(layers).at("layered_runtime"));
    let manager = bootstrap.overload_manager.unwrap_or_default();
    let overload = all.keep(overload::parse(manager).at("overload_manager"));
    let flush = bootstrap.stats_flush_interval;
    let flush = all.keep(field::duration(flush, "stats_flush_interval"));
    let log_format = bootstrap.application_log_config.and_then(|config| config.log_format);
    let log_format = log_format.and_then(|format| format.log_format).map(parse_log_format);
    let log_format = log_format.transpose().at("log_format").at("application_log_config");
    let log_format = all.keep(log_format);
    let local = Some(local).filter(|name| !name.is_empty());
    all.finish()?;
    let build = || {
        let (listeners, clusters, secrets) = resources?;
        let runtime = runtime?;
        let overload = overload::with_runtime(overload?, &runtime);
        Some(BootstrapConfig {
            bind,
            tracer,
            node: node?,
            admin: admin?,
            listeners,
            clusters,
            secrets: Arc::new(secrets),
            dynamic: dynamic?,
            runtime,
            local_cluster_name: local.map(Into::into),
            overload,
            header_prefix: match bootstrap.header_prefix.as_str() {
                "" => "x-envoy".into(),
                prefix => prefix.into(),
            },
            dns: dns?,
            stats_flush_interval: flush?.unwrap_or(STATS_FLUSH_DEFAULT),
            log_format: log_format?,
        })
    };
    // The collector was clean, so every part is there.
    build().ok_or_else(|| Reason::Missing.into())
}

fn parse_tracer(
    tracing: Option<trace::Tracing>,
    cx: &ParseCx<'_>,
) -> Result<Option<Arc<OpenTelemetryConfig>>, Problems> {
    let provider = tracing.and_then(|tracing| tracing.http);
    let parsed = provider.map(|provider| tracing::parse::parse_provider(provider, cx));
    parsed.transpose().at("http").at("tracing").map(Option::flatten)
}

fn parse_log_format(format: LogFormat) -> Result<FormatShape, Problems> {
    match format {
        LogFormat::JsonFormat(fields) => {
            let shape = format::json(fields);
            let FormatShape::Json(json) = &shape else { return Ok(shape) };
            // Logger::Context: a JSON line carries the message by itself, escaped.
            let text = json.to_string();
            if let Some(flag) = ["%v", "%_"].into_iter().find(|flag| text.contains(flag)) {
                let must = "a JSON format without %v and %_ (use %j)".into();
                return Err(Reason::Invalid { got: flag.into(), must }.into()).at("json_format");
            }
            Ok(shape)
        }
        LogFormat::TextFormat(text) => Ok(FormatShape::Text(text.into())),
    }
}

fn refuse_unbuilt(bootstrap: &pb::Bootstrap) -> Result<(), Problems> {
    let interface = bootstrap.default_socket_interface.as_str();
    let default = "envoy.extensions.network.socket_interface.default_socket_interface";
    field::refuse(!interface.is_empty() && interface != default, "default_socket_interface")
}

/// Extensions that are looked at for being known; what they would do has no effect here.
fn check_extensions(bootstrap: &pb::Bootstrap) -> Result<(), Problems> {
    let mut all = Collector::default();
    if let Some(engine) = &bootstrap.default_regex_engine {
        all.keep(check_regex_engine(engine).at("default_regex_engine"));
    }
    if let Some(manager) = &bootstrap.listener_manager {
        let message = "envoy.config.listener.v3.ListenerManager";
        all.keep(only(manager, message, "listener manager").at("listener_manager"));
    }
    for (i, extension) in bootstrap.bootstrap_extensions.iter().enumerate() {
        let message = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener";
        let checked = only(extension, message, "bootstrap extension");
        all.keep(checked.at_index("bootstrap_extensions", i));
    }
    all.finish()
}

fn check_regex_engine(engine: &core::TypedExtensionConfig) -> Result<(), Problems> {
    only(engine, "envoy.extensions.regex_engines.v3.GoogleRE2", "regex engine")
}

fn only(
    extension: &core::TypedExtensionConfig,
    message: &str,
    kind: &'static str,
) -> Result<(), Problems> {
    let any = field::required(extension.typed_config.as_ref(), "typed_config")?;
    let opened = extension::open(any).at("typed_config")?;
    if opened.message == message {
        return Ok(());
    }
    Err(extension::unknown(kind, &extension.name, &opened.message).into())
}

fn parse_dns(bootstrap: &pb::Bootstrap) -> Result<DnsConfig, Problems> {
    if let Some(extension) = &bootstrap.typed_dns_resolver_config {
        return discovery::parse_resolver(extension).at("typed_dns_resolver_config");
    }
    if let Some(config) = bootstrap.dns_resolution_config.clone() {
        return discovery::parse_resolution(config).at("dns_resolution_config");
    }
    Ok(DnsConfig { use_tcp: bootstrap.use_tcp_for_dns_lookups, ..DnsConfig::default() })
}

fn parse_node(node: core::Node) -> Result<NodeConfig, Problems> {
    let raw = node.encode_to_vec();
    let metadata = node.metadata.map(field::json_object).unwrap_or_default();
    Ok(NodeConfig {
        id: node.id.into(),
        cluster: node.cluster.into(),
        metadata: serde_json::Value::Object(metadata),
        locality: endpoint::parse::parse_place(node.locality.unwrap_or_default()),
        user_agent_name: node.user_agent_name.into(),
        client_features: node.client_features.into_iter().map(Into::into).collect(),
        raw,
    })
}

fn parse_admin(admin: pb::Admin, cx: &ParseCx<'_>) -> Result<AdminConfig, Problems> {
    let place = admin.address.map(address::parse).transpose().at("address")?;
    if let Some(address::Address::Name { host, .. }) = &place {
        field::ip(host).at("address").at("socket_address").at("address")?;
    }
    let mut access_log = access_log::parse::parse_all(admin.access_log, "access_log", cx)?;
    if !admin.access_log_path.is_empty() {
        access_log.push(access_log::parse::plain_file(admin.access_log_path));
    }
    let paths = admin.allow_paths.into_iter().enumerate();
    let paths = paths.map(|(i, matcher)| parse_string_matcher(matcher).at_index("allow_paths", i));
    Ok(AdminConfig {
        address: place,
        access_log,
        allow_paths: paths.collect::<Result<_, _>>()?,
        ignore_global_conn_limit: admin.ignore_global_conn_limit,
    })
}

type Static = (Vec<Accepted<ListenerConfig>>, Vec<Accepted<ClusterConfig>>, Secrets);

fn parse_static(resources: StaticResources, cx: &ParseCx<'_>) -> Result<Static, Problems> {
    let mut all = Collector::default();
    let secrets = all.keep(Secrets::parse(resources.secrets, cx)).unwrap_or_default();
    let cx = &ParseCx { secrets: &secrets, ..*cx };
    let mut clusters = Vec::with_capacity(resources.clusters.len());
    for (i, message) in resources.clusters.into_iter().enumerate() {
        let raw = Raw::new(CLUSTER, message.encode_to_vec());
        let parsed = cluster::parse::parse(message, cx).at_index("clusters", i);
        clusters.extend(all.keep(parsed).map(|v| Accepted { value: Arc::new(v), raw }));
    }
    let mut listeners: Vec<Accepted<ListenerConfig>> = Vec::new();
    for (i, message) in resources.listeners.into_iter().enumerate() {
        let raw = Raw::new(LISTENER, message.encode_to_vec());
        let parsed = listener::parse::parse(message, cx).at_index("listeners", i);
        let Some(mut value) = all.keep(parsed) else { continue };
        if value.name.as_str().is_empty() {
            // Envoy makes up a UUID; a name by place is the same after a restart.
            value.name = format!("static_resources.listeners[{i}]").into();
        }
        let accepted = Accepted { value: Arc::new(value), raw };
        // A second static listener of a name is an update of the first, as in Envoy.
        match listeners.iter_mut().find(|one| one.value.name == accepted.value.name) {
            Some(earlier) => *earlier = accepted,
            None => listeners.push(accepted),
        }
    }
    all.finish().map(|()| (listeners, clusters, secrets))
}

fn parse_dynamic(dynamic: PbDynamic) -> Result<DynamicResources, Problems> {
    let ads = dynamic.ads_config.map(|config| source::parse_api(config, ApiUse::Ads));
    let ads = ads.transpose().at("ads_config")?;
    Ok(DynamicResources {
        ads: ads.map(Arc::new),
        cds: dynamic.cds_config.map(source::parse).transpose().at("cds_config")?,
        lds: dynamic.lds_config.map(source::parse).transpose().at("lds_config")?,
    })
}
