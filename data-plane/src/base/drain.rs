//! Telling work that the end is near, and waiting until it is done.
//!
//! [`channel`] makes a pair. The [`Trigger`] stays with the owner (a listener, the program); each
//! piece of work holds a [`Drain`], learns of the end from it and drops it when it is finished.
//! [`Trigger::drain`] returns once the last one is gone. Whoever must not wait forever puts a
//! timeout around it.

use tokio::sync::watch;

/// Makes a connected pair, not draining yet.
#[must_use]
pub fn channel() -> (Trigger, Drain) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Drain(receiver))
}

/// The owner's side.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

impl Trigger {
    /// Says that draining began, and does not wait.
    pub fn start(&self) {
        self.0.send_replace(true);
    }

    /// Says that draining began and waits until every [`Drain`] of the pair is dropped.
    pub async fn drain(&self) {
        self.start();
        self.0.closed().await;
    }

    /// Another piece of work that is to be waited for.
    #[must_use]
    pub fn subscribe(&self) -> Drain {
        Drain(self.0.subscribe())
    }

    /// How many pieces of work are left.
    #[must_use]
    pub fn active(&self) -> usize {
        self.0.receiver_count()
    }
}

/// The side of a piece of work; draining ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<bool>);

impl Drain {
    /// Whether draining began.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until draining begins; also returns when the owner is gone, since nobody could say
    /// so any more. Safe to cancel.
    pub async fn signaled(&mut self) {
        let _owner_gone = self.0.wait_for(|draining| *draining).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drain_waits_for_the_last_holder() {
        let (trigger, mut first) = channel();
        let second = trigger.subscribe();
        assert!(!first.is_draining());
        let waiting = crate::base::task::spawn("drain", async move { trigger.drain().await });
        first.signaled().await;
        assert!(second.is_draining());
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        waiting.join().await;
    }

    #[tokio::test]
    async fn signaled_ends_when_the_owner_is_gone() {
        let (trigger, mut drain) = channel();
        drop(trigger);
        drain.signaled().await;
        assert!(!drain.is_draining());
    }
}
