//! The listeners of a data plane, as the control runtime sees them.
//!
//! A listener that changes keeps its sockets: the workers take the new one in place of the old and
//! drain the old one's connections. An address that cannot be bound refuses that listener and
//! leaves everything else as it is.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot};

use super::accept;
use super::socket::{BindError, BindSpec, Held, SocketTable};
use super::worker::{Acceptance, Begun, Command, WorkerHandle};
use crate::base::names::ListenerName;
use crate::base::task::{self, Task};
use crate::config::listener::{BindAddress, TrafficDirection};
use crate::http::drain::{DrainLevel, DrainPlan};
use crate::snapshot::ListenerSpec;

/// Connections accepted on the control runtime that wait for a worker.
const HANDOVER: usize = 1024;

/// All listeners and the workers that serve them.
pub struct Listeners {
    workers: Vec<WorkerHandle>,
    sockets: SocketTable,
    active: BTreeMap<ListenerName, Active>,
    /// Accepted sockets on their way to a worker.
    handover: mpsc::Sender<Arrival>,
    accepted: mpsc::Receiver<Arrival>,
    next_worker: usize,
}

/// A connection that was accepted on this runtime.
struct Arrival {
    /// The listener that it came to, as it was then.
    spec: Arc<ListenerSpec>,
    /// Which of its addresses.
    at: usize,
    socket: Socket,
}

struct Active {
    spec: Arc<ListenerSpec>,
    bound: Vec<(BindSpec, Option<SocketAddr>)>,
    /// Acceptors on this runtime, for sockets that all workers share.
    acceptors: Vec<Task>,
}

/// A listener as `/listeners` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerState {
    /// Its name.
    pub name: ListenerName,
    /// What it is bound to: the address got, or the socket's path.
    pub addresses: Vec<BoundAddress>,
}

/// An address that is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundAddress {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix socket.
    Pipe(Arc<str>),
}

impl Listeners {
    /// No listener yet; `workers` serve those that come.
    #[must_use]
    pub fn new(workers: Vec<WorkerHandle>) -> Self {
        let (handover, accepted) = mpsc::channel(HANDOVER);
        Self {
            workers,
            sockets: SocketTable::default(),
            active: BTreeMap::new(),
            handover,
            accepted,
            next_worker: 0,
        }
    }

    /// The addresses that are bound here.
    #[must_use]
    pub const fn held(&self) -> &Held {
        self.sockets.held()
    }

    /// Says which listeners are about to be removed, so that others may take over their addresses
    /// before, without a gap; until it is said anew.
    pub fn expect_to_leave(&mut self, listeners: impl IntoIterator<Item = ListenerName>) {
        self.sockets.expect_to_leave(listeners);
    }

    /// Has what the filters of a listener do beside requests done from now on, on one of the
    /// workers, the same for all, so that it is done once. `begun` hears when it may serve.
    pub async fn begin(&self, spec: &Arc<ListenerSpec>, begun: Begun) {
        if let Some(worker) = self.workers.first() {
            worker.send(Command::Begin { spec: Arc::downgrade(spec), begun }).await;
        }
    }

    /// Adds a listener, or replaces the one of the same name, whose connections are closed over
    /// `drain`.
    ///
    /// # Errors
    /// One of its addresses cannot be bound; the old listener, if any, goes on.
    pub async fn upsert(
        &mut self,
        spec: Arc<ListenerSpec>,
        drain: DrainPlan,
    ) -> Result<(), BindError> {
        let (bound, mut per_worker, shared) = self.bind(&spec)?;
        let (open, closed) = mpsc::channel(1);
        for (worker, sockets) in self.workers.iter().zip(per_worker.drain(..)) {
            let spec = Arc::clone(&spec);
            let open = open.clone();
            worker.send(Command::Listen { spec, sockets, drain, open }).await;
        }
        drop(open);
        let acceptors = shared
            .into_iter()
            .filter_map(|(at, socket)| self.acceptor(&spec, at, socket))
            .collect();
        let name = spec.name.clone();
        let active = Active { spec, bound, acceptors };
        if let Some(old) = self.active.insert(name.clone(), active) {
            self.give_up(&name, old.bound, old.acceptors, closed).await;
        }
        Ok(())
    }

