//! Delta: a request names what is newly wanted and what is no longer (D1–D10).

use std::mem;

use super::message::DeltaRequest;
use super::subscription::{Answer, TypeState};
use crate::xds::{Name, WILDCARD};

/// Whether a request other than an answer is due: the type's first one, or changed names.
pub(super) fn is_due<V>(state: &TypeState<V>) -> bool {
    let sent = &state.sent;
    match sent.started {
        true => !sent.subscribe.is_empty() || !sent.unsubscribe.is_empty(),
        false => !state.wants.is_empty(),
    }
}

/// Notes a new wish. One that comes back before the server heard of its end goes out as a
/// subscription all the same, so that the server sends the resource again (D4).
pub(super) fn want<V>(state: &mut TypeState<V>, name: &Name) {
    if state.sent.started {
        state.sent.unsubscribe.remove(name);
        state.sent.subscribe.insert(name.clone());
    }
}

/// Notes the end of a wish; one that the server never heard of leaves no trace.
pub(super) fn unwant<V>(state: &mut TypeState<V>, name: &Name) {
    state.sent.subscribe.remove(name);
    if state.sent.names.contains(name) {
        state.sent.unsubscribe.insert(name.clone());
    }
}

/// The type's first request, or the changes since the last one; never carries a nonce (D1, D8).
pub(super) fn subscribe<V>(state: &mut TypeState<V>) -> DeltaRequest {
    let mut request = DeltaRequest { type_url: state.url.to_string(), ..DeltaRequest::default() };
    state.forget_unwanted();
    if state.sent.started {
        let mut subscribe = mem::take(&mut state.sent.subscribe);
        let unsubscribe = mem::take(&mut state.sent.unsubscribe);
        for name in &unsubscribe {
            state.sent.names.remove(name);
        }
        state.sent.names.extend(subscribe.iter().cloned());
        // A wildcard that was left unsaid is said before a name could be taken to end it (C10).
        if !state.sent.explicit && !subscribe.is_empty() && state.wants_all() {
            subscribe.insert(WILDCARD.into());
        }
        state.sent.explicit |= !subscribe.is_empty();
        request.subscribe = subscribe.into_iter().collect();
        request.unsubscribe = unsubscribe.into_iter().collect();
        return request;
    }
    state.sent.started = true;
    state.sent.names = state.wants.keys().cloned().collect();
    // `*` alone is left unsaid, as Envoy does (D6).
    state.sent.explicit = !(state.wants.len() == 1 && state.wants_all());
    if state.sent.explicit {
        request.subscribe = state.sent.names.iter().cloned().collect();
    }
    // Nothing is held on the first stream, so this is empty there, as it must be (D2).
    let held = state.held.iter();
    request.initial_versions = held.map(|(n, e)| (n.clone(), e.version.clone())).collect();
    request
}

/// An ACK or NACK, and nothing else (D8). A response without a nonce can't be acknowledged (D1);
/// its refusal is sent all the same, since somebody may read it.
pub(super) fn answer<V>(state: &TypeState<V>, answer: Answer) -> Option<DeltaRequest> {
    if answer.nonce.is_empty() && answer.error.is_none() {
        return None;
    }
    Some(DeltaRequest {
        type_url: state.url.to_string(),
        nonce: answer.nonce,
        error: answer.error,
        ..DeltaRequest::default()
    })
}
