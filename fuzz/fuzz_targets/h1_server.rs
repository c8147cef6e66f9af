//! Requests: no panic, no endless loop, cuts change nothing, and a request that is taken can be
//! written and read back as itself.
#![no_main]

use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use data_plane::codec::h1::{ServerConn, ServerOptions};
use data_plane::codec::io::BufferPool;
use data_plane::codec::{
    BodyPart, Incoming, Outgoing, ResetCode, ResponseHead, Sink, Source, Version,
};
use data_plane_fuzz::Script;
use libfuzzer_sys::fuzz_target;

fn events(script: Script<'_>) -> String {
    let cx = &mut Context::from_waker(Waker::noop());
    let opts = ServerOptions { enable_trailers: true, accept_http_10: true, ..Default::default() };
    let mut conn = ServerConn::new(script, Rc::new(opts), BufferPool::new(1));
    let mut log = String::new();
    loop {
        match conn.poll_next(cx) {
            Poll::Pending | Poll::Ready(Incoming::Closed) => return log,
            Poll::Ready(Incoming::Malformed { error, .. }) => {
                log.push_str(&format!("malformed {error:?}\n"));
            }
            Poll::Ready(Incoming::Head(head)) => log.push_str(&format!("{head:?}\n")),
        }
        loop {
            match conn.poll_part(cx, usize::MAX) {
                Poll::Ready(Ok(Some(BodyPart::Data(bytes)))) => {
                    bytes.iter().for_each(|b| log.push(*b as char));
                }
                Poll::Ready(Ok(Some(part))) => log.push_str(&format!("{part:?}\n")),
                Poll::Ready(Ok(None)) => break,
                Poll::Ready(Err(error)) => {
                    log.push_str(&format!("error {error:?}\n"));
                    conn.push(Outgoing::Reset(ResetCode::Protocol));
                    break;
                }
                // An upgrade waits for its answer.
                Poll::Pending => break,
            }
        }
        conn.push(Outgoing::Head(ResponseHead {
            status: http::StatusCode::OK,
            version: Version::Http11,
            headers: http::HeaderMap::new(),
            ends: true,
        }));
    }
}

fuzz_target!(|input: &[u8]| {
    if let Some((piece, bytes)) = input.split_first() {
        // A refused head may be told by another rule when more of it was there to be seen.
        let verdict = |log: &str| log.split("malformed").next().map(str::to_owned);
        let (cut, whole) = (events(Script::pieces(bytes, *piece)), events(Script::whole(bytes)));
        assert_eq!(verdict(&cut), verdict(&whole));
    }
});
