//! A check by an HTTP request.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::record::{Failure, Record, Verdict};
use super::session::{Probe, address};
use crate::base::task::{self, Task};
use crate::cluster::connect::{Socket, connect};
use crate::cluster::host::{HealthFlag, Host};
use crate::config::cluster::health::HttpCheck;
use crate::telemetry::WorkerId;

/// Who asks.
pub(super) const CHECKER: HeaderValue = HeaderValue::from_static("Envoy/HC");

/// The host says that it is not to get requests until it is well again, counts included.
const IMMEDIATE_FAIL: HeaderName = HeaderName::from_static("x-envoy-immediate-health-check-fail");
const DEGRADED: HeaderName = HeaderName::from_static("x-envoy-degraded");
const CHECKED_CLUSTER: HeaderName =
    HeaderName::from_static("x-envoy-upstream-healthchecked-cluster");

/// The body of a request.
#[derive(Debug)]
pub(super) struct Question {
    bytes: Bytes,
    /// Whether its length is told ahead.
    sized: bool,
}

impl Question {
    /// One whose length is not told ahead, as gRPC has it.
    pub(super) fn unsized_of(bytes: Bytes) -> Self {
        Self { bytes, sized: false }
    }
}

impl Body for Question {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.get_mut().bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.sized {
            true => SizeHint::with_exact(self.bytes.len() as u64),
            false => SizeHint::default(),
        }
    }
}

/// A connection for checks.
#[derive(Debug)]
pub(super) struct Link {
    sender: Sender,
    /// Moves its bytes, until this drops.
    _driver: Task,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Question>),
    Http2(http2::SendRequest<Question>),
}

impl Link {
    /// The connection that was kept, if it takes another request, else a new one.
    pub(super) async fn take_or_open(
        kept: &mut Option<Self>,
        host: &Host,
        probe: &Probe,
        http2: bool,
    ) -> Option<Self> {
        if let Some(mut link) = kept.take()
            && link.is_usable().await
        {
            return Some(link);
        }
        Self::open(host, probe, http2).await
    }

    /// A connection to where a host is asked.
    async fn open(host: &Host, probe: &Probe, http2: bool) -> Option<Self> {
        let opened = connect(address(host), &probe.connect, WorkerId::CONTROL).await;
        let opened = opened.inspect_err(|error| {
            tracing::debug!(host = %host.address(), %error, "no connection for a health check");
        });
        let io = TokioIo::new(opened.ok()?);
        match http2 {
            false => Self::open_http1(io).await,
            true => Self::open_http2(io).await,
        }
    }

    async fn open_http1(io: TokioIo<Socket>) -> Option<Self> {
        let (sender, driver) = http1::handshake(io).await.ok()?;
        let driver = task::spawn("health check connection", async move {
            // The request that is under way learns of the end itself.
            let _ended = driver.await;
        });
        Some(Self { sender: Sender::Http1(sender), _driver: driver })
    }

    async fn open_http2(io: TokioIo<Socket>) -> Option<Self> {
        let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await.ok()?;
        let driver = task::spawn("health check connection", async move {
            let _ended = driver.await;
        });
        Some(Self { sender: Sender::Http2(sender), _driver: driver })
    }

    /// Whether it takes another request.
    async fn is_usable(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender) => sender.ready().await.is_ok(),
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Sends a request and waits for the answer's head.
    pub(super) async fn ask(
        &mut self,
        request: Request<Question>,
    ) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => sender.send_request(request).await,
            Sender::Http2(sender) => sender.send_request(request).await,
        }
    }
}

