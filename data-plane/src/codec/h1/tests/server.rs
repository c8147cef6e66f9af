//! The server role: bodies, answers, keep-alive, closing.

use super::*;

const GET: &[u8] = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

fn chunked(body: &str) -> Vec<u8> {
    format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into_bytes()
}

fn chunks(body: &str) -> Whole {
    let opts = ServerOptions { enable_trailers: true, ..ServerOptions::default() };
    let (mut conn, peer) = server_with(opts);
    peer.feed(&chunked(body));
    head_of(&mut conn);
    super::body(&mut conn)
}

#[test]
fn a_request_is_answered_and_another_follows() {
    let (mut conn, peer) = server();
    for _ in 0..3 {
        peer.feed(GET);
        assert!(head_of(&mut conn).ends);
        assert_eq!(body(&mut conn), (String::new(), None, Some(Ok(()))));
        answer(&mut conn, 200, "hello");
        assert_eq!(text(&peer), "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
        assert!(now(|cx| conn.poll_next(cx)).is_none());
    }
    peer.finish();
    assert!(closes(&mut conn));
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let (io, peer) = pair(1 << 20);
    let pool = BufferPool::new(4);
    let mut conn = ServerConn::new(io, Rc::new(ServerOptions::default()), pool.clone());
    assert!(now(|cx| conn.poll_next(cx)).is_none());
    assert_eq!(pool.lent(), 0);
    peer.feed(GET);
    head_of(&mut conn);
    assert_eq!(pool.lent(), 1);
    answer(&mut conn, 200, "");
    assert!(now(|cx| conn.poll_next(cx)).is_none());
    assert_eq!((pool.lent(), pool.spare()), (0, 1));
    assert!(conn.is_idle());
    assert!(size_of::<ServerConn<tokio::net::TcpStream>>() <= 768);
}

#[test]
fn chunks_are_decoded_as_rfc_9112_says() {
    let whole = |text: &str| (text.to_owned(), None, Some(Ok(())));
    for fine in [
        "3\r\nabc\r\n0\r\n\r\n",
        "3;a=b;c=\"d\"\r\nabc\r\n0;x\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3 ;a\r\nabc\r\n0\r\n\r\n",
        "0000000000000000000003\r\nabc\r\n000\r\n\r\n",
        "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
    ] {
        assert_eq!(chunks(fine), whole("abc"), "{fine:?}");
    }
}

#[test]
fn broken_chunks_are_told_where_they_break() {
    for (odd, before) in [
        ("zz\r\nabc\r\n0\r\n\r\n", ""),
        ("\r\nabc\r\n", ""),
        (" 3\r\nabc\r\n", ""),
        ("0x3\r\nabc\r\n", ""),
        ("-3\r\nabc\r\n", ""),
        ("3\nabc\r\n0\r\n\r\n", ""),
        ("3;a\nabc\r\n0\r\n\r\n", ""),
        ("3;a\rb\r\nabc\r\n", ""),
        ("3;a\0\r\nabc\r\n", ""),
        ("fffffffffffffffff\r\nabc", ""),
        ("3\r\nabc\n0\r\n\r\n", "abc"),
        ("3\r\nabcXX0\r\n\r\n", "abc"),
        ("3\r\nabc\r\n0\n\n", "abc"),
        ("3\r\nabc\r\n0\r\n\n", "abc"),
    ] {
        let (text, _, end) = chunks(odd);
        assert_eq!(text, before, "{odd:?}");
        assert_eq!(end, Some(Err(BodyError::Protocol(ProtocolError::BadChunk))), "{odd:?}");
    }
    let extension = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(5000));
    assert_eq!(chunks(&extension).2, Some(Err(BodyError::Protocol(ProtocolError::BadChunk))));
}

#[test]
fn h1_24_trailers_are_kept_apart_and_forbidden_ones_dropped() {
    let (text, trailers, end) = chunks(
        "3\r\nabc\r\n0\r\nX-t: 1\r\nContent-Length: 5\r\nHost: z\r\nTransfer-Encoding: chunked\r\n\
         Authorization: x\r\nx-envoy-internal: true\r\n\r\n",
    );
    assert_eq!((text.as_str(), end), ("abc", Some(Ok(()))));
    let trailers = trailers.unwrap();
    assert_eq!((trailers.len(), &trailers["x-t"]), (1, &HeaderValue::from_static("1")));
    let many: String = (0..101).map(|i| format!("x-{i}: a\r\n")).collect();
    let error = chunks(&format!("0\r\n{many}\r\n")).2;
    assert_eq!(error, Some(Err(BodyError::Protocol(ProtocolError::TooManyHeaders))));
    let error = chunks(&format!("0\r\nx: {}", "a".repeat(17 * 1024))).2;
    assert_eq!(error, Some(Err(BodyError::Protocol(ProtocolError::HeadersTooLarge))));
    let error = chunks("0\r\nX t: 1\r\n\r\n").2;
    assert_eq!(error, Some(Err(BodyError::Protocol(ProtocolError::BadHeader))));
}

