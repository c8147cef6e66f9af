//! Each test names the rule of the protocol notes that it holds the session to.

use super::*;
use crate::clock;
use crate::snapshot::{References, SECRET};
use proto::google::protobuf::Any;

/// `cluster a 1`: kind, name, content; then what it names.
fn made(type_url: &str, name: &str, content: &str, references: References) -> Arc<Resource> {
    let any = Any { type_url: type_url.into(), value: content.as_bytes().to_vec() };
    Arc::new(Resource::new(name, any, references, None))
}

fn cluster(name: &str, content: &str) -> Arc<Resource> {
    let references = References { endpoints: vec![name.into()], ..Default::default() };
    made(CLUSTER, name, content, references)
}

fn plain_cluster(name: &str, content: &str) -> Arc<Resource> {
    made(CLUSTER, name, content, References::default())
}

fn endpoints(name: &str, content: &str) -> Arc<Resource> {
    made(ENDPOINT, name, content, References::default())
}

fn listener(name: &str, content: &str) -> Arc<Resource> {
    let references = References { routes: vec![name.into()], ..Default::default() };
    made(LISTENER, name, content, references)
}

fn route(name: &str, content: &str, clusters: &[&str]) -> Arc<Resource> {
    let clusters = clusters.iter().map(|name| (*name).into()).collect();
    made(ROUTE, name, content, References { clusters, ..Default::default() })
}

fn snapshot(resources: &[Arc<Resource>]) -> Arc<Snapshot> {
    Arc::new(Snapshot::new(resources.iter().cloned()))
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A session with a client's memory beside it.
struct Pair {
    session: Session,
    now: Instant,
    /// Names of the last SotW request of a type, repeated by ACKs.
    wanted: HashMap<String, Vec<String>>,
    accepted: HashMap<String, String>,
}

impl Pair {
    fn new(protocol: Protocol, resources: &[Arc<Resource>]) -> Self {
        Self {
            session: Session::new(protocol, Scope::Aggregated, snapshot(resources)),
            now: clock::now(),
            wanted: HashMap::new(),
            accepted: HashMap::new(),
        }
    }

    fn ask(&mut self, type_url: &str, names: &[&str], nonce: &str) -> Verdict {
        let version = self.accepted.get(type_url).cloned().unwrap_or_default();
        self.wanted.insert(type_url.into(), list(names));
        let interest = Interest::Whole { names: list(names), version };
        self.send(type_url, nonce, None, interest)
    }

    fn change(&mut self, type_url: &str, subscribe: &[&str], unsubscribe: &[&str]) -> Verdict {
        self.resume(type_url, subscribe, unsubscribe, &[])
    }

    fn resume(
        &mut self,
        type_url: &str,
        subscribe: &[&str],
        unsubscribe: &[&str],
        held: &[(&str, &str)],
    ) -> Verdict {
        let held = held.iter().map(|(name, v)| ((*name).to_owned(), (*v).to_owned())).collect();
        let (subscribe, unsubscribe) = (list(subscribe), list(unsubscribe));
        self.send(type_url, "", None, Interest::Change { subscribe, unsubscribe, held })
    }

    fn send(
        &mut self,
        type_url: &str,
        nonce: &str,
        rejection: Option<Rejection>,
        interest: Interest,
    ) -> Verdict {
        let ask = Ask { type_url: type_url.into(), nonce: nonce.into(), rejection, interest };
        self.session.handle_request(ask).expect("request is taken")
    }

    fn poll(&mut self) -> Option<Reply> {
        assert_eq!(self.session.is_due(self.now), self.session.next(self.now).is_some());
        self.session.poll_reply(self.now)
    }

    fn answer(&mut self, reply: &Reply, rejection: Option<&str>) -> Verdict {
        let url = reply.type_url.to_string();
        if rejection.is_none() {
            self.accepted.insert(url.clone(), reply.version.to_string());
        }
        let rejection = rejection.map(|text| Rejection { code: 13, message: text.into() });
        let interest = match self.session.protocol {
            Protocol::Sotw => Interest::Whole {
                names: self.wanted.get(&url).cloned().unwrap_or_default(),
                version: self.accepted.get(&url).cloned().unwrap_or_default(),
            },
            Protocol::Delta => {
                Interest::Change { subscribe: vec![], unsubscribe: vec![], held: HashMap::new() }
            }
        };
        self.send(&url, &reply.nonce, rejection, interest)
    }

    /// Takes and acknowledges what is due; what came, as `Cluster[a b]-[c]`.
    fn drain(&mut self) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(reply) = self.poll() {
            seen.push(shown(&reply));
            assert!(matches!(self.answer(&reply, None), Verdict::Acked { .. }));
            assert!(seen.len() < 50, "resend loop: {seen:?}");
        }
        seen
    }

    fn serve(&mut self, resources: &[Arc<Resource>]) {
        self.session.apply_snapshot(snapshot(resources));
    }
}

