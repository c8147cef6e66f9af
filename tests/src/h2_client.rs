//! An HTTP/2 client with prior knowledge, on the `h2` crate.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A connection; it ends with the value.
pub struct Connection {
    send: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

/// A response that was read to its end.
#[derive(Debug)]
pub struct Answer {
    /// The head.
    pub head: Response<()>,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers, if there were any.
    pub trailers: Option<HeaderMap>,
}

impl Connection {
    /// Connects and exchanges the settings.
    ///
    /// # Errors
    /// What connecting or the handshake says.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let (send, connection) = client::handshake(stream).await.context("handshake")?;
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { send, driver })
    }

    /// Ends the connection; the socket is closed when it returns.
    pub async fn close(mut self) {
        self.driver.abort();
        let _ = (&mut self.driver).await;
    }

    /// Begins a request whose body follows by the returned stream.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn begin(
        &mut self,
        request: Request<()>,
    ) -> Result<(ResponseFuture, SendStream<Bytes>)> {
        let mut ready = self.send.clone().ready().await.context("the connection takes no more")?;
        ready.send_request(request, false).context("sending")
    }

    /// Sends a request without a body and reads its answer.
    ///
    /// # Errors
    /// What the connection or the stream says.
    pub async fn ask(&mut self, request: Request<()>) -> Result<Answer> {
        let mut ready = self.send.clone().ready().await.context("the connection takes no more")?;
        let (response, _) = ready.send_request(request, true).context("sending")?;
        answer(response).await
    }

    /// Sends a request with a body and trailers, if any, and reads its answer.
    ///
    /// # Errors
    /// What the connection or the stream says.
    pub async fn exchange(
        &mut self,
        request: Request<()>,
        body: Bytes,
        trailers: Option<HeaderMap>,
    ) -> Result<Answer> {
        let (response, mut send) = self.begin(request).await?;
        send.send_data(body, trailers.is_none()).context("body")?;
        if let Some(trailers) = trailers {
            send.send_trailers(trailers).context("trailers")?;
        }
        answer(response).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Reads a response to its end.
///
/// # Errors
/// What the stream says, a reset too.
pub async fn answer(response: ResponseFuture) -> Result<Answer> {
    let (parts, mut stream) = response.await.context("head")?.into_parts();
    let mut body = Vec::new();
    while let Some(part) = data(&mut stream).await? {
        body.extend_from_slice(&part);
    }
    let trailers = stream.trailers().await.context("trailers")?;
    Ok(Answer { head: Response::from_parts(parts, ()), body, trailers })
}

/// The next part of a body; its window is given back.
///
/// # Errors
/// What the stream says, a reset too.
pub async fn data(stream: &mut RecvStream) -> Result<Option<Bytes>> {
    let Some(part) = stream.data().await else { return Ok(None) };
    let part = part.context("body")?;
    stream.flow_control().release_capacity(part.len()).context("window")?;
    Ok(Some(part))
}
