//! Both roles against each other over a pipe in memory, and the server role against a bare `h2`
//! client that breaks rules.

mod limits;
mod rules;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::task::{LocalSet, spawn_local, yield_now};

use super::*;
use crate::codec::io::mem::{MemIo, pair};
use crate::codec::{
    BodyPart, Downstream, Incoming, Outgoing, RequestHead, ResponseEvent, ResponseHead, Sink,
    Source, Upstream, Version,
};

/// What the server's accept loop left behind.
type Ended = Rc<RefCell<Option<Option<BodyError>>>>;

/// Serves `io` until its end, a task a stream; `drain` flips GOAWAY on.
fn serve<F: Future<Output = ()> + 'static>(
    io: MemIo,
    opts: Options,
    drain: Rc<Cell<bool>>,
    handle: impl Fn(Incoming, ServerStream) -> F + 'static,
) -> Ended {
    let ended = Ended::default();
    let end = ended.clone();
    spawn_local(async move {
        let mut conn = ServerConn::new(io, opts, BytesMut::new());
        let last = poll_fn(|cx| {
            loop {
                if drain.take() {
                    conn.graceful_shutdown();
                }
                match std::task::ready!(conn.poll_accept(cx)) {
                    Some(Ok((incoming, stream))) => {
                        drop(spawn_local(handle(incoming, stream)));
                    }
                    Some(Err(error)) => return Poll::Ready(Some(error)),
                    None => return Poll::Ready(None),
                }
            }
        })
        .await;
        *end.borrow_mut() = Some(last);
    });
    ended
}

async fn connect(io: MemIo, opts: Options) -> ClientConn {
    let (conn, driver) = ClientConn::handshake(io, opts).await.unwrap();
    spawn_local(driver);
    settle().await;
    conn
}

/// Lets every task run until nothing moves.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

async fn run(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

fn request(method: Method, path: &'static str, ends: bool) -> RequestHead {
    RequestHead {
        method,
        scheme: None,
        authority: Some(HeaderValue::from_static("a")),
        path: HeaderValue::from_static(path),
        version: Version::Http2,
        headers: HeaderMap::new(),
        ends,
        upgrade: None,
    }
}

fn response(status: u16, ends: bool) -> ResponseHead {
    let status = StatusCode::from_u16(status).unwrap();
    ResponseHead { status, version: Version::Http2, headers: HeaderMap::new(), ends }
}

fn data(bytes: impl Into<Bytes>) -> Outgoing {
    Outgoing::Part(BodyPart::Data(bytes.into()))
}

fn trailers() -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", HeaderValue::from_static("0"));
    map
}

async fn head(stream: &mut ClientStream) -> Result<ResponseEvent, BodyError> {
    poll_fn(|cx| stream.poll_head(cx)).await
}

async fn final_head(stream: &mut ClientStream) -> ResponseHead {
    match head(stream).await {
        Ok(ResponseEvent::Head(head)) => head,
        other => panic!("no head: {other:?}"),
    }
}

async fn part(source: &mut impl Source) -> Result<Option<BodyPart>, BodyError> {
    poll_fn(|cx| source.poll_part(cx, 64 * 1024)).await
}

async fn flush(sink: &mut impl Sink) -> Result<(), BodyError> {
    poll_fn(|cx| sink.poll_flush(cx)).await
}

async fn body(source: &mut impl Source) -> (Vec<u8>, Option<HeaderMap>) {
    let (mut bytes, mut map) = (Vec::new(), None);
    while let Some(part) = part(source).await.unwrap() {
        match part {
            BodyPart::Data(data) => bytes.extend(data),
            BodyPart::Trailers(trailers) => map = Some(trailers),
        }
    }
    (bytes, map)
}

/// Sends a request's body back, part by part, with its trailers.
async fn echo(incoming: Incoming, mut stream: ServerStream) {
    assert!(matches!(incoming, Incoming::Head(_)), "{incoming:?}");
    stream.push(Outgoing::Head(response(200, false)));
    while let Ok(Some(part)) = part(&mut stream).await {
        let last = matches!(part, BodyPart::Trailers(_));
        if poll_fn(|cx| stream.poll_ready(cx)).await.is_err() {
            return;
        }
        stream.push(Outgoing::Part(part));
        if last {
            let _ = flush(&mut stream).await;
            return;
        }
    }
    stream.push(Outgoing::End);
    let _ = flush(&mut stream).await;
}

