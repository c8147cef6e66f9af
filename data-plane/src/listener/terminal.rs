//! What ends a filter chain, on one worker: the one place that knows every kind of it.
//!
//! A connection comes here with its transport made, and with nothing of the client's looked at but
//! a ClientHello. Network filters that let connections through, or not, were asked before
//! [`Terminal::serve`].

use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;

use crate::codec::io::{BufferPool, Io};
use crate::http::conn::{ConnInfo, TlsFacts};
use crate::http::drain::Member;
use crate::http::serve::{self as http, WorkerManager};
use crate::http::worker::Worker;
use crate::snapshot::Handler;
use crate::tcp::{self, TcpProxy};
use crate::tls::peer::TlsInfo;

/// The last filter of a chain.
#[derive(Clone)]
pub(super) enum Terminal {
    /// None: the connection is closed.
    Close,
    /// The connection manager.
    Http(Rc<WorkerManager>),
    /// The TCP proxy.
    Tcp(Arc<TcpProxy>),
}

impl Terminal {
    /// A chain's, for the worker that owns `buffers`.
    pub(super) fn new(handler: &Handler, buffers: &Rc<BufferPool>) -> Self {
        match handler {
            Handler::Close => Self::Close,
            Handler::Http(manager) => Self::Http(Rc::new(WorkerManager::new(manager, buffers))),
            Handler::Tcp(proxy) => Self::Tcp(Arc::clone(proxy)),
        }
    }

    /// What it wants to know of a TLS connection, and what `judged` ones are judged by.
    pub(super) fn tls_facts(&self, tls: &TlsInfo, judged: bool) -> Option<Box<TlsFacts>> {
        match self {
            Self::Close | Self::Tcp(_) => judged.then(|| Box::new(TlsFacts::of(tls))),
            Self::Http(http) => Some(Box::new(TlsFacts::new(tls, &http.manager.config.client))),
        }
    }

    /// Serves a connection until it ends. `bytes` were read from it before.
    pub(super) async fn serve<I: Io + 'static>(
        self,
        io: I,
        bytes: BytesMut,
        worker: Rc<Worker>,
        info: Rc<ConnInfo>,
        drain: Member,
    ) {
        match self {
            Self::Close => {}
            Self::Http(manager) => {
                http::serve(io, bytes, http::ConnCx { worker, manager, info, drain }).await;
            }
            // Boxed, so that HTTP connections have no room for it.
            Self::Tcp(proxy) => {
                let cx = tcp::ConnCx { worker, proxy, info, drain };
                Box::pin(tcp::serve(io, bytes, cx)).await;
            }
        }
    }
}
