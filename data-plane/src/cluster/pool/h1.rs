//! HTTP/1 connections: one request at a time, the connection itself in the request's hands.

use std::cell::RefCell;
use std::rc::Rc;

use super::Dialer;
use super::core::{Conn, ConnState, Opening, Restored};
use crate::cluster::connect::Socket;
use crate::codec::h1::{ClientConn, ClientOptions, NameCase};
use crate::codec::io::{BufferPool, Io};
use crate::config::http_protocol::{CommonHttpOptions, HeaderKeyFormat, Http1Options};
use crate::telemetry::stats::ClusterStat;

/// An HTTP/1 connection to an upstream host.
pub type H1Conn = ClientConn<Socket>;

/// One in a pool; empty while a request has it. Boxed, since it changes hands twice a request.
#[derive(Debug)]
pub struct H1(RefCell<Option<Box<H1Conn>>>);

impl Conn for H1 {
    type Handle = Box<H1Conn>;
    const TOTAL: ClusterStat = ClusterStat::UpstreamCxHttp1Total;

    fn open(&self) -> Option<Box<H1Conn>> {
        self.0.take()
    }

    fn restore(&self, mut conn: Box<H1Conn>) -> Restored {
        if !conn.reusable() {
            return match conn.io().try_closed() {
                true => Restored::Closed,
                false if conn.request_sent() => Restored::Spent,
                false => Restored::Unfit,
            };
        }
        conn.rest();
        *self.0.borrow_mut() = Some(conn);
        Restored::Usable
    }

    fn concurrency(&self) -> u32 {
        1
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn state(&self) -> ConnState {
        // While a request has it, that request sees its end.
        match &*self.0.borrow() {
            Some(conn) if !conn.check_idle() => ConnState::Closed,
            Some(_) | None => ConnState::Open,
        }
    }
}

/// Opens connections to a host.
pub(super) fn opener(
    dialer: Dialer,
    options: &Rc<ClientOptions>,
    buffers: &Rc<BufferPool>,
) -> Box<dyn Fn() -> Opening<H1>> {
    let (options, buffers) = (Rc::clone(options), Rc::clone(buffers));
    Box::new(move || {
        let (options, buffers) = (Rc::clone(&options), Rc::clone(&buffers));
        let dialing = dialer.clone().dial();
        Box::pin(async move {
            let conn = ClientConn::new(dialing.await?, options, buffers);
            Ok(H1(RefCell::new(Some(Box::new(conn)))))
        })
    })
}

/// The codec's settings from the cluster's.
pub(super) fn options(
    http1: &Http1Options,
    common: &CommonHttpOptions,
    buffer_limit: u32,
) -> ClientOptions {
    let defaults = ClientOptions::default();
    let kib = |kb: u32| kb as usize * 1024;
    ClientOptions {
        max_head_bytes: common.max_response_headers_kb.map_or(defaults.max_head_bytes, kib),
        max_headers_count: common.max_headers_count as usize,
        enable_trailers: http1.enable_trailers,
        allow_chunked_length: http1.allow_chunked_length,
        send_fully_qualified_url: http1.send_fully_qualified_url,
        name_case: match http1.header_key_format {
            // Names are lower case once read, so that there is nothing left to preserve; the
            // configuration is the place that refuses it.
            HeaderKeyFormat::LowerCase => NameCase::Lower,
            HeaderKeyFormat::ProperCaseWords => NameCase::Proper,
        },
        high_watermark: match buffer_limit {
            0 => usize::MAX,
            limit => defaults.high_watermark.min(limit as usize),
        },
    }
}
