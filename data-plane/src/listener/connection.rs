//! The beginning of a connection: limits, the ClientHello where chains depend on it, the filter
//! chain, the TLS handshake, then HTTP.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use rustls::{Connection, ServerConnection};

use super::chain::{Facts, select};
use super::log::{self, Ended};
use super::terminal::Terminal;
use super::worker::{GlobalConnections, GlobalPermit, Local};
use crate::base::clock::{self, Instant};
use crate::base::task;
use crate::codec::io::Io;
use crate::codec::io::hello::{HELLO_BYTES_MAX, Hello, Inspect, alert};
use crate::codec::io::tls::{HandshakeError, TlsStream};
use crate::config::listener::TlsInspection;
use crate::http::conn::{ConnInfo, Peer, Transport};
use crate::http::drain::{DrainLevel, Member};
use crate::http::worker::Worker;
use crate::snapshot::ListenerSpec;
use crate::tcp::NetworkRbac;
use crate::telemetry::WorkerId;
use crate::telemetry::stats::{ListenerStat, TlsInspectorStat};
use crate::tls::peer::TlsInfo;
use crate::tls::server::Server;

/// A connection that was accepted: where it came to, and who pays for it.
struct Accepted {
    worker: Rc<Worker>,
    local: Rc<Local>,
    remote: Peer,
    local_end: Peer,
    permit: GlobalPermit,
    at: Instant,
    /// Its chain's place among the listener's, once it is chosen.
    place: Option<usize>,
    /// The name that the client asked for; empty if none is known.
    server_name: Box<str>,
}

/// A connection begins.
pub(super) fn begin<I: Io + 'static>(
    worker: &Rc<Worker>,
    global: &Arc<GlobalConnections>,
    local: &Rc<Local>,
    io: I,
    (remote, local_end): (Peer, Peer),
) {
    let (spec, id) = (&local.spec, worker.id);
    let Some(permit) = global.enter(spec.config.ignore_global_conn_limit) else {
        spec.stats.inc(id, ListenerStat::DownstreamGlobalCxOverflow);
        return;
    };
    let accepted = Accepted {
        worker: Rc::clone(worker),
        local: Rc::clone(local),
        remote,
        local_end,
        permit,
        at: clock::now(),
        place: None,
        server_name: Box::default(),
    };
    if spec.config.tls_inspection == TlsInspection::Off {
        accepted.choose(io, Begins::Unread);
    } else {
        task::spawn_local("client hello", accepted.inspect(io)).detach();
    }
}

/// What is known of a connection's first bytes.
enum Begins {
    /// Nothing was read.
    Unread,
    /// What it begins with was looked at.
    Read(Hello),
}

impl Begins {
    /// The name that the client asks for, in lower case; empty if none is known.
    fn server_name(&self) -> Box<str> {
        let Self::Read(Hello::Tls { accepted, .. }) = self else { return Box::default() };
        let hello = accepted.client_hello();
        hello.server_name().unwrap_or_default().to_ascii_lowercase().into()
    }
}

