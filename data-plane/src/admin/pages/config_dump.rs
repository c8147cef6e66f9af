//! `/config_dump`: all configuration, in Envoy's message types alone.
//!
//! Tools parse this page strictly and by position, so that the order of sections is fixed and
//! nothing of our own is ever in it.

use proto::google::protobuf::Any;
use proto::write::{Layout, WriteOptions, bytes_to_json, to_json};
use regex::Regex;
use serde_json::Value;

use super::super::json::{Object, pretty, timestamp};
use super::super::regex_error::compile;
use super::super::reply::Reply;
use super::super::view::{BootstrapView, ConfigEntry, ConfigSection, ConfigState};
use super::Call;
use super::mask::Mask;
use crate::xds::status::ErrorState;

const PREFIX: &str = "type.googleapis.com/envoy.admin.v3.";
/// Content type of this page's errors, which Envoy gives without a charset.
const PLAIN: &str = "text/plain";

pub(super) fn page(call: &Call<'_>) -> Reply {
    let name_regex = match call.params.get("name_regex").map(compile).transpose() {
        Ok(regex) => regex,
        Err(error) => {
            let source = call.params.get("name_regex").unwrap_or_default();
            let text =
                format!("INVALID_ARGUMENT: Error while parsing name_regex from {source}: {error}");
            return Reply::error(400, text).of_type(PLAIN);
        }
    };
    let sections = sections(call, name_regex.as_ref());
    let mask = call.params.get("mask").filter(|mask| !mask.is_empty());
    let configs = match (call.params.get("resource"), mask) {
        (Some(resource), mask) => resource_items(&sections, resource, mask),
        (None, Some(mask)) => masked(&sections, mask),
        (None, None) => Ok(sections),
    };
    match configs {
        Ok(configs) => Reply::json(pretty(&Object::default().put("configs", configs).done())),
        Err((status, text)) => Reply::error(status, text).of_type(PLAIN),
    }
}

type Failure = (u16, String);

fn masked(sections: &[Value], mask: &str) -> Result<Vec<Value>, Failure> {
    let parsed = Mask::parse(mask);
    let kept: Vec<_> = sections.iter().filter_map(|section| parsed.apply(section)).collect();
    if kept.is_empty() {
        let text = format!("FieldMask {mask} could not be successfully applied to any configs.");
        return Err((400, text));
    }
    Ok(kept)
}

/// Repeated fields that `?resource=` can name, and the type of their elements.
const RESOURCES: &[(&str, &str, &str)] = &[
    ("ClustersConfigDump", "static_clusters", "StaticCluster"),
    ("ClustersConfigDump", "dynamic_active_clusters", "DynamicCluster"),
    ("ClustersConfigDump", "dynamic_warming_clusters", "DynamicCluster"),
    ("EndpointsConfigDump", "static_endpoint_configs", "StaticEndpointConfig"),
    ("EndpointsConfigDump", "dynamic_endpoint_configs", "DynamicEndpointConfig"),
    ("ListenersConfigDump", "static_listeners", "StaticListener"),
    ("ListenersConfigDump", "dynamic_listeners", "DynamicListener"),
    ("ScopedRoutesConfigDump", "inline_scoped_route_configs", "InlineScopedRouteConfigs"),
    ("ScopedRoutesConfigDump", "dynamic_scoped_route_configs", "DynamicScopedRouteConfigs"),
    ("RoutesConfigDump", "static_route_configs", "StaticRouteConfig"),
    ("RoutesConfigDump", "dynamic_route_configs", "DynamicRouteConfig"),
    ("SecretsConfigDump", "static_secrets", "StaticSecret"),
    ("SecretsConfigDump", "dynamic_active_secrets", "DynamicSecret"),
    ("SecretsConfigDump", "dynamic_warming_secrets", "DynamicSecret"),
];

