//! Properties: how the bytes were cut changes nothing, what is written is read back as it was.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What a connection made of a stream of bytes, as text.
fn events(bytes: &[u8], cuts: &[usize]) -> String {
    let opts = ServerOptions { enable_trailers: true, ..ServerOptions::default() };
    let (mut conn, peer) = server_with(opts);
    let mut log = String::new();
    let (mut from, mut open) = (0, false);
    for to in cuts.iter().copied().chain([bytes.len()]) {
        let to = to.clamp(from, bytes.len());
        peer.feed(&bytes[from..to]);
        from = to;
        run(&mut conn, &mut log, &mut open);
    }
    peer.finish();
    run(&mut conn, &mut log, &mut open);
    log
}

/// Goes on until nothing is ready.
fn run(conn: &mut ServerConn<MemIo>, log: &mut String, open: &mut bool) {
    while log.len() < 100_000 {
        if *open {
            let (text, trailers, end) = body(conn);
            log.push_str(&text);
            if let Some(map) = trailers {
                log.push_str(&format!(" trailers {map:?}"));
            }
            match end {
                None => return,
                Some(Ok(())) => answer(conn, 200, "ok"),
                Some(Err(error)) => {
                    log.push_str(&format!(" error {error:?}"));
                    conn.push(Outgoing::Reset(crate::codec::ResetCode::Protocol));
                }
            }
            *open = false;
        }
        match now(|cx| conn.poll_next(cx)) {
            None => return,
            Some(Incoming::Closed) => {
                if !log.ends_with("closed") {
                    log.push_str(" closed");
                }
                return;
            }
            Some(Incoming::Head(head)) => {
                log.push_str(&format!("\n{head:?} "));
                *open = true;
            }
            Some(Incoming::Malformed { error, .. }) => {
                log.push_str(&format!("\nmalformed {error:?}"));
                conn.push(Outgoing::Head(response(400, &[], true)));
            }
        }
    }
}

const MESSAGES: [&str; 12] = [
    "GET /a HTTP/1.1\r\nHost: a\r\nx-b: c\r\n\r\n",
    "\r\nGET /lf HTTP/1.1\nHost: a\n\n",
    "POST /l HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
     3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
    "POST /t HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
     1\r\nd\r\n0\r\nx-t: 1\r\nx-u: 2\r\n\r\n",
    "POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "POST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "GET /close HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /nul HTTP/1.1\r\nHost: a\r\nx: a\0b\r\n\r\n",
    "GET /colon HTTP/1.1\r\nHost: a\r\nx : b\r\n\r\n",
    "FOO / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /old HTTP/1.0\r\n\r\n",
];

fn config() -> ProptestConfig {
    ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_cut_of_the_bytes_gives_the_same_events(
        picks in vec(0..MESSAGES.len(), 1..5),
        mut cuts in vec(0_usize..600, 0..12),
    ) {
        let bytes: Vec<u8> = picks.iter().flat_map(|i| MESSAGES[*i].bytes()).collect();
        cuts.sort_unstable();
        prop_assert_eq!(events(&bytes, &cuts), events(&bytes, &[]));
    }

    #[test]
    fn any_bytes_are_taken_or_refused_without_a_panic(
        bytes in vec(prop_oneof![
            Just(b'\r'), Just(b'\n'), Just(b' '), Just(b':'), Just(b'0'), Just(b'a'), any::<u8>(),
        ], 0..200),
        start in 0..MESSAGES.len(),
        keep in 0_usize..120,
    ) {
        let mut all = MESSAGES[start].as_bytes()[..keep.min(MESSAGES[start].len())].to_vec();
        all.extend(bytes);
        events(&all, &[]);
    }

    #[test]
    fn a_written_request_is_read_back(
        fields in vec(("[a-z][a-z0-9-]{0,12}", "[!-~]{0,20}"), 0..8),
        parts in vec(vec(any::<u8>(), 1..9000), 0..5),
        length in any::<bool>(),
        cuts in vec(0_usize..4000, 0..6),
    ) {
        let mut head = get("/p?q", &[]);
        for (name, value) in &fields {
            let special = super::super::fields::special(name.as_bytes()).is_some();
            if !special {
                head.headers.append(
                    http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    value.parse().unwrap(),
                );
            }
        }
        let whole = parts.concat();
        head.method = Method::POST;
        head.ends = false;
        if length {
            head.headers.insert("content-length", whole.len().into());
        }
        let (io, wire) = pair(1 << 20);
        let opts = Rc::new(ClientOptions::default());
        let mut client = ClientConn::new(io, opts, BufferPool::new(1));
        client.push_request(&head);
        for part in parts {
            client.push(Outgoing::Part(BodyPart::Data(part.into())));
        }
        client.push(Outgoing::End);
        now(|cx| client.poll_flush(cx)).unwrap().unwrap();
        let bytes = wire.drain();

        let (mut conn, peer) = server();
        let (mut got, mut from) = (Vec::new(), 0);
        let mut read = None;
        let mut cuts = cuts;
        cuts.sort_unstable();
        for to in cuts.into_iter().chain([bytes.len()]) {
            let to = to.clamp(from, bytes.len());
            peer.feed(&bytes[from..to]);
            from = to;
            if read.is_none() {
                match now(|cx| conn.poll_next(cx)) {
                    Some(Incoming::Head(head)) => read = Some(head),
                    None => continue,
                    other => panic!("{other:?}"),
                }
            }
            while let Some(Ok(Some(BodyPart::Data(part)))) = now(|cx| conn.poll_part(cx, 1000)) {
                got.extend(part);
            }
        }
        let read = read.unwrap();
        prop_assert_eq!(&read.headers, &head.headers);
        prop_assert_eq!(&read.path, &head.path);
        prop_assert!(conn.request_complete());
        prop_assert_eq!(got, whole);
    }
}
