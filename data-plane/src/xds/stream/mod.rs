//! Sans-IO: the xDS protocol as a state machine, in both variants.
//!
//! An [`AdsStream`] owns no socket and reads no clock. Its owner says what happened
//! ([`AdsStream::handle`]), what time it is, and then drains [`AdsStream::poll_event`] and
//! [`AdsStream::poll_transmit`] and sleeps until [`AdsStream::poll_timeout`].
//!
//! Invariants:
//! * every response of a subscribed type is answered once, at once or after the delay of K8;
//! * an answer and a change of subscriptions never share a message (D8);
//! * what was accepted stays until the server takes it away, whatever happens to the transport
//!   (K3); what is refused changes nothing but itself (C11).
//!
//! One stream carries all types (ADS) or one; the difference is only which types its owner
//! subscribes. It knows no type but by [`TypeUrl::is_full_state`].

mod apply;
mod delta;
mod judge;
mod limit;
mod message;
mod nack;
mod sotw;
mod subscription;
#[cfg(test)]
pub(super) mod tests;
mod timers;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::base::clock::Instant;

use self::apply::Apply;
use self::limit::TokenBucket;
use self::subscription::{Absence, TypeState, Want};
use self::timers::{Timer, TimerKind, Timers};
use super::{Name, TypeUrl, WILDCARD};
use crate::base::backoff::Backoff;
use crate::config::source::{Backoff as BackoffBounds, RateLimit};

pub use crate::config::source::XdsVariant as Variant;
pub use message::{
    AbsentReason, Called, Cause, Changed, Decode, Decoded, DeltaRequest, Event, Input, RawResource,
    Rejected, Request, ResourceError, Response, Review, SotwRequest, Subscribe, Update, Whole,
};
pub use nack::NACK_TEXT_BYTES_MAX;

/// Which requests carry the node (`ApiConfigSource.set_node_on_first_message_only`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeOn {
    /// All of them; Envoy's default.
    EveryRequest,
    /// The first of a stream (C3).
    FirstRequest,
}

/// How a stream behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which form of the protocol.
    pub variant: Variant,
    /// Which requests carry the node.
    pub node_on: NodeOn,
    /// Waits between connects that fail (K1).
    pub backoff: BackoffBounds,
    /// Limit on requests; `None` does not limit (K7).
    pub rate_limit: Option<RateLimit>,
    /// How long a silent server has until a resource counts as absent (C9).
    pub absent_after: Duration,
    /// Seed of the jitter.
    pub seed: u64,
}

impl Settings {
    /// Envoy's defaults.
    #[must_use]
    pub fn new(variant: Variant, seed: u64) -> Self {
        Self {
            variant,
            node_on: NodeOn::EveryRequest,
            backoff: BACKOFF_DEFAULT,
            rate_limit: None,
            absent_after: Duration::from_secs(15),
            seed,
        }
    }
}

/// A client's side of one xDS server. See the module's documentation.
pub struct AdsStream<V> {
    settings: Settings,
    decode: Decode<V>,
    review: Option<Review<V>>,
    rng: fastrand::Rng,
    link: Link,
    backoff: Backoff,
    bucket: Option<TokenBucket>,
    /// In the order in which the types were first subscribed, which is that of requests (C3).
    types: Vec<TypeState<V>>,
    timers: Timers,
    events: VecDeque<Event<V>>,
}

/// The transport, as far as the protocol cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// None, and none is wanted before `until`.
    Waiting { until: Instant },
    /// Asked for at `since`.
    Connecting { since: Instant },
    /// Stands; `since` is when it was asked for.
    Open { since: Instant, answered: bool, sent: bool },
}

/// Envoy's bounds for xDS streams (K1).
const BACKOFF_DEFAULT: BackoffBounds =
    BackoffBounds { base: Duration::from_millis(500), max: Duration::from_secs(30) };