/// Asks once.
pub(super) async fn check(
    check: &HttpCheck,
    host: &Host,
    probe: &Probe,
    record: &Record,
    kept: &mut Option<Link>,
) -> Verdict {
    let network = Verdict::Failed(Failure::Network);
    let Some(mut link) = Link::take_or_open(kept, host, probe, check.http2).await else {
        return network;
    };
    let request = request(check, host, probe.connect.tls.is_some());
    let Ok(answer) = link.ask(request).await else { return network };
    let (head, body) = answer.into_parts();
    let Some(body) = read(body, check.response_buffer_bytes).await else { return network };
    *kept = Some(link);
    let verdict = judge(check, head.status.as_u16(), &head.headers, &body, record);
    if matches!(verdict, Verdict::Failed(_)) && head.headers.contains_key(IMMEDIATE_FAIL) {
        host.set_flag(HealthFlag::ExcludedByImmediateHc, true);
    }
    verdict
}

fn judge(
    check: &HttpCheck,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
    record: &Record,
) -> Verdict {
    if !check.expected.iter().any(|range| range.contains(&status)) {
        let retriable = check.retriable.iter().any(|range| range.contains(&status));
        return Verdict::Failed(Failure::Answer { retriable });
    }
    let failed = Verdict::Failed(Failure::Answer { retriable: false });
    if !contains(body, &check.receive) {
        return failed;
    }
    if let Some(name) = &check.service_name {
        record.identity_looked_at();
        let told = headers.get(CHECKED_CLUSTER).map_or(&b""[..], HeaderValue::as_bytes);
        if !name.is_match(told) {
            return failed;
        }
    }
    Verdict::Passed { degraded: headers.contains_key(DEGRADED) }
}

fn request(check: &HttpCheck, host: &Host, tls: bool) -> Request<Question> {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, authority(host, &check.host));
    headers.insert(USER_AGENT, CHECKER);
    if !check.http2 && check.send.is_empty() && carries_body(&check.method) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    check.headers.apply(&mut headers);
    // HTTP/2 says it by the end of the stream.
    let sized = !check.http2 || !check.send.is_empty();
    let mut request = Request::new(Question { bytes: check.send.clone(), sized });
    *request.method_mut() = check.method.clone();
    let path = check.path.clone();
    *request.uri_mut() = match check.http2 {
        false => Uri::from(path),
        true => absolute(&mut headers, host, path, tls),
    };
    *request.headers_mut() = headers;
    request
}

/// Whether a request of this method says that it has no body.
fn carries_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::OPTIONS)
}

/// The host's own name for checks, else the one of the cluster's check.
pub(super) fn authority(host: &Host, of_check: &HeaderValue) -> HeaderValue {
    let own = HeaderValue::from_str(&host.check().hostname).ok();
    own.filter(|name| !name.is_empty()).unwrap_or_else(|| of_check.clone())
}

/// The target in HTTP/2's form, for which `host` is taken.
pub(super) fn absolute(
    headers: &mut HeaderMap,
    host: &Host,
    path: http::uri::PathAndQuery,
    tls: bool,
) -> Uri {
    let name = headers.remove(HOST);
    let named = name.and_then(|name| Authority::try_from(name.as_bytes()).ok());
    // A cluster's name may be no authority; the address always is one.
    let named = named.or_else(|| Authority::try_from(address(host).to_string()).ok());
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if tls { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP });
    parts.authority = Some(named.unwrap_or_else(|| Authority::from_static("localhost")));
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).unwrap_or_default()
}

/// Reads a body to its end and keeps the beginning; `None` if it breaks off.
async fn read(mut body: Incoming, most: usize) -> Option<Vec<u8>> {
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.ok()?.into_data() {
            let room = most.saturating_sub(kept.len()).min(data.len());
            kept.extend_from_slice(&data[..room]);
        }
    }
    Some(kept)
}

/// Whether all parts stand in the bytes, one after another.
pub(super) fn contains(bytes: &[u8], parts: &[Bytes]) -> bool {
    let mut rest = bytes;
    parts.iter().all(|part| {
        if part.is_empty() {
            return true;
        }
        let found = rest.windows(part.len()).position(|window| window == &part[..]);
        match found {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        }
    })
}
