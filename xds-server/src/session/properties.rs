//! What holds for every order of events: a client that answers in any way, snapshots in between.
//!
//! A model client keeps what it was sent. At all times: one response of a type in flight, nonces
//! never repeat, what is sent is in the snapshot of that moment or held for a removal. Once the
//! client accepts everything, it holds exactly what it should, and nothing more is sent.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proto::google::protobuf::Any;

use super::*;
use crate::clock;
use crate::snapshot::References;

const TYPES: [&str; 4] = [CLUSTER, ENDPOINT, LISTENER, ROUTE];
const NAMES: [&str; 3] = ["a", "b", "c"];

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// The oldest unanswered response is taken.
    Accept,
    /// It is refused.
    Refuse,
    /// The snapshot changes: contents of the names of each type, 0 is absent.
    Serve([[u8; 3]; 4]),
    /// The client asks for these names of that type (bits); for none: everything, where it can.
    Want(usize, u8),
    /// Time passes.
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let contents = || prop::array::uniform4(prop::array::uniform3(0u8..3));
    let step = prop_oneof![
        4 => Just(Step::Accept),
        1 => Just(Step::Refuse),
        2 => contents().prop_map(Step::Serve),
        3 => (0usize..4, 0u8..8).prop_map(|(kind, names)| Step::Want(kind, names)),
        1 => Just(Step::Wait),
    ];
    prop::collection::vec(step, 1..60)
}

fn served(contents: &[[u8; 3]; 4]) -> Arc<Snapshot> {
    let mut resources = Vec::new();
    for (kind, of_kind) in contents.iter().enumerate() {
        for (name, content) in NAMES.iter().zip(of_kind).filter(|(_, content)| **content > 0) {
            let any = Any { type_url: TYPES[kind].into(), value: vec![*content] };
            let mut references = References::default();
            match kind {
                0 => references.endpoints.push((*name).into()),
                2 => references.routes.push((*name).into()),
                3 => references.clusters.push(NAMES[usize::from(*content) % 3].into()),
                _ => {}
            }
            resources.push(Arc::new(Resource::new(name, any, references, None)));
        }
    }
    Arc::new(Snapshot::new(resources))
}

/// A client's side of one type.
#[derive(Default)]
struct Side {
    asked: bool,
    wants: BTreeSet<String>,
    holds: BTreeMap<String, Arc<str>>,
    last_nonce: String,
}

struct Model {
    session: Session,
    snapshot: Arc<Snapshot>,
    now: Instant,
    sides: [Side; 4],
    unanswered: Vec<Reply>,
    nonces: BTreeSet<String>,
}

impl Model {
    fn new(protocol: Protocol) -> Self {
        let snapshot = served(&[[0; 3]; 4]);
        Self {
            session: Session::new(protocol, Scope::Aggregated, snapshot.clone()),
            snapshot,
            now: clock::now(),
            sides: Default::default(),
            unanswered: Vec::new(),
            nonces: BTreeSet::new(),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Accept => self.answer(None),
            Step::Refuse => self.answer(Some(Rejection { code: 13, message: "no".into() })),
            Step::Serve(contents) => {
                self.snapshot = served(&contents);
                self.session.apply_snapshot(self.snapshot.clone());
            }
            Step::Want(kind, bits) => self.want(kind, bits),
            Step::Wait => self.now += HOLD_MAX,
        }
        self.session.note_time(self.now);
        while let Some(reply) = self.session.poll_reply(self.now) {
            self.take(reply);
        }
    }

    fn want(&mut self, kind: usize, bits: u8) {
        let named =
            |(bit, name): (usize, &&str)| (bits >> bit & 1 == 1).then(|| (*name).to_owned());
        let new: BTreeSet<String> = NAMES.iter().enumerate().filter_map(named).collect();
        let delta = self.session.protocol == Protocol::Delta;
        let side = &mut self.sides[kind];
        let old = std::mem::replace(&mut side.wants, new.clone());
        side.asked = true;
        side.holds.retain(|name, _| new.is_empty() || new.contains(name));
        // An empty list would be a wildcard the first time only, so it is always said by name.
        let with_star = |names: BTreeSet<String>| match names.is_empty() {
            true => vec!["*".to_owned()],
            false => names.into_iter().collect(),
        };
        let interest = if delta {
            let old: BTreeSet<String> = with_star(old).into_iter().collect();
            let new: BTreeSet<String> = with_star(new).into_iter().collect();
            Interest::Change {
                subscribe: new.iter().cloned().collect(),
                unsubscribe: old.difference(&new).cloned().collect(),
                held: HashMap::new(),
            }
        } else {
            Interest::Whole { names: with_star(new), version: String::new() }
        };
        let nonce = if delta { String::new() } else { side.last_nonce.clone() };
        // With the newest nonce this is also the answer to what is in flight.
        if !nonce.is_empty() {
            self.unanswered.retain(|reply| reply.nonce != nonce);
        }
        self.send(TYPES[kind], nonce, None, interest);
    }

