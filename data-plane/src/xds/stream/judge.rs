//! A response's resources, one by one: accepted, the same as before, refused, or nobody's.
//!
//! Each resource is judged alone, so that one bad resource never blocks its neighbours (C11). What
//! is about names spans several: a name twice (C4), or sent and removed at once (D3). Whoever knows
//! the resources may then look at the rest as a whole.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;

use super::Variant;
use super::message::{
    Called, Decode, Decoded, RawResource, Rejected, ResourceError, Response, Review, Whole,
};
use super::subscription::TypeState;
use crate::config::error::{Problems, Reason};
use crate::xds::Name;

/// gRPC's status code for what does not exist (C13).
const NOT_FOUND: i32 = 5;

/// The verdict on all resources of a response.
#[derive(Debug)]
pub(super) struct Verdict<V> {
    pub(super) accepted: Vec<Accepted<V>>,
    pub(super) unchanged: Vec<Unchanged>,
    /// Names whose TTL starts again, without a new content (C12).
    pub(super) heartbeats: Vec<(Name, Option<Duration>)>,
    pub(super) rejected: Vec<Rejected>,
    /// One of the refused could not even be named, so that absence proves nothing.
    pub(super) nameless: bool,
}

#[derive(Debug)]
pub(super) struct Accepted<V> {
    pub(super) name: Name,
    pub(super) version: String,
    pub(super) ttl: Option<Duration>,
    pub(super) value: V,
    pub(super) raw: Bytes,
}

#[derive(Debug)]
pub(super) struct Unchanged {
    pub(super) name: Name,
    pub(super) version: String,
    pub(super) ttl: Option<Duration>,
}

/// One resource's verdict.
enum Outcome<V> {
    Accepted { name: Name, value: V },
    Heartbeat { name: Name },
    Ignored,
    Rejected { name: Option<Name>, problems: Problems },
    Unchanged { name: Name },
}

impl<V> Outcome<V> {
    fn name(&self) -> Option<&Name> {
        match self {
            Self::Accepted { name, .. } | Self::Heartbeat { name } | Self::Unchanged { name } => {
                Some(name)
            }
            Self::Rejected { name, .. } => name.as_ref(),
            Self::Ignored => None,
        }
    }
}

/// Judges all resources of `response` against what `state` wants and holds.
pub(super) fn judge<V>(
    state: &TypeState<V>,
    response: &Response,
    variant: Variant,
    decode: &Decode<V>,
) -> Verdict<V> {
    let outcomes: Vec<_> =
        response.resources.iter().map(|raw| judge_one(state, raw, decode)).collect();
    let mut times: HashMap<Name, usize> = HashMap::new();
    for name in outcomes.iter().filter_map(Outcome::name) {
        *times.entry(name.clone()).or_default() += 1;
    }
    let mut verdict = Verdict {
        accepted: Vec::new(),
        unchanged: Vec::new(),
        heartbeats: Vec::new(),
        rejected: Vec::new(),
        nameless: false,
    };
    let removed: HashSet<&Name> = response.removed.iter().collect();
    for (index, (raw, mut outcome)) in response.resources.iter().zip(outcomes).enumerate() {
        if let Some(name) = outcome.name().cloned() {
            match times.get(&name).copied() {
                // The first of a name was refused for all of them.
                Some(0) => continue,
                Some(1) => {}
                _ => {
                    times.insert(name.clone(), 0);
                    let problems = Reason::Duplicate { value: name.to_string() }.into();
                    outcome = Outcome::Rejected { name: Some(name.clone()), problems };
                }
            }
            if removed.contains(&name) {
                let rule = "stands in resources and in removed_resources; must be in one";
                let problems = Reason::Rule(rule.into()).into();
                outcome = Outcome::Rejected { name: Some(name), problems };
            }
        }
        // In state of the world a version belongs to the type, not to the resource.
        let version = match (variant, &raw.version) {
            (Variant::Delta, Some(version)) => version.clone(),
            _ => response.version.clone(),
        };
        verdict.add(outcome, raw, index, version);
    }
    verdict
}

impl ResourceError {
    /// Whether it says that the resource is gone (C13).
    pub(super) const fn is_absence(&self) -> bool {
        self.code == NOT_FOUND
    }
}

impl<V> Verdict<V> {
    /// Refuses what can't be beside the others.
    pub(super) fn review(
        &mut self,
        state: &TypeState<V>,
        response: &Response,
        variant: Variant,
        review: &Review<V>,
    ) {
        let leaving: HashSet<&Name> = match variant {
            Variant::Delta => response.removed.iter().collect(),
            Variant::Sotw => self.missing(state, response).into_iter().collect(),
        };
        let stays = state.held.iter().filter(|(name, _)| !leaving.contains(name));
        let accepted = self.accepted.iter().map(|a| (&*a.name, &a.value));
        let whole = Whole {
            held: stays.map(|(name, entry)| (&**name, &entry.value)).collect(),
            accepted: accepted.collect(),
        };
        let mut refused = review(&state.url, &whole);
        // From behind, so that places stay what they are.
        refused.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
        for (place, problems) in refused {
            let Accepted { name, version, raw, .. } = self.accepted.remove(place);
            let called = Called::ByName;
            self.rejected.push(Rejected { name, called, version, problems, raw });
        }
    }

