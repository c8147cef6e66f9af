//! From a mesh file's values to a [`Mesh`].
//!
//! Only the keys of this version are read; each other key is a fault that says so.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::fields::{Faults, Fields, Keys, duration, items, named, text, texts};
use super::retries::retries;
use super::yaml::{self, Entry, Fault, Mark, Node, Value};
use super::{
    Condition, Defaults, Destination, Discover, Endpoint, Gateway, Host, Mesh, Nodes, PathRule,
    Raw, Rewrite, Route, Service, Subset, ValueRule, suggest,
};

pub(super) const MESH: Keys = Keys {
    object: "the mesh",
    known: &["version", "defaults", "services", "gateways", "routes", "raw"],
    later: &["policies"],
};
const DEFAULTS: Keys = Keys {
    object: "defaults",
    known: &["timeout", "retries"],
    later: &["health", "lb", "limits", "eject", "trust_domain"],
};
const SERVICE: Keys = Keys {
    object: "a service",
    known: &["endpoints", "discover", "subsets"],
    later: &[
        "lb", "limits", "eject", "health", "protocol", "sidecar", "port", "tls", "retries",
        "timeout",
    ],
};
const ENDPOINT: Keys =
    Keys { object: "an endpoint", known: &["address", "labels"], later: &["weight", "zone"] };
const GATEWAY: Keys = Keys {
    object: "a gateway",
    known: &["listen", "nodes", "http_filters"],
    later: &["tls", "timeout", "retries"],
};
pub(super) const ROUTE: Keys = Keys {
    object: "a route",
    known: &[
        "name", "gateway", "host", "path", "method", "header", "query", "priority", "to", "split",
        "rewrite", "timeout", "retries",
    ],
    later: &["service", "rate_limit", "fault", "mirror", "redirect"],
};
const REWRITE: Keys = Keys { object: "rewrite", known: &["path", "host"], later: &[] };
const RAW: Keys = Keys { object: "an entry of raw", known: &["files", "nodes"], later: &[] };

/// Reads a mesh file.
///
/// # Errors
/// All faults, in order of place.
pub fn parse(source: &str) -> Result<Mesh, Vec<Fault>> {
    assemble(&yaml::read(source).map_err(|fault| vec![fault])?)
}

pub(super) fn check_version(fields: &Fields<'_>, faults: &mut Faults) {
    if let Some(version) = fields.require("version", faults)
        && version.text() != Some("1")
    {
        faults.add(version.mark, "version must be 1");
    }
}

/// Reads a mesh out of the values of a file, or of several texts that were [merged](super::merge).
///
/// # Errors
/// All faults, in order of place.
pub fn assemble(root: &Node) -> Result<Mesh, Vec<Fault>> {
    let mut faults = Faults::default();
    let fields = Fields::new(root, MESH, &mut faults);
    check_version(&fields, &mut faults);
    let mut mesh = Mesh::default();
    if let Some(node) = fields.find("defaults") {
        let fields = Fields::new(node, DEFAULTS, &mut faults);
        let timeout = fields.find("timeout");
        let timeout = timeout.and_then(|node| duration(node, "timeout", &mut faults));
        let retries = fields.find("retries").and_then(|node| retries(node, &mut faults));
        mesh.defaults = Defaults { timeout, retries };
    }
    for entry in fields.find("services").map_or(&[][..], |n| named(n, "services", &mut faults)) {
        mesh.services.push(service(entry, &mut faults));
    }
    for entry in fields.find("gateways").map_or(&[][..], |n| named(n, "gateways", &mut faults)) {
        mesh.gateways.extend(gateway(entry, &mut faults));
    }
    for node in fields.find("routes").map_or(&[][..], |n| items(n, "routes", &mut faults)) {
        mesh.routes.extend(route(node, &mesh, &mut faults));
    }
    for node in fields.find("raw").map_or(&[][..], |n| items(n, "raw", &mut faults)) {
        mesh.raw.extend(raw(node, &mut faults));
    }
    check_route_names(&mesh.routes, &mut faults);
    check_listens(&mesh.gateways, &mut faults);
    faults.into_result(mesh)
}

