//! The connections of one worker to one host, at one priority and protocol.
//!
//! The rules are Envoy's. A request takes the connection that was used last; without a free one it
//! waits, oldest first, and a connection is opened when fewer are in the making than requests wait.
//! At `max_connections` only a pool that has none opens one. A failed attempt fails those who wait
//! for it. A connection that is given back serves the next one who waits, else it idles.
//!
//! One pool serves both protocols: an HTTP/1 connection carries one request at a time, an HTTP/2
//! one many ([`Conn::concurrency`]). No borrow is held while foreign code runs (connections'
//! drops, wakers), since that may come back here.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::account::{Ended, Opened, Owner, PendingSlot, PoolIs, RequestSlot};
use super::lease::{Claim, Claiming, Exchange, LeaseError, Ticket};
use crate::base::clock::{self, Instant};
use crate::base::task;
use crate::cluster::connect::{ConnectError, ConnectErrorKind};
use crate::telemetry::stats::ClusterStat;

/// What a pool needs from a connection.
pub trait Conn: 'static {
    /// What a request gets: the connection itself, or a way to open streams.
    type Handle;
    /// Counter of connections of this protocol.
    const TOTAL: ClusterStat;

    /// Hands out a handle; called at most [`Conn::concurrency`] times before the first comes back.
    fn open(&self) -> Option<Self::Handle>;
    /// Takes a handle back; says whether it can serve another request.
    fn restore(&self, handle: Self::Handle) -> Restored;
    /// Requests that it carries at once, now.
    fn concurrency(&self) -> u32;
    /// Whether it goes on when a request on it is broken off.
    fn is_shared(&self) -> bool;
    /// Whether the peer left it open.
    fn state(&self) -> ConnState;
}

/// What the peer did with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnState {
    /// It may carry another request.
    Open,
    /// The peer said that it takes no more (GOAWAY); what is under way goes on.
    Leaving,
    /// The peer closed it.
    Closed,
}

/// What a handle that comes back is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// The connection is at rest and may serve the next request.
    Usable,
    /// The peer said that this was the last request on it.
    Spent,
    /// The peer closed it.
    Closed,
    /// Something is still under way on it.
    Unfit,
}

/// How a pool opens a connection.
pub(super) type Opening<C> = Pin<Box<dyn Future<Output = Result<C, ConnectError>>>>;

/// Between two sweeps, unless a timer is due before.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What the connections of a pool carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payload {
    /// The protocol of the cluster.
    #[default]
    Http,
    /// Bytes alone: the payload of a CONNECT that ends here.
    Raw,
}

/// Rules of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// `idle_timeout`; `None` keeps idle connections for ever.
    pub(super) idle_timeout: Option<Duration>,
    /// `max_connection_duration`.
    pub(super) max_age: Option<Duration>,
    /// `max_requests_per_connection`.
    pub(super) max_requests: Option<u32>,
    /// Requests that a connection in the making is expected to carry at once.
    pub(super) expected_streams: u32,
    /// What its connections carry.
    pub(super) payload: Payload,
}

/// A connection in a pool.
pub(super) struct Entry<C> {
    conn: C,
    opened: Opened,
    active: Cell<u32>,
    served: Cell<u32>,
    draining: Cell<bool>,
    listed: Cell<bool>,
    idle_since: Cell<Instant>,
    /// The pool's, when it was made.
    epoch: u32,
}

impl<C> Entry<C> {
    /// Requests that it was given, the present one included.
    pub(super) fn served(&self) -> u32 {
        self.served.get()
    }
}

struct Inner<C: Conn> {
    /// Connections with room for another request; the last is used first.
    ready: Vec<Rc<Entry<C>>>,
    pending: VecDeque<Rc<Ticket<C>>>,
    /// Connections made, idle and busy.
    open: u32,
    /// Attempts under way.
    connecting: u32,
}

/// The pool.
pub(super) struct Pool<C: Conn> {
    pub(super) owner: Rc<Owner>,
    rules: Rules,
    opener: Box<dyn Fn() -> Opening<C>>,
    /// Told when a connection's timers may be due before the next sweep.
    sweeper: Rc<Notify>,
    /// Connections of an earlier one take no more requests.
    epoch: Cell<u32>,
    inner: RefCell<Inner<C>>,
}

