//! The overload manager: the limit on connections counts; other monitors are known and ignored.

use std::collections::HashSet;

use proto::envoy::config::overload::v3 as pb;
use proto::envoy::config::overload::v3::resource_monitor::ConfigType;
use proto::envoy::extensions::resource_monitors::downstream_connections::v3 as connections;
use proto::google::protobuf::Any;
use serde_json::Value;

use super::{OverloadConfig, RuntimeConfig};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::extension::{self, Body};

const CONNECTIONS: &str =
    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig";

/// The runtime key that limits connections where no monitor does.
const CONNECTIONS_KEY: &str = "overload.global_downstream_max_connections";

/// Actions that Envoy 1.40 has.
const ACTIONS: [&str; 8] = [
    "envoy.overload_actions.close_idle_http_connections",
    "envoy.overload_actions.disable_http_keepalive",
    "envoy.overload_actions.reduce_timeouts",
    "envoy.overload_actions.reject_incoming_connections",
    "envoy.overload_actions.reset_high_memory_stream",
    "envoy.overload_actions.shrink_heap",
    "envoy.overload_actions.stop_accepting_connections",
    "envoy.overload_actions.stop_accepting_requests",
];

pub(super) fn parse(manager: pb::OverloadManager) -> Result<OverloadConfig, Problems> {
    let mut all = Collector::default();
    let mut config = OverloadConfig::default();
    let mut names = HashSet::new();
    for (i, monitor) in manager.resource_monitors.into_iter().enumerate() {
        let parsed = if names.insert(monitor.name.clone()) {
            parse_monitor(&monitor)
        } else {
            Err(Problems::from(Reason::Duplicate { value: monitor.name })).at("name")
        };
        let limit = all.keep(parsed.at_index("resource_monitors", i)).flatten();
        config.max_downstream_connections = config.max_downstream_connections.or(limit);
    }
    for (i, action) in manager.actions.iter().enumerate() {
        let known = ACTIONS.contains(&action.name.as_str());
        let checked = if known {
            check_triggers(&action.triggers, &names)
        } else {
            let reason = Reason::Unknown { kind: "overload action", name: action.name.clone() };
            Err(Problems::from(reason)).at("name")
        };
        all.keep(checked.at_index("actions", i));
    }
    for (i, point) in manager.loadshed_points.iter().enumerate() {
        all.keep(check_triggers(&point.triggers, &names).at_index("loadshed_points", i));
    }
    all.finish().map(|()| config)
}

/// The old runtime key counts where no monitor limits connections.
pub(super) fn with_runtime(mut config: OverloadConfig, runtime: &RuntimeConfig) -> OverloadConfig {
    if config.max_downstream_connections.is_none() {
        config.max_downstream_connections = match runtime.find(CONNECTIONS_KEY) {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
    }
    config
}

fn parse_monitor(monitor: &pb::ResourceMonitor) -> Result<Option<u64>, Problems> {
    let empty = Any::default();
    let any = match &monitor.config_type {
        Some(ConfigType::TypedConfig(any)) => any,
        None => &empty,
    };
    let opened = extension::open(any).at("typed_config")?;
    match opened.body {
        Body::Message(bytes) if opened.message == CONNECTIONS => {
            let config: connections::DownstreamConnectionsConfig =
                extension::decode(&bytes).at("typed_config")?;
            let limit = config.max_active_downstream_connections;
            u64::try_from(limit).map(Some).map_err(|_| {
                let must = "greater than 0".into();
                Problems::from(Reason::Invalid { got: limit.to_string(), must })
            })
        }
        .at("max_active_downstream_connections")
        .at("typed_config"),
        _ if opened.message.starts_with("envoy.extensions.resource_monitors.")
            && extension::is_known(&opened.message) =>
        {
            Ok(None)
        }
        _ => Err(extension::unknown("resource monitor", &monitor.name, &opened.message).into()),
    }
}

fn check_triggers(triggers: &[pb::Trigger], monitors: &HashSet<String>) -> Result<(), Problems> {
    let mut seen = HashSet::new();
    for (i, trigger) in triggers.iter().enumerate() {
        let reason = if !monitors.contains(&trigger.name) {
            Reason::Unknown { kind: "resource monitor", name: trigger.name.clone() }
        } else if !seen.insert(&trigger.name) {
            Reason::Duplicate { value: trigger.name.clone() }
        } else {
            continue;
        };
        return Err(reason.into()).at("name").at_index("triggers", i);
    }
    Ok(())
}
