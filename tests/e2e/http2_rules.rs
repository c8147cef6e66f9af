//! What HTTP/2 forbids is refused by stream or connection, reaches no backend as anything else, and
//! what it allows works. Frames are written by hand, since no client library would send them. Ids
//! are those of the catalogue of attacks.

use rustix::process::Signal;
use serde_json::json;
use tests::backend::{Reply, Then};
use tests::h2_frames::{Frame, Raw, block, flag, kind, request};
use tests::wait;

use crate::rig::Rig;

const PROTOCOL: u32 = 1;
const STREAM_CLOSED: u32 = 5;

fn client(rig: &Rig, settings: &[(u16, u32)]) -> Raw {
    Raw::open(rig.listener, settings).expect("connect")
}

fn get() -> Vec<u8> {
    request("GET", "/", &[])
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// A head with this status.
    Status(u16),
    /// The stream was reset.
    Reset(u32),
    /// The connection ended, with a code; 0 where a reset of the socket swallowed it.
    GoAway(u32),
}

impl Answer {
    /// RFC 9113 §5.4.1: the connection may end where a stream's error would do. Of codes `h2` says
    /// PROTOCOL_ERROR where §4.3 and §6.5.2 have closer ones.
    fn refuses(self) -> bool {
        matches!(self, Self::Status(400) | Self::Reset(PROTOCOL) | Self::GoAway(_))
    }
}

fn answer(raw: &mut Raw, stream: u32) -> Answer {
    let of = |frame: &Frame| {
        let head = frame.kind == kind::HEADERS || frame.kind == kind::RST_STREAM;
        frame.kind == kind::GOAWAY || head && frame.stream == stream
    };
    match raw.until(of).expect("an answer") {
        None => Answer::GoAway(0),
        Some(frame) if frame.kind == kind::HEADERS => Answer::Status(frame.status().unwrap_or(0)),
        Some(frame) if frame.kind == kind::GOAWAY => Answer::GoAway(frame.code().unwrap_or(0)),
        Some(frame) => Answer::Reset(frame.code().unwrap_or(0)),
    }
}

/// Sends one head on a connection of its own.
fn of_head(rig: &Rig, head: &[u8]) -> Answer {
    let mut raw = client(rig, &[]);
    raw.send(&Frame::headers(1, flag::END_STREAM, head)).expect("a head");
    let answer = answer(&mut raw, 1);
    if !matches!(answer, Answer::GoAway(_)) {
        assert!(raw.alive(), "an error of a stream ends nothing else: {answer:?}");
    }
    answer
}

/// Each of these heads is refused, and no backend sees any of them.
fn refused(rig: &Rig, heads: &[Vec<(&str, &str)>]) {
    for head in heads {
        let seen = of_head(rig, &block(head));
        assert!(seen.refuses(), "{head:?}: {seen:?}");
    }
    assert_eq!(rig.backend.seen_count(), 0);
}

/// A usual head with one pseudo field changed.
fn with<'a>(name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let usual = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")];
    usual.into_iter().map(|(key, old)| (key, if key == name { value } else { old })).collect()
}

/// A usual head without one pseudo field and with more fields.
fn without<'a>(name: &str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = with("", "").into_iter().filter(|(key, _)| *key != name);
    usual.chain(more.iter().copied()).collect()
}

fn plus<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    without("", more)
}

#[test]
fn h2_09_19_20_21_fields_that_may_not_be_are_refused() {
    let rig = Rig::start(&json!({}));
    let mut heads = Vec::new();
    for name in ["", "Foo", "a b", "a:b", "a\r\nb", "a\0b"] {
        heads.push(plus(&[(name, "v")]));
    }
    for value in ["a\r\nb: c", "a\nb", "a\0b"] {
        heads.push(plus(&[("x", value)]));
        heads.push(plus(&[("cookie", value)]));
        for pseudo in [":path", ":authority", ":method", ":scheme"] {
            heads.push(with(pseudo, value));
        }
    }
    for (name, value) in [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("proxy-connection", "close"),
        ("te", "gzip"),
    ] {
        heads.push(plus(&[(name, value)]));
    }
    refused(&rig, &heads);
    rig.recovers();
}

