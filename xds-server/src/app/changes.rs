//! The one task that changes what is served: files, the registry, and proposals of the API.
//!
//! One thing after another, so that each is checked against what is really there. Only the
//! registry does not wait: while files or proposals are read, its changes go out all the same.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use crate::catalog::{Catalog, Outcome, Proposal, Refused, Request};
use crate::check::Problem;
use crate::clock::{self, Instant};
use crate::compose::Composer;
use crate::durable::Write;
use crate::durable::journal::Journal;
use crate::intent::Object;
use crate::metrics::{Metrics, Reload};
use crate::registry::Registry;
use crate::share::Loaded;
use crate::source::Source;
use crate::source::watch::FileWatch;
use crate::store::Store;
use crate::support::Unsupported;

/// See the module.
pub(super) struct Changes {
    pub(super) unsupported: Unsupported,
    pub(super) composer: Composer,
    pub(super) registry: Arc<Registry>,
    pub(super) store: Arc<Store>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) catalog: Catalog,
    /// Absent where nothing outlives the process.
    pub(super) journal: Option<Journal>,
}

/// What there is to do.
enum Work {
    Files,
    Proposal(Request),
}

impl Changes {
    /// Does what is to be done, for ever.
    pub(super) async fn run(
        mut self,
        mut watch: FileWatch,
        asked: Arc<Notify>,
        mut requests: mpsc::Receiver<Request>,
    ) {
        let source = watch.source().clone();
        loop {
            // The sign of a change would be lost with this future: it lives until it is ready.
            let mut changed = std::pin::pin!(watch.changed());
            loop {
                let next = async {
                    tokio::select! {
                        () = &mut changed => Work::Files,
                        () = asked.notified() => Work::Files,
                        // Cancel-safe. `catalog` holds a sender, so there is always a next one.
                        Some(request) = requests.recv() => Work::Proposal(request),
                    }
                };
                match self.follow_registry(next).await {
                    Work::Files => break,
                    Work::Proposal(Request { proposal, reply }) => {
                        let answer = self.decide(&source, &proposal).await;
                        // Who asked may be gone; the change stands all the same.
                        let _ = reply.send(answer);
                    }
                }
            }
            self.reload(&source).await;
        }
    }

    /// Serves what the registry has, while `until` runs.
    async fn follow_registry<T>(&mut self, until: impl Future<Output = T>) -> T {
        tokio::pin!(until);
        let mut registered = self.registry.watch();
        loop {
            let due = self.registry.sweep();
            // Before the look at what to serve: what comes later wakes the next round.
            registered.mark_unchanged();
            self.publish("registry");
            tokio::select! {
                ready = &mut until => return ready,
                // The sender lives as long as `self.registry`.
                _ = registered.changed() => {}
                () = sleep_until(due) => {}
            }
        }
    }

    async fn reload(&mut self, source: &Source) {
        let objects = self.catalog.current().all();
        let reload = match self.follow_registry(load(source, objects, self.unsupported)).await {
            Ok(loaded) => {
                log_warnings(&loaded.warnings);
                self.composer.replace(loaded);
                if self.publish("files") { Reload::Applied } else { Reload::Unchanged }
            }
            Err(problems) => {
                for problem in &problems {
                    tracing::error!("refused, what was served before stays: {problem}");
                }
                Reload::Refused
            }
        };
        self.metrics.count_reload(reload);
    }

    /// Checks a proposal with all the rest, writes it, and puts it in force.
    async fn decide(&mut self, source: &Source, proposal: &Proposal) -> Result<Outcome, Refused> {
        let current = self.catalog.current();
        let plan = current.plan(proposal, &clock::rfc3339(clock::system_now()))?;
        if plan.changes.is_empty() {
            return Ok(Outcome { plan: Arc::new(plan), revision: current.revision() });
        }
        let loading = load(source, plan.next.all(), self.unsupported);
        let loaded = self.follow_registry(loading).await.map_err(Refused::Problems)?;
        if proposal.dry_run {
            return Ok(Outcome { plan: Arc::new(plan), revision: current.revision() });
        }
        let writing = written(self.journal.clone(), plan.writes.clone());
        self.follow_registry(writing).await.map_err(Refused::NotStored)?;
        log_warnings(&loaded.warnings);
        self.composer.replace(loaded);
        self.catalog.set(plan.next.clone());
        let revision = plan.next.revision();
        tracing::info!(revision, changes = plan.changes.len(), "a change by the API");
        self.publish("api");
        Ok(Outcome { plan: Arc::new(plan), revision })
    }

    /// Whether something changed for clients.
    fn publish(&mut self, cause: &str) -> bool {
        let Some(revision) = self.store.publish(self.composer.shares()) else { return false };
        self.metrics.set_revision(revision);
        let world = self.store.current();
        let resources: usize = world.shares().iter().map(|share| share.resources.len()).sum();
        tracing::info!(revision, resources, cause, "serving a new snapshot");
        true
    }
}

async fn written(journal: Option<Journal>, writes: Vec<Write>) -> Result<(), String> {
    match journal {
        Some(journal) => {
            let written = journal.write(writes).await;
            written.unwrap_or_else(|_| Err("the store was closed".to_owned()))
        }
        None => Ok(()),
    }
}

/// Reads off the runtime's threads: files may be large, and disks slow.
pub(super) async fn load(
    source: &Source,
    objects: Vec<Object>,
    unsupported: Unsupported,
) -> Result<Loaded, Vec<Problem>> {
    let source = source.clone();
    let loading = tokio::task::spawn_blocking(move || source.load_with(&objects, unsupported));
    loading.await.unwrap_or_else(|error| {
        Err(vec![Problem::new(None, format!("reading the files failed: {error}"))])
    })
}

pub(super) fn log_warnings(warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