fn check_route_names(routes: &[Route], faults: &mut Faults) {
    let mut seen: HashMap<&str, Mark> = HashMap::new();
    for route in routes {
        if let Some(first) = seen.insert(&route.name, route.mark) {
            let message =
                format!("the route '{}' stands twice; first at line {}", route.name, first.line);
            faults.add(route.mark, message);
        }
    }
}

/// Two gateways of the same nodes cannot share an address (port 0 is a new one each time).
fn check_listens(gateways: &[Gateway], faults: &mut Faults) {
    for (index, gateway) in gateways.iter().enumerate() {
        let same = |other: &&Gateway| {
            other.nodes == gateway.nodes
                && other.listen == gateway.listen
                && gateway.listen.port() != 0
        };
        if let Some(other) = gateways[..index].iter().find(same) {
            let message = format!(
                "the gateway '{}' listens on {}, where '{}' does for the same nodes",
                gateway.name, gateway.listen, other.name
            );
            faults.add(gateway.mark, message);
        }
    }
}

/// What [`is_name`] asks for.
pub const NAME_RULE: &str = "1 to 200 letters, digits, '-', '_' or '.'";

/// Whether a text may be a name: names become parts of cluster and listener names.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=200).contains(&name.len()) && name.chars().all(fine)
}

fn check_name(name: &str, what: &str, mark: Mark, faults: &mut Faults) {
    if !is_name(name) {
        faults.add(mark, format!("the name of {what}: got '{name}'; must be {NAME_RULE}"));
    }
}

fn service(entry: &Entry, faults: &mut Faults) -> Service {
    check_name(&entry.key, "a service", entry.key_mark, faults);
    let fields = Fields::new(&entry.value, SERVICE, faults);
    let discover = discover(&fields, faults);
    let endpoints = match discover {
        Discover::Written => fields.require("endpoints", faults),
        Discover::Registry => fields.find("endpoints"),
    };
    if discover == Discover::Registry && endpoints.is_some() {
        faults.add(fields.mark, "a service has 'endpoints' or 'discover', not both");
    }
    let endpoints = endpoints.map_or(&[][..], |node| items(node, "endpoints", faults));
    let endpoints: Vec<Endpoint> =
        endpoints.iter().filter_map(|node| endpoint(node, faults)).collect();
    let subsets = fields.find("subsets").map_or(&[][..], |node| named(node, "subsets", faults));
    let subsets = subsets
        .iter()
        .map(|entry| {
            check_name(&entry.key, "a subset", entry.key_mark, faults);
            let labels = texts(&entry.value, "labels", faults);
            if labels.is_empty() {
                faults.add(entry.key_mark, "a subset must have at least one label");
            }
            Subset { name: entry.key.clone(), labels, mark: entry.key_mark }
        })
        .collect();
    Service { name: entry.key.clone(), mark: entry.key_mark, endpoints, discover, subsets }
}

fn discover(fields: &Fields<'_>, faults: &mut Faults) -> Discover {
    let Some(node) = fields.find("discover") else { return Discover::Written };
    match text(node, "discover", faults) {
        Some("registry") | None => {}
        Some(other) => {
            faults.add(node.mark, format!("discover: got '{other}'; must be registry"));
        }
    }
    Discover::Registry
}

fn endpoint(node: &Node, faults: &mut Faults) -> Option<Endpoint> {
    let (address, labels) = match &node.value {
        Value::Map(_) => {
            let fields = Fields::new(node, ENDPOINT, faults);
            let labels = fields.find("labels").map(|node| texts(node, "labels", faults));
            let address = fields.require("address", faults)?;
            (text(address, "address", faults)?, labels.unwrap_or_default())
        }
        _ => (text(node, "an endpoint", faults)?, Default::default()),
    };
    match host_and_port(address) {
        Some((host, port)) => Some(Endpoint { host, port, labels, mark: node.mark }),
        None => {
            let rule = "host:port, such as 10.0.0.1:8080, [::1]:8080 or name.local:8080";
            faults.add(node.mark, format!("an endpoint: got '{address}'; must be {rule}"));
            None
        }
    }
}

