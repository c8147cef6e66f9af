//! The client role: requests as they are written, answers as they end, when a connection is lent
//! out again.

use super::*;

fn client_with(opts: ClientOptions) -> (ClientConn<MemIo>, MemIo) {
    let (io, peer) = pair(1 << 20);
    (ClientConn::new(io, Rc::new(opts), BufferPool::new(4)), peer)
}

fn client() -> (ClientConn<MemIo>, MemIo) {
    client_with(ClientOptions::default())
}

fn asked(head: &RequestHead) -> (ClientConn<MemIo>, MemIo) {
    let (mut conn, peer) = client();
    conn.push_request(head);
    if !head.ends {
        conn.push(Outgoing::End);
    }
    let _ = now(|cx| conn.poll_flush(cx)).unwrap();
    (conn, peer)
}

fn head_of(conn: &mut ClientConn<MemIo>) -> ResponseHead {
    match now(|cx| conn.poll_head(cx)) {
        Some(Ok(ResponseEvent::Head(head))) => head,
        other => panic!("no head: {other:?}"),
    }
}

fn refused(answer: &[u8]) -> BodyError {
    let (mut conn, peer) = asked(&get("/x", &[]));
    peer.feed(answer);
    peer.finish();
    let error = now(|cx| conn.poll_head(cx)).unwrap().unwrap_err();
    assert!(!conn.reusable());
    error
}

/// Status, body, how it ended, reusable.
fn answered(
    head: &RequestHead,
    answer: &[u8],
) -> (u16, String, Option<Result<(), BodyError>>, bool) {
    let (mut conn, peer) = asked(head);
    peer.feed(answer);
    let status = head_of(&mut conn).status.as_u16();
    let (text, _, end) = body(&mut conn);
    (status, text, end, conn.reusable())
}

#[test]
fn requests_are_written_as_envoy_writes_them() {
    let mut head = get("/x?y", &[("x-a", "1"), ("connection", "x-a"), ("te", "trailers")]);
    let (_, peer) = asked(&head);
    assert_eq!(text(&peer), "GET /x?y HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nte: trailers\r\n\r\n");
    head.headers.clear();
    for (method, said) in [
        (Method::DELETE, ""),
        (Method::TRACE, ""),
        (Method::POST, "content-length: 0\r\n"),
        (Method::OPTIONS, "content-length: 0\r\n"),
    ] {
        head.method = method.clone();
        let (_, peer) = asked(&head);
        assert_eq!(text(&peer), format!("{method} /x?y HTTP/1.1\r\nhost: a\r\n{said}\r\n"));
    }
}

