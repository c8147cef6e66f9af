//! The route table: a request → a choice, and what a choice means.

use std::sync::Arc;

use http::HeaderMap;
use smallvec::SmallVec;

use super::domain::DomainIndex;
use super::index::RouteIndex;
use super::input::RouteInput;
use super::matching::header_matches;
use super::mutation::{HeaderEdits, Side};
use super::rewrite::path_before_query;
use super::weighted;
use crate::config::extension::FilterOverride;
use crate::config::metadata::Metadata;
use crate::config::route::action::ClusterTarget;
use crate::config::route::{
    Action, ClusterSpecifier, ClusterWeight, DirectResponse, FilterOverrides, Forward,
    HeaderChanges, HeaderOrder, HeaderRef, MirrorPolicy, PathParameters, Redirect, RequireTls,
    RetryPolicy, RouteConfig, RouteEntry, VirtualHostConfig,
};

/// A route configuration, indexed. Immutable; shared by all workers.
#[derive(Debug)]
pub struct RouteTable {
    config: Arc<RouteConfig>,
    domains: DomainIndex,
    hosts: Vec<Host>,
    edits: Edits,
}

#[derive(Debug)]
struct Host {
    index: RouteIndex,
    edits: Edits,
    /// Most routes change no header.
    routes: Vec<Option<Box<RouteEdits>>>,
}

#[derive(Debug)]
struct RouteEdits {
    own: Edits,
    clusters: Vec<Edits>,
}

/// Compiled header changes of one level.
#[derive(Debug)]
struct Edits {
    request: HeaderEdits,
    response: HeaderEdits,
}

impl Edits {
    fn new(changes: &HeaderChanges) -> Self {
        Self {
            request: HeaderEdits::new(Side::Request, &changes.request_remove, &changes.request_add),
            response: HeaderEdits::new(
                Side::Response,
                &changes.response_remove,
                &changes.response_add,
            ),
        }
    }
}

impl RouteTable {
    /// Indexes a configuration.
    #[must_use]
    pub fn build(config: Arc<RouteConfig>) -> Self {
        let hosts = config.virtual_hosts.iter().map(|host| Host {
            index: RouteIndex::build(&host.routes),
            edits: Edits::new(&host.headers),
            routes: host.routes.iter().map(route_edits).collect(),
        });
        Self {
            domains: DomainIndex::build(&config.virtual_hosts, config.host_port),
            hosts: hosts.collect(),
            edits: Edits::new(&config.headers),
            config,
        }
    }

    /// The configuration that the table was built from.
    #[must_use]
    pub fn config(&self) -> &Arc<RouteConfig> {
        &self.config
    }

    /// Where a request goes; `None` is Envoy's "route not found" (404). Allocates nothing unless a
    /// header that a route looks at stands more than once, or a runtime key gives a weight.
    #[must_use]
    pub fn find(&self, input: &RouteInput<'_>) -> Option<RouteRef<'_>> {
        let host = self.domains.find(input.authority)?;
        let config = self.config.virtual_hosts.get(host as usize)?;
        if must_use_tls(config.require_tls, input.headers)? {
            return self.at(RouteChoice { host, to: To::Tls });
        }
        let mut path = path_before_query(input.path);
        if self.config.path_parameters == PathParameters::Ignored {
            let end = path.iter().position(|&b| b == b';').unwrap_or(path.len());
            path = &path[..end];
        }
        let index = &self.hosts.get(host as usize)?.index;
        let to = index.find(&config.routes, path, input, |route, at| {
            Some(To::Route { route: at, cluster: pick(route, input)? })
        })?;
        self.at(RouteChoice { host, to })
    }

    /// What a choice of this table means; `None` if it is another table's.
    #[must_use]
    pub fn at(&self, choice: RouteChoice) -> Option<RouteRef<'_>> {
        let host = self.config.virtual_hosts.get(choice.host as usize)?;
        let (mut entry, mut weight) = (None, None);
        if let To::Route { route, cluster } = choice.to {
            entry = Some(host.routes.get(route as usize)?);
            weight = weights(entry?).and_then(|all| all.get(cluster as usize));
        }
        Some(RouteRef { table: self, host, entry, weight, choice })
    }

    /// The virtual host for an authority, whatever its routes.
    #[must_use]
    pub fn virtual_host(&self, authority: Option<&[u8]>) -> Option<&VirtualHostConfig> {
        self.config.virtual_hosts.get(self.domains.find(authority)? as usize)
    }
}

fn route_edits(route: &RouteEntry) -> Option<Box<RouteEdits>> {
    let clusters = weights(route).unwrap_or_default();
    let none = HeaderChanges::default();
    if route.headers == none && clusters.iter().all(|cluster| cluster.headers == none) {
        return None;
    }
    let clusters = clusters.iter().map(|cluster| Edits::new(&cluster.headers)).collect();
    Some(Box::new(RouteEdits { own: Edits::new(&route.headers), clusters }))
}