#[test]
fn h2_17_authority_and_host_agree_or_are_refused() {
    let rig = Rig::start(&json!({}));
    refused(&rig, &[plus(&[("host", "other")]), without(":authority", &[])]);
    for head in [plus(&[("host", "h")]), without(":authority", &[("host", "h")])] {
        assert_eq!(of_head(&rig, &block(&head)), Answer::Status(200));
        let seen = rig.backend.take_seen().pop().expect("a request upstream");
        let hosts = seen.head.fields.iter().filter(|(name, _)| name == "host");
        assert_eq!(hosts.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["h"]);
    }
    rig.recovers();
}

#[test]
fn h2_18_22_pseudo_fields_keep_their_rules() {
    let rig = Rig::start(&json!({}));
    let mut heads = vec![
        plus(&[(":path", "/other")]),
        plus(&[("x", "y"), (":path", "/other")]),
        plus(&[(":unknown", "x")]),
        plus(&[(":status", "200")]),
        without(":method", &[]),
        without(":path", &[]),
        without(":scheme", &[]),
        without(":path", &[("x", "y"), (":path", "/")]),
    ];
    for path in ["", "admin", "?x", "*", "http://h/", "/a b"] {
        heads.push(with(":path", path));
    }
    refused(&rig, &heads);
    // What `h2` takes for a fragment is gone before anybody judges the path.
    for (path, judged) in [("//a", "//a"), ("#x", "/"), ("/a#/../b", "/a")] {
        assert_eq!(of_head(&rig, &block(&with(":path", path))), Answer::Status(200));
        let seen = rig.backend.take_seen().pop().expect("a request upstream");
        assert_eq!(seen.head.line, format!("GET {judged} HTTP/1.1"));
    }
    let mut raw = client(&rig, &[]);
    raw.send(&Frame::headers(1, 0, &request("POST", "/", &[]))).expect("a head");
    let trailers = block(&[(":path", "/other")]);
    raw.send(&Frame::headers(1, flag::END_STREAM, &trailers)).expect("trailers");
    // `h2` drops them from trailers without a word, so that nobody sees them.
    assert_eq!(answer(&mut raw, 1), Answer::Status(200), "in trailers");
    let seen = rig.backend.take_seen().pop().expect("a request upstream");
    assert_eq!((seen.head.line.as_str(), seen.body.trailers), ("POST / HTTP/1.1", Vec::new()));
    drop(raw);
    rig.recovers();
}

#[test]
fn h2_23_a_body_that_differs_from_its_length_is_never_passed_off_as_whole() {
    let rig = Rig::start(&json!({}));
    rig.backend.always(Reply { then: Then::Hang, ..Reply::default() });
    for (length, body) in
        [("10", ""), ("0", "abc"), ("5", "abcdef"), ("5", "abcd"), ("+5", "abcde")]
    {
        let mut raw = client(&rig, &[]);
        let head = request("POST", "/", &[("content-length", length)]);
        raw.send(&Frame::headers(1, 0, &head)).expect("a head");
        let data = Frame::new(kind::DATA, flag::END_STREAM, 1, body.as_bytes());
        raw.send(&data).expect("a body");
        let seen = answer(&mut raw, 1);
        assert!(seen.refuses(), "{length} {body}: {seen:?}");
    }
    let twice = request("POST", "/", &[("content-length", "5"), ("content-length", "6")]);
    assert_ne!(of_head(&rig, &twice), Answer::Status(200));
    let begun = request("GET", "/", &[("content-length", "10")]);
    assert_ne!(of_head(&rig, &begun), Answer::Status(200), "ended with the head");
    rig.waits_for("http.in.downstream_cx_active", 0);
    for seen in rig.backend.take_seen() {
        // A length of 0 is whole with its head; of others the connection has ended, or the backend
        // would still wait for the rest.
        assert!(!seen.body.complete || seen.head.field("content-length") == Some("0"), "{seen:?}");
    }
    rig.recovers();
}

