//! The type of a resource, as it stands in requests, responses and `Any`s.
//!
//! Every type works; the constants name those that this client treats in a special way or that the
//! program asks for. A new type needs a constant here at most, since a type that is not full state
//! is subscribed by name and never deleted by absence (C7).

use std::borrow::Cow;
use std::fmt;

/// A type URL such as `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeUrl(Cow<'static, str>);

impl TypeUrl {
    /// CDS: `envoy.config.cluster.v3.Cluster`.
    pub const CLUSTER: Self =
        Self(Cow::Borrowed("type.googleapis.com/envoy.config.cluster.v3.Cluster"));
    /// EDS: `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    pub const ENDPOINTS: Self =
        Self(Cow::Borrowed("type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"));
    /// LDS: `envoy.config.listener.v3.Listener`.
    pub const LISTENER: Self =
        Self(Cow::Borrowed("type.googleapis.com/envoy.config.listener.v3.Listener"));
    /// The wrapper of delta, also allowed in state of the world (C4).
    pub const RESOURCE: Self =
        Self(Cow::Borrowed("type.googleapis.com/envoy.service.discovery.v3.Resource"));
    /// RDS: `envoy.config.route.v3.RouteConfiguration`.
    pub const ROUTES: Self =
        Self(Cow::Borrowed("type.googleapis.com/envoy.config.route.v3.RouteConfiguration"));
    /// SRDS: `envoy.config.route.v3.ScopedRouteConfiguration`.
    pub const SCOPED_ROUTES: Self =
        Self(Cow::Borrowed("type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"));

    /// The whole URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The message's full name, without the prefix.
    #[must_use]
    pub fn message_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name)
    }

    /// Whether a state-of-the-world response is the complete set, so that absence deletes (C7, S3).
    #[must_use]
    pub fn is_full_state(&self) -> bool {
        [Self::CLUSTER, Self::LISTENER, Self::SCOPED_ROUTES].contains(self)
    }
}

impl fmt::Display for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for TypeUrl {
    fn from(url: &str) -> Self {
        let known = [
            Self::CLUSTER,
            Self::ENDPOINTS,
            Self::LISTENER,
            Self::RESOURCE,
            Self::ROUTES,
            Self::SCOPED_ROUTES,
        ];
        known
            .into_iter()
            .find(|known| known.as_str() == url)
            .unwrap_or_else(|| Self(Cow::Owned(url.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_without_a_constant_is_named_and_never_full_state() {
        let secret = TypeUrl::from("type.googleapis.com/x.v3.Secret");
        assert_eq!(secret.message_name(), "x.v3.Secret");
        assert!(!secret.is_full_state());
        assert!(TypeUrl::from(TypeUrl::CLUSTER.as_str()).is_full_state());
    }
}
