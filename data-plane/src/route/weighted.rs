//! One of several clusters, by weight.

use super::input::{RouteInput, RuntimeKeys};
use crate::config::route::WeightedClusters;
use crate::config::route::action::{ClusterTarget, ClusterWeight};

/// The place of the chosen entry. `None` if runtime made all weights zero (or their sum too
/// large): the route then counts as not matching, as in Envoy.
pub(super) fn pick(clusters: &WeightedClusters, input: &RouteInput<'_>) -> Option<u32> {
    let random = random(clusters, input);
    let Some(prefix) = &clusters.runtime_key_prefix else {
        return at(random, clusters.total.into(), clusters.clusters.iter().map(|c| c.weight));
    };
    let weight = |cluster: &ClusterWeight| runtime_weight(prefix, cluster, input.runtime);
    let total: u64 = clusters.clusters.iter().map(|c| u64::from(weight(c))).sum();
    if total > u64::from(u32::MAX) {
        return None;
    }
    at(random, total, clusters.clusters.iter().map(weight))
}

fn at(random: u64, total: u64, weights: impl Iterator<Item = u32>) -> Option<u32> {
    let mut left = random.checked_rem(total)?;
    for (weight, at) in weights.zip(0..) {
        match left.checked_sub(u64::from(weight)) {
            Some(rest) => left = rest,
            None => return Some(at),
        }
    }
    None
}

/// The number that a header brings, if it is one, so that several proxies choose alike.
fn random(clusters: &WeightedClusters, input: &RouteInput<'_>) -> u64 {
    let named = clusters.random_header.as_ref().and_then(|name| input.field(name));
    let number = named.and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
    number.unwrap_or(input.random)
}

fn runtime_weight(prefix: &str, cluster: &ClusterWeight, runtime: &dyn RuntimeKeys) -> u32 {
    let name = match &cluster.target {
        ClusterTarget::Cluster(name) => name.as_str(),
        ClusterTarget::Header(_) => "",
    };
    let value = runtime.integer(&format!("{prefix}.{name}"));
    value.map_or(cluster.weight, |value| u32::try_from(value).unwrap_or(u32::MAX))
}
