//! A small HTTP server for the demo's services: HTTP/1.1 and HTTP/2 by prior knowledge.
//!
//! It ends in good order when its token says so: it stops accepting, lets requests finish for a
//! few seconds, and leaves.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long requests may take after the end was asked for.
const GRACE: Duration = Duration::from_secs(5);

/// After a failed accept (too many open files), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a service gets.
pub type Request = http::Request<Incoming>;

/// What a service answers with.
pub type Reply = http::Response<UnsyncBoxBody<Bytes, Infallible>>;

/// A service breaks the connection instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the service broke the connection")
    }
}

impl std::error::Error for Broken {}

/// Something that answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one.
    fn answer(&self, request: Request) -> impl Future<Output = Result<Reply, Broken>> + Send;
}

/// A JSON document and a newline.
#[must_use]
pub fn json(status: http::StatusCode, document: &serde_json::Value) -> Reply {
    let body = Full::new(Bytes::from(format!("{document}\n")));
    let mut reply = http::Response::new(UnsyncBoxBody::new(body));
    *reply.status_mut() = status;
    let kind = http::HeaderValue::from_static("application/json");
    reply.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    reply
}

/// Binds; the error is one line that names the address and what to do.
///
/// # Errors
/// What the system says.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| cannot_listen(address, &error))
}

/// One line on why an address cannot be used, and what helps.
pub(crate) fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    if error.kind() == std::io::ErrorKind::AddrInUse {
        let port = address.port();
        return anyhow::anyhow!(
            "{address} is in use by another program (`ss -ltnp 'sport = :{port}'` shows it); \
             end it, or choose another address (see --help)"
        );
    }
    anyhow::anyhow!("cannot listen on {address}: {error}")
}

/// Serves until `stop`, then lets what is in flight finish.
pub async fn run<S: Service>(listener: TcpListener, service: Arc<S>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        // Cancel-safe: accept loses no connection, and a cancelled token stays cancelled.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let serving = connection(stream, Arc::clone(&service), stop.clone());
                connections.spawn(serving);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!("some requests were still running at the end");
    }
}

async fn connection<S: Service>(stream: TcpStream, service: Arc<S>, stop: CancellationToken) {
    // Without it small answers may wait for the peer's acknowledgement; no harm if it fails.
    let _slower = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { service.answer(request).await }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let serving = builder.serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}