/// Least time between two connects in a row, however well the first one ended (K2).
const CONNECT_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Most answers that wait to be sent before responses should no longer be read.
const ANSWERS_MAX: usize = 64;

impl<V: Clone> AdsStream<V> {
    /// A stream that asks for a transport at its first [`Self::handle_timeout`].
    #[must_use]
    pub fn new(settings: Settings, decode: Decode<V>, now: Instant) -> Self {
        Self {
            decode,
            review: None,
            rng: fastrand::Rng::with_seed(settings.seed),
            link: Link::Waiting { until: now },
            backoff: Backoff::new(settings.backoff.base, settings.backoff.max),
            bucket: settings.rate_limit.map(TokenBucket::new),
            types: Vec::new(),
            timers: Timers::default(),
            events: VecDeque::new(),
            settings,
        }
    }

    /// Has responses judged as a whole too.
    #[must_use]
    pub fn with_review(mut self, review: Option<Review<V>>) -> Self {
        self.review = review;
        self
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Opened => {
                if let Link::Connecting { since } = self.link {
                    self.link = Link::Open { since, answered: false, sent: false };
                }
            }
            Input::Closed { reason } => self.handle_closed(reason, now),
            Input::Response(response) => self.handle_response(&response, now),
            Input::Subscribe(subscribe) => self.subscribe(subscribe, now),
            Input::Unsubscribe { type_url, name } => self.unsubscribe(&type_url, &name),
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Link::Waiting { until } = self.link
            && until <= now
        {
            self.link = Link::Connecting { since: now };
            self.events.push_back(Event::Connect);
        }
        if let Some(bucket) = &mut self.bucket {
            bucket.handle_timeout(now);
        }
        for answer in self.types.iter_mut().flat_map(|state| &mut state.answers) {
            answer.delay = answer.delay.filter(|until| *until > now);
        }
        let mut expired: BTreeMap<usize, Vec<Name>> = BTreeMap::new();
        while let Some(timer) = self.timers.pop_due(now) {
            self.handle_timer(&timer, &mut expired);
        }
        for (index, removed) in expired {
            let mut update = empty_update(&self.types[index], Cause::Ttl);
            update.removed = removed;
            self.events.push_back(Event::Update(update));
        }
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let link = match self.link {
            Link::Waiting { until } => Some(until),
            Link::Connecting { .. } | Link::Open { .. } => None,
        };
        let bucket = self.bucket.as_ref().and_then(TokenBucket::blocked_until);
        let answers = self.types.iter().filter_map(|state| state.answers.front()?.delay);
        answers.chain(link).chain(bucket).chain(self.timers.next()).min()
    }

