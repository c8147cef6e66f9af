//! Which messages become endpoints.

use std::collections::HashMap;
use std::sync::Arc;

use proto::envoy::config::core::v3 as core;
use proto::envoy::config::endpoint::v3 as pb;
use proto::envoy::config::endpoint::v3::cluster_load_assignment::Policy;
use proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use proto::envoy::config::endpoint::v3::locality_lb_endpoints::LbConfig;

use super::{
    EndpointConfig, EndpointsConfig, HealthCheckTarget, HealthStatus, Locality, LocalityConfig,
};
use crate::config::address::Address;
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::{address, field, metadata};

/// Most priorities (`LocalityLbEndpoints.priority`, PGV lte 128).
const PRIORITY_MAX: u32 = 128;

type Named = HashMap<String, pb::Endpoint>;

/// A load assignment.
///
/// # Errors
/// All that is wrong with it, up to the limit of problems.
pub fn parse(assignment: pb::ClusterLoadAssignment) -> Result<EndpointsConfig, Problems> {
    let mut all = Collector::default();
    if assignment.cluster_name.is_empty() {
        let missing: Result<(), Problems> = Err(Reason::Missing.into());
        all.keep(missing.at("cluster_name"));
    }
    let mut localities = Vec::with_capacity(assignment.endpoints.len());
    for (i, locality) in assignment.endpoints.into_iter().enumerate() {
        let locality = parse_locality(locality, &assignment.named_endpoints);
        localities.extend(all.keep(locality.at_index("endpoints", i)));
    }
    all.keep(check_weights(&localities));
    let policy = all.keep(parse_policy(assignment.policy.unwrap_or_default()).at("policy"));
    let (problems, policy) = (all.finish(), policy.unwrap_or_default());
    problems.map(|()| EndpointsConfig {
        cluster_name: assignment.cluster_name.into(),
        localities,
        overprovisioning_factor_percent: policy.overprovisioning_factor_percent,
        weighted_priority_health: policy.weighted_priority_health,
        endpoint_stale_after: policy.endpoint_stale_after,
    })
}

/// A load assignment that came by EDS, whose names nobody resolves.
///
/// # Errors
/// As for [`parse`], and for each endpoint that has a name in place of an IP address.
pub fn parse_eds(assignment: pb::ClusterLoadAssignment) -> Result<EndpointsConfig, Problems> {
    let endpoints = parse(assignment)?;
    ips_only(&endpoints)?;
    Ok(endpoints)
}

/// The endpoints of STATIC clusters and of EDS are not resolved: a name is refused.
///
/// # Errors
/// Names each endpoint that has a name in place of an address.
pub fn ips_only(endpoints: &EndpointsConfig) -> Result<(), Problems> {
    let mut all = Collector::default();
    for (i, locality) in endpoints.localities.iter().enumerate() {
        for (j, endpoint) in locality.endpoints.iter().enumerate() {
            if let Address::Name { host, .. } = &endpoint.address {
                let must = "an IP address (a name needs a cluster of type STRICT_DNS)".into();
                let problem: Result<(), Problems> =
                    Err(Reason::Invalid { got: format!("\"{host}\""), must }.into());
                let problem = problem.at("address").at("socket_address").at("address");
                let problem = problem.at("endpoint").at_index("lb_endpoints", j);
                all.keep(problem.at_index("endpoints", i));
            }
        }
    }
    all.finish()
}

impl EndpointsConfig {
    /// No endpoints, under that name.
    #[must_use]
    pub fn empty(cluster_name: &str) -> Self {
        Self { cluster_name: cluster_name.into(), ..Self::default() }
    }
}

impl Default for EndpointsConfig {
    fn default() -> Self {
        Self {
            cluster_name: "".into(),
            localities: Vec::new(),
            overprovisioning_factor_percent: 140,
            weighted_priority_health: false,
            endpoint_stale_after: None,
        }
    }
}

fn parse_policy(policy: Policy) -> Result<EndpointsConfig, Problems> {
    Ok(EndpointsConfig {
        overprovisioning_factor_percent: field::uint(policy.overprovisioning_factor, 140),
        weighted_priority_health: policy.weighted_priority_health,
        endpoint_stale_after: field::timeout(
            policy.endpoint_stale_after,
            None,
            "endpoint_stale_after",
        )?,
        ..EndpointsConfig::default()
    })
}

fn parse_locality(
    locality: pb::LocalityLbEndpoints,
    named: &Named,
) -> Result<LocalityConfig, Problems> {
    if locality.priority > PRIORITY_MAX {
        let (got, must) = (locality.priority.to_string(), format!("at most {PRIORITY_MAX}"));
        return Err(Reason::Invalid { got, must }.into()).at("priority");
    }
    let (name, list) = match locality.lb_config {
        Some(LbConfig::LedsClusterLocalityConfig(_)) => {
            field::refuse(true, "leds_cluster_locality_config")?;
            ("lb_endpoints", Vec::new())
        }
        Some(LbConfig::LoadBalancerEndpoints(list)) => ("lb_endpoints", list.lb_endpoints),
        None => ("lb_endpoints", locality.lb_endpoints),
    };
    let mut all = Collector::default();
    let mut endpoints = Vec::with_capacity(list.len());
    for (i, endpoint) in list.into_iter().enumerate() {
        endpoints.extend(all.keep(parse_endpoint(endpoint, named).at_index(name, i)));
    }
    all.finish().map(|()| LocalityConfig {
        locality: parse_place(locality.locality.unwrap_or_default()),
        priority: locality.priority,
        weight: locality.load_balancing_weight.map(|w| w.value),
        metadata: Arc::new(metadata::parse(locality.metadata)),
        endpoints,
    })
}