impl Accepted {
    /// Chooses a chain and serves the connection in a task of its own.
    fn choose<I: Io + 'static>(mut self, io: I, begins: Begins) {
        self.place = chain_of(&self.local.spec, (&self.remote, &self.local_end), &begins);
        let (spec, id) = (&self.local.spec, self.worker.id);
        spec.stats.inc(id, ListenerStat::DownstreamCxTotal);
        let Some(place) = self.place else {
            spec.stats.inc(id, ListenerStat::NoFilterChainMatch);
            self.log(Ended::NO_CHAIN);
            return;
        };
        let terminal = self.local.terminals[place].clone();
        if matches!(terminal, Terminal::Close) {
            spec.stats.inc(id, ListenerStat::DownstreamCxDestroy);
            self.log(Ended::of(&self.info(Transport::Plain)));
            return;
        }
        self.server_name = begins.server_name();
        let chain = spec.chains().nth(place);
        let tls = chain.and_then(|chain| Some((chain.tls.clone()?, chain.handshake_timeout)));
        spec.stats.inc(id, ListenerStat::DownstreamCxActive);
        match tls {
            None => {
                let bytes = match begins {
                    Begins::Unread | Begins::Read(Hello::Closed) => BytesMut::new(),
                    Begins::Read(
                        Hello::Plain(bytes) | Hello::Tls { bytes, .. } | Hello::Broken(_, bytes),
                    ) => bytes,
                };
                task::spawn_local("connection", self.serve_plain(io, bytes, terminal)).detach();
            }
            Some(tls) => {
                task::spawn_local("connection", self.serve_tls(io, begins, tls, terminal)).detach();
            }
        }
    }

    async fn serve_plain<I: Io + 'static>(self, io: I, bytes: BytesMut, terminal: Terminal) {
        let (worker, drain) = (Rc::clone(&self.worker), self.local.drain.join());
        let info = Rc::new(self.info(Transport::Plain));
        if let Some(denied) = self.deny(&info, &drain).await {
            self.over(Ended { termination: Some(&denied), ..Ended::of(&info) });
            return;
        }
        terminal.serve(io, bytes, worker, Rc::clone(&info), drain).await;
        self.over(Ended::of(&info));
    }

    /// The handshake, then HTTP. Nothing of the client's is looked at before it is known who that
    /// is.
    async fn serve_tls<I: Io + 'static>(
        self,
        io: I,
        begins: Begins,
        (server, limit): (Arc<Server>, Duration),
        terminal: Terminal,
    ) {
        let drain = self.local.drain.join();
        let until = self.at + limit;
        let handshake = Box::pin(handshake(io, begins, &server, self.worker.id));
        let (mut info, mut termination) = (self.info(Transport::Tls), None);
        let stats = &self.local.spec.stats;
        match within(until, &drain, handshake).await {
            Within::Done(Some((stream, tls))) => {
                info.tls = terminal.tls_facts(&tls, !self.access().is_empty());
                let (worker, info) = (Rc::clone(&self.worker), Rc::new(info));
                if let Some(denied) = self.deny(&info, &drain).await {
                    self.over(Ended { termination: Some(&denied), ..Ended::of(&info) });
                    return;
                }
                terminal.serve(stream, BytesMut::new(), worker, Rc::clone(&info), drain).await;
                self.over(Ended::of(&info));
                return;
            }
            Within::TooLate => {
                let timeout = ListenerStat::DownstreamCxTransportSocketConnectTimeout;
                stats.inc(self.worker.id, timeout);
                termination = Some("transport socket timeout was reached");
            }
            Within::Done(None) | Within::Drained => {}
        }
        self.over(Ended { termination, ..Ended::of(&info) });
    }

    /// The filters of its chain that let connections through.
    fn access(&self) -> &[NetworkRbac] {
        let chain = self.place.and_then(|place| self.local.spec.chains().nth(place));
        chain.map_or(&[], |chain| &chain.access)
    }

    /// How logs tell that it may not be served, if it may not. A delay passes before.
    async fn deny(&self, info: &ConnInfo, drain: &Member) -> Option<String> {
        let mut judged = self.access().iter().map(|rbac| rbac.admit(info, &self.worker));
        let denied = judged.find_map(Result::err)?;
        if let Some(delay) = denied.delay {
            within(clock::now() + delay, drain, std::future::pending::<()>()).await;
        }
        Some(denied.details)
    }

    /// Looks at the first bytes, as Envoy's `tls_inspector` does, before a chain is chosen.
    async fn inspect<I: Io + 'static>(self, io: I) {
        let (spec, id) = (Arc::clone(&self.local.spec), self.worker.id);
        spec.stats.inc(id, ListenerStat::DownstreamPreCxActive);
        let drain = self.local.drain.join();
        let mut inspect = Inspect::new(io);
        let limit = spec.config.listener_filters_timeout;
        let mut hello = std::pin::pin!(std::future::poll_fn(|cx| inspect.poll(cx)));
        let found = match limit {
            None => Within::Done(hello.await),
            Some(limit) => within(self.at + limit, &drain, hello.as_mut()).await,
        };
        drop(drain);
        spec.stats.dec(id, ListenerStat::DownstreamPreCxActive);
        match found {
            Within::Done((_, Hello::Closed)) => {
                spec.stats.inc(id, ListenerStat::DownstreamListenerFilterRemoteClose);
                self.log(Ended::EARLY);
            }
            Within::Done((io, hello)) => {
                self.count(&hello);
                self.choose(io, Begins::Read(hello));
            }
            Within::Drained => self.log(Ended::EARLY),
            Within::TooLate => {
                spec.stats.inc(id, ListenerStat::DownstreamPreCxTimeout);
                let goes_on = spec.config.continue_on_listener_filters_timeout;
                match inspect.give_up().filter(|_| goes_on) {
                    Some((io, bytes)) => self.choose(io, Begins::Read(Hello::Plain(bytes))),
                    None => self.log(Ended::EARLY),
                }
            }
        }
    }

    /// Counts what was found. What claims to be TLS and is none counts as something else.
    fn count(&self, hello: &Hello) {
        let Some(stats) = &self.local.spec.inspector else { return };
        let inc = |stat| stats.inc(self.worker.id, stat);
        let length = match hello {
            Hello::Closed => return,
            Hello::Plain(bytes) if bytes.len() > HELLO_BYTES_MAX => {
                inc(TlsInspectorStat::ClientHelloTooLarge);
                bytes.len()
            }
            Hello::Plain(bytes) | Hello::Broken(_, bytes) => {
                inc(TlsInspectorStat::TlsNotFound);
                bytes.len()
            }
            Hello::Tls { accepted, bytes, .. } => {
                inc(TlsInspectorStat::TlsFound);
                let hello = accepted.client_hello();
                inc(match hello.alpn() {
                    Some(_) => TlsInspectorStat::AlpnFound,
                    None => TlsInspectorStat::AlpnNotFound,
                });
                inc(match hello.server_name() {
                    Some(_) => TlsInspectorStat::SniFound,
                    None => TlsInspectorStat::SniNotFound,
                });
                bytes.len()
            }
        };
        stats.record(self.worker.id, TlsInspectorStat::BytesProcessed, length as u64);
    }

    fn info(&self, transport: Transport) -> ConnInfo {
        let (remote, local) = (self.remote.clone(), self.local_end.clone());
        let id = self.worker.next_connection_id();
        let mut info = ConnInfo::new(id, remote, local, transport);
        info.server_name = self.server_name.clone();
        info
    }

    fn log(&self, ended: Ended<'_>) {
        let ends = (&self.remote, &self.local_end);
        log::write(&self.worker, &self.local.spec, self.place, ends, self.at, ended);
    }

    fn over(self, ended: Ended<'_>) {
        self.log(ended);
        let (stats, id) = (&self.local.spec.stats, self.worker.id);
        stats.dec(id, ListenerStat::DownstreamCxActive);
        stats.inc(id, ListenerStat::DownstreamCxDestroy);
        let lived = clock::now().saturating_duration_since(self.at);
        let millis = u64::try_from(lived.as_millis()).unwrap_or(u64::MAX);
        stats.record(id, ListenerStat::DownstreamCxLengthMs, millis);
        drop(self.permit);
    }
}

