//! Runtime layers, flattened to keys as Envoy's `walkProtoValue` does it.

use std::collections::{BTreeMap, HashSet};

use proto::envoy::config::bootstrap::v3 as pb;
use proto::envoy::config::bootstrap::v3::runtime_layer::LayerSpecifier;
use serde_json::{Map, Value};

use super::{RuntimeConfig, RuntimeLayer, RuntimeLayerKind};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::field;

pub(super) fn parse(runtime: pb::LayeredRuntime) -> Result<RuntimeConfig, Problems> {
    let mut all = Collector::default();
    let mut names = HashSet::new();
    let mut layers = Vec::with_capacity(runtime.layers.len());
    for (i, layer) in runtime.layers.into_iter().enumerate() {
        let parsed = if names.insert(layer.name.clone()) {
            parse_layer(layer)
        } else {
            Err(Problems::from(Reason::Duplicate { value: layer.name })).at("name")
        };
        layers.extend(all.keep(parsed.at_index("layers", i)));
    }
    let admins = layers.iter().filter(|layer| layer.kind == RuntimeLayerKind::Admin).count();
    if admins > 1 {
        let several: Result<(), Problems> =
            Err(Reason::Rule("there may be one admin_layer".into()).into());
        all.keep(several.at("layers"));
    }
    all.finish().map(|()| RuntimeConfig { layers })
}

fn parse_layer(layer: pb::RuntimeLayer) -> Result<RuntimeLayer, Problems> {
    let mut values = BTreeMap::new();
    let kind = match layer.layer_specifier.ok_or(Reason::Missing)? {
        LayerSpecifier::StaticLayer(fields) => {
            let fields = field::json_object(fields);
            flatten("", fields, &mut values).at("static_layer")?;
            RuntimeLayerKind::Static
        }
        LayerSpecifier::DiskLayer(_) => RuntimeLayerKind::Disk,
        LayerSpecifier::AdminLayer(_) => RuntimeLayerKind::Admin,
        LayerSpecifier::RtdsLayer(_) => RuntimeLayerKind::Rtds,
    };
    Ok(RuntimeLayer { name: layer.name.into(), values, kind })
}

fn flatten(
    prefix: &str,
    fields: Map<String, Value>,
    values: &mut BTreeMap<String, Value>,
) -> Result<(), Problems> {
    for (key, value) in fields {
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(inner) if !is_fraction(&inner) => flatten(&key, inner, values)?,
            Value::Null | Value::Array(_) => {
                let must = "a number, text, truth value or object".into();
                let got = if value.is_null() { "null" } else { "a list" }.into();
                return Err(Reason::Invalid { got, must }.into()).at_key("fields", &key);
            }
            value => {
                values.insert(key, value);
            }
        }
    }
    Ok(())
}

/// A `FractionalPercent` is one value.
fn is_fraction(fields: &Map<String, Value>) -> bool {
    fields.contains_key("numerator") || fields.contains_key("denominator")
}
