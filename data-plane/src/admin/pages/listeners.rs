//! `/listeners`: what is bound.

use std::fmt::Write;

use serde_json::Value;

use super::super::json::{Object, pretty};
use super::super::reply::Reply;
use super::super::view::HostAddress;
use super::Call;

/// An `envoy.config.core.v3.Address`.
pub(super) fn address_json(address: &HostAddress) -> Value {
    let (name, value) = match address {
        HostAddress::Ip(address) => {
            let socket = Object::default().set("address", address.ip().to_string());
            ("socket_address", socket.put("port_value", address.port()).done())
        }
        HostAddress::Pipe(path) => ("pipe", Object::default().set("path", path.as_str()).done()),
    };
    Object::default().set(name, value).done()
}

pub(super) fn page(call: &Call<'_>) -> Reply {
    let listeners = call.state.listeners();
    if call.params.get("format") == Some("json") {
        let statuses: Vec<Value> = listeners
            .iter()
            .map(|listener| {
                let additional: Vec<_> = listener.additional.iter().map(address_json).collect();
                Object::default()
                    .put("name", listener.name.as_str())
                    .set("local_address", address_json(&listener.address))
                    .put("additional_local_addresses", additional)
                    .done()
            })
            .collect();
        return Reply::json(pretty(&Object::default().put("listener_statuses", statuses).done()));
    }
    let mut out = String::new();
    for listener in listeners {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}::{}", listener.name, listener.address);
        for address in listener.additional {
            let _ = writeln!(out, "{}::{address}", listener.name);
        }
    }
    Reply::text(out)
}
