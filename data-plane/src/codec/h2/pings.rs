//! PINGs of ours that find out whether the peer is still there
//! (`Http2ProtocolOptions.connection_keepalive`).

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::h2::{Ping, PingPong};
use tokio::time::Sleep;

use crate::base::clock;
use crate::config::http_protocol::Http2Keepalive;

/// The PINGs of one connection, one at a time.
pub struct Pings {
    handle: PingPong,
    interval: Duration,
    rules: Http2Keepalive,
    random: fastrand::Rng,
    timer: Pin<Box<Sleep>>,
    /// One was sent and not answered yet.
    asked: bool,
}

impl Pings {
    /// PINGs as `rules` want them; `None` where they want none on a timer.
    #[must_use]
    pub fn new(handle: PingPong, rules: Http2Keepalive) -> Option<Self> {
        let interval = rules.interval?;
        let mut random = fastrand::Rng::with_seed(RandomState::new().build_hasher().finish());
        let timer = Box::pin(tokio::time::sleep(prolonged(interval, &rules, &mut random)));
        Some(Self { handle, interval, rules, random, timer, asked: false })
    }

    /// Ready when the peer left a PING unanswered for too long: the connection is to be closed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.asked {
                match self.handle.poll_pong(cx) {
                    Poll::Ready(Ok(_)) => {
                        self.asked = false;
                        let wait = prolonged(self.interval, &self.rules, &mut self.random);
                        self.timer.as_mut().reset(clock::now() + wait);
                    }
                    // The connection's own end says why.
                    Poll::Ready(Err(_)) => return Poll::Pending,
                    Poll::Pending => {}
                }
            }
            ready!(self.timer.as_mut().poll(cx));
            if self.asked {
                return Poll::Ready(());
            }
            if self.handle.send_ping(Ping::opaque()).is_err() {
                return Poll::Pending;
            }
            self.asked = true;
            self.timer.as_mut().reset(clock::now() + self.rules.timeout);
        }
    }
}

/// The interval and up to `interval_jitter` of it.
fn prolonged(interval: Duration, rules: &Http2Keepalive, random: &mut fastrand::Rng) -> Duration {
    let most = interval.as_millis() * u128::from(rules.interval_jitter_percent) / 100;
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    interval + Duration::from_millis(random.u64(0..=most))
}
