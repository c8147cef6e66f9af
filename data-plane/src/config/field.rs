//! Readers for the value types that all messages share: durations, percents, enums, wrappers.
//!
//! PGV rules are checked before a parser runs; what is refused here are values that the wire
//! format can carry and no rule forbids.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use proto::envoy::config::core::v3::CidrRange;
use proto::envoy::r#type::v3::{FractionalPercent, Percent};
use proto::google::protobuf::{
    BoolValue, Duration as PbDuration, Struct, UInt32Value, UInt64Value, Value as PbValue, value,
};
use serde_json::{Map, Number, Value};

use super::error::{At, Problems, Reason};

/// The value, or "must be set" at field `name`.
///
/// # Errors
/// If it is absent.
pub fn required<T>(value: Option<T>, name: &'static str) -> Result<T, Problems> {
    value.ok_or_else(|| Reason::Missing.into()).at(name)
}

/// A duration of field `name`, if it is there.
///
/// # Errors
/// If it is negative or too long for the format.
pub fn duration(
    value: Option<PbDuration>,
    name: &'static str,
) -> Result<Option<Duration>, Problems> {
    let Some(value) = value else { return Ok(None) };
    match proto::convert::duration_from_proto(&value) {
        Some(duration) => Ok(Some(duration)),
        None => Err(Reason::Invalid {
            got: format!("{}.{:09}s", value.seconds, value.nanos.unsigned_abs()),
            must: "a duration that is not negative".into(),
        }
        .into()),
    }
    .at(name)
}

/// A time limit of field `name`: absent is `default`, 0 is none.
///
/// # Errors
/// As for [`duration`].
pub fn timeout(
    value: Option<PbDuration>,
    default: Option<Duration>,
    name: &'static str,
) -> Result<Option<Duration>, Problems> {
    Ok(match duration(value, name)? {
        Some(Duration::ZERO) => None,
        Some(limit) => Some(limit),
        None => default,
    })
}

/// A truth value with a default.
#[must_use]
pub fn flag(value: Option<BoolValue>, default: bool) -> bool {
    value.map_or(default, |v| v.value)
}

/// A number with a default.
#[must_use]
pub fn uint(value: Option<UInt32Value>, default: u32) -> u32 {
    value.map_or(default, |v| v.value)
}

/// A number with a default.
#[must_use]
pub fn uint64(value: Option<UInt64Value>, default: u64) -> u64 {
    value.map_or(default, |v| v.value)
}

/// A port of field `name`.
///
/// # Errors
/// If it is above 65535.
pub fn port(value: u32, name: &'static str) -> Result<u16, Problems> {
    u16::try_from(value)
        .map_err(|_| {
            Reason::Invalid { got: value.to_string(), must: "at most 65535".into() }.into()
        })
        .at(name)
}

/// A percentage of field `name`, with a default; a number between 0 and 100.
///
/// # Errors
/// If it is outside.
pub fn percent(value: Option<Percent>, default: f64, name: &'static str) -> Result<f64, Problems> {
    let Some(Percent { value }) = value else { return Ok(default) };
    if (0.0..=100.0).contains(&value) {
        return Ok(value);
    }
    let must = "between 0 and 100".into();
    Err(Reason::Invalid { got: value.to_string(), must }.into()).at(name)
}

/// A fraction in millionths; what is above one counts as one.
///
/// # Errors
/// If the denominator is not known.
pub fn parts_per_million(value: FractionalPercent) -> Result<u32, Problems> {
    use proto::envoy::r#type::v3::fractional_percent::DenominatorType as D;
    let factor = match enumeration::<D>(value.denominator, "denominator")? {
        D::Hundred => 10_000,
        D::TenThousand => 100,
        D::Million => 1,
    };
    Ok(value.numerator.saturating_mul(factor).min(1_000_000))
}

