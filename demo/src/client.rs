//! One HTTP/1.1 request on a connection of its own: health checks and calls through a sidecar.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How much of an answer is read.
const ANSWER_MAX: usize = 1024 * 1024;

/// An answer that was read to its end.
pub type Answer = http::Response<Bytes>;

/// Asks once; `authority` is where to connect and, unless the request has one, the `Host`.
///
/// # Errors
/// No connection, no answer, no answer in time; the text names the authority.
pub async fn ask(
    authority: &str,
    mut request: http::Request<Empty<Bytes>>,
    within: Duration,
) -> anyhow::Result<Answer> {
    let name = http::HeaderValue::from_str(authority).context("the authority is no header")?;
    request.headers_mut().entry(http::header::HOST).or_insert(name);
    let asked = tokio::time::timeout(within, exchange(authority, request)).await;
    let answer = match asked {
        Ok(answer) => answer,
        Err(_) => Err(anyhow::anyhow!("no answer within {} s", within.as_secs_f32())),
    };
    answer.with_context(|| authority.to_owned())
}

/// A GET without headers.
///
/// # Errors
/// As [`ask`].
pub async fn get(authority: &str, path: &str, within: Duration) -> anyhow::Result<Answer> {
    let request = http::Request::get(path).body(Empty::new()).context("not a path")?;
    ask(authority, request, within).await
}

async fn exchange(authority: &str, request: http::Request<Empty<Bytes>>) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        Ok(http::Response::from_parts(head, body))
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answered = &mut answer => answered,
        // The connection may end with the answer's last byte; what was read is still there.
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}
