//! STRICT_DNS and LOGICAL_DNS: hosts from the addresses of names, kept fresh on the control
//! runtime.
//!
//! Each name of a cluster has a task of its own that resolves, publishes and waits, so that a slow
//! name holds nothing up. A failed resolution keeps the addresses that were found last and is tried
//! again by `dns_failure_refresh_rate`. An answer without addresses empties the name in STRICT_DNS
//! and is a failure in LOGICAL_DNS, as in Envoy.
//!
//! LOGICAL_DNS uses the first address alone. When that changes, the host is another one: what was
//! connected to the old address finishes what it carries and closes, as in Envoy 1.40. Envoy makes
//! a new host as well when only the other addresses change; here nobody connects to those, and
//! connections stay.
//!
//! The resolver is a trait: [`SystemResolver`] asks `/etc/hosts` and then DNS.

mod system;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

pub use system::SystemResolver;

use super::Cluster;
use crate::base::backoff::Backoff;
use crate::base::task::{self, Task};
use crate::config::address::Address;
use crate::config::cluster::{Discovery, DnsConfig, DnsHosts, DnsLookupFamily};
use crate::config::endpoint::EndpointsConfig;
use crate::telemetry::WorkerId;
use crate::telemetry::stats::ClusterStat;

/// What a name stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its addresses; none if it does not exist or has none of this kind.
    pub addresses: Vec<IpAddr>,
    /// How long the answer is good.
    pub ttl: Duration,
}

/// Nobody could say what a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot resolve {name}: {reason}")]
pub struct ResolveError {
    /// The name.
    pub name: Arc<str>,
    /// What the resolver says.
    pub reason: String,
}

/// One kind of address record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A.
    V4,
    /// AAAA.
    V6,
}

/// A resolution under way.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Result<Answer, ResolveError>> + Send + 'a>>;

/// Who knows what names stand for.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of one kind.
    fn resolve<'a>(&'a self, name: &'a Arc<str>, record: Record) -> Resolving<'a>;
}

/// Who resolves the names of a cluster: servers of its own, where it names some, else `usual`.
#[must_use]
pub fn resolver_of(cluster: &Cluster, usual: &Arc<dyn Resolve>) -> Arc<dyn Resolve> {
    let Discovery::Dns(config) = &cluster.config().discovery else { return Arc::clone(usual) };
    if config.resolvers.is_empty() && !config.use_tcp && !config.no_default_search_domain {
        return Arc::clone(usual);
    }
    match SystemResolver::new(config) {
        Ok(own) => Arc::new(own),
        Err(error) => {
            tracing::error!(cluster = %cluster.name(), %error, "no DNS servers of its own");
            Arc::clone(usual)
        }
    }
}

/// The refreshing of one cluster; it ends when this drops.
#[derive(Debug)]
pub struct Resolution {
    _targets: Vec<Task>,
    unresolved: watch::Receiver<usize>,
}

impl Resolution {
    /// Starts resolving the names of a cluster that is found by DNS. Its numeric addresses are
    /// hosts at once. For a cluster of another kind there is nothing to resolve.
    pub fn start(cluster: &Arc<Cluster>, resolver: &Arc<dyn Resolve>) -> Self {
        let Discovery::Dns(config) = &cluster.config().discovery else {
            return Self { _targets: Vec::new(), unresolved: watch::channel(0).1 };
        };
        let names = names(&cluster.config().load_assignment);
        let (first, unresolved) = watch::channel(names.len());
        let shared = Arc::new(Shared {
            cluster: Arc::clone(cluster),
            resolver: Arc::clone(resolver),
            config: config.clone(),
            known: Mutex::default(),
            unresolved: first,
        });
        shared.publish(None);
        let targets = names
            .into_iter()
            .map(|name| task::spawn("dns name", Target::new(&shared, name).run()))
            .collect();
        Self { _targets: targets, unresolved }
    }

    /// Waits until every name was asked for once, whatever the answer: the cluster is warm.
    pub async fn warm(&mut self) {
        // The sender lives in the tasks that this handle owns.
        let _gone = self.unresolved.wait_for(|left| *left == 0).await;
    }
}

fn names(endpoints: &EndpointsConfig) -> Vec<Arc<str>> {
    let mut names = Vec::new();
    for endpoint in endpoints.localities.iter().flat_map(|locality| &locality.endpoints) {
        if let Address::Name { host, .. } = &endpoint.address
            && !names.contains(host)
        {
            names.push(Arc::clone(host));
        }
    }
    names
}

struct Shared {
    cluster: Arc<Cluster>,
    resolver: Arc<dyn Resolve>,
    config: DnsConfig,
    /// Guards what is known of each name, and that one update at a time is published.
    known: Mutex<HashMap<Arc<str>, Vec<IpAddr>>>,
    unresolved: watch::Sender<usize>,
}

impl Shared {
    fn count(&self, stat: ClusterStat) {
        self.cluster.stats().inc(WorkerId::CONTROL, stat);
    }

