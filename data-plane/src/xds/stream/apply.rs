//! A verdict becomes state: what is held, which timers end, and the update that says so.
//!
//! Valid resources are applied and bad ones keep their last good value, for every type (C11). The
//! result of an apply is complete: an update for the program, an answer for the server.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::clock::Instant;

use super::Variant;
use super::judge::{Accepted, Unchanged, Verdict};
use super::message::{AbsentReason, Cause, Event, ResourceError, Response, Update};
use super::nack;
use super::sotw;
use super::subscription::{Answer, Entry, TypeState};
use super::timers::{Timer, TimerKind, Timers};
use crate::xds::{Name, WILDCARD};

/// One response being applied to its type.
pub(super) struct Apply<'a, V> {
    pub(super) state: &'a mut TypeState<V>,
    pub(super) type_index: usize,
    pub(super) variant: Variant,
    pub(super) timers: &'a mut Timers,
    pub(super) now: Instant,
}

impl<V: Clone> Apply<'_, V> {
    /// Takes the verdict over, queues the answer and returns what to report.
    pub(super) fn run(mut self, response: &Response, verdict: Verdict<V>) -> Vec<Event<V>> {
        let mut absent = Vec::new();
        let mut removed = match self.variant {
            Variant::Delta => self.take_removed(response, &verdict, &mut absent),
            Variant::Sotw => self.take_missing(response, &verdict),
        };
        let errors = self.take_errors(&response.errors, &mut removed, &mut absent);
        let mut update = Update {
            type_url: self.state.url.clone(),
            version: response.version.clone(),
            cause: Cause::Response,
            changed: Vec::new(),
            unchanged: Vec::new(),
            removed,
            rejected: verdict.rejected,
            errors,
        };
        for accepted in verdict.accepted {
            self.accept(accepted, &mut update);
        }
        for unchanged in verdict.unchanged {
            self.keep(unchanged, &mut update);
        }
        for (name, ttl) in verdict.heartbeats {
            self.restart_ttl(&name, ttl);
            self.state.settle(&name);
        }
        for bad in &update.rejected {
            self.state.settle(&bad.name);
        }
        self.state.settle(WILDCARD);
        self.answer(response, &update);
        if self.state.wants.is_empty() {
            return Vec::new();
        }
        let mut events = vec![Event::Update(update)];
        events.append(&mut absent);
        events
    }

    fn accept(&mut self, accepted: Accepted<V>, update: &mut Update<V>) {
        let Accepted { name, version, ttl, value, raw } = accepted;
        let entry = Entry { version, value, raw, expires_at: None };
        if self.state.is_wanted(&name) {
            update.changed.push(entry.to_changed(&name));
        }
        self.state.held.insert(name.clone(), entry);
        self.restart_ttl(&name, ttl);
        self.state.settle(&name);
    }

    fn keep(&mut self, unchanged: Unchanged, update: &mut Update<V>) {
        let Unchanged { name, version, ttl } = unchanged;
        if let Some(entry) = self.state.held.get_mut(&name) {
            entry.version.clone_from(&version);
        }
        self.restart_ttl(&name, ttl);
        self.state.settle(&name);
        if self.state.is_wanted(&name) {
            update.unchanged.push((name, version));
        }
    }

    /// Each receipt sets the TTL anew; one without a TTL ends it (C12).
    fn restart_ttl(&mut self, name: &Name, ttl: Option<Duration>) {
        let Some(entry) = self.state.held.get_mut(name) else { return };
        entry.expires_at = ttl.and_then(|ttl| self.now.checked_add(ttl));
        if let Some(at) = entry.expires_at {
            let timer =
                Timer { at, kind: TimerKind::Ttl, type_index: self.type_index, name: name.clone() };
            self.timers.arm(timer);
        }
    }

    /// Delta: what the server took away (D3), and answers that a name does not exist (D10).
    fn take_removed(
        &mut self,
        response: &Response,
        verdict: &Verdict<V>,
        absent: &mut Vec<Event<V>>,
    ) -> Vec<Name> {
        let disputed: BTreeSet<&Name> = verdict.rejected.iter().map(|bad| &bad.name).collect();
        let mut removed = Vec::new();
        for name in response.removed.iter().filter(|name| !disputed.contains(name)) {
            if !self.state.is_wanted(name) {
                self.state.held.remove(name);
                continue;
            }
            if self.state.held.remove(name) {
                removed.push(name.clone());
            } else if self.state.wants.contains_key(name) {
                absent.push(self.absent(name, AbsentReason::Removed));
            }
            self.state.settle(name);
        }
        removed
    }

    /// State of the world: for types that are complete sets, absence deletes (C7).
    fn take_missing(&mut self, response: &Response, verdict: &Verdict<V>) -> Vec<Name> {
        let missing: Vec<Name> =
            verdict.missing(self.state, response).into_iter().cloned().collect();
        missing
            .into_iter()
            .filter(|name| {
                self.state.held.remove(name);
                self.state.is_wanted(name)
            })
            .collect()
    }

    /// An error is an answer; only "not found" says that the resource is gone (C13).
    fn take_errors(
        &mut self,
        errors: &[ResourceError],
        removed: &mut Vec<Name>,
        absent: &mut Vec<Event<V>>,
    ) -> Vec<ResourceError> {
        let mut kept = Vec::new();
        for error in errors {
            if !self.state.is_wanted(&error.name) {
                continue;
            }
            kept.push(error.clone());
            self.state.settle(&error.name);
            if !error.is_absence() {
                continue;
            }
            if self.state.held.remove(&error.name) {
                removed.push(error.name.clone());
            } else if !removed.contains(&error.name) {
                let why = AbsentReason::Error(error.message.clone());
                absent.push(self.absent(&error.name, why));
            }
        }
        kept
    }

    /// Queues the ACK or NACK: validated is enough, nobody waits for warming (C2, S7).
    fn answer(&mut self, response: &Response, update: &Update<V>) {
        self.state.sent.nonce.clone_from(&response.nonce);
        let (error, delay) = if update.rejected.is_empty() {
            self.state.version.clone_from(&response.version);
            self.state.repeats.accept();
            self.state.release_answers();
            (None, None)
        } else {
            // A new list of names has to follow its answer, so that it can't be delayed (C8).
            let hurry = self.variant == Variant::Sotw && sotw::is_due(self.state);
            let delay = self.state.repeats.refuse(&update.rejected, self.now);
            (Some(nack::text(&update.rejected)), delay.filter(|_| !hurry))
        };
        let version = self.state.version.clone();
        self.state.answers.push_back(Answer {
            nonce: response.nonce.clone(),
            version,
            error,
            delay,
        });
    }

    fn absent(&self, name: &Name, why: AbsentReason) -> Event<V> {
        Event::Absent { type_url: self.state.url.clone(), name: name.clone(), why }
    }
}
