//! The front object against a real gRPC server in this process, and against files.

mod ads;
mod files;
mod keepalive;
mod server;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use self::server::Endpoint;
use super::client::Keepalive;
use super::connect::{Connect, PlainConnector};
use super::stream::tests::{decoder, line_of_event};
use super::stream::{Event, Variant};
use super::*;
use crate::base::names::ClusterName;
use crate::config::error::Problems;
use crate::config::source::{ApiSource, ConfigSource, GrpcServiceConfig, SourceKind};
use crate::telemetry::stats::Registry;

/// A client and what it says.
pub(super) struct Client {
    pub(super) subscriptions: Subscriptions<String>,
    events: mpsc::Receiver<Event<String>>,
    pub(super) registry: Registry,
}

/// Knows one server, whatever the cluster's name.
struct OneServer(Endpoint);

impl Connectors for OneServer {
    fn connector(&self, _: &GrpcServiceConfig) -> Result<Arc<dyn Connect>, Problems> {
        Ok(Arc::new(PlainConnector::new(vec![self.0.address()], LONG)))
    }
}

pub(super) fn service() -> GrpcServiceConfig {
    GrpcServiceConfig {
        cluster: ClusterName::from("xds_cluster"),
        authority: None,
        timeout: None,
        initial_metadata: vec![("authorization".into(), "Bearer t".into())],
        max_receive_message_bytes: None,
        backoff: None,
    }
}

pub(super) fn api(variant: Variant, service: GrpcServiceConfig) -> Arc<ApiSource> {
    let services = vec![service];
    let (rate_limit, set_node_on_first_message_only) = (None, true);
    Arc::new(ApiSource { variant, services, rate_limit, set_node_on_first_message_only })
}

impl Client {
    pub(super) fn new(ads: Option<Arc<ApiSource>>, endpoint: &Endpoint) -> Self {
        Self::with_keepalive(ads, endpoint, None)
    }

    pub(super) fn with_keepalive(
        ads: Option<Arc<ApiSource>>,
        endpoint: &Endpoint,
        keepalive: Option<Keepalive>,
    ) -> Self {
        let registry = Registry::new(0);
        let node = proto::envoy::config::core::v3::Node { id: "n1".into(), ..Default::default() };
        let options = Options {
            node: Arc::new(node),
            ads,
            connectors: Arc::new(OneServer(endpoint.clone())),
            decode: decoder(),
            review: None,
            registry: Some(registry.clone()),
            keepalive,
            seed: 3,
        };
        let (subscriptions, events) = Subscriptions::new(options).expect("the source is good");
        Self { subscriptions, events, registry }
    }

    pub(super) async fn watch(&mut self, type_url: &TypeUrl, name: &str) {
        let source = ConfigSource { kind: SourceKind::Ads, initial_fetch_timeout: None };
        self.watch_from(type_url, name, &source).await.expect("the source is good");
    }

    pub(super) async fn watch_from(
        &mut self,
        type_url: &TypeUrl,
        name: &str,
        source: &ConfigSource,
    ) -> Result<(), Problems> {
        let (type_url, name) = (type_url.clone(), name.into());
        let stats = WatchStats::Nowhere;
        self.subscriptions.watch(Watch { type_url, name, source, stats }).await
    }

    /// The next event as a line; panics if there is none for long.
    pub(super) async fn next(&mut self) -> String {
        let event = tokio::time::timeout(LONG, self.events.recv()).await;
        line_of_event(&event.expect("an event in time").expect("the client runs"))
    }

    /// The next event that is no loss of the server.
    pub(super) async fn next_update(&mut self) -> String {
        loop {
            let line = self.next().await;
            if line != "failed" && line != "ended" {
                return line;
            }
        }
    }
}

/// Longer than anything that is waited for; only a failing test waits that long.
pub(super) const LONG: Duration = Duration::from_secs(30);