#[test]
fn an_emptied_body_does_not_keep_its_length() {
    let (_, peer) =
        asked(&get("/x", &[("content-length", "44"), ("transfer-encoding", "chunked")]));
    assert_eq!(text(&peer), "GET /x HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
}

#[test]
fn a_body_of_unknown_length_is_chunked_whatever_the_method() {
    let (mut conn, peer) = client();
    let mut head = get("/x", &[]);
    head.ends = false;
    conn.push_request(&head);
    conn.push(data("abc"));
    conn.push(Outgoing::End);
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    let said = "GET /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(text(&peer), format!("{said}3\r\nabc\r\n0\r\n\r\n"));
}

#[test]
fn a_body_that_breaks_its_length_is_never_completed() {
    for parts in [&["abcdef"][..], &["abc"], &["abc", "def"]] {
        let (mut conn, peer) = client();
        let mut head = get("/x", &[("content-length", "5")]);
        head.ends = false;
        conn.push_request(&head);
        for part in parts {
            conn.push(data(part));
        }
        conn.push(Outgoing::End);
        assert_eq!(now(|cx| conn.poll_flush(cx)), Some(Err(BodyError::Closed)));
        peer.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        let _ = now(|cx| conn.poll_head(cx));
        assert!(!conn.reusable());
        assert!(!text(&peer).contains("abcdef"));
    }
}

#[test]
fn answers_end_where_their_framing_says() {
    let ok = Some(Ok(()));
    let plain = get("/x", &[]);
    let cases = [
        ("content-length: 3\r\n\r\nabc", "abc", ok.clone(), true),
        ("content-length: 0\r\n\r\n", "", ok.clone(), true),
        ("transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc", ok.clone(), true),
        ("content-length: 3\r\nconnection: close\r\n\r\nabc", "abc", ok.clone(), false),
        ("content-length: 3\r\n\r\nabcX", "abc", ok.clone(), false),
        ("content-length: 4\r\n\r\nabc", "abc", None, false),
        ("\r\nabc", "abc", None, false),
        ("content-length: 3\r\nkeep-alive: timeout=5\r\n\r\nabc", "abc", ok, true),
    ];
    for (rest, text, end, reusable) in cases {
        let answer = format!("HTTP/1.1 200 OK\r\n{rest}");
        let got = answered(&plain, answer.as_bytes());
        assert_eq!(got, (200, text.to_owned(), end, reusable), "{rest:?}");
    }
}

#[test]
fn http_10_answers_keep_alive_only_if_they_say_so() {
    let plain = get("/x", &[]);
    let old = |rest: &str| answered(&plain, format!("HTTP/1.0 200 OK\r\n{rest}").as_bytes()).3;
    assert!(!old("content-length: 0\r\n\r\n"));
    assert!(old("content-length: 0\r\nconnection: keep-alive\r\n\r\n"));
    assert!(!old("connection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"));
}

#[test]
fn a_body_up_to_the_connections_end_is_complete_there() {
    let (mut conn, peer) = asked(&get("/x", &[]));
    peer.feed(b"HTTP/1.1 200 OK\r\n\r\nabc");
    assert!(!head_of(&mut conn).ends);
    peer.finish();
    assert_eq!(body(&mut conn), ("abc".into(), None, Some(Ok(()))));
    assert!(!conn.reusable());
    let (mut conn, peer) = asked(&get("/x", &[]));
    peer.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc");
    head_of(&mut conn);
    peer.finish();
    assert_eq!(body(&mut conn), ("abc".into(), None, Some(Err(BodyError::Closed))));
}

#[test]
fn h1_28_answers_without_content_have_none_and_what_follows_kills() {
    let mut head = get("/x", &[]);
    for (method, first) in [
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n"),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
    ] {
        head.method = method;
        let (_, text, end, reusable) = answered(&head, first.as_bytes());
        assert_eq!((text.as_str(), end, reusable), ("", Some(Ok(())), true), "{first:?}");
        let (_, text, _, reusable) = answered(&head, format!("{first}hello").as_bytes());
        assert_eq!((text.as_str(), reusable), ("", false), "{first:?}");
    }
}

#[test]
fn broken_answers_are_refused() {
    for (answer, error) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            ProtocolError::ContentLengthAndTransferEncoding,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n",
            ProtocolError::BadContentLength,
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", ProtocolError::BadContentLength),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            ProtocolError::UnsupportedTransferEncoding,
        ),
        (
            "HTTP/1.1 204 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            ProtocolError::BadTransferEncoding,
        ),
        ("HTTP/1.1 200 OK\r\nx : y\r\n\r\n", ProtocolError::BadHeader),
        ("HTTP/1.1 200 OK\r\nx: y\r\n z\r\n\r\n", ProtocolError::BadHeader),
        ("HTTP/2.0 200 OK\r\n\r\n", ProtocolError::BadStatusLine),
        ("HTTP/1.1 99 OK\r\n\r\n", ProtocolError::BadStatusLine),
        ("HTTP/1.1 999 OK\r\n\r\n", ProtocolError::BadStatusLine),
        ("hello", ProtocolError::BadStatusLine),
    ] {
        assert_eq!(refused(answer.as_bytes()), BodyError::Protocol(error), "{answer:?}");
    }
    assert_eq!(refused(b""), BodyError::Closed);
    assert_eq!(refused(b"HTTP/1.1 200 OK\r\n"), BodyError::Closed);
    let long = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(61 * 1024));
    assert_eq!(refused(long.as_bytes()), BodyError::Protocol(ProtocolError::HeadersTooLarge));
}