fn weights(route: &RouteEntry) -> Option<&[ClusterWeight]> {
    match &route.action {
        Action::Forward(forward) => match &forward.cluster {
            ClusterSpecifier::Weighted(weighted) => Some(&weighted.clusters),
            _ => None,
        },
        _ => None,
    }
}

/// `NO_CLUSTER`, or the place of a weighted cluster. `None`: the route does not match after all.
fn pick(route: &RouteEntry, input: &RouteInput<'_>) -> Option<u32> {
    match &route.action {
        Action::Forward(forward) => match &forward.cluster {
            ClusterSpecifier::Weighted(clusters) => weighted::pick(clusters, input),
            _ => Some(NO_CLUSTER),
        },
        _ => Some(NO_CLUSTER),
    }
}

const NO_CLUSTER: u32 = u32::MAX;

/// Whether the request is sent to https instead. `None`: without `x-forwarded-proto` nothing can
/// be said and no route matches, as in Envoy.
fn must_use_tls(required: RequireTls, headers: &HeaderMap) -> Option<bool> {
    if required == RequireTls::None {
        return Some(false);
    }
    let proto = headers.get("x-forwarded-proto").filter(|value| !value.is_empty())?;
    let internal = headers.get("x-envoy-internal").is_some_and(|value| value == "true");
    let exempt = required == RequireTls::ExternalOnly && internal;
    Some(proto != "https" && !exempt)
}

/// A choice, to be kept beside the table that made it. Copies are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteChoice {
    host: u32,
    to: To,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum To {
    Route { route: u32, cluster: u32 },
    Tls,
}

impl RouteChoice {
    /// Places of the virtual host in the table, and of the route in it; a redirect by
    /// `require_tls` has no route.
    #[must_use]
    pub fn place(self) -> (usize, Option<usize>) {
        let route = match self.to {
            To::Route { route, .. } => Some(route as usize),
            To::Tls => None,
        };
        (self.host as usize, route)
    }
}

/// A choice with the table at hand.
#[derive(Clone, Copy, Debug)]
pub struct RouteRef<'t> {
    table: &'t RouteTable,
    host: &'t VirtualHostConfig,
    entry: Option<&'t RouteEntry>,
    weight: Option<&'t ClusterWeight>,
    choice: RouteChoice,
}