#[test]
fn trailers_are_read_and_dropped_unless_enabled() {
    let (mut conn, peer) = server();
    peer.feed(&chunked("1\r\na\r\n0\r\nx-t: 1\r\n\r\n"));
    head_of(&mut conn);
    assert_eq!(body(&mut conn), ("a".into(), None, Some(Ok(()))));
}

#[test]
fn h1_25_a_short_body_is_an_error() {
    let (mut conn, peer) = server();
    peer.feed(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabcde");
    peer.finish();
    head_of(&mut conn);
    assert_eq!(body(&mut conn), ("abcde".into(), None, Some(Err(BodyError::Closed))));
}

#[test]
fn h1_26_27_a_body_is_as_long_as_it_says_whatever_it_looks_like() {
    let (mut conn, peer) = server();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let n = smuggled.len();
    peer.feed(
        format!("GET /1 HTTP/1.1\r\nHost: a\r\nContent-Length: {n}\r\n\r\n{smuggled}").as_bytes(),
    );
    peer.feed(b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    peer.feed(b"GET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head_of(&mut conn).path, "/1");
    assert_eq!(body(&mut conn).0, smuggled);
    answer(&mut conn, 200, "");
    for path in ["/2", "/3"] {
        assert_eq!(head_of(&mut conn).path, path);
        answer(&mut conn, 200, "");
    }
}

#[test]
fn parts_keep_to_the_limit() {
    let (mut conn, peer) = server();
    peer.feed(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789");
    head_of(&mut conn);
    let part = now(|cx| conn.poll_part(cx, 4)).unwrap().unwrap();
    assert_eq!(part, Some(BodyPart::Data(Bytes::from_static(b"0123"))));
}

#[test]
fn h1_29_continue_goes_before_the_answer() {
    let (mut conn, peer) = server();
    peer.feed(b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(head_of(&mut conn).headers["expect"], "100-continue");
    conn.push(Outgoing::Informational(response(100, &[], true)));
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    assert_eq!(text(&peer), "HTTP/1.1 100 Continue\r\n\r\n");
    conn.push(Outgoing::Informational(response(103, &[("link", "</a>")], true)));
    peer.feed(b"abc");
    assert_eq!(body(&mut conn).0, "abc");
    answer(&mut conn, 200, "ok");
    assert_eq!(
        text(&peer),
        "HTTP/1.1 103 Unknown\r\nlink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    );
}

#[test]
fn h1_30_pipelined_requests_come_one_by_one_up_to_the_bad_one() {
    let (mut conn, peer) = server();
    for _ in 0..20 {
        peer.feed(GET);
    }
    peer.feed(b"GE\0T / HTTP/1.1\r\n\r\n");
    peer.feed(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..20 {
        head_of(&mut conn);
        answer(&mut conn, 200, "ok");
    }
    assert_eq!(text(&peer).matches("HTTP/1.1 200 OK").count(), 20);
    let next = now(|cx| conn.poll_next(cx));
    assert!(matches!(next, Some(Incoming::Malformed { error: ProtocolError::BadCharacter, .. })));
    answer(&mut conn, 400, "no");
    assert_eq!(
        text(&peer),
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"
    );
    assert!(now(|cx| conn.poll_next(cx)).is_none(), "lingers");
    assert!(peer.peer_finished());
    peer.finish();
    assert!(closes(&mut conn));
}

#[test]
fn h1_31_a_client_that_does_not_read_is_not_read_from() {
    let (io, peer) = pair(64 * 1024);
    let mut conn = ServerConn::new(io, Rc::new(ServerOptions::default()), BufferPool::new(4));
    peer.feed(&GET.repeat(3));
    head_of(&mut conn);
    conn.push(Outgoing::Head(response(200, &[], false)));
    let mut pushed = 0;
    while now(|cx| conn.poll_ready(cx)).is_some() {
        conn.push(Outgoing::Part(BodyPart::Data(vec![b'x'; 16 * 1024].into())));
        pushed += 16 * 1024;
        assert!(pushed < 1 << 20, "no back-pressure");
    }
    conn.push(Outgoing::End);
    assert!(now(|cx| conn.poll_next(cx)).is_none(), "the answer is not out");
    let mut got = Vec::new();
    while now(|cx| conn.poll_flush(cx)).is_none() {
        got.extend(peer.drain());
    }
    got.extend(peer.drain());
    assert!(got.ends_with(b"0\r\n\r\n"));
    assert_eq!(got.iter().filter(|b| **b == b'x').count(), pushed);
    head_of(&mut conn);
}

#[test]
fn h1_32_an_answer_before_the_body_closes_and_lingers() {
    let (mut conn, peer) = server();
    peer.feed(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
    head_of(&mut conn);
    conn.push(Outgoing::Head(response(403, &[], true)));
    assert!(now(|cx| conn.poll_next(cx)).is_none());
    let said = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    assert_eq!(text(&peer), said);
    peer.feed(GET);
    assert!(now(|cx| conn.poll_next(cx)).is_none(), "dropped, not parsed");
    peer.feed(&vec![b'x'; 2 << 20]);
    assert!(closes(&mut conn), "not for ever");
}

#[test]
fn an_unread_body_that_is_already_here_is_dropped() {
    let (mut conn, peer) = server();
    peer.feed(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    peer.feed(GET);
    head_of(&mut conn);
    answer(&mut conn, 200, "");
    assert_eq!(head_of(&mut conn).path, "/x");
}

#[test]
fn h1_44_a_client_that_left_is_seen_though_its_request_is_complete() {
    let (mut conn, peer) = server();
    peer.feed(GET);
    head_of(&mut conn);
    assert!(now(|cx| conn.poll_closed(cx)).is_none());
    peer.feed(GET);
    assert!(now(|cx| conn.poll_closed(cx)).is_none(), "pipelining is not leaving");
    peer.finish();
    assert!(now(|cx| conn.poll_closed(cx)).is_some());
}

#[test]
fn draining_says_close_on_the_answer_at_hand() {
    let (mut conn, peer) = server();
    peer.feed(GET);
    head_of(&mut conn);
    conn.set_close();
    answer(&mut conn, 200, "x");
    assert!(text(&peer).contains("\r\nconnection: close\r\n"));
    assert!(closes(&mut conn));
    let (mut conn, _peer) = server();
    assert!(now(|cx| conn.poll_next(cx)).is_none());
    conn.set_close();
    assert!(closes(&mut conn), "an idle one closes at once");
}

#[test]
fn a_close_among_the_answers_fields_closes() {
    let (mut conn, peer) = server();
    peer.feed(GET);
    head_of(&mut conn);
    conn.push(Outgoing::Head(response(200, &[("connection", "close")], true)));
    assert!(closes(&mut conn));
    assert_eq!(text(&peer), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
}

#[test]
fn an_unknown_length_is_chunked_and_trailers_ride_along_if_enabled() {
    for (enabled, end) in [(true, "0\r\nx-t: 1\r\n\r\n"), (false, "0\r\n\r\n")] {
        let opts = ServerOptions { enable_trailers: enabled, ..ServerOptions::default() };
        let (mut conn, peer) = server_with(opts);
        peer.feed(GET);
        head_of(&mut conn);
        conn.push(Outgoing::Head(response(200, &[], false)));
        conn.push(data("0123456789abcdef0"));
        let mut trailers = HeaderMap::new();
        trailers.insert("x-t", HeaderValue::from_static("1"));
        trailers.insert("content-length", HeaderValue::from_static("1"));
        conn.push(Outgoing::Part(BodyPart::Trailers(trailers)));
        now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(text(&peer), format!("{head}11\r\n0123456789abcdef0\r\n{end}"));
    }
}

#[test]
fn an_http_10_client_gets_its_body_up_to_the_end() {
    let opts = ServerOptions { accept_http_10: true, ..ServerOptions::default() };
    let (mut conn, peer) = server_with(opts);
    peer.feed(b"GET /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    head_of(&mut conn);
    conn.push(Outgoing::Informational(response(103, &[], true)));
    conn.push(Outgoing::Head(response(200, &[], false)));
    conn.push(data("abc"));
    conn.push(Outgoing::End);
    assert!(closes(&mut conn));
    assert_eq!(text(&peer), "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nabc");
}

#[test]
fn http_10_keep_alive_is_confirmed() {
    let opts = ServerOptions { accept_http_10: true, ..ServerOptions::default() };
    let (mut conn, peer) = server_with(opts);
    peer.feed(b"GET /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    head_of(&mut conn);
    answer(&mut conn, 200, "abc");
    let head = "HTTP/1.0 200 OK\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\n";
    assert_eq!(text(&peer), format!("{head}abc"));
    assert!(now(|cx| conn.poll_next(cx)).is_none());
}

#[test]
fn an_answer_that_breaks_its_length_breaks_the_connection() {
    for parts in [&["abc"][..], &["abc", "def"], &[]] {
        let (mut conn, peer) = server();
        peer.feed(GET);
        peer.feed(GET);
        head_of(&mut conn);
        conn.push(Outgoing::Head(response(200, &[("content-length", "5")], false)));
        for part in parts {
            conn.push(data(part));
        }
        conn.push(Outgoing::End);
        assert!(now(|cx| conn.poll_flush(cx)).unwrap().is_err());
        assert!(closes(&mut conn));
        assert!(text(&peer).len() <= "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc".len());
    }
}

#[test]
fn a_reset_ends_without_a_proper_end() {
    let (mut conn, peer) = server();
    peer.feed(GET);
    head_of(&mut conn);
    conn.push(Outgoing::Head(response(200, &[], false)));
    conn.push(data("abc"));
    conn.push(Outgoing::Reset(crate::codec::ResetCode::Internal));
    assert!(closes(&mut conn));
    assert!(text(&peer).ends_with("3\r\nabc\r\n"));
}

#[test]
fn answers_to_head_and_without_content_have_no_body() {
    for ((method, status, fields, said), ends) in [
        ("HEAD", 200, &[("content-length", "5")][..], "content-length: 5\r\n"),
        ("HEAD", 200, &[], "transfer-encoding: chunked\r\n"),
        ("HEAD", 204, &[], ""),
        ("HEAD", 304, &[], ""),
        ("GET", 304, &[("content-length", "5")], "content-length: 5\r\n"),
        ("GET", 204, &[("content-length", "5")], ""),
        ("GET", 204, &[("transfer-encoding", "chunked")], ""),
    ]
    .into_iter()
    .flat_map(|case| [(case, true), (case, false)])
    {
        let (mut conn, peer) = server();
        peer.feed(format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        peer.feed(GET);
        head_of(&mut conn);
        conn.push(Outgoing::Head(response(status, fields, ends)));
        if !ends {
            conn.push(data("hello"));
            conn.push(Outgoing::End);
        }
        now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
        let all = text(&peer);
        assert_eq!(all.split_once("\r\n").unwrap().1, format!("{said}\r\n"), "{method} {status}");
        head_of(&mut conn);
    }
}

#[test]
fn large_parts_go_out_uncopied_and_in_order() {
    let (mut conn, peer) = server();
    peer.feed(GET);
    head_of(&mut conn);
    conn.push(Outgoing::Head(response(200, &[], false)));
    let mut expected = Vec::new();
    for (byte, n) in [(b'a', 5000), (b'b', 10), (b'c', 70_000), (b'd', 4096)] {
        conn.push(Outgoing::Part(BodyPart::Data(vec![byte; n].into())));
        expected.extend(format!("{n:x}\r\n").bytes());
        expected.extend(vec![byte; n]);
        expected.extend(b"\r\n");
    }
    conn.push(Outgoing::End);
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    let got = peer.drain();
    let start = got.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    expected.extend(b"0\r\n\r\n");
    assert!(got[start..] == expected[..]);
}

#[test]
fn names_can_be_written_in_proper_case() {
    let opts = ServerOptions { name_case: NameCase::Proper, ..ServerOptions::default() };
    let (mut conn, peer) = server_with(opts);
    peer.feed(GET);
    head_of(&mut conn);
    conn.push(Outgoing::Head(response(200, &[("x-foo$b#a", "v")], true)));
    now(|cx| conn.poll_flush(cx)).unwrap().unwrap();
    assert_eq!(text(&peer), "HTTP/1.1 200 OK\r\nX-Foo$B#A: v\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_missing_host_may_leave_the_connection_open() {
    let opts =
        ServerOptions { stream_error_on_invalid_http_message: true, ..ServerOptions::default() };
    let (mut conn, peer) = server_with(opts);
    peer.feed(b"GET /x HTTP/1.1\r\n\r\n");
    peer.feed(GET);
    let next = now(|cx| conn.poll_next(cx));
    assert!(matches!(next, Some(Incoming::Malformed { error: ProtocolError::MissingHost, .. })));
    conn.push(Outgoing::Head(response(400, &[], true)));
    head_of(&mut conn);
}

#[test]
fn h1_41_a_head_in_crumbs_costs_no_quadratic_work() {
    let (mut conn, peer) = server();
    let head = format!("GET /x HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(60_000));
    for byte in head.as_bytes().chunks(1) {
        assert!(now(|cx| conn.poll_next(cx)).is_none());
        peer.feed(byte);
    }
    assert_eq!(head_of(&mut conn).headers["x"].len(), 60_000);
}
