//! `envoy.filters.network.rbac`: which connections may be served.

use std::time::Duration;

use proto::envoy::extensions::filters::network::rbac::v3 as pb;

use super::{Condition, Rules};
use crate::config::error::{At as _, Collector, Problems, Reason};
use crate::config::field;
use crate::config::resource::ParseCx;

/// The filter's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkRbacConfig {
    /// Rules that are enforced; without them everything is allowed.
    pub rules: Option<Rules>,
    /// Rules that are only tried.
    pub shadow: Option<Rules>,
    /// `stat_prefix`.
    pub stat_prefix: Box<str>,
    /// `shadow_rules_stat_prefix`.
    pub shadow_prefix: Box<str>,
    /// `delay_deny`: how long a connection that is denied is held before it is closed.
    pub delay_deny: Option<Duration>,
}

/// The filter. `enforcement_type` makes no difference here: nothing that rules look at changes
/// while a connection lives.
///
/// # Errors
/// Whatever breaks a rule or is not built.
pub fn parse(message: pb::Rbac, cx: &ParseCx<'_>) -> Result<NetworkRbacConfig, Problems> {
    field::refuse(message.matcher.is_some(), "matcher")?;
    field::refuse(message.shadow_matcher.is_some(), "shadow_matcher")?;
    let mut all = Collector::default();
    let parse = |rules| super::parse(rules, cx).and_then(without_headers);
    let rules = message.rules.map(parse).transpose();
    let rules = all.keep(rules.at("rules"));
    let shadow = message.shadow_rules.map(parse).transpose();
    let shadow = all.keep(shadow.at("shadow_rules"));
    let delay = all.keep(field::duration(message.delay_deny, "delay_deny"));
    all.finish()?;
    Ok(NetworkRbacConfig {
        rules: rules.flatten(),
        shadow: shadow.flatten(),
        stat_prefix: message.stat_prefix.into(),
        shadow_prefix: message.shadow_rules_stat_prefix.into(),
        delay_deny: delay.flatten().filter(|delay| !delay.is_zero()),
    })
}

/// A connection has no headers; rules that ask for one are refused, as by Envoy.
fn without_headers(rules: Rules) -> Result<Rules, Problems> {
    let mut all = Collector::default();
    for policy in &rules.policies {
        for (list, name) in
            [(&policy.permissions, "permissions"), (&policy.principals, "principals")]
        {
            for (i, _) in list.iter().enumerate().filter(|(_, one)| asks_for_a_header(one)) {
                let text = "a rule on headers is not supported by the network filter";
                let refused: Result<(), Problems> = Err(Reason::Rule(text.into()).into());
                all.keep(refused.at_index(name, i).at_key("policies", &policy.name));
            }
        }
    }
    all.finish().map(|()| rules)
}

/// It goes as deep as the configuration, whose depth is bounded.
fn asks_for_a_header(condition: &Condition) -> bool {
    match condition {
        Condition::All(list) | Condition::Any(list) => list.iter().any(asks_for_a_header),
        Condition::Header(_) => true,
        Condition::Not(one) => asks_for_a_header(one),
        _ => false,
    }
}
