//! Which messages become the filter's configuration: `RBAC` of a chain, and `RBACPerRoute`.

use proto::envoy::extensions::filters::http::rbac::v3 as filter;
use proto::rules::PolicyRow;

use crate::config::error::{At as _, Collector, Problems};
use crate::config::field;
use crate::config::rbac::{self, Rules};
use crate::config::resource::ParseCx;
use crate::http::metadata::Text;

/// What the filter is to do, by the manager's chain or by a route.
#[derive(Clone, Debug, PartialEq)]
pub struct RbacConfig {
    /// Rules that are enforced; without them everything is allowed.
    pub rules: Option<Rules>,
    /// Rules that are only tried.
    pub shadow: Option<Rules>,
    /// `rules_stat_prefix`.
    pub rules_prefix: Box<str>,
    /// `shadow_rules_stat_prefix`.
    pub shadow_prefix: Box<str>,
    /// `track_per_rule_stats`.
    pub per_policy: bool,
    /// Where the verdict of `rules` is told.
    pub keys: Keys,
    /// Where the verdict of `shadow` is told.
    pub shadow_keys: Keys,
}

/// Keys in dynamic metadata, which begin with the prefix of counters; made once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The policy that matched, if one did.
    pub policy: Text,
    /// `allowed` or `denied`.
    pub result: Text,
}

impl Keys {
    fn new(prefix: &str, [policy, result]: [&'static str; 2]) -> Self {
        let key = |name| match prefix {
            "" => Text::Fixed(name),
            _ => Text::Shared(format!("{prefix}{name}").into()),
        };
        Self { policy: key(policy), result: key(result) }
    }
}

const ENFORCED: [&str; 2] = ["enforced_effective_policy_id", "enforced_engine_result"];
const SHADOW: [&str; 2] = ["shadow_effective_policy_id", "shadow_engine_result"];

impl Default for RbacConfig {
    fn default() -> Self {
        Self {
            rules: None,
            shadow: None,
            rules_prefix: Box::default(),
            shadow_prefix: Box::default(),
            per_policy: false,
            keys: Keys::new("", ENFORCED),
            shadow_keys: Keys::new("", SHADOW),
        }
    }
}

/// The fields that are built; a matcher is not.
pub(super) const ROWS: &[PolicyRow<'static>] = &[
    (
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        &[
            "rules",
            "rules_stat_prefix",
            "shadow_rules",
            "shadow_rules_stat_prefix",
            "track_per_rule_stats",
        ],
        &[],
    ),
    ("envoy.extensions.filters.http.rbac.v3.RBACPerRoute", &["rbac"], &[]),
];

/// The configuration of a chain's filter.
pub(super) fn parse(message: filter::Rbac, cx: &ParseCx<'_>) -> Result<RbacConfig, Problems> {
    field::refuse(message.matcher.is_some(), "matcher")?;
    field::refuse(message.shadow_matcher.is_some(), "shadow_matcher")?;
    let mut all = Collector::default();
    let rules = all.keep(message.rules.map(|rules| rbac::parse(rules, cx)).transpose().at("rules"));
    let shadow = all.keep(
        message.shadow_rules.map(|rules| rbac::parse(rules, cx)).transpose().at("shadow_rules"),
    );
    all.finish()?;
    Ok(RbacConfig {
        keys: Keys::new(&message.rules_stat_prefix, ENFORCED),
        shadow_keys: Keys::new(&message.shadow_rules_stat_prefix, SHADOW),
        rules: rules.flatten(),
        shadow: shadow.flatten(),
        rules_prefix: message.rules_stat_prefix.into(),
        shadow_prefix: message.shadow_rules_stat_prefix.into(),
        per_policy: message.track_per_rule_stats,
    })
}

/// That of a route; without `rbac` there everything is allowed, as in Envoy.
pub(super) fn parse_override(
    message: filter::RbacPerRoute,
    cx: &ParseCx<'_>,
) -> Result<RbacConfig, Problems> {
    message.rbac.map(|rbac| parse(rbac, cx)).transpose().at("rbac").map(Option::unwrap_or_default)
}