    /// Stops accepting for a listener and closes its connections over `drain`.
    pub async fn remove(&mut self, name: &ListenerName, drain: DrainPlan) {
        let Some(old) = self.active.remove(name) else { return };
        let (open, closed) = mpsc::channel(1);
        for worker in &self.workers {
            let (listener, open) = (name.clone(), open.clone());
            worker.send(Command::Remove { listener, drain, open }).await;
        }
        drop(open);
        self.give_up(name, old.bound, old.acceptors, closed).await;
    }

    /// Gives addresses back that a listener had. They are held until nobody accepts there any more:
    /// whoever judges an address would else take our own last copies of a socket for another
    /// program's.
    async fn give_up(
        &mut self,
        name: &ListenerName,
        bound: Vec<(BindSpec, Option<SocketAddr>)>,
        acceptors: Vec<Task>,
        mut closed: mpsc::Receiver<Infallible>,
    ) {
        accept::end(acceptors).await;
        let None = closed.recv().await;
        for (bind, _) in &bound {
            self.sockets.release(name, &bind.address);
        }
    }

    /// Drains listeners: all, or only those for inbound traffic.
    pub async fn drain(
        &mut self,
        which: Which,
        level: DrainLevel,
        over: Duration,
        accept: Acceptance,
    ) {
        let names: Vec<ListenerName> = match which {
            Which::All => Vec::new(),
            Which::Inbound => self
                .active
                .values()
                .filter(|a| a.spec.config.traffic_direction == TrafficDirection::Inbound)
                .map(|a| a.spec.name.clone())
                .collect(),
        };
        if which == Which::Inbound && names.is_empty() {
            return;
        }
        let (open, closed) = mpsc::channel(1);
        for worker in &self.workers {
            let (listeners, open) = (names.clone(), open.clone());
            worker.send(Command::Drain { listeners, level, over, accept, open }).await;
        }
        drop(open);
        if accept == Acceptance::Stop {
            self.stop_accepting(&names, closed).await;
        }
    }

    /// Gives up what the listeners of these names, or all, are bound to.
    async fn stop_accepting(
        &mut self,
        names: &[ListenerName],
        mut closed: mpsc::Receiver<Infallible>,
    ) {
        let None = closed.recv().await;
        let drained = |name: &ListenerName| names.is_empty() || names.contains(name);
        for (name, active) in self.active.iter_mut().filter(|(name, _)| drained(name)) {
            accept::end(std::mem::take(&mut active.acceptors)).await;
            for (bind, _) in active.bound.drain(..) {
                self.sockets.release(name, &bind.address);
            }
        }
    }

    /// Connections of all workers.
    pub async fn connections(&self) -> usize {
        let mut total = 0;
        for worker in &self.workers {
            let (answer, wait) = oneshot::channel();
            worker.send(Command::Count(answer)).await;
            total += wait.await.unwrap_or(0);
        }
        total
    }

    /// Hands the next connection that was accepted here to a worker. Safe to cancel.
    pub async fn hand_over(&mut self) {
        let Some(Arrival { spec, at, socket }) = self.accepted.recv().await else { return };
        let Some((listener, address)) = self.owner(&spec, at) else { return };
        let mut command = Command::Accepted { listener, address, socket };
        // A worker whose inbox is full is far behind. If all of them are, the connection is dropped
        // as a full accept queue would drop it.
        for _ in 0..self.workers.len() {
            let worker = self.next_worker;
            self.next_worker = (worker + 1) % self.workers.len();
            match self.workers[worker].try_send(command) {
                Ok(()) => return,
                Err(back) => command = back,
            }
        }
    }

    /// Who serves what came to an address of `spec`: the listener of that name, or the one that
    /// took over the address from it while the connection waited here.
    fn owner(&self, spec: &ListenerSpec, at: usize) -> Option<(ListenerName, usize)> {
        let wanted = &spec.config.addresses.get(at)?.bind;
        let place = |active: &Active| {
            let addresses = &active.spec.config.addresses;
            Some((active.spec.name.clone(), addresses.iter().position(|a| a.bind == *wanted)?))
        };
        let same = self.active.get(&spec.name).and_then(place);
        let bound = |a: &&Active| a.bound.iter().any(|(bind, _)| bind.address == *wanted);
        same.or_else(|| self.active.values().filter(bound).find_map(place))
    }

