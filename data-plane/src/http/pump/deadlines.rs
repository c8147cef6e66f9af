//! When a request has taken too long, and what that is answered with.

use std::time::Duration;

use crate::base::clock::Instant;
use crate::http::reply::LocalReply;

/// Envoy's default of `stream_idle_timeout`.
const HALF_OPEN_IDLE: Duration = Duration::from_secs(300);

/// All deadlines of one request. `None` never passes.
#[derive(Debug)]
pub struct Deadlines {
    /// Nothing may stand still for longer.
    idle: Option<Duration>,
    /// When something moved last.
    moved: Instant,
    /// `request_timeout`: the whole request has arrived by then.
    request: Option<Instant>,
    /// The route's timeout; runs from the end of the request.
    route: Option<Instant>,
    /// `max_stream_duration`.
    stream: Option<Instant>,
}

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Nothing moved.
    Idle,
    /// The request did not arrive in time.
    Request,
    /// The upstream did not answer in time.
    Route,
    /// The stream is too old.
    Stream,
}

impl Expired {
    /// The answer where none has begun.
    #[must_use]
    pub fn reply(self, request_ended: bool) -> LocalReply {
        match self {
            // Who kept still: the client, or the upstream.
            Self::Idle => {
                let mut reply = LocalReply::stream_idle_timeout();
                if request_ended {
                    reply.status = http::StatusCode::GATEWAY_TIMEOUT;
                }
                reply
            }
            Self::Request => LocalReply::request_timeout(),
            Self::Route => LocalReply::upstream_timeout(),
            Self::Stream => LocalReply::max_duration(request_ended),
        }
    }
}

impl Deadlines {
    /// Those that run from the start of a request.
    #[must_use]
    pub fn new(
        now: Instant,
        idle: Option<Duration>,
        request: Option<Duration>,
        stream: Option<Duration>,
    ) -> Self {
        Self {
            idle,
            moved: now,
            request: request.map(|d| now + d),
            route: None,
            stream: stream.map(|d| now + d),
        }
    }

    /// The route has an idle timeout of its own, which replaces the manager's.
    pub fn set_idle(&mut self, idle: Option<Duration>) {
        self.idle = idle;
    }

    /// A route was chosen, whose `max_stream_duration` replaces the one before.
    pub fn set_stream(&mut self, start: Instant, limit: Option<Duration>) {
        self.stream = limit.map(|limit| start + limit);
    }

    /// The request is complete: its own deadline is over, the route's begins.
    pub fn request_ended(&mut self, now: Instant, route: Option<Duration>) {
        self.request = None;
        self.route = route.map(|d| now + d);
    }

    /// The route's timeout runs from now on though the request goes on: a WebSocket is to be
    /// answered in time too.
    pub fn await_answer(&mut self, now: Instant, route: Option<Duration>) {
        self.route = route.map(|d| now + d);
    }

    /// A tunnel opened: only idleness and age still end it.
    pub fn tunnelled(&mut self) {
        self.replied();
    }

    /// A tunnel's client said its last, which on HTTP/1 cannot be told from its being gone: from
    /// here on the tunnel is idle some time even where the configuration sets no limit.
    pub fn half_open(&mut self) {
        self.idle.get_or_insert(HALF_OPEN_IDLE);
    }

    /// A reply of our own is on its way: only idleness and age still end it.
    pub fn replied(&mut self) {
        self.request = None;
        self.route = None;
    }

    /// The upstream answers: whether all of the request arrives does not matter any more
    /// (`request_timeout` "is disarmed … when the response is initiated").
    pub fn response_started(&mut self) {
        self.request = None;
    }

    /// Something moved.
    pub fn touch(&mut self, now: Instant) {
        self.moved = now;
    }

    /// The next one to pass.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let idle = self.idle.map(|d| self.moved + d);
        [idle, self.request, self.route, self.stream].into_iter().flatten().min()
    }

    /// The one that has passed; it is told once. Idleness begins anew, so that an answer to it has
    /// its time to leave.
    pub fn take_expired(&mut self, now: Instant) -> Option<Expired> {
        let expired = self.expired(now)?;
        match expired {
            Expired::Idle => self.moved = now,
            Expired::Request => self.request = None,
            Expired::Route => self.route = None,
            Expired::Stream => self.stream = None,
        }
        Some(expired)
    }

    /// The one that has passed, the most telling first.
    #[must_use]
    pub fn expired(&self, now: Instant) -> Option<Expired> {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|d| d <= now);
        if passed(self.route) {
            Some(Expired::Route)
        } else if passed(self.request) {
            Some(Expired::Request)
        } else if passed(self.stream) {
            Some(Expired::Stream)
        } else if passed(self.idle.map(|d| self.moved + d)) {
            Some(Expired::Idle)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[tokio::test(start_paused = true)]
    async fn the_routes_timeout_runs_from_the_end_of_the_request() {
        let start = clock::now();
        let second = Duration::from_secs(1);
        let mut deadlines = Deadlines::new(start, Some(second * 10), Some(second * 5), None);
        assert_eq!(deadlines.next(), Some(start + second * 5));
        assert_eq!(deadlines.expired(start + second * 5), Some(Expired::Request));
        deadlines.request_ended(start + second * 3, Some(second * 4));
        assert_eq!(deadlines.next(), Some(start + second * 7));
        assert_eq!(deadlines.expired(start + second * 7), Some(Expired::Route));
        deadlines.replied();
        deadlines.touch(start + second * 8);
        assert_eq!(deadlines.next(), Some(start + second * 18));
        assert_eq!(deadlines.expired(start + second * 18), Some(Expired::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn each_deadline_is_told_once_and_idleness_begins_anew() {
        let start = clock::now();
        let second = Duration::from_secs(1);
        let mut deadlines = Deadlines::new(start, Some(second), Some(second), Some(second));
        let now = start + second;
        assert_eq!(deadlines.take_expired(now), Some(Expired::Request));
        assert_eq!(deadlines.take_expired(now), Some(Expired::Stream));
        assert_eq!(deadlines.take_expired(now), Some(Expired::Idle));
        assert_eq!(deadlines.take_expired(now), None);
        assert_eq!(deadlines.next(), Some(now + second));
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_tunnel_is_never_without_a_limit() {
        let start = clock::now();
        let mut endless = Deadlines::new(start, None, None, None);
        assert_eq!(endless.next(), None);
        endless.half_open();
        assert_eq!(endless.next(), Some(start + HALF_OPEN_IDLE));
        let own = Duration::from_secs(3);
        let mut limited = Deadlines::new(start, Some(own), None, None);
        limited.half_open();
        assert_eq!(limited.next(), Some(start + own));
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_began_disarms_the_requests_timeout() {
        let start = clock::now();
        let mut deadlines = Deadlines::new(start, None, Some(Duration::from_secs(1)), None);
        deadlines.response_started();
        assert_eq!(deadlines.next(), None);
    }
}
