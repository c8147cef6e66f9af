//! `envoy.filters.http.rbac`: who may send which request
//! (`envoy.extensions.filters.http.rbac.v3.RBAC`, `RBACPerRoute`).
//!
//! The rules of the most specific level of the route hold instead of the chain's. Shadow rules are
//! tried and counted, and refuse nobody. It fails closed: what is not understood is refused when
//! the configuration is read, and nothing can fail here afterwards.
//!
//! Dynamic metadata says what came of it under `envoy.filters.http.rbac`, and with action LOG
//! whether to log, under `envoy.common`, for the filters that come after.

mod config;
mod matching;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::StatusCode;

use crate::codec::RequestHead;
use crate::config::error::Problems;
use crate::config::extension::{Body, ExtensionConfig, ExtensionParser, PolicyRow, message};
use crate::config::rbac::Action;
use crate::config::resource::ParseCx;
use crate::http::exchange::Exchange;
use crate::http::filter::{FilterCx, FilterFactory, FilterKind, HttpFilter, Step};
use crate::http::metadata::{DynamicMetadata, Text, Told};
use crate::http::reply::LocalReply;
use crate::telemetry::WorkerId;
use crate::telemetry::stats::{Group, RbacPolicyStat, RbacShadowStat, RbacStat, Registry, Scope};

use config::Keys;
pub use config::RbacConfig;
pub use matching::{Asked, Verdict};

const MESSAGE: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
const OVERRIDE: &str = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";

/// The kind, for the registry.
pub struct Kind;

impl ExtensionParser for Kind {
    fn name(&self) -> &'static str {
        "envoy.filters.http.rbac"
    }

    fn message(&self) -> &'static str {
        MESSAGE
    }

    fn override_message(&self) -> Option<&'static str> {
        Some(OVERRIDE)
    }

    fn fields(&self) -> &'static [PolicyRow<'static>] {
        config::ROWS
    }

    fn parse(&self, body: &Body<'_>, cx: &ParseCx<'_>) -> Result<ExtensionConfig, Problems> {
        config::parse(message(body)?, cx).map(|config| ExtensionConfig::new(MESSAGE, config))
    }

    fn parse_override(
        &self,
        body: &Body<'_>,
        cx: &ParseCx<'_>,
    ) -> Result<ExtensionConfig, Problems> {
        let config = config::parse_override(message(body)?, cx)?;
        Ok(ExtensionConfig::new(OVERRIDE, config))
    }
}

impl FilterKind for Kind {
    fn build(&self, config: &ExtensionConfig, cx: &FilterCx<'_>) -> Arc<dyn FilterFactory> {
        Arc::new(Factory(Arc::new(Shared::new(config.clone(), cx))))
    }
}

/// What all requests through one place of a chain share.
#[derive(Debug)]
struct Shared {
    config: ExtensionConfig,
    enforced: Group<RbacStat>,
    shadow: Group<RbacShadowStat>,
    enforced_policies: PolicyStats,
    shadow_policies: PolicyStats,
}

impl Shared {
    fn new(config: ExtensionConfig, cx: &FilterCx<'_>) -> Self {
        let rbac = of(&config);
        let manager = Scope::http(cx.stat_prefix);
        let (enforced, shadow) =
            (manager.rbac(&rbac.rules_prefix), manager.rbac(&rbac.shadow_prefix));
        Self {
            enforced: cx.registry.group(enforced.clone()),
            shadow: cx.registry.group(shadow.clone()),
            enforced_policies: PolicyStats::new(enforced, cx.registry),
            shadow_policies: PolicyStats::new(shadow, cx.registry),
            config,
        }
    }
}

/// What a parser of this filter made.
fn of(config: &ExtensionConfig) -> &RbacConfig {
    config.value().expect("both parsers of this filter make it")
}

/// Counters by policy, made when a policy first decides, as Envoy does: the policies of routes are
/// not known when the chain is built.
#[derive(Debug)]
struct PolicyStats {
    registry: Registry,
    scope: Scope,
    // Requests read it without a lock; a policy's first decision copies it.
    groups: ArcSwap<HashMap<Arc<str>, Group<RbacPolicyStat>>>,
}

impl PolicyStats {
    fn new(scope: Scope, registry: &Registry) -> Self {
        Self { registry: registry.clone(), scope, groups: ArcSwap::default() }
    }