impl<C: Conn> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.borrow();
        f.debug_struct("Pool")
            .field("host", &self.owner.host.address())
            .field("open", &inner.open)
            .field("connecting", &inner.connecting)
            .field("pending", &inner.pending.len())
            .finish_non_exhaustive()
    }
}

impl<C: Conn> Drop for Pool<C> {
    fn drop(&mut self) {
        self.owner.cluster.limits().pool_gone(self.owner.priority);
    }
}

impl<C: Conn> Pool<C> {
    pub(super) fn new(
        owner: Rc<Owner>,
        rules: Rules,
        opener: Box<dyn Fn() -> Opening<C>>,
        sweeper: Rc<Notify>,
    ) -> Rc<Self> {
        owner.cluster.limits().pool_made(owner.priority);
        let inner = Inner { ready: Vec::new(), pending: VecDeque::new(), open: 0, connecting: 0 };
        let (epoch, inner) = (Cell::new(0), RefCell::new(inner));
        Rc::new(Self { owner, rules, opener, sweeper, epoch, inner })
    }

    /// A connection for a request.
    pub(super) fn lease(self: &Rc<Self>) -> Claiming<C> {
        if let Some(entry) = self.usable() {
            return Claiming::ready(self.attach(&entry));
        }
        match PendingSlot::take(&self.owner) {
            Err(overflow) => Claiming::ready(Err(overflow.into())),
            Ok(slot) => {
                let ticket = Ticket::new(slot);
                self.inner.borrow_mut().pending.push_back(Rc::clone(&ticket));
                self.open_if_needed();
                Claiming::waiting(Rc::clone(self), ticket)
            }
        }
    }

    /// Whether it holds nothing: no connection, no attempt, nobody who waits.
    pub(super) fn is_empty(&self) -> bool {
        let inner = self.inner.borrow();
        inner.open == 0 && inner.connecting == 0 && inner.pending.is_empty()
    }

    /// The connection to use next; those that the peer closed meanwhile are let go.
    fn usable(self: &Rc<Self>) -> Option<Rc<Entry<C>>> {
        loop {
            let entry = Rc::clone(self.inner.borrow().ready.last()?);
            let Some(ended) = self.left_by_peer(&entry) else { return Some(entry) };
            self.unlist(&entry);
            self.retire_if_unused(&entry, ended, Exchange::Complete);
        }
    }

    /// Who ends the connection, if the peer wants it no longer.
    fn left_by_peer(&self, entry: &Entry<C>) -> Option<Ended> {
        match entry.conn.state() {
            ConnState::Open => None,
            ConnState::Closed => {
                entry.draining.set(true);
                Some(Ended::Remote)
            }
            ConnState::Leaving => {
                if !entry.draining.replace(true) {
                    self.owner.inc(ClusterStat::UpstreamCxCloseNotify);
                }
                Some(Ended::Local)
            }
        }
    }

    /// Gives a connection with room to a request.
    fn attach(self: &Rc<Self>, entry: &Rc<Entry<C>>) -> Result<Claim<C>, LeaseError> {
        let slot = RequestSlot::take(&self.owner)?;
        let Some(handle) = entry.conn.open() else {
            // A connection that broke between the check and now: to the caller a failed attempt.
            self.unlist(entry);
            self.retire_if_unused(entry, Ended::Remote, Exchange::Complete);
            let kind = ConnectErrorKind::Remote;
            return Err(ConnectError { kind, transport: "".into() }.into());
        };
        entry.active.set(entry.active.get() + 1);
        entry.served.set(entry.served.get() + 1);
        entry.opened.request();
        if self.rules.max_requests.is_some_and(|max| entry.served.get() >= max) {
            self.owner.inc(ClusterStat::UpstreamCxMaxRequests);
            entry.draining.set(true);
        }
        if entry.draining.get() || entry.active.get() >= entry.conn.concurrency() {
            self.unlist(entry);
        }
        Ok(Claim::new(self, Rc::clone(entry), handle, slot))
    }

