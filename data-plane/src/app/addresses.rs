//! Whose addresses are whose: listeners by xDS that cannot be bound are refused before they are
//! acknowledged, as in Envoy, so that their author hears of it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use crate::config::error::{At as _, Problems, Reason};
use crate::config::listener::{BindAddress, ListenerConfig, TcpListenerConfig};
use crate::config::resource::{self, Accepted, ResourceValue};
use crate::listener::socket::{Held, display};
use crate::xds::{Review, TypeUrl, Whole};

/// Refuses a listener whose address is not to be had.
pub(super) fn bindable(
    decoded: resource::Decoded<ResourceValue>,
    held: &Held,
) -> resource::Decoded<ResourceValue> {
    let resource::Decoded::Accepted(named) = &decoded else { return decoded };
    let ResourceValue::Listener(listener) = &named.value else { return decoded };
    let Some(tcp) = listener.tcp().filter(|tcp| tcp.bind_to_port) else { return decoded };
    for (index, place) in tcp.addresses.iter().enumerate() {
        if let Err(error) = held.check(&place.bind) {
            let problems = at_address(index, error.to_string());
            let name = named.name.clone();
            return resource::Decoded::Rejected { name, problems };
        }
    }
    decoded
}

/// Refuses listeners that cannot be beside the others; `fixed` are those of the bootstrap.
pub(super) fn review(fixed: &[Accepted<ListenerConfig>]) -> Review<ResourceValue> {
    let fixed: Vec<Arc<ListenerConfig>> = fixed.iter().map(|l| Arc::clone(&l.value)).collect();
    Arc::new(
        move |type_url, whole| {
            if *type_url == TypeUrl::LISTENER { conflicts(&fixed, whole) } else { Vec::new() }
        },
    )
}

/// What is refused, and why. As Envoy, takes one after another in the response's order, after those
/// that go are gone: two that swap their addresses are both refused, and one may have an address
/// that another gave up before it in the response.
fn conflicts(
    fixed: &[Arc<ListenerConfig>],
    whole: &Whole<'_, ResourceValue>,
) -> Vec<(usize, Problems)> {
    let held = whole.held.iter().filter_map(|(name, value)| Some((*name, sockets(value)?)));
    let own = || fixed.iter().filter_map(|l| Some((l.name.as_str(), l.tcp()?)));
    let mut standing: BTreeMap<&str, &Arc<TcpListenerConfig>> = held.chain(own()).collect();
    let mut refused = Vec::new();
    for (place, (name, value)) in whole.accepted.iter().enumerate() {
        // A listener of the bootstrap stays what it is, whatever comes under its name.
        if fixed.iter().any(|own| own.name.as_str() == *name) {
            continue;
        }
        let Some(new) = sockets(value) else { continue };
        match conflict(name, new, &standing) {
            Some(problems) => refused.push((place, problems)),
            None => drop(standing.insert(name, new)),
        }
    }
    refused
}

fn sockets(value: &ResourceValue) -> Option<&Arc<TcpListenerConfig>> {
    match value {
        ResourceValue::Listener(listener) => listener.tcp(),
        _ => None,
    }
}

fn conflict(
    name: &str,
    new: &TcpListenerConfig,
    standing: &BTreeMap<&str, &Arc<TcpListenerConfig>>,
) -> Option<Problems> {
    if standing.get(name).is_some_and(|old| old.reuse_port != new.reuse_port) {
        let rule = "cannot be changed during an update".to_owned();
        return Err::<(), _>(Problems::from(Reason::Rule(rule))).at("enable_reuse_port").err();
    }
    for (index, address) in new.addresses.iter().map(|place| &place.bind).enumerate() {
        if new.bind_to_port && is_any_port(address) {
            continue;
        }
        let same = |other: &TcpListenerConfig| {
            other.addresses.iter().any(|place| is_same(&place.bind, address))
        };
        let owner = standing.iter().find(|(other, config)| **other != name && same(config));
        if let Some((owner, _)) = owner {
            let address = display(address);
            let why = format!("cannot bind {address}: listener '{owner}' has the same address");
            return Some(at_address(index, why));
        }
    }
    None
}

/// Whether the system chooses the port, so that it is never another listener's.
fn is_any_port(address: &BindAddress) -> bool {
    matches!(address, BindAddress::Tcp { address, .. } if address.port() == 0)
}