fn shown(reply: &Reply) -> String {
    let names: Vec<&str> = reply.resources.iter().map(|r| &*r.name).collect();
    let mut text = format!("{}[{}]", reply.type_url.short(), names.join(" "));
    if !reply.removed.is_empty() {
        text += &format!("-[{}]", reply.removed.join(" "));
    }
    text
}

fn mesh(version: &str, to: &str, clusters: &[&str]) -> Vec<Arc<Resource>> {
    let mut all = vec![listener("edge", "l"), route("edge", version, &[to])];
    for name in clusters {
        all.push(cluster(name, "c"));
        all.push(endpoints(name, "e"));
    }
    all
}

#[test]
fn s1_nack_is_error_detail_and_is_not_resent_until_change() {
    let mut pair = Pair::new(Protocol::Sotw, &[plain_cluster("a", "1")]);
    pair.ask(CLUSTER, &[], "");
    let reply = pair.poll().unwrap();
    // The version that the client repeats may equal the rejected one.
    pair.accepted.insert(CLUSTER.into(), reply.version.to_string());
    let Verdict::Nacked { version, rejection, .. } = pair.answer(&reply, Some("no")) else {
        panic!("not a NACK");
    };
    assert_eq!((&version, &*rejection.message), (&reply.version, "no"));
    assert!(pair.poll().is_none());
    pair.ask(CLUSTER, &[], &reply.nonce);
    assert!(pair.poll().is_none());
    pair.serve(&[plain_cluster("a", "2")]);
    assert_eq!(pair.drain(), ["Cluster[a]"]);
}

#[test]
fn s1_neighbours_of_a_rejected_resource_go_out_again_with_the_cure() {
    let mut pair = Pair::new(Protocol::Delta, &[endpoints("a", "bad"), endpoints("b", "1")]);
    pair.change(ENDPOINT, &["a", "b"], &[]);
    let reply = pair.poll().unwrap();
    pair.answer(&reply, Some("a is bad"));
    pair.change(ENDPOINT, &["c"], &[]);
    assert_eq!(pair.drain(), ["ClusterLoadAssignment[]-[c]"]);
    pair.serve(&[endpoints("a", "good"), endpoints("b", "1")]);
    assert_eq!(pair.drain(), ["ClusterLoadAssignment[a b]"]);
}

#[test]
fn s2_sotw_stale_nonce_is_ignored_with_its_names() {
    let mut pair = Pair::new(Protocol::Sotw, &[endpoints("a", "1"), endpoints("b", "1")]);
    pair.ask(ENDPOINT, &["a"], "");
    let first = pair.poll().unwrap();
    pair.answer(&first, None);
    pair.serve(&[endpoints("a", "2"), endpoints("b", "1")]);
    let second = pair.poll().unwrap();
    assert_eq!(pair.ask(ENDPOINT, &["a", "b"], &first.nonce), Verdict::Stale);
    assert!(pair.poll().is_none());
    pair.answer(&second, None);
    assert_eq!(pair.drain(), ["ClusterLoadAssignment[b]"]);
}