/// What to do with the request.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'t> {
    /// Answer from here.
    DirectResponse(&'t DirectResponse),
    /// Send it upstream.
    Forward(&'t Forward),
    /// Answer with a `location`.
    Redirect(&'t Redirect),
    /// Answer 301 with the same URL under https (`require_tls`).
    TlsRedirect,
}

impl<'t> RouteRef<'t> {
    /// The choice, for [`RouteTable::at`].
    #[must_use]
    pub fn choice(&self) -> RouteChoice {
        self.choice
    }

    /// What to do.
    #[must_use]
    pub fn decision(&self) -> Decision<'t> {
        match self.entry.map(|entry| &entry.action) {
            Some(Action::DirectResponse(response)) => Decision::DirectResponse(response),
            Some(Action::Forward(forward)) => Decision::Forward(forward),
            Some(Action::Redirect(redirect)) => Decision::Redirect(redirect),
            None => Decision::TlsRedirect,
        }
    }

    /// The forwarding, if it is one.
    #[must_use]
    pub fn forward(&self) -> Option<&'t Forward> {
        match self.decision() {
            Decision::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    /// The route; `None` for a redirect by `require_tls`.
    #[must_use]
    pub fn entry(&self) -> Option<&'t RouteEntry> {
        self.entry
    }

    /// The route's metadata.
    #[must_use]
    pub fn metadata(&self) -> Option<&'t Metadata> {
        self.entry.map(|entry| &entry.metadata)
    }

    /// The route's name; may be empty.
    #[must_use]
    pub fn name(&self) -> &'t str {
        self.entry.map_or("", |entry| &entry.name)
    }

    /// When the request is tried again: the route's word, else the virtual host's.
    #[must_use]
    pub fn retry_policy(&self) -> Option<&'t Arc<RetryPolicy>> {
        self.forward()?.retry.as_ref().or(self.host.retry.as_ref())
    }

    /// Where the request goes as well: by the most specific level that has a policy.
    #[must_use]
    pub fn mirrors(&self) -> &'t [MirrorPolicy] {
        let of_route = self.forward().map_or(&[][..], |forward| &forward.mirrors);
        let levels = [of_route, &self.host.mirrors, &self.table.config.mirrors];
        levels.into_iter().find(|level| !level.is_empty()).unwrap_or_default()
    }

    /// The cluster of a list's entry; an absent header gives an empty name, which no cluster has.
    #[must_use]
    pub fn named<'h>(target: &'h ClusterTarget, input: &RouteInput<'h>) -> &'h str {
        match target {
            ClusterTarget::Cluster(name) => name.as_str(),
            ClusterTarget::Header(field) => value_of(field, input),
        }
    }

    /// The virtual host.
    #[must_use]
    pub fn virtual_host(&self) -> &'t VirtualHostConfig {
        self.host
    }

    /// The entry of `weighted_clusters` that was picked.
    #[must_use]
    pub fn cluster_weight(&self) -> Option<&'t ClusterWeight> {
        self.weight
    }

    /// The name of the cluster to forward to; `None` if nothing is forwarded. With
    /// `cluster_header` the request as it was matched names it; an absent header gives an empty
    /// name, which no cluster has.
    #[must_use]
    pub fn cluster<'h>(&self, input: &RouteInput<'h>) -> Option<&'h str>
    where
        't: 'h,
    {
        match (&self.forward()?.cluster, self.weight) {
            (ClusterSpecifier::Cluster(name), _) => Some(name.as_str()),
            (ClusterSpecifier::Header(field), _) => Some(value_of(field, input)),
            (ClusterSpecifier::Weighted(_), Some(weight)) => {
                Some(Self::named(&weight.target, input))
            }
            (ClusterSpecifier::Weighted(_), None) => None,
        }
    }

    /// The per-filter levels, least to most specific: table, virtual host, route, weighted cluster.
    pub fn levels(&self) -> impl DoubleEndedIterator<Item = &'t FilterOverrides> + use<'t> {
        let levels = [
            Some(&self.table.config.overrides),
            Some(&self.host.overrides),
            self.entry.map(|entry| &entry.overrides),
            self.weight.map(|weight| &weight.overrides),
        ];
        levels.into_iter().flatten()
    }

    /// What all levels say about one filter, least to most specific.
    #[must_use]
    pub fn overrides(&self, filter: &str) -> SmallVec<[&'t FilterOverride; 4]> {
        self.levels().filter_map(|level| level.find(filter)).collect()
    }

    /// Whether the most specific level that says something turns the filter on or off.
    #[must_use]
    pub fn filter_enabled(&self, filter: &str) -> Option<bool> {
        self.levels().rev().find_map(|level| level.find(filter)?.enabled)
    }

    /// The request's header changes in the order of their application; empty levels are left out.
    #[must_use]
    pub fn request_edits(&self) -> SmallVec<[&'t HeaderEdits; 4]> {
        self.edits(|edits| &edits.request)
    }

    /// The same for the response.
    #[must_use]
    pub fn response_edits(&self) -> SmallVec<[&'t HeaderEdits; 4]> {
        self.edits(|edits| &edits.response)
    }

    fn edits(&self, side: fn(&Edits) -> &HeaderEdits) -> SmallVec<[&'t HeaderEdits; 4]> {
        let host = self.table.hosts.get(self.choice.host as usize);
        let (mut route, mut cluster) = (None, None);
        if let To::Route { route: at, cluster: picked } = self.choice.to {
            route = host.and_then(|host| host.routes.get(at as usize)?.as_ref());
            cluster = route.and_then(|route| route.clusters.get(picked as usize));
        }
        let mut levels =
            [route.map(|route| &route.own), host.map(|host| &host.edits), Some(&self.table.edits)];
        // The weighted cluster comes first in either order, as in Envoy.
        if self.table.config.header_order == HeaderOrder::MostSpecificLast {
            levels.reverse();
        }
        let all = cluster.into_iter().chain(levels.into_iter().flatten());
        all.map(side).filter(|edits| !edits.is_empty()).collect()
    }

    /// The virtual cluster that counts the request: the first whose headers match. `None` if the
    /// virtual host has none.
    #[must_use]
    pub fn virtual_cluster(&self, input: &RouteInput<'_>) -> Option<VirtualClusterRef<'t>> {
        let clusters = &self.host.virtual_clusters;
        let found = clusters
            .iter()
            .position(|one| one.headers.iter().all(|header| header_matches(header, input)));
        let at = found.or((!clusters.is_empty()).then_some(clusters.len()))?;
        Some(VirtualClusterRef { at, name: clusters.get(at).map(|cluster| &*cluster.name) })
    }
}

/// A virtual cluster that counts a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualClusterRef<'t> {
    at: usize,
    /// `None`: it is none of the virtual host's, counted as `other`.
    name: Option<&'t str>,
}

impl<'t> VirtualClusterRef<'t> {
    /// Its place among the virtual host's; `other` comes after them.
    #[must_use]
    pub fn place(self) -> usize {
        self.at
    }

    /// As counters name it.
    #[must_use]
    pub fn stat_name(self) -> &'t str {
        self.name.unwrap_or("other")
    }

    /// As `%VIRTUAL_CLUSTER_NAME%` prints it.
    #[must_use]
    pub fn log_name(self) -> Option<&'t str> {
        self.name
    }
}

fn value_of<'h>(field: &HeaderRef, input: &RouteInput<'h>) -> &'h str {
    let value = input.field(field).map(std::str::from_utf8);
    value.and_then(Result::ok).unwrap_or_default()
}