async fn echo_client(opts: Options) -> ClientConn {
    let (client, server) = pair(1 << 16);
    serve(server, opts.clone(), Rc::default(), echo);
    connect(client, opts).await
}

#[tokio::test]
async fn a_request_is_answered() {
    run(async {
        let mut conn = echo_client(Options::default()).await;
        let mut stream = conn.send(&request(Method::GET, "/x?y", true)).unwrap();
        assert_eq!(conn.streams(), 1);
        let head = final_head(&mut stream).await;
        assert_eq!((head.status, head.version), (StatusCode::OK, Version::Http2));
        assert_eq!(body(&mut stream).await, (vec![], None));
        drop(stream);
        assert_eq!((conn.streams(), conn.usable()), (0, true));
    })
    .await;
}

#[tokio::test]
async fn h2_34_trailers_go_both_ways() {
    run(async {
        let mut conn = echo_client(Options::default()).await;
        let mut stream = conn.send(&request(Method::POST, "/", false)).unwrap();
        stream.push(data("hello"));
        stream.push(Outgoing::Part(BodyPart::Trailers(trailers())));
        flush(&mut stream).await.unwrap();
        assert!(stream.request_sent());
        final_head(&mut stream).await;
        assert_eq!(body(&mut stream).await, (b"hello".to_vec(), Some(trailers())));
    })
    .await;
}