fn host_and_port(text: &str) -> Option<(Host, u16)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.port() > 0).then(|| (Host::Address(address.ip()), address.port()));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    // A name whose last part is a number is an address gone wrong (10.0.0.256).
    let numeric = name.rsplit('.').next().is_some_and(|p| p.chars().all(|c| c.is_ascii_digit()));
    let fine = host.len() <= 253 && !numeric && name.split('.').all(label);
    fine.then(|| (Host::Name(host.to_owned()), port))
}

fn gateway(entry: &Entry, faults: &mut Faults) -> Option<Gateway> {
    check_name(&entry.key, "a gateway", entry.key_mark, faults);
    let fields = Fields::new(&entry.value, GATEWAY, faults);
    let nodes = match fields.find("nodes") {
        Some(node) => nodes(node, faults)?,
        None => Nodes::Cluster(entry.key.clone()),
    };
    let filters = fields.find("http_filters");
    let filters = filters.map_or(&[][..], |node| items(node, "http_filters", faults)).to_vec();
    let listen = fields.require("listen", faults)?;
    let written = text(listen, "listen", faults)?;
    let Some(address) = listen_address(written) else {
        let rule = "a port (loopback), :port (all interfaces) or address:port";
        faults.add(listen.mark, format!("listen: got '{written}'; must be {rule}"));
        return None;
    };
    Some(Gateway {
        name: entry.key.clone(),
        mark: entry.key_mark,
        listen: address,
        nodes,
        http_filters: filters,
    })
}

fn listen_address(text: &str) -> Option<SocketAddr> {
    if let Ok(port) = text.parse::<u16>() {
        return Some((Ipv4Addr::LOCALHOST, port).into());
    }
    if let Some(port) = text.strip_prefix(':') {
        return Some((IpAddr::from(Ipv4Addr::UNSPECIFIED), port.parse().ok()?).into());
    }
    text.parse().ok()
}

fn nodes(node: &Node, faults: &mut Faults) -> Option<Nodes> {
    if let Some(cluster) = node.text() {
        return Some(Nodes::Cluster(cluster.to_owned()));
    }
    let metadata = texts(node, "nodes", faults);
    if metadata.is_empty() {
        faults.add(node.mark, "nodes must be a node.cluster or conditions on node.metadata");
        return None;
    }
    Some(Nodes::Metadata(metadata))
}

fn route(node: &Node, mesh: &Mesh, faults: &mut Faults) -> Option<Route> {
    let fields = Fields::new(node, ROUTE, faults);
    let name = fields.require("name", faults);
    let name = name.and_then(|node| text(node, "name", faults)).unwrap_or_default();
    if fields.find("name").is_some() {
        check_name(name, "a route", node.mark, faults);
    }
    let gateway = gateway_of(&fields, mesh, faults);
    let host = host_of(&fields, faults);
    let path = fields.require("path", faults);
    let path = path.and_then(|node| path_rule(node, faults));
    let methods = fields.find("method").map(|node| methods(node, faults)).unwrap_or_default();
    let headers = fields.find("header").map(|node| conditions(node, "header", faults));
    let query = fields.find("query").map(|node| conditions(node, "query", faults));
    let priority = fields.find("priority").map_or(0, |node| {
        node.text().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            faults.add(node.mark, "priority must be a whole number");
            0
        })
    });
    let to = destinations(&fields, mesh, faults);
    let rewrite = fields.find("rewrite").and_then(|node| rewrite(node, faults));
    let timeout = fields.find("timeout").and_then(|node| duration(node, "timeout", faults));
    let retries = fields.find("retries").and_then(|node| retries(node, faults));
    let mut headers = headers.unwrap_or_default();
    headers.iter_mut().for_each(|header| header.name.make_ascii_lowercase());
    Some(Route {
        name: name.to_owned(),
        mark: node.mark,
        gateway: gateway?,
        host: host?,
        path: path?,
        methods,
        headers,
        query: query.unwrap_or_default(),
        priority,
        to: to?,
        rewrite: rewrite.unwrap_or_default(),
        timeout,
        retries,
    })
}