/// A stream in TLS and what was agreed on, or nothing if the client cannot be talked to.
async fn handshake<I: Io>(
    io: I,
    begins: Begins,
    server: &Server,
    worker: WorkerId,
) -> Option<(TlsStream<I>, TlsInfo)> {
    let (io, hello) = match begins {
        Begins::Read(hello) => (io, hello),
        Begins::Unread => {
            let mut inspect = Inspect::new(io);
            std::future::poll_fn(|cx| inspect.poll(cx)).await
        }
    };
    let opening = match &hello {
        Hello::Tls { accepted, .. } => server.open(Some(&accepted.client_hello())),
        _ => server.open(None),
    };
    let (session, bytes, fed) = match hello {
        Hello::Closed => return None,
        Hello::Plain(bytes) => (opening.session().ok()?, bytes, 0),
        Hello::Tls { accepted, bytes, fed } => {
            match accepted.into_connection(Arc::clone(opening.config())) {
                Ok(session) => (server_side(session), bytes, fed),
                Err((error, told)) => {
                    server.recorder.failed(worker, &error);
                    let _sent = alert(io, &bytes, told).await;
                    return None;
                }
            }
        }
        Hello::Broken(broken, bytes) => {
            let (error, told) = *broken;
            server.recorder.failed(worker, &error);
            let _sent = alert(io, &bytes, told).await;
            return None;
        }
    };
    match TlsStream::handshake(io, session, &bytes[fed..]).await {
        Ok(mut stream) => {
            server.recorder.done(worker, stream.session());
            let info = server.info(stream.session(), &opening);
            Some((stream, info))
        }
        Err(HandshakeError::Tls(error)) => {
            server.recorder.failed(worker, &error);
            None
        }
        Err(HandshakeError::Io(_)) => None,
    }
}