#[test]
fn s2_delta_subscriptions_count_with_a_stale_nonce() {
    let mut pair = Pair::new(Protocol::Delta, &[endpoints("a", "1"), endpoints("b", "1")]);
    pair.change(ENDPOINT, &["a"], &[]);
    let first = pair.poll().unwrap();
    pair.answer(&first, None);
    let interest =
        Interest::Change { subscribe: list(&["b"]), unsubscribe: vec![], held: HashMap::new() };
    assert_eq!(pair.send(ENDPOINT, "no-such", None, interest), Verdict::Stale);
    assert_eq!(pair.drain(), ["ClusterLoadAssignment[b]"]);
}

#[test]
fn s3_sotw_clusters_are_whole_and_endpoints_are_what_changed() {
    let all = [
        plain_cluster("a", "1"),
        plain_cluster("b", "1"),
        endpoints("a", "1"),
        endpoints("b", "1"),
    ];
    let mut pair = Pair::new(Protocol::Sotw, &all);
    pair.ask(CLUSTER, &[], "");
    pair.ask(ENDPOINT, &["a", "b"], "");
    assert_eq!(pair.drain(), ["Cluster[a b]", "ClusterLoadAssignment[a b]"]);
    let next = [
        plain_cluster("a", "2"),
        plain_cluster("b", "1"),
        endpoints("a", "1"),
        endpoints("b", "2"),
    ];
    pair.serve(&next);
    assert_eq!(pair.drain(), ["Cluster[a b]", "ClusterLoadAssignment[b]"]);
}

#[test]
fn s3_newly_named_is_sent_although_unchanged() {
    let mut pair = Pair::new(Protocol::Sotw, &[endpoints("a", "1"), endpoints("b", "1")]);
    pair.ask(ENDPOINT, &["a"], "");
    let reply = pair.poll().unwrap();
    pair.answer(&reply, None);
    pair.ask(ENDPOINT, &["a", "b"], &reply.nonce);
    assert_eq!(pair.drain(), ["ClusterLoadAssignment[b]"]);
}

#[test]
fn s4_delta_answers_every_subscribed_name() {
    let mut pair = Pair::new(Protocol::Delta, &[endpoints("a", "1")]);
    pair.change(ENDPOINT, &["a", "nope"], &[]);
    assert_eq!(pair.drain(), ["ClusterLoadAssignment[a]-[nope]"]);
    pair.change(ENDPOINT, &["a"], &[]);
    assert_eq!(pair.drain(), ["ClusterLoadAssignment[a]"]);
    pair.change(ENDPOINT, &[], &["a", "never"]);
    assert!(pair.drain().is_empty());
}

#[test]
fn d5_dropping_a_name_under_a_wildcard_is_answered() {
    let mut pair = Pair::new(Protocol::Delta, &[plain_cluster("a", "1")]);
    pair.change(CLUSTER, &["*", "a", "b"], &[]);
    assert_eq!(pair.drain(), ["Cluster[a]-[b]"]);
    pair.change(CLUSTER, &[], &["a", "b"]);
    assert_eq!(pair.drain(), ["Cluster[a]-[b]"]);
}

#[test]
fn s5_absent_names_are_remembered() {
    for protocol in [Protocol::Sotw, Protocol::Delta] {
        let mut pair = Pair::new(protocol, &[]);
        match protocol {
            Protocol::Sotw => pair.ask(ROUTE, &["r"], ""),
            Protocol::Delta => pair.change(ROUTE, &["r"], &[]),
        };
        pair.drain();
        pair.serve(&[route("r", "1", &[]), route("other", "1", &[])]);
        assert_eq!(pair.drain(), ["RouteConfiguration[r]"]);
        pair.serve(&[route("r", "1", &[]), route("other", "2", &[])]);
        assert!(pair.drain().is_empty(), "{protocol:?}: unchanged is not sent");
    }
}

