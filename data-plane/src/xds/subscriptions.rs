//! The one object that a program talks to: what is watched, from where, and what came of it.
//!
//! Each source (the aggregated stream, a stream for one type, a file) runs in a task of its own on
//! the control runtime; all events come through one channel, in order for each source. The program
//! reports nothing back: a response is acknowledged once it is validated and handed over (S7).

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use proto::envoy::config::core::v3::Node;
use tokio::sync::mpsc;

use super::client::{self, Keepalive, MESSAGE_BYTES_MAX_DEFAULT, Server};
use super::connect::Connect;
use super::counters::{Counters, Medium, WatchStats};
use super::file::{self, File};
use super::pump::{Pump, Reporter};
use super::status::Status;
use super::stream::{
    AdsStream, Decode, Event, Input, NodeOn, Review, Settings, Subscribe, Variant,
};
use super::watcher::DirWatcher;
use super::{Name, TypeUrl, service};
use crate::base::clock;
use crate::base::task::{self, Task};
use crate::config::error::{Problems, Reason};
use crate::config::source::{ApiSource, ConfigSource, GrpcServiceConfig, PathSource, SourceKind};
use crate::telemetry::stats::{ControlPlaneStat, Registry, Scope};

/// Events that may wait for the program.
const EVENTS_MAX: usize = 64;
/// Commands that may wait for a source; sources take them whatever else they wait for.
const COMMANDS_MAX: usize = 256;

/// Finds the way to the cluster of a gRPC service; the program knows its static clusters and TLS.
pub trait Connectors: Send + Sync {
    /// The connector to `service.cluster`.
    ///
    /// # Errors
    /// There is no such cluster, or it can't be used for this.
    fn connector(&self, service: &GrpcServiceConfig) -> Result<Arc<dyn Connect>, Problems>;
}

/// What a client needs to know.
pub struct Options<V> {
    /// Who this client is; see [`super::node::build_node`].
    pub node: Arc<Node>,
    /// `dynamic_resources.ads_config`.
    pub ads: Option<Arc<ApiSource>>,
    /// The way to management servers.
    pub connectors: Arc<dyn Connectors>,
    /// What makes values of resources.
    pub decode: Decode<V>,
    /// What judges responses as a whole, if anything does.
    pub review: Option<Review<V>>,
    /// Where `control_plane.` counts; `None` counts nowhere.
    pub registry: Option<Registry>,
    /// HTTP/2 PINGs on streams (K4); [`Keepalive::default`] unless tests need another.
    pub keepalive: Option<Keepalive>,
    /// Seed of all jitter.
    pub seed: u64,
}

/// A wish for one resource, or for all of a type ([`super::WILDCARD`]).
#[derive(Clone, Debug)]
pub struct Watch<'a> {
    /// Its type.
    pub type_url: TypeUrl,
    /// Its name, or `*`.
    pub name: Name,
    /// Where it comes from.
    pub source: &'a ConfigSource,
    /// Where its subscription counts.
    pub stats: WatchStats,
}

/// All subscriptions of a program. Dropping it ends them.
pub struct Subscriptions<V> {
    options: Options<V>,
    events: mpsc::Sender<Event<V>>,
    status: Arc<Status>,
    sources: Vec<Source>,
    /// What is watched, and the source of it.
    watches: HashMap<(TypeUrl, Name), SourceKey>,
    watcher: Option<Arc<DirWatcher>>,
}

/// Tells sources apart.
#[derive(Clone, Debug, PartialEq)]
enum SourceKey {
    Ads,
    /// One stream for each server and type, whoever asks.
    Api(Arc<ApiSource>, TypeUrl),
    File(TypeUrl, PathSource),
}

/// A running source.
struct Source {
    key: SourceKey,
    commands: mpsc::Sender<Input>,
    counters: Arc<Counters>,
    _task: Task,
}

