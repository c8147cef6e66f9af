//! `RouteAction.RequestMirrorPolicy`: requests that go to another cluster as well.

use http::HeaderValue;
use proto::envoy::config::route::v3 as pb;

use super::action::ClusterTarget;
use super::match_rules::{each, parse_fraction, parse_header_ref};
use super::{Action, RouteConfig, RuntimeFraction};
use crate::base::names::ClusterName;
use crate::config::error::{At, Problems, Reason};

/// One cluster that gets a copy of requests; nobody waits for its answers.
#[derive(Clone, Debug, PartialEq)]
pub struct MirrorPolicy {
    /// `cluster` or `cluster_header`.
    pub target: ClusterTarget,
    /// `runtime_fraction`: the share of requests that is mirrored; all without one.
    pub share: Option<RuntimeFraction>,
    /// What the mirrored request's host becomes.
    pub host: MirrorHost,
}

/// The host of a mirrored request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorHost {
    /// As the request goes upstream (`disable_shadow_host_suffix_append`).
    AsIs,
    /// `host_rewrite_literal`.
    Literal(HeaderValue),
    /// With `-shadow` behind the name (the default).
    Suffixed,
}

/// The policies of one level.
pub(super) fn parse(
    policies: Vec<pb::route_action::RequestMirrorPolicy>,
) -> Result<Vec<MirrorPolicy>, Problems> {
    each(policies, "request_mirror_policies", parse_policy)
}

fn parse_policy(message: pb::route_action::RequestMirrorPolicy) -> Result<MirrorPolicy, Problems> {
    let target = match (message.cluster.is_empty(), message.cluster_header.is_empty()) {
        (false, true) => ClusterTarget::Cluster(message.cluster.into()),
        (true, false) => ClusterTarget::Header(parse_header_ref(&message.cluster_header)),
        _ => {
            let text = "exactly one of cluster and cluster_header must be set".into();
            return Err(Reason::Rule(text).into());
        }
    };
    let share = message.runtime_fraction.map(parse_fraction).transpose().at("runtime_fraction")?;
    let literal = &message.host_rewrite_literal;
    let host = if literal.is_empty() {
        match message.disable_shadow_host_suffix_append {
            true => MirrorHost::AsIs,
            false => MirrorHost::Suffixed,
        }
    } else {
        let value = HeaderValue::from_str(literal).map_err(|_| {
            let must = "a value that may stand in a header".into();
            Problems::from(Reason::Invalid { got: format!("{literal:?}"), must })
        });
        MirrorHost::Literal(value.at("host_rewrite_literal")?)
    };
    Ok(MirrorPolicy { target, share, host })
}

/// A cluster that a policy names, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorUse<'a> {
    /// Place of the virtual host; `None` where the policy is the table's.
    pub virtual_host: Option<usize>,
    /// Place of the route in it; `None` where the policy is the virtual host's.
    pub route: Option<usize>,
    /// Place of the policy at its level.
    pub policy: usize,
    /// The cluster.
    pub name: &'a ClusterName,
}

impl RouteConfig {
    /// All clusters that policies name outright, of those that hold for some route: the most
    /// specific level that has any counts alone.
    #[must_use]
    pub fn mirrors(&self) -> Vec<MirrorUse<'_>> {
        let mut found = Vec::new();
        let mut of_table = false;
        for (i, host) in self.virtual_hosts.iter().enumerate() {
            let mut of_host = false;
            for (j, route) in host.routes.iter().enumerate() {
                let Action::Forward(forward) = &route.action else { continue };
                of_host |= forward.mirrors.is_empty();
                found.extend(named(&forward.mirrors, Some(i), Some(j)));
            }
            of_table |= of_host && host.mirrors.is_empty();
            if of_host {
                found.extend(named(&host.mirrors, Some(i), None));
            }
        }
        if of_table {
            found.extend(named(&self.mirrors, None, None));
        }
        found
    }
}

fn named(
    policies: &[MirrorPolicy],
    virtual_host: Option<usize>,
    route: Option<usize>,
) -> impl Iterator<Item = MirrorUse<'_>> {
    policies.iter().enumerate().filter_map(move |(policy, one)| match &one.target {
        ClusterTarget::Cluster(name) => Some(MirrorUse { virtual_host, route, policy, name }),
        ClusterTarget::Header(_) => None,
    })
}
