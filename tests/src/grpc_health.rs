//! A backend of `grpc.health.v1.Health`, which answers what a test wrote down, and keeps what it
//! was sent.
//!
//! What an answer says: a number is the status of the service (1 serves), `grpc N` ends the call
//! with that status, `http N` is no gRPC answer at all, `two` says twice that it serves, `cut` says
//! it in part, `reset` breaks off. Once the script is over nothing is answered any more.

use std::collections::VecDeque;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;
use bytes::Bytes;
use h2::Reason;
use h2::server::{self, SendResponse};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// The backend; it ends with the value.
pub struct GrpcHealth {
    address: SocketAddr,
    shared: Arc<Shared>,
    _end: oneshot::Sender<()>,
}

struct Shared {
    /// Guards what is still to be said.
    script: Mutex<VecDeque<String>>,
    /// Guards what was seen.
    seen: Mutex<Vec<String>>,
}

impl GrpcHealth {
    /// Listens on a port that the system chooses, on a thread of its own.
    ///
    /// # Panics
    /// Where the system gives no port.
    #[must_use]
    pub fn start(script: impl IntoIterator<Item = String>) -> Self {
        let (end, ended) = oneshot::channel::<()>();
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let script = Mutex::new(script.into_iter().collect());
        let shared = Arc::new(Shared { script, seen: Mutex::default() });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime for the backend");
            runtime.block_on(async move {
                tokio::select! {
                    () = accept(listener, serving) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, shared, _end: end }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many calls were seen.
    #[must_use]
    pub fn seen_count(&self) -> usize {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The calls that were seen: their heads, and their bodies in hexadecimal digits.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, Arc::clone(&shared)));
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        tokio::spawn(call(request, respond, Arc::clone(&shared)));
    }
    Ok(())
}

async fn call(
    request: Request<h2::RecvStream>,
    respond: SendResponse<Bytes>,
    shared: Arc<Shared>,
) -> Result<()> {
    let (head, mut body) = request.into_parts();
    let mut text = format!("{} {}\n", head.method, head.uri);
    let mut fields: Vec<String> =
        head.headers.iter().map(|(name, value)| format!("{name}: {value:?}\n")).collect();
    fields.sort();
    text.extend(fields);
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        for byte in data {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
    }
    let said = shared.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    match said {
        Some(said) => answer(respond, &said),
        None => {
            let _unanswered = respond;
            std::future::pending().await
        }
    }
}

fn answer(mut respond: SendResponse<Bytes>, said: &str) -> Result<()> {
    let head = Response::builder().header("content-type", "application/grpc");
    if said == "reset" {
        respond.send_reset(Reason::INTERNAL_ERROR);
        return Ok(());
    }
    if let Some(status) = said.strip_prefix("http ") {
        respond.send_response(Response::builder().status(status).body(())?, true)?;
        return Ok(());
    }
    if let Some(status) = said.strip_prefix("grpc ") {
        respond.send_response(head.header("grpc-status", status).body(())?, true)?;
        return Ok(());
    }
    let message = match said {
        "two" => vec![0, 0, 0, 0, 2, 8, 1, 0, 0, 0, 0, 2, 8, 1],
        "cut" => vec![0, 0, 0, 0, 2, 8],
        number => vec![0, 0, 0, 0, 2, 8, number.parse()?],
    };
    let mut stream = respond.send_response(head.body(())?, false)?;
    stream.send_data(message.into(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse()?);
    stream.send_trailers(trailers)?;
    Ok(())
}
