//! Attacks over HTTP/1 that need time, volume, or a backend that answers at its own moment. Ids are
//! those of the catalogue; cases that a table of bytes shows stand in `differential` and in the
//! tests of the codec.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::json;
use tests::backend::{Reply, Then, When};
use tests::client::{self, Connection};
use tests::message::Head;
use tests::{clock, wait};

use crate::rig::Rig;

const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabcde";

#[test]
fn h1_25_a_short_body_is_never_passed_off_as_whole() {
    let rig = Rig::start(&json!({}));
    let mut connection = rig.connect();
    connection.send(POST).expect("half a request");
    rig.waits_for("cluster.backend.upstream_rq_total", 1);
    connection.finish().expect("the end");
    assert_eq!(connection.rest().expect("an end in order"), b"");
    let seen = wait::until("the end of the request upstream", || rig.backend.take_seen().pop());
    assert!(!seen.body.complete && b"abcde".starts_with(&seen.body.bytes), "{seen:?}");
    wait::until("its line in the log", || rig.proxy.stderr().contains("\"DC\"").then_some(()));
    rig.recovers();
}

#[test]
fn h1_31_a_client_that_reads_nothing_is_read_from_no_more() {
    const MOST: usize = 64 << 20;
    let rig = Rig::start(&json!({}));
    rig.backend.always(Reply::ok(&"x".repeat(64 << 10)));
    client::get(rig.listener, "/").expect("a first answer");
    let before = rig.proxy.memory();
    let mut connection = rig.connect();
    connection.patience(Duration::from_millis(500)).expect("patience");
    let part = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1_000);
    let mut sent = 0;
    while sent < MOST && connection.send(&part).is_ok() {
        sent += part.len();
    }
    assert!(sent < MOST, "the flood was taken whole");
    let answered = rig.backend.seen_count();
    assert_eq!(client::get(rig.listener, "/").map(|answer| answer.status()).ok(), Some(200));
    assert_eq!(rig.backend.seen_count(), answered + 1, "nothing more is asked of the backend");
    let grown = rig.proxy.memory().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB more");
    drop(connection);
    rig.recovers();
}

#[test]
fn h1_33_an_early_answer_arrives_and_stops_the_upload() {
    const MOST: usize = 64 << 20;
    let rig = Rig::start(&json!({}));
    let bytes = "HTTP/1.1 413 Too Much\r\nconnection: close\r\ncontent-length: 4\r\n\r\nmuch";
    rig.backend.next([Reply { bytes: bytes.into(), when: When::Head, then: Then::Close }]);
    let mut connection = rig.connect();
    connection
        .send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1073741824\r\n\r\n")
        .and_then(|()| connection.send(&[b'x'; 1024]))
        .expect("a begun upload");
    let response = connection.receive("POST").expect("the answer");
    assert_eq!((response.status(), response.text().as_str()), (413, "much"));
    assert_eq!(response.header("connection"), Some("close"));
    let (part, mut sent) = ([b'x'; 64 << 10], 0);
    while sent < MOST && connection.send(&part).is_ok() {
        sent += part.len();
    }
    assert!(sent < MOST, "the upload goes on");
    rig.recovers();
}

#[test]
fn h1_41_a_head_that_comes_byte_by_byte_is_answered_408() {
    let rig = Rig::start(&json!({"request_headers_timeout": "0.5s"}));
    let mut connection = rig.connect();
    let head = slow_head(&mut connection, "GET / HTTP/1.1\r\nHost: h\r\nx: ");
    assert_eq!(head.status(), 408);
    let mut connection = rig.connect();
    let first = connection.exchange(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(first.expect("the first answer").status(), 200);
    let head = slow_head(&mut connection, "GET / HTTP/1.1\r\nHost: h\r\nx: ");
    assert_eq!(head.status(), 408, "the second head has the same limit");
    // What might become HTTP/2 has no more time.
    let head = slow_head(&mut rig.connect(), "PRI");
    assert_eq!(head.status(), 408);
    drop(connection);
    rig.recovers();
}

/// Sends a head byte by byte until it is answered; the last byte comes again and again.
fn slow_head(connection: &mut Connection, text: &str) -> Head {
    connection.patience(Duration::from_millis(40)).expect("patience");
    let begun = clock::now();
    let mut bytes = text.bytes();
    loop {
        // The answer may come before the byte is sent.
        let _ = bytes.next().map_or(Ok(()), |byte| connection.send(&[byte]));
        match connection.receive_head() {
            Ok(head) => {
                let took = clock::now().duration_since(begun);
                assert!(took >= Duration::from_millis(400), "{took:?}");
                assert!(took < Duration::from_millis(1500), "{took:?}");
                return head;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{text}"),
        }
        assert!(clock::now().duration_since(begun) < wait::PATIENCE, "{text} is waited for");
    }
}

#[test]
fn h1_42_noise_is_refused_at_once() {
    let rig = Rig::start(&json!({}));
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..20 {
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take(128 << 10)
        .flatten()
        .collect();
        let mut connection = rig.connect();
        // It may be refused before all of it is taken.
        let _ = connection.send(&noise);
        if let Ok(response) = connection.receive("GET") {
            assert!([400, 431].contains(&response.status()), "{round}: {response:?}");
        }
    }
    assert_eq!(rig.backend.seen_count(), 0);
    rig.recovers();
}

/// As Envoy: the end of the client's direction gives its request up. Documented in `codec::h1`.
#[test]
fn h1_44_a_half_close_cancels_the_request_upstream() {
    let rig = Rig::start(&json!({}));
    rig.backend.always(Reply { then: Then::Hang, ..Reply::default() });
    let mut connection = rig.connect();
    connection.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("a request");
    wait::until("the request upstream", || (rig.backend.seen_count() == 1).then_some(()));
    connection.finish().expect("half a close");
    assert_eq!(connection.rest().expect("an end in order"), b"");
    rig.waits_for("cluster.backend.upstream_cx_active", 0);
    rig.recovers();
}
