//! Underscores in names, fields of trailers, and peers that no longer answer PINGs.

use std::time::Duration;

use http::Request;
use tokio::time;

use super::*;
use crate::base::clock;
use crate::codec::h1::Underscores;
use crate::config::http_protocol::Http2Keepalive;

/// A request with a field and trailers of ours, and what the server makes of them.
async fn asked(
    opts: Options,
    field: &'static str,
    trailers: HeaderMap,
) -> (Incoming, Result<Option<BodyPart>, BodyError>) {
    let (client, server) = pair(1 << 18);
    let seen = Rc::new(RefCell::new(None));
    let see = seen.clone();
    serve(server, opts, Rc::default(), move |incoming, mut stream| {
        let see = see.clone();
        async move {
            let part = poll_fn(|cx| stream.poll_part(cx, usize::MAX)).await;
            *see.borrow_mut() = Some((incoming, part));
            stream.push(Outgoing::Head(response(200, true)));
            settle().await;
        }
    });
    let (mut send, conn) = ::h2::client::handshake(client).await.unwrap();
    spawn_local(async move { drop(conn.await) });
    let request = Request::builder().uri("http://a/").header(field, "v").body(()).unwrap();
    let (_answer, mut body) = send.send_request(request, false).unwrap();
    body.send_trailers(trailers).unwrap();
    settle().await;
    seen.take().expect("the server saw it")
}

fn fields(names: &[&'static str]) -> HeaderMap {
    let field =
        |name: &&'static str| (http::HeaderName::from_static(name), HeaderValue::from_static("v"));
    names.iter().map(field).collect()
}

#[tokio::test]
async fn names_with_an_underscore_are_dropped_or_refused_in_heads_and_trailers() {
    run(async {
        let with = |underscores| Options { underscores, ..Options::default() };
        let both = || fields(&["t_a", "t-b"]);
        let (incoming, part) = asked(with(Underscores::Allow), "x_a", both()).await;
        assert!(matches!(incoming, Incoming::Head(head) if head.headers.contains_key("x_a")));
        assert!(matches!(part, Ok(Some(BodyPart::Trailers(map))) if map.len() == 2));
        let (incoming, part) = asked(with(Underscores::Drop), "x_a", both()).await;
        assert!(matches!(incoming, Incoming::Head(head) if head.headers.is_empty()));
        assert!(matches!(part, Ok(Some(BodyPart::Trailers(map))) if map == fields(&["t-b"])));
        let (incoming, _) = asked(with(Underscores::Reject), "x_a", both()).await;
        let refused = Incoming::Malformed { error: ProtocolError::UnderscoreHeader, head: None };
        assert_eq!(std::mem::discriminant(&incoming), std::mem::discriminant(&refused));
        let (_, part) = asked(with(Underscores::Reject), "x-a", both()).await;
        assert_eq!(part.unwrap_err(), BodyError::Protocol(ProtocolError::UnderscoreHeader));
    })
    .await;
}

#[tokio::test]
async fn trailers_have_no_more_fields_than_a_head() {
    run(async {
        let opts = || Options { max_headers_count: 2, ..Options::default() };
        let (_, part) = asked(opts(), "a", fields(&["a", "b"])).await;
        assert!(matches!(part, Ok(Some(BodyPart::Trailers(_)))));
        let (_, part) = asked(opts(), "a", fields(&["a", "b", "c"])).await;
        assert_eq!(part.unwrap_err(), BodyError::Protocol(ProtocolError::TooManyHeaders));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_stays_and_one_that_does_not_is_given_up() {
    run(async {
        let rules = Http2Keepalive {
            interval: Some(Duration::from_secs(10)),
            timeout: Duration::from_secs(2),
            interval_jitter_percent: 0,
        };
        let opts = Options { keepalive: Some(rules), ..Options::default() };
        let (client, server) = pair(1 << 18);
        let (_conn, driver) = ClientConn::handshake(client, opts.clone()).await.unwrap();
        let driver = spawn_local(driver);
        let peer = spawn_local(async move {
            let mut conn = ServerConn::new(server, Options::default(), BytesMut::new());
            poll_fn(|cx| conn.poll_accept(cx).map(drop)).await;
        });
        time::sleep(Duration::from_secs(100)).await;
        assert!(!driver.is_finished(), "it answers");
        drop(peer);
        // Nobody reads at the other end.
        let (client, _silent) = pair(1 << 18);
        let (conn, driver) = ClientConn::handshake(client, opts).await.unwrap();
        let started = clock::now();
        assert_eq!(driver.await, Err(BodyError::Closed));
        assert_eq!(started.elapsed().as_secs(), 12);
        assert!(conn.is_closed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_a_ping_unanswered_is_given_up_after_the_timeout() {
    run(async {
        let rules = Http2Keepalive {
            interval: Some(Duration::from_secs(10)),
            timeout: Duration::from_secs(2),
            interval_jitter_percent: 0,
        };
        let (client, server) = pair(1 << 18);
        let held = spawn_local(::h2::client::handshake(client));
        let mut conn = ServerConn::new(server, Options::default(), BytesMut::new());
        let mut pings = None;
        let started = clock::now();
        poll_fn(|cx| {
            assert!(conn.poll_accept(cx).is_pending(), "the connection stands");
            if pings.is_none() {
                pings = conn.take_ping_pong().and_then(|handle| Pings::new(handle, rules));
            }
            pings.as_mut().map_or(Poll::Pending, |pings| pings.poll(cx))
        })
        .await;
        assert_eq!(started.elapsed().as_secs(), 12);
        drop(held);
    })
    .await;
}
