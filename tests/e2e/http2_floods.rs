//! Attacks over HTTP/2 by number or size of frames: the connection ends or is held back, memory
//! stays, and others are served. Ids are those of the catalogue.

use std::time::Duration;

use serde_json::json;
use tests::backend::{Reply, Then};
use tests::h2_frames::{Frame, Raw, flag, kind, request, string};

use crate::rig::Rig;

const CALM: u32 = 0xb;
const REFUSED: u32 = 7;

/// What a connection may cost, in KiB (reliability.md G9), and what the allocator may keep.
const MEMORY: u64 = 6 << 10;

fn client(rig: &Rig, settings: &[(u16, u32)]) -> Raw {
    Raw::open(rig.listener, settings).expect("connect")
}

fn get() -> Vec<u8> {
    request("GET", "/", &[])
}

/// Sends frames in batches until the other side takes no more; how many were sent.
fn flood(raw: &mut Raw, most: usize, frame: &Frame) -> usize {
    raw.patience(Duration::from_millis(500)).expect("patience");
    let batch = frame.bytes().repeat(256);
    let sent = (0..most).step_by(256).take_while(|_| raw.send_bytes(&batch).is_ok()).count();
    raw.patience(Duration::from_secs(5)).expect("patience");
    sent * 256
}

/// The code of the GOAWAY that ends the connection; 0 where a reset of the socket swallowed it.
fn end(raw: &mut Raw) -> u32 {
    let mut code = 0;
    while let Some(frame) = raw.receive().expect("the connection ends") {
        if frame.kind == kind::GOAWAY {
            code = frame.code().unwrap_or(0);
        }
    }
    code
}

/// Floods, and checks that the connection has ended and that it cost no memory.
fn ends_by(rig: Rig, first: &[Frame], frame: &Frame, most: usize) {
    let before = rig.proxy.memory();
    let mut raw = client(&rig, &[]);
    for frame in first {
        raw.send(frame).expect("a first frame");
    }
    flood(&mut raw, most, frame);
    let code = end(&mut raw);
    assert!(code == CALM || code == 0, "GOAWAY {code}");
    let grown = rig.proxy.memory().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} KiB more");
    rig.recovers();
}

/// Floods without reading, and checks that memory stays whether or not all of it is taken.
fn is_bounded(frame: &Frame, most: usize) {
    let rig = Rig::start(&json!({}));
    rig.serves();
    let before = rig.proxy.memory();
    let mut raw = client(&rig, &[]);
    flood(&mut raw, most, frame);
    rig.serves();
    let grown = rig.proxy.memory().saturating_sub(before);
    assert!(grown < MEMORY, "{grown} KiB more");
    drop(raw);
    rig.recovers();
}

#[test]
fn h2_02_rapid_reset_one_by_one_ends_the_connection() {
    let rig = Rig::start(&json!({}));
    rig.backend.always(Reply { then: Then::Hang, ..Reply::default() });
    let mut raw = client(&rig, &[]);
    let mut ended = None;
    for at in 0..2_000_u32 {
        let id = 2 * at + 1;
        let head = Frame::headers(id, flag::END_STREAM, &get()).bytes();
        // The answer to PING shows that the stream was accepted before it is reset.
        // Sending fails where it has ended meanwhile.
        let _ = raw.send_bytes(&[head, Frame::ping(u64::from(at)).bytes()].concat());
        let answer = |frame: &Frame| {
            frame.kind == kind::GOAWAY || frame.kind == kind::PING && frame.flags & flag::ACK != 0
        };
        let answer = raw.until(answer).expect("an answer");
        if answer.as_ref().is_none_or(|frame| frame.kind == kind::GOAWAY) {
            ended = Some((at, answer.and_then(|frame| frame.code()).unwrap_or(0)));
            break;
        }
        let _ = raw.send(&Frame::reset(id, 8));
    }
    let (requests, code) = ended.expect("the connection ends");
    assert!((250..=500).contains(&requests), "{requests}");
    assert!(code == CALM || code == 0, "GOAWAY {code}");
    assert!(rig.stat("cluster.backend.upstream_rq_total") <= 500);
    assert_eq!(rig.stat("http.in.downstream_rq_too_many_premature_resets"), 1);
    drop(raw);
    rig.recovers();
}

#[test]
fn h2_02_rapid_reset_in_bursts_ends_the_connection() {
    let rig = Rig::start(&json!({}));
    rig.backend.always(Reply { then: Then::Hang, ..Reply::default() });
    let mut raw = client(&rig, &[]);
    let pair = |at: u32| {
        let id = 2 * at + 1;
        let head = Frame::headers(id, flag::END_STREAM, &get());
        [head.bytes(), Frame::reset(id, 8).bytes()].concat()
    };
    let all: Vec<u8> = (0..2_000).flat_map(pair).collect();
    // It may end before all of it is sent.
    let _ = raw.send_bytes(&all);
    let code = end(&mut raw);
    assert!(code == CALM || code == 0, "GOAWAY {code}");
    assert!(rig.stat("cluster.backend.upstream_rq_total") <= 500);
    rig.recovers();
}

#[test]
fn h2_03_continuation_without_end_ends_the_connection() {
    for size in [0, 1, 16_384] {
        // Fields of no name are refused, so the block is one value that never ends.
        let mut block = vec![0, 1, b'x'];
        string(&mut block, &vec![b'v'; 8 << 20]);
        let head = Frame::new(kind::HEADERS, 0, 1, &block[..100]);
        let rest = Frame::new(kind::CONTINUATION, 0, 1, &block[100..100 + size]);
        ends_by(Rig::start(&json!({})), &[head], &rest, 50_000);
    }
}