#[test]
fn h2_24_frames_behind_the_end_of_a_stream_are_refused() {
    let rig = Rig::start(&json!({}));
    rig.backend.always(Reply { then: Then::Hang, ..Reply::default() });
    for frame in [Frame::new(kind::DATA, 0, 1, b"more"), Frame::headers(1, 0, &get())] {
        let mut raw = client(&rig, &[]);
        raw.send(&Frame::headers(1, flag::END_STREAM, &get())).expect("a request");
        raw.send(&frame).expect("more");
        let seen = answer(&mut raw, 1);
        assert!(seen.refuses() || seen == Answer::Reset(STREAM_CLOSED), "{seen:?}");
    }
    rig.recovers();
}

#[test]
fn h2_15_sizes_of_the_dynamic_table_keep_to_what_was_allowed() {
    let rig = Rig::start(&json!({}));
    let first = |update: &[u8]| of_head(&rig, &[update, &get()].concat());
    assert_eq!(first(&[0x20]), Answer::Status(200), "none at all");
    assert_eq!(first(&[0x20, 0x3f, 0xe1, 0x1f]), Answer::Status(200), "twice, to 4096");
    assert!(first(&[0x3f, 0xff, 0xff, 0xff, 0x0f]).refuses(), "too large");
    let middle = [get(), vec![0x20]].concat();
    assert!(of_head(&rig, &middle).refuses(), "behind a field");
    rig.recovers();
}

#[test]
fn h2_25_a_clients_reset_cancels_its_request_upstream() {
    let rig = Rig::start(&json!({}));
    let hang = Reply { then: Then::Hang, ..Reply::default() };
    let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
    let answering = Reply { bytes: begun.to_vec(), ..hang.clone() };
    let mut raw = client(&rig, &[]);
    for (id, flags, reply, wanted) in [
        (1, flag::END_STREAM, hang.clone(), 1),
        (3, 0, hang, 1),
        (5, flag::END_STREAM, answering, 1),
    ] {
        let asked = rig.stat("cluster.backend.upstream_rq_total");
        rig.backend.next([reply]);
        raw.send(&Frame::headers(id, flags, &request("POST", "/", &[]))).expect("a head");
        if flags == 0 {
            raw.send(&Frame::new(kind::DATA, 0, id, b"half")).expect("half a body");
        }
        rig.waits_for("cluster.backend.upstream_rq_total", asked + wanted);
        if id == 5 {
            assert_eq!(answer(&mut raw, id), Answer::Status(200));
        }
        raw.send(&Frame::reset(id, 8)).expect("a reset");
        rig.waits_for("cluster.backend.upstream_cx_active", 0);
        rig.waits_for("http.in.downstream_rq_active", 0);
    }
    assert!(raw.alive());
    drop(raw);
    rig.recovers();
}

#[test]
fn h2_26_a_slow_stream_holds_no_other_back() {
    let rig = Rig::start(&json!({}));
    rig.backend.next([Reply::ok(&"x".repeat(1 << 20)), Reply::ok("small")]);
    let mut raw = client(&rig, &[(4, 1_000)]);
    raw.send(&Frame::headers(1, flag::END_STREAM, &get())).expect("a request");
    assert_eq!(answer(&mut raw, 1), Answer::Status(200));
    raw.send(&Frame::headers(3, flag::END_STREAM, &get())).expect("a request");
    assert_eq!(answer(&mut raw, 3), Answer::Status(200));
    let end = raw.until(|frame| frame.stream == 3 && frame.ends_stream()).expect("its end");
    assert!(end.is_some_and(|frame| frame.kind == kind::DATA));
    drop(raw);
    rig.recovers();
}