impl<V: Clone + Send + 'static> Subscriptions<V> {
    /// Starts a client and, if there is one, its aggregated stream. Needs a runtime.
    ///
    /// # Errors
    /// The management server can't be reached in any way.
    pub fn new(options: Options<V>) -> Result<(Self, mpsc::Receiver<Event<V>>), Problems> {
        let (events, updates) = mpsc::channel(EVENTS_MAX);
        let mut this = Self {
            options,
            events,
            status: Arc::default(),
            sources: Vec::new(),
            watches: HashMap::new(),
            watcher: None,
        };
        if this.options.ads.is_some() {
            this.source(&SourceKey::Ads)?;
        }
        Ok((this, updates))
    }

    /// What was accepted and refused so far.
    #[must_use]
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Starts to watch a resource. A second call for the same one adds a place where it counts;
    /// with another source it moves the watch there.
    ///
    /// # Errors
    /// The source can't be used: no ADS configured, no such cluster, no such file.
    pub async fn watch(&mut self, watch: Watch<'_>) -> Result<(), Problems> {
        let Watch { type_url, name, source, stats } = watch;
        let key = match &source.kind {
            SourceKind::Ads => SourceKey::Ads,
            SourceKind::Api(api) => SourceKey::Api(Arc::clone(api), type_url.clone()),
            SourceKind::Path(path) => SourceKey::File(type_url.clone(), path.clone()),
        };
        let watched = self.watches.get(&(type_url.clone(), name.clone()));
        if watched.is_some_and(|known| *known != key) {
            self.unwatch(&type_url, &name).await;
        }
        let source_at = self.source(&key)?;
        self.status.watch(&type_url, &name);
        self.watches.insert((type_url.clone(), name.clone()), key);
        let Source { commands, counters, .. } = &self.sources[source_at];
        counters.watch(&type_url, &name, stats);
        let initial_fetch_timeout = source.initial_fetch_timeout;
        let wish = Subscribe { type_url, name, initial_fetch_timeout };
        send(commands, Input::Subscribe(wish)).await;
        Ok(())
    }

    /// Ends a watch. Events that name the resource may still be on their way.
    pub async fn unwatch(&mut self, type_url: &TypeUrl, name: &Name) {
        let Some(key) = self.watches.remove(&(type_url.clone(), name.clone())) else { return };
        self.status.unwatch(type_url, name);
        let Some(at) = self.sources.iter().position(|source| source.key == key) else { return };
        let Source { commands, counters, .. } = &self.sources[at];
        counters.unwatch(type_url, name);
        let (type_url, name) = (type_url.clone(), name.clone());
        send(commands, Input::Unsubscribe { type_url, name }).await;
        if key != SourceKey::Ads && !self.watches.values().any(|other| *other == key) {
            self.sources.swap_remove(at);
        }
    }

    /// The position of a source, which is started if it does not run.
    fn source(&mut self, key: &SourceKey) -> Result<usize, Problems> {
        if let Some(at) = self.sources.iter().position(|source| source.key == *key) {
            return Ok(at);
        }
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (counters, task) = match key {
            SourceKey::Ads => {
                let missing = || Reason::Rule("ads: the bootstrap has no ads_config".into());
                let ads = self.options.ads.clone().ok_or_else(missing)?;
                self.start_stream(&ads, service::aggregated(ads.variant), inbox)?
            }
            SourceKey::Api(api, type_url) => {
                let missing = || Reason::NotSupported { what: format!("a service for {type_url}") };
                let method = service::of_type(type_url, api.variant).ok_or_else(missing)?;
                self.start_stream(api, method, inbox)?
            }
            SourceKey::File(type_url, path) => self.start_file(type_url, path, inbox)?,
        };
        self.sources.push(Source { key: key.clone(), commands, counters, _task: task });
        Ok(self.sources.len() - 1)
    }

    fn start_stream(
        &self,
        api: &ApiSource,
        method: &'static str,
        inbox: mpsc::Receiver<Input>,
    ) -> Result<(Arc<Counters>, Task), Problems> {
        let missing = || Reason::Rule("grpc_services: got none; must be at least one".into());
        let service = api.services.first().ok_or_else(missing)?;
        let connect = self.options.connectors.connector(service)?;
        let mut settings = Settings::new(api.variant, self.next_seed());
        settings.rate_limit = api.rate_limit;
        settings.backoff = service.backoff.unwrap_or(settings.backoff);
        if api.set_node_on_first_message_only {
            settings.node_on = NodeOn::FirstRequest;
        }
        let bytes_max = service.max_receive_message_bytes.and_then(|max| max.try_into().ok());
        let server = Server {
            connect,
            authority: authority(service),
            method,
            variant: api.variant,
            node: Arc::clone(&self.options.node),
            metadata: metadata(service)?,
            message_bytes_max: bytes_max.unwrap_or(MESSAGE_BYTES_MAX_DEFAULT),
            keepalive: self.options.keepalive,
        };
        let registry = self.options.registry.as_ref();
        let stats = registry.map(|r| r.group::<ControlPlaneStat>(Scope::plain("control_plane.")));
        let (counters, pump) = self.pump(Medium::Stream, settings, inbox);
        Ok((counters, task::spawn("xds-client", client::run(pump, server, stats))))
    }

    fn start_file(
        &mut self,
        type_url: &TypeUrl,
        path: &PathSource,
        inbox: mpsc::Receiver<Input>,
    ) -> Result<(Arc<Counters>, Task), Problems> {
        let watcher = match &self.watcher {
            Some(watcher) => Arc::clone(watcher),
            None => {
                let failed = |e| Reason::Rule(format!("files can't be watched: {e}"));
                let watcher = Arc::new(DirWatcher::new().map_err(failed)?);
                self.watcher.insert(watcher).clone()
            }
        };
        let file = File::open(type_url.clone(), path, &watcher)?;
        let settings = Settings::new(Variant::Sotw, self.next_seed());
        let (counters, pump) = self.pump(Medium::File, settings, inbox);
        Ok((counters, task::spawn("xds-file", file::run(pump, file))))
    }

    fn pump(
        &self,
        medium: Medium,
        settings: Settings,
        inbox: mpsc::Receiver<Input>,
    ) -> (Arc<Counters>, Pump<V>) {
        let counters = Arc::new(Counters::new(medium));
        let reporter = Reporter {
            events: self.events.clone(),
            status: Arc::clone(&self.status),
            counters: Arc::clone(&counters),
        };
        let decode = Arc::clone(&self.options.decode);
        let review = self.options.review.clone();
        let stream = AdsStream::new(settings, decode, clock::now()).with_review(review);
        (counters, Pump::new(stream, inbox, reporter))
    }

    /// Streams that lose the same server should not come back in the same instant.
    fn next_seed(&self) -> u64 {
        self.options.seed.wrapping_add(self.sources.len() as u64)
    }
}

async fn send(commands: &mpsc::Sender<Input>, command: Input) {
    // A source ends only with this object or by a panic, which its task has logged.
    let _ended = commands.send(command).await;
}

/// `:authority`: as configured, else the cluster's name where that can be one.
fn authority(service: &GrpcServiceConfig) -> String {
    let name = service.authority.as_deref().unwrap_or(service.cluster.as_str());
    match http::uri::Authority::try_from(name) {
        Ok(authority) => authority.to_string(),
        Err(_) => "xds".to_owned(),
    }
}

fn metadata(service: &GrpcServiceConfig) -> Result<HeaderMap, Problems> {
    let mut headers = HeaderMap::new();
    for (key, value) in &service.initial_metadata {
        let wrong = || Reason::Invalid {
            got: format!("{key:?}"),
            must: "a header's name and value".into(),
        };
        let name = HeaderName::try_from(&**key).map_err(|_| wrong())?;
        let value = HeaderValue::try_from(&**value).map_err(|_| wrong())?;
        headers.append(name, value);
    }
    Ok(headers)
}
