//! The walk over wire bytes behind [`super::check`].

use std::collections::{BTreeMap, HashSet};

use super::finding::{Finding, FindingKind, PathStep};
use super::pgv::{self, Check, FieldRules, Scalar, Violation};
use super::policy::{Policy, Support};
use crate::convert::type_name;
use crate::schema::read::{self, Entries, any_parts, is_default, items, last_field};
use crate::schema::{Cardinality, Deprecation, Field, Kind, Message, Special, schema};
use crate::wire::{Value, unzigzag};

/// Most messages inside each other that are walked; protobuf's own limit.
pub const DEPTH_MAX: usize = 100;

/// Most findings that object and most that do not; further ones are dropped.
pub const FINDINGS_MAX: usize = 256;

/// All that is to say about the message `bytes` of type `type_url` (or plain message name).
#[must_use]
pub fn check(type_url: &str, bytes: &[u8], policy: &Policy) -> Vec<Finding> {
    let (path, findings) = (Vec::new(), Vec::new());
    let mut walk = Walk { policy, path, findings, counts: [0; 2], mute: 0, opaque: 0, lax: 0 };
    match schema().message(type_name(type_url)) {
        Some(message) => walk.any_or_message(message, bytes, 0),
        None => walk.found(FindingKind::UnknownType { type_url: type_url.to_owned() }),
    }
    walk.findings
}

struct Walk<'p> {
    policy: &'p Policy,
    path: Vec<PathStep>,
    findings: Vec<Finding>,
    /// How many findings object, and how many do not.
    counts: [usize; 2],
    /// Above 0 inside a message whose constraints do not count.
    mute: u32,
    /// Above 0 inside of metadata, whose `Any`s only their readers look into, in Envoy as well.
    opaque: u32,
    /// Above 0 inside of a balancing policy, whose `Any` Envoy reads without checking it.
    lax: u32,
}

