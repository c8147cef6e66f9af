//! Statistics: nothing of it has an effect here, but what Envoy refuses is refused.

use proto::envoy::config::metrics::v3::stats_sink::ConfigType;
use proto::envoy::config::metrics::v3::tag_specifier::TagValue;
use proto::envoy::config::metrics::v3::{StatsConfig, StatsSink, TagSpecifier};

use crate::base::pattern::Re2;
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::extension;

/// Tags that have a default pattern in Envoy 1.40, so that a tag of that name needs none.
const DEFAULT_TAGS: [&str; 48] = [
    "envoy.clientssl_prefix",
    "envoy.cluster_name",
    "envoy.connection_limit_prefix",
    "envoy.dns_filter_prefix",
    "envoy.dynamo_operation",
    "envoy.dynamo_partition_id",
    "envoy.dynamo_table",
    "envoy.endpoint_address",
    "envoy.endpoint_hostname",
    "envoy.ext_authz_prefix",
    "envoy.fault_downstream_cluster",
    "envoy.google_grpc_client_prefix",
    "envoy.grpc_bridge_method",
    "envoy.grpc_bridge_service",
    "envoy.http_conn_manager_prefix",
    "envoy.http_user_agent",
    "envoy.listener_address",
    "envoy.local_http_ratelimit_prefix",
    "envoy.local_listener_ratelimit_prefix",
    "envoy.local_network_ratelimit_prefix",
    "envoy.mongo_callsite",
    "envoy.mongo_cmd",
    "envoy.mongo_collection",
    "envoy.mongo_prefix",
    "envoy.proxy_protocol_prefix",
    "envoy.proxy_protocol_version",
    "envoy.ratelimit_prefix",
    "envoy.rbac_http_prefix",
    "envoy.rbac_policy_name",
    "envoy.rbac_prefix",
    "envoy.rds_route_config",
    "envoy.redis_prefix",
    "envoy.response_code",
    "envoy.response_code_class",
    "envoy.route",
    "envoy.scoped_rds_config",
    "envoy.ssl_cipher",
    "envoy.ssl_cipher_suite",
    "envoy.ssl_curve",
    "envoy.ssl_sigalg",
    "envoy.ssl_version",
    "envoy.tcp_prefix",
    "envoy.thrift_prefix",
    "envoy.tls_certificate",
    "envoy.udp_prefix",
    "envoy.virtual_cluster",
    "envoy.virtual_host",
    "envoy.worker_id",
];

pub(super) fn check(config: Option<&StatsConfig>) -> Result<(), Problems> {
    let mut all = Collector::default();
    for (i, tag) in config.into_iter().flat_map(|config| &config.stats_tags).enumerate() {
        all.keep(check_tag(tag).at_index("stats_tags", i));
    }
    all.finish()
}

fn check_tag(tag: &TagSpecifier) -> Result<(), Problems> {
    match &tag.tag_value {
        Some(TagValue::FixedValue(_)) => Ok(()),
        Some(TagValue::Regex(regex)) if !regex.is_empty() => {
            let compiled = Re2::new(regex).map(|_| ());
            let compiled = compiled.map_err(|why| {
                let got = format!("\"{regex}\"");
                Problems::from(Reason::Invalid { got, must: format!("an RE2 pattern ({why})") })
            });
            compiled.at("regex")
        }
        _ if DEFAULT_TAGS.contains(&tag.tag_name.as_str()) => Ok(()),
        _ => {
            let name = tag.tag_name.clone();
            let reason = Reason::Unknown { kind: "tag with a default regex", name };
            Err(reason.into()).at("tag_name")
        }
    }
}

pub(super) fn check_sinks(sinks: &[StatsSink]) -> Result<(), Problems> {
    let mut all = Collector::default();
    for (i, sink) in sinks.iter().enumerate() {
        all.keep(check_sink(sink).at_index("stats_sinks", i));
    }
    all.finish()
}

/// A sink is accepted if Envoy has it.
fn check_sink(sink: &StatsSink) -> Result<(), Problems> {
    let Some(ConfigType::TypedConfig(any)) = &sink.config_type else {
        return Err(extension::unknown("stats sink", &sink.name, "").into());
    };
    let opened = extension::open(any).at("typed_config")?;
    let named = ["envoy.config.metrics.v3.", "envoy.extensions.stat_sinks."];
    let is_sink = named.iter().any(|prefix| opened.message.starts_with(prefix));
    if is_sink && extension::is_known(&opened.message) {
        return Ok(());
    }
    Err(extension::unknown("stats sink", &sink.name, "").into())
}
