//! Statistics: nothing of it has an effect here, but what Envoy refuses is refused.

use proto::envoy::config::core::v3::Node;
use proto::envoy::config::metrics::v3::stats_sink::ConfigType;
use proto::envoy::config::metrics::v3::statsd_sink::StatsdSpecifier;
use proto::envoy::config::metrics::v3::tag_specifier::TagValue;
use proto::envoy::config::metrics::v3::{StatsConfig, StatsSink, StatsdSink, TagSpecifier};
use proto::prost::Message as _;

use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::extension::{self, Body};

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
            let got = format!("\"{regex}\"");
            let must = "a pattern whose parentheses and brackets pair".into();
            let refused: Result<(), Problems> = Err(Reason::Invalid { got, must }.into());
            if is_balanced(regex) { Ok(()) } else { refused.at("regex") }
        }
        _ if DEFAULT_TAGS.contains(&tag.tag_name.as_str()) => Ok(()),
        _ => {
            let name = tag.tag_name.clone();
            let reason = Reason::Unknown { kind: "tag with a default regex", name };
            Err(reason.into()).at("tag_name")
        }
    }
}

pub(super) fn check_sinks(sinks: &[StatsSink], node: Option<&Node>) -> Result<(), Problems> {
    let mut all = Collector::default();
    let named = node.is_some_and(|node| !node.id.is_empty() && !node.cluster.is_empty());
    for (i, sink) in sinks.iter().enumerate() {
        all.keep(check_sink(sink, named).at_index("stats_sinks", i));
    }
    all.finish()
}

/// A sink is accepted if Envoy has it. `named`: the node has an id and a cluster, which Envoy's TCP
/// connection to a statsd asks for.
fn check_sink(sink: &StatsSink, named: bool) -> Result<(), Problems> {
    let Some(ConfigType::TypedConfig(any)) = &sink.config_type else {
        return Err(extension::unknown("stats sink", &sink.name, "").into());
    };
    let opened = extension::open(any).at("typed_config")?;
    let prefixes = ["envoy.config.metrics.v3.", "envoy.extensions.stat_sinks."];
    if opened.message == "envoy.config.metrics.v3.StatsdSink" {
        let Body::Message(bytes) = opened.body else { return Ok(()) };
        let statsd = StatsdSink::decode(&*bytes).unwrap_or_default();
        if matches!(statsd.statsd_specifier, Some(StatsdSpecifier::TcpClusterName(_))) && !named {
            let text = "needs node.id and node.cluster, in the file or by --service-node and \
                        --service-cluster";
            return Err(Reason::Rule(text.into()).into()).at("tcp_cluster_name").at("typed_config");
        }
    }
    let is_sink = prefixes.iter().any(|prefix| opened.message.starts_with(prefix));
    if is_sink && extension::is_known(&opened.message) {
        return Ok(());
    }
    Err(extension::unknown("stats sink", &sink.name, "").into())
}

/// Whether groups and classes of an ECMAScript pattern are closed. Envoy compiles these patterns
/// with another engine than all others (look-ahead is allowed), so this is all that is checked.
fn is_balanced(regex: &str) -> bool {
    let (mut depth, mut in_class) = (0_usize, false);
    let mut chars = regex.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.next().is_none() => return false,
            '[' if !in_class => in_class = true,
            // A class of characters by name, such as `[:digit:]`, inside of a class.
            '[' => {
                let named = chars.clone().next() == Some(':');
                if named && chars.by_ref().skip(1).find(|c| *c == ']').is_none() {
                    return false;
                }
            }
            ']' if in_class => in_class = false,
            '(' if !in_class => depth += 1,
            ')' if !in_class => match depth.checked_sub(1) {
                Some(outer) => depth = outer,
                None => return false,
            },
            _ => {}
        }
    }
    depth == 0 && !in_class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_with_look_ahead_pass_and_unclosed_ones_do_not() {
        assert!(is_balanced(r"^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*|[_\[\]a]*))\.)"));
        assert!(is_balanced(r"\(|[(]"));
        assert!(!is_balanced("("));
        assert!(!is_balanced("a)"));
        assert!(!is_balanced("[a"));
        assert!(!is_balanced(r"a\"));
    }
}
