//! What a client may not do, and what becomes of what it may: heads as the pipeline sees them.

use ::h2::client::SendRequest;
use http::Request;

use super::*;

/// A bare `h2` client, the heads that the server saw, and how its connection ended.
async fn bare(opts: Options) -> (SendRequest<Bytes>, Rc<RefCell<Vec<Incoming>>>, Ended) {
    let (client, server) = pair(1 << 18);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let see = seen.clone();
    let ended = serve(server, opts, Rc::default(), move |incoming, mut stream| {
        see.borrow_mut().push(incoming);
        async move {
            stream.push(Outgoing::Head(response(200, true)));
            settle().await;
        }
    });
    let (send, conn) = ::h2::client::handshake(client).await.unwrap();
    spawn_local(async move { drop(conn.await) });
    settle().await;
    (send, seen, ended)
}

fn get(uri: &str) -> Request<()> {
    Request::builder().uri(uri).version(http::Version::HTTP_2).body(()).unwrap()
}

/// What became of a request's head.
async fn seen(request: Request<()>, opts: Options) -> Option<Incoming> {
    let (mut send, seen, _) = bare(opts).await;
    let _ = send.send_request(request, true).unwrap().0.await;
    seen.take().pop()
}

async fn malformed(request: Request<()>) -> ProtocolError {
    match seen(request, Options::default()).await {
        Some(Incoming::Malformed { error, head: Some(_) }) => error,
        other => panic!("{other:?}"),
    }
}