impl Walk<'_> {
    fn found(&mut self, kind: FindingKind) {
        let muted = self.mute > 0 && matches!(kind, FindingKind::Constraint { .. });
        let count = &mut self.counts[usize::from(kind.is_note())];
        if !muted && *count < FINDINGS_MAX {
            *count += 1;
            self.findings.push(Finding { path: self.path.clone(), kind });
        }
    }

    fn broken(&mut self, violation: Option<Violation>, field: &Field) {
        if let Some(Violation { got, must }) = violation {
            let got = if field.sensitive { "[redacted]".to_owned() } else { got };
            self.found(FindingKind::Constraint { got, must });
        }
    }

    fn within(&mut self, step: PathStep, f: impl FnOnce(&mut Self)) {
        self.path.push(step);
        f(self);
        self.path.pop();
    }

    /// A message at any place, whatever kind of message it is.
    fn any_or_message(&mut self, message: &'static Message, bytes: &[u8], depth: usize) {
        if depth > DEPTH_MAX {
            return self.found(FindingKind::TooDeep);
        }
        match message.special {
            Special::Any => self.any(bytes, depth),
            // Free data: no rules, no numbers of their own.
            Special::Struct | Special::ListValue | Special::Value => {}
            _ => self.message(message, bytes, depth),
        }
    }

    fn any(&mut self, bytes: &[u8], depth: usize) {
        let Some((type_url, value)) = any_parts(bytes) else {
            return self.found(FindingKind::Malformed);
        };
        match schema().message(type_name(type_url)) {
            _ if type_url.is_empty() || self.opaque > 0 => {}
            Some(message) => {
                let mute = u32::from(self.lax > 0);
                self.mute += mute;
                self.any_or_message(message, value, depth + 1);
                self.mute -= mute;
            }
            None => self.found(FindingKind::UnknownType { type_url: type_url.to_owned() }),
        }
    }

    fn message(&mut self, message: &'static Message, bytes: &[u8], depth: usize) {
        let unknown = |number| self.found(FindingKind::UnknownField { number });
        let Some(entries) = read::known_fields(message, bytes, unknown) else {
            return self.found(FindingKind::Malformed);
        };
        let opaque = u32::from(message.name == "envoy.config.core.v3.Metadata");
        self.opaque += opaque;
        let lax = u32::from(message.name == "envoy.config.cluster.v3.LoadBalancingPolicy.Policy");
        self.lax += lax;
        self.mute += u32::from(!message.validated);
        let mut rest = entries.as_slice();
        for (position, field) in message.fields.iter().enumerate() {
            let count = rest.iter().take_while(|(at, _)| *at == position).count();
            let (mine, after) = rest.split_at(count);
            rest = after;
            if mine.is_empty() && field.rules.is_none() {
                continue;
            }
            self.path.push(PathStep::Field(field.name));
            self.status(message, position, mine);
            self.field(message, field, mine, depth);
            self.path.pop();
        }
        self.oneofs(message, &entries);
        self.mute -= u32::from(!message.validated);
        self.opaque -= opaque;
        self.lax -= lax;
    }

    /// What the policy and the deprecation notes say of a field that is set.
    fn status(&mut self, message: &'static Message, position: usize, entries: Entries<'_, '_>) {
        let field = &message.fields[position];
        let set = match entries.last() {
            None => false,
            Some((_, value)) => {
                field.presence || field.cardinality != Cardinality::Single || !is_default(*value)
            }
        };
        if !set {
            return;
        }
        let (name, field_name) = (message.name.as_str(), field.name);
        match self.policy.support(message, position) {
            Support::Supported => {}
            Support::Ignored => {
                self.found(FindingKind::Ignored { message: name, field: field_name });
            }
            Support::Unsupported => {
                self.found(FindingKind::Unsupported { message: name, field: field_name });
            }
        }
        if field.deprecation != Deprecation::No {
            self.found(FindingKind::Deprecated {
                field: format!("{name}.{field_name}"),
                value: None,
                disallowed: field.deprecation == Deprecation::Disallowed,
            });
        }
    }

    fn field(
        &mut self,
        message: &'static Message,
        field: &'static Field,
        entries: Entries<'_, '_>,
        depth: usize,
    ) {
        match field.cardinality {
            Cardinality::Single => self.single(message, field, entries, depth),
            Cardinality::Repeated => self.repeated(message, field, entries, depth),
            Cardinality::Map => self.map(field, entries, depth),
        }
    }

    fn single(
        &mut self,
        message: &'static Message,
        field: &'static Field,
        entries: Entries<'_, '_>,
        depth: usize,
    ) {
        let rules = field.rules.as_deref();
        let last = entries.last().map(|(_, value)| *value);
        if let (None, true) = (last, field.presence) {
            // The rules of a oneof's field count only while it is the one chosen.
            if field.oneof.is_none() && rules.is_some_and(|rules| rules.required) {
                self.found(FindingKind::Constraint { got: "nothing".into(), must: "set".into() });
            }
            return;
        }
        self.enum_value(message, field, last);
        if matches!(field.kind, Kind::Message(_)) && entries.len() > 1 {
            // Protobuf merges a message that comes in parts: the same as joining the bytes.
            let joined: Vec<u8> =
                entries.iter().flat_map(|(_, part)| part.bytes()).copied().collect();
            return self.value(field, rules, Some(Value::Bytes(&joined)), depth);
        }
        self.value(field, rules, last, depth);
    }

    fn enum_value(&mut self, message: &Message, field: &Field, value: Option<Value<'_>>) {
        let Kind::Enum(at) = field.kind else { return };
        // Envoy looks only at what is set, so a disallowed default passes.
        let Some(number) = value.map(|value| value.number() as i32) else { return };
        if number == 0 && !field.presence && field.cardinality == Cardinality::Single {
            return;
        }
        let known = schema().enums[at].values.iter().find(|value| value.number == number);
        if let Some(known) = known.filter(|known| known.deprecation != Deprecation::No) {
            self.found(FindingKind::Deprecated {
                field: format!("{}.{}", message.name, field.name),
                value: Some(known.name),
                disallowed: known.deprecation == Deprecation::Disallowed,
            });
        }
    }

    /// One value (`None`: the default) against its rules, and the message in it.
    fn value(
        &mut self,
        field: &'static Field,
        rules: Option<&FieldRules>,
        value: Option<Value<'_>>,
        depth: usize,
    ) {
        let Kind::Message(at) = field.kind else {
            return self.scalar(field, field.kind, rules, value);
        };
        let bytes = value.map(Value::bytes).unwrap_or_default();
        let inner = &schema().messages[at];
        if let Some(rules) = rules {
            match inner.special {
                Special::Wrapper => {
                    let kind = inner.fields[0].kind;
                    return match last_field(bytes, 1) {
                        Some(value) => self.scalar(field, kind, Some(rules), value),
                        None => self.found(FindingKind::Malformed),
                    };
                }
                Special::Duration | Special::Timestamp => {
                    match pgv::nanoseconds(bytes) {
                        Some(nanos) => self.broken(rules.verdict(Scalar::Time(nanos)), field),
                        None => self.found(FindingKind::Malformed),
                    }
                    return;
                }
                Special::Any => {
                    let url = any_parts(bytes).map(|(type_url, _)| type_url).unwrap_or_default();
                    self.broken(rules.verdict(Scalar::TypeUrl(url)), field);
                }
                _ => {}
            }
        }
        let skip = u32::from(rules.is_some_and(|rules| rules.skip));
        self.mute += skip;
        self.any_or_message(inner, bytes, depth + 1);
        self.mute -= skip;
    }

    fn scalar(
        &mut self,
        field: &Field,
        kind: Kind,
        rules: Option<&FieldRules>,
        value: Option<Value<'_>>,
    ) {
        let value = value.unwrap_or(Value::Group);
        match scalar(kind, value) {
            None => self.found(FindingKind::Malformed),
            Some(scalar) => {
                if let Some(rules) = rules {
                    self.broken(rules.verdict(scalar), field);
                }
            }
        }
    }

    fn repeated(
        &mut self,
        message: &'static Message,
        field: &'static Field,
        entries: Entries<'_, '_>,
        depth: usize,
    ) {
        let Some(values) = items(field, entries) else {
            return self.found(FindingKind::Malformed);
        };
        let rules = match field.rules.as_deref().map(|rules| &rules.check) {
            Some(Check::Repeated(rules)) if !(rules.ignore_empty && values.is_empty()) => {
                self.broken(pgv::count_verdict(values.len(), rules.min, rules.max), field);
                if rules.unique {
                    self.unique(field, &values);
                }
                rules.items.as_deref()
            }
            _ => None,
        };
        for (index, value) in values.into_iter().enumerate() {
            self.within(PathStep::Index(index), |walk| {
                walk.enum_value(message, field, Some(value));
                walk.value(field, rules, Some(value), depth);
            });
        }
    }

    fn unique(&mut self, field: &Field, values: &[Value<'_>]) {
        let mut seen = HashSet::new();
        for (index, value) in values.iter().enumerate() {
            if !seen.insert(format!("{:?}", scalar(field.kind, *value))) {
                self.within(PathStep::Index(index), |walk| {
                    let got = "a repeated value".to_owned();
                    walk.found(FindingKind::Constraint { got, must: "unique".to_owned() });
                });
            }
        }
    }

    fn map(&mut self, field: &'static Field, entries: Entries<'_, '_>, depth: usize) {
        let Kind::Message(at) = field.kind else { return };
        let entry = &schema().messages[at];
        let [key_field, value_field] = entry.fields.as_slice() else { return };
        // A key that comes twice counts once, with its last value.
        let mut pairs = BTreeMap::new();
        for (_, value) in entries {
            let (Some(key), Some(content)) =
                (last_field(value.bytes(), 1), last_field(value.bytes(), 2))
            else {
                return self.found(FindingKind::Malformed);
            };
            pairs.insert(key_text(key_field.kind, key), (key, content));
        }
        let rules = match field.rules.as_deref().map(|rules| &rules.check) {
            Some(Check::Map(rules)) if !(rules.ignore_empty && pairs.is_empty()) => {
                self.broken(pgv::count_verdict(pairs.len(), rules.min, rules.max), field);
                Some(rules)
            }
            _ => None,
        };
        for (text, (key, content)) in pairs {
            self.within(PathStep::Key(text), |walk| {
                let keys = rules.and_then(|rules| rules.keys.as_deref());
                walk.scalar(key_field, key_field.kind, keys, key);
                let values = rules.and_then(|rules| rules.values.as_deref());
                walk.value(value_field, values, content, depth);
            });
        }
    }

    fn oneofs(&mut self, message: &'static Message, entries: Entries<'_, '_>) {
        for (index, oneof) in message.oneofs.iter().enumerate().filter(|(_, one)| one.required) {
            let belongs = |position: usize| message.fields[position].oneof == Some(index);
            if entries.iter().any(|(position, _)| belongs(*position)) {
                continue;
            }
            let names: Vec<&str> = message
                .fields
                .iter()
                .filter(|field| field.oneof == Some(index))
                .map(|field| field.name)
                .collect();
            let must = match names.as_slice() {
                [one] => format!("given as {one}"),
                many => format!("given as one of {}", many.join(", ")),
            };
            self.within(PathStep::Field(oneof.name), |walk| {
                walk.found(FindingKind::Constraint { got: "nothing".into(), must });
            });
        }
    }
}

