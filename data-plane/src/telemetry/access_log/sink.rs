//! Where lines go: files, stdout, stderr; never the request's problem.
//!
//! A worker writes a line into its own buffer. A full buffer goes over a bounded queue to the
//! sink's writer thread, which also collects what the workers hold once an interval. When the
//! target blocks, the queue fills and lines are dropped and counted: the request never waits. The
//! only lock on the way is that of the worker's own buffer, which the writer takes once an
//! interval to swap it.
//!
//! Each target has one thread, so that a blocked one does not hold back the others. A sink whose
//! last handle is dropped writes what it holds and ends its thread.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::base::clock;
use crate::telemetry::WorkerId;
use crate::telemetry::stats::{FilesystemStat, Group};

/// Buffers that may wait for a blocked target, each of about [`LogOptions::min_flush`] bytes.
const QUEUE: usize = 64;

/// Room behind a full buffer for the line that fills it.
const SPARE: usize = 2048;

/// When buffered lines are written (`--file-flush-interval-msec`, `--file-flush-min-size-kb`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The longest that a line waits.
    pub interval: Duration,
    /// Bytes in a worker's buffer that make it go at once.
    pub min_flush: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), min_flush: 64 * 1024 }
    }
}

/// What a sink writes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A file, appended to, reopened by [`Logs::reopen`].
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The sinks of one data plane. Cloning gives another handle to the same ones.
#[derive(Clone, Debug)]
pub struct Logs {
    shared: Arc<LogsShared>,
}

#[derive(Debug)]
struct LogsShared {
    workers: u16,
    options: LogOptions,
    stats: Group<FilesystemStat>,
    dropped: Arc<AtomicU64>,
    /// Guards the map alone; taken when a log is configured and when files are reopened.
    open: Mutex<BTreeMap<(Target, Duration), Weak<Inner>>>,
}

/// A handle to write lines with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sink {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    buffers: Arc<Buffers>,
    queue: SyncSender<Message>,
    min_flush: usize,
}

#[derive(Debug)]
enum Message {
    /// There is something in a buffer.
    Dirty,
    /// A full buffer.
    Full(Pending),
    Reopen,
    /// Write all; then say so.
    Flush(SyncSender<()>),
}

/// A worker's lines that are not yet written.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    lines: u64,
}

/// A cache line of its own, so that workers do not slow each other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot(Mutex<Pending>);

#[derive(Debug)]
struct Buffers {
    slots: Box<[Slot]>,
    /// A worker wrote since the writer last looked.
    dirty: AtomicBool,
    dropped: Arc<AtomicU64>,
    stats: Group<FilesystemStat>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logs {
    /// No sink yet; `workers` may write, and the control runtime.
    #[must_use]
    pub fn new(workers: u16, options: LogOptions, stats: Group<FilesystemStat>) -> Self {
        let dropped = Arc::default();
        let open = Mutex::default();
        Self { shared: Arc::new(LogsShared { workers, options, stats, dropped, open }) }
    }

    /// The sink that writes to `target`; the same one as long as a handle lives.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or no thread could be started.
    pub fn sink(&self, target: &Target) -> io::Result<Sink> {
        self.sink_with(target, self.shared.options)
    }

    /// As [`Logs::sink`], with another pace: what people watch should not wait ten seconds.
    ///
    /// # Errors
    /// As for [`Logs::sink`].
    pub fn sink_with(&self, target: &Target, options: LogOptions) -> io::Result<Sink> {
        let key = (target.clone(), options.interval);
        let mut open = self.open();
        if let Some(inner) = open.get(&key).and_then(Weak::upgrade) {
            return Ok(Sink { inner });
        }
        let output = Output::open(target)?;
        let inner = Arc::new(self.start(output, options)?);
        open.retain(|_, sink| sink.strong_count() > 0);
        open.insert(key, Arc::downgrade(&inner));
        Ok(Sink { inner })
    }

    /// Opens the files of all sinks anew (SIGUSR1, `/reopen_logs`). A file that cannot be opened
    /// goes on with the old one and is counted in `filesystem.reopen_failed`.
    pub fn reopen(&self) {
        for sink in self.living() {
            // A writer whose queue is full is blocked; it reopens with the next message instead.
            let _ = sink.queue.try_send(Message::Reopen);
        }
    }

    /// Writes what is buffered, waiting at most `patience` for all sinks together.
    pub fn flush(&self, patience: Duration) {
        let (done, all_done) = sync_channel(QUEUE);
        let sinks = self.living();
        let asked =
            sinks.iter().filter(|sink| sink.queue.try_send(Message::Flush(done.clone())).is_ok());
        let deadline = clock::now() + patience;
        for _ in 0..asked.count() {
            let left = deadline.saturating_duration_since(clock::now());
            if all_done.recv_timeout(left).is_err() {
                return;
            }
        }
    }

    /// Lines that were dropped because a target blocked or failed, since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<(Target, Duration), Weak<Inner>>> {
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn living(&self) -> Vec<Arc<Inner>> {
        self.open().values().filter_map(Weak::upgrade).collect()
    }

    fn start(&self, output: Output, options: LogOptions) -> io::Result<Inner> {
        let slots = (0..=self.shared.workers).map(|_| Slot::default()).collect();
        let buffers = Arc::new(Buffers {
            slots,
            dirty: AtomicBool::new(false),
            dropped: Arc::clone(&self.shared.dropped),
            stats: self.shared.stats.clone(),
        });
        let (queue, messages) = sync_channel(QUEUE);
        let writer =
            Writer { output, buffers: Arc::clone(&buffers), messages, interval: options.interval };
        std::thread::Builder::new().name("log_writer".to_owned()).spawn(move || writer.run())?;
        Ok(Inner { buffers, queue, min_flush: options.min_flush })
    }
}

impl Sink {
    /// Appends one line that `write` makes. It must end with a line end of its own.
    #[inline]
    pub fn line(&self, worker: WorkerId, write: impl FnOnce(&mut Vec<u8>)) {
        let buffers = &*self.inner.buffers;
        let Some(slot) = buffers.slots.get(worker.slot()) else { return };
        let mut pending = slot.lock();
        let before = pending.bytes.len();
        write(&mut pending.bytes);
        pending.lines += 1;
        let written = pending.bytes.len() - before;
        buffers.stats.inc(worker, FilesystemStat::WriteBuffered);
        buffers.stats.add(worker, FilesystemStat::WriteTotalBuffered, written as u64);
        if pending.bytes.len() >= self.inner.min_flush {
            // Room for as much again, so that the next lines do not make it grow step by step.
            let bytes = Vec::with_capacity(pending.bytes.len() + SPARE);
            let full = std::mem::replace(&mut *pending, Pending { bytes, lines: 0 });
            drop(pending);
            self.inner.hand_over(full);
        } else {
            drop(pending);
            self.inner.wake();
        }
    }
}

impl Inner {
    fn hand_over(&self, full: Pending) {
        if let Err(error) = self.queue.try_send(Message::Full(full)) {
            let (std::sync::mpsc::TrySendError::Full(message)
            | std::sync::mpsc::TrySendError::Disconnected(message)) = error;
            if let Message::Full(lost) = message {
                self.buffers.drop_lines(&lost);
            }
        }
    }

