//! One type of a stream: what is wanted, what is held, what the server was told.
//!
//! Three sets that are never mixed up: `wants` (what the program asked for), `sent` (what the
//! server of this stream believes), `held` (the last good values). `sent` dies with its stream,
//! the other two survive it (C3, K3).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::base::clock::Instant;
use bytes::Bytes;
use xxhash_rust::xxh64::xxh64;

use super::message::{Changed, Response};
use super::nack::Repeats;
use crate::xds::{Name, TypeUrl, WILDCARD};

/// The sub-stream of one type.
#[derive(Debug)]
pub(super) struct TypeState<V> {
    pub(super) url: TypeUrl,
    pub(super) wants: BTreeMap<Name, Want>,
    pub(super) held: Held<V>,
    /// Version of the last response that was accepted as a whole; outlives streams (C1).
    pub(super) version: String,
    pub(super) sent: Sent,
    pub(super) answers: VecDeque<Answer>,
    pub(super) repeats: Repeats,
}

/// A wish that was not taken back.
#[derive(Debug)]
pub(super) struct Want {
    /// End of `initial_fetch_timeout`, until the first answer.
    pub(super) fetch_until: Option<Instant>,
    pub(super) absence: Absence,
}

/// How far the question is whether the resource exists (C9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// The server of this stream was not asked yet.
    Unasked,
    /// It was asked and has until then.
    Asked(Instant),
    /// It answered, or did not in time; never asked about again.
    Settled,
}

/// What was said on the current stream.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The type's first request went out.
    pub(super) started: bool,
    /// Nonce of the latest response.
    pub(super) nonce: String,
    /// What the server believes that this client wants; `*` also where that was left unsaid.
    pub(super) names: BTreeSet<Name>,
    /// A name or `*` was written on this stream, so that an empty list means nothing (C10).
    pub(super) explicit: bool,
    /// State of the world: the names may have changed since the last request.
    pub(super) stale: bool,
    /// Delta: names to subscribe that the server does not know of.
    pub(super) subscribe: BTreeSet<Name>,
    /// Delta: names to take back.
    pub(super) unsubscribe: BTreeSet<Name>,
}

/// An ACK or NACK that waits to be sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) nonce: String,
    pub(super) version: String,
    pub(super) error: Option<String>,
    /// Not before then (K8).
    pub(super) delay: Option<Instant>,
}

impl<V> TypeState<V> {
    pub(super) fn new(url: TypeUrl) -> Self {
        Self {
            url,
            wants: BTreeMap::new(),
            held: Held { entries: BTreeMap::new(), by_content: HashMap::new() },
            version: String::new(),
            sent: Sent::default(),
            answers: VecDeque::new(),
            repeats: Repeats::default(),
        }
    }

    /// Whether all resources of the type are wanted.
    pub(super) fn wants_all(&self) -> bool {
        self.wants.contains_key(WILDCARD)
    }

    /// Whether the program wants `name`.
    pub(super) fn is_wanted(&self, name: &str) -> bool {
        self.wants_all() || self.wants.contains_key(name)
    }

    /// Whether `name` is wanted, or no longer wanted but not yet taken back from the server. Such a
    /// resource is kept up to date, since the wish may come back before the server hears of it.
    pub(super) fn is_tracked(&self, name: &str) -> bool {
        self.is_wanted(name) || self.sent.names.contains(WILDCARD) || self.sent.names.contains(name)
    }

    /// Something is known about `name`: neither timer is needed any more.
    pub(super) fn settle(&mut self, name: &str) {
        if let Some(want) = self.wants.get_mut(name) {
            want.fetch_until = None;
            want.absence = Absence::Settled;
        }
    }

    /// Lets go of values that nobody wants; only once the server knows that too.
    pub(super) fn forget_unwanted(&mut self) {
        if self.wants_all() {
            return;
        }
        let wants = &self.wants;
        self.held.retain(|name| wants.contains_key(name));
    }

    /// The stream is gone: nothing was said, nothing is owed, no timer runs (C3, C9).
    pub(super) fn close(&mut self) {
        self.sent = Sent::default();
        self.answers.clear();
        for want in self.wants.values_mut() {
            if let Absence::Asked(_) = want.absence {
                want.absence = Absence::Unasked;
            }
        }
    }

    /// Acknowledges a response of which nothing is wanted any more (C5).
    pub(super) fn acknowledge_unread(&mut self, response: &Response) {
        self.sent.nonce.clone_from(&response.nonce);
        self.answers.push_back(Answer {
            nonce: response.nonce.clone(),
            version: response.version.clone(),
            error: None,
            delay: None,
        });
    }

    /// Lets delayed answers go at once, since something else is about to be sent.
    pub(super) fn release_answers(&mut self) {
        for answer in &mut self.answers {
            answer.delay = None;
        }
    }
}

/// The last good value of each resource.
#[derive(Debug)]
pub(super) struct Held<V> {
    entries: BTreeMap<Name, Entry<V>>,
    /// Hash of the bytes → name, so that what was sent again is not decoded again.
    by_content: HashMap<u64, Name>,
}

/// One last good value.
#[derive(Clone, Debug)]
pub(super) struct Entry<V> {
    pub(super) version: String,
    pub(super) value: V,
    pub(super) raw: Bytes,
    /// End of the TTL (C12).
    pub(super) expires_at: Option<Instant>,
}

impl<V> Held<V> {
    pub(super) fn get(&self, name: &str) -> Option<&Entry<V>> {
        self.entries.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Entry<V>> {
        self.entries.get_mut(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Entry<V>)> {
        self.entries.iter()
    }

    /// The name under which exactly these bytes are held.
    pub(super) fn name_of(&self, raw: &[u8]) -> Option<&Name> {
        let name = self.by_content.get(&xxh64(raw, 0))?;
        self.entries.get(name).filter(|entry| entry.raw == raw).map(|_| name)
    }

    pub(super) fn insert(&mut self, name: Name, entry: Entry<V>) {
        self.remove(&name);
        self.by_content.insert(xxh64(&entry.raw, 0), name.clone());
        self.entries.insert(name, entry);
    }

    pub(super) fn remove(&mut self, name: &str) -> bool {
        let Some(entry) = self.entries.remove(name) else { return false };
        let hash = xxh64(&entry.raw, 0);
        if self.by_content.get(&hash).is_some_and(|owner| &**owner == name) {
            self.by_content.remove(&hash);
        }
        true
    }

    fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let gone: Vec<Name> = self.entries.keys().filter(|n| !keep(n)).cloned().collect();
        for name in gone {
            self.remove(&name);
        }
    }
}

impl<V: Clone> Entry<V> {
    /// The value as an update reports it.
    pub(super) fn to_changed(&self, name: &Name) -> Changed<V> {
        Changed {
            name: name.clone(),
            version: self.version.clone(),
            value: self.value.clone(),
            raw: self.raw.clone(),
        }
    }
}
