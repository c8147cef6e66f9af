//! From intent to Envoy's resources; pure.
//!
//! A gateway becomes a listener, a route configuration, and the clusters and load assignments
//! that its routes need. All that is made here carries `metadata.filter_metadata.gomesh.name`,
//! the name of the object in the mesh file, and holds Envoy's constraint rules; both proxies must
//! take it.

pub mod cluster;
mod listener;
mod print;
mod route;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::convert::pack;
use proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use proto::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, ConfigSource, Metadata, SocketAddress, address,
    socket_address,
};
use proto::google::protobuf::{Struct, Value, value};
use proto::prost::{Message, Name};
use proto::prost_reflect::DescriptorPool;
use proto::rules::{self, Policy};

pub use self::print::print;
use crate::canonical::canonical;
use crate::check::Problem;
use crate::intent::yaml::Mark;
use crate::intent::{Destination, Discover, Gateway, Mesh, Nodes, Route, Service, Texts};
use crate::references::references;
use crate::share::{Audience, Discovered, Loaded, Services, Share};
use crate::snapshot::{Place, Resource};
use crate::support::{self, Objection};

/// The resources of a mesh, by who gets them.
///
/// # Errors
/// What Envoy would refuse, at the place in the mesh file that it comes from.
pub fn translate(mesh: &Mesh, texts: &Texts) -> Result<Loaded, Vec<Problem>> {
    let mut maker = Maker {
        pool: &proto::descriptors(),
        texts,
        made: BTreeMap::new(),
        discovered: Vec::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let mut shares: Vec<Share> = Vec::new();
    for gateway in &mesh.gateways {
        let resources = maker.gateway(mesh, gateway);
        let audience = audience(&gateway.nodes);
        match shares.iter_mut().find(|share| share.audience == audience) {
            Some(share) => share.resources.extend(resources),
            None => shares.push(Share { audience, resources }),
        }
    }
    if maker.problems.is_empty() {
        let Maker { discovered, warnings, .. } = maker;
        Ok(Loaded { shares, services: services(mesh), discovered, warnings })
    } else {
        Err(maker.problems)
    }
}

fn services(mesh: &Mesh) -> Services {
    let mut services = Services::default();
    for service in &mesh.services {
        let names = match service.discover {
            Discover::Registry => &mut services.discovered,
            Discover::Written => &mut services.written,
        };
        names.insert(service.name.clone());
    }
    services
}

/// The store's word for nodes.
#[must_use]
pub fn audience(nodes: &Nodes) -> Audience {
    match nodes {
        Nodes::Cluster(name) => Audience::Cluster(name.clone()),
        Nodes::Metadata(wanted) => Audience::Metadata(wanted.clone()),
    }
}

/// A place in one of the texts of a mesh.
#[must_use]
pub fn place(texts: &Texts, mark: Mark) -> Place {
    Place { file: texts.of(mark), line: mark.line, column: mark.column }
}

struct Maker<'a> {
    pool: &'a DescriptorPool,
    texts: &'a Texts,
    /// Clusters and load assignments, shared by the gateways that need them.
    made: BTreeMap<String, Vec<Arc<Resource>>>,
    discovered: Vec<Discovered>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Maker<'_> {
    fn place(&self, mark: Mark) -> Place {
        place(self.texts, mark)
    }

    fn gateway(&mut self, mesh: &Mesh, gateway: &Gateway) -> Vec<Arc<Resource>> {
        let mut routes: Vec<&Route> =
            mesh.routes.iter().filter(|route| route.gateway == gateway.name).collect();
        route::sort(&mut routes);
        let mut resources = Vec::new();
        match listener::build(gateway) {
            Ok(listener) => resources.push(self.finish(&gateway.name, &listener, gateway.mark)),
            Err(faults) => {
                let problem = |(mark, text)| Problem::new(Some(self.place(mark)), text);
                let problems: Vec<Problem> = faults.into_iter().map(problem).collect();
                self.problems.extend(problems);
            }
        }
        let config = route::build(gateway, &routes, &mesh.defaults);
        resources.push(self.finish(&gateway.name, &config, gateway.mark));
        let mut needed: BTreeMap<String, &Destination> = BTreeMap::new();
        for destination in routes.iter().flat_map(|route| &route.to) {
            needed.entry(destination.cluster()).or_insert(destination);
        }
        for (name, destination) in needed {
            // `intent::parse` lets only destinations through whose service exists.
            let service = mesh.services.iter().find(|s| s.name == destination.service);
            if let Some(service) = service {
                resources.extend(self.cluster(name, service, destination));
            }
        }
        resources
    }

    fn cluster(
        &mut self,
        name: String,
        service: &Service,
        destination: &Destination,
    ) -> Vec<Arc<Resource>> {
        if let Some(made) = self.made.get(&name) {
            return made.clone();
        }
        let subset = destination.subset.as_ref();
        let subset = subset.and_then(|name| service.subsets.iter().find(|s| s.name == *name));
        let mark = subset.map_or(service.mark, |subset| subset.mark);
        let parts = cluster::build(&name, service, subset);
        if service.discover == Discover::Registry {
            self.discovered.push(Discovered {
                cluster: name.clone(),
                service: service.name.clone(),
                labels: subset.map(|subset| subset.labels.clone()).unwrap_or_default(),
                place: Some(self.place(mark)),
            });
        } else if parts.endpoints == 0 {
            let text = format!("'{name}' has no endpoint: its requests are answered with 503");
            self.warnings.push(Problem::new(Some(self.place(mark)), text));
        }
        let mut made = vec![self.finish(&name, &parts.cluster, mark)];
        if let Some(load) = parts.assignment {
            made.push(self.finish(&name, &load, mark));
        }
        self.made.insert(name, made.clone());
        made
    }

    /// Encodes, checks and versions a message.
    fn finish<M: Message + Name>(&mut self, name: &str, message: &M, mark: Mark) -> Arc<Resource> {
        let mut any = pack(message);
        any.value = canonical(self.pool, &any.type_url, any.value);
        let place = self.place(mark);
        let before = self.problems.len();
        for finding in rules::check(&any.type_url, &any.value, &Policy::everything()) {
            let list = if finding.kind.is_note() { &mut self.warnings } else { &mut self.problems };
            let text = format!("{} '{name}': {finding}", M::NAME);
            list.push(Problem::new(Some(place.clone()), text));
        }
        let mut unsupported = Vec::new();
        if self.problems.len() == before {
            let placed = |Objection { path, reason }: Objection| {
                let text = format!("{} '{name}': {path}: {reason}", M::NAME);
                Problem::new(Some(place.clone()), text)
            };
            let objections = support::objections(&any);
            self.problems.extend(objections.wrong.into_iter().map(placed));
            // What we make ourselves passes in full; this is about `http_filters`.
            let placed = objections.unsupported.into_iter().map(placed);
            unsupported.extend(placed.map(|problem| problem.to_string()));
        }
        let references = references(&any);
        let mut resource = Resource::new(name, any, references, Some(place));
        resource.unsupported = unsupported;
        Arc::new(resource)
    }
}

/// `filter_metadata: { gomesh: { name } }`.
fn metadata(name: &str) -> Option<Metadata> {
    let value = Value { kind: Some(value::Kind::StringValue(name.to_owned())) };
    let fields = [("name".to_owned(), value)].into();
    let filter_metadata = [("gomesh".to_owned(), Struct { fields })].into();
    Some(Metadata { filter_metadata, ..Default::default() })
}

/// "Ask for it on the stream that this came on."
fn ads() -> Option<ConfigSource> {
    let source = ConfigSourceSpecifier::Ads(AggregatedConfigSource::default());
    Some(ConfigSource {
        config_source_specifier: Some(source),
        resource_api_version: ApiVersion::V3 as i32,
        ..Default::default()
    })
}

fn socket_address(host: String, port: u16) -> Option<Address> {
    let port = socket_address::PortSpecifier::PortValue(u32::from(port));
    let address = SocketAddress { address: host, port_specifier: Some(port), ..Default::default() };
    Some(Address { address: Some(address::Address::SocketAddress(address)) })
}