    /// Tells the writer, once an interval, that there is something to collect. When the queue is
    /// full the writer is awake and looks by itself.
    fn wake(&self) {
        let dirty = &self.buffers.dirty;
        if !dirty.load(Ordering::Relaxed) && !dirty.swap(true, Ordering::AcqRel) {
            let _ = self.queue.try_send(Message::Dirty);
        }
    }
}

impl Buffers {
    fn drop_lines(&self, lost: &Pending) {
        self.dropped.fetch_add(lost.lines, Ordering::Relaxed);
        self.leave(lost);
    }

    fn leave(&self, pending: &Pending) {
        let stat = FilesystemStat::WriteTotalBuffered;
        self.stats.sub(WorkerId::CONTROL, stat, pending.bytes.len() as u64);
    }
}

/// An open target.
enum Output {
    File(PathBuf, File),
    Stdout,
    Stderr,
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Output {
    fn open(target: &Target) -> io::Result<Self> {
        Ok(match target {
            Target::File(path) => Self::File(path.clone(), append(path)?),
            Target::Stdout => Self::Stdout,
            Target::Stderr => Self::Stderr,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(_, file) => file.write_all(bytes),
            // The standard streams' locks keep lines of other writers whole.
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::Stderr => io::stderr().lock().write_all(bytes),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Self::File(path, file) = self {
            *file = append(path)?;
        }
        Ok(())
    }
}

/// The writer's side of a sink; it runs on a thread of its own.
struct Writer {
    output: Output,
    buffers: Arc<Buffers>,
    messages: Receiver<Message>,
    interval: Duration,
}

impl Writer {
    fn run(mut self) {
        let mut due = None;
        loop {
            let message = match due {
                None => self.messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => {
                    let left = clock::Instant::saturating_duration_since(&at, clock::now());
                    self.messages.recv_timeout(left)
                }
            };
            match message {
                Ok(Message::Full(full)) => self.write(&full),
                // What is still buffered goes to the new file, as in Envoy.
                Ok(Message::Reopen) => {
                    if self.output.reopen().is_err() {
                        self.count(FilesystemStat::ReopenFailed);
                    }
                }
                Ok(Message::Flush(done)) => {
                    self.collect();
                    let _ = done.try_send(());
                }
                Ok(Message::Dirty) => {}
                Err(RecvTimeoutError::Timeout) => {
                    self.count(FilesystemStat::FlushedByTimer);
                    self.collect();
                }
                Err(RecvTimeoutError::Disconnected) => return self.collect(),
            }
            due = match due {
                _ if !self.buffers.dirty.load(Ordering::Acquire) => None,
                None => Some(clock::now() + self.interval),
                due => due,
            };
        }
    }

    /// Takes what all workers hold and writes it.
    fn collect(&mut self) {
        // Cleared first: a line that comes from now on wakes this thread again.
        self.buffers.dirty.store(false, Ordering::Release);
        let mut all = Pending::default();
        for slot in &self.buffers.slots {
            let taken = std::mem::take(&mut *slot.lock());
            all.lines += taken.lines;
            if all.bytes.is_empty() {
                all.bytes = taken.bytes;
            } else {
                all.bytes.extend_from_slice(&taken.bytes);
            }
        }
        if !all.bytes.is_empty() {
            self.write(&all);
        }
    }

    fn write(&mut self, pending: &Pending) {
        match self.output.write(&pending.bytes) {
            Ok(()) => {
                self.count(FilesystemStat::WriteCompleted);
                self.buffers.leave(pending);
            }
            Err(_) => {
                self.count(FilesystemStat::WriteFailed);
                self.buffers.drop_lines(pending);
            }
        }
    }

    fn count(&self, stat: FilesystemStat) {
        self.buffers.stats.inc(WorkerId::CONTROL, stat);
    }
}

#[cfg(test)]
mod tests;