#[test]
fn h2_04_pings_whose_answers_are_not_read_are_bounded() {
    is_bounded(&Frame::ping(1), 1_000_000);
}

#[test]
fn h2_05_settings_whose_answers_are_not_read_are_bounded() {
    is_bounded(&Frame::settings(&[(4, 65_535)]), 500_000);
    let rig = Rig::start(&json!({}));
    let mut raw = client(&rig, &[]);
    raw.send(&Frame::settings(&[(4, 65_535); 2_700])).expect("many settings");
    raw.send(&Frame::headers(1, flag::END_STREAM, &get())).expect("a request");
    let answer = raw.until(|frame| frame.status().is_some()).expect("an answer");
    assert_eq!(answer.and_then(|frame| frame.status()), Some(200));
    drop(raw);
    rig.recovers();
}

#[test]
fn h2_06_empty_data_ends_the_connection() {
    let rig = Rig::start(&json!({}));
    rig.backend.always(Reply { then: Then::Hang, ..Reply::default() });
    let head = Frame::headers(1, 0, &request("POST", "/", &[]));
    ends_by(rig, &[head], &Frame::new(kind::DATA, 0, 1, b""), 200_000);
}

#[test]
fn h2_07_08_frames_that_mean_nothing_are_bounded() {
    let priority = Frame::new(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1]);
    is_bounded(&priority, 200_000);
    is_bounded(&Frame::new(0xee, 0, 0, b"what"), 200_000);
    // One byte each: the window stays below its limit.
    is_bounded(&Frame::new(kind::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()), 200_000);
}

/// Heads whose fields are made by one small entry of the dynamic table.
fn bomb(name: &str, value: &str, times: usize, first: bool) -> Vec<u8> {
    let mut block = get();
    if first {
        block.push(0x40);
        string(&mut block, name.as_bytes());
        string(&mut block, value.as_bytes());
    }
    block.extend(vec![0xbe; times]);
    block
}

#[test]
fn h2_10_11_12_header_bombs_reach_nobody_and_cost_no_memory() {
    let crumb = "c".repeat(3_900);
    for (name, value) in [("x", "y"), ("x", crumb.as_str()), ("cookie", crumb.as_str())] {
        bombed(name, value, 12_000);
    }
    // Empty crumbs are small even by HPACK's measure: their number alone is too large.
    bombed("cookie", "", 1_000);
}

fn bombed(name: &str, value: &str, times: usize) {
    let rig = Rig::start(&json!({}));
    rig.serves();
    let seen = rig.backend.seen_count();
    let before = rig.proxy.memory();
    // Windows of zero: no body of an answer can leave.
    let mut raw = client(&rig, &[(4, 0)]);
    for at in 0..100 {
        let block = bomb(name, value, times, at == 0);
        // It may end before all of them are sent.
        let _ = raw.send(&Frame::headers(2 * at + 1, flag::END_STREAM, &block));
    }
    let grown = rig.proxy.memory().saturating_sub(before);
    let mut answered = 0;
    while answered < 100 {
        // Far beyond the limit it ends the connection.
        let Some(frame) = raw.receive().expect("answers") else { break };
        assert_ne!(frame.status(), Some(200), "{name}");
        answered += usize::from(matches!(frame.kind, kind::HEADERS | kind::RST_STREAM));
        if frame.kind == kind::GOAWAY {
            break;
        }
    }
    let later = rig.proxy.memory().saturating_sub(before);
    assert!(grown.max(later) < MEMORY, "{grown} and {later} KiB more");
    assert_eq!(rig.backend.seen_count(), seen, "{name}");
    drop(raw);
    rig.recovers();
}

#[test]
fn h2_13_a_response_that_is_not_read_is_not_fetched() {
    let rig = Rig::start(&json!({}));
    rig.backend.always(Reply::ok(&"x".repeat(2 << 20)));
    let before = rig.proxy.memory();
    let mut raw = client(&rig, &[(4, 1_000)]);
    for at in 0..50 {
        raw.send(&Frame::headers(2 * at + 1, flag::END_STREAM, &get())).expect("a request");
    }
    for _ in 0..50 {
        raw.until(|frame| frame.kind == kind::HEADERS).expect("heads").expect("a head");
    }
    rig.waits_for("http.in.downstream_rq_active", 50);
    let grown = rig.proxy.memory().saturating_sub(before);
    // Of the 100 MiB a watermark and a read for each stream, both sides.
    assert!(grown < 50 * 256, "{grown} KiB more");
    drop(raw);
    rig.recovers();
}

#[test]
fn h2_14_streams_beyond_the_limit_are_refused_and_abuse_ends() {
    let rig = Rig::start(&json!({"http2_protocol_options": {"max_concurrent_streams": 10}}));
    rig.backend.always(Reply { then: Then::Hang, ..Reply::default() });
    let mut raw = client(&rig, &[]);
    for at in 0..11 {
        raw.send(&Frame::headers(2 * at + 1, flag::END_STREAM, &get())).expect("a request");
    }
    let reset = raw.until(|frame| frame.kind == kind::RST_STREAM).expect("an answer");
    let reset = reset.expect("the connection lives");
    assert_eq!((reset.stream, reset.code()), (21, Some(REFUSED)));
    assert!(raw.alive());
    let more = |at: u32| Frame::headers(2 * at + 1, flag::END_STREAM, &get()).bytes();
    let all: Vec<u8> = (11..20_000).flat_map(more).collect();
    // It may end before all of it is sent.
    let _ = raw.send_bytes(&all);
    let code = end(&mut raw);
    assert!(code == CALM || code == 0, "GOAWAY {code}");
    rig.recovers();
}
