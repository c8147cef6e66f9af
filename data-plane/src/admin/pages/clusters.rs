//! `/clusters`: clusters, their limits and hosts.

use std::fmt::{Display, Write};

use serde_json::Value;

use super::super::json::{Object, long, pretty};
use super::super::regex_error::compile;
use super::super::reply::Reply;
use super::super::view::{ClusterView, HostView, Thresholds};
use super::Call;
use super::listeners::address_json;

pub(super) fn page(call: &Call<'_>) -> Reply {
    let Ok(filter) = call.params.get("filter").map(compile).transpose() else {
        return Reply::error(400, "Invalid re2 regex");
    };
    let mut clusters = call.state.clusters();
    if let Some(filter) = filter {
        clusters.retain(|cluster| filter.is_match(&cluster.name));
    }
    if call.params.get("format") == Some("json") {
        let statuses: Vec<_> = clusters.iter().map(cluster_json).collect();
        return Reply::json(pretty(&Object::default().put("cluster_statuses", statuses).done()));
    }
    let mut out = String::new();
    for cluster in &clusters {
        cluster_text(cluster, &mut out);
    }
    Reply::text(out)
}

fn rate_or_minus_one(rate: Option<f64>) -> f64 {
    rate.unwrap_or(-1.0)
}

fn cluster_text(cluster: &ClusterView, out: &mut String) {
    let name = cluster.name.as_str();
    let mut line = |key: &str, value: &dyn Display| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name}::{key}::{value}");
    };
    line("observability_name", &cluster.observability_name);
    if let Some(outlier) = &cluster.outlier {
        for (key, rate) in [
            ("success_rate_average", outlier.success_rate_average),
            ("success_rate_ejection_threshold", outlier.success_rate_ejection_threshold),
            ("local_origin_success_rate_average", outlier.local_origin_success_rate_average),
            (
                "local_origin_success_rate_ejection_threshold",
                outlier.local_origin_success_rate_ejection_threshold,
            ),
        ] {
            line(&format!("outlier::{key}"), &rate_or_minus_one(rate));
        }
    }
    let priorities = [("default", &cluster.default_priority), ("high", &cluster.high_priority)];
    for (priority, limits) in priorities {
        line(&format!("{priority}_priority::max_connections"), &limits.max_connections);
        line(&format!("{priority}_priority::max_pending_requests"), &limits.max_pending_requests);
        line(&format!("{priority}_priority::max_requests"), &limits.max_requests);
        line(&format!("{priority}_priority::max_retries"), &limits.max_retries);
    }
    line("added_via_api", &cluster.added_via_api);
    if !cluster.eds_service_name.is_empty() {
        line("eds_service_name", &cluster.eds_service_name);
    }
    for host in &cluster.hosts {
        host_text(name, host, out);
    }
}

fn host_text(cluster: &str, host: &HostView, out: &mut String) {
    let address = &host.address;
    let mut line = |key: &str, value: &dyn Display| {
        let _ = writeln!(out, "{cluster}::{address}::{key}::{value}");
    };
    line("cx_active", &host.cx_active);
    line("cx_connect_fail", &host.cx_connect_fail);
    line("cx_total", &host.cx_total);
    line("rq_active", &host.rq_active);
    line("rq_error", &host.rq_error);
    line("rq_pending_active", &host.rq_pending_active);
    line("rq_success", &host.rq_success);
    line("rq_timeout", &host.rq_timeout);
    line("rq_total", &host.rq_total);
    line("hostname", &host.hostname);
    line("health_flags", &health_flags(host));
    line("weight", &host.weight);
    let [region, zone, sub_zone] = &host.locality;
    line("region", region);
    line("zone", zone);
    line("sub_zone", sub_zone);
    line("canary", &host.canary);
    line("priority", &host.priority);
    line("success_rate", &rate_or_minus_one(host.success_rate));
    line("local_origin_success_rate", &rate_or_minus_one(host.local_origin_success_rate));
}

