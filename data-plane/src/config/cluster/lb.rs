//! Balancing: `lb_policy` with its options, and `load_balancing_policy`, which wins over it.

use proto::envoy::config::cluster::v3 as pb;
use proto::envoy::config::cluster::v3::cluster::common_lb_config::LocalityConfigSpecifier as Old;
use proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType as Kind, CommonLbConfig as PbCommon, DiscoveryType, LbConfig as OldConfig,
    LbPolicy as OldPolicy,
};
use proto::envoy::config::core::v3::RuntimeDouble;
use proto::envoy::extensions::load_balancing_policies::common::v3::LocalityLbConfig;
use proto::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::{
    LocalityConfigSpecifier as New, ZoneAwareLbConfig,
};
use proto::envoy::extensions::load_balancing_policies::least_request::v3::{
    LeastRequest, least_request::SelectionMethod,
};
use proto::envoy::extensions::load_balancing_policies::random::v3::Random;
use proto::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use proto::envoy::extensions::load_balancing_policies::wrr_locality::v3::WrrLocality;
use proto::envoy::r#type::v3::Percent;

use super::{CommonLbConfig, LbConfig, LbPolicy, LocalityLb};
use crate::config::error::{At, Problems, Reason};
use crate::config::extension::{self, Body};
use crate::config::field;

/// Policies inside policies that are followed.
const NESTING_MAX: usize = 4;

pub(super) fn parse(cluster: &pb::Cluster) -> Result<LbConfig, Problems> {
    if let Some(policy) = &cluster.load_balancing_policy {
        return parse_policies(policy, NESTING_MAX).at("load_balancing_policy");
    }
    if cluster.lb_subset_config.as_ref().is_some_and(|c| !c.subset_selectors.is_empty()) {
        field::refuse(true, "lb_subset_config")?;
    }
    let locality = parse_old_locality(cluster.common_lb_config.as_ref());
    let locality = locality.at("common_lb_config")?;
    Ok(LbConfig { policy: parse_old_policy(cluster)?, locality })
}

fn parse_old_policy(cluster: &pb::Cluster) -> Result<LbPolicy, Problems> {
    let policy = field::enumeration(cluster.lb_policy, "lb_policy")?;
    match (policy, &cluster.lb_config) {
        (OldPolicy::RoundRobin, Some(OldConfig::RoundRobinLbConfig(config))) => {
            let slow = config.slow_start_config.is_some();
            field::refuse(slow, "slow_start_config").at("round_robin_lb_config")?;
            Ok(LbPolicy::RoundRobin)
        }
        (OldPolicy::LeastRequest, Some(OldConfig::LeastRequestLbConfig(config))) => {
            let at = "least_request_lb_config";
            field::refuse(config.slow_start_config.is_some(), "slow_start_config").at(at)?;
            Ok(LbPolicy::LeastRequest {
                choice_count: field::uint(config.choice_count, 2),
                active_request_bias: bias(config.active_request_bias.as_ref()).at(at)?,
                full_scan: false,
            })
        }
        // Options of another policy have no effect in Envoy either.
        (OldPolicy::RoundRobin, _) => Ok(LbPolicy::RoundRobin),
        (OldPolicy::LeastRequest, _) => Ok(least_request_default()),
        (OldPolicy::Random, _) => Ok(LbPolicy::Random),
        // The type is refused where it stands; its balancer needs no word of its own.
        (OldPolicy::ClusterProvided, _) if provides_balancer(cluster) => Ok(LbPolicy::RoundRobin),
        (OldPolicy::ClusterProvided, _) => {
            let text = "this type of cluster provides no balancer of its own".into();
            Err(Reason::Rule(text).into()).at("lb_policy")
        }
        (OldPolicy::LoadBalancingPolicyConfig, _) => {
            Err(Reason::Missing.into()).at("load_balancing_policy")
        }
        (OldPolicy::RingHash | OldPolicy::Maglev, _) => {
            let what = format!("lb_policy {}", policy.as_str_name());
            Err(Reason::NotSupported { what }.into()).at("lb_policy")
        }
    }
}

