//! HTTP/2: what happens to one stream is nothing to the others.

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode};

use super::*;
use crate::http::drain::DrainLevel;
use crate::http::pipeline::recovery;

/// A client with its connection's driver.
async fn connect(rig: &Rig) -> (SendRequest<Bytes>, Task) {
    let client = rig.connect();
    let (send, connection) = h2::client::handshake(client.io).await.unwrap();
    let task = task::spawn_local("driver", async move {
        let _ended = connection.await;
        client.task.join().await;
    });
    (send, task)
}

async fn get(send: &SendRequest<Bytes>, path: &str) -> Result<Response<RecvStream>, h2::Error> {
    let mut send = send.clone().ready().await?;
    let request = Request::get(format!("http://a.test{path}")).body(()).unwrap();
    send.send_request(request, true)?.0.await
}

async fn body(response: Response<RecvStream>) -> Result<Vec<u8>, h2::Error> {
    let (mut body, mut all) = (response.into_body(), Vec::new());
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        all.extend_from_slice(&part);
    }
    Ok(all)
}

async fn settle(rig: &Rig) {
    let settled = async {
        while rig.stat(HttpStat::DownstreamRqActive) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("every stream ends");
}

/// An upstream that answers when it is told to.
async fn gated() -> (tokio::sync::watch::Sender<()>, u16, Task) {
    let (go, gate) = tokio::sync::watch::channel(());
    let (port, serving) = upstream(move |mut stream| {
        let mut gate = gate.clone();
        async move {
            let Some(_) = read_head(&mut stream).await else { return };
            let _opened = gate.changed().await;
            let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            let _open = read_head(&mut stream).await;
        }
    })
    .await;
    (go, port, serving)
}

/// A request that is at hand while `meanwhile` goes on, which lets it end.
async fn beside(send: &SendRequest<Bytes>, rig: &Rig, meanwhile: impl Future<Output = ()>) {
    let slow = async { body(get(send, "/slow").await.unwrap()).await.unwrap() };
    let begun = async {
        while rig.stat(HttpStat::DownstreamRqActive) == 0 {
            tokio::task::yield_now().await;
        }
        meanwhile.await;
    };
    let (answer, ()) = tokio::join!(slow, begun);
    assert_eq!(answer, b"ok");
}

#[tokio::test(flavor = "local")]
async fn a_panic_on_one_stream_is_nothing_to_the_others() {
    recovery::install_hook();
    let (go, port, _upstream) = gated().await;
    let route = "{match: {prefix: /panic}, direct_response: {status: 200, body: \
                 {inline_string: x}}},";
    let rig = Rig::of(&bootstrap("", &panics::filter("response_body"), route, port));
    let (send, _driver) = connect(&rig).await;
    beside(&send, &rig, async {
        let broken = async { body(get(&send, "/panic").await?).await };
        let error = broken.await.expect_err("the stream is reset");
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        assert_eq!(body(get(&send, "/direct").await.unwrap()).await.unwrap(), b"direct");
        go.send(()).unwrap();
    })
    .await;
    settle(&rig).await;
    rig.assert_settled(3);
    assert_eq!(rig.lines("panics").len(), 1);
}

#[tokio::test(flavor = "local")]
async fn a_drain_lets_open_streams_finish_and_then_ends() {
    let (go, port, _upstream) = gated().await;
    let rig = Rig::new("", "", port);
    let (send, driver) = connect(&rig).await;
    beside(&send, &rig, async {
        rig.drain.raise(DrainLevel::Close);
        go.send(()).unwrap();
    })
    .await;
    tokio::time::timeout(PATIENCE, driver.join()).await.expect("the connection ends");
    assert_eq!(rig.drain.active(), 0);
    rig.assert_settled(1);
}

#[tokio::test(flavor = "local")]
async fn streams_of_a_connection_that_goes_away_are_recorded() {
    let (_go, port, _upstream) = gated().await;
    let rig = Rig::new("", "", port);
    let (send, driver) = connect(&rig).await;
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let send = send.clone();
            task::spawn_local("waiting", async move {
                let _answer = get(&send, "/slow").await;
            })
        })
        .collect();
    while rig.stat(HttpStat::DownstreamRqActive) < 3 {
        tokio::task::yield_now().await;
    }
    drop((driver, send, waiting));
    settle(&rig).await;
    rig.assert_settled(3);
    let lines = rig.lines("requests");
    assert_eq!(lines.iter().filter(|line| line.contains("\"DC\"")).count(), 3, "{lines:#?}");
}

#[tokio::test(flavor = "local")]
async fn a_client_that_resets_its_stream_keeps_its_connection() {
    let (_go, port, _upstream) = gated().await;
    let rig = Rig::new("", "", port);
    let (send, _driver) = connect(&rig).await;
    let mut ready = send.clone().ready().await.unwrap();
    let request = Request::get("http://a.test/slow").body(()).unwrap();
    let (answer, mut stream) = ready.send_request(request, true).unwrap();
    while rig.stat(HttpStat::DownstreamRqActive) == 0 {
        tokio::task::yield_now().await;
    }
    stream.send_reset(Reason::CANCEL);
    drop(answer);
    settle(&rig).await;
    let direct = get(&send, "/direct").await.unwrap();
    assert_eq!(direct.status(), StatusCode::OK);
    assert_eq!(rig.stat(HttpStat::DownstreamRqRxReset), 1);
    settle(&rig).await;
    rig.assert_settled(2);
}

/// Frames around them differ with the peer, so a body is what must be among the bytes.
#[tokio::test(flavor = "local")]
async fn the_bytes_of_a_connection_are_counted_both_ways() {
    let text = "x".repeat(4_000);
    let route = format!(
        "{{match: {{prefix: /large}}, direct_response: {{status: 200, body: \
         {{inline_string: {text}}}}}}},"
    );
    let rig = Rig::of(&bootstrap("max_request_headers_kb: 60,", "", &route, 1));
    let (send, _driver) = connect(&rig).await;
    let bytes = || {
        let received = rig.stat(HttpStat::DownstreamCxRxBytesTotal);
        (received, rig.stat(HttpStat::DownstreamCxTxBytesTotal))
    };
    assert_eq!(body(get(&send, "/direct").await.unwrap()).await.unwrap(), b"direct");
    let before = bytes();
    assert!((30..500).contains(&before.0) && (30..500).contains(&before.1), "{before:?}");
    let path = format!("/large?{}", "~".repeat(10_000));
    assert_eq!(body(get(&send, &path).await.unwrap()).await.unwrap().len(), text.len());
    let grown = (bytes().0 - before.0, bytes().1 - before.1);
    assert!((10_000..20_000).contains(&grown.0) && (4_000..4_500).contains(&grown.1), "{grown:?}");
    settle(&rig).await;
    rig.assert_settled(2);
}