    /// State of the world: what is held and no longer there.
    pub(super) fn missing<'a>(
        &self,
        state: &'a TypeState<V>,
        response: &Response,
    ) -> Vec<&'a Name> {
        // A bad resource without a name may be any of the missing ones; only a good response may
        // delete. A response of heartbeats alone is no state of the world (C12).
        let only_heartbeats =
            !response.resources.is_empty() && self.heartbeats.len() == response.resources.len();
        if !state.url.is_full_state() || self.nameless || only_heartbeats {
            return Vec::new();
        }
        let mut present: BTreeSet<&str> = BTreeSet::new();
        present.extend(self.accepted.iter().map(|a| &*a.name));
        present.extend(self.unchanged.iter().map(|u| &*u.name));
        present.extend(self.heartbeats.iter().map(|(name, _)| &**name));
        present.extend(self.rejected.iter().map(|bad| &*bad.name));
        present.extend(response.errors.iter().filter(|e| !e.is_absence()).map(|e| &*e.name));
        state.held.iter().map(|(name, _)| name).filter(|name| !present.contains(&***name)).collect()
    }

    fn add(&mut self, outcome: Outcome<V>, from: &RawResource, index: usize, version: String) {
        let (ttl, raw) = (from.ttl, from.body.clone().unwrap_or_default());
        match outcome {
            Outcome::Accepted { name, value } => {
                self.accepted.push(Accepted { name, version, ttl, value, raw });
            }
            Outcome::Heartbeat { name } => self.heartbeats.push((name, ttl)),
            Outcome::Ignored => {}
            Outcome::Rejected { name, problems } => {
                self.nameless |= name.is_none();
                let (called, name) = match name {
                    Some(name) => (Called::ByName, name),
                    None => (Called::ByPlace, format!("resources[{index}]").into()),
                };
                self.rejected.push(Rejected { name, called, version, problems, raw });
            }
            Outcome::Unchanged { name } => self.unchanged.push(Unchanged { name, version, ttl }),
        }
    }
}

fn judge_one<V>(state: &TypeState<V>, raw: &RawResource, decode: &Decode<V>) -> Outcome<V> {
    let wrapped = raw.name.as_ref();
    if let Some(text) = &raw.broken {
        return refuse(wrapped.cloned(), Reason::Rule(text.clone()));
    }
    if wrapped.is_some_and(|name| !state.is_tracked(name)) {
        return Outcome::Ignored; // C6
    }
    let Some(body) = &raw.body else { return judge_bodiless(state, raw) };
    if raw.type_url != state.url.as_str() {
        let got = format!("{:?}", raw.type_url);
        return refuse(wrapped.cloned(), Reason::Invalid { got, must: state.url.to_string() });
    }
    let same = match wrapped {
        Some(name) => state.held.get(name).filter(|held| held.raw == *body).map(|_| name),
        None => state.held.name_of(body),
    };
    if let Some(name) = same {
        return Outcome::Unchanged { name: name.clone() };
    }
    let (name, result) = match decode(&state.url, body) {
        Decoded::Accepted { name, value } => (name, Ok(value)),
        Decoded::Rejected { name, problems } => (name, Err(problems)),
        Decoded::Undecodable(problems) => {
            return Outcome::Rejected { name: wrapped.cloned(), problems };
        }
    };
    // The wrapper's name is what the server will update and remove by.
    let name = wrapped.cloned().unwrap_or(name);
    if name.is_empty() {
        let must = "a name".to_owned();
        let problems = match result {
            Ok(_) => Reason::Invalid { got: "\"\"".into(), must }.into(),
            Err(problems) => problems,
        };
        return Outcome::Rejected { name: None, problems };
    }
    if !state.is_tracked(&name) {
        return Outcome::Ignored; // C6
    }
    match result {
        Ok(value) => Outcome::Accepted { name, value },
        Err(problems) => Outcome::Rejected { name: Some(name), problems },
    }
}

/// A wrapper without a body is a heartbeat if it names the version at hand (C12).
fn judge_bodiless<V>(state: &TypeState<V>, raw: &RawResource) -> Outcome<V> {
    let Some(name) = raw.name.clone().filter(|name| !name.is_empty()) else {
        return refuse(None, Reason::Rule("has neither a name nor a body".into()));
    };
    let Some(held) = state.held.get(&name) else {
        return refuse(Some(name), Reason::Rule("has no body and is not held".into()));
    };
    let version = raw.version.as_deref().unwrap_or_default();
    if version == held.version || version == state.version {
        return Outcome::Heartbeat { name };
    }
    let must = format!("{:?}, the version held, or come with a body", held.version);
    refuse(Some(name), Reason::Invalid { got: format!("version {version:?}"), must })
}

fn refuse<V>(name: Option<Name>, reason: Reason) -> Outcome<V> {
    Outcome::Rejected { name, problems: reason.into() }
}
