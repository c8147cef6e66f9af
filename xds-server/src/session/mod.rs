//! The protocol of one stream, without I/O: requests and snapshots in, replies out.
//!
//! A [`Session`] serves state of the world and delta, one type or all types of an aggregated
//! stream. It keeps to the rules S1–S13 of the protocol notes; their ids stand where they are
//! obeyed. It makes a reply only when it is asked for one ([`Session::poll_reply`]), from the
//! newest snapshot: a driver polls when its channel has room, and so nothing ever queues up.
//!
//! It must not know sockets, tasks, files, or how a snapshot came to be. Time comes in as an
//! argument.

pub mod delta;
mod ledger;
pub mod order;
#[cfg(test)]
mod properties;
pub mod sotw;
pub mod subscription;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::config::core::v3::ControlPlane;
use proto::google::rpc;

use self::ledger::{First, Ledger, Phase};
use crate::clock::Instant;
use crate::snapshot::{CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Snapshot, TypeUrl};

/// Types that one stream may subscribe to; there are ten in Envoy.
pub const TYPES_MAX: usize = 32;
/// Names that one stream may subscribe to within a type.
pub const NAMES_MAX: usize = 1_000_000;
/// Bytes of a rejection's text that are kept.
pub const REJECTION_BYTES_MAX: usize = 4096;
/// How long routes, listeners and removals wait for a client that acknowledges nothing (S13).
pub const HOLD_MAX: Duration = Duration::from_secs(15);

/// Which of the two protocol variants a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Incremental.
    Delta,
    /// State of the world.
    Sotw,
}

/// What a stream carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All types (ADS).
    Aggregated,
    /// One type.
    Single(TypeUrl),
}

/// A client's refusal of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// gRPC status code.
    pub code: i32,
    /// The client's text, at most [`REJECTION_BYTES_MAX`] bytes.
    pub message: String,
}

impl From<rpc::Status> for Rejection {
    fn from(status: rpc::Status) -> Self {
        let mut message = status.message;
        if message.len() > REJECTION_BYTES_MAX {
            let cut = (0..=REJECTION_BYTES_MAX).rev().find(|at| message.is_char_boundary(*at));
            message.truncate(cut.unwrap_or(0));
            message.push('…');
        }
        Self { code: status.code, message }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// As the client wrote it; may be empty on a stream of one type.
    pub type_url: String,
    /// The nonce of the response that this answers, or empty.
    pub nonce: String,
    /// Present: a NACK (S1).
    pub rejection: Option<Rejection>,
    /// What is wanted.
    pub interest: Interest,
}

/// What a request wants.
#[derive(Clone, Debug)]
pub enum Interest {
    /// Delta.
    Change {
        /// Names to add.
        subscribe: Vec<String>,
        /// Names to drop.
        unsubscribe: Vec<String>,
        /// `initial_resource_versions` (D2).
        held: HashMap<String, String>,
    },
    /// State of the world.
    Whole {
        /// All names.
        names: Vec<String>,
        /// Version that the client accepted last.
        version: String,
    },
}

/// One response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Type of all resources in it.
    pub type_url: TypeUrl,
    /// Version of the type.
    pub version: Arc<str>,
    /// Unique on the stream.
    pub nonce: String,
    /// In order of name.
    pub resources: Vec<Arc<Resource>>,
    /// Names that do not exist (any more); delta only.
    pub removed: Vec<Arc<str>>,
}

/// What a request turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the response of that version.
    Acked {
        /// Type.
        type_url: TypeUrl,
        /// Version as sent.
        version: Arc<str>,
    },
    /// It refuses the response of that version (S12).
    Nacked {
        /// Type.
        type_url: TypeUrl,
        /// Version as sent.
        version: Arc<str>,
        /// Why.
        rejection: Rejection,
    },
    /// It comes with what the client already holds: no push.
    Resumed {
        /// Type.
        type_url: TypeUrl,
        /// Version that the client named and that is still true.
        version: Arc<str>,
    },
    /// It only says what is wanted.
    Subscribed,
    /// It answers an older response and was ignored (S2).
    Stale,
}

/// A request that ends the stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// S10.
    #[error("type_url is missing; an aggregated stream needs it in every request")]
    NoType,
    /// A stream of one type was asked for another.
    #[error("type_url is '{got}'; this stream carries {must} only")]
    OtherType {
        /// What the request said.
        got: String,
        /// What the stream carries.
        must: TypeUrl,
    },
    /// See [`TYPES_MAX`].
    #[error("more than {TYPES_MAX} types on one stream")]
    TooManyTypes,
    /// See [`NAMES_MAX`].
    #[error("more than {NAMES_MAX} names of type {0} on one stream")]
    TooManyNames(TypeUrl),
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    protocol: Protocol,
    scope: Scope,
    snapshot: Arc<Snapshot>,
    ledgers: BTreeMap<TypeUrl, Ledger>,
    nonces: u64,
    /// Since when something is ready that waits for the client's acknowledgements.
    holding_since: Option<Instant>,
}

