//! HTTP/2 connections: shared, a stream a request.

use std::fmt;
use std::rc::Rc;

use super::Dialer;
use super::core::{Conn, ConnState, Opening, Restored};
use crate::base::task;
use crate::cluster::connect::{ConnectError, ConnectErrorKind};
use crate::codec::h2::{ClientConn, Options};
use crate::config::http_protocol::{CommonHttpOptions, Http2Options};
use crate::telemetry::stats::ClusterStat;

/// What opens streams on an HTTP/2 connection to an upstream host.
pub type H2Conn = ClientConn;

/// One in a pool. Its frames are moved by a task that ends with the last handle and stream.
pub struct H2(H2Conn);

impl fmt::Debug for H2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H2").field("streams", &self.0.streams()).finish_non_exhaustive()
    }
}

impl Conn for H2 {
    type Handle = H2Conn;
    const TOTAL: ClusterStat = ClusterStat::UpstreamCxHttp2Total;

    fn open(&self) -> Option<H2Conn> {
        Some(self.0.clone())
    }

    fn restore(&self, _: H2Conn) -> Restored {
        Restored::Usable
    }

    fn concurrency(&self) -> u32 {
        u32::try_from(self.0.max_streams()).unwrap_or(u32::MAX).max(1)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn state(&self) -> ConnState {
        if self.0.is_closed() {
            ConnState::Closed
        } else if self.0.usable() {
            ConnState::Open
        } else {
            ConnState::Leaving
        }
    }
}

/// Opens connections to a host.
pub(super) fn opener(dialer: Dialer, options: &Rc<Options>) -> Box<dyn Fn() -> Opening<H2>> {
    let options = Rc::clone(options);
    Box::new(move || {
        let (dialer, options) = (dialer.clone(), (*options).clone());
        Box::pin(async move {
            let timeout = dialer.options.timeout;
            let opened = tokio::time::timeout(timeout, open(dialer, options)).await;
            opened.unwrap_or_else(|_elapsed| Err(ConnectError::timeout()))
        })
    })
}

async fn open(dialer: Dialer, options: Options) -> Result<H2, ConnectError> {
    let socket = dialer.dial().await?;
    let broken = |_| ConnectError { kind: ConnectErrorKind::Remote, transport: "".into() };
    let (conn, driver) = ClientConn::handshake(socket, options).await.map_err(broken)?;
    task::spawn_local("upstream http2", async move {
        // Its streams and handles learn of the end themselves.
        let _ended = driver.await;
    })
    .detach();
    Ok(H2(conn))
}

/// The codec's settings from the cluster's.
pub(super) fn options(
    http2: &Http2Options,
    common: &CommonHttpOptions,
    buffer_limit: u32,
) -> Options {
    let defaults = Options::default();
    let bytes = |kb: u32| kb.saturating_mul(1024);
    Options {
        initial_stream_window_size: http2.initial_stream_window_bytes,
        initial_connection_window_size: http2.initial_connection_window_bytes,
        max_concurrent_streams: http2.max_concurrent_streams,
        hpack_table_size: http2.hpack_table_bytes,
        max_header_list_size: common
            .max_response_headers_kb
            .map_or(defaults.max_header_list_size, bytes),
        max_headers_count: common.max_headers_count as usize,
        keepalive: http2.keepalive,
        allow_connect: http2.allow_connect,
        high_watermark: match buffer_limit {
            0 => usize::MAX,
            limit => defaults.high_watermark.min(limit as usize),
        },
        ..defaults
    }
}
