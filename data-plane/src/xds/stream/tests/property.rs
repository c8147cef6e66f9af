//! Random inputs, then what must always hold.
//!
//! A model server keeps what the wire told it. After each step and at the end:
//! * each response of a subscribed type is answered once, in order, by its nonce;
//! * an answer carries no change of subscriptions, a change in delta no nonce (D1, D8);
//! * at rest the server's idea of the subscriptions is what is wanted;
//! * the values reported are those of a reader who applies the updates in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const TYPES: [TypeUrl; 3] = [CDS, EDS, RDS];
const NAMES: [&str; 4] = ["*", "a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Close,
    Open,
    Respond { kind: usize, resources: Vec<(usize, u8)>, removed: Vec<usize> },
    Transmit,
    Unwant(usize, usize),
    Want(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let resource = (1..NAMES.len(), 0_u8..4);
    prop_oneof![
        1 => (0_u64..20_000).prop_map(Step::Advance),
        1 => Just(Step::Close),
        2 => Just(Step::Open),
        6 => (
            0..TYPES.len(),
            prop::collection::vec(resource, 0..4),
            prop::collection::vec(1..NAMES.len(), 0..2)
        )
            .prop_map(|(kind, resources, removed)| Step::Respond { kind, resources, removed }),
        4 => Just(Step::Transmit),
        2 => (0..TYPES.len(), 0..NAMES.len()).prop_map(|(t, n)| Step::Unwant(t, n)),
        4 => (0..TYPES.len(), 0..NAMES.len()).prop_map(|(t, n)| Step::Want(t, n)),
    ]
}

/// What one server knows of one type on one stream.
#[derive(Debug, Default)]
struct ServerType {
    started: bool,
    explicit: bool,
    names: BTreeSet<Name>,
    unanswered: VecDeque<String>,
}

struct World {
    script: Script,
    variant: Variant,
    server: BTreeMap<String, ServerType>,
    wants: BTreeMap<String, BTreeSet<Name>>,
    values: BTreeMap<(String, Name), String>,
    nonces: u64,
    open: bool,
}

impl World {
    fn new(variant: Variant, seed: u64) -> Self {
        Self {
            script: Script::new(Settings::new(variant, seed)),
            variant,
            server: BTreeMap::new(),
            wants: BTreeMap::new(),
            values: BTreeMap::new(),
            nonces: 0,
            open: false,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Advance(ms) => self.script.advance(Duration::from_millis(*ms)),
            Step::Close => {
                self.script.close();
                self.server.clear();
                self.open = false;
            }
            Step::Open if !self.open => {
                let until = self.script.stream.poll_timeout();
                self.script.now = until.map_or(self.script.now, |at| at.max(self.script.now));
                self.script.stream.handle_timeout(self.script.now);
            }
            Step::Open => {}
            Step::Respond { kind, resources, removed } => self.respond(*kind, resources, removed),
            Step::Transmit => self.transmit(),
            Step::Unwant(kind, name) => {
                let wants = self.wants.entry(TYPES[*kind].to_string()).or_default();
                wants.remove(NAMES[*name]);
                self.script.unwant(&TYPES[*kind], NAMES[*name]);
            }
            Step::Want(kind, name) => {
                let wants = self.wants.entry(TYPES[*kind].to_string()).or_default();
                wants.insert(NAMES[*name].into());
                self.script.want(&TYPES[*kind], NAMES[*name]);
            }
        }
        self.drain_events();
    }

    fn respond(&mut self, kind: usize, resources: &[(usize, u8)], removed: &[usize]) {
        let url = &TYPES[kind];
        let server = self.server.entry(url.to_string()).or_default();
        if !self.open || !server.started || !self.script.stream.wants_response() {
            return;
        }
        self.nonces += 1;
        let nonce = format!("n{}", self.nonces);
        server.unanswered.push_back(nonce.clone());
        let text = |(name, value): &(usize, u8)| match value {
            0 => format!("{}@{value}=bad", NAMES[*name]),
            _ => format!("{}@{value}={value}", NAMES[*name]),
        };
        let texts: Vec<String> = resources.iter().map(text).collect();
        let resources = texts.iter().map(|text| wrapped(url, text)).collect();
        let removed = match self.variant {
            Variant::Delta => removed.iter().map(|name| NAMES[*name].into()).collect(),
            Variant::Sotw => Vec::new(),
        };
        self.script.respond(Response { nonce, removed, ..response(url, "v", resources) });
    }

    fn transmit(&mut self) {
        let now = self.script.now;
        while let Some(request) = self.script.stream.poll_transmit(now) {
            assert!(self.open, "{request:?} without a transport");
            match request {
                Request::Delta(request) => self.read_delta(request),
                Request::Sotw(request) => self.read_sotw(request),
            }
        }
    }

    fn read_sotw(&mut self, request: SotwRequest) {
        let server = self.server.entry(request.type_url.clone()).or_default();
        let names: BTreeSet<Name> = request.names.iter().cloned().collect();
        server.explicit |= !names.is_empty();
        let meant = match server.explicit {
            true => names,
            false => BTreeSet::from([WILDCARD.into()]),
        };
        if server.started && server.unanswered.front() == Some(&request.nonce) {
            assert_eq!(meant, server.names, "D8: an answer that changes names");
            server.unanswered.pop_front();
        } else {
            assert!(request.error.is_none(), "a NACK of nothing: {request:?}");
            assert!(server.unanswered.is_empty(), "C8: names before the answer: {request:?}");
            assert!(!server.started || meant != server.names, "says nothing: {request:?}");
        }
        server.names = meant;
        server.started = true;
    }

    fn read_delta(&mut self, request: DeltaRequest) {
        let server = self.server.entry(request.type_url.clone()).or_default();
        let changes = !request.subscribe.is_empty() || !request.unsubscribe.is_empty();
        if !request.nonce.is_empty() {
            assert!(!changes, "D8: {request:?}");
            assert!(server.started);
            assert_eq!(server.unanswered.pop_front(), Some(request.nonce));
            return;
        }
        if !server.started && request.subscribe.is_empty() {
            server.names.insert(WILDCARD.into());
        }
        assert!(changes || !server.started, "says nothing: {request:?}");
        assert!(!server.started || request.initial_versions.is_empty(), "D2: {request:?}");
        for name in &request.unsubscribe {
            assert!(server.names.remove(name), "never subscribed: {request:?}");
        }
        server.names.extend(request.subscribe);
        server.started = true;
    }

    fn drain_events(&mut self) {
        while let Some(event) = self.script.stream.poll_event() {
            match event {
                Event::Connect => {
                    self.script.handle(Input::Opened);
                    self.open = true;
                }
                Event::Update(update) => self.read_update(&update),
                _ => {}
            }
        }
    }

    fn read_update(&mut self, update: &Update<String>) {
        let url = update.type_url.to_string();
        let wants = self.wants.entry(url.clone()).or_default();
        for changed in &update.changed {
            let wanted = wants.contains(&changed.name) || wants.contains(WILDCARD);
            assert!(wanted, "nobody wants {changed:?}");
            self.values.insert((url.clone(), changed.name.clone()), changed.value.clone());
        }
        for (name, _) in &update.unchanged {
            assert!(self.values.contains_key(&(url.clone(), name.clone())), "never told: {name}");
        }
        for name in &update.removed {
            let known = self.values.remove(&(url.clone(), name.clone()));
            assert!(known.is_some(), "never told: {name}");
        }
    }

    /// Connects, waits until all delays are over, and compares.
    fn settle(&mut self) {
        while !self.open {
            self.step(&Step::Open);
        }
        for _ in 0..100 {
            self.transmit();
            self.script.advance(Duration::from_secs(6));
            self.drain_events();
        }
        for (url, wants) in &self.wants {
            let Some(server) = self.server.get(url) else {
                assert!(wants.is_empty(), "never asked: {url}");
                continue;
            };
            assert!(server.unanswered.is_empty(), "unanswered: {server:?}");
            // That nothing is wanted can't be said before a name was (C10).
            let unsayable = wants.is_empty() && self.variant == Variant::Sotw && !server.explicit;
            assert!(unsayable || *wants == server.names, "{url}: {wants:?} {server:?}");
        }
        assert_eq!(self.script.stream.pending_requests(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn random_inputs_keep_the_promises(
        delta: bool,
        seed: u64,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let variant = if delta { Variant::Delta } else { Variant::Sotw };
        let mut world = World::new(variant, seed);
        for step in &steps {
            world.step(step);
        }
        world.settle();
    }
}