#[test]
fn s6_wildcard_of_one_type_says_nothing_of_another() {
    let all = [plain_cluster("a", "1"), endpoints("a", "1"), endpoints("b", "1")];
    let mut pair = Pair::new(Protocol::Delta, &all);
    pair.change(CLUSTER, &[], &[]);
    pair.change(ENDPOINT, &["a"], &[]);
    assert_eq!(pair.drain(), ["Cluster[a]", "ClusterLoadAssignment[a]"]);
}

#[test]
fn empty_wildcard_is_answered_once() {
    for protocol in [Protocol::Sotw, Protocol::Delta] {
        let mut pair = Pair::new(protocol, &[]);
        match protocol {
            Protocol::Sotw => pair.ask(LISTENER, &[], ""),
            Protocol::Delta => pair.change(LISTENER, &[], &[]),
        };
        assert_eq!(pair.drain(), ["Listener[]"], "{protocol:?}");
    }
}

/// All types asked for, all acknowledged, as after a boot.
fn booted(protocol: Protocol, resources: &[Arc<Resource>], endpoints: &[&str]) -> Pair {
    let mut pair = Pair::new(protocol, resources);
    match protocol {
        Protocol::Sotw => {
            pair.ask(LISTENER, &[], "");
            pair.ask(CLUSTER, &[], "");
            pair.ask(ENDPOINT, endpoints, "");
            pair.ask(ROUTE, &["edge"], "");
        }
        Protocol::Delta => {
            pair.change(LISTENER, &[], &[]);
            pair.change(CLUSTER, &[], &[]);
            pair.change(ENDPOINT, endpoints, &[]);
            pair.change(ROUTE, &["edge"], &[]);
        }
    }
    let order = ["Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration"];
    let seen = pair.drain();
    let kinds: Vec<&str> = seen.iter().filter_map(|text| text.split('[').next()).collect();
    assert_eq!(kinds, order, "S7");
    pair
}

#[test]
fn s7_s13_sotw_make_before_break() {
    let mut pair = booted(Protocol::Sotw, &mesh("1", "a", &["a"]), &["a"]);
    pair.serve(&mesh("2", "b", &["b"]));
    let clusters = pair.poll().unwrap();
    assert_eq!(shown(&clusters), "Cluster[a b]", "the old cluster stays until routes have left it");
    assert!(pair.poll().is_none(), "routes wait for the ACK of clusters");
    pair.answer(&clusters, None);
    assert!(pair.poll().is_none(), "routes wait until the client asked for the endpoints");
    let nonce = pair.session.ledgers[ENDPOINT].last_nonce.clone();
    pair.ask(ENDPOINT, &["a", "b"], &nonce);
    let loads = pair.poll().unwrap();
    assert_eq!(shown(&loads), "ClusterLoadAssignment[b]");
    assert!(pair.poll().is_none(), "routes wait for the ACK of endpoints");
    pair.answer(&loads, None);
    let routes = pair.poll().unwrap();
    assert_eq!(shown(&routes), "RouteConfiguration[edge]");
    assert!(pair.poll().is_none(), "removals wait for the ACK of routes");
    pair.answer(&routes, None);
    let last = pair.poll().unwrap();
    assert_eq!(shown(&last), "Cluster[b]");
    pair.ask(ENDPOINT, &["b"], &loads.nonce);
    let now = snapshot(&mesh("2", "b", &["b"]));
    assert_eq!(&last.version, now.of(CLUSTER).version());
    pair.answer(&last, None);
    assert!(pair.poll().is_none(), "endpoints that were answered are not sent again");
}