/// An enum value of field `name`.
///
/// # Errors
/// If the number has no name.
pub fn enumeration<E: TryFrom<i32>>(value: i32, name: &'static str) -> Result<E, Problems> {
    E::try_from(value)
        .map_err(|_| {
            let must = "one of the values of its enum".into();
            Reason::Invalid { got: value.to_string(), must }.into()
        })
        .at(name)
}

/// Refuses something that Envoy knows and this build does not do, at field `name`.
///
/// # Errors
/// If `present`.
pub fn refuse(present: bool, name: &'static str) -> Result<(), Problems> {
    if present {
        return Err(Reason::NotSupported { what: "the field".into() }.into()).at(name);
    }
    Ok(())
}

/// A range of addresses.
///
/// # Errors
/// If the address is none, or the length does not fit it.
pub fn cidr(range: CidrRange) -> Result<IpNet, Problems> {
    let address: IpAddr = ip(&range.address_prefix).at("address_prefix")?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    // Envoy cuts a length that is too long for the family to the longest one.
    let length = uint(range.prefix_len, 0).min(longest);
    let length = u8::try_from(length).expect("at most 128");
    let net = IpNet::new(address, length).expect("the length fits the family");
    Ok(net.trunc())
}

/// Ranges of addresses in field `name`.
///
/// # Errors
/// As for [`cidr`].
pub fn cidrs(ranges: Vec<CidrRange>, name: &'static str) -> Result<Vec<IpNet>, Problems> {
    let ranges = ranges.into_iter().enumerate();
    ranges.map(|(i, range)| cidr(range).at_index(name, i)).collect()
}

/// An IP address.
///
/// # Errors
/// If the text is none.
pub fn ip(text: &str) -> Result<IpAddr, Problems> {
    text.parse().map_err(|_| {
        let must = "an IPv4 or IPv6 address".into();
        Reason::Invalid { got: format!("\"{text}\""), must }.into()
    })
}

/// A header name of field `name`, in lower case.
///
/// # Errors
/// If it is no token (RFC 9110 5.6.2).
pub fn header_name(text: &str, name: &'static str) -> Result<HeaderName, Problems> {
    token(text).at(name)
}

/// A header name in lower case, wherever it stands.
///
/// # Errors
/// If it is no token (RFC 9110 5.6.2).
pub fn token(text: &str) -> Result<HeaderName, Problems> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        let must = "a header name (RFC 9110 5.1)".into();
        Reason::Invalid { got: format!("{text:?}"), must }.into()
    })
}

/// A header value of field `name`.
///
/// # Errors
/// If it holds control characters.
pub fn header_value(text: &str, name: &'static str) -> Result<HeaderValue, Problems> {
    HeaderValue::from_bytes(text.as_bytes())
        .map_err(|_| {
            let must = "a header value without control characters".into();
            Reason::Invalid { got: format!("{text:?}"), must }.into()
        })
        .at(name)
}

/// The JSON object that a `Struct` stands for, keys sorted.
#[must_use]
pub fn json_object(fields: Struct) -> Map<String, Value> {
    let mut sorted: Vec<_> = fields.fields.into_iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    sorted.into_iter().map(|(key, value)| (key, json(value))).collect()
}

/// The JSON value that a `Value` stands for. Whole numbers lose their point.
#[must_use]
pub fn json(value: PbValue) -> Value {
    match value.kind {
        None | Some(value::Kind::NullValue(_)) => Value::Null,
        Some(value::Kind::BoolValue(b)) => Value::Bool(b),
        Some(value::Kind::NumberValue(n)) => number(n),
        Some(value::Kind::StringValue(s)) => Value::String(s),
        Some(value::Kind::StructValue(s)) => Value::Object(json_object(s)),
        Some(value::Kind::ListValue(l)) => Value::Array(l.values.into_iter().map(json).collect()),
    }
}

/// Doubles that are whole and exactly representable are written as integers, as Envoy does.
fn number(n: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    if n.fract() == 0.0 && n.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
        return Value::Number(Number::from(n as i64));
    }
    Number::from_f64(n).map_or(Value::Null, Value::Number)
}
