//! Which files were moved into place: one watcher for all file subscriptions of a client.
//!
//! Envoy counts moves, not writes, since only a move replaces a file at once (§2.3 of the protocol
//! notes); a configuration may ask for writes too. A wake-up is a flag, not a queue: it is never
//! lost and never piles up.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// Watches directories.
pub(super) struct DirWatcher {
    /// Guards the operating system's handle; taken when a subscription comes or goes.
    watcher: Mutex<RecommendedWatcher>,
    interests: Arc<Mutex<Vec<Interest>>>,
}

/// What somebody waits for.
struct Interest {
    directory: PathBuf,
    /// The one file, or any.
    file: Option<OsString>,
    writes: Writes,
    flag: Arc<Notify>,
}

/// Whether writing in place counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writes {
    Count,
    Ignored,
}

/// A watch; it ends when this drops.
pub(super) struct Watched {
    flag: Arc<Notify>,
    owner: Arc<DirWatcher>,
}

impl DirWatcher {
    pub(super) fn new() -> notify::Result<Self> {
        let interests: Arc<Mutex<Vec<Interest>>> = Arc::default();
        let known = Arc::clone(&interests);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let interests = known.lock().unwrap_or_else(PoisonError::into_inner);
            for interest in interests.iter().filter(|interest| interest.wakes(&event)) {
                interest.flag.notify_one();
            }
        })?;
        Ok(Self { watcher: Mutex::new(watcher), interests })
    }

    /// Watches for `file`, or for anything, that comes into `directory`.
    pub(super) fn watch(
        self: &Arc<Self>,
        directory: &Path,
        file: Option<OsString>,
        writes: Writes,
    ) -> notify::Result<Watched> {
        // One spelling for each directory: the system reports events under the last one only.
        let directory = directory.canonicalize()?;
        let flag = Arc::new(Notify::new());
        let interest =
            Interest { directory: directory.clone(), file, writes, flag: Arc::clone(&flag) };
        self.interests.lock().unwrap_or_else(PoisonError::into_inner).push(interest);
        let watched = Watched { flag, owner: Arc::clone(self) };
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        watcher.watch(&directory, RecursiveMode::NonRecursive)?;
        Ok(watched)
    }

    /// Forgets one watch, and the directory with its last one.
    fn forget(&self, flag: &Arc<Notify>) {
        let orphan = {
            let mut interests = self.interests.lock().unwrap_or_else(PoisonError::into_inner);
            let at = interests.iter().position(|interest| Arc::ptr_eq(&interest.flag, flag));
            let directory = at.map(|at| interests.swap_remove(at).directory);
            directory.filter(|gone| !interests.iter().any(|other| other.directory == *gone))
        };
        if let Some(directory) = orphan {
            let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
            // It may be gone from the file system, and its watch with it.
            let _unknown = watcher.unwatch(&directory);
        }
    }
}

impl Interest {
    fn wakes(&self, event: &notify::Result<notify::Event>) -> bool {
        // After lost events nobody knows what moved.
        let Ok(event) = event else { return true };
        if event.need_rescan() {
            return true;
        }
        let counts = match event.kind {
            EventKind::Modify(ModifyKind::Name(mode)) => mode != RenameMode::From,
            EventKind::Create(_) | EventKind::Modify(_) => self.writes == Writes::Count,
            _ => false,
        };
        counts && event.paths.iter().any(|path| self.is_at(path))
    }

    fn is_at(&self, path: &Path) -> bool {
        path.parent() == Some(&*self.directory)
            && self.file.as_deref().is_none_or(|file| path.file_name() == Some(file))
    }
}

impl Watched {
    /// Waits until something was moved into place since the last call. Cancel safe.
    pub(super) async fn moved(&self) {
        self.flag.notified().await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.owner.forget(&self.flag);
    }
}
