//! `/server_info`: the process, its command line and its node. Defaults are printed.

use std::time::Duration;

use proto::write::{Defaults, WriteOptions, bytes_to_json};
use serde_json::Value;

use super::super::json::{Object, pretty};
use super::super::reply::Reply;
use super::super::view::CommandLine;
use super::Call;

pub(super) fn page(call: &Call<'_>) -> Reply {
    let server = call.state.server();
    let options = WriteOptions { defaults: Defaults::Print, ..WriteOptions::default() };
    let node = bytes_to_json("envoy.config.core.v3.Node", &server.node, &options).ok();
    let node = node.and_then(|json| serde_json::from_str::<Value>(&json).ok());
    let uptime = seconds(server.uptime);
    let page = Object::default()
        .set("version", server.version)
        .set("state", server.state.as_str())
        .set("uptime_current_epoch", uptime.clone())
        .set("uptime_all_epochs", uptime)
        .set("hot_restart_version", "disabled")
        .set("command_line_options", command_line(&server.options))
        .set("node", node)
        .set("hot_restart_initializing", false);
    Reply::json(pretty(&page.done()))
}

/// Whole seconds, as Envoy counts its uptime.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

/// A duration as proto JSON prints it.
fn precise(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => seconds(duration),
        millis => format!("{}.{millis:03}s", duration.as_secs()),
    }
}

fn command_line(options: &CommandLine) -> Value {
    let text = |text: &String| Value::from(text.as_str());
    Object::default()
        .set("base_id", "0")
        .set("concurrency", options.concurrency)
        .set("config_path", text(&options.config_path))
        .set("config_yaml", text(&options.config_yaml))
        .set("allow_unknown_static_fields", options.allow_unknown_static_fields)
        .set("admin_address_path", text(&options.admin_address_path))
        .set("local_address_ip_version", options.local_address_ip_version)
        .set("log_level", text(&options.log_level))
        .set("component_log_level", text(&options.component_log_level))
        .set("log_format", text(&options.log_format))
        .set("log_path", text(&options.log_path))
        .set("service_cluster", text(&options.service_cluster))
        .set("service_node", text(&options.service_node))
        .set("service_zone", text(&options.service_zone))
        .set("file_flush_interval", precise(options.file_flush_interval))
        .set("drain_time", precise(options.drain_time))
        .set("parent_shutdown_time", precise(options.parent_shutdown_time))
        .set("mode", options.mode)
        .set("disable_hot_restart", options.disable_hot_restart)
        .set("enable_mutex_tracing", false)
        .set("restart_epoch", 0)
        .set("cpuset_threads", options.cpuset_threads)
        .set("reject_unknown_dynamic_fields", options.reject_unknown_dynamic_fields)
        .set("log_format_escaped", options.log_format_escaped)
        .set("disabled_extensions", options.disabled_extensions.clone())
        .set("ignore_unknown_dynamic_fields", options.ignore_unknown_dynamic_fields)
        .set("use_dynamic_base_id", false)
        .set("base_id_path", "")
        .set("drain_strategy", options.drain_strategy)
        .set("enable_fine_grain_logging", false)
        .set("socket_path", "@envoy_domain_socket")
        .set("socket_mode", 0)
        .set("enable_core_dump", false)
        .set("stats_tag", options.stats_tag.clone())
        .set("skip_hot_restart_on_no_parent", false)
        .set("skip_hot_restart_parent_stats", false)
        .set("skip_deprecated_logs", options.skip_deprecated_logs)
        .set("file_flush_min_size", options.file_flush_min_size)
        .set("log_stacktrace_single_entry", false)
        .done()
}