#[tokio::test]
async fn a_large_body_passes_small_windows_both_ways() {
    run(async {
        let opts = Options {
            initial_stream_window_size: 1024,
            initial_connection_window_size: 65_535,
            high_watermark: 2048,
            ..Options::default()
        };
        let mut conn = echo_client(opts).await;
        let mut stream = conn.send(&request(Method::POST, "/", false)).unwrap();
        let sent: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        let (mut got, mut chunks) = (Vec::new(), sent.chunks(5000));
        let (mut open, mut headed) = (true, false);
        poll_fn(|cx| {
            loop {
                let mut moved = false;
                while open && stream.poll_ready(cx).is_ready() {
                    moved = true;
                    match chunks.next() {
                        Some(chunk) => stream.push(data(chunk.to_vec())),
                        None => {
                            stream.push(Outgoing::End);
                            open = false;
                        }
                    }
                }
                let _ = stream.poll_flush(cx);
                if !headed {
                    std::task::ready!(stream.poll_head(cx)).unwrap();
                    headed = true;
                }
                match stream.poll_part(cx, 700) {
                    Poll::Ready(Ok(Some(BodyPart::Data(part)))) => {
                        assert!(part.len() <= 700);
                        got.extend(part);
                    }
                    Poll::Ready(Ok(None)) => return Poll::Ready(()),
                    Poll::Ready(other) => panic!("{other:?}"),
                    Poll::Pending if moved => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
        assert!(got == sent);
    })
    .await;
}

#[tokio::test]
async fn h2_13_a_peer_that_does_not_read_holds_the_sender_back() {
    run(async {
        let (client, server) = pair(1 << 20);
        let pushed = Rc::new(Cell::new(0));
        let count = pushed.clone();
        let opts = Options { initial_stream_window_size: 1024, ..Options::default() };
        serve(server, Options::default(), Rc::default(), move |_, mut stream| {
            let count = count.clone();
            async move {
                stream.push(Outgoing::Head(response(200, false)));
                while poll_fn(|cx| stream.poll_ready(cx)).await.is_ok() {
                    stream.push(data(vec![0; 1000]));
                    count.set(count.get() + 1000);
                    assert!(count.get() < 1 << 20, "no back-pressure");
                }
            }
        });
        let mut conn = connect(client, opts).await;
        let mut stream = conn.send(&request(Method::GET, "/", true)).unwrap();
        final_head(&mut stream).await;
        settle().await;
        let before = pushed.get();
        assert!(before < 200_000);
        for _ in 0..10 {
            part(&mut stream).await.unwrap();
        }
        settle().await;
        assert!(pushed.get() > before, "pulling opens the window");
    })
    .await;
}

#[tokio::test]
async fn early_hints_come_before_the_answer() {
    run(async {
        let (client, server) = pair(1 << 16);
        serve(server, Options::default(), Rc::default(), |_, mut stream| async move {
            stream.push(Outgoing::Informational(response(103, true)));
            settle().await;
            stream.push(Outgoing::Head(response(200, true)));
        });
        let mut conn = connect(client, Options::default()).await;
        let mut stream = conn.send(&request(Method::GET, "/", true)).unwrap();
        match head(&mut stream).await {
            Ok(ResponseEvent::Informational(head)) => assert_eq!(head.status, 103),
            other => panic!("{other:?}"),
        }
        let head = final_head(&mut stream).await;
        assert_eq!((head.status, head.ends), (StatusCode::OK, true));
    })
    .await;
}

#[tokio::test]
async fn h2_25_a_clients_reset_is_seen_before_and_while_answering() {
    for answer in [false, true] {
        run(async move {
            let (client, server) = pair(1 << 16);
            let seen = Rc::new(RefCell::new(None));
            let see = seen.clone();
            serve(server, Options::default(), Rc::default(), move |_, mut stream| {
                let see = see.clone();
                async move {
                    if answer {
                        stream.push(Outgoing::Head(response(200, false)));
                    }
                    let why = poll_fn(|cx| stream.poll_closed(cx)).await;
                    *see.borrow_mut() = Some(why);
                }
            });
            let mut conn = connect(client, Options::default()).await;
            let mut stream = conn.send(&request(Method::POST, "/", false)).unwrap();
            settle().await;
            assert!(seen.borrow().is_none());
            stream.push(Outgoing::Reset(ResetCode::Cancelled));
            settle().await;
            assert_eq!(*seen.borrow(), Some(BodyError::Reset(ResetCode::Cancelled)));
        })
        .await;
    }
}

#[tokio::test]
async fn a_dropped_stream_is_reset() {
    run(async {
        let (client, server) = pair(1 << 16);
        let seen = Rc::new(Cell::new(false));
        let see = seen.clone();
        serve(server, Options::default(), Rc::default(), move |_, mut stream| {
            let see = see.clone();
            async move {
                poll_fn(|cx| stream.poll_closed(cx)).await;
                see.set(true);
            }
        });
        let mut conn = connect(client, Options::default()).await;
        let stream = conn.send(&request(Method::POST, "/", false)).unwrap();
        settle().await;
        drop(stream);
        settle().await;
        assert!(seen.get());
    })
    .await;
}

#[tokio::test]
async fn h2_29_a_servers_reset_tells_its_code() {
    for code in [ResetCode::Refused, ResetCode::Internal, ResetCode::Other(11)] {
        run(async move {
            let (client, server) = pair(1 << 16);
            serve(server, Options::default(), Rc::default(), move |_, mut stream| async move {
                stream.push(Outgoing::Reset(code));
                settle().await;
            });
            let mut conn = connect(client, Options::default()).await;
            let mut stream = conn.send(&request(Method::GET, "/", true)).unwrap();
            assert_eq!(head(&mut stream).await.unwrap_err(), BodyError::Reset(code));
            assert!(!stream.answered());
            assert!(conn.usable());
        })
        .await;
    }
}

#[tokio::test]
async fn h2_32_draining_finishes_what_is_open_and_takes_nothing_new() {
    run(async {
        let (client, server) = pair(1 << 16);
        let drain = Rc::new(Cell::new(false));
        let ended = serve(server, Options::default(), drain.clone(), echo);
        let mut conn = connect(client, Options::default()).await;
        let mut stream = conn.send(&request(Method::POST, "/", false)).unwrap();
        stream.push(data("be"));
        flush(&mut stream).await.unwrap();
        settle().await;
        drain.set(true);
        stream.push(data("fore"));
        flush(&mut stream).await.unwrap();
        settle().await;
        assert!(!conn.usable());
        stream.push(Outgoing::End);
        flush(&mut stream).await.unwrap();
        final_head(&mut stream).await;
        assert_eq!(body(&mut stream).await.0, b"before");
        drop(stream);
        settle().await;
        assert_eq!(*ended.borrow(), Some(None));
        assert!(conn.is_closed());
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_breaks_ends_its_streams() {
    run(async {
        let (client, server) = pair(1 << 16);
        let mut conn = connect(client, Options::default()).await;
        let mut stream = conn.send(&request(Method::GET, "/", true)).unwrap();
        drop(server);
        assert_eq!(head(&mut stream).await.unwrap_err(), BodyError::Closed);
        settle().await;
        assert!(conn.is_closed() && !conn.usable());
        assert!(conn.send(&request(Method::GET, "/", true)).is_err());
    })
    .await;
}

#[tokio::test]
async fn a_body_that_breaks_its_length_resets_the_stream() {
    for parts in [&["abcdef"][..], &["abc"], &["abc", "def"]] {
        run(async move {
            let (client, server) = pair(1 << 16);
            let result = Rc::new(RefCell::new(None));
            let keep = result.clone();
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
            let mut conn = connect(client, Options::default()).await;
            let mut head = request(Method::POST, "/", false);
            head.headers.insert("content-length", 5.into());
            let mut stream = conn.send(&head).unwrap();
            for part in parts {
                stream.push(data(*part));
            }
            stream.push(Outgoing::End);
            let broken = BodyError::Protocol(ProtocolError::BodyLengthMismatch);
            assert_eq!(flush(&mut stream).await, Err(broken));
            settle().await;
            let got = result.borrow().clone();
            assert_eq!(got, Some(Err(BodyError::Reset(ResetCode::Internal))));
        })
        .await;
    }
}

#[tokio::test]
async fn answers_without_content_end_with_their_head() {
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 304), (Method::GET, 204)] {
        run(async move {
            let (client, server) = pair(1 << 16);
            serve(server, Options::default(), Rc::default(), move |_, mut stream| async move {
                let mut head = response(status, false);
                head.headers.insert("content-length", 5.into());
                stream.push(Outgoing::Head(head));
                stream.push(data("hello"));
                stream.push(Outgoing::End);
                flush(&mut stream).await.unwrap();
            });
            let mut conn = connect(client, Options::default()).await;
            let mut stream = conn.send(&request(method, "/", true)).unwrap();
            let head = final_head(&mut stream).await;
            assert_eq!((head.status.as_u16(), head.ends), (status, true));
            assert_eq!(head.headers.contains_key("content-length"), status != 204);
        })
        .await;
    }
}

#[tokio::test]
async fn extended_connect_reads_as_an_upgrade_on_both_sides() {
    run(async {
        let (client, server) = pair(1 << 16);
        let opts = Options { allow_connect: true, ..Options::default() };
        serve(server, opts.clone(), Rc::default(), |incoming, mut stream| async move {
            let Incoming::Head(head) = incoming else { panic!("{incoming:?}") };
            assert_eq!((head.method, head.path.as_bytes()), (Method::GET, &b"/ws"[..]));
            assert_eq!((head.upgrade.unwrap(), head.ends), ("websocket".parse().unwrap(), false));
            stream.push(Outgoing::Head(response(101, false)));
            while let Ok(Some(part)) = part(&mut stream).await {
                stream.push(Outgoing::Part(part));
                flush(&mut stream).await.unwrap();
            }
            stream.push(Outgoing::End);
            flush(&mut stream).await.unwrap();
        });
        let mut conn = connect(client, opts).await;
        let mut head = request(Method::GET, "/ws", false);
        head.upgrade = Some(HeaderValue::from_static("websocket"));
        let mut stream = conn.send(&head).unwrap();
        let held = poll_fn(|cx| Poll::Ready(stream.poll_ready(cx).is_pending())).await;
        assert!(held, "nothing before the answer");
        let head = final_head(&mut stream).await;
        assert_eq!(
            (head.status.as_u16(), &head.headers["upgrade"]),
            (101, &HeaderValue::from_static("websocket"))
        );
        stream.push(data("raw"));
        flush(&mut stream).await.unwrap();
        assert_eq!(part(&mut stream).await.unwrap(), Some(BodyPart::Data("raw".into())));
        stream.push(Outgoing::End);
        flush(&mut stream).await.unwrap();
        assert_eq!(part(&mut stream).await.unwrap(), None);
    })
    .await;
}
