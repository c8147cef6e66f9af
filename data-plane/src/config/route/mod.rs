//! Route configurations (`envoy.config.route.v3.RouteConfiguration`).

use crate::base::names::RouteConfigName;

/// A route configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// Its name.
    pub name: RouteConfigName,
}