    fn answer(&mut self, rejection: Option<Rejection>) {
        if self.unanswered.is_empty() {
            return;
        }
        let reply = self.unanswered.remove(0);
        let kind = TYPES.iter().position(|url| reply.type_url == **url).expect("asked for");
        let interest = match self.session.protocol {
            Protocol::Delta => {
                Interest::Change { subscribe: vec![], unsubscribe: vec![], held: HashMap::new() }
            }
            Protocol::Sotw => {
                let wants = &self.sides[kind].wants;
                let star = wants.is_empty().then(|| "*".to_owned());
                let names = wants.iter().cloned().chain(star).collect();
                Interest::Whole { names, version: String::new() }
            }
        };
        self.send(TYPES[kind], reply.nonce, rejection, interest);
    }

    fn send(&mut self, url: &str, nonce: String, rejection: Option<Rejection>, interest: Interest) {
        let ask = Ask { type_url: url.into(), nonce, rejection, interest };
        self.session.handle_request(ask).expect("the request is fine");
    }

    fn take(&mut self, reply: Reply) {
        assert!(self.nonces.insert(reply.nonce.clone()), "a nonce twice");
        let other = self.unanswered.iter().any(|other| other.type_url == reply.type_url);
        assert!(!other, "two responses of a type in flight");
        let kind = TYPES.iter().position(|url| reply.type_url == **url).expect("asked for");
        let side = &mut self.sides[kind];
        let full = self.session.protocol == Protocol::Sotw && order::is_full_state(TYPES[kind]);
        if full {
            side.holds.clear();
        }
        for resource in &reply.resources {
            assert_eq!(resource.any.type_url, TYPES[kind]);
            let wanted = side.wants.is_empty() || side.wants.contains(&*resource.name);
            assert!(wanted, "not asked for: {}", resource.name);
            side.holds.insert(resource.name.to_string(), resource.version.clone());
        }
        for name in &reply.removed {
            side.holds.remove(&**name);
        }
        side.last_nonce.clone_from(&reply.nonce);
        self.unanswered.push(reply);
    }

    /// Accepts everything until nothing comes; then all must be as the snapshot has it.
    fn settle(&mut self) {
        // Refused things go out again when something changes: so everything changes. Then all
        // of it goes away, and comes back in part.
        let last = [[0, 9, 9], [9, 0, 9], [9, 9, 0], [0, 9, 0]];
        for contents in [[[3; 3]; 4], [[0; 3]; 4], last] {
            self.run(Step::Serve(contents));
            for _ in 0..40 {
                self.run(Step::Accept);
                self.run(Step::Wait);
            }
        }
        assert!(self.unanswered.is_empty(), "a resend loop");
        for (kind, side) in self.sides.iter().enumerate().filter(|(_, side)| side.asked) {
            let wanted = |name: &str| side.wants.is_empty() || side.wants.contains(name);
            let set = self.snapshot.of(TYPES[kind]);
            let want: BTreeMap<String, Arc<str>> = set
                .iter()
                .filter(|resource| wanted(&resource.name))
                .map(|resource| (resource.name.to_string(), resource.version.clone()))
                .collect();
            let mut holds = side.holds.clone();
            if self.session.protocol == Protocol::Sotw && !order::is_full_state(TYPES[kind]) {
                // C7: such a client drops it with its parent, and is not told.
                holds.retain(|name, _| set.find(name).is_some());
            }
            assert_eq!(holds, want, "{}", TYPES[kind]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn sotw_converges_whatever_happens(steps in steps()) {
        let mut model = Model::new(Protocol::Sotw);
        steps.into_iter().for_each(|step| model.run(step));
        model.settle();
    }

    #[test]
    fn delta_converges_whatever_happens(steps in steps()) {
        let mut model = Model::new(Protocol::Delta);
        steps.into_iter().for_each(|step| model.run(step));
        model.settle();
    }
}