#[test]
fn s7_s13_delta_make_before_break() {
    let mut pair = booted(Protocol::Delta, &mesh("1", "a", &["a"]), &["a"]);
    pair.serve(&mesh("2", "b", &["b"]));
    let clusters = pair.poll().unwrap();
    assert_eq!(shown(&clusters), "Cluster[b]");
    pair.answer(&clusters, None);
    assert!(pair.poll().is_none());
    pair.change(ENDPOINT, &["b"], &[]);
    let seen = pair.drain();
    let order = ["ClusterLoadAssignment[b]", "RouteConfiguration[edge]", "Cluster[]-[a]"];
    assert_eq!(seen[..3], order);
    assert_eq!(seen[3..], ["ClusterLoadAssignment[]-[a]"]);
}

#[test]
fn s13_hold_ends_for_a_client_that_never_acknowledges() {
    let mut pair = booted(Protocol::Delta, &mesh("1", "a", &["a"]), &["a"]);
    pair.serve(&mesh("2", "b", &["a", "b"]));
    assert_eq!(shown(&pair.poll().unwrap()), "Cluster[b]");
    assert!(pair.poll().is_none());
    assert_eq!(pair.session.next_deadline(), Some(pair.now + HOLD_MAX));
    pair.now += HOLD_MAX;
    assert_eq!(shown(&pair.poll().unwrap()), "RouteConfiguration[edge]");
    assert!(pair.poll().is_none());
}

#[test]
fn s13_update_to_a_refused_cluster_is_kept_back_until_cured() {
    for protocol in [Protocol::Sotw, Protocol::Delta] {
        let old = [plain_cluster("a", "1"), route("edge", "1", &["a"]), route("r2", "1", &["a"])];
        let mut pair = Pair::new(protocol, &old);
        match protocol {
            Protocol::Sotw => {
                pair.ask(CLUSTER, &[], "");
                pair.ask(ROUTE, &["edge", "r2"], "");
            }
            Protocol::Delta => {
                pair.change(CLUSTER, &[], &[]);
                pair.change(ROUTE, &["edge", "r2"], &[]);
            }
        }
        pair.drain();
        let new =
            [plain_cluster("bad", "1"), route("edge", "2", &["bad"]), route("r2", "2", &["a"])];
        pair.serve(&new);
        let clusters = pair.poll().unwrap();
        pair.answer(&clusters, Some("bad"));
        // Other updates go on; the removal of `a` waits as long as `edge` still uses it.
        assert_eq!(pair.drain(), ["RouteConfiguration[r2]"], "{protocol:?}");
        let cured = [plain_cluster("bad", "good"), new[1].clone(), new[2].clone()];
        pair.serve(&cured);
        let seen = pair.drain();
        assert_eq!(seen.len(), 3, "{protocol:?}: {seen:?}");
        assert_eq!(seen[1], "RouteConfiguration[edge]");
    }
}

#[test]
fn removals_wait_while_routes_are_refused() {
    let mut pair = booted(Protocol::Delta, &mesh("1", "a", &["a", "b"]), &["a", "b"]);
    pair.serve(&mesh("2", "b", &["b"]));
    let routes = pair.poll().unwrap();
    assert_eq!(shown(&routes), "RouteConfiguration[edge]");
    pair.answer(&routes, Some("no"));
    pair.now += HOLD_MAX * 2;
    assert!(pair.poll().is_none(), "the client still routes to a");
    pair.serve(&mesh("3", "b", &["b"]));
    assert_eq!(pair.drain()[..2], ["RouteConfiguration[edge]", "Cluster[]-[a]"]);
}

#[test]
fn refused_routes_that_go_away_hold_nothing_up() {
    let mut pair = booted(Protocol::Delta, &mesh("1", "a", &["a"]), &["a"]);
    pair.serve(&mesh("2", "a", &["a"]));
    let routes = pair.poll().unwrap();
    pair.answer(&routes, Some("no"));
    pair.serve(&[]);
    let seen = pair.drain();
    assert_eq!(seen[0], "Listener[]-[edge]");
    assert_eq!(seen[1], "RouteConfiguration[]-[edge]");
    assert_eq!(seen[2..], ["Cluster[]-[a]", "ClusterLoadAssignment[]-[a]"]);
}