    /// Publishes the hosts with one name's new addresses.
    fn publish(&self, news: Option<(&Arc<str>, Vec<IpAddr>)>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = news.is_some();
        if let Some((name, addresses)) = news {
            known.insert(Arc::clone(name), addresses);
        }
        let resolve = |name: &str, port| {
            let addresses = known.get(name).into_iter().flatten();
            addresses.map(|address| SocketAddr::new(*address, port)).collect()
        };
        let endpoints = Arc::clone(&self.cluster.config().load_assignment);
        if !self.cluster.set_endpoints(endpoints, &resolve) && answered {
            self.count(ClusterStat::UpdateNoRebuild);
        }
    }

    async fn lookup(&self, name: &Arc<str>) -> Result<Answer, ResolveError> {
        let ask = |record| self.resolver.resolve(name, record);
        match self.config.lookup_family {
            DnsLookupFamily::V4Only => ask(Record::V4).await,
            DnsLookupFamily::V6Only => ask(Record::V6).await,
            DnsLookupFamily::Auto => first_of(ask(Record::V6), ask(Record::V4)).await,
            DnsLookupFamily::V4Preferred => first_of(ask(Record::V4), ask(Record::V6)).await,
            DnsLookupFamily::All => both(ask(Record::V4), ask(Record::V6)).await,
        }
    }
}

/// The preferred kind, or the other one if there is none of it.
async fn first_of(preferred: Resolving<'_>, other: Resolving<'_>) -> Result<Answer, ResolveError> {
    match preferred.await {
        Ok(answer) if !answer.addresses.is_empty() => Ok(answer),
        Ok(_) | Err(_) => other.await,
    }
}

/// Both kinds; one failure is no failure while the other kind has addresses.
async fn both(one: Resolving<'_>, other: Resolving<'_>) -> Result<Answer, ResolveError> {
    match tokio::join!(one, other) {
        (Ok(mut one), Ok(other)) => {
            one.ttl = match (one.addresses.is_empty(), other.addresses.is_empty()) {
                (true, _) => other.ttl,
                (_, true) => one.ttl,
                _ => one.ttl.min(other.ttl),
            };
            one.addresses.extend(other.addresses);
            Ok(one)
        }
        (Ok(answer), Err(_)) | (Err(_), Ok(answer)) if !answer.addresses.is_empty() => Ok(answer),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// One name.
struct Target {
    shared: Arc<Shared>,
    name: Arc<str>,
    backoff: Option<Backoff>,
    rng: fastrand::Rng,
}

impl Target {
    fn new(shared: &Arc<Shared>, name: Arc<str>) -> Self {
        let backoff = shared.config.failure_refresh_rate.map(|b| Backoff::new(b.base, b.max));
        Self { shared: Arc::clone(shared), name, backoff, rng: fastrand::Rng::new() }
    }

    async fn run(mut self) {
        let mut first = true;
        loop {
            let pause = self.refresh().await;
            if std::mem::take(&mut first) {
                self.shared.unresolved.send_modify(|left| *left -= 1);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Resolves once and says how long to wait until the next time.
    async fn refresh(&mut self) -> Duration {
        let config = &self.shared.config;
        self.shared.count(ClusterStat::UpdateAttempt);
        match self.answer().await {
            Ok(answer) => {
                self.shared.count(ClusterStat::UpdateSuccess);
                if let Some(backoff) = &mut self.backoff {
                    backoff.reset();
                }
                let by_ttl = config.respect_ttl
                    && !answer.addresses.is_empty()
                    && answer.ttl > Duration::ZERO;
                let rate = if by_ttl { answer.ttl } else { config.refresh_rate };
                self.shared.publish(Some((&self.name, answer.addresses)));
                rate + self.jitter()
            }
            Err(error) => {
                self.shared.count(ClusterStat::UpdateFailure);
                tracing::debug!(cluster = %self.shared.cluster.name(), %error, "DNS failed");
                let random = self.rng.u64(..);
                let delay = self.backoff.as_mut().map(|backoff| backoff.next_delay(random));
                delay.unwrap_or(config.refresh_rate).max(LEAST_PAUSE)
            }
        }
    }

    /// What counts as an answer for this kind of cluster.
    async fn answer(&self) -> Result<Answer, ResolveError> {
        let mut answer = self.shared.lookup(&self.name).await?;
        if self.shared.config.hosts == DnsHosts::First {
            if answer.addresses.is_empty() {
                let reason = "no address".to_owned();
                return Err(ResolveError { name: Arc::clone(&self.name), reason });
            }
            answer.addresses.truncate(1);
        }
        Ok(answer)
    }

    fn jitter(&mut self) -> Duration {
        let most = u64::try_from(self.shared.config.jitter.as_millis()).unwrap_or(u64::MAX);
        self.rng.u64(..).checked_rem(most).map_or(Duration::ZERO, Duration::from_millis)
    }
}

/// Not even a failing name is asked for more often than this.
const LEAST_PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