fn provides_balancer(cluster: &pb::Cluster) -> bool {
    match &cluster.cluster_discovery_type {
        Some(Kind::Type(kind)) => DiscoveryType::try_from(*kind) == Ok(DiscoveryType::OriginalDst),
        Some(Kind::ClusterType(_)) => true,
        None => false,
    }
}

const fn least_request_default() -> LbPolicy {
    LbPolicy::LeastRequest { choice_count: 2, active_request_bias: 1.0, full_scan: false }
}

/// `policies`: "The first policy that Envoy knows is taken."
fn parse_policies(policy: &pb::LoadBalancingPolicy, depth: usize) -> Result<LbConfig, Problems> {
    if depth == 0 {
        let text = format!("policies stand at most {NESTING_MAX} deep inside each other");
        return Err(Reason::Rule(text).into());
    }
    let mut names = Vec::new();
    for (i, entry) in policy.policies.iter().enumerate() {
        let Some(extension) = &entry.typed_extension_config else { continue };
        let parsed = parse_extension(extension, depth).at("typed_extension_config");
        match parsed.at_index("policies", i)? {
            Some(config) => return Ok(config),
            None => names.push(extension.name.as_str()),
        }
    }
    let got = format!("[{}]", names.join(", "));
    let must = "a list with at least one known balancing policy".into();
    Err(Reason::Invalid { got, must }.into()).at("policies")
}

/// `None` if nobody knows the policy, so that the next one is looked at.
fn parse_extension(
    extension: &proto::envoy::config::core::v3::TypedExtensionConfig,
    depth: usize,
) -> Result<Option<LbConfig>, Problems> {
    const PREFIX: &str = "envoy.extensions.load_balancing_policies.";
    let Some(any) = &extension.typed_config else { return Ok(None) };
    let opened = extension::open(any).at("typed_config")?;
    let Body::Message(bytes) = opened.body else { return Ok(None) };
    let parsed = match opened.message.strip_prefix(PREFIX) {
        Some("round_robin.v3.RoundRobin") => parse_round_robin(&bytes),
        Some("least_request.v3.LeastRequest") => parse_least_request(&bytes),
        Some("random.v3.Random") => parse_random(&bytes),
        Some("wrr_locality.v3.WrrLocality") => parse_wrr(&bytes, depth),
        Some(_) if extension::is_known(&opened.message) => {
            let name = &extension.name;
            return Err(extension::unknown("balancing policy", name, &opened.message).into());
        }
        _ => return Ok(None),
    };
    parsed.at("typed_config").map(Some)
}

fn parse_round_robin(bytes: &[u8]) -> Result<LbConfig, Problems> {
    let config: RoundRobin = extension::decode(bytes)?;
    field::refuse(config.slow_start_config.is_some(), "slow_start_config")?;
    Ok(LbConfig {
        policy: LbPolicy::RoundRobin,
        locality: parse_locality(config.locality_lb_config).at("locality_lb_config")?,
    })
}

fn parse_least_request(bytes: &[u8]) -> Result<LbConfig, Problems> {
    let config: LeastRequest = extension::decode(bytes)?;
    field::refuse(config.slow_start_config.is_some(), "slow_start_config")?;
    let method = field::enumeration(config.selection_method, "selection_method")?;
    let full_scan = match method {
        SelectionMethod::FullScan => true,
        SelectionMethod::NChoices => field::flag(config.enable_full_scan, false),
    };
    Ok(LbConfig {
        policy: LbPolicy::LeastRequest {
            choice_count: field::uint(config.choice_count, 2),
            active_request_bias: bias(config.active_request_bias.as_ref())?,
            full_scan,
        },
        locality: parse_locality(config.locality_lb_config).at("locality_lb_config")?,
    })
}

fn parse_random(bytes: &[u8]) -> Result<LbConfig, Problems> {
    let config: Random = extension::decode(bytes)?;
    let locality = parse_locality(config.locality_lb_config).at("locality_lb_config")?;
    Ok(LbConfig { policy: LbPolicy::Random, locality })
}

