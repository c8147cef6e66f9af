//! Everything known about one request, in one struct.
//!
//! Filters, router and log read and write it; it owns no half of a connection. What is decided
//! once (view, connection, manager) never changes while the request lives.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue};

use crate::base::clock::Instant;
use crate::cluster::{Cluster, Host};
use crate::codec::{RequestHead, ResponseHead, Version};
use crate::config::route::FilterOverrides;
use crate::http::chain::Chain;
use crate::http::conn::ConnInfo;
use crate::http::headers::ClientFacts;
use crate::http::manager::Manager;
use crate::http::metadata::DynamicMetadata;
use crate::http::span::SpanState;
use crate::http::trace::TraceIds;
use crate::http::view::View;
use crate::http::worker::Worker;
use crate::route::{RouteChoice, RouteInput, RouteRef};
use crate::telemetry::flags::ResponseFlags;
use crate::telemetry::metrics::{ErrorType, Service};
use crate::telemetry::stats::{Group, Origin, RouteStat};

/// One request and what became of it.
pub struct Exchange {
    /// Where it runs.
    pub worker: Rc<Worker>,
    /// The connection manager that it came to.
    pub manager: Arc<Manager>,
    /// The configuration that it is decided by.
    pub view: Rc<Arc<View>>,
    /// The connection that it came over.
    pub conn: Rc<ConnInfo>,
    /// Who the client is believed to be.
    pub client: ClientFacts,
    /// The route, once it is chosen.
    pub route: Option<RouteChoice>,
    /// The request's random number: the same for every choice that is made by chance.
    pub random: u64,
    /// When things happened.
    pub times: Times,
    /// Bytes of bodies.
    pub bytes: Bytes,
    /// `%RESPONSE_FLAGS%`.
    pub flags: ResponseFlags,
    /// `%RESPONSE_CODE_DETAILS%`; empty is `-`.
    pub details: Cow<'static, str>,
    /// `error_type` of `gomesh_errors_total`.
    pub error_type: Option<ErrorType>,
    /// Trace ids; `None` where `gomesh.trace_headers` is off.
    pub trace: Option<TraceIds>,
    /// Its span.
    pub span: SpanState,
    /// What filters told those after them.
    pub metadata: DynamicMetadata,
    /// The upstream's side.
    pub upstream: Upstream,
    /// The response.
    pub response: Response,
    /// The path as the client sent it, where the request log wants it.
    pub asked_path: Option<HeaderValue>,
    /// What the client speaks.
    pub protocol: Version,
    /// The client's last byte is here. A request for a tunnel never ends, as in Envoy.
    pub request_ended: bool,
    /// Its end as a stream that is not complete was counted.
    pub stream_reset: bool,
    /// It asks for a tunnel, and a chain of the manager is for that.
    pub upgraded: bool,
}

/// Moments of a request.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Its first byte, as a wall clock shows it.
    pub start_system: SystemTime,
    /// Its head was read.
    pub start: Instant,
    /// Its last byte was read.
    pub request_end: Option<Instant>,
    /// The upstream's head was read.
    pub upstream_head: Option<Instant>,
    /// The response's head was sent.
    pub response_head: Option<Instant>,
}

/// Body bytes, both ways, as the client sees them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes {
    /// From the client.
    pub received: u64,
    /// To the client.
    pub sent: u64,
}

/// What is known of the upstream.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    /// The cluster that was chosen.
    pub cluster: Option<Arc<Cluster>>,
    /// The host that the last attempt went to.
    pub host: Option<Arc<Host>>,
    /// Place of the virtual cluster that counts the request, once a cluster was found.
    pub virtual_cluster: Option<usize>,
    /// Attempts made.
    pub attempts: u32,
    /// Why there was no connection, as logs write it: without spaces.
    pub failure: Option<Box<str>>,
}

/// What is known of the response.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Its status; 0 until a head was sent.
    pub status: u16,
    /// Its headers, kept only where a log wants them.
    pub headers: Option<HeaderMap>,
    /// Its trailers, kept only where a log wants them.
    pub trailers: Option<HeaderMap>,
    /// Whether logs want headers.
    pub keep: Keep,
    /// A head went to the client.
    pub sent: bool,
    /// It is an answer of our own.
    pub local: bool,
    /// All of it was handed to the codec.
    pub complete: bool,
}

/// Whether a copy of the response's headers is kept for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// A log format names response headers or trailers.
    Headers,
    /// None does: nothing is copied.
    #[default]
    Nothing,
}

impl Response {
    /// Remembers a head that goes to the client.
    pub fn record(&mut self, head: &ResponseHead) {
        self.sent = true;
        self.status = head.status.as_u16();
        if self.keep == Keep::Headers {
            self.headers = Some(head.headers.clone());
        }
    }

    /// Remembers trailers that go to the client.
    pub fn record_trailers(&mut self, trailers: &HeaderMap) {
        if self.keep == Keep::Headers {
            self.trailers = Some(trailers.clone());
        }
    }
}

impl Exchange {
    /// The chosen route.
    #[must_use]
    pub fn route(&self) -> Option<RouteRef<'_>> {
        self.view.routes.table.at(self.route?)
    }

    /// Chooses the route anew; filters call it after they changed what it depends on.
    pub fn choose_route(&mut self, head: &RequestHead) {
        let input = self.route_input(head);
        self.route = self.view.routes.table.find(&input).map(|found| found.choice());
    }

    /// The route's cluster, for logs of a request that the router does not see, or not yet.
    pub fn name_cluster(&mut self, head: &RequestHead) {
        let name = self.route().and_then(|route| route.cluster(&self.route_input(head)));
        self.upstream.cluster = name.and_then(|name| self.view.clusters.get(name).cloned());
    }

    /// The request as the choice of a route looks at it.
    #[must_use]
    pub fn route_input<'a>(&'a self, head: &'a RequestHead) -> RouteInput<'a> {
        RouteInput {
            authority: head.authority.as_ref().map(HeaderValue::as_bytes),
            path: head.path.as_bytes(),
            method: head.method.as_str().as_bytes(),
            scheme: head.scheme.as_ref().map_or(b"http".as_slice(), |s| s.as_bytes()),
            headers: &head.headers,
            random: self.random,
            runtime: &*self.worker.shared.runtime,
        }
    }

    /// Per-filter configuration that applies, least to most specific.
    pub fn override_levels(&self) -> impl Iterator<Item = &FilterOverrides> {
        let route = self.route();
        route.map(|route| route.levels()).into_iter().flatten()
    }

    /// Whether it came from inside, for the counters of clusters.
    #[must_use]
    pub fn origin(&self) -> Origin {
        if self.client.internal { Origin::Internal } else { Origin::External }
    }

    /// The virtual cluster and the route that count the request, where they do.
    pub fn counters(&self) -> impl Iterator<Item = &Group<RouteStat>> {
        let virtual_cluster = self.upstream.virtual_cluster;
        let counters = move |choice| self.view.routes.counters(choice, virtual_cluster);
        self.route.map(counters).into_iter().flatten()
    }

    /// Figures of the `gomesh_*` families: the cluster's, `none` without a route to one.
    #[must_use]
    pub fn service(&self) -> &Service {
        let cluster = self.upstream.cluster.as_ref();
        cluster.and_then(|cluster| cluster.service()).unwrap_or(&self.worker.shared.no_service)
    }

    /// A chain without filters, for a request whose own are gone.
    #[must_use]
    pub fn no_chain(&self) -> &Arc<Chain> {
        &self.worker.no_chain
    }
}
