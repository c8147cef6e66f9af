//! Which messages become a route's word about upgrades.

use std::collections::HashSet;

use proto::envoy::config::route::v3::route_action::UpgradeConfig as PbUpgrade;
use proto::envoy::config::route::v3::route_action::upgrade_config::ConnectConfig as PbConnect;

use super::{ConnectMode, RouteUpgrade, RouteUpgrades};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::{field, http_manager};

/// The list of a route; a type stands in it once, whatever its case.
pub(super) fn parse(upgrades: Vec<PbUpgrade>) -> Result<RouteUpgrades, Problems> {
    let mut all = Collector::default();
    let mut seen = HashSet::new();
    let mut types = Vec::with_capacity(upgrades.len());
    let mut connect = ConnectMode::Forward;
    for (i, upgrade) in upgrades.into_iter().enumerate() {
        let parsed = if seen.insert(upgrade.upgrade_type.to_ascii_lowercase()) {
            parse_one(upgrade)
        } else {
            let value = upgrade.upgrade_type;
            Err(Problems::from(Reason::Duplicate { value })).at("upgrade_type")
        };
        if let Some((upgrade, mode)) = all.keep(parsed.at_index("upgrade_configs", i)) {
            types.push(upgrade);
            if mode == ConnectMode::Terminate {
                connect = mode;
            }
        }
    }
    all.finish().map(|()| RouteUpgrades { types: types.into(), connect })
}

fn parse_one(upgrade: PbUpgrade) -> Result<(RouteUpgrade, ConnectMode), Problems> {
    http_manager::check_upgrade_type(&upgrade.upgrade_type).at("upgrade_type")?;
    let connect = upgrade.upgrade_type.eq_ignore_ascii_case("connect");
    let mode = match upgrade.connect_config {
        None => ConnectMode::Forward,
        Some(_) if !connect => {
            let text = "belongs to upgrade_type CONNECT alone";
            return Err(Reason::Rule(text.into()).into()).at("connect_config");
        }
        Some(config) => parse_connect(&config).at("connect_config")?,
    };
    let enabled = field::flag(upgrade.enabled, true);
    Ok((RouteUpgrade { upgrade_type: upgrade.upgrade_type.into(), enabled }, mode))
}

fn parse_connect(config: &PbConnect) -> Result<ConnectMode, Problems> {
    field::refuse(config.proxy_protocol_config.is_some(), "proxy_protocol_config")?;
    field::refuse(config.allow_post, "allow_post")?;
    Ok(ConnectMode::Terminate)
}
