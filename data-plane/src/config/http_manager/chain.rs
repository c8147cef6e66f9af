//! The chain of HTTP filters, and the chains of upgrades.

use std::collections::HashSet;

use pb::http_connection_manager::UpgradeConfig as PbUpgrade;
use pb::http_filter::ConfigType;
use proto::envoy::extensions::filters::network::http_connection_manager::v3 as pb;

use super::{HttpFilterConfig, UpgradeConfig};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::extension;
use crate::config::field;
use crate::config::resource::ParseCx;

/// The filters of field `name`, with Envoy's rules of a chain.
pub(super) fn parse(
    filters: Vec<pb::HttpFilter>,
    name: &'static str,
    cx: &ParseCx<'_>,
) -> Result<Vec<HttpFilterConfig>, Problems> {
    let mut all = Collector::default();
    let mut chain: Vec<HttpFilterConfig> = Vec::with_capacity(filters.len());
    let last = filters.len().saturating_sub(1);
    for (i, filter) in filters.into_iter().enumerate() {
        let parsed = parse_filter(filter, cx).and_then(|parsed| {
            check_place(parsed.as_ref(), i == last)?;
            Ok(parsed)
        });
        chain.extend(all.keep(parsed.at_index(name, i)).flatten());
    }
    all.finish()?;
    match chain.last() {
        Some(filter) if filter.terminal => Ok(chain),
        Some(filter) => {
            let text = format!(
                "{}: the last filter must be a terminal one, such as envoy.filters.http.router",
                filter.name
            );
            Err(Reason::Rule(text).into()).at_index(name, last)
        }
        None => Ok(chain),
    }
}

/// `None` is an optional filter that nobody knows.
fn parse_filter(
    filter: pb::HttpFilter,
    cx: &ParseCx<'_>,
) -> Result<Option<HttpFilterConfig>, Problems> {
    let any = match filter.config_type {
        Some(ConfigType::TypedConfig(any)) => any,
        Some(ConfigType::ConfigDiscovery(_)) => {
            field::refuse(true, "config_discovery")?;
            return Ok(None);
        }
        None if filter.is_optional => return Ok(None),
        None => return Err(extension::unknown("HTTP filter", &filter.name, "").into()),
    };
    let opened = extension::open_checked(&any, cx).at("typed_config")?;
    let Some(parser) = extension::find(&opened.message, cx) else {
        // `is_optional`: "If true, clients that do not support this filter may ignore the
        // filter". One that Envoy has and this build has not must not be skipped.
        if filter.is_optional && !extension::is_known(&opened.message) {
            return Ok(None);
        }
        return Err(extension::unknown("HTTP filter", &filter.name, &opened.message).into());
    };
    Ok(Some(HttpFilterConfig {
        config: parser.parse(&opened.body, cx).at("typed_config")?,
        name: filter.name.into(),
        disabled: filter.disabled,
        terminal: parser.terminal(),
    }))
}

fn check_place(filter: Option<&HttpFilterConfig>, is_last: bool) -> Result<(), Problems> {
    let Some(filter) = filter.filter(|filter| filter.terminal) else { return Ok(()) };
    if !is_last {
        let text = format!("{}: a terminal filter must be the last one", filter.name);
        return Err(Reason::Rule(text).into());
    }
    if filter.disabled {
        let text = format!("{}: the terminal filter cannot be disabled", filter.name);
        return Err(Reason::Rule(text).into()).at("disabled");
    }
    Ok(())
}

pub(super) fn parse_upgrades(
    upgrades: Vec<PbUpgrade>,
    cx: &ParseCx<'_>,
) -> Result<Vec<UpgradeConfig>, Problems> {
    let mut all = Collector::default();
    let mut seen = HashSet::new();
    let mut out = Vec::with_capacity(upgrades.len());
    for (i, upgrade) in upgrades.into_iter().enumerate() {
        let parsed = if seen.insert(upgrade.upgrade_type.to_ascii_lowercase()) {
            parse_upgrade(upgrade, cx)
        } else {
            let value = upgrade.upgrade_type;
            Err(Problems::from(Reason::Duplicate { value })).at("upgrade_type")
        };
        out.extend(all.keep(parsed.at_index("upgrade_configs", i)));
    }
    all.finish().map(|()| out)
}

/// A type of upgrade that is built, in the list of a manager or of a route.
///
/// # Errors
/// CONNECT-UDP is not: its payload are datagrams in capsules, and no bytes.
pub fn check_upgrade_type(upgrade_type: &str) -> Result<(), Problems> {
    if upgrade_type.eq_ignore_ascii_case("connect-udp") {
        return Err(Reason::NotSupported { what: format!("upgrade type {upgrade_type}") }.into());
    }
    Ok(())
}

fn parse_upgrade(upgrade: PbUpgrade, cx: &ParseCx<'_>) -> Result<UpgradeConfig, Problems> {
    check_upgrade_type(&upgrade.upgrade_type).at("upgrade_type")?;
    let filters = match upgrade.filters.is_empty() {
        true => None,
        false => Some(parse(upgrade.filters, "filters", cx)?),
    };
    Ok(UpgradeConfig {
        upgrade_type: upgrade.upgrade_type.into(),
        filters,
        enabled: field::flag(upgrade.enabled, true),
    })
}
