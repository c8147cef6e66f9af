//! Cases of the catalogue (`h1_NN_…`), both roles over pipes in memory, and the properties: cuts
//! of the bytes change nothing, what is written is read back.

mod client;
mod requests;
mod server;
mod split;
mod tunnel;

use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};

use super::*;
use crate::codec::io::BufferPool;
use crate::codec::io::mem::{MemIo, pair};
use crate::codec::{
    BodyError, BodyPart, Incoming, Outgoing, ProtocolError, RequestHead, ResponseEvent,
    ResponseHead, Sink, Source, Version,
};

/// Polls once; `None` is pending.
fn now<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn request_of(bytes: &[u8], opts: &ServerOptions) -> Step<ParsedRequest> {
    parse_request(&mut BytesMut::from(bytes), &mut Scan::default(), opts, &SpareHeads::default())
}

fn response(status: u16, fields: &[(&'static str, &str)], ends: bool) -> ResponseHead {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    let status = StatusCode::from_u16(status).unwrap();
    ResponseHead { status, version: Version::Http11, headers, ends }
}

fn get(path: &'static str, fields: &[(&'static str, &str)]) -> RequestHead {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    RequestHead {
        method: Method::GET,
        scheme: None,
        authority: Some(HeaderValue::from_static("a")),
        path: HeaderValue::from_static(path),
        version: Version::Http11,
        headers,
        ends: true,
        upgrade: None,
    }
}

fn data(text: &'static str) -> Outgoing {
    Outgoing::Part(BodyPart::Data(Bytes::from_static(text.as_bytes())))
}

/// A server connection and the client's end of its pipe.
fn server_with(opts: ServerOptions) -> (ServerConn<MemIo>, MemIo) {
    let (io, peer) = pair(1 << 20);
    (ServerConn::new(io, Rc::new(opts), BufferPool::new(4)), peer)
}

fn server() -> (ServerConn<MemIo>, MemIo) {
    server_with(ServerOptions::default())
}

/// The head of the next request, which must be there.
fn head_of(conn: &mut ServerConn<MemIo>) -> RequestHead {
    match now(|cx| conn.poll_next(cx)) {
        Some(Incoming::Head(head)) => *head,
        other => panic!("no head: {other:?}"),
    }
}

fn closes(conn: &mut ServerConn<MemIo>) -> bool {
    matches!(now(|cx| conn.poll_next(cx)), Some(Incoming::Closed))
}

/// Answers with a head and a text, and flushes.
fn answer(conn: &mut ServerConn<MemIo>, status: u16, text: &'static str) {
    conn.push(Outgoing::Head(response(
        status,
        &[("content-length", &text.len().to_string())],
        false,
    )));
    conn.push(data(text));
    conn.push(Outgoing::End);
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
}

fn text(peer: &MemIo) -> String {
    String::from_utf8(peer.drain()).unwrap()
}

/// Everything of a body that is there: its text, its trailers, how it ended (`None`: more to come).
type Whole = (String, Option<HeaderMap>, Option<Result<(), BodyError>>);

fn body(source: &mut impl Source) -> Whole {
    let (mut text, mut trailers) = (String::new(), None);
    loop {
        match now(|cx| source.poll_part(cx, 64 * 1024)) {
            None => return (text, trailers, None),
            Some(Ok(None)) => return (text, trailers, Some(Ok(()))),
            Some(Err(error)) => return (text, trailers, Some(Err(error))),
            Some(Ok(Some(BodyPart::Data(bytes)))) => {
                assert!(!bytes.is_empty(), "an empty part");
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
            Some(Ok(Some(BodyPart::Trailers(map)))) => trailers = Some(map),
        }
    }
}
