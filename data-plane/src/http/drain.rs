//! Telling a worker's connections that the end is near, at no cost a request.
//!
//! One [`LocalDrain`] a worker and listener. A connection registers its task's waker once, when it
//! is accepted, and looks at a cell after each response. It is not `base::drain`: that one is
//! shared between threads and takes a lock a registration, which a keep-alive connection would do
//! for every request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use crate::base::clock::{self, Instant};

/// How far a drain has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainLevel {
    /// Nothing is drained.
    #[default]
    None,
    /// Requests are served; more and more connections close after a response, as the drain time
    /// passes (Envoy's gradual strategy).
    Announce,
    /// Idle connections close now, the others after the request at hand.
    Close,
    /// Everything ends, whatever is in flight.
    Abort,
}

/// How the connections of a listener that is gone are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainPlan {
    /// Over which time more and more close after a response; zero: each after its next one.
    pub over: Duration,
    /// When those that are left are closed, idle or not.
    pub until: Duration,
}

#[derive(Debug, Default)]
struct Inner {
    level: Cell<DrainLevel>,
    /// When the announcement began, and over which time connections are closed.
    pace: Cell<Option<(Instant, Duration)>>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    active: Cell<usize>,
    /// The time for a drain is over.
    expired: Cell<bool>,
}

/// The owner's side: a listener on one worker.
#[derive(Clone, Debug, Default)]
pub struct LocalDrain(Rc<Inner>);

impl LocalDrain {
    /// Raises the level and wakes every connection. A lower level than before changes nothing.
    pub fn raise(&self, level: DrainLevel) {
        if level <= self.0.level.get() {
            return;
        }
        self.0.level.set(level);
        self.wake();
    }

    fn wake(&self) {
        let wakers: Vec<Waker> = self.0.wakers.borrow().iter().flatten().cloned().collect();
        for waker in wakers {
            waker.wake();
        }
    }

    /// Begins to close connections, all of them by the end of `over`; zero closes each after its
    /// next response.
    pub fn announce(&self, over: Duration) {
        if self.0.pace.get().is_none() {
            self.0.pace.set(Some((clock::now(), over)));
        }
        self.raise(DrainLevel::Announce);
    }

    /// The time for a drain is over: who would be left alone at [`DrainLevel::Close`], since
    /// something is always in flight there, is to end now too.
    pub fn expire(&self) {
        self.0.expired.set(true);
        self.0.level.set(self.0.level.get().max(DrainLevel::Close));
        self.wake();
    }

    /// The level at present.
    #[must_use]
    pub fn level(&self) -> DrainLevel {
        self.0.level.get()
    }

    /// How many connections are registered.
    #[must_use]
    pub fn active(&self) -> usize {
        self.0.active.get()
    }

    /// A place for one connection.
    #[must_use]
    pub fn join(&self) -> Member {
        let place = self.0.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut wakers = self.0.wakers.borrow_mut();
            wakers.push(None);
            wakers.len() - 1
        });
        self.0.active.set(self.0.active.get() + 1);
        Member { inner: Rc::clone(&self.0), place }
    }
}

/// A connection's side; dropping it leaves.
#[derive(Debug)]
pub struct Member {
    inner: Rc<Inner>,
    place: usize,
}

impl Member {
    /// The level at present.
    #[must_use]
    pub fn level(&self) -> DrainLevel {
        self.inner.level.get()
    }

    /// Whether a connection on which there are no requests must end.
    #[must_use]
    pub fn ends(&self) -> bool {
        self.inner.expired.get() || self.level() == DrainLevel::Abort
    }

    /// Whether a connection should close after the response at hand; `random` decides while a
    /// drain is gradual.
    #[must_use]
    pub fn closes(&self, random: u64) -> bool {
        match self.level() {
            DrainLevel::None => false,
            DrainLevel::Announce => self.inner.pace.get().is_none_or(|(since, over)| {
                let passed = clock::now().saturating_duration_since(since);
                let share = passed.as_secs_f64() / over.as_secs_f64().max(f64::MIN_POSITIVE);
                (random as f64) < share * (u64::MAX as f64)
            }),
            DrainLevel::Close | DrainLevel::Abort => true,
        }
    }

    /// Remembers whom to wake. Cheap when it is the same task as before.
    pub fn register(&self, waker: &Waker) {
        let mut wakers = self.inner.wakers.borrow_mut();
        match &mut wakers[self.place] {
            Some(old) if old.will_wake(waker) => {}
            slot => *slot = Some(waker.clone()),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.inner.wakers.borrow_mut()[self.place] = None;
        self.inner.free.borrow_mut().push(self.place);
        self.inner.active.set(self.inner.active.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn raising_wakes_members_once_a_level_and_places_are_reused() {
        let drain = LocalDrain::default();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let first = drain.join();
        first.register(&waker);
        let second = drain.join();
        drop(second);
        let third = drain.join();
        third.register(&waker);
        assert_eq!(drain.active(), 2);
        drain.raise(DrainLevel::Close);
        drain.raise(DrainLevel::Announce);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert_eq!(first.level(), DrainLevel::Close);
        drop((first, third));
        assert_eq!(drain.active(), 0);
        assert_eq!(drain.0.wakers.borrow().len(), 2);
    }

    #[test]
    fn the_end_of_a_drain_wakes_who_outlived_its_close() {
        let drain = LocalDrain::default();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let member = drain.join();
        member.register(&Waker::from(Arc::clone(&count)));
        drain.raise(DrainLevel::Close);
        assert!(!member.ends());
        drain.expire();
        assert!(member.ends());
        assert_eq!((member.level(), count.0.load(Ordering::Relaxed)), (DrainLevel::Close, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_gradual_drain_closes_more_and_more() {
        let drain = LocalDrain::default();
        let member = drain.join();
        assert!(!member.closes(0));
        drain.announce(Duration::from_secs(10));
        assert!(!member.closes(u64::MAX / 2));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(member.closes(u64::MAX / 2));
        assert!(!member.closes(u64::MAX / 10 * 9));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(member.closes(u64::MAX / 10 * 9));
    }
}