    fn inc(&self, worker: WorkerId, policy: &Arc<str>, stat: RbacPolicyStat) {
        if let Some(group) = self.groups.load().get(policy) {
            group.inc(worker, stat);
            return;
        }
        let group: Group<RbacPolicyStat> = self.registry.group(self.scope.rbac_policy(policy));
        self.groups.rcu(|groups| {
            let mut more = HashMap::clone(groups);
            more.insert(Arc::clone(policy), group.clone());
            more
        });
        group.inc(worker, stat);
    }
}

const NAMESPACE: Text = Text::Fixed("envoy.filters.http.rbac");
const COMMON: Text = Text::Fixed("envoy.common");
const HINT: Text = Text::Fixed("access_log_hint");
const ALLOWED: Text = Text::Fixed("allowed");
const DENIED: Text = Text::Fixed("denied");

fn tell(metadata: &mut DynamicMetadata, keys: &Keys, verdict: Verdict<'_>) {
    if let Some(policy) = verdict.policy {
        let name = Text::Shared(Arc::clone(&policy.name));
        metadata.tell(&NAMESPACE, &keys.policy, Told::Text(name));
    }
    let result = if verdict.allowed { ALLOWED } else { DENIED };
    metadata.tell(&NAMESPACE, &keys.result, Told::Text(result));
}

#[derive(Debug)]
struct Factory(Arc<Shared>);

impl FilterFactory for Factory {
    fn create(&self, overrides: &[&ExtensionConfig]) -> Box<dyn HttpFilter> {
        // As in Envoy what another kind of filter left under this name does not count.
        let own = overrides.last().copied().filter(|config| config.value::<RbacConfig>().is_some());
        let config = own.unwrap_or(&self.0.config).clone();
        Box::new(Filter { config, shared: Arc::clone(&self.0) })
    }
}

struct Filter {
    /// That of the most specific level.
    config: ExtensionConfig,
    shared: Arc<Shared>,
}

impl HttpFilter for Filter {
    fn on_request(&mut self, head: &mut RequestHead, ex: &mut Exchange) -> Step {
        let (config, shared, worker) = (of(&self.config), &*self.shared, ex.worker.id);
        if let Some(rules) = &config.shadow {
            let verdict = rules.judge(&asked(head, ex));
            shared.count_shadow(worker, config, verdict);
            // A level without a prefix of its own tells under the chain's.
            let own = if config.shadow_prefix.is_empty() { of(&shared.config) } else { config };
            tell(&mut ex.metadata, &own.shadow_keys, verdict);
        }
        let Some(rules) = &config.rules else { return Step::Continue };
        let verdict = rules.judge(&asked(head, ex));
        if rules.action == Action::Log {
            ex.metadata.tell(&COMMON, &HINT, Told::Flag(verdict.policy.is_some()));
        }
        shared.count(worker, config, verdict);
        let own = if config.rules_prefix.is_empty() { of(&shared.config) } else { config };
        tell(&mut ex.metadata, &own.keys, verdict);
        if verdict.allowed { Step::Continue } else { Step::Reply(Box::new(denied(verdict))) }
    }
}

impl Shared {
    fn count(&self, worker: WorkerId, config: &RbacConfig, verdict: Verdict<'_>) {
        let (stat, by_policy) = match verdict.allowed {
            true => (RbacStat::Allowed, RbacPolicyStat::Allowed),
            false => (RbacStat::Denied, RbacPolicyStat::Denied),
        };
        self.enforced.inc(worker, stat);
        if let Some(policy) = verdict.policy.filter(|_| config.per_policy) {
            self.enforced_policies.inc(worker, &policy.name, by_policy);
        }
    }

    fn count_shadow(&self, worker: WorkerId, config: &RbacConfig, verdict: Verdict<'_>) {
        let (stat, by_policy) = match verdict.allowed {
            true => (RbacShadowStat::ShadowAllowed, RbacPolicyStat::ShadowAllowed),
            false => (RbacShadowStat::ShadowDenied, RbacPolicyStat::ShadowDenied),
        };
        self.shadow.inc(worker, stat);
        if let Some(policy) = verdict.policy.filter(|_| config.per_policy) {
            self.shadow_policies.inc(worker, &policy.name, by_policy);
        }
    }
}

fn asked<'a>(head: &'a RequestHead, ex: &'a Exchange) -> Asked<'a> {
    Asked {
        request: ex.route_input(head),
        conn: &ex.conn,
        remote: ex.client.address,
        metadata: &ex.metadata,
        route: ex.route().and_then(|route| route.metadata()),
    }
}

fn denied(verdict: Verdict<'_>) -> LocalReply {
    let mut reply = LocalReply::new(StatusCode::FORBIDDEN, "RBAC: access denied", "");
    reply.details = Cow::Owned(verdict.denial());
    reply
}