fn resource_items(
    sections: &[Value],
    resource: &str,
    mask: Option<&str>,
) -> Result<Vec<Value>, Failure> {
    if matches!(resource, "bootstrap" | "last_updated" | "version_info") {
        let text = format!(
            "{resource} is not a repeated field. Use ?mask={resource} to get only this field"
        );
        return Err((400, text));
    }
    let absent = || (404, format!("{resource} not found in config dump"));
    let &(dump, field, element) =
        RESOURCES.iter().find(|(_, field, _)| *field == resource).ok_or_else(absent)?;
    let url = Value::from(format!("{PREFIX}{dump}"));
    let section = sections.iter().find(|section| section["@type"] == url).ok_or_else(absent)?;
    let items = section.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let parsed = mask.map(Mask::parse);
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        let mut typed = Object::default().set("@type", format!("{PREFIX}{dump}.{element}"));
        for (name, value) in item.as_object().into_iter().flatten() {
            typed = typed.set(name, value.clone());
        }
        let typed = typed.done();
        found.push(match &parsed {
            None => typed,
            Some(parsed) => parsed.apply(&typed).ok_or_else(|| {
                let mask = mask.unwrap_or_default();
                (400, format!("FieldMask {mask} could not be successfully used."))
            })?,
        });
    }
    Ok(found)
}

/// All sections in the order on which tools rely.
fn sections(call: &Call<'_>, names: Option<&Regex>) -> Vec<Value> {
    let view = call.state.config();
    let wanted = |section: &ConfigSection| {
        let mut section = section.clone();
        if let Some(names) = names {
            section.entries.retain(|entry| names.is_match(&entry.name));
            section.nameless.clear();
        }
        section
    };
    let mut all = Vec::with_capacity(7);
    all.extend(view.bootstrap.as_ref().map(bootstrap));
    all.push(clusters(&wanted(&view.clusters)));
    if call.params.has("include_eds") {
        all.push(endpoints(&wanted(&view.endpoints)));
    }
    all.push(listeners(&wanted(&view.listeners)));
    all.push(section("ScopedRoutesConfigDump").done());
    all.push(routes(&wanted(&view.routes)));
    all.push(secrets(&wanted(&view.secrets)));
    all
}

fn section(dump: &str) -> Object {
    Object::default().set("@type", format!("{PREFIX}{dump}"))
}

const COMPACT: WriteOptions = WriteOptions {
    layout: Layout::Compact,
    defaults: proto::write::Defaults::Omit,
    sensitive: proto::write::Sensitive::Redact,
};

fn parsed(json: Option<String>) -> Value {
    json.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default()
}

/// An encoded resource as an `Any`; null if there is none.
fn any(type_url: &str, raw: &[u8]) -> Value {
    if raw.is_empty() {
        return Value::Null;
    }
    let any = Any { type_url: type_url.to_owned(), value: raw.to_vec() };
    parsed(to_json(&any, &COMPACT).ok())
}

fn bootstrap(view: &BootstrapView) -> Value {
    let json = bytes_to_json("envoy.config.bootstrap.v3.Bootstrap", &view.raw, &COMPACT).ok();
    section("BootstrapConfigDump")
        .set("bootstrap", parsed(json))
        .set("last_updated", timestamp(view.last_updated))
        .done()
}

fn error_state(error: &ErrorState, type_url: &str) -> Value {
    Object::default()
        .put("failed_configuration", any(type_url, &error.raw))
        .set("last_update_attempt", timestamp(error.last_update_attempt))
        .put("details", error.details.as_str())
        .put("version_info", error.version.as_str())
        .done()
}

/// A resource under `field`, with version, time and error.
fn entry(entry: &ConfigEntry, field: &str) -> Object {
    let error = entry.error.as_ref().map(|error| error_state(error, entry.type_url));
    Object::default()
        .put("version_info", entry.version.as_str())
        .put(field, any(entry.type_url, &entry.raw))
        .put("last_updated", entry.last_updated.map(timestamp))
        .put("error_state", error)
}

fn in_state(section: &ConfigSection, states: &[ConfigState], field: &str) -> Vec<Value> {
    let entries = section.entries.iter().filter(|entry| states.contains(&entry.state));
    entries.map(|found| entry(found, field).done()).collect()
}