fn parse_wrr(bytes: &[u8], depth: usize) -> Result<LbConfig, Problems> {
    let config: WrrLocality = extension::decode(bytes)?;
    let inner = field::required(config.endpoint_picking_policy, "endpoint_picking_policy")?;
    let inner = parse_policies(&inner, depth - 1).at("endpoint_picking_policy")?;
    Ok(LbConfig { policy: inner.policy, locality: LocalityLb::Weighted })
}

fn bias(value: Option<&RuntimeDouble>) -> Result<f64, Problems> {
    let Some(value) = value else { return Ok(1.0) };
    if !value.runtime_key.is_empty() {
        let what = "a runtime key for the bias".into();
        return Err(Reason::NotSupported { what }.into())
            .at("runtime_key")
            .at("active_request_bias");
    }
    if !(value.default_value.is_finite() && value.default_value >= 0.0) {
        let (got, must) = (value.default_value.to_string(), "a number that is not negative".into());
        return Err(Reason::Invalid { got, must }.into())
            .at("default_value")
            .at("active_request_bias");
    }
    Ok(value.default_value)
}

fn parse_old_locality(common: Option<&PbCommon>) -> Result<LocalityLb, Problems> {
    match common.and_then(|common| common.locality_config_specifier.as_ref()) {
        None => Ok(LocalityLb::default()),
        Some(Old::LocalityWeightedLbConfig(_)) => Ok(LocalityLb::Weighted),
        Some(Old::ZoneAwareLbConfig(zone)) => {
            let size = zone.min_cluster_size.map(|v| v.value);
            zone_aware(zone.routing_enabled, size, zone.fail_traffic_on_panic)
        }
    }
}

fn parse_locality(config: Option<LocalityLbConfig>) -> Result<LocalityLb, Problems> {
    match config.and_then(|config| config.locality_config_specifier) {
        None => Ok(LocalityLb::default()),
        Some(New::LocalityWeightedLbConfig(_)) => Ok(LocalityLb::Weighted),
        Some(New::ZoneAwareLbConfig(zone)) => {
            refuse_zone(&zone).at("zone_aware_lb_config")?;
            let size = zone.min_cluster_size.map(|v| v.value);
            zone_aware(zone.routing_enabled, size, zone.fail_traffic_on_panic)
        }
    }
}

fn refuse_zone(zone: &ZoneAwareLbConfig) -> Result<(), Problems> {
    field::refuse(zone.force_locality_direct_routing, "force_locality_direct_routing")?;
    field::refuse(zone.force_local_zone.is_some(), "force_local_zone")?;
    field::refuse(zone.locality_basis != 0, "locality_basis")
}

fn zone_aware(
    routing: Option<Percent>,
    size: Option<u64>,
    fail_traffic_on_panic: bool,
) -> Result<LocalityLb, Problems> {
    let percent = field::percent(routing, 100.0, "routing_enabled").at("zone_aware_lb_config")?;
    Ok(LocalityLb::ZoneAware {
        routing_enabled_percent: percent,
        min_cluster_size: size.unwrap_or(6),
        fail_traffic_on_panic,
    })
}

pub(super) fn parse_common(common: Option<PbCommon>) -> Result<CommonLbConfig, Problems> {
    let d = CommonLbConfig::default();
    let Some(common) = common else { return Ok(d) };
    parse_common_fields(common, &d).at("common_lb_config")
}

fn parse_common_fields(common: PbCommon, d: &CommonLbConfig) -> Result<CommonLbConfig, Problems> {
    let threshold = common.healthy_panic_threshold;
    let panic = d.healthy_panic_threshold_percent;
    Ok(CommonLbConfig {
        healthy_panic_threshold_percent: field::percent(
            threshold,
            panic,
            "healthy_panic_threshold",
        )?,
        update_merge_window: field::duration(common.update_merge_window, "update_merge_window")?
            .unwrap_or(d.update_merge_window),
        ignore_new_hosts_until_first_hc: common.ignore_new_hosts_until_first_hc,
        close_connections_on_host_set_change: common.close_connections_on_host_set_change,
    })
}
