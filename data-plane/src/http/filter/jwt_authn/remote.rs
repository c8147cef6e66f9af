//! Keys that another server gives out (`remote_jwks`): asked for when a request needs them, or
//! ahead of that.
//!
//! A [`Source`] is shared by all workers, and so is what it fetched. Where no key is at hand, the
//! worker of the first request that needs one asks, on a task of its own that no client can end;
//! whoever needs them meanwhile waits for the same answer. As in Envoy keys are good for the time
//! that the configuration gives, whatever the answer says, and not a moment longer. With
//! `async_fetch` a [`Chore`] asks shortly before that time is over; those keys stay good until the
//! next ones are here, however long their server is away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::{HeaderValue, StatusCode};
use tokio::sync::watch;

use super::jwks::Keys;
use crate::base::clock::{self, Instant};
use crate::base::names::ClusterName;
use crate::base::task;
use crate::cluster::{Cluster, ClusterMap};
use crate::config::route::RetryPolicy;
use crate::http::chore::{Chore, Doing};
use crate::http::router::{Ask, AskCx};
use crate::telemetry::stats::{Group, JwtStat};

/// Most bytes of a set; Envoy takes any, which lets whoever answers fill our memory.
const SET_BYTES_MAX: usize = 1 << 20;

/// What Envoy calls itself here: there are servers that answer nobody without a name.
const USER_AGENT: HeaderValue = HeaderValue::from_static("Go-browser");

/// Where keys are (`RemoteJwks`).
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    /// Of `http_uri.uri`.
    pub authority: HeaderValue,
    /// Of `http_uri.uri`.
    pub path: HeaderValue,
    /// `http_uri.cluster`.
    pub cluster: ClusterName,
    /// `http_uri.timeout`; zero is none.
    pub timeout: Option<Duration>,
    /// `cache_duration`, in whole seconds as in Envoy.
    pub cache: Duration,
    /// `retry_policy`.
    pub retry: Option<Arc<RetryPolicy>>,
    /// `async_fetch`.
    pub ahead: Option<Ahead>,
}

/// Keys are fetched before a request needs them (`JwksAsyncFetch`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// `fast_listener`: the listener does not wait for the first fetch.
    pub fast_listener: bool,
    /// From a fetch to the next: `cache_duration` but for a few seconds.
    pub pause: Duration,
    /// `failed_refetch_duration`: the same after one that failed.
    pub pause_failed: Duration,
}

/// What a fetch came to; `None` where it failed.
pub(super) type Fetched = Option<Keys>;

/// Keys of one provider.
#[derive(Debug)]
pub(super) struct Source {
    remote: Remote,
    stats: Group<JwtStat>,
    kept: ArcSwapOption<Kept>,
    /// What the last fetch tells. A lock, since it is touched only where no key is at hand.
    last: Mutex<Option<watch::Receiver<Option<Fetched>>>>,
}

#[derive(Debug)]
struct Kept {
    keys: Keys,
    /// `None` is until there are others.
    until: Option<Instant>,
}

impl Source {
    pub(super) fn new(remote: &Remote, stats: &Group<JwtStat>) -> Arc<Self> {
        Arc::new(Self {
            remote: remote.clone(),
            stats: stats.clone(),
            kept: ArcSwapOption::empty(),
            last: Mutex::new(None),
        })
    }

    /// Does something with the keys if they are good at that moment.
    pub(super) fn with_keys<T>(&self, now: Instant, then: impl FnOnce(&Keys) -> T) -> Option<T> {
        let kept = self.kept.load();
        kept.as_ref()
            .filter(|kept| kept.until.is_none_or(|until| now < until))
            .map(|kept| then(&kept.keys))
    }

    /// Whether keys are fetched before a request needs them.
    pub(super) const fn is_ahead(&self) -> bool {
        self.remote.ahead.is_some()
    }

    /// Name of the cluster that is asked.
    pub(super) fn cluster(&self) -> &str {
        self.remote.cluster.as_str()
    }

    /// Joins the fetch that is under way, or begins one on this worker.
    pub(super) fn fetch(
        self: &Arc<Self>,
        cx: AskCx,
        cluster: Option<Arc<Cluster>>,
    ) -> watch::Receiver<Option<Fetched>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // One whose task died tells nothing any more.
        let waits = |told: &&watch::Receiver<Option<Fetched>>| {
            told.borrow().is_none() && told.has_changed().is_ok()
        };
        if let Some(told) = last.as_ref().filter(waits) {
            return told.clone();
        }
        let (tell, told) = watch::channel(None);
        *last = Some(told.clone());
        drop(last);
        let source = Arc::clone(self);
        task::spawn_local("jwks fetch", async move {
            let fetched = source.ask(&cx, cluster.as_ref()).await;
            let stat = match &fetched {
                Some(keys) => {
                    source.keep(keys.clone());
                    JwtStat::JwksFetchSuccess
                }
                None => JwtStat::JwksFetchFailed,
            };
            source.stats.inc(cx.worker.id, stat);
            let _nobody_waits = tell.send(Some(fetched));
        })
        .detach();
        told
    }

    fn keep(&self, keys: Keys) {
        let until = (!self.is_ahead()).then(|| clock::now() + self.remote.cache);
        self.kept.store(Some(Arc::new(Kept { keys, until })));
    }

    async fn ask(&self, cx: &AskCx, cluster: Option<&Arc<Cluster>>) -> Fetched {
        let remote = &self.remote;
        let failed = |why: &str| {
            let (host, path) = (&remote.authority, &remote.path);
            tracing::warn!(cluster = %remote.cluster, ?host, ?path, why, "keys were not fetched");
            None
        };
        let Some(cluster) = cluster else { return failed("the cluster is not known") };
        let ask = Ask {
            authority: remote.authority.clone(),
            path: remote.path.clone(),
            timeout: remote.timeout,
            retry: remote.retry.clone(),
            body_max: SET_BYTES_MAX,
            user_agent: Some(USER_AGENT),
        };
        let answer = match cx.get(cluster, &ask).await {
            Ok(answer) => answer,
            Err(error) => return failed(&error.to_string()),
        };
        if answer.status != StatusCode::OK {
            return failed(&format!("the answer is {}", answer.status));
        }
        let Ok(text) = std::str::from_utf8(&answer.body) else {
            return failed("the answer is no text");
        };
        match Keys::parse(text) {
            Ok(keys) => Some(keys),
            Err(why) => failed(&why),
        }
    }
}

impl Chore for Source {
    fn holds_listener(&self) -> bool {
        self.remote.ahead.is_some_and(|ahead| !ahead.fast_listener)
    }

    fn run(self: Arc<Self>, cx: AskCx, clusters: Arc<ClusterMap>) -> Doing {
        Box::pin(async move {
            let cluster = clusters.get(self.cluster()).cloned();
            let fetched = told(self.fetch(cx, cluster)).await;
            let ahead = self.remote.ahead;
            let pause = match fetched {
                Some(_) => ahead.map(|ahead| ahead.pause),
                None => ahead.map(|ahead| ahead.pause_failed),
            };
            pause.unwrap_or(self.remote.cache)
        })
    }
}

/// Waits for what a fetch tells.
pub(super) async fn told(mut by: watch::Receiver<Option<Fetched>>) -> Fetched {
    match by.wait_for(Option::is_some).await {
        Ok(told) => told.clone().flatten(),
        // Its task died.
        Err(_) => None,
    }
}
