//! Whether a policy matches: a pure look at a request, its connection and its metadata.

use std::net::IpAddr;

use crate::config::metadata::Metadata;
use crate::config::rbac::{Action, Condition, Policy, Rules};
use crate::config::value_matcher::{Leaf, MetadataMatcher};
use crate::http::conn::{ConnInfo, Peer};
use crate::http::metadata::DynamicMetadata;
use crate::route::{RouteInput, header_matches, path_before_query};

/// What conditions look at.
pub struct Asked<'a> {
    /// The request; of a connection alone an empty one.
    pub request: RouteInput<'a>,
    /// The connection.
    pub conn: &'a ConnInfo,
    /// The client, as told by `x-forwarded-for` where that is trusted.
    pub remote: Option<IpAddr>,
    /// What filters told before.
    pub metadata: &'a DynamicMetadata,
    /// The route's metadata, where there is one.
    pub route: Option<&'a Metadata>,
}

/// What rules say of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict<'r> {
    /// It may pass.
    pub allowed: bool,
    /// The first policy that matched.
    pub policy: Option<&'r Policy>,
}

impl Verdict<'_> {
    /// How logs tell of a denial. As in Envoy white space of the policy's name becomes `_`, or it
    /// would split the line.
    #[must_use]
    pub fn denial(&self) -> String {
        let name = self.policy.map_or("none", |policy| &*policy.name);
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_whitespace() || c == '\x0b' { '_' } else { c })
            .collect();
        format!("rbac_access_denied_matched_policy[{name}]")
    }
}

impl Rules {
    /// Asks the policies in their order.
    #[must_use]
    pub fn judge(&self, asked: &Asked<'_>) -> Verdict<'_> {
        let policy = self.policies.iter().find(|policy| policy.matches(asked));
        let allowed = match self.action {
            Action::Allow => policy.is_some(),
            Action::Deny => policy.is_none(),
            Action::Log => true,
        };
        Verdict { allowed, policy }
    }
}

impl Policy {
    fn matches(&self, asked: &Asked<'_>) -> bool {
        self.permissions.iter().any(|condition| condition.holds(asked))
            && self.principals.iter().any(|condition| condition.holds(asked))
    }
}

impl Condition {
    /// Whether it holds. It goes as deep as the configuration, whose depth is bounded.
    fn holds(&self, asked: &Asked<'_>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|one| one.holds(asked)),
            Self::Always => true,
            Self::Any(any) => any.iter().any(|one| one.holds(asked)),
            Self::Authenticated(name) => {
                let Some(tls) = &asked.conn.tls else { return false };
                let Some(name) = name else { return true };
                let names = tls.names();
                let alternatives = names.uris.iter().chain(&names.dns);
                // The subject is asked last, and even where there are alternative names.
                alternatives.chain([&names.subject]).any(|text| name.is_match(text.as_bytes()))
            }
            Self::DestinationIp(net) => ip(&asked.conn.local).is_some_and(|ip| net.contains(&ip)),
            Self::DestinationPort(ports) => {
                asked.conn.local_port().is_some_and(|port| ports.contains(&port.into()))
            }
            Self::DirectRemoteIp(net) => ip(&asked.conn.remote).is_some_and(|ip| net.contains(&ip)),
            Self::Header(header) => header_matches(header, &asked.request),
            Self::Metadata(matcher) => asked.metadata.matches(matcher),
            Self::Not(one) => !one.holds(asked),
            Self::RemoteIp(net) => asked.remote.is_some_and(|ip| net.contains(&ip)),
            // Without a route nothing matches, not even an inverted test.
            Self::RouteMetadata(matcher) => asked.route.is_some_and(|route| found(matcher, route)),
            Self::ServerName(name) => {
                let asked = &*asked.conn.server_name;
                name.is_match(asked.as_bytes())
            }
            Self::UriTemplate(template) => template.is_match(path_before_query(asked.request.path)),
            // A CONNECT has no path, and nothing matches it.
            Self::UrlPath(test) => {
                let path = asked.request.path;
                !path.is_empty() && test.is_match(path_before_query(path))
            }
        }
    }
}

fn found(matcher: &MetadataMatcher, metadata: &Metadata) -> bool {
    let path = matcher.path.iter().map(|key| &**key);
    matcher.is_match(metadata.find(&matcher.filter, path).map(Leaf::from))
}

const fn ip(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Ip(address) => Some(address.ip()),
        Peer::Unix(_) => None,
    }
}
