//! The network filters that exist, and what a list of them amounts to.
//!
//! One line in [`FILTERS`] a filter. Each of them now ends a chain; one that passes on what it lets
//! through gets a place of its own in [`NetworkFilters`], and its line here.

use std::sync::Arc;

use proto::envoy::config::listener::v3 as pb;
use proto::envoy::config::listener::v3::filter::ConfigType;

use super::NetworkFilters;
use crate::config::error::{At, Problems, Reason};
use crate::config::extension::{self, Body};
use crate::config::resource::ParseCx;
use crate::config::{field, http_manager, tcp_proxy};

/// Full name of the connection manager's message.
pub(in crate::config) const HTTP_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// A filter that ends a chain.
struct Terminal {
    /// Full name of its message.
    message: &'static str,
    /// What it is called in words.
    title: &'static str,
    /// Parses its message.
    parse: fn(&[u8], &ParseCx<'_>) -> Result<NetworkFilters, Problems>,
}

const FILTERS: [Terminal; 2] = [
    Terminal {
        message: HTTP_MANAGER,
        title: "the connection manager",
        parse: |bytes, cx| {
            let manager = http_manager::parse::parse(extension::decode(bytes)?, cx)?;
            Ok(NetworkFilters::Http(Arc::new(manager)))
        },
    },
    Terminal {
        message: "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        title: "the TCP proxy",
        parse: |bytes, cx| {
            let proxy = tcp_proxy::parse::parse(extension::decode(bytes)?, cx)?;
            Ok(NetworkFilters::Tcp(Arc::new(proxy)))
        },
    },
];

/// The filters of a chain; paths begin at the chain.
pub(super) fn parse(
    filters: Vec<pb::Filter>,
    cx: &ParseCx<'_>,
) -> Result<NetworkFilters, Problems> {
    let count = filters.len();
    let mut chain = NetworkFilters::Close;
    for (i, filter) in filters.into_iter().enumerate() {
        let (kind, parsed) = parse_filter(filter, cx).at_index("filters", i)?;
        if i + 1 < count {
            let text = format!("{} is a terminal filter and must be the last one", kind.title);
            return Err(Reason::Rule(text).into()).at_index("filters", i);
        }
        chain = parsed;
    }
    Ok(chain)
}

fn parse_filter(
    filter: pb::Filter,
    cx: &ParseCx<'_>,
) -> Result<(&'static Terminal, NetworkFilters), Problems> {
    let any = match filter.config_type {
        Some(ConfigType::TypedConfig(any)) => any,
        Some(ConfigType::ConfigDiscovery(_)) => {
            field::refuse(true, "config_discovery")?;
            return Err(Reason::Missing.into());
        }
        None => return Err(extension::unknown("network filter", &filter.name, "").into()),
    };
    let opened = extension::open_checked(&any, cx).at("typed_config")?;
    let kind = FILTERS.iter().find(|kind| kind.message == opened.message);
    match (kind, opened.body) {
        (Some(kind), Body::Message(bytes)) => {
            Ok((kind, (kind.parse)(&bytes, cx).at("typed_config")?))
        }
        _ => Err(extension::unknown("network filter", &filter.name, &opened.message).into()),
    }
}
