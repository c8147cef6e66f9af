//! The file of the short form while it serves: read at the start, watched, read again.
//!
//! It is watched by its directory, so that an atomic rename counts; a good change swaps in, a bad
//! one is refused with its place and changes nothing.

use std::path::Path;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::control::{Command, Handle, Reload};
use super::load::{LoadError, Loaded};
use super::zero_config::{self, ZeroConfig};
use crate::base::task::{self, Task};

/// Events of one save come together; this is waited for before the file is read.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Pauses of a writer that are waited for, each as long as [`DEBOUNCE`].
const PAUSES_MAX: usize = 10;

/// A file of the short form and what the command line says about it.
#[derive(Clone, Debug)]
pub(super) struct ShortFile {
    file: String,
    /// `--builtin-paths` and its opposite.
    builtin: Option<bool>,
    /// `--shutdown-grace-s`, which wins over the file.
    grace: Option<Duration>,
    /// What was read at the start.
    text: String,
}

impl ShortFile {
    /// Reads the file for the start.
    ///
    /// # Errors
    /// All that is wrong with it, with its place.
    pub(super) fn open(
        file: String,
        builtin: Option<bool>,
        grace: Option<Duration>,
    ) -> Result<(Self, ZeroConfig, Loaded), LoadError> {
        let text = zero_config::read(&file)?;
        let zero = zero_config::parse(&file, &text)?.unwrap_or_default();
        let (zero, loaded) = zero_config::translated(zero, builtin)?;
        Ok((Self { file, builtin, grace, text }, zero, loaded))
    }

    /// Reads the file again and hands it over; what is wrong with it is logged and changes nothing.
    pub(super) async fn reload(&self, handle: &Handle) {
        let read = zero_config::read(&self.file);
        match read.and_then(|text| self.changed(&text)) {
            Ok(reload) => handle.send(Command::Reload(Box::new(reload))).await,
            Err(error) => {
                for line in error.lines {
                    tracing::error!("{line}; the last good configuration stays");
                }
            }
        }
    }

    /// What a changed file asks for. At a start an empty one means the defaults; here it is what an
    /// editor leaves for a moment before it writes, and must not move the proxy to another port.
    fn changed(&self, text: &str) -> Result<Reload, LoadError> {
        let empty = || LoadError::line(format!("{}: the file is empty", self.file));
        let zero = zero_config::parse(&self.file, text)?.ok_or_else(empty)?;
        let (zero, loaded) = zero_config::translated(zero, self.builtin)?;
        let shutdown_grace = self.grace.unwrap_or(zero.timeouts.shutdown);
        Ok(Reload { from: self.file.clone(), loaded, shutdown_grace })
    }

    /// Watches the file for as long as the task lives.
    pub(super) fn watch(&self, handle: Handle) -> Task {
        let this = self.clone();
        task::spawn("watch", async move {
            let (changed, mut changes) = mpsc::channel(1);
            let watcher = notify::recommended_watcher(move |event: notify::Result<_>| {
                if event.is_ok_and(|event: notify::Event| !event.kind.is_access()) {
                    // One wake-up that waits is enough: the file is read after it.
                    let _waiting = changed.try_send(());
                }
            });
            let directory = Path::new(&this.file).parent().filter(|p| !p.as_os_str().is_empty());
            let directory = directory.unwrap_or_else(|| Path::new("."));
            let watching = watcher.and_then(|mut watcher| {
                watcher.watch(directory, RecursiveMode::NonRecursive).map(|()| watcher)
            });
            let _watching = match watching {
                Ok(watching) => watching,
                Err(error) => {
                    let file = &this.file;
                    tracing::warn!(file, %error, "the file is not watched; SIGHUP reads it again");
                    return;
                }
            };
            // It may have changed between its first reading and this watch.
            let mut last = Some(this.text.clone().into_bytes());
            loop {
                last = this.look(last, &handle).await;
                if changes.recv().await.is_none() {
                    return;
                }
                // Not while it is being written, but not put off for ever either.
                for _ in 0..PAUSES_MAX {
                    tokio::time::sleep(DEBOUNCE).await;
                    if changes.try_recv().is_err() {
                        break;
                    }
                }
            }
        })
    }

    /// Takes over what is in the file now, unless that is what was there last.
    async fn look(&self, last: Option<Vec<u8>>, handle: &Handle) -> Option<Vec<u8>> {
        match std::fs::read(&self.file) {
            Ok(now) => {
                if last.as_deref() != Some(&now) {
                    self.reload(handle).await;
                }
                Some(now)
            }
            Err(error) => {
                if last.is_some() {
                    let file = &self.file;
                    tracing::error!(file, %error, "the file is gone; its last good content stays");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_file_is_refused_while_it_is_watched() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        std::fs::write(file.path(), "# later\n\n").unwrap();
        let (short, zero, _) = ShortFile::open(path, None, None).unwrap();
        assert_eq!(zero, ZeroConfig::default());
        let error = short.changed("").unwrap_err().to_string();
        assert!(error.ends_with("the file is empty"), "{error}");
        let reload = short.changed("backend: {port: 3001}\ntimeouts: {shutdown: 7s}\n").unwrap();
        let backend = &reload.loaded.config.clusters[0].value;
        assert!(format!("{backend:?}").contains("3001"), "{backend:?}");
        assert_eq!(reload.shutdown_grace, Duration::from_secs(7));
    }
}