    /// Takes a request off its connection. Without a handle an exclusive connection is over.
    pub(super) fn release(
        self: &Rc<Self>,
        entry: &Rc<Entry<C>>,
        handle: Option<C::Handle>,
        ended: Ended,
        exchange: Exchange,
    ) {
        entry.active.set(entry.active.get() - 1);
        let mut ended = ended;
        match handle.map(|handle| entry.conn.restore(handle)) {
            Some(Restored::Usable) => {}
            Some(Restored::Spent) => {
                self.owner.inc(ClusterStat::UpstreamCxCloseNotify);
                entry.draining.set(true);
            }
            Some(Restored::Unfit) => entry.draining.set(true),
            Some(Restored::Closed) => {
                ended = Ended::Remote;
                entry.draining.set(true);
            }
            // A shared connection outlives a broken stream; an exclusive one does not.
            None => entry.draining.set(entry.draining.get() || !entry.conn.is_shared()),
        }
        self.settle(entry, ended, exchange);
        self.serve();
    }

    /// Lists a connection that has room again, or closes it if it is not to be used again.
    fn settle(self: &Rc<Self>, entry: &Rc<Entry<C>>, ended: Ended, exchange: Exchange) {
        let ended = self.left_by_peer(entry).unwrap_or(ended);
        if entry.epoch != self.epoch.get() {
            entry.draining.set(true);
        }
        if entry.draining.get() || self.owner.is_gone() {
            self.unlist(entry);
            self.retire_if_unused(entry, ended, exchange);
            return;
        }
        let now = clock::now();
        if self.is_too_old(entry, now) {
            self.unlist(entry);
            self.owner.inc(ClusterStat::UpstreamCxMaxDurationReached);
            entry.draining.set(true);
            self.retire_if_unused(entry, Ended::Local, exchange);
            return;
        }
        entry.idle_since.set(now);
        if !entry.listed.get() && entry.active.get() < entry.conn.concurrency() {
            entry.listed.set(true);
            self.inner.borrow_mut().ready.push(Rc::clone(entry));
        }
    }

    fn is_too_old(&self, entry: &Entry<C>, now: Instant) -> bool {
        self.rules.max_age.is_some_and(|max| now >= entry.opened.born() + max)
    }

    fn unlist(&self, entry: &Rc<Entry<C>>) {
        if entry.listed.replace(false) {
            self.inner.borrow_mut().ready.retain(|other| !Rc::ptr_eq(other, entry));
        }
    }

    /// Counts the end of a connection once no request is on it.
    /// What it made room for is opened for those who wait.
    fn retire_if_unused(self: &Rc<Self>, entry: &Entry<C>, ended: Ended, exchange: Exchange) {
        if entry.active.get() == 0 {
            entry.opened.close(ended, exchange == Exchange::BrokenOff);
            self.inner.borrow_mut().open -= 1;
            self.open_if_needed();
        }
    }

    /// Gives free connections to those who wait, oldest first.
    fn serve(self: &Rc<Self>) {
        while !self.inner.borrow().pending.is_empty() {
            let Some(entry) = self.usable() else { return };
            let ticket = self.inner.borrow_mut().pending.pop_front();
            if let Some(ticket) = ticket {
                ticket.resolve(self.attach(&entry));
            }
        }
    }

    /// Opens a connection when more requests wait than connections in the making can take.
    fn open_if_needed(self: &Rc<Self>) {
        let state = {
            let inner = self.inner.borrow();
            let expected = u64::from(inner.connecting) * u64::from(self.rules.expected_streams);
            if inner.pending.len() as u64 <= expected {
                return;
            }
            if inner.open + inner.connecting == 0 { PoolIs::Empty } else { PoolIs::InUse }
        };
        let protocol = (self.rules.payload == Payload::Http).then_some(C::TOTAL);
        let Some(opened) = Opened::begin(&self.owner, protocol, state) else { return };
        self.inner.borrow_mut().connecting += 1;
        let (pool, opening) = (Rc::clone(self), (self.opener)());
        // The attempt runs on when the request that caused it gives up, as in Envoy; its own
        // timeout bounds it.
        task::spawn_local("upstream connect", async move {
            let outcome = opening.await;
            pool.attempted(opened, outcome);
        })
        .detach();
    }

    fn attempted(self: &Rc<Self>, opened: Opened, outcome: Result<C, ConnectError>) {
        self.inner.borrow_mut().connecting -= 1;
        match outcome {
            Ok(conn) => self.connected(opened, conn),
            Err(error) => self.failed(&opened, &error),
        }
    }

