//! Notices that the files of a source may have changed.
//!
//! Folders are watched, not files, so that a rename over a file and a swapped link to a folder
//! are seen; links are followed, and both ends are watched. Other files of those folders are of no
//! interest, however busy they are. A file that is being written to is waited for: a reading
//! begins only when it is closed. Where the system gives no events (some
//! network file systems, watches used up), a look at sizes and times every two seconds does.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::{Extent, Source};
use crate::clock::{self, Instant};

/// From the first sign of a change to the reading: what comes together is read once.
pub const DEBOUNCE: Duration = Duration::from_millis(100);
/// How long a file may stay open for writing without news before it is read all the same.
pub const WRITING_MAX: Duration = Duration::from_secs(10);
/// How often sizes and times are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Watches one source.
#[derive(Debug)]
pub struct FileWatch {
    source: Source,
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    shared: Arc<Shared>,
    seen: Vec<Stamp>,
}

#[derive(Debug, Default)]
struct Shared {
    wake: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    dirty: bool,
    /// Files that were written to and not closed yet.
    writing: HashSet<PathBuf>,
    /// Names of the source's files and of what leads to them.
    names: HashSet<OsString>,
    extent: Extent,
    last_event: Option<Instant>,
}

/// What tells two states of a file apart without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    target: Option<PathBuf>,
    length: u64,
    modified: Option<SystemTime>,
}

impl FileWatch {
    /// Watches the files that the source consists of now.
    #[must_use]
    pub fn new(source: Source) -> Self {
        let shared = Arc::new(Shared::default());
        let events = shared.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if let Ok(event) = event {
                events.note(&event);
            }
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(%error, "no file events; looking every two seconds instead");
            })
            .ok();
        let mut watch = Self { source, watcher, folders: BTreeSet::new(), shared, seen: vec![] };
        watch.rearm();
        watch
    }

    /// What is watched.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Returns when the files should be read: something changed, and nothing is half written.
    /// To be called again after each reading.
    pub async fn changed(&mut self) {
        loop {
            let woken = timeout(LOOK_EVERY, self.shared.wake.notified()).await.is_ok();
            if !woken && stamps(&self.source.extent()) == self.seen {
                continue;
            }
            sleep(DEBOUNCE).await;
            while let Some(rest) = self.shared.wait_for_writers() {
                // Cut short by each event; the closing of the file is one.
                let _ = timeout(rest, self.shared.wake.notified()).await;
            }
            if self.shared.take_dirty() || !woken {
                self.rearm();
                return;
            }
        }
    }

    /// Watches what the paths lead to now. Also takes the stamps that the next reading has seen
    /// at least, so it comes before that reading.
    fn rearm(&mut self) {
        let extent = self.source.extent();
        self.seen = stamps(&extent);
        let folders = folders(&extent);
        self.shared.attend(extent);
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.folders.difference(&folders) {
            // It may not exist any more.
            let _ = watcher.unwatch(gone);
        }
        // Watched anew even if watched before: the name may lead to another folder now.
        for folder in &folders {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!(folder = %folder.display(), %error, "cannot be watched");
            }
        }
        self.folders = folders;
    }
}

impl Shared {
    /// Whose events count from now on.
    fn attend(&self, extent: Extent) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let paths = extent.files.iter().chain(&extent.folders);
        let real = paths.clone().filter_map(|path| path.canonicalize().ok());
        let all = paths.cloned().chain(real);
        state.names = all.flat_map(|path| names_in(&path)).collect();
        state.extent = extent;
    }

    fn note(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !event.paths.iter().any(|path| state.cares_for(path)) {
            return;
        }
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                event.paths.iter().for_each(|path| {
                    state.writing.remove(path);
                });
            }
            // Our own reading is no change.
            EventKind::Access(_) => return,
            EventKind::Modify(ModifyKind::Data(_)) => {
                state.writing.extend(event.paths.iter().cloned());
            }
            _ => event.paths.iter().for_each(|path| {
                state.writing.remove(path);
            }),
        }
        state.dirty = true;
        state.last_event = Some(clock::now());
        drop(state);
        self.wake.notify_one();
    }

    /// How long to wait for files that are being written, if there is one.
    fn wait_for_writers(&self) -> Option<Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.writing.is_empty() {
            return None;
        }
        let quiet = state.last_event.map_or(WRITING_MAX, |last| last.elapsed());
        let rest = WRITING_MAX.checked_sub(quiet).filter(|rest| !rest.is_zero());
        if rest.is_none() {
            state.writing.clear();
        }
        rest
    }

    fn take_dirty(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.dirty)
    }
}

impl State {
    fn cares_for(&self, path: &Path) -> bool {
        let Some(name) = path.file_name() else { return true };
        // `..data` and the like: how Kubernetes swaps a whole folder.
        let text = name.to_str().unwrap_or_default();
        self.names.contains(name) || text.starts_with("..") || self.extent.takes(text)
    }
}

fn names_in(path: &Path) -> Vec<OsString> {
    path.iter().map(ToOwned::to_owned).collect()
}

/// The folders in which an event may concern the source: those of its paths, and of what they
/// lead to.
fn folders(extent: &Extent) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for path in extent.files.iter().chain(&extent.folders).cloned() {
        let real = path.canonicalize().ok();
        for path in [Some(path), real].into_iter().flatten() {
            if path.is_dir() {
                folders.insert(path.clone());
            }
            let parent = match path.parent() {
                Some(parent) if parent == Path::new("") => Path::new("."),
                Some(parent) => parent,
                None => continue,
            };
            folders.insert(parent.to_owned());
        }
    }
    folders
}

fn stamps(extent: &Extent) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok();
        Stamp {
            target: path.canonicalize().ok(),
            length: metadata.as_ref().map_or(0, std::fs::Metadata::len),
            modified: metadata.and_then(|metadata| metadata.modified().ok()),
            path: path.clone(),
        }
    };
    extent.files.iter().map(stamp).collect()
}
