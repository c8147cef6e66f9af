//! A worker: one thread, one current-thread runtime, its own sockets, pools and connections.
//!
//! It takes [`Command`]s from the control runtime and otherwise does nothing but accept and serve.
//! Sockets that cannot be had a worker each (Unix sockets, `enable_reuse_port: false`) are accepted
//! on the control runtime and arrive in the same inbox.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::base::names::ListenerName;
use crate::base::task::{self, Task};
use crate::codec::io::BufferPool;
use crate::config::listener::{BindAddress, ListenAddress};
use crate::http::chore;
use crate::http::conn::Peer;
use crate::http::drain::{DrainLevel, DrainPlan, LocalDrain};
use crate::http::worker::Worker;
use crate::listener::accept;
use crate::listener::connection::begin;
use crate::listener::terminal::Terminal;
use crate::snapshot::ListenerSpec;

/// Spare read buffers that a worker keeps.
pub const SPARE_BUFFERS: usize = 256;

/// Kept by a worker for as long as it has sockets open that it is to close. Nothing is ever sent:
/// the receiver hears that the last one was dropped, also where the worker is gone.
pub(super) type StillOpen = mpsc::Sender<std::convert::Infallible>;

/// Hears of listeners whose filters are ready to serve.
pub type Begun = mpsc::Sender<Weak<ListenerSpec>>;

/// What the control runtime tells a worker.
pub enum Command {
    /// A connection that was accepted elsewhere.
    Accepted {
        /// The listener that it came to.
        listener: ListenerName,
        /// Which of its addresses.
        address: usize,
        /// The connection.
        socket: Socket,
    },
    /// Listen, or go on with this in place of the listener of the same name; its connections are
    /// drained at the given pace.
    Listen {
        /// What to serve.
        spec: Arc<ListenerSpec>,
        /// This worker's sockets with their places in the list of addresses.
        sockets: Vec<(usize, Socket)>,
        /// How the connections of the listener that it replaces are closed.
        drain: DrainPlan,
        /// Until the sockets of the listener that it replaces are closed.
        open: StillOpen,
    },
    /// Stop accepting for that listener, drain its connections.
    Remove {
        /// Which one.
        listener: ListenerName,
        /// How.
        drain: DrainPlan,
        /// Until its sockets are closed.
        open: StillOpen,
    },
    /// Drain connections; accepting goes on or stops.
    Drain {
        /// Which listeners; empty: all.
        listeners: Vec<ListenerName>,
        /// How.
        level: DrainLevel,
        /// Pace of a gradual drain.
        over: Duration,
        /// Whether new connections are still accepted.
        accept: Acceptance,
        /// If they are not: until the sockets are closed.
        open: StillOpen,
    },
    /// Do what the filters of a listener do beside requests, from now on; tell when it may serve.
    Begin {
        /// The listener, which may be gone before that.
        spec: Weak<ListenerSpec>,
        /// Who is told.
        begun: Begun,
    },
    /// Tell how many connections there are.
    Count(oneshot::Sender<usize>),
    /// End the thread; what is still open is cut off.
    Stop,
}

/// Whether new connections are accepted during a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// They are.
    Continue,
    /// The sockets close.
    Stop,
}

/// What makes a worker; run on its own thread.
pub type WorkerSetup = Box<dyn FnOnce() -> Rc<Worker> + Send>;

