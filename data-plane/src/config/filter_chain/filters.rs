//! The network filters that exist, and what a list of them amounts to.
//!
//! A filter that ends a chain is a line in [`TERMINAL`]. One that only lets connections through, or
//! not, is an arm of [`parse_filter`] and has a place of its own in the chain.

use std::sync::Arc;

use proto::envoy::config::listener::v3 as pb;
use proto::envoy::config::listener::v3::filter::ConfigType;

use super::NetworkFilters;
use crate::config::error::{At, Problems, Reason};
use crate::config::extension::{self, Body};
use crate::config::rbac::network::NetworkRbacConfig;
use crate::config::resource::ParseCx;
use crate::config::{field, http_manager, rbac, tcp_proxy};

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

const TERMINAL: [Terminal; 2] = [
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

/// The network RBAC filter's message.
const RBAC: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";

/// One filter of a chain.
enum Parsed {
    /// It lets connections through.
    Access(Arc<NetworkRbacConfig>),
    /// It ends the chain.
    Terminal(&'static Terminal, NetworkFilters),
}

/// The filters of a chain: those that let connections through, and the one that ends it. Paths
/// begin at the chain.
pub(super) fn parse(
    filters: Vec<pb::Filter>,
    cx: &ParseCx<'_>,
) -> Result<(Vec<Arc<NetworkRbacConfig>>, NetworkFilters), Problems> {
    let (count, mut access) = (filters.len(), Vec::new());
    let mut chain = NetworkFilters::Close;
    for (i, filter) in filters.into_iter().enumerate() {
        let last = i + 1 == count;
        let text = match (parse_filter(filter, cx).at_index("filters", i)?, last) {
            (Parsed::Access(config), false) => {
                access.push(config);
                continue;
            }
            (Parsed::Terminal(_, parsed), true) => {
                chain = parsed;
                continue;
            }
            (Parsed::Access(_), true) => {
                "the last filter must be a terminal one, such as the connection manager or the \
                 TCP proxy"
                    .to_owned()
            }
            (Parsed::Terminal(kind, _), false) => {
                format!("{} is a terminal filter and must be the last one", kind.title)
            }
        };
        return Err(Reason::Rule(text).into()).at_index("filters", i);
    }
    Ok((access, chain))
}

fn parse_filter(filter: pb::Filter, cx: &ParseCx<'_>) -> Result<Parsed, Problems> {
    let any = match filter.config_type {
        Some(ConfigType::TypedConfig(any)) => any,
        Some(ConfigType::ConfigDiscovery(_)) => {
            field::refuse(true, "config_discovery")?;
            return Err(Reason::Missing.into());
        }
        None => return Err(extension::unknown("network filter", &filter.name, "").into()),
    };
    let opened = extension::open_checked(&any, cx).at("typed_config")?;
    let unknown = || extension::unknown("network filter", &filter.name, &opened.message).into();
    let Body::Message(bytes) = &opened.body else { return Err(unknown()) };
    if opened.message == RBAC {
        let message = extension::decode(bytes).at("typed_config")?;
        let config = rbac::network::parse(message, cx).at("typed_config")?;
        return Ok(Parsed::Access(Arc::new(config)));
    }
    let Some(kind) = TERMINAL.iter().find(|kind| kind.message == opened.message) else {
        return Err(unknown());
    };
    Ok(Parsed::Terminal(kind, (kind.parse)(bytes, cx).at("typed_config")?))
}