fn health_flags(host: &HostView) -> String {
    let flags = [
        (host.failed_active_health_check, "/failed_active_hc"),
        (host.failed_outlier_check, "/failed_outlier_check"),
        (host.eds_health_status == "UNHEALTHY", "/failed_eds_health"),
        (host.failed_active_degraded_check, "/degraded_active_hc"),
        (host.eds_health_status == "DEGRADED", "/degraded_eds_health"),
        (host.pending_dynamic_removal, "/pending_dynamic_removal"),
        (host.pending_active_hc, "/pending_active_hc"),
        (host.excluded_via_immediate_hc_fail, "/excluded_via_immediate_hc_fail"),
        (host.active_hc_timeout, "/active_hc_timeout"),
        (matches!(host.eds_health_status, "DRAINING" | "TIMEOUT"), "/eds_status_draining"),
    ];
    let set: String = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    if set.is_empty() { "healthy".to_owned() } else { set }
}

/// An `envoy.type.v3.Percent`, where there is one.
fn percent(rate: Option<f64>) -> Value {
    rate.map_or(Value::Null, |rate| Object::default().put("value", rate).done())
}

fn cluster_json(cluster: &ClusterView) -> Value {
    let outlier = cluster.outlier.unwrap_or_default();
    let hosts: Vec<_> = cluster.hosts.iter().map(host_json).collect();
    let thresholds = vec![
        thresholds(Object::default(), &cluster.default_priority),
        thresholds(Object::default().set("priority", "HIGH"), &cluster.high_priority),
    ];
    let breakers = Object::default().set("thresholds", thresholds).done();
    Object::default()
        .set("name", cluster.name.as_str())
        .put("added_via_api", cluster.added_via_api)
        .put("success_rate_ejection_threshold", percent(outlier.success_rate_ejection_threshold))
        .put("host_statuses", hosts)
        .put(
            "local_origin_success_rate_ejection_threshold",
            percent(outlier.local_origin_success_rate_ejection_threshold),
        )
        .set("circuit_breakers", breakers)
        .put("observability_name", cluster.observability_name.as_str())
        .put("eds_service_name", cluster.eds_service_name.as_str())
        .done()
}

fn thresholds(object: Object, limits: &Thresholds) -> Value {
    object
        .set("max_connections", limits.max_connections)
        .set("max_pending_requests", limits.max_pending_requests)
        .set("max_requests", limits.max_requests)
        .set("max_retries", limits.max_retries)
        .done()
}

fn host_json(host: &HostView) -> Value {
    let counter = |name: &str, value: u64| {
        Object::default().put("value", long(value)).set("name", name).done()
    };
    let gauge = |name: &str, value: u64| {
        let gauge = Object::default().set("type", "GAUGE");
        gauge.put("value", long(value)).set("name", name).done()
    };
    let stats = vec![
        counter("cx_connect_fail", host.cx_connect_fail),
        counter("cx_total", host.cx_total),
        counter("rq_error", host.rq_error),
        counter("rq_success", host.rq_success),
        counter("rq_timeout", host.rq_timeout),
        counter("rq_total", host.rq_total),
        gauge("cx_active", host.cx_active),
        gauge("rq_active", host.rq_active),
        gauge("rq_pending_active", host.rq_pending_active),
    ];
    let health = Object::default()
        .put("failed_active_health_check", host.failed_active_health_check)
        .put("failed_outlier_check", host.failed_outlier_check)
        .put("failed_active_degraded_check", host.failed_active_degraded_check)
        .put("pending_dynamic_removal", host.pending_dynamic_removal)
        .put("pending_active_hc", host.pending_active_hc)
        .put("excluded_via_immediate_hc_fail", host.excluded_via_immediate_hc_fail)
        .put("active_hc_timeout", host.active_hc_timeout)
        .set("eds_health_status", host.eds_health_status);
    let [region, zone, sub_zone] = &host.locality;
    let locality = Object::default()
        .put("region", region.as_str())
        .put("zone", zone.as_str())
        .put("sub_zone", sub_zone.as_str());
    Object::default()
        .set("address", address_json(&host.address))
        .set("stats", stats)
        .set("health_status", health.done())
        .put("success_rate", percent(host.success_rate))
        .put("weight", host.weight)
        .put("hostname", host.hostname.as_str())
        .put("priority", host.priority)
        .put("local_origin_success_rate", percent(host.local_origin_success_rate))
        .set("locality", locality.done())
        .done()
}