/// The control runtime's end of a worker.
pub struct WorkerHandle {
    commands: mpsc::Sender<Command>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl WorkerHandle {
    /// Sends a command; a worker that is gone takes none.
    pub async fn send(&self, command: Command) {
        let _gone = self.commands.send(command).await;
    }

    /// Sends a command if the inbox has room.
    ///
    /// # Errors
    /// The inbox is full or the worker is gone; the command comes back.
    pub fn try_send(&self, command: Command) -> Result<(), Command> {
        self.commands.try_send(command).map_err(|error| error.into_inner())
    }

    /// Ends the thread and waits for it.
    pub async fn stop(mut self) {
        self.send(Command::Stop).await;
        if let Some(thread) = self.thread.take() {
            let _joined = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// Connections of all workers, for `overload_manager`'s limit on the process.
#[derive(Debug, Default)]
pub struct GlobalConnections {
    open: AtomicU64,
    /// Those that the limit is for.
    limited: AtomicU64,
    limit: Option<u64>,
}

impl GlobalConnections {
    /// A counter with a limit, if there is one.
    #[must_use]
    pub const fn new(limit: Option<u64>) -> Self {
        Self { open: AtomicU64::new(0), limited: AtomicU64::new(0), limit }
    }

    /// A place for one more; `exempt` from the limit (`ignore_global_conn_limit`) or not.
    pub(super) fn enter(self: &Arc<Self>, exempt: bool) -> Option<GlobalPermit> {
        self.open.fetch_add(1, Ordering::Relaxed);
        let limited = self.limited.fetch_add(u64::from(!exempt), Ordering::Relaxed) + 1;
        let permit = GlobalPermit { global: Arc::clone(self), exempt };
        if !exempt && self.limit.is_some_and(|limit| limited > limit) { None } else { Some(permit) }
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }
}

/// A connection's place in the limit; given back when it is dropped.
pub(super) struct GlobalPermit {
    global: Arc<GlobalConnections>,
    exempt: bool,
}

impl Drop for GlobalPermit {
    fn drop(&mut self) {
        self.global.open.fetch_sub(1, Ordering::Relaxed);
        self.global.limited.fetch_sub(u64::from(!self.exempt), Ordering::Relaxed);
    }
}

/// Starts a worker's thread.
///
/// # Errors
/// The system has no thread or no event loop to give.
pub fn spawn_worker(
    name: String,
    global: Arc<GlobalConnections>,
    setup: WorkerSetup,
) -> std::io::Result<WorkerHandle> {
    let (commands, inbox) = mpsc::channel(1024);
    let runtime = tokio::runtime::Builder::new_current_thread();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let mut runtime = runtime;
        match runtime.enable_all().build_local(Default::default()) {
            Ok(runtime) => runtime.block_on(run(setup(), global, inbox)),
            Err(error) => tracing::error!(%error, "a worker cannot start"),
        }
    })?;
    Ok(WorkerHandle { commands, thread: Some(thread) })
}

/// Nothing here keeps a listener that is replaced meanwhile.
fn begin_chores(worker: &Rc<Worker>, spec: Weak<ListenerSpec>, begun: Begun) {
    let Some(listener) = spec.upgrade() else { return };
    let managers = listener.chains().filter_map(|chain| chain.handler.manager());
    let first: Vec<_> = managers.map(|manager| chore::start(manager, worker)).collect();
    let telling = async move {
        for first in first {
            first.await;
        }
        let _control_is_gone = begun.send(spec).await;
    };
    task::spawn_local("first chores", telling).detach();
}

/// A listener on this worker.
pub(super) struct Local {
    pub(super) spec: Arc<ListenerSpec>,
    /// One a chain, in the spec's order, the default chain last.
    pub(super) terminals: Vec<Terminal>,
    pub(super) drain: LocalDrain,
}

struct State {
    worker: Rc<Worker>,
    global: Arc<GlobalConnections>,
    buffers: Rc<BufferPool>,
    listeners: HashMap<ListenerName, Listening>,
    /// Replaced or removed ones with connections left.
    draining: Vec<Rc<Local>>,
}

struct Listening {
    local: Rc<Local>,
    /// Dropping them closes this worker's sockets.
    accepting: Vec<Task>,
}

async fn run(
    worker: Rc<Worker>,
    global: Arc<GlobalConnections>,
    mut inbox: mpsc::Receiver<Command>,
) {
    let sweeping = task::spawn_local("sweep", worker.pools.sweeping());
    let mut state = State {
        buffers: Rc::clone(&worker.buffers),
        worker,
        global,
        listeners: HashMap::new(),
        draining: Vec::new(),
    };
    while let Some(command) = inbox.recv().await {
        if !state.take(command) {
            break;
        }
    }
    drop(sweeping);
}

impl State {
    /// Carries a command out; false ends the worker.
    fn take(&mut self, command: Command) -> bool {
        self.draining.retain(|local| local.drain.active() > 0);
        match command {
            Command::Accepted { listener, address, socket } => {
                if let Some(listening) = self.listeners.get(&listener) {
                    self.accepted(&listening.local, address, socket);
                }
            }
            Command::Listen { spec, sockets, drain, open } => {
                if let Some(old) = self.listen(&spec, sockets) {
                    self.retire(old, drain, open);
                }
            }
            Command::Remove { listener, drain, open } => {
                if let Some(old) = self.listeners.remove(&listener) {
                    self.retire(old, drain, open);
                }
            }
            Command::Drain { listeners, level, over, accept, open } => {
                self.drain(&listeners, level, over);
                if accept == Acceptance::Stop {
                    self.stop_accepting(&listeners, open);
                }
            }
            Command::Begin { spec, begun } => begin_chores(&self.worker, spec, begun),
            Command::Count(answer) => {
                let now = self.listeners.values().map(|l| l.local.drain.active()).sum::<usize>();
                let old = self.draining.iter().map(|l| l.drain.active()).sum::<usize>();
                let _gone = answer.send(now + old);
            }
            Command::Stop => return false,
        }
        true
    }

    /// Serves a listener; the one that it replaces comes back.
    fn listen(
        &mut self,
        spec: &Arc<ListenerSpec>,
        sockets: Vec<(usize, Socket)>,
    ) -> Option<Listening> {
        let terminals = spec.chains().map(|chain| Terminal::new(&chain.handler, &self.buffers));
        let local = Rc::new(Local {
            terminals: terminals.collect(),
            spec: Arc::clone(spec),
            drain: LocalDrain::default(),
        });
        let accepting = sockets
            .into_iter()
            .filter_map(|(address, socket)| self.accept(&local, address, socket))
            .collect();
        self.listeners.insert(spec.name.clone(), Listening { local, accepting })
    }

    fn retire(&mut self, old: Listening, drain: DrainPlan, open: StillOpen) {
        close(old.accepting, open);
        if old.local.drain.active() == 0 {
            return;
        }
        old.local.drain.announce(drain.over);
        let drain_flag = old.local.drain.clone();
        // Whoever is still there at the end of the drain time is closed.
        task::spawn_local("drain", async move {
            tokio::time::sleep(drain.until).await;
            drain_flag.expire();
        })
        .detach();
        self.draining.push(old.local);
    }

    fn stop_accepting(&mut self, names: &[ListenerName], open: StillOpen) {
        let named = self.listeners.iter_mut().filter(|(name, _)| is_meant(names, name));
        close(named.flat_map(|(_, listening)| listening.accepting.drain(..)).collect(), open);
    }

    fn drain(&self, names: &[ListenerName], level: DrainLevel, over: Duration) {
        for (_, listening) in self.listeners.iter().filter(|(name, _)| is_meant(names, name)) {
            match level {
                DrainLevel::Announce => listening.local.drain.announce(over),
                level => listening.local.drain.raise(level),
            }
        }
        if names.is_empty() {
            for local in &self.draining {
                local.drain.raise(level);
            }
        }
    }

    /// Starts accepting on one socket.
    fn accept(&self, local: &Rc<Local>, address: usize, socket: Socket) -> Option<Task> {
        let listener = match TcpListener::from_std(socket.into()) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(listener = %local.spec.name, %error, "cannot accept");
                return None;
            }
        };
        let (worker, global) = (Rc::clone(&self.worker), Arc::clone(&self.global));
        let local = Rc::clone(local);
        Some(task::spawn_local("accept", async move {
            loop {
                let (stream, remote) = accept::next(&local.spec.name, || listener.accept()).await;
                begin_tcp(&worker, &global, &local, address, stream, remote);
            }
        }))
    }