    fn connected(self: &Rc<Self>, opened: Opened, conn: C) {
        opened.connected();
        let entry = Rc::new(Entry {
            conn,
            opened,
            active: Cell::new(0),
            served: Cell::new(0),
            draining: Cell::new(false),
            listed: Cell::new(false),
            idle_since: Cell::new(clock::now()),
            epoch: self.epoch.get(),
        });
        self.inner.borrow_mut().open += 1;
        let timers = [self.rules.idle_timeout, self.rules.max_age];
        if timers.into_iter().flatten().any(|timer| timer < SWEEP_INTERVAL) {
            self.sweeper.notify_one();
        }
        // Even a host that left serves those who wait for it.
        if self.owner.is_gone() && self.inner.borrow().pending.is_empty() {
            self.retire_if_unused(&entry, Ended::Local, Exchange::Complete);
            return;
        }
        entry.listed.set(true);
        let shared = entry.conn.is_shared();
        self.inner.borrow_mut().ready.push(entry);
        self.serve();
        if shared {
            // It may carry fewer requests than expected.
            self.open_if_needed();
        }
    }

    fn failed(self: &Rc<Self>, opened: &Opened, error: &ConnectError) {
        opened.failed(error);
        // Those that attempts still under way can take go on waiting.
        let failed = {
            let mut inner = self.inner.borrow_mut();
            let expected = u64::from(inner.connecting) * u64::from(self.rules.expected_streams);
            if inner.pending.len() as u64 > expected {
                std::mem::take(&mut inner.pending)
            } else {
                VecDeque::new()
            }
        };
        for ticket in failed {
            self.owner.inc(ClusterStat::UpstreamRqPendingFailureEject);
            ticket.resolve(Err(error.clone().into()));
        }
        self.open_if_needed();
    }

    /// Somebody who waited gave up.
    pub(super) fn cancel(&self, ticket: &Rc<Ticket<C>>) {
        self.inner.borrow_mut().pending.retain(|other| !Rc::ptr_eq(other, ticket));
        self.owner.inc(ClusterStat::UpstreamRqCancelled);
    }

    /// Lets no connection that was made so far take another request; idle ones close at once.
    pub(super) fn drain(self: &Rc<Self>) {
        self.epoch.set(self.epoch.get().wrapping_add(1));
        let listed = self.inner.borrow().ready.clone();
        for entry in listed {
            entry.draining.set(true);
            self.unlist(&entry);
            self.retire_if_unused(&entry, Ended::Local, Exchange::Complete);
        }
    }

    /// Closes connections that are idle for too long, too old, closed by the peer or not wanted
    /// any more. Returns when to look again, if there is a time for it.
    pub(super) fn sweep(self: &Rc<Self>, now: Instant) -> Option<Instant> {
        let (listed, open) = {
            let inner = self.inner.borrow();
            (inner.ready.clone(), inner.open)
        };
        let gone = self.owner.is_gone();
        // A busy connection cannot be idle for too long before this.
        let mut next = self.rules.idle_timeout.filter(|_| open > 0).map(|timeout| now + timeout);
        for entry in listed {
            let mut over =
                || (gone || self.is_over(&entry, now, &mut next)).then_some(Ended::Local);
            if let Some(ended) = self.left_by_peer(&entry).or_else(&mut over) {
                entry.draining.set(true);
                self.unlist(&entry);
                self.retire_if_unused(&entry, ended, Exchange::Complete);
            }
        }
        next
    }

    /// Whether a timer of the connection ran out; otherwise `next` becomes the earliest one.
    fn is_over(&self, entry: &Entry<C>, now: Instant, next: &mut Option<Instant>) -> bool {
        let idle = entry.active.get() == 0;
        let until_idle = self.rules.idle_timeout.filter(|_| idle);
        let until_idle = until_idle.map(|timeout| entry.idle_since.get() + timeout);
        if until_idle.is_some_and(|deadline| now >= deadline) {
            self.owner.inc(ClusterStat::UpstreamCxIdleTimeout);
            return true;
        }
        if self.is_too_old(entry, now) {
            self.owner.inc(ClusterStat::UpstreamCxMaxDurationReached);
            return true;
        }
        let until_old = self.rules.max_age.map(|age| entry.opened.born() + age);
        *next = [*next, until_idle, until_old].into_iter().flatten().min();
        false
    }
}
