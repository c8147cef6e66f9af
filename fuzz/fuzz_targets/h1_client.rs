//! Responses: no panic, no endless loop, cuts change nothing, and an answer that was not read to
//! its end never leaves a reusable connection.
#![no_main]

use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use data_plane::codec::h1::{ClientConn, ClientOptions};
use data_plane::codec::io::BufferPool;
use data_plane::codec::{BodyPart, RequestHead, ResponseEvent, Sink, Source, Version};
use data_plane_fuzz::Script;
use http::{HeaderMap, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;

fn events(script: Script<'_>, method: Method) -> String {
    let cx = &mut Context::from_waker(Waker::noop());
    let opts = ClientOptions { enable_trailers: true, ..Default::default() };
    let mut conn = ClientConn::new(script, Rc::new(opts), BufferPool::new(1));
    conn.push_request(&RequestHead {
        method,
        scheme: None,
        authority: Some(HeaderValue::from_static("a")),
        path: HeaderValue::from_static("/"),
        version: Version::Http11,
        headers: HeaderMap::new(),
        ends: true,
        upgrade: None,
    });
    let _ = conn.poll_flush(cx);
    let mut log = String::new();
    loop {
        match conn.poll_head(cx) {
            Poll::Pending => return log,
            Poll::Ready(Ok(ResponseEvent::Informational(head))) => {
                log.push_str(&format!("{head:?}\n"));
            }
            Poll::Ready(Ok(ResponseEvent::Head(head))) => {
                log.push_str(&format!("{head:?}\n"));
                break;
            }
            Poll::Ready(Err(error)) => {
                assert!(!conn.reusable());
                return log + &format!("{error:?}\n");
            }
        }
    }
    loop {
        match conn.poll_part(cx, usize::MAX) {
            Poll::Ready(Ok(Some(BodyPart::Data(bytes)))) => {
                bytes.iter().for_each(|b| log.push(*b as char));
            }
            Poll::Ready(Ok(Some(part))) => log.push_str(&format!("{part:?}\n")),
            Poll::Ready(Ok(None)) => return log,
            Poll::Ready(Err(error)) => {
                assert!(!conn.reusable());
                return log + &format!("{error:?}\n");
            }
            Poll::Pending => {
                assert!(!conn.reusable());
                return log;
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    if let [piece, method, bytes @ ..] = input {
        let method = if method & 1 == 0 { Method::GET } else { Method::HEAD };
        let cut = events(Script::pieces(bytes, *piece), method.clone());
        assert_eq!(cut, events(Script::whole(bytes), method));
    }
});