    /// A connection that was accepted elsewhere.
    fn accepted(&self, local: &Rc<Local>, address: usize, socket: Socket) {
        let spec = &local.spec;
        let Some(place) = spec.config.addresses.get(address) else { return };
        let _nonblocking = socket.set_nonblocking(true);
        match &place.bind {
            BindAddress::Pipe(pipe) => {
                let Ok(stream) = UnixStream::from_std(socket.into()) else { return };
                let path: Arc<str> = Arc::clone(&pipe.path);
                let (remote, local_end) = (Peer::Unix("".into()), Peer::Unix(path));
                begin(&self.worker, &self.global, local, stream, (remote, local_end));
            }
            BindAddress::Tcp { .. } => {
                let Ok(stream) = TcpStream::from_std(socket.into()) else { return };
                let Ok(remote) = stream.peer_addr() else { return };
                begin_tcp(&self.worker, &self.global, local, address, stream, remote);
            }
        }
    }
}

/// Whether a drain of `names` is about a listener; no name is every name.
fn is_meant(names: &[ListenerName], name: &ListenerName) -> bool {
    names.is_empty() || names.contains(name)
}

/// Stops accepting and lets go of `open` once the sockets are closed. A task that is aborted drops
/// its socket when the runtime comes to it, not at once.
fn close(accepting: Vec<Task>, open: StillOpen) {
    if accepting.is_empty() {
        return;
    }
    let closing = accept::end(accepting);
    task::spawn_local("close", async move {
        closing.await;
        drop(open);
    })
    .detach();
}

fn begin_tcp(
    worker: &Rc<Worker>,
    global: &Arc<GlobalConnections>,
    local: &Rc<Local>,
    address: usize,
    stream: TcpStream,
    remote: SocketAddr,
) {
    let _nodelay = stream.set_nodelay(true);
    let Ok(local_address) = stream.local_addr() else { return };
    if let Some(place) = local.spec.config.addresses.get(address) {
        keep_alive(&stream, place);
    }
    // An IPv4 client of a dual-stack socket is shown as what it is.
    let unmap = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
    let ends = (Peer::Ip(unmap(remote)), Peer::Ip(unmap(local_address)));
    begin(worker, global, local, stream, ends);
}

fn keep_alive(stream: &TcpStream, place: &ListenAddress) {
    let Some(wanted) = place.tcp_keepalive else { return };
    let seconds = |s: u32| Duration::from_secs(u64::from(s));
    let mut options = TcpKeepalive::new();
    if let Some(time) = wanted.time_s {
        options = options.with_time(seconds(time));
    }
    if let Some(interval) = wanted.interval_s {
        options = options.with_interval(seconds(interval));
    }
    if let Some(probes) = wanted.probes {
        options = options.with_retries(probes);
    }
    let _set = SockRef::from(stream).set_tcp_keepalive(&options);
}
