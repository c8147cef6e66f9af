//! The access logs of a listener: a line a connection, when it is over.
//!
//! What an entry of a connection does not have (a request, a response, an upstream) is printed as
//! absent, and as nothing to filters that ask for it.

use crate::base::clock::{self, Instant};
use crate::http::conn::{ConnInfo, Peer};
use crate::http::entry;
use crate::http::worker::Worker;
use crate::snapshot::ListenerSpec;
use crate::telemetry::access_log::{Entry, LogType};
use crate::telemetry::flags::ResponseFlags;

/// How a connection ended.
#[derive(Clone, Copy)]
pub(super) struct Ended<'a> {
    /// The connection, where a chain was there to make one of the socket.
    pub(super) info: Option<&'a ConnInfo>,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub(super) details: Option<&'static str>,
    /// `%CONNECTION_TERMINATION_DETAILS%`.
    pub(super) termination: Option<&'a str>,
    /// `%RESPONSE_FLAGS%`.
    pub(super) flags: ResponseFlags,
}

impl Ended<'_> {
    /// Before a chain was chosen.
    pub(super) const EARLY: Self =
        Self { info: None, details: None, termination: None, flags: ResponseFlags::NONE };

    /// No chain was for it.
    pub(super) const NO_CHAIN: Self = Self {
        details: Some("filter_chain_not_found"),
        flags: ResponseFlags::NO_ROUTE_FOUND,
        ..Self::EARLY
    };
}

impl<'a> Ended<'a> {
    /// As its record says.
    pub(super) const fn of(info: &'a ConnInfo) -> Self {
        let flags = info.record.flags.get();
        Self { info: Some(info), details: None, termination: None, flags }
    }
}

/// Writes the lines about a connection between `ends` that was accepted `at` that time.
pub(super) fn write(
    worker: &Worker,
    spec: &ListenerSpec,
    chain: Option<usize>,
    (remote, local): (&Peer, &Peer),
    at: Instant,
    ended: Ended<'_>,
) {
    if spec.access_logs.is_empty() {
        return;
    }
    let lived = clock::now().saturating_duration_since(at);
    let chain = chain.and_then(|place| spec.chains().nth(place));
    let record = ended.info.map(|info| &info.record);
    let entry = Entry {
        start: clock::system_now().checked_sub(lived),
        duration: Some(lived),
        protocol: record.and_then(|record| record.protocol.get()).map(entry::protocol),
        flags: ended.flags,
        details: ended.details,
        termination_details: ended.termination,
        bytes_received: record.map_or(0, |record| record.received.get()),
        bytes_sent: record.map_or(0, |record| record.sent.get()),
        remote: Some(entry::peer_addr(remote)),
        direct_remote: Some(entry::peer_addr(remote)),
        local: Some(entry::peer_addr(local)),
        connection_id: Some(ended.info.map_or(0, |info| info.id)),
        filter_chain: chain.map(|chain| &*chain.name).filter(|name| !name.is_empty()),
        log_type: LogType::NotHttp,
        ..Entry::default()
    };
    for log in &spec.access_logs {
        log.connection(worker, &entry);
    }
}
