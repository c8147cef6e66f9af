//! Instances of services that say themselves where they are.
//!
//! [`book`] is the whole behaviour and knows no clock and no task; [`Registry`] puts it behind a
//! lock, gives it the time, has it written, and wakes whoever composes what is served.

pub mod book;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

pub use self::book::{
    Book, DRAIN_FOR, GONE_AFTER, Health, INSTANCES_MAX, Instance, Keeper, Life, Listed,
    PER_SERVICE_MAX, Refusal, Registered, Spec,
};
use crate::clock::{self, Instant};
use crate::durable::journal::{Journal, Written};
use crate::durable::{Disk, Failure};

/// See the module.
#[derive(Debug)]
pub struct Registry {
    /// Guards the book alone; never held while anything else is done.
    book: Mutex<Book>,
    /// Counts what has to be looked at: changes of what is served, and earlier deadlines.
    changes: watch::Sender<u64>,
    /// Absent where nothing outlives the process.
    journal: Option<Journal>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(Book::default(), None)
    }
}

/// What a store has of the registry: everyone has one more lease's length to renew.
///
/// # Errors
/// Where it cannot be read.
pub fn restored(disk: &Disk) -> Result<Book, Failure> {
    let mut book = Book::default();
    let now = clock::now();
    for (service, id, bytes) in disk.instances()? {
        let instance = record::decode(&bytes, now)
            .map_err(|why| Failure::Record(format!("{service}/{id}"), why))?;
        book.restore(&service, &id, instance);
    }
    Ok(book)
}

impl Registry {
    /// A registry that begins with that book and has its changes written.
    #[must_use]
    pub fn new(book: Book, journal: Option<Journal>) -> Self {
        Self { book: Mutex::new(book), changes: watch::Sender::new(0), journal }
    }

    /// Sees that something changed.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The services that instances may register with.
    pub fn set_services(&self, discovered: BTreeSet<String>, others: BTreeSet<String>) {
        self.change(|book, _| book.set_services(discovered, others)).0
    }

    /// Registers, renews or changes an instance.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn register(
        &self,
        service: &str,
        id: &str,
        spec: Spec,
        keeper: Keeper,
    ) -> Result<Registered, Refusal> {
        stored(self.change(|book, now| book.register(service, id, spec, keeper, now))).await
    }

    /// Renews a lease.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn renew(&self, service: &str, id: &str, lease: &str) -> Result<Registered, Refusal> {
        stored(self.change(|book, now| book.renew(service, id, lease, now))).await
    }

    /// Drains an instance; it is removed at the time that is returned.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn deregister(
        &self,
        service: &str,
        id: &str,
        lease: &str,
    ) -> Result<Instant, Refusal> {
        stored(self.change(|book, now| book.deregister(service, id, lease, now))).await
    }

    /// The stream that was that lease is gone without an end.
    pub fn lose(&self, service: &str, id: &str, lease: &str) {
        self.change(|book, now| book.lose(service, id, lease, now)).0
    }

    /// Does what is due by now; returns when to come again.
    pub fn sweep(&self) -> Option<Instant> {
        self.change(|book, now| {
            book.sweep(now);
            book.next_deadline()
        })
        .0
    }

    /// Instances of a service and the number of its last change; nothing is cloned where `seen`
    /// is that number.
    #[must_use]
    pub fn instances(&self, service: &str, seen: Option<u64>) -> Option<(u64, Vec<Listed>)> {
        let book = self.lock();
        let generation = book.generation(service);
        (seen != Some(generation)).then(|| (generation, book.list(service)))
    }

    /// All instances, or those of one service.
    #[must_use]
    pub fn list(&self, service: Option<&str>) -> Vec<Listed> {
        let book = self.lock();
        service.map_or_else(|| book.list_all(), |service| book.list(service))
    }

    /// How many instances a service has in each state.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, Health, usize)> {
        self.lock().counts()
    }

    /// Changes the book; also gives the answer of the store, where it has something to write.
    fn change<T>(&self, change: impl FnOnce(&mut Book, Instant) -> T) -> (T, Option<Written>) {
        let mut book = self.lock();
        let before = (book.changes(), book.next_deadline());
        let result = change(&mut book, clock::now());
        let after = (book.changes(), book.next_deadline());
        let writes = book.take_unwritten();
        let journal = self.journal.as_ref().filter(|_| !writes.is_empty());
        // Still under the lock: the store gets changes in the order in which they happened.
        let written = journal.map(|journal| journal.write(writes));
        drop(book);
        let earlier = after.1.is_some_and(|after| before.1.is_none_or(|before| after < before));
        if after.0 != before.0 || earlier {
            self.changes.send_modify(|count| *count += 1);
        }
        (result, written)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The result, once the store has what it changed.
async fn stored<T>((result, written): (Result<T, Refusal>, Option<Written>)) -> Result<T, Refusal> {
    let value = result?;
    let Some(written) = written else { return Ok(value) };
    match written.await {
        Ok(Ok(())) => Ok(value),
        Ok(Err(why)) => Err(Refusal::NotStored(why)),
        Err(_) => Err(Refusal::NotStored("the store was closed".to_owned())),
    }
}
