//! State of the world: a request names all that is wanted of a type (C1, C2, C8, C10).

use std::collections::BTreeSet;

use super::message::SotwRequest;
use super::subscription::{Answer, TypeState};
use crate::xds::{Name, WILDCARD};

/// Whether a request other than an answer is due: the type's first one, or changed names.
pub(super) fn is_due<V>(state: &TypeState<V>) -> bool {
    let sent = &state.sent;
    if !sent.started {
        return !state.wants.is_empty();
    }
    // With nothing ever named on this stream an empty list would still mean `*` (C10), so that
    // wanting nothing can't be said; what comes is acknowledged and ignored (C5).
    sent.stale && (sent.explicit || !state.wants.is_empty())
}

/// Notes that the wishes changed. Answers that wait go out before the new list does, which would
/// else be taken for one (C8).
pub(super) fn rethink<V>(state: &mut TypeState<V>) {
    let (wants, sent) = (&state.wants, &state.sent.names);
    state.sent.stale = wants.len() != sent.len() || !wants.keys().eq(sent.iter());
    state.release_answers();
}

/// The type's first request, or the new list of names.
pub(super) fn subscribe<V>(state: &mut TypeState<V>) -> SotwRequest {
    let names: BTreeSet<Name> = state.wants.keys().cloned().collect();
    let first = !state.sent.started;
    let only_wildcard = names.len() == 1 && names.contains(WILDCARD);
    state.sent.explicit |= !only_wildcard;
    state.sent.names = names;
    state.sent.started = true;
    state.sent.stale = false;
    state.forget_unwanted();
    // Holding nothing, a version would only tempt the server to send nothing (C1).
    let version = match first && state.held.is_empty() {
        true => String::new(),
        false => state.version.clone(),
    };
    let nonce = state.sent.nonce.clone();
    request(state, version, nonce, None)
}

/// An ACK or NACK. It repeats the names sent before, so that a server that drops it as stale drops
/// no subscription with it (D8).
pub(super) fn answer<V>(state: &TypeState<V>, answer: Answer) -> SotwRequest {
    request(state, answer.version, answer.nonce, answer.error)
}

fn request<V>(
    state: &TypeState<V>,
    version: String,
    nonce: String,
    error: Option<String>,
) -> SotwRequest {
    let sent = &state.sent;
    let legacy = !sent.explicit && sent.names.contains(WILDCARD);
    let names = if legacy { Vec::new() } else { sent.names.iter().cloned().collect() };
    let type_url = state.url.to_string();
    SotwRequest { type_url, version, nonce, names, error, with_node: false }
}