    /// Connections that wait to be handed over.
    #[cfg(test)]
    pub(super) fn arrived(&self) -> usize {
        self.accepted.len()
    }

    /// Ends all workers.
    pub async fn stop(self) {
        for worker in self.workers {
            worker.stop().await;
        }
    }

    /// What is bound, in the order of names.
    pub fn states(&self) -> impl Iterator<Item = ListenerState> {
        self.active.values().map(|active| ListenerState {
            name: active.spec.name.clone(),
            addresses: active.bound.iter().filter_map(shown).collect(),
        })
    }

    #[expect(clippy::type_complexity, reason = "three parts of one step, taken apart at once")]
    fn bind(
        &mut self,
        spec: &ListenerSpec,
    ) -> Result<
        (Vec<(BindSpec, Option<SocketAddr>)>, Vec<Vec<(usize, Socket)>>, Vec<(usize, Socket)>),
        BindError,
    > {
        let workers = self.workers.len();
        let mut bound: Vec<(BindSpec, Option<SocketAddr>)> = Vec::new();
        let mut per_worker: Vec<Vec<(usize, Socket)>> = Vec::new();
        per_worker.resize_with(workers, Vec::new);
        let mut shared = Vec::new();
        if !spec.config.bind_to_port {
            return Ok((bound, per_worker, shared));
        }
        for (at, place) in spec.config.addresses.iter().enumerate() {
            let tcp = matches!(place.bind, BindAddress::Tcp { .. });
            let own_socket = tcp && spec.config.reuse_port;
            let bind = BindSpec {
                address: place.bind.clone(),
                sockets: if own_socket { workers } else { 1 },
                backlog: spec.config.tcp_backlog_size,
            };
            match self.sockets.acquire(&spec.name, &bind) {
                // One socket that was taken over from a listener without reuse_port is for all.
                Ok(got) if own_socket && got.sockets.len() == workers => {
                    for (own, socket) in per_worker.iter_mut().zip(got.sockets) {
                        own.push((at, socket));
                    }
                    bound.push((bind, got.address));
                }
                Ok(got) => {
                    shared.extend(got.sockets.into_iter().map(|socket| (at, socket)));
                    bound.push((bind, got.address));
                }
                Err(error) => {
                    for (bind, _) in &bound {
                        self.sockets.release(&spec.name, &bind.address);
                    }
                    return Err(error);
                }
            }
        }
        Ok((bound, per_worker, shared))
    }

    /// Accepts on this runtime for a socket that the workers share.
    fn acceptor(&self, spec: &Arc<ListenerSpec>, at: usize, socket: Socket) -> Option<Task> {
        let spec = Arc::clone(spec);
        let handover = self.handover.clone();
        let pipe = matches!(spec.config.addresses.get(at)?.bind, BindAddress::Pipe(_));
        let failed = |error| tracing::error!(listener = %spec.name, %error, "cannot accept");
        // The place in the queue comes first: this task may be aborted wherever it waits, and must
        // hold no connection there.
        let task = if pipe {
            let listener = UnixListener::from_std(socket.into()).map_err(failed).ok()?;
            task::spawn("accept", async move {
                while let Ok(place) = handover.reserve().await {
                    let (stream, _) = accept::next(&spec.name, || listener.accept()).await;
                    let Ok(stream) = stream.into_std() else { continue };
                    place.send(Arrival { spec: Arc::clone(&spec), at, socket: stream.into() });
                }
            })
        } else {
            let listener = TcpListener::from_std(socket.into()).map_err(failed).ok()?;
            task::spawn("accept", async move {
                while let Ok(place) = handover.reserve().await {
                    let (stream, _) = accept::next(&spec.name, || listener.accept()).await;
                    let Ok(stream) = stream.into_std() else { continue };
                    place.send(Arrival { spec: Arc::clone(&spec), at, socket: stream.into() });
                }
            })
        };
        Some(task)
    }
}

fn shown((bind, address): &(BindSpec, Option<SocketAddr>)) -> Option<BoundAddress> {
    match &bind.address {
        BindAddress::Pipe(pipe) => Some(BoundAddress::Pipe(Arc::clone(&pipe.path))),
        BindAddress::Tcp { .. } => address.map(BoundAddress::Ip),
    }
}

/// Which listeners a drain is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// Those whose `traffic_direction` is INBOUND.
    Inbound,
}