async fn taken(request: Request<()>) -> Box<RequestHead> {
    match seen(request, Options::default()).await {
        Some(Incoming::Head(head)) => head,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn h2_17_host_and_authority_must_agree() {
    run(async {
        let mut request = get("http://a/x?y");
        request.headers_mut().insert("host", HeaderValue::from_static("A"));
        let head = taken(request).await;
        assert_eq!(
            (head.authority.unwrap(), head.path),
            ("a".parse().unwrap(), "/x?y".parse().unwrap())
        );
        assert!(head.headers.is_empty());
        assert_eq!(head.scheme.unwrap(), "http");
        let mut request = get("http://a/");
        request.headers_mut().insert("host", HeaderValue::from_static("b"));
        assert_eq!(malformed(request).await, ProtocolError::BadHost);
        let mut request = get("/");
        *request.version_mut() = http::Version::HTTP_11;
        assert_eq!(malformed(request).await, ProtocolError::MissingHost);
        let mut request = get("/");
        *request.version_mut() = http::Version::HTTP_11;
        request.headers_mut().insert("host", HeaderValue::from_static("b"));
        assert_eq!(taken(request).await.authority.unwrap(), "b");
    })
    .await;
}

#[tokio::test]
async fn h2_10_11_fields_are_counted_cookie_crumbs_too() {
    run(async {
        for name in ["x", "cookie"] {
            let mut request = get("http://a/");
            for _ in 0..101 {
                request.headers_mut().append(name, HeaderValue::from_static("a=b"));
            }
            assert_eq!(malformed(request).await, ProtocolError::TooManyHeaders, "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn h2_16_a_large_head_is_answered_431_and_the_connection_lives() {
    run(async {
        let (mut send, seen, _) = bare(Options::default()).await;
        let mut request = get("http://a/");
        for i in 0..70 {
            let name = http::HeaderName::try_from(format!("x-{i}")).unwrap();
            request.headers_mut().insert(name, "a".repeat(1000).parse().unwrap());
        }
        let answer = send.send_request(request, true).unwrap().0.await;
        assert_eq!(answer.unwrap().status(), 431);
        assert!(seen.borrow().is_empty());
        let answer = send.send_request(get("http://a/"), true).unwrap().0.await;
        assert_eq!(answer.unwrap().status(), 200);
    })
    .await;
}

#[tokio::test]
async fn h2_33_cookie_crumbs_are_joined() {
    run(async {
        let mut request = get("http://a/");
        for crumb in ["a=1", "b=2", "c=3"] {
            request.headers_mut().append("cookie", HeaderValue::from_static(crumb));
        }
        let head = taken(request).await;
        assert_eq!(head.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
    })
    .await;
}

#[tokio::test]
async fn h2_22_paths_without_a_slash_are_refused() {
    run(async {
        assert_eq!(malformed(get("http://a/\u{e9}")).await, ProtocolError::BadTarget);
        let star = |method| {
            let mut request = get("*");
            *request.method_mut() = method;
            *request.version_mut() = http::Version::HTTP_11;
            request.headers_mut().insert("host", HeaderValue::from_static("a"));
            request
        };
        assert_eq!(malformed(star(Method::GET)).await, ProtocolError::BadTarget);
        assert_eq!(taken(star(Method::OPTIONS)).await.path, "*");
    })
    .await;
}

#[tokio::test]
async fn h2_23_a_body_that_differs_from_its_length_is_an_error() {
    for (body, fails) in [("abc", true), ("abcdef", true), ("abcde", false)] {
        run(async move {
            let (client, server) = pair(1 << 16);
            let end = Rc::new(RefCell::new(None));
            let keep = end.clone();
            serve(server, Options::default(), Rc::default(), move |_, mut stream| {
                let keep = keep.clone();
                async move {
                    let got = loop {
                        match part(&mut stream).await {
                            Ok(None) => break Ok(()),
                            Err(error) => break Err(error),
                            Ok(Some(_)) => {}
                        }
                    };
                    *keep.borrow_mut() = Some(got);
                }
            });
            let (mut send, conn) = ::h2::client::handshake(client).await.unwrap();
            spawn_local(async move { drop(conn.await) });
            let mut request = get("http://a/");
            *request.method_mut() = Method::POST;
            request.headers_mut().insert("content-length", 5.into());
            let (_answer, mut stream) = send.send_request(request, false).unwrap();
            stream.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
            settle().await;
            let expected = match fails {
                true => Err(BodyError::Protocol(ProtocolError::Http2Frame)),
                false => Ok(()),
            };
            assert_eq!(end.borrow_mut().take(), Some(expected), "{body}");
        })
        .await;
    }
}

#[tokio::test]
async fn h2_35_extended_connect_is_refused_unless_allowed() {
    run(async {
        let (mut send, seen, _) = bare(Options::default()).await;
        assert!(!send.is_extended_connect_protocol_enabled());
        let mut request = get("http://a/ws");
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(::h2::ext::Protocol::from_static("websocket"));
        let answer = send.send_request(request, false);
        let refused = match answer {
            Err(_) => true,
            Ok((answer, _stream)) => answer.await.is_err(),
        };
        assert!(refused && seen.borrow().is_empty());
    })
    .await;
}

#[tokio::test]
async fn h2_02_rapid_reset_ends_the_connection() {
    run(async {
        let (client, server) = pair(1 << 20);
        let mut accepted = 0;
        let (mut send, conn) = ::h2::client::handshake(client).await.unwrap();
        spawn_local(async move { drop(conn.await) });
        settle().await;
        for _ in 0..200 {
            let Ok((answer, _)) = send.send_request(get("http://a/"), true) else { break };
            yield_now().await;
            drop(answer);
            yield_now().await;
        }
        // The server sees all of it at once.
        let mut conn = ServerConn::new(server, Options::default(), BytesMut::new());
        let end = poll_fn(|cx| {
            loop {
                match std::task::ready!(conn.poll_accept(cx)) {
                    Some(Ok(_)) => accepted += 1,
                    Some(Err(error)) => return Poll::Ready(Some(error)),
                    None => return Poll::Ready(None),
                }
            }
        })
        .await;
        assert_eq!(end, Some(BodyError::Protocol(ProtocolError::Http2Frame)));
        assert!(accepted <= 200);
    })
    .await;
}

#[tokio::test]
async fn bytes_read_for_detection_are_not_lost() {
    run(async {
        let (client, server) = pair(1 << 16);
        let client = spawn_local(connect(client, Options::default()));
        settle().await;
        let mut detect = crate::codec::detect::Detect::new(server);
        let (protocol, io, read) = poll_fn(|cx| detect.poll(cx)).await.unwrap();
        assert_eq!(protocol, crate::codec::detect::Protocol::Http2);
        assert!(!read.is_empty());
        let mut conn = ServerConn::new(io, Options::default(), read);
        spawn_local(async move {
            while let Some(Ok((_, mut stream))) = poll_fn(|cx| conn.poll_accept(cx)).await {
                stream.push(Outgoing::Head(response(200, true)));
            }
        });
        let mut stream = client.await.unwrap().send(&request(Method::GET, "/", true)).unwrap();
        assert_eq!(final_head(&mut stream).await.status, 200);
    })
    .await;
}

#[test]
fn the_preface_tells_http_2_from_http_1() {
    use crate::codec::detect::{PREFACE, Protocol, protocol_of};
    assert_eq!(protocol_of(b""), None);
    assert_eq!(protocol_of(b"PRI * HTTP/2.0\r\n"), None);
    assert_eq!(protocol_of(PREFACE), Some(Protocol::Http2));
    assert_eq!(protocol_of(b"PRI * HTTP/2.0\r\nx"), Some(Protocol::Http1));
    assert_eq!(protocol_of(b"G"), Some(Protocol::Http1));
    assert_eq!(protocol_of(b"PUT /"), Some(Protocol::Http1));
}