#[test]
fn h2_27_windows_keep_their_arithmetic() {
    let rig = Rig::start(&json!({}));
    let most = Frame::new(kind::WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
    for frame in [most, Frame::settings(&[(4, 1 << 31)])] {
        let mut raw = client(&rig, &[]);
        raw.send(&frame).expect("a window");
        assert!(matches!(answer(&mut raw, 1), Answer::GoAway(_)));
    }
    // A window that shrinks below what was sent is negative until it is given back.
    rig.backend.always(Reply::ok(&"x".repeat(3_000)));
    let mut raw = client(&rig, &[(4, 1_000)]);
    raw.send(&Frame::headers(1, flag::END_STREAM, &get())).expect("a request");
    let first = raw.until(|frame| frame.kind == kind::DATA).expect("a part").expect("a part");
    assert_eq!(first.payload.len(), 1_000);
    raw.send(&Frame::settings(&[(4, 0)])).expect("a smaller window");
    let room = |n: u32| Frame::new(kind::WINDOW_UPDATE, 0, 1, &n.to_be_bytes());
    raw.send(&room(1_500)).expect("room");
    let second = raw.until(|frame| frame.kind == kind::DATA).expect("a part").expect("a part");
    assert_eq!(second.payload.len(), 500);
    raw.send(&room(1_500)).expect("room");
    let last = raw.until(|frame| frame.kind == kind::DATA).expect("a part").expect("a part");
    assert_eq!(last.payload.len(), 1_500);
    drop(raw);
    rig.recovers();
}

#[test]
fn h2_32_a_drain_finishes_what_is_open() {
    let mut rig = Rig::start(&json!({}));
    let mut raw = client(&rig, &[]);
    for at in 0..100 {
        let head = Frame::headers(2 * at + 1, 0, &request("POST", "/", &[]));
        raw.send(&head).expect("a head");
    }
    rig.waits_for("http.in.downstream_rq_active", 100);
    rig.proxy.signal(Signal::TERM);
    let goaway = raw.until(|frame| frame.kind == kind::GOAWAY).expect("GOAWAY").expect("GOAWAY");
    assert_eq!((&goaway.payload[..4], goaway.code()), (&[0x7f, 0xff, 0xff, 0xff][..], Some(0)));
    // h2 sends the last one when a PING of its own came back.
    let ping = raw.until(|frame| frame.kind == kind::PING).expect("a PING").expect("a PING");
    raw.send(&Frame { flags: flag::ACK, ..ping }).expect("its answer");
    let last = raw.until(|frame| frame.kind == kind::GOAWAY).expect("GOAWAY").expect("GOAWAY");
    assert_eq!((&last.payload[..4], last.code()), (&[0, 0, 0, 199][..], Some(0)));
    raw.send(&Frame::headers(201, flag::END_STREAM, &get())).expect("a late request");
    for at in 0..100 {
        let end = Frame::new(kind::DATA, flag::END_STREAM, 2 * at + 1, b"");
        raw.send(&end).expect("the end of a request");
    }
    let mut answered = 0;
    while let Some(frame) = raw.receive().expect("answers") {
        assert_ne!((frame.stream, frame.kind), (201, kind::HEADERS));
        answered += usize::from(frame.status() == Some(200));
    }
    assert_eq!(answered, 100);
    assert_eq!(rig.proxy.wait().code(), Some(0));
}

#[test]
fn h2_33_crumbs_of_cookies_are_one_field_upstream() {
    let rig = Rig::start(&json!({}));
    let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
    assert_eq!(of_head(&rig, &request("GET", "/", &crumbs)), Answer::Status(200));
    let seen = wait::until("the request upstream", || rig.backend.take_seen().pop());
    let cookies = seen.head.fields.iter().filter(|(name, _)| name == "cookie");
    assert_eq!(cookies.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
    rig.recovers();
}

#[test]
fn h2_35_extended_connect_is_neither_offered_nor_taken() {
    let rig = Rig::start(&json!({}));
    let mut raw = client(&rig, &[]);
    let settings = raw.receive().expect("settings").expect("settings");
    assert_eq!(settings.kind, kind::SETTINGS);
    let offered = settings.payload.chunks(6).any(|one| one[..2] == [0, 8] && one[5] == 1);
    assert!(!offered, "{settings:?}");
    let mut head = with(":method", "CONNECT");
    head.insert(1, (":protocol", "websocket"));
    refused(&rig, &[head]);
    drop(raw);
    rig.recovers();
}

#[test]
fn names_with_an_underscore_are_refused_where_the_configuration_says_so() {
    let common = json!({"headers_with_underscores_action": "REJECT_REQUEST"});
    let rig = Rig::start(&json!({"common_http_protocol_options": common}));
    refused(&rig, &[plus(&[("x_a", "v")]), plus(&[("content_length", "0")])]);
    assert_eq!(of_head(&rig, &block(&plus(&[("x-a", "v")]))), Answer::Status(200));
}
