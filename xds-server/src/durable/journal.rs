//! The thread that writes what goes on by itself.
//!
//! What comes while it writes goes into the next transaction together, so that a thousand
//! registrations at once cost few writes to the medium. What could not be written of instances is
//! tried again until it is: the memory's state and the file's stay one.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{Disk, Location, Write};

/// Most jobs of one transaction.
const TOGETHER_MAX: usize = 10_000;
/// Between two tries while writing fails.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// Writes on their way to the file.
#[derive(Clone, Debug)]
pub struct Journal(mpsc::UnboundedSender<Job>);

/// Ready when the writes are on the medium, or are not yet, with the reason.
pub type Written = oneshot::Receiver<Result<(), String>>;

#[derive(Debug)]
struct Job {
    writes: Vec<Write>,
    done: oneshot::Sender<Result<(), String>>,
}

impl Journal {
    /// Starts the thread; it ends with the last handle, after the last write.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn spawn(disk: Disk, location: Location) -> std::io::Result<Self> {
        // Not bounded: whoever sends waits for the answer, so there are as many as requests.
        let (sender, receiver) = mpsc::unbounded_channel();
        let writer = Writer { disk: Some(disk), location, behind: BTreeMap::new() };
        std::thread::Builder::new()
            .name("store_writer".to_owned())
            .spawn(move || writer.run(receiver))?;
        Ok(Self(sender))
    }

    /// Writes after all that was given before.
    #[must_use]
    pub fn write(&self, writes: Vec<Write>) -> Written {
        let (done, written) = oneshot::channel();
        // Where the thread is gone, `done` is dropped, which the receiver sees.
        let _ = self.0.send(Job { writes, done });
        written
    }
}

/// Which record a write is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Instance(String, String),
    Object(String, String),
    Revision(u64),
}

fn key(write: &Write) -> Key {
    match write {
        Write::Instance { service, id, .. } => Key::Instance(service.clone(), id.clone()),
        Write::Object { kind, name, .. } => Key::Object(kind.clone(), name.clone()),
        Write::Revision { number, .. } => Key::Revision(*number),
    }
}

struct Writer {
    /// Absent after a failure, until it could be opened again.
    disk: Option<Disk>,
    location: Location,
    /// What is not on the medium yet, by record: only the newest counts.
    behind: BTreeMap<Key, Write>,
}

impl Writer {
    fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        let Ok(timer) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
            return;
        };
        loop {
            let mut waiting = Vec::new();
            let next = timer.block_on(async {
                if self.behind.is_empty() {
                    return Ok(jobs.recv().await);
                }
                tokio::time::timeout(RETRY_EVERY, jobs.recv()).await
            });
            match next {
                Ok(Some(job)) => waiting.push(job),
                // The last handle is gone. What could not be written has had its try.
                Ok(None) => return,
                Err(_) => {}
            }
            while waiting.len() < TOGETHER_MAX
                && let Ok(job) = jobs.try_recv()
            {
                waiting.push(job);
            }
            for write in waiting.iter_mut().flat_map(|job| job.writes.drain(..)) {
                self.behind.insert(key(&write), write);
            }
            let result = self.commit();
            for job in waiting {
                // Who does not wait any more does not need the answer.
                let _ = job.done.send(result.clone());
            }
        }
    }

    fn commit(&mut self) -> Result<(), String> {
        let writes: Vec<Write> = self.behind.values().cloned().collect();
        let committed = self
            .disk()
            .and_then(|disk| disk.commit(&writes).map_err(|failure| failure.to_string()));
        match &committed {
            Ok(()) => self.behind.clear(),
            Err(error) => {
                tracing::error!("not stored: {error}");
                // Instances are what they are, and are tried again. A change of configuration is
                // refused where it cannot be stored: nothing of it may come later.
                self.behind.retain(|key, _| matches!(key, Key::Instance(..)));
                // After an error in the file's own state a database has to be opened anew.
                self.disk = None;
            }
        }
        committed
    }

    fn disk(&mut self) -> Result<&Disk, String> {
        let disk = match self.disk.take() {
            Some(disk) => disk,
            None => Disk::open(&self.location).map_err(|failure| failure.to_string())?,
        };
        Ok(self.disk.insert(disk))
    }
}