#[test]
fn listener_that_takes_an_address_over_goes_with_the_removal() {
    for protocol in [Protocol::Sotw, Protocol::Delta] {
        let mut pair = Pair::new(protocol, &[made(LISTENER, "old", "1", References::default())]);
        match protocol {
            Protocol::Sotw => pair.ask(LISTENER, &[], ""),
            Protocol::Delta => pair.change(LISTENER, &[], &[]),
        };
        pair.drain();
        pair.serve(&[made(LISTENER, "new", "1", References::default())]);
        let seen = pair.drain();
        let want = match protocol {
            Protocol::Sotw => "Listener[new]",
            Protocol::Delta => "Listener[new]-[old]",
        };
        assert_eq!(seen, [want]);
    }
}

#[test]
fn s8_endpoints_of_a_resent_cluster_are_sent_if_asked_again() {
    let mut pair = booted(Protocol::Sotw, &mesh("1", "a", &["a"]), &["a"]);
    let mut next = mesh("1", "a", &["a"]);
    next[2] = cluster("a", "changed");
    pair.serve(&next);
    assert_eq!(pair.drain(), ["Cluster[a]"]);
    let nonce = pair.session.ledgers[ENDPOINT].last_nonce.clone();
    pair.ask(ENDPOINT, &["a"], &nonce);
    assert_eq!(pair.drain(), ["ClusterLoadAssignment[a]"]);
    let nonce = pair.session.ledgers[ENDPOINT].last_nonce.clone();
    pair.ask(ENDPOINT, &["a"], &nonce);
    assert!(pair.drain().is_empty(), "once");
}

#[test]
fn d2_reconnect_pushes_only_differences() {
    let all = [plain_cluster("a", "1"), plain_cluster("b", "2"), plain_cluster("c", "1")];
    let set = snapshot(&all);
    let version = |name: &str| set.of(CLUSTER).find(name).unwrap().version.to_string();
    let mut pair = Pair::new(Protocol::Delta, &all);
    let held = [("a", &*version("a")), ("b", "older"), ("gone", "x")];
    pair.resume(CLUSTER, &[], &[], &held);
    assert_eq!(pair.drain(), ["Cluster[b c]", "Cluster[]-[gone]"]);

    let mut same = Pair::new(Protocol::Delta, &all);
    let (a, b, c) = (version("a"), version("b"), version("c"));
    same.resume(CLUSTER, &["a", "b", "c"], &[], &[("a", &a), ("b", &b), ("c", &c)]);
    assert!(same.drain().is_empty());
}

#[test]
fn sotw_reconnect_with_the_current_version_is_no_push() {
    let all = mesh("1", "a", &["a", "b"]);
    let old = booted(Protocol::Sotw, &all, &["a", "b"]);
    let mut new = Pair::new(Protocol::Sotw, &all);
    new.accepted = old.accepted.clone();
    for (url, names) in [(CLUSTER, &[][..]), (ENDPOINT, &["a", "b"]), (ROUTE, &["edge"])] {
        assert!(matches!(new.ask(url, names, ""), Verdict::Resumed { .. }), "{url}");
    }
    assert!(new.drain().is_empty());
    new.serve(&mesh("2", "a", &["a", "b"]));
    assert_eq!(new.drain(), ["RouteConfiguration[edge]"]);
}

#[test]
fn sotw_reconnect_with_more_names_is_a_push() {
    let all = [endpoints("a", "1"), endpoints("b", "1")];
    let mut old = Pair::new(Protocol::Sotw, &all);
    old.ask(ENDPOINT, &["a"], "");
    old.drain();
    let mut new = Pair::new(Protocol::Sotw, &all);
    new.accepted = old.accepted.clone();
    new.ask(ENDPOINT, &["a", "b"], "");
    assert_eq!(new.drain(), ["ClusterLoadAssignment[a b]"]);
}