const fn server_side(session: ServerConnection) -> Connection {
    Connection::Server(session)
}

/// How something that may take too long ended.
enum Within<T> {
    Done(T),
    TooLate,
    Drained,
}

/// Waits until `deadline`, and no longer than connections are left open.
async fn within<T>(
    deadline: Instant,
    drain: &Member,
    mut work: impl Future<Output = T> + Unpin,
) -> Within<T> {
    let mut timer = std::pin::pin!(tokio::time::sleep_until(deadline));
    std::future::poll_fn(|cx| {
        drain.register(cx.waker());
        if drain.level() >= DrainLevel::Close {
            return Poll::Ready(Within::Drained);
        }
        if let Poll::Ready(done) = std::pin::Pin::new(&mut work).poll(cx) {
            return Poll::Ready(Within::Done(done));
        }
        timer.as_mut().poll(cx).map(|()| Within::TooLate)
    })
    .await
}

/// The place of the chain among the managers.
fn chain_of(spec: &ListenerSpec, ends: (&Peer, &Peer), begins: &Begins) -> Option<usize> {
    let ip = |peer: &Peer| match peer {
        Peer::Ip(address) => Some(*address),
        Peer::Unix(_) => None,
    };
    let (remote, local) = (ip(ends.0), ip(ends.1));
    let matches: smallvec::SmallVec<[_; 4]> = spec.chains.iter().map(|c| &c.matches).collect();
    let plain = Facts { local, remote, transport_protocol: "raw_buffer", ..Facts::default() };
    let found = match begins {
        Begins::Read(Hello::Tls { accepted, .. }) => {
            let hello = accepted.client_hello();
            let name = begins.server_name();
            let offered: Vec<&str> =
                hello.alpn().into_iter().flatten().filter_map(|p| str::from_utf8(p).ok()).collect();
            let facts = Facts {
                server_name: &name,
                transport_protocol: "tls",
                application_protocols: &offered,
                ..plain
            };
            select(&matches, &facts)
        }
        Begins::Read(Hello::Broken(..)) => {
            select(&matches, &Facts { transport_protocol: "tls", ..plain })
        }
        // Where nobody looks at the first bytes nothing is known of the transport, in Envoy too.
        Begins::Read(_) | Begins::Unread => select(&matches, &plain),
    };
    found.or_else(|| spec.default_chain.as_ref().map(|_| spec.chains.len()))
}