    /// The next request to send on the open transport.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Request> {
        loop {
            let Link::Open { sent, .. } = &self.link else { return None };
            let with_node = !*sent || self.settings.node_on == NodeOn::EveryRequest;
            let due = self.next_due()?;
            if let Some(bucket) = &mut self.bucket
                && !bucket.take(now)
            {
                return None;
            }
            let Some(mut request) = self.write(due, now) else { continue };
            match &mut request {
                Request::Delta(request) => request.with_node = with_node,
                Request::Sotw(request) => request.with_node = with_node,
            }
            if let Link::Open { sent, .. } = &mut self.link {
                *sent = true;
            }
            return Some(request);
        }
    }

    /// The next thing that the owner should know or do.
    pub fn poll_event(&mut self) -> Option<Event<V>> {
        self.events.pop_front()
    }

    /// Whether a response may be read; false while too many answers wait to be sent.
    #[must_use]
    pub fn wants_response(&self) -> bool {
        self.types.iter().map(|state| state.answers.len()).sum::<usize>() < ANSWERS_MAX
    }

    /// `control_plane.pending_requests`: requests that are due and not sent.
    #[must_use]
    pub fn pending_requests(&self) -> usize {
        let due = |state| usize::from(self.is_due(state));
        self.types.iter().map(|state| state.answers.len() + due(state)).sum()
    }

    /// `control_plane.rate_limit_enforced`: how often a request had to wait for a token (K7).
    #[must_use]
    pub fn rate_limit_enforced(&self) -> u64 {
        self.bucket.as_ref().map_or(0, TokenBucket::enforced)
    }

    fn handle_closed(&mut self, reason: String, now: Instant) {
        let (since, answered) = match self.link {
            Link::Waiting { .. } => return,
            Link::Connecting { since } => (since, false),
            Link::Open { since, answered, .. } => (since, answered),
        };
        for state in &mut self.types {
            state.close();
        }
        let until = match answered {
            true => now.max(since + CONNECT_INTERVAL_MIN), // K2
            false => now + self.backoff.next_delay(self.rng.u64(..)), // K1
        };
        self.link = Link::Waiting { until };
        self.events.push_back(Event::Disconnected { reason, failed: !answered });
    }

    fn handle_response(&mut self, response: &Response, now: Instant) {
        let Link::Open { answered, .. } = &mut self.link else { return };
        *answered = true;
        self.backoff.reset();
        let index = self.types.iter().position(|s| s.url.as_str() == response.type_url);
        let Some(index) = index.filter(|index| self.types[*index].sent.started) else {
            // C5: never asked for on this stream.
            self.events.push_back(Event::Ignored { type_url: response.type_url.clone() });
            return;
        };
        let state = &mut self.types[index];
        if state.wants.is_empty() && state.sent.names.is_empty() {
            state.acknowledge_unread(response); // C5
            return;
        }
        let variant = self.settings.variant;
        let mut verdict = judge::judge(state, response, variant, &self.decode);
        if let Some(review) = &self.review {
            verdict.review(state, response, variant, review);
        }
        let apply = Apply { state, type_index: index, variant, timers: &mut self.timers, now };
        self.events.extend(apply.run(response, verdict));
    }

    fn subscribe(&mut self, wish: Subscribe, now: Instant) {
        let index = self.type_index(&wish.type_url);
        let state = &mut self.types[index];
        if state.wants.contains_key(&wish.name) {
            return;
        }
        let name = wish.name;
        let known = state.wants_all();
        let fetch_until = wish.initial_fetch_timeout.and_then(|wait| now.checked_add(wait));
        let absence = match &*name {
            WILDCARD => Absence::Settled,
            _ => Absence::Unasked,
        };
        state.wants.insert(name.clone(), Want { fetch_until, absence });
        match self.settings.variant {
            Variant::Delta => delta::want(state, &name),
            Variant::Sotw => sotw::rethink(state),
        }
        let mut update = empty_update(state, Cause::Cached);
        let held = state.held.iter().filter(|(held, _)| &*name == WILDCARD || **held == name);
        update.changed = held.map(|(name, entry)| entry.to_changed(name)).collect();
        if update.changed.is_empty() {
            if self.settings.variant == Variant::Sotw && state.sent.names.contains(&name) {
                // Its end was never sent, so that no request follows that would start the timer.
                self.start_absence_timer(index, &name, now);
            }
            if let Some(at) = fetch_until {
                let kind = TimerKind::Fetch;
                self.timers.arm(Timer { at, kind, type_index: index, name });
            }
            return;
        }
        state.settle(&name);
        if !known {
            self.events.push_back(Event::Update(update)); // S8
        }
    }

    fn unsubscribe(&mut self, type_url: &TypeUrl, name: &Name) {
        let Some(state) = self.types.iter_mut().find(|s| s.url == *type_url) else { return };
        if state.wants.remove(name).is_none() {
            return;
        }
        match self.settings.variant {
            Variant::Delta => delta::unwant(state, name),
            Variant::Sotw => sotw::rethink(state),
        }
    }

    fn type_index(&mut self, type_url: &TypeUrl) -> usize {
        let known = self.types.iter().position(|state| state.url == *type_url);
        known.unwrap_or_else(|| {
            self.types.push(TypeState::new(type_url.clone()));
            self.types.len() - 1
        })
    }

    fn handle_timer(&mut self, timer: &Timer, expired: &mut BTreeMap<usize, Vec<Name>>) {
        let state = &mut self.types[timer.type_index];
        let (type_url, name) = (state.url.clone(), timer.name.clone());
        match timer.kind {
            TimerKind::Absent => {
                let Some(want) = state.wants.get_mut(&name) else { return };
                if want.absence == Absence::Asked(timer.at) {
                    want.absence = Absence::Settled;
                    let why = AbsentReason::Silence;
                    self.events.push_back(Event::Absent { type_url, name, why });
                }
            }
            TimerKind::Fetch => {
                let Some(want) = state.wants.get_mut(&name) else { return };
                if want.fetch_until == Some(timer.at) {
                    want.fetch_until = None;
                    self.events.push_back(Event::FetchTimeout { type_url, name });
                }
            }
            TimerKind::Ttl => {
                let ends = state.held.get(&name).is_some_and(|e| e.expires_at == Some(timer.at));
                if ends {
                    state.held.remove(&name);
                    if state.is_wanted(&name) {
                        expired.entry(timer.type_index).or_default().push(name);
                    }
                }
            }
        }
    }

    /// Answers go before subscriptions, so that an ACK is prompt (S7).
    fn next_due(&self) -> Option<Due> {
        let ready = |state: &TypeState<V>| state.answers.front().is_some_and(|a| a.delay.is_none());
        if let Some(index) = self.types.iter().position(ready) {
            return Some(Due::Answer(index));
        }
        self.types.iter().position(|state| self.is_due(state)).map(Due::Subscriptions)
    }

    fn is_due(&self, state: &TypeState<V>) -> bool {
        match self.settings.variant {
            Variant::Delta => delta::is_due(state),
            Variant::Sotw => sotw::is_due(state),
        }
    }

    fn write(&mut self, due: Due, now: Instant) -> Option<Request> {
        let variant = self.settings.variant;
        match due {
            Due::Answer(index) => {
                let state = &mut self.types[index];
                let answer = state.answers.pop_front()?;
                match variant {
                    Variant::Delta => delta::answer(state, answer).map(Request::Delta),
                    Variant::Sotw => Some(Request::Sotw(sotw::answer(state, answer))),
                }
            }
            Due::Subscriptions(index) => {
                let state = &mut self.types[index];
                let request = match variant {
                    Variant::Delta => Request::Delta(delta::subscribe(state)),
                    Variant::Sotw => Request::Sotw(sotw::subscribe(state)),
                };
                self.start_absence_timers(index, now);
                Some(request)
            }
        }
    }

    /// The server was asked for all that is wanted just now: from here on its silence counts (C9).
    fn start_absence_timers(&mut self, index: usize, now: Instant) {
        let wants = self.types[index].wants.iter();
        let unasked = wants.filter(|(_, want)| want.absence == Absence::Unasked);
        for name in unasked.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.start_absence_timer(index, &name, now);
        }
    }

    fn start_absence_timer(&mut self, index: usize, name: &Name, now: Instant) {
        let Some(want) = self.types[index].wants.get_mut(name) else { return };
        let at = now + self.settings.absent_after;
        want.absence = Absence::Asked(at);
        let (kind, name) = (TimerKind::Absent, name.clone());
        self.timers.arm(Timer { at, kind, type_index: index, name });
    }
}

/// The next request, before it is written.
#[derive(Clone, Copy, Debug)]
enum Due {
    Answer(usize),
    Subscriptions(usize),
}

fn empty_update<V>(state: &TypeState<V>, cause: Cause) -> Update<V> {
    Update {
        type_url: state.url.clone(),
        version: state.version.clone(),
        cause,
        changed: Vec::new(),
        unchanged: Vec::new(),
        removed: Vec::new(),
        rejected: Vec::new(),
        errors: Vec::new(),
    }
}