/// A value in the rules' terms; [`Value::Group`] is the default. `None`: text that is no UTF-8.
fn scalar(kind: Kind, value: Value<'_>) -> Option<Scalar<'_>> {
    let number = match value {
        Value::Varint(bits) | Value::Fixed64(bits) => bits,
        Value::Fixed32(bits) => u64::from(bits),
        Value::Bytes(_) | Value::Group => 0,
    };
    Some(match kind {
        Kind::Double => Scalar::Float(f64::from_bits(number)),
        Kind::Float => Scalar::Float(f64::from(f32::from_bits(number as u32))),
        Kind::Int64 | Kind::Sfixed64 => Scalar::Int(number.cast_signed().into()),
        Kind::Uint64 | Kind::Fixed64 => Scalar::Int(number.into()),
        Kind::Int32 | Kind::Sfixed32 => Scalar::Int((number as i32).into()),
        Kind::Uint32 | Kind::Fixed32 => Scalar::Int((number as u32).into()),
        Kind::Sint32 | Kind::Sint64 => Scalar::Int(unzigzag(number).into()),
        Kind::Bool => Scalar::Bool(number != 0),
        Kind::Enum(at) => Scalar::Enum(number as i32, &schema().enums[at]),
        Kind::String => Scalar::Text(std::str::from_utf8(value.bytes()).ok()?),
        Kind::Bytes | Kind::Message(_) => Scalar::Bytes(value.bytes()),
    })
}

fn key_text(kind: Kind, key: Option<Value<'_>>) -> String {
    match scalar(kind, key.unwrap_or(Value::Group)) {
        Some(Scalar::Text(text)) => text.to_owned(),
        Some(Scalar::Int(number)) => number.to_string(),
        Some(Scalar::Bool(value)) => value.to_string(),
        _ => format!("{key:?}"),
    }
}