#[test]
fn crumbs_that_are_no_answer_are_refused_at_the_end() {
    let (mut conn, peer) = asked(&get("/x", &[]));
    peer.feed(b"HTTP/1.1");
    assert!(now(|cx| conn.poll_head(cx)).is_none());
    peer.feed(b"'");
    peer.finish();
    let error = now(|cx| conn.poll_head(cx)).unwrap().unwrap_err();
    assert_eq!(error, BodyError::Protocol(ProtocolError::BadStatusLine));
}

#[test]
fn nothing_received_is_told_apart_for_retries() {
    let (mut conn, peer) = asked(&get("/x", &[]));
    peer.finish();
    assert!(now(|cx| conn.poll_head(cx)).unwrap().is_err());
    assert!(!conn.answered());
}

#[test]
fn informational_heads_come_before_the_answer() {
    let (mut conn, peer) = asked(&get("/x", &[]));
    peer.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    peer.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    for status in [100, 103] {
        match now(|cx| conn.poll_head(cx)) {
            Some(Ok(ResponseEvent::Informational(head))) => assert_eq!(head.status, status),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(head_of(&mut conn).status, 200);
    assert!(conn.reusable());
}

#[test]
fn h1_33_an_answer_before_the_request_is_complete_ends_reuse() {
    let (mut conn, peer) = client();
    let mut head = get("/x", &[]);
    head.ends = false;
    conn.push_request(&head);
    conn.push(data("abc"));
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    peer.feed(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(head_of(&mut conn).status, 413);
    assert!(!conn.reusable());
    conn.push(Outgoing::End);
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    assert!(conn.reusable(), "once it is");
}

#[test]
fn a_connection_is_lent_out_again_and_again() {
    let (io, peer) = pair(1 << 20);
    let pool = BufferPool::new(4);
    let mut conn = ClientConn::new(io, Rc::new(ClientOptions::default()), pool.clone());
    for _ in 0..3 {
        conn.push_request(&get("/x", &[]));
        now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
        peer.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc");
        assert_eq!(head_of(&mut conn).status, 200);
        assert_eq!(body(&mut conn).0, "abc");
        assert!(conn.reusable());
        conn.rest();
        assert_eq!(pool.lent(), 0);
        assert!(conn.check_idle());
        assert!(now(|cx| conn.poll_idle(cx)).is_none());
    }
    assert_eq!(text(&peer).matches("GET /x").count(), 3);
    peer.finish();
    assert!(now(|cx| conn.poll_idle(cx)).is_some());
    assert!(!conn.check_idle());
}

#[test]
fn an_answer_before_any_request_is_never_taken_for_one() {
    let (mut conn, peer) = asked(&get("/x", &[]));
    peer.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
    head_of(&mut conn);
    conn.push_request(&get("/y", &[]));
    assert!(now(|cx| conn.poll_head(cx)).unwrap().is_err());
    assert!(!text(&peer).contains("/y"));
}

#[test]
fn the_whole_url_is_sent_on_demand() {
    let opts = ClientOptions { send_fully_qualified_url: true, ..ClientOptions::default() };
    let (mut conn, peer) = client_with(opts);
    conn.push_request(&get("/x", &[]));
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    assert_eq!(text(&peer), "GET http://a/x HTTP/1.1\r\nhost: a\r\n\r\n");
}

#[test]
fn hop_fields_of_answers_are_gone() {
    let (mut conn, peer) = asked(&get("/x", &[]));
    peer.feed(
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-A\r\nX-A: 1\r\nKeep-Alive: 5\r\n\
          Proxy-Connection: x\r\nUpgrade: h2c\r\nX-B: 2\r\nContent-Length: 0\r\n\r\n",
    );
    let head = head_of(&mut conn);
    let mut names: Vec<_> = head.headers.keys().map(|n| n.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "x-b"]);
}
