//! An HTTP/2 backend with prior knowledge: it echoes each part of a body as it comes, then the
//! trailers it was sent, with `grpc-status: 0` where there were none.
//!
//! What a path says: `/unary`, `/server` (three parts for one), `/client` (one part for all),
//! `/bidi` (a part for a part), `/reset` (the stream is reset at the first part); all others are as
//! `/bidi`. The request's head comes back in `x-seen-*` headers.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use h2::ext::Protocol;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::h2_client;

/// The backend; it ends with the value.
pub struct H2Backend {
    address: SocketAddr,
    _end: oneshot::Sender<()>,
}

impl H2Backend {
    /// Listens on a port that the system chooses, on a thread of its own.
    ///
    /// # Panics
    /// Where the system gives no port.
    #[must_use]
    pub fn start() -> Self {
        let (end, ended) = oneshot::channel::<()>();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime for the backend");
            runtime.block_on(async move {
                tokio::select! {
                    () = accept(listener) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, _end: end }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: std::net::TcpListener) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream));
    }
}

async fn connection(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut builder = server::Builder::new();
    let mut connection = builder.enable_connect_protocol().handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        tokio::spawn(exchange(request, respond));
    }
    Ok(())
}

async fn exchange(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<()> {
    let (parts, mut body) = request.into_parts();
    let mut head = Response::builder().status(200);
    for (name, value) in &parts.headers {
        if let Ok(name) = HeaderName::try_from(format!("x-seen-{name}")) {
            head = head.header(name, value);
        }
    }
    if let Some(kind) = parts.headers.get("content-type") {
        head = head.header("content-type", kind);
    }
    if let Some(protocol) = parts.extensions.get::<Protocol>() {
        head = head.header("x-seen-protocol", protocol.as_str());
    }
    let head = head.header("x-seen-path", parts.uri.path()).body(())?;
    let mut send = respond.send_response(head, false)?;
    match parts.uri.path() {
        "/reset" => {
            h2_client::data(&mut body).await?;
            send.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        "/unary" | "/client" => {
            let whole = whole(&mut body).await?;
            send.send_data(whole, false)?;
        }
        "/server" => {
            let whole = whole(&mut body).await?;
            for _ in 0..3 {
                send.send_data(whole.clone(), false)?;
            }
        }
        _ => echo(&mut body, &mut send).await?,
    }
    let trailers = body.trailers().await?;
    send.send_trailers(trailers.unwrap_or_else(ok))?;
    Ok(())
}

async fn echo(body: &mut RecvStream, send: &mut SendStream<Bytes>) -> Result<()> {
    while let Some(part) = h2_client::data(body).await? {
        send.send_data(part, false)?;
    }
    Ok(())
}

async fn whole(body: &mut RecvStream) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(part) = h2_client::data(body).await? {
        whole.extend_from_slice(&part);
    }
    Ok(whole.freeze())
}

fn ok() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}