fn gateway_of(fields: &Fields<'_>, mesh: &Mesh, faults: &mut Faults) -> Option<String> {
    let node = fields.require("gateway", faults)?;
    let name = text(node, "gateway", faults)?;
    let known = || mesh.gateways.iter().map(|gateway| gateway.name.as_str());
    if !known().any(|known| known == name) {
        faults.add(node.mark, format!("unknown gateway '{name}'{}", suggest::hint(name, known())));
        return None;
    }
    Some(name.to_owned())
}

fn host_of(fields: &Fields<'_>, faults: &mut Faults) -> Option<String> {
    let Some(node) = fields.find("host") else { return Some("*".to_owned()) };
    let host = text(node, "host", faults)?.to_ascii_lowercase();
    let stars = host.matches('*').count();
    let star_fits = stars == 0 || (stars == 1 && (host.starts_with('*') || host.ends_with('*')));
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.*".contains(c);
    if host.is_empty() || !star_fits || !host.chars().all(fine) {
        let rule = "a host name without a port, with one * at its beginning or end at most";
        faults.add(node.mark, format!("host: got '{host}'; must be {rule}"));
        return None;
    }
    Some(host)
}

fn path_rule(node: &Node, faults: &mut Faults) -> Option<PathRule> {
    let written = text(node, "path", faults)?;
    if let Some(regex) = written.strip_prefix('~') {
        return check_regex(regex, node.mark, faults).then(|| PathRule::Regex(regex.to_owned()));
    }
    let (exact, path) = match written.strip_prefix('=') {
        Some(path) => (true, path),
        None => (false, written),
    };
    let rule = if !path.starts_with('/') {
        "/x (it and below), =/x (exactly) or ~regex"
    } else if path.contains(['?', '#']) {
        "a path without ? and #; conditions on parameters go under 'query'"
    } else if !exact && path.len() > 1 && path.ends_with('/') {
        "without a slash at the end: /x covers /x/ and all below it"
    } else if exact {
        return Some(PathRule::Exact(path.to_owned()));
    } else {
        return Some(PathRule::Prefix(path.trim_end_matches('/').to_owned()));
    };
    faults.add(node.mark, format!("path: got '{written}'; must be {rule}"));
    None
}

fn check_regex(regex: &str, mark: Mark, faults: &mut Faults) -> bool {
    match regex::Regex::new(regex) {
        Ok(_) if !regex.is_empty() => true,
        Ok(_) => {
            faults.add(mark, "an empty regular expression");
            false
        }
        Err(error) => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            faults.add(mark, format!("not a regular expression: '{regex}': {last}"));
            false
        }
    }
}

