//! Calls as gRPC makes them: HTTP/2 on both sides, parts while the other side still sends, and
//! trailers at the end.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, Request};
use tests::backend;
use tests::h2_backend::H2Backend;
use tests::h2_client::{self, Answer, Connection};
use tests::proxy::{Kind, Proxy};

use tests::setup;

#[tokio::test]
async fn a_unary_call_ends_with_its_trailers() -> Result<()> {
    let answer = call("/unary", &["one"]).await?;
    assert_eq!(answer.body, b"one");
    Ok(())
}

#[tokio::test]
async fn a_server_stream_brings_each_part() -> Result<()> {
    let answer = call("/server", &["part"]).await?;
    assert_eq!(answer.body, b"partpartpart");
    Ok(())
}

#[tokio::test]
async fn a_client_stream_is_read_whole() -> Result<()> {
    let answer = call("/client", &["a", "b", "c"]).await?;
    assert_eq!(answer.body, b"abc");
    Ok(())
}

#[tokio::test]
async fn both_sides_speak_in_turn() -> Result<()> {
    let (_backend, _proxy, mut connection) = start().await?;
    let (response, mut send) = connection.begin(request("/bidi")?).await?;
    send.send_data(Bytes::from_static(b"first"), false)?;
    let mut stream = response.await.context("a head before the request's end")?.into_body();
    for word in ["first", "second", "third"] {
        if word != "first" {
            send.send_data(Bytes::from_static(word.as_bytes()), false)?;
        }
        let part = h2_client::data(&mut stream).await?.context("a part")?;
        assert_eq!(part, word.as_bytes());
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-client-end", "yes".parse()?);
    send.send_trailers(trailers)?;
    assert!(h2_client::data(&mut stream).await?.is_none());
    let trailers = stream.trailers().await?.context("trailers")?;
    assert_eq!(trailers.get("x-client-end").map(http::HeaderValue::as_bytes), Some(&b"yes"[..]));
    Ok(())
}

#[tokio::test]
async fn a_reset_of_the_backend_is_a_reset_of_the_client() -> Result<()> {
    let (_backend, _proxy, mut connection) = start().await?;
    let (response, mut send) = connection.begin(request("/reset")?).await?;
    let mut stream = response.await.context("a head before the reset")?.into_body();
    send.send_data(Bytes::from_static(b"now"), false)?;
    let error = h2_client::data(&mut stream).await.expect_err("the backend resets the stream");
    assert!(error.chain().any(|cause| cause.is::<h2::Error>()), "{error:#}");
    let answer = connection.exchange(request("/unary")?, Bytes::from_static(b"x"), None).await?;
    assert_eq!(answer.body, b"x");
    Ok(())
}

async fn call(path: &str, parts: &[&'static str]) -> Result<Answer> {
    let (_backend, _proxy, mut connection) = start().await?;
    let (response, mut send) = connection.begin(request(path)?).await?;
    for (at, part) in parts.iter().enumerate() {
        send.send_data(Bytes::from_static(part.as_bytes()), at + 1 == parts.len())?;
    }
    let answer = h2_client::answer(response).await?;
    assert_eq!(answer.head.status(), 200);
    let trailers = answer.trailers.as_ref().context("trailers")?;
    assert_eq!(trailers.get("grpc-status").map(http::HeaderValue::as_bytes), Some(&b"0"[..]));
    assert!(answer.head.headers().contains_key("x-seen-te"), "te: trailers reaches the backend");
    Ok(answer)
}

async fn start() -> Result<(H2Backend, Proxy, Connection)> {
    let backend = H2Backend::start();
    let text = setup::bootstrap(Vec::new(), backend::dead_address(), backend.address());
    let proxy = tokio::task::spawn_blocking(move || Proxy::start(Kind::Ours, &text)).await?;
    let connection = Connection::open(proxy.listener("main")).await?;
    Ok((backend, proxy, connection))
}

fn request(path: &str) -> Result<Request<()>> {
    let request = Request::post(format!("http://grpc.example{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-to", "h2");
    Ok(request.body(())?)
}
