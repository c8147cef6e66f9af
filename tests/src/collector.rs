//! A collector of spans: OTLP over gRPC, in this process.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::Result;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::{h2_client, wait};

/// Length of what stands before a message of gRPC.
const PREFIX: usize = 5;

/// A span as it came.
#[derive(Clone, Debug)]
pub struct Span {
    /// Attributes of its resource.
    pub resource: BTreeMap<String, String>,
    /// Its own attributes.
    pub tags: BTreeMap<String, String>,
    /// Ids, name, kind, status.
    pub message: opentelemetry_proto::tonic::trace::v1::Span,
}

/// The collector; it ends with the value.
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    end: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// All its connections are closed then.
impl Drop for Collector {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.end.take() {
            drop(end);
            let _ended = thread.join();
        }
    }
}

impl Span {
    /// An attribute; empty if there is none.
    #[must_use]
    pub fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", String::as_str)
    }

    /// Its trace's id in hex.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex(&self.message.trace_id)
    }

    /// Its id in hex.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&self.message.span_id)
    }

    /// The id of the span above it in hex; empty if there is none.
    #[must_use]
    pub fn parent(&self) -> String {
        hex(&self.message.parent_span_id)
    }
}

/// All but ids and times.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = &self.message;
        let status = span.status.as_ref().map_or(0, |status| status.code);
        writeln!(f, "{} kind={} status={status} flags={:x}", span.name, span.kind, span.flags)?;
        writeln!(f, "parent={} state={}", !span.parent_span_id.is_empty(), span.trace_state)?;
        writeln!(f, "service={:?}", self.resource.get("service.name"))?;
        self.tags.iter().try_for_each(|(name, value)| writeln!(f, "{name}: {value}"))
    }
}

impl Collector {
    /// Listens on a port that the system chooses, on a thread of its own.
    ///
    /// # Panics
    /// Where the system gives no port.
    #[must_use]
    pub fn start() -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Listens there, where another one did.
    ///
    /// # Panics
    /// Where the address is not to be had.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        let (end, ended) = oneshot::channel::<()>();
        let listener = std::net::TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let spans = Arc::new(Mutex::new(Vec::new()));
        let found = Arc::clone(&spans);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime for the collector");
            runtime.block_on(async move {
                tokio::select! {
                    () = accept(listener, found) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, spans, end: Some((end, thread)) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Span> {
        std::mem::take(&mut *self.spans.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there are `count`, and takes all.
    #[must_use]
    pub fn wait(&self, count: usize) -> Vec<Span> {
        wait::until("spans", || {
            let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
            (spans.len() >= count).then_some(())
        });
        self.take()
    }
}

async fn accept(listener: std::net::TcpListener, spans: Arc<Mutex<Vec<Span>>>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, Arc::clone(&spans)));
    }
}

async fn connection(stream: TcpStream, spans: Arc<Mutex<Vec<Span>>>) -> Result<()> {
    let mut connection = server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        tokio::spawn(exported(request, respond, Arc::clone(&spans)));
    }
    Ok(())
}

async fn exported(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    spans: Arc<Mutex<Vec<Span>>>,
) -> Result<()> {
    let (parts, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(part) = h2_client::data(&mut body).await? {
        bytes.extend_from_slice(&part);
    }
    let export = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let message = bytes.get(PREFIX..).filter(|_| parts.uri.path() == export);
    let message = ExportTraceServiceRequest::decode(message.unwrap_or_default())?;
    spans.lock().unwrap_or_else(PoisonError::into_inner).extend(spans_of(message));
    let head = Response::builder().header("content-type", "application/grpc").body(())?;
    let mut send = respond.send_response(head, false)?;
    send.send_data(Bytes::from_static(&[0; PREFIX]), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send_trailers(trailers)?;
    Ok(())
}

fn spans_of(message: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for part in message.resource_spans {
        let resource = tags(&part.resource.unwrap_or_default().attributes);
        for message in part.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let tags = tags(&message.attributes);
            spans.push(Span { resource: resource.clone(), tags, message });
        }
    }
    spans
}

fn tags(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |tag: &KeyValue| match tag.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|tag| (tag.key.clone(), text(tag))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