fn is_same(one: &BindAddress, other: &BindAddress) -> bool {
    match (one, other) {
        (BindAddress::Tcp { address: one, .. }, BindAddress::Tcp { address: other, .. }) => {
            one == other
        }
        (BindAddress::Pipe(one), BindAddress::Pipe(other)) => one.path == other.path,
        _ => false,
    }
}

fn at_address(index: usize, why: String) -> Problems {
    let problems = Problems::from(Reason::Rule(why));
    let failed = match index.checked_sub(1) {
        None => Err::<Infallible, _>(problems).at("address"),
        Some(more) => Err(problems).at("address").at_index("additional_addresses", more),
    };
    let Err(problems) = failed;
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::load;

    fn listener(name: &str, port: u16, fields: &str) -> ResourceValue {
        let yaml = format!(
            "static_resources: {{listeners: [{{name: {name}, {fields} address: {{socket_address: \
             {{address: 127.0.0.1, port_value: {port}}}}}, filter_chains: [{{}}]}}]}}"
        );
        let loaded = load::load_text("test.yaml", &yaml).expect("the test's own listener");
        ResourceValue::Listener(Arc::clone(&loaded.config.listeners[0].value))
    }

    type Short<'a> = (&'a str, u16, &'a str);

    /// What is refused of `sent` beside `held` and the listener `own` of the bootstrap at port 9.
    fn refused(held: &[Short<'_>], sent: &[Short<'_>]) -> Vec<String> {
        let made = |all: &[Short<'_>]| -> Vec<(String, ResourceValue)> {
            let one =
                |&(name, port, fields): &Short<'_>| (name.to_owned(), listener(name, port, fields));
            all.iter().map(one).collect()
        };
        let (held, sent) = (made(held), made(sent));
        let ResourceValue::Listener(own) = listener("own", 9, "") else { panic!("it is one") };
        let whole = Whole {
            held: held.iter().map(|(name, value)| (name.as_str(), value)).collect(),
            accepted: sent.iter().map(|(name, value)| (name.as_str(), value)).collect(),
        };
        let found = conflicts(&[own], &whole);
        found.iter().map(|(place, problems)| format!("{}: {problems}", sent[*place].0)).collect()
    }

    fn taken(name: &str, port: u16, owner: &str) -> String {
        format!(
            "{name}: address: cannot bind 127.0.0.1:{port}: listener '{owner}' has the same address"
        )
    }

    #[test]
    fn an_address_is_one_listeners_alone() {
        let held = [("a", 1, ""), ("b", 2, "")];
        assert_eq!(refused(&held, &[("c", 1, "")]), [taken("c", 1, "a")]);
        assert_eq!(refused(&held, &[("d", 4, ""), ("e", 4, "")]), [taken("e", 4, "d")]);
        assert_eq!(refused(&held, &[("c", 9, "")]), [taken("c", 9, "own")]);
        assert_eq!(refused(&held, &[("p", 0, ""), ("q", 0, ""), ("c", 3, "")]), [""; 0]);
        assert_eq!(refused(&held, &[("own", 1, "")]), [""; 0], "it is ignored");
        let unbound = ("u", 1, "bind_to_port: false,");
        assert_eq!(refused(&held, &[unbound]), [taken("u", 1, "a")]);
    }

    #[test]
    fn an_address_is_had_by_who_comes_after_it_was_given_up() {
        let held = [("a", 1, ""), ("b", 2, "")];
        let swap = [taken("a", 2, "b"), taken("b", 1, "a")];
        assert_eq!(refused(&held, &[("a", 2, ""), ("b", 1, "")]), swap);
        assert_eq!(refused(&held, &[("a", 5, ""), ("c", 1, "")]), [""; 0]);
        assert_eq!(refused(&held, &[("c", 1, ""), ("a", 5, "")]), [taken("c", 1, "a")]);
    }

    #[test]
    fn reuse_port_is_for_life() {
        let held = [("a", 1, "")];
        let why = "a: enable_reuse_port: cannot be changed during an update";
        assert_eq!(refused(&held, &[("a", 1, "enable_reuse_port: false,")]), [why]);
        assert_eq!(refused(&held, &[("a", 7, "enable_reuse_port: false,")]), [why]);
        assert_eq!(refused(&held, &[("c", 3, "enable_reuse_port: false,")]), [""; 0]);
    }
}