#[test]
fn slow_client_gets_the_newest_snapshot_only() {
    let mut pair = Pair::new(Protocol::Delta, &[plain_cluster("a", "0")]);
    pair.change(CLUSTER, &[], &[]);
    let first = pair.poll().unwrap();
    for n in 1..100 {
        pair.serve(&[plain_cluster("a", &n.to_string())]);
        assert!(pair.poll().is_none(), "one response in flight");
    }
    pair.answer(&first, None);
    let reply = pair.poll().unwrap();
    assert_eq!(reply.resources[0].any.value, b"99");
    pair.answer(&reply, None);
    assert!(pair.poll().is_none());
}

#[test]
fn s9_equal_content_is_no_push() {
    let mut pair = Pair::new(Protocol::Sotw, &[plain_cluster("a", "1")]);
    pair.ask(CLUSTER, &[], "");
    pair.drain();
    pair.serve(&[plain_cluster("a", "1")]);
    assert!(pair.drain().is_empty());
    pair.serve(&[plain_cluster("a", "2")]);
    pair.serve(&[plain_cluster("a", "1")]);
    assert!(pair.drain().is_empty(), "a change that was taken back before it was sent");
}

#[test]
fn s10_missing_or_wrong_type_ends_the_stream() {
    let ask = |url: &str| Ask {
        type_url: url.into(),
        nonce: String::new(),
        rejection: None,
        interest: Interest::Whole { names: vec![], version: String::new() },
    };
    let mut ads = Session::new(Protocol::Sotw, Scope::Aggregated, snapshot(&[]));
    assert_eq!(ads.handle_request(ask("")), Err(Refusal::NoType));
    let single = Scope::Single(CLUSTER.into());
    let mut cds = Session::new(Protocol::Sotw, single, snapshot(&[]));
    assert_eq!(cds.handle_request(ask("")), Ok(Verdict::Subscribed));
    assert!(matches!(cds.handle_request(ask(SECRET)), Err(Refusal::OtherType { .. })));
    for n in 0..TYPES_MAX {
        ads.handle_request(ask(&format!("type/{n}"))).unwrap();
    }
    assert_eq!(ads.handle_request(ask("type/more")), Err(Refusal::TooManyTypes));
}

#[test]
fn s10_nonces_are_unique_on_a_stream() {
    let mut pair = booted(Protocol::Sotw, &mesh("1", "a", &["a"]), &["a"]);
    let mut seen = BTreeSet::new();
    for n in 0..20 {
        pair.serve(&mesh(&n.to_string(), "a", &["a"]));
        while let Some(reply) = pair.poll() {
            assert!(seen.insert(reply.nonce.clone()));
            pair.answer(&reply, None);
        }
    }
}

#[test]
fn grpc_client_walks_down_by_names() {
    let mut pair = Pair::new(Protocol::Sotw, &mesh("1", "a", &["a", "b"]));
    for (url, name, want) in [
        (LISTENER, "edge", "Listener[edge]"),
        (ROUTE, "edge", "RouteConfiguration[edge]"),
        (CLUSTER, "a", "Cluster[a]"),
        (ENDPOINT, "a", "ClusterLoadAssignment[a]"),
    ] {
        pair.ask(url, &[name], "");
        assert_eq!(pair.drain(), [want]);
    }
    pair.ask(LISTENER, &["edge", "none"], &pair.session.ledgers[LISTENER].last_nonce.clone());
    assert_eq!(pair.drain(), ["Listener[edge]"], "the whole set tells that `none` is absent");
}

#[test]
fn rejection_text_is_bounded() {
    let status = rpc::Status { code: 13, message: "ä".repeat(5000), details: vec![] };
    let rejection = Rejection::from(status);
    assert!(rejection.message.len() <= REJECTION_BYTES_MAX + 4);
}
