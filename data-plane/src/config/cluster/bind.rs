//! Where connections come from: `upstream_bind_config` of a cluster and of the cluster manager.

use std::net::SocketAddr;

use proto::envoy::config::core::v3 as pb;
use proto::envoy::config::core::v3::socket_option::{SocketState, Value};

use crate::base::bind::{BindConfig, SocketOption};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::{address, field};

/// A `BindConfig`.
///
/// # Errors
/// If its addresses do not go together, or something of it is not built.
#[expect(deprecated, reason = "the older form is still sent")]
pub fn parse(message: pb::BindConfig) -> Result<BindConfig, Problems> {
    let mut all = Collector::default();
    let linux = cfg!(target_os = "linux");
    let freebind = message.freebind.map(|on| on.value);
    all.keep(field::refuse(freebind == Some(true) && !linux, "freebind"));
    all.keep(field::refuse(!message.socket_options.is_empty() && !linux, "socket_options"));
    let source = message.source_address.map(address::parse_socket_ip).transpose();
    let source = all.keep(source.at("source_address")).flatten();
    let mut more = Vec::new();
    for (i, extra) in message.extra_source_addresses.into_iter().enumerate() {
        more.extend(all.keep(parse_extra(extra).at_index("extra_source_addresses", i)));
    }
    for (i, extra) in message.additional_source_addresses.into_iter().enumerate() {
        let parsed = address::parse_socket_ip(extra);
        more.extend(all.keep(parsed.at_index("additional_source_addresses", i)));
    }
    let mut options = Vec::new();
    for (i, option) in message.socket_options.into_iter().enumerate() {
        options.extend(all.keep(parse_option(&option).at_index("socket_options", i)));
    }
    all.finish()?;
    Ok(BindConfig { addresses: together(source, more)?, freebind, options })
}

/// Envoy's rules on several addresses.
fn together(
    source: Option<SocketAddr>,
    more: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, Problems> {
    let rule = |text: &str| Err(Reason::Rule(text.into()).into());
    match (source, more.as_slice()) {
        (None, []) => Ok(Vec::new()),
        (None, _) => rule("there may be extra source addresses only beside a source_address"),
        (Some(source), []) => Ok(vec![source]),
        (Some(source), [extra]) if source.is_ipv4() != extra.is_ipv4() => Ok(vec![source, *extra]),
        (Some(_), [_]) => rule("two source addresses must be of different IP versions"),
        (Some(_), _) => rule("there may be one extra source address"),
    }
}

fn parse_extra(extra: pb::ExtraSourceAddress) -> Result<SocketAddr, Problems> {
    field::refuse(extra.socket_options.is_some(), "socket_options")?;
    address::parse_socket_ip(field::required(extra.address, "address")?).at("address")
}

/// An option by Linux's numbers, as far as they are known here.
fn parse_option(option: &pb::SocketOption) -> Result<SocketOption, Problems> {
    use SocketOption as O;
    if field::enumeration::<SocketState>(option.state, "state")? != SocketState::StatePrebind {
        let what = "a state other than STATE_PREBIND".into();
        return Err(Reason::NotSupported { what }.into()).at("state");
    }
    let value = match option.value {
        Some(Value::IntValue(value)) => value,
        Some(Value::BufValue(_)) => {
            return Err(Reason::NotSupported { what: "the field".into() }.into()).at("buf_value");
        }
        None => return Err(Reason::Missing.into()).at("value"),
    };
    let number = || {
        let must = "between 0 and 4294967295".into();
        let number = u32::try_from(value);
        number.map_err(|_| Reason::Invalid { got: value.to_string(), must }.into()).at("int_value")
    };
    Ok(match (option.level, option.name) {
        (0, 1) => O::Tos(number()?),
        (1, 7) => O::SendBuffer(number()?),
        (1, 8) => O::ReceiveBuffer(number()?),
        (1, 9) => O::KeepAlive(value != 0),
        (1, 12) => O::Priority(number()?),
        (1, 36) => O::Mark(number()?),
        (6, 1) => O::NoDelay(value != 0),
        (6, 4) => O::KeepAliveTime(number()?),
        (6, 5) => O::KeepAliveInterval(number()?),
        (6, 6) => O::KeepAliveProbes(number()?),
        (6, 18) => O::UserTimeout(number()?),
        (41, 67) => O::TrafficClass(number()?),
        (level, name) => {
            let what = format!("socket option {name} of level {level}");
            return Err(Reason::NotSupported { what }.into());
        }
    })
}