fn clusters(config: &ConfigSection) -> Value {
    let all = |states: &[ConfigState]| in_state(config, states, "cluster");
    section("ClustersConfigDump")
        .put("version_info", config.version.as_str())
        .put("static_clusters", all(&[ConfigState::Static]))
        .put("dynamic_active_clusters", all(&[ConfigState::Active, ConfigState::Draining]))
        .put("dynamic_warming_clusters", all(&[ConfigState::Warming, ConfigState::Absent]))
        .done()
}

/// Envoy's endpoint dump gives neither versions nor times.
fn endpoints(config: &ConfigSection) -> Value {
    let all = |is_static: bool| -> Vec<Value> {
        let entries = config.entries.iter();
        let entries = entries.filter(|entry| (entry.state == ConfigState::Static) == is_static);
        let entries = entries.filter(|entry| !entry.raw.is_empty());
        let found = entries.map(|entry| any(entry.type_url, &entry.raw));
        found.map(|any| Object::default().set("endpoint_config", any).done()).collect()
    };
    section("EndpointsConfigDump")
        .put("static_endpoint_configs", all(true))
        .put("dynamic_endpoint_configs", all(false))
        .done()
}

fn routes(config: &ConfigSection) -> Value {
    let dynamic = [ConfigState::Active, ConfigState::Warming, ConfigState::Absent];
    section("RoutesConfigDump")
        .put("static_route_configs", in_state(config, &[ConfigState::Static], "route_config"))
        .put("dynamic_route_configs", in_state(config, &dynamic, "route_config"))
        .done()
}

fn listeners(config: &ConfigSection) -> Value {
    let mut names: Vec<&str> = Vec::new();
    for entry in config.entries.iter().filter(|entry| entry.state != ConfigState::Static) {
        if !names.contains(&entry.name.as_str()) {
            names.push(&entry.name);
        }
    }
    let mut dynamic: Vec<Value> =
        names.into_iter().map(|name| dynamic_listener(config, name)).collect();
    for error in &config.nameless {
        let error = error_state(error, "type.googleapis.com/envoy.config.listener.v3.Listener");
        dynamic.push(Object::default().set("error_state", error).done());
    }
    section("ListenersConfigDump")
        .put("version_info", config.version.as_str())
        .put("static_listeners", in_state(config, &[ConfigState::Static], "listener"))
        .put("dynamic_listeners", dynamic)
        .done()
}

/// All states of one listener: it may be in force, warming and draining at once.
fn dynamic_listener(config: &ConfigSection, name: &str) -> Value {
    let mut out = Object::default().set("name", name);
    let mut last_error = None;
    for found in config.entries.iter().filter(|entry| entry.name == name) {
        if let Some(error) = &found.error {
            last_error = Some(error_state(error, found.type_url));
        }
        let field = match found.state {
            ConfigState::Active => "active_state",
            ConfigState::Warming => "warming_state",
            ConfigState::Draining => "draining_state",
            ConfigState::Static | ConfigState::Absent => continue,
        };
        let bare = ConfigEntry { error: None, ..found.clone() };
        out = out.set(field, entry(&bare, "listener").done());
    }
    out.put("error_state", last_error).done()
}

fn secrets(config: &ConfigSection) -> Value {
    let all = |states: &[ConfigState]| -> Vec<Value> {
        let entries = config.entries.iter().filter(|entry| states.contains(&entry.state));
        let named = entries.map(|found| {
            let error = found.error.as_ref().map(|error| error_state(error, found.type_url));
            Object::default()
                .put("name", found.name.as_str())
                .put("version_info", found.version.as_str())
                .put("last_updated", found.last_updated.map(timestamp))
                .put("secret", any(found.type_url, &found.raw))
                .put("error_state", error)
                .done()
        });
        named.collect()
    };
    section("SecretsConfigDump")
        .put("static_secrets", all(&[ConfigState::Static]))
        .put("dynamic_active_secrets", all(&[ConfigState::Active]))
        .put("dynamic_warming_secrets", all(&[ConfigState::Warming, ConfigState::Absent]))
        .done()
}
