//! The server of the admin interface: HTTP/1 by hyper, on the control runtime.
//!
//! Pages are plain functions and run on the blocking pool, since a page over ten thousand clusters
//! takes a while and the control runtime has xDS to serve meanwhile.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::State;
use super::pages::{self, Sources};
use super::reply::Reply;
use crate::base::pattern::StringMatcher;
use crate::base::task;
use crate::telemetry::WorkerId;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::stats::{
    AdminListenerStat, Group, HttpStat, ListenerHttpStat, Registry, Scope,
};

/// Connections served at once; further ones wait in the listen queue.
const CONNECTIONS_MAX: usize = 256;
/// Time that a client has for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of a request's head.
const HEAD_MAX: usize = 64 * 1024;
/// Most bytes of a request's body that are read.
const BODY_MAX: usize = 64 * 1024;
/// Pause after an accept that failed (no file descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the admin interface behaves.
#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// `admin.allow_paths`; empty: all paths are answered.
    pub allow_paths: Vec<StringMatcher>,
    /// `server` header; Envoy's is `envoy`.
    pub server_name: HeaderValue,
}

impl Default for AdminOptions {
    fn default() -> Self {
        Self { allow_paths: Vec::new(), server_name: HeaderValue::from_static("envoy") }
    }
}

/// The admin interface. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

struct Inner {
    sources: Sources,
    server_name: HeaderValue,
    slots: Arc<Semaphore>,
    http: Group<HttpStat>,
    listener: Group<AdminListenerStat>,
    responses: Group<ListenerHttpStat>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// Pages over `state` and the two trees of figures.
    #[must_use]
    pub fn new(state: State, registry: Registry, metrics: Metrics, options: AdminOptions) -> Self {
        let http = registry.group(Scope::http("admin"));
        let listener = registry.group(Scope::plain("listener.admin."));
        let responses = registry.group(Scope::admin_http());
        let sources = Sources { state, registry, metrics, allow_paths: options.allow_paths };
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let server_name = options.server_name;
        let inner = Inner { sources, server_name, slots, http, listener, responses };
        Self { inner: Arc::new(inner) }
    }

    /// What a page answers; `target` is path and query.
    #[must_use]
    pub fn answer(&self, method: &str, target: &str, body: &str) -> Reply {
        pages::answer(&self.inner.sources, method, target, body)
    }

    /// Serves connections of `listener` until this future is dropped; connections that are open
    /// then finish by themselves.
    pub async fn serve(self, listener: TcpListener) -> Infallible {
        loop {
            let slot = self.slot().await;
            match listener.accept().await {
                Ok((stream, _)) => self.connection(stream, slot),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    /// As [`Admin::serve`], for a Unix socket.
    pub async fn serve_unix(self, listener: UnixListener) -> Infallible {
        loop {
            let slot = self.slot().await;
            match listener.accept().await {
                Ok((stream, _)) => self.connection(stream, slot),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.inner.slots).acquire_owned().await.ok()
    }

    fn connection<S>(&self, stream: S, slot: Option<OwnedSemaphorePermit>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let admin = self.clone();
        let served = async move {
            let counted = Connection::open(&admin.inner);
            let service = service_fn(|request| admin.request(request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(HEAD_MAX)
                .serve_connection(TokioIo::new(stream), service);
            // A client that breaks off is its own affair.
            let _ = connection.await;
            drop((counted, slot));
        };
        task::spawn("admin connection", served).detach();
    }

    async fn request(&self, request: Request<Incoming>) -> Result<Response<Chunked>, Infallible> {
        self.count(HttpStat::DownstreamRqTotal);
        self.count(HttpStat::DownstreamRqHttp1Total);
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        let reply = match Limited::new(body, BODY_MAX).collect().await {
            Ok(body) => {
                let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
                let admin = self.clone();
                let method = head.method;
                let work = move || admin.answer(method.as_str(), &target, &body);
                let failed = |_| Reply::error(500, "the page failed\n");
                tokio::task::spawn_blocking(work).await.unwrap_or_else(failed)
            }
            Err(_) => Reply::error(413, "the request's body is too large\n"),
        };
        self.count_response(reply.status);
        Ok(self.response(reply))
    }

    fn response(&self, reply: Reply) -> Response<Chunked> {
        let mut response = Response::new(Chunked(Some(reply.body.into())));
        // Pages use codes of the standard range.
        *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
        let no_cache = HeaderValue::from_static("no-cache, max-age=0");
        headers.insert(header::CACHE_CONTROL, no_cache);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::SERVER, self.inner.server_name.clone());
        response
    }

    fn count(&self, stat: HttpStat) {
        self.inner.http.inc(WorkerId::CONTROL, stat);
    }

    fn count_response(&self, status: u16) {
        let (by_http, by_listener) = match status / 100 {
            2 => (HttpStat::DownstreamRq2xx, ListenerHttpStat::DownstreamRq2xx),
            3 => (HttpStat::DownstreamRq3xx, ListenerHttpStat::DownstreamRq3xx),
            4 => (HttpStat::DownstreamRq4xx, ListenerHttpStat::DownstreamRq4xx),
            _ => (HttpStat::DownstreamRq5xx, ListenerHttpStat::DownstreamRq5xx),
        };
        self.count(HttpStat::DownstreamRqCompleted);
        self.count(by_http);
        let responses = &self.inner.responses;
        responses.inc(WorkerId::CONTROL, ListenerHttpStat::DownstreamRqCompleted);
        responses.inc(WorkerId::CONTROL, by_listener);
    }
}

/// A connection as the statistics see it.
struct Connection {
    http: Group<HttpStat>,
    listener: Group<AdminListenerStat>,
}

const OPENED: [HttpStat; 4] = [
    HttpStat::DownstreamCxTotal,
    HttpStat::DownstreamCxHttp1Total,
    HttpStat::DownstreamCxActive,
    HttpStat::DownstreamCxHttp1Active,
];
const OPENED_BY_LISTENER: [AdminListenerStat; 4] = [
    AdminListenerStat::DownstreamCxTotal,
    AdminListenerStat::MainThreadDownstreamCxTotal,
    AdminListenerStat::DownstreamCxActive,
    AdminListenerStat::MainThreadDownstreamCxActive,
];

impl Connection {
    fn open(admin: &Inner) -> Self {
        let (http, listener) = (admin.http.clone(), admin.listener.clone());
        for stat in OPENED {
            http.inc(WorkerId::CONTROL, stat);
        }
        for stat in OPENED_BY_LISTENER {
            listener.inc(WorkerId::CONTROL, stat);
        }
        Self { http, listener }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for stat in &OPENED[2..] {
            self.http.dec(WorkerId::CONTROL, *stat);
        }
        for stat in &OPENED_BY_LISTENER[2..] {
            self.listener.dec(WorkerId::CONTROL, *stat);
        }
        self.http.inc(WorkerId::CONTROL, HttpStat::DownstreamCxDestroy);
        self.listener.inc(WorkerId::CONTROL, AdminListenerStat::DownstreamCxDestroy);
    }
}

/// A body of unsaid length, so that it goes out chunked, as Envoy's admin does.
struct Chunked(Option<Bytes>);

impl Body for Chunked {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = self.0.take().filter(|bytes| !bytes.is_empty());
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
