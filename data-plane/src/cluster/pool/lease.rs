//! What a request holds: a connection of its own, or a stream on a shared one.
//!
//! A [`Claim`] goes back by itself. [`Claim::finish`] says that the message exchange ended well, so
//! that the connection may serve the next request; a lease that is just dropped closes an HTTP/1
//! connection, since nobody knows what is still under way on it, and leaves a shared one alone.
//! [`Claiming`] is the wait for one; dropping it gives the place in the queue up at once.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::account::{Ended, PendingSlot, RequestSlot};
use super::core::{Conn, Entry, Pool};
use crate::cluster::circuit::Overflow;
use crate::cluster::connect::ConnectError;

/// Why there is no connection for a request. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// A circuit breaker is open.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// The connection could not be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// A connection or stream in a request's hands.
pub struct Claim<C: Conn> {
    pool: Rc<Pool<C>>,
    entry: Rc<Entry<C>>,
    handle: Option<C::Handle>,
    slot: Option<RequestSlot>,
    ended: Ended,
    first: bool,
}

impl<C: Conn> fmt::Debug for Claim<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.pool).finish()
    }
}

/// Whether a connection may serve another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It may.
    Keep,
    /// It is to be closed (`connection: close`, an upgrade, an error).
    Close,
}

impl<C: Conn> Claim<C> {
    pub(super) fn new(
        pool: &Rc<Pool<C>>,
        entry: Rc<Entry<C>>,
        handle: C::Handle,
        slot: RequestSlot,
    ) -> Self {
        let first = entry.served() == 1;
        let pool = Rc::clone(pool);
        Self { pool, entry, handle: Some(handle), slot: Some(slot), ended: Ended::Local, first }
    }

    /// The connection (HTTP/1) or the opener of streams (HTTP/2).
    pub fn conn(&mut self) -> &mut C::Handle {
        self.handle.as_mut().expect("taken only by finish and drop, which end the lease")
    }

    /// Whether the connection never carried a request before this one.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.first
    }

    /// Notes that the other side ended the connection, for `upstream_cx_destroy_remote`.
    pub fn closed_by_peer(&mut self) {
        self.ended = Ended::Remote;
    }

    /// The exchange is over and complete.
    pub fn finish(mut self, reuse: Reuse) {
        let handle = self.handle.take();
        drop(self.slot.take());
        let keep = reuse == Reuse::Keep;
        self.pool.release(&self.entry, handle.filter(|_| keep), self.ended, Exchange::Complete);
    }

    /// Gives it back without ever having used it.
    fn unused(mut self) {
        let handle = self.handle.take();
        drop(self.slot.take());
        self.pool.release(&self.entry, handle, self.ended, Exchange::Complete);
    }
}

impl<C: Conn> Drop for Claim<C> {
    fn drop(&mut self) {
        if self.handle.take().is_some() {
            drop(self.slot.take());
            self.pool.release(&self.entry, None, self.ended, Exchange::BrokenOff);
        }
    }
}

/// How a request left its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    Complete,
    BrokenOff,
}

/// A request's place in the queue of a pool.
#[derive(Debug)]
pub(super) struct Ticket<C: Conn> {
    outcome: RefCell<Option<Result<Claim<C>, LeaseError>>>,
    waker: RefCell<Option<Waker>>,
    slot: RefCell<Option<PendingSlot>>,
    done: Cell<bool>,
}

impl<C: Conn> Ticket<C> {
    pub(super) fn new(slot: PendingSlot) -> Rc<Self> {
        Rc::new(Self {
            outcome: RefCell::new(None),
            waker: RefCell::new(None),
            slot: RefCell::new(Some(slot)),
            done: Cell::new(false),
        })
    }

    pub(super) fn resolve(&self, outcome: Result<Claim<C>, LeaseError>) {
        self.done.set(true);
        drop(self.slot.take());
        *self.outcome.borrow_mut() = Some(outcome);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A lease that comes now or later.
#[derive(Debug)]
#[must_use = "nothing is leased until it is polled to its end"]
pub struct Claiming<C: Conn>(State<C>);

#[derive(Debug)]
enum State<C: Conn> {
    Ready(Option<Result<Claim<C>, LeaseError>>),
    Waiting(Rc<Pool<C>>, Rc<Ticket<C>>),
}

impl<C: Conn> Claiming<C> {
    pub(super) const fn ready(outcome: Result<Claim<C>, LeaseError>) -> Self {
        Self(State::Ready(Some(outcome)))
    }

    pub(super) const fn waiting(pool: Rc<Pool<C>>, ticket: Rc<Ticket<C>>) -> Self {
        Self(State::Waiting(pool, ticket))
    }

    /// Whether the request waits for a connection.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(&self.0, State::Waiting(_, ticket) if !ticket.done.get())
    }
}

impl<C: Conn> Unpin for Claiming<C> {}

impl<C: Conn> Future for Claiming<C> {
    type Output = Result<Claim<C>, LeaseError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(outcome) => Poll::Ready(outcome.take().expect("not polled after its end")),
            State::Waiting(_, ticket) => {
                if let Some(outcome) = ticket.outcome.take() {
                    self.0 = State::Ready(None);
                    return Poll::Ready(outcome);
                }
                *ticket.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<C: Conn> Drop for Claiming<C> {
    fn drop(&mut self) {
        match &mut self.0 {
            State::Ready(outcome) => give_up(outcome.take()),
            State::Waiting(_, ticket) if ticket.done.get() => give_up(ticket.outcome.take()),
            State::Waiting(pool, ticket) => {
                drop(ticket.slot.take());
                pool.cancel(ticket);
            }
        }
    }
}

/// A lease that came when nobody wanted it any more goes back clean.
fn give_up<C: Conn>(outcome: Option<Result<Claim<C>, LeaseError>>) {
    if let Some(Ok(lease)) = outcome {
        lease.unused();
    }
}