/// A `Locality`.
#[must_use]
pub fn parse_place(locality: core::Locality) -> Locality {
    Locality {
        region: locality.region.into(),
        zone: locality.zone.into(),
        sub_zone: locality.sub_zone.into(),
    }
}

fn parse_endpoint(endpoint: pb::LbEndpoint, named: &Named) -> Result<EndpointConfig, Problems> {
    let health_status = parse_health(endpoint.health_status)?;
    let (inner, name) = match endpoint.host_identifier.ok_or(Reason::Missing)? {
        HostIdentifier::Endpoint(inner) => (inner, "endpoint"),
        HostIdentifier::EndpointName(name) => match named.get(&name) {
            Some(inner) => (inner.clone(), "endpoint_name"),
            None => {
                let reason = Reason::Unknown { kind: "named endpoint", name };
                return Err(reason.into()).at("endpoint_name");
            }
        },
    };
    let mut out = parse_inner(inner).at(name)?;
    out.health_status = health_status;
    out.weight = field::uint(endpoint.load_balancing_weight, 1);
    out.metadata = Arc::new(metadata::parse(endpoint.metadata));
    Ok(out)
}

fn parse_inner(endpoint: pb::Endpoint) -> Result<EndpointConfig, Problems> {
    let place = field::required(endpoint.address, "address")?;
    let more = endpoint.additional_addresses.into_iter().enumerate();
    let more = more.map(|(i, additional)| {
        let place = field::required(additional.address, "address");
        let place = place.and_then(|a| address::parse(a).at("address"));
        place.at_index("additional_addresses", i)
    });
    let check = endpoint.health_check_config.map(parse_check).transpose();
    Ok(EndpointConfig {
        address: address::parse(place).at("address")?,
        additional_addresses: more.collect::<Result<_, _>>()?,
        hostname: endpoint.hostname.into(),
        health_status: HealthStatus::default(),
        weight: 1,
        metadata: Arc::default(),
        health_check: check.at("health_check_config")?.unwrap_or_default(),
    })
}

fn parse_check(check: pb::endpoint::HealthCheckConfig) -> Result<HealthCheckTarget, Problems> {
    let port = field::port(check.port_value, "port_value")?;
    let address = check.address.map(address::parse).transpose().at("address")?;
    if let Some(Address::Name { host, .. }) = &address {
        let (got, must) = (format!("\"{host}\""), "an IP address".into());
        return Err(Reason::Invalid { got, must }.into()).at("address");
    }
    Ok(HealthCheckTarget {
        port: Some(port).filter(|port| *port > 0),
        hostname: check.hostname.into(),
        address,
        disable_active_health_check: check.disable_active_health_check,
    })
}

fn parse_health(status: i32) -> Result<HealthStatus, Problems> {
    Ok(match field::enumeration(status, "health_status")? {
        core::HealthStatus::Unknown => HealthStatus::Unknown,
        core::HealthStatus::Healthy => HealthStatus::Healthy,
        core::HealthStatus::Unhealthy => HealthStatus::Unhealthy,
        core::HealthStatus::Draining => HealthStatus::Draining,
        core::HealthStatus::Timeout => HealthStatus::Timeout,
        core::HealthStatus::Degraded => HealthStatus::Degraded,
    })
}

/// A list of health statuses.
///
/// # Errors
/// If one of them has no name.
pub fn parse_health_set(set: core::HealthStatusSet) -> Result<Vec<HealthStatus>, Problems> {
    let statuses = set.statuses.into_iter().enumerate();
    statuses.map(|(i, status)| parse_health(status).at_index("statuses", i)).collect()
}

/// `LbEndpoint.load_balancing_weight`: "The sum of the weights of all endpoints in the endpoint's
/// locality must not exceed uint32_t maximal value"; the same for localities of a priority.
fn check_weights(localities: &[LocalityConfig]) -> Result<(), Problems> {
    let mut by_priority: HashMap<u32, u64> = HashMap::new();
    for (i, locality) in localities.iter().enumerate() {
        let sum: u64 = locality.endpoints.iter().map(|e| u64::from(e.weight)).sum();
        let priority = by_priority.entry(locality.priority).or_default();
        *priority += u64::from(locality.weight.unwrap_or(0));
        let (of, sum) = if sum > u64::from(u32::MAX) {
            ("endpoints of this locality", sum)
        } else if *priority > u64::from(u32::MAX) {
            ("localities of this priority", *priority)
        } else {
            continue;
        };
        let got = format!("weights of {of} that add up to {sum}");
        let problem: Result<(), Problems> =
            Err(Reason::Invalid { got, must: format!("at most {} in sum", u32::MAX) }.into());
        return problem.at("load_balancing_weight").at_index("endpoints", i);
    }
    Ok(())
}