fn methods(node: &Node, faults: &mut Faults) -> Vec<String> {
    let nodes = match &node.value {
        Value::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let mut methods = Vec::new();
    for node in nodes {
        let Some(method) = text(node, "method", faults) else { continue };
        if method.is_empty() || !method.chars().all(|c| c.is_ascii_uppercase() || c == '-') {
            faults.add(node.mark, format!("method: got '{method}'; must be in capitals, as GET"));
        }
        methods.push(method.to_owned());
    }
    methods
}

fn conditions(node: &Node, what: &str, faults: &mut Faults) -> Vec<Condition> {
    let mut found = Vec::new();
    for entry in named(node, what, faults) {
        if entry.key.is_empty() || entry.key.starts_with(':') {
            faults.add(entry.key_mark, format!("{what}: '{}' is not a name here", entry.key));
        }
        let Some(written) = text(&entry.value, &format!("{what} {}", entry.key), faults) else {
            continue;
        };
        let value = if written == "*" {
            ValueRule::Present
        } else if let Some(regex) = written.strip_prefix('~') {
            check_regex(regex, entry.value.mark, faults);
            ValueRule::Regex(regex.to_owned())
        } else {
            ValueRule::Exact(written.to_owned())
        };
        found.push(Condition { name: entry.key.clone(), value });
    }
    found
}

fn destinations(fields: &Fields<'_>, mesh: &Mesh, faults: &mut Faults) -> Option<Vec<Destination>> {
    match (fields.find("to"), fields.find("split")) {
        (Some(node), None) => {
            let name = text(node, "to", faults)?;
            Some(vec![destination(name, 1, node.mark, mesh, faults)?])
        }
        (None, Some(node)) => split(node, mesh, faults),
        (Some(_), Some(node)) => {
            faults.add(node.mark, "a route has 'to' or 'split', not both");
            None
        }
        (None, None) => {
            faults.add(fields.mark, "a route must have 'to' or 'split'");
            None
        }
    }
}

fn split(node: &Node, mesh: &Mesh, faults: &mut Faults) -> Option<Vec<Destination>> {
    let mut to = Vec::new();
    for entry in named(node, "split", faults) {
        let weight = entry.value.text().and_then(|text| text.parse::<u32>().ok());
        let Some(weight) = weight.filter(|weight| *weight <= 1_000_000) else {
            faults.add(entry.value.mark, "a weight must be a whole number from 0 to 1000000");
            continue;
        };
        to.extend(destination(&entry.key, weight, entry.key_mark, mesh, faults));
    }
    if to.iter().map(|destination| u64::from(destination.weight)).sum::<u64>() == 0 {
        faults.add(node.mark, "the weights of a split must add up to more than 0");
        return None;
    }
    Some(to)
}

fn destination(
    written: &str,
    weight: u32,
    mark: Mark,
    mesh: &Mesh,
    faults: &mut Faults,
) -> Option<Destination> {
    let (service, subset) = match written.split_once('/') {
        Some((service, subset)) => (service, Some(subset)),
        None => (written, None),
    };
    let names = || mesh.services.iter().map(|service| service.name.as_str());
    let Some(found) = mesh.services.iter().find(|known| known.name == service) else {
        let hint = suggest::hint(service, names());
        faults.add(mark, format!("unknown service '{service}'{hint}"));
        return None;
    };
    let subsets = || found.subsets.iter().map(|subset| subset.name.as_str());
    if let Some(subset) = subset
        && !subsets().any(|known| known == subset)
    {
        let hint = suggest::hint(subset, subsets());
        faults.add(mark, format!("the service '{service}' has no subset '{subset}'{hint}"));
        return None;
    }
    let subset = subset.map(ToOwned::to_owned);
    Some(Destination { service: service.to_owned(), subset, weight })
}

fn rewrite(node: &Node, faults: &mut Faults) -> Option<Rewrite> {
    let rewrite = match &node.value {
        Value::Map(_) => {
            let fields = Fields::new(node, REWRITE, faults);
            let path = fields.text("path", faults).map(ToOwned::to_owned);
            Rewrite { path, host: fields.text("host", faults).map(ToOwned::to_owned) }
        }
        _ => Rewrite { path: Some(text(node, "rewrite", faults)?.to_owned()), host: None },
    };
    if rewrite.path.as_ref().is_some_and(|path| !path.starts_with(['/', '\\'])) {
        faults.add(node.mark, "rewrite: the path must begin with /");
    }
    Some(rewrite)
}

fn raw(node: &Node, faults: &mut Faults) -> Option<Raw> {
    let (files, nodes) = match &node.value {
        Value::Map(_) => {
            let fields = Fields::new(node, RAW, faults);
            let nodes = fields.find("nodes").and_then(|node| nodes(node, faults));
            let files = fields.require("files", faults)?;
            (text(files, "files", faults)?, nodes)
        }
        _ => (text(node, "an entry of raw", faults)?, None),
    };
    if files.is_empty() || files.rsplit_once('/').is_some_and(|(folder, _)| folder.contains('*')) {
        faults.add(node.mark, "raw: a path, with * in its last part only");
        return None;
    }
    Some(Raw { files: files.to_owned(), nodes, mark: node.mark })
}
