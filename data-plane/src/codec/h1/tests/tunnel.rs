//! CONNECT and upgrades: raw bytes both ways, and never before the answer says so.

use super::*;

const UPGRADE: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

#[test]
fn an_upgrade_carries_raw_bytes_after_101() {
    let (mut conn, peer) = server();
    peer.feed(UPGRADE);
    assert_eq!(head_of(&mut conn).upgrade.unwrap(), "websocket");
    peer.feed(b"early");
    assert_eq!(body(&mut conn), (String::new(), None, None), "held until the answer");
    conn.push(Outgoing::Head(response(101, &[("upgrade", "websocket")], false)));
    assert!(conn.is_tunnel());
    conn.push(data("raw"));
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    let said =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    assert_eq!(text(&peer), format!("{said}raw"));
    assert_eq!(body(&mut conn), ("early".into(), None, None));
    peer.finish();
    assert_eq!(body(&mut conn), (String::new(), None, Some(Ok(()))), "a half-close");
    conn.push(data("more"));
    conn.push(Outgoing::End);
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    assert_eq!(text(&peer), "more");
    assert!(peer.peer_finished());
    assert!(closes(&mut conn));
}

#[test]
fn h1_35_bytes_behind_a_refused_upgrade_are_the_next_request() {
    let (mut conn, peer) = server();
    peer.feed(UPGRADE);
    peer.feed(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    head_of(&mut conn);
    assert_eq!(body(&mut conn), (String::new(), None, None));
    answer(&mut conn, 200, "no");
    assert_eq!(body(&mut conn), (String::new(), None, Some(Ok(()))));
    assert_eq!(head_of(&mut conn).path, "/next");
}

#[test]
fn connect_opens_with_2xx_alone() {
    for (status, tunnel) in [(200, true), (407, false)] {
        let (mut conn, peer) = server();
        peer.feed(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n");
        head_of(&mut conn);
        conn.push(Outgoing::Head(response(status, &[], false)));
        conn.push(data("x"));
        assert_eq!(conn.is_tunnel(), tunnel);
        now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
        assert_eq!(text(&peer).contains("transfer-encoding"), !tunnel);
    }
}

#[test]
fn a_client_that_leaves_before_the_upgrade_is_answered_is_seen() {
    let (mut conn, peer) = server();
    peer.feed(UPGRADE);
    head_of(&mut conn);
    assert!(now(|cx| conn.poll_closed(cx)).is_none());
    peer.finish();
    assert!(now(|cx| conn.poll_closed(cx)).is_some());
}

fn upgrading() -> (ClientConn<MemIo>, MemIo) {
    let (io, peer) = pair(1 << 20);
    let opts = Rc::new(ClientOptions::default());
    let mut conn = ClientConn::new(io, opts, BufferPool::new(4));
    let mut head = get("/ws", &[]);
    head.ends = false;
    head.upgrade = Some(HeaderValue::from_static("websocket"));
    conn.push_request(&head);
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    (conn, peer)
}

fn head_from(conn: &mut ClientConn<MemIo>) -> ResponseHead {
    match now(|cx| conn.poll_head(cx)) {
        Some(Ok(ResponseEvent::Head(head))) => head,
        other => panic!("no head: {other:?}"),
    }
}

#[test]
fn a_client_upgrades_and_sends_nothing_before_101() {
    let (mut conn, peer) = upgrading();
    let said = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    assert_eq!(text(&peer), said);
    assert!(now(|cx| conn.poll_ready(cx)).is_none(), "held");
    peer.feed(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi",
    );
    assert_eq!(head_from(&mut conn).headers["upgrade"], "websocket");
    assert_eq!(body(&mut conn), ("hi".into(), None, None));
    assert!(now(|cx| conn.poll_ready(cx)).is_some());
    conn.push(data("raw"));
    conn.push(Outgoing::End);
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    assert_eq!(text(&peer), "raw");
    assert!(peer.peer_finished() && !conn.reusable());
}

#[test]
fn h1_36_another_answer_to_an_upgrade_is_an_ordinary_one() {
    let (mut conn, peer) = upgrading();
    peer.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno");
    assert_eq!(head_from(&mut conn).status, 200);
    assert_eq!(body(&mut conn), ("no".into(), None, Some(Ok(()))));
    conn.push(Outgoing::End);
    assert!(!conn.reusable(), "the peer may take it for a tunnel all the same");
}

#[test]
fn a_101_that_says_not_to_what_or_too_early_is_refused() {
    let (mut conn, peer) = upgrading();
    peer.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
    let error = now(|cx| conn.poll_head(cx)).unwrap().unwrap_err();
    assert_eq!(error, BodyError::Protocol(ProtocolError::UnexpectedUpgrade));

    let (io, peer) = pair(1 << 20);
    let mut conn = ClientConn::new(io, Rc::new(ClientOptions::default()), BufferPool::new(4));
    let mut head = get("/ws", &[("content-length", "3")]);
    head.ends = false;
    head.upgrade = Some(HeaderValue::from_static("tcp"));
    conn.push_request(&head);
    conn.push(data("ab"));
    peer.feed(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: tcp\r\n\r\n");
    let error = now(|cx| conn.poll_head(cx)).unwrap().unwrap_err();
    assert_eq!(error, BodyError::Protocol(ProtocolError::UnexpectedUpgrade), "two of three bytes");
}

#[test]
fn a_body_with_a_length_goes_before_the_tunnel() {
    let (io, peer) = pair(1 << 20);
    let mut conn = ClientConn::new(io, Rc::new(ClientOptions::default()), BufferPool::new(4));
    let mut head = get("/ws", &[("content-length", "3")]);
    head.ends = false;
    head.upgrade = Some(HeaderValue::from_static("tcp"));
    conn.push_request(&head);
    conn.push(data("abc"));
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    assert!(text(&peer).ends_with("\r\n\r\nabc"));
    peer.feed(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: tcp\r\n\r\n");
    assert_eq!(head_from(&mut conn).status, 101);
    conn.push(data("raw"));
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    assert_eq!(text(&peer), "raw");
}

#[test]
fn raw_bytes_go_both_ways_without_a_head() {
    let (io, peer) = pair(1 << 20);
    let mut conn = ClientConn::new(io, Rc::new(ClientOptions::default()), BufferPool::new(4));
    conn.start_raw();
    assert_eq!(head_from(&mut conn).status, 200);
    conn.push(data("ping"));
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    assert_eq!(text(&peer), "ping");
    peer.feed(b"HTTP/1.1 pong");
    assert_eq!(body(&mut conn), ("HTTP/1.1 pong".into(), None, None));
    conn.push(Outgoing::End);
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    assert!(peer.peer_finished() && !conn.reusable());
}

#[test]
fn h1_37_a_101_that_nobody_asked_for_is_refused() {
    let (io, peer) = pair(1 << 20);
    let opts = Rc::new(ClientOptions::default());
    let mut conn = ClientConn::new(io, opts, BufferPool::new(4));
    conn.push_request(&get("/x", &[]));
    peer.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
    let error = now(|cx| conn.poll_head(cx)).unwrap().unwrap_err();
    assert_eq!(error, BodyError::Protocol(ProtocolError::UnexpectedUpgrade));
    assert!(!conn.reusable());
}