impl Session {
    /// A session of a stream that has just begun.
    #[must_use]
    pub fn new(protocol: Protocol, scope: Scope, snapshot: Arc<Snapshot>) -> Self {
        Self { protocol, scope, snapshot, ledgers: BTreeMap::new(), nonces: 0, holding_since: None }
    }

    /// Puts a new snapshot in force.
    pub fn apply_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        for (type_url, ledger) in &mut self.ledgers {
            ledger.apply_set(snapshot.of(type_url.as_str()));
            if let Some(child) = child_of(type_url) {
                let set = snapshot.of(child);
                ledger.awaits.retain(|name| set.find(name).is_some());
            }
        }
        self.snapshot = snapshot;
    }

    /// Takes one request.
    ///
    /// # Errors
    /// Where the stream has to end.
    pub fn handle_request(&mut self, ask: Ask) -> Result<Verdict, Refusal> {
        let type_url = self.type_of(&ask.type_url)?;
        let first = if self.ledgers.contains_key(&type_url) { First::No } else { First::Yes };
        if first == First::Yes && self.ledgers.len() >= TYPES_MAX {
            return Err(Refusal::TooManyTypes);
        }
        let set = self.snapshot.of(type_url.as_str()).clone();
        let protocol = self.protocol;
        let ledger = self
            .ledgers
            .entry(type_url.clone())
            .or_insert_with(|| Ledger::new(type_url.clone(), protocol, set));
        let mut verdict = answer(ledger, &type_url, &ask);
        match ask.interest {
            // S2: only what answers the newest response counts.
            Interest::Whole { .. } if verdict == Verdict::Stale => return Ok(Verdict::Stale),
            Interest::Whole { names, version } => {
                let shift = ledger.subscription.replace(&names);
                if shift.asked.is_empty() && verdict == Verdict::Subscribed {
                    ledger.answer_repeats();
                }
                ledger.settle(shift, first);
                if first == First::Yes && ledger.resume_whole(&version) {
                    verdict =
                        Verdict::Resumed { type_url: type_url.clone(), version: version.into() };
                }
            }
            // S4: subscriptions count whatever the nonce.
            Interest::Change { subscribe, unsubscribe, held } => {
                let brings_some = !held.is_empty();
                if first == First::Yes {
                    ledger.resume_each(held);
                }
                let shift = ledger.subscription.change(&subscribe, &unsubscribe);
                ledger.settle(shift, first);
                let nothing = &BTreeSet::new();
                let owes = |phase| ledger.is_due(phase, nothing);
                if first == First::Yes && brings_some && !owes(Phase::Make) && !owes(Phase::Break) {
                    let version = self.snapshot.of(type_url.as_str()).version().clone();
                    verdict = Verdict::Resumed { type_url: type_url.clone(), version };
                }
            }
        }
        if ledger.subscription.names_len() > NAMES_MAX {
            return Err(Refusal::TooManyNames(type_url));
        }
        self.note_asked(&type_url);
        Ok(verdict)
    }

    /// Whether [`Self::poll_reply`] would give a reply.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.next(now).is_some()
    }

    /// The next reply, if one may be sent now.
    pub fn poll_reply(&mut self, now: Instant) -> Option<Reply> {
        let Some((type_url, phase)) = self.next(now) else {
            self.note_time(now);
            return None;
        };
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        let doubts = self.doubts();
        let (reply, news) = self.ledgers.get_mut(&type_url)?.compose(phase, nonce, &doubts);
        self.note_awaited(&type_url, &news);
        self.holding_since = None;
        self.note_time(now);
        Some(reply)
    }

    /// Begins or ends the hold of what is ready but waits for acknowledgements; a driver calls it
    /// after each event, [`Self::next_deadline`] then tells when to look again.
    pub fn note_time(&mut self, now: Instant) {
        let doubts = self.doubts();
        let ready = |ledger: &Ledger| {
            ledger.is_due(Phase::Make, &doubts) || ledger.is_due(Phase::Break, &doubts)
        };
        if !self.ledgers.values().any(ready) {
            self.holding_since = None;
        } else if self.holding_since.is_none() {
            self.holding_since = Some(now);
        }
    }

    /// When to poll again although nothing happened: the end of a hold.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.holding_since.map(|since| since + HOLD_MAX)
    }

    fn type_of(&self, asked: &str) -> Result<TypeUrl, Refusal> {
        match &self.scope {
            Scope::Aggregated if asked.is_empty() => Err(Refusal::NoType),
            Scope::Aggregated => Ok(asked.into()),
            Scope::Single(own) if asked.is_empty() || own == asked => Ok(own.clone()),
            Scope::Single(own) => {
                Err(Refusal::OtherType { got: asked.to_owned(), must: own.clone() })
            }
        }
    }

    /// What goes out next: S7's order, and S13's waiting.
    fn next(&self, now: Instant) -> Option<(TypeUrl, Phase)> {
        let patient = self.next_deadline().is_none_or(|deadline| now < deadline);
        let doubts = self.doubts();
        let open = !patient || self.is_settled(&order::AWAITED, &doubts);
        let make = self
            .ledgers
            .iter()
            .filter(|(url, _)| open || !order::WAITING.contains(&url.as_str()))
            .filter(|(_, ledger)| ledger.is_due(Phase::Make, &doubts))
            .min_by_key(|(url, _)| order::rank(&order::SEND_ORDER, url.as_str()));
        if let Some((url, _)) = make {
            return Some((url.clone(), Phase::Make));
        }
        if !self.may_break(patient, &doubts) {
            return None;
        }
        let gone = self
            .ledgers
            .iter()
            .filter(|(_, ledger)| ledger.is_due(Phase::Break, &doubts))
            .min_by_key(|(url, _)| order::rank(&order::REMOVE_ORDER, url.as_str()));
        gone.map(|(url, _)| (url.clone(), Phase::Break))
    }

    /// Removals go last: everything else is sent and acknowledged, and the client does not keep
    /// to older routes or listeners because it refuses the newer ones.
    fn may_break(&self, patient: bool, doubts: &BTreeSet<Arc<str>>) -> bool {
        let waiting = || self.ledgers.iter().filter(|(u, _)| order::WAITING.contains(&u.as_str()));
        if waiting().any(|(_, ledger)| ledger.is_rejecting() || ledger.is_holding_back(doubts)) {
            return false;
        }
        !patient || self.is_settled(&order::SEND_ORDER, doubts)
    }

    /// Whether the client has everything of these types and has said so.
    fn is_settled(&self, types: &[&str], doubts: &BTreeSet<Arc<str>>) -> bool {
        types.iter().filter_map(|url| self.ledgers.get(*url)).all(|ledger| {
            ledger.in_flight.is_none()
                && ledger.awaits.is_empty()
                && !ledger.is_due(Phase::Make, doubts)
        })
    }

    fn doubts(&self) -> BTreeSet<Arc<str>> {
        self.ledgers.get(CLUSTER).map(Ledger::doubts).unwrap_or_default()
    }

    /// A client that was sent a cluster or a listener is about to ask for what these name.
    fn note_awaited(&mut self, type_url: &TypeUrl, news: &[Arc<Resource>]) {
        if self.scope != Scope::Aggregated {
            return;
        }
        let Some(child) = child_of(type_url) else { return };
        let is_cluster = child == ENDPOINT;
        let named = |resource: &Arc<Resource>| {
            let references = &resource.references;
            if is_cluster { references.endpoints.clone() } else { references.routes.clone() }
        };
        let names: BTreeSet<Arc<str>> = news.iter().flat_map(named).collect();
        let set = self.snapshot.of(child);
        let mut awaited: BTreeSet<Arc<str>> =
            names.iter().filter(|name| set.find(name).is_some()).cloned().collect();
        if let Some(ledger) = self.ledgers.get_mut(child) {
            awaited.retain(|name| !ledger.subscription.covers(name));
            if is_cluster {
                ledger.repeat_if_asked.extend(names);
            }
        }
        if let Some(ledger) = self.ledgers.get_mut(type_url) {
            ledger.awaits.extend(awaited);
        }
    }

    fn note_asked(&mut self, type_url: &TypeUrl) {
        let parent = match type_url.as_str() {
            ENDPOINT => CLUSTER,
            ROUTE => LISTENER,
            _ => return,
        };
        let Some(mut awaits) = self.ledgers.get_mut(parent).map(|p| std::mem::take(&mut p.awaits))
        else {
            return;
        };
        if let Some(child) = self.ledgers.get(type_url) {
            awaits.retain(|name| !child.subscription.covers(name));
        }
        if let Some(parent) = self.ledgers.get_mut(parent) {
            parent.awaits = awaits;
        }
    }
}

/// What a request says about the response that is in flight (S1, S2).
fn answer(ledger: &mut Ledger, type_url: &TypeUrl, ask: &Ask) -> Verdict {
    if ask.nonce.is_empty() {
        return Verdict::Subscribed;
    }
    if ask.nonce != ledger.last_nonce {
        return Verdict::Stale;
    }
    let answered = match &ask.rejection {
        Some(_) => ledger.reject(),
        None => ledger.accept(),
    };
    let Some(in_flight) = answered else { return Verdict::Subscribed };
    let (type_url, version) = (type_url.clone(), in_flight.version);
    match ask.rejection.clone() {
        Some(rejection) => Verdict::Nacked { type_url, version, rejection },
        None => Verdict::Acked { type_url, version },
    }
}

/// The type that clients ask for because of what a resource of this one names.
fn child_of(type_url: &TypeUrl) -> Option<&'static str> {
    match type_url.as_str() {
        CLUSTER => Some(ENDPOINT),
        LISTENER => Some(ROUTE),
        _ => None,
    }
}

fn control_plane() -> ControlPlane {
    ControlPlane { identifier: concat!("gomesh xds-server ", env!("CARGO_PKG_VERSION")).into() }
}
