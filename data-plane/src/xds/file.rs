//! File subscriptions: a `DiscoveryResponse` in a file, read again when it is moved into place.
//!
//! A file is judged by the same core as a server: it is one that sends the state of the world and
//! hears no answer. What is bad in it keeps its last good value; a file that can't be read changes
//! nothing (§2.3 of the protocol notes).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proto::envoy::service::discovery::v3::DiscoveryResponse;
use proto::text::{ReadOptions, UnknownFields};
use tokio::time::sleep_until;
use xxhash_rust::xxh64::xxh64;

use super::TypeUrl;
use super::pump::{Pump, Woken};
use super::stream::{Input, Response};
use super::watcher::{DirWatcher, Watched, Writes};
use super::wire::sotw_response;
use crate::base::clock::{self, Instant};
use crate::config::error::{At, Problems, Reason};
use crate::config::source::PathSource;

/// How long moves are gathered before the file is read. The reading comes after the last move that
/// it answers, so that none is lost.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// A file that is subscribed.
pub(super) struct File {
    type_url: TypeUrl,
    path: PathBuf,
    watched: Watched,
    poll_interval: Option<Duration>,
}

/// Checks what must hold before a file is subscribed: it exists.
///
/// # Errors
/// It does not, or can't be looked at.
pub fn check(source: &PathSource) -> Result<(), Problems> {
    let exists = |path: &str, field| {
        let found = Path::new(path).try_exists().unwrap_or(false);
        let must = "a path that exists".to_owned();
        let problem = || Problems::from(Reason::Invalid { got: format!("{path:?}"), must });
        found.then_some(()).ok_or_else(problem).at(field)
    };
    exists(&source.path, "path")?;
    match &source.watched_directory {
        Some(directory) => exists(directory, "path").at("watched_directory"),
        None => Ok(()),
    }
}

impl File {
    /// Starts to watch; the first reading comes later, so that no move falls between.
    pub(super) fn open(
        type_url: TypeUrl,
        source: &PathSource,
        watcher: &Arc<DirWatcher>,
    ) -> Result<Self, Problems> {
        check(source)?;
        let path = PathBuf::from(&*source.path);
        let writes = if source.watch_modify { Writes::Count } else { Writes::Ignored };
        let watched = match &source.watched_directory {
            Some(directory) => watcher.watch(Path::new(&**directory), None, writes),
            None => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let file = path.file_name().map(ToOwned::to_owned);
                watcher.watch(parent.unwrap_or(Path::new(".")), file, writes)
            }
        };
        let watched = watched.map_err(|error| {
            Problems::from(Reason::Rule(format!("{} can't be watched: {error}", source.path)))
        });
        Ok(Self {
            type_url,
            path,
            watched: watched.at("path")?,
            poll_interval: source.poll_interval,
        })
    }

    /// The file as a response, and a hash of its bytes.
    async fn read(&self) -> Result<(Response, u64), String> {
        let name = self.path.display().to_string();
        let bytes =
            tokio::fs::read(&self.path).await.map_err(|error| format!("{name}: {error}"))?;
        // What Envoy takes from a server it takes from a file: unknown fields are no error.
        let options =
            ReadOptions { unknown_fields: UnknownFields::Allow, ..ReadOptions::default() };
        let read = proto::text::parse::<DiscoveryResponse>(&name, &bytes, &options)
            .map_err(|errors| errors.to_string())?;
        for warning in &read.warnings {
            tracing::warn!(%warning, "file subscription");
        }
        let mut response = sotw_response(read.message);
        self.type_url.as_str().clone_into(&mut response.type_url);
        Ok((response, xxh64(&bytes, 0)))
    }
}

/// Runs the subscriptions of one file until nobody commands it any more.
pub(super) async fn run<V: Clone>(mut pump: Pump<V>, file: File) {
    let mut state = Reading::default();
    loop {
        if pump.turn() {
            pump.handle(Input::Opened);
        }
        state.hear(&mut pump);
        if state.read_at.is_some_and(|at| at <= clock::now()) {
            state.read(&mut pump, &file).await;
            continue;
        }
        let due = async {
            match state.read_at.into_iter().chain(state.poll_at).min() {
                Some(at) => tokio::select! {
                    () = file.watched.moved() => Due::Moved,
                    () = sleep_until(at) => Due::Time,
                },
                None => {
                    file.watched.moved().await;
                    Due::Moved
                }
            }
        };
        match pump.wait(due).await {
            Woken::Stop => return,
            Woken::Again | Woken::Input(Due::Time) => {}
            Woken::Input(Due::Moved) => {
                state.read_at.get_or_insert(clock::now() + DEBOUNCE);
            }
        }
        if state.poll_at.is_some_and(|at| at <= clock::now()) {
            state.poll(&mut pump, &file).await;
        }
    }
}

enum Due {
    Moved,
    Time,
}

/// When to read, and what was read.
#[derive(Debug, Default)]
struct Reading {
    read_at: Option<Instant>,
    poll_at: Option<Instant>,
    /// Responses that the core has not answered yet.
    unanswered: usize,
    /// Hash of what was read last.
    hash: u64,
}

impl Reading {
    /// Takes the core's requests. Answers go nowhere; a new subscription is answered by a reading.
    fn hear<V: Clone>(&mut self, pump: &mut Pump<V>) {
        let now = clock::now();
        while pump.stream.poll_transmit(now).is_some() {
            match self.unanswered.checked_sub(1) {
                Some(left) => self.unanswered = left,
                None => self.read_at = Some(now),
            }
        }
    }

    async fn read<V: Clone>(&mut self, pump: &mut Pump<V>, file: &File) {
        self.read_at = None;
        self.poll_at = file.poll_interval.map(|interval| clock::now() + interval);
        match file.read().await {
            Ok((response, hash)) => self.take(pump, response, hash),
            Err(error) => {
                tracing::warn!(%error, "file subscription keeps its last good content");
                pump.reporter.counters.record_failure();
            }
        }
    }

    /// Reads because time passed; the same content is no update.
    async fn poll<V: Clone>(&mut self, pump: &mut Pump<V>, file: &File) {
        self.poll_at = file.poll_interval.map(|interval| clock::now() + interval);
        if let Ok((response, hash)) = file.read().await
            && hash != self.hash
        {
            self.take(pump, response, hash);
        }
    }

    fn take<V: Clone>(&mut self, pump: &mut Pump<V>, response: Response, hash: u64) {
        self.hash = hash;
        self.unanswered += 1;
        pump.handle(Input::Response(response));
    }
}
