//! What is known of a connection, for its access logs.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::serve::ConnCx;
use crate::base::clock;
use crate::cluster::{Cluster, Host};
use crate::http::entry;
use crate::telemetry::access_log::{Addr, Entry, LogType};
use crate::telemetry::flags::ResponseFlags;

/// The record of a connection: its last entry is written when this is dropped, so that there is
/// one whatever becomes of the task.
pub(super) struct Record {
    pub(super) cx: Rc<ConnCx>,
    pub(super) upstream: RefCell<Upstream>,
    /// Bytes from the client.
    pub(super) received: Cell<u64>,
    /// Bytes from the host.
    pub(super) sent: Cell<u64>,
}

/// Where a connection goes.
#[derive(Default)]
pub(super) struct Upstream {
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) host: Option<Arc<Host>>,
    pub(super) attempts: u32,
    /// Why the last attempt failed.
    pub(super) failure: Option<String>,
    pub(super) local: Option<SocketAddr>,
    /// 0 where there is no connection.
    pub(super) connection_id: u64,
}

impl Record {
    pub(super) fn new(cx: &Rc<ConnCx>) -> Self {
        Self {
            cx: Rc::clone(cx),
            upstream: RefCell::default(),
            received: Cell::new(0),
            sent: Cell::new(0),
        }
    }

    /// Adds a flag.
    pub(super) fn flag(&self, flag: ResponseFlags) {
        let flags = &self.cx.info.record.flags;
        flags.set(flags.get().or(flag));
    }

    /// Writes an entry now.
    pub(super) fn write(&self, log_type: LogType) {
        let cx = &*self.cx;
        if cx.proxy.access_logs.is_empty() {
            return;
        }
        let lived = clock::now().saturating_duration_since(cx.info.accepted);
        let upstream = self.upstream.borrow();
        let entry = Entry { log_type, ..self.entry(lived, &upstream) };
        for log in &cx.proxy.access_logs {
            log.connection(&cx.worker, &entry);
        }
    }

    fn entry<'a>(&'a self, lived: Duration, upstream: &'a Upstream) -> Entry<'a> {
        let (cx, cluster) = (&*self.cx, upstream.cluster.as_ref());
        let remote = Some(entry::peer_addr(&cx.info.remote));
        Entry {
            start: clock::system_now().checked_sub(lived),
            duration: Some(lived),
            flags: cx.info.record.flags.get(),
            bytes_received: self.received.get(),
            bytes_sent: self.sent.get(),
            cluster: cluster.map(|cluster| cluster.name().as_str()),
            cluster_observability_name: cluster.map(|cluster| cluster.config().stat_name()),
            upstream_host: upstream.host.as_ref().map(|host| entry::host_addr(host.address())),
            upstream_local: upstream.local.map(Addr::Ip),
            upstream_connection_id: Some(upstream.connection_id),
            upstream_failure: upstream.failure.as_deref(),
            attempts: upstream.attempts,
            remote,
            direct_remote: remote,
            local: Some(entry::peer_addr(&cx.info.local)),
            connection_id: Some(cx.info.id),
            filter_chain: Some(&*cx.proxy.chain).filter(|name| !name.is_empty()),
            server_name: Some(&*cx.info.server_name),
            ..Entry::default()
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let record = &self.cx.info.record;
        record.received.set(self.received.get());
        record.sent.set(self.sent.get());
        self.write(LogType::TcpEnd);
    }
}
