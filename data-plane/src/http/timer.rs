//! One timer a connection for all of its deadlines.
//!
//! A deadline that moves on with every byte would cost a trip to the runtime's timer wheel each
//! time. So the timer is left armed where it is as long as that is early enough: it fires, finds
//! that its deadline moved on and is armed again. A keep-alive connection thus touches
//! the wheel once in many requests.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Sleep;

use crate::base::clock::Instant;

/// A lazily armed timer; it allocates at its first use and never again.
#[derive(Debug, Default)]
pub struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Ready when `deadline` has passed; `None` is never. To be called with every wake-up.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline || sleep.is_elapsed() {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;
    use std::time::Duration;

    async fn fires(timer: &mut Timer, deadline: Option<Instant>) {
        std::future::poll_fn(|cx| timer.poll(cx, deadline)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_deadline_leaves_it_armed_and_an_earlier_one_does_not() {
        let mut timer = Timer::default();
        let start = clock::now();
        let at = |s| Some(start + Duration::from_secs(s));
        let pending = Duration::ZERO;
        assert!(tokio::time::timeout(pending, fires(&mut timer, at(10))).await.is_err());
        assert!(tokio::time::timeout(pending, fires(&mut timer, at(20))).await.is_err());
        fires(&mut timer, at(20)).await;
        assert!(clock::now() - start >= Duration::from_secs(20));
        fires(&mut timer, at(15)).await;
        assert!(clock::now() - start < Duration::from_secs(21));
    }
}
