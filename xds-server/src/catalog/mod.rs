//! The objects that came by the API, and the revisions in which they came.
//!
//! A [`Proposal`] becomes a [`Plan`] (what would be there, what changes, what to write), which is
//! checked and written by the one task that changes what is served; only then is it in force. So
//! what is read here is always what is on the disk.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proto::control::v1::Revision;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};

pub use self::plan::{Edits, Plan, Proposal, Refused};
use crate::durable::{Disk, Failure};
use crate::intent::{Kind, Object, yaml};
use crate::snapshot::version_of;

/// Revisions that are remembered.
pub const REVISIONS_MAX: usize = 1_000;
/// Most objects.
pub const OBJECTS_MAX: usize = 10_000;

/// An object as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The object; its marks are those of the text that it came in.
    pub object: Object,
    /// What is configured, as JSON with sorted keys.
    pub document: String,
    /// Hash of the document.
    pub etag: Arc<str>,
}

impl Stored {
    fn new(mut object: Object) -> Self {
        // A route's name stands outside of it, as that of every other object.
        if let (Kind::Routes, yaml::Value::Map(entries)) = (object.kind, &mut object.node.value) {
            entries.retain(|entry| entry.key != "name");
        }
        let document = sorted(object.node.to_json()).to_string();
        let etag = version_of([("", document.as_str())]);
        Self { object, document, etag }
    }
}

/// The same value with the keys of all objects in order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(entries) => {
            let entries: BTreeMap<_, _> = entries.into_iter().collect();
            let entries = entries.into_iter().map(|(key, value)| (key, sorted(value)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

/// Objects by kind and name.
pub type Table = BTreeMap<(Kind, String), Arc<Stored>>;

/// All objects and what is remembered of how they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// The objects.
    pub table: Table,
    /// The newest revisions, oldest first.
    pub revisions: VecDeque<Arc<Revision>>,
}

impl Objects {
    /// What a store has.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn restored(disk: &Disk) -> Result<Self, Failure> {
        let mut objects = Self::default();
        for (key, name, bytes) in disk.objects()? {
            let wrong = |why: &str| Failure::Record(format!("{key}/{name}"), why.to_owned());
            let kind = Kind::parse(&key).ok_or_else(|| wrong("no such kind"))?;
            let text = std::str::from_utf8(&bytes).map_err(|_| wrong("not UTF-8"))?;
            let node = yaml::read(text).map_err(|fault| wrong(&fault.message))?;
            let stored = Stored::new(Object { kind, name: name.clone(), node });
            objects.table.insert((kind, name), Arc::new(stored));
        }
        for (number, bytes) in disk.revisions()? {
            let read = serde_json::from_slice(&bytes);
            let revision = read.map_err(|error| {
                Failure::Record(format!("revision {number}"), error.to_string())
            })?;
            objects.revisions.push_back(Arc::new(revision));
        }
        Ok(objects)
    }

    /// The newest revision's number; 0 before the first.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revisions.back().map_or(0, |revision| revision.revision)
    }

    /// All objects, to be read as a mesh.
    #[must_use]
    pub fn all(&self) -> Vec<Object> {
        self.table.values().map(|stored| stored.object.clone()).collect()
    }
}

/// What a proposal came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What changed, or would change.
    pub plan: Arc<Plan>,
    /// The newest revision's number.
    pub revision: u64,
}

/// A proposal on its way to the task that decides.
#[derive(Debug)]
pub struct Request {
    /// What is asked for.
    pub proposal: Proposal,
    /// For the answer.
    pub reply: oneshot::Sender<Result<Outcome, Refused>>,
}

/// What is in force, for those who read, and the way to the task that changes it.
#[derive(Clone, Debug)]
pub struct Catalog {
    current: watch::Sender<Arc<Objects>>,
    requests: mpsc::Sender<Request>,
}

impl Catalog {
    /// A catalog that begins with these, and the requests that will come.
    #[must_use]
    pub fn new(objects: Objects) -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(16);
        (Self { current: watch::Sender::new(Arc::new(objects)), requests }, receiver)
    }

    /// What is in force.
    #[must_use]
    pub fn current(&self) -> Arc<Objects> {
        self.current.borrow().clone()
    }

    /// Sees every later state, or only the newest of several.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Objects>> {
        self.current.subscribe()
    }

    /// Puts that in force.
    pub fn set(&self, objects: Objects) {
        self.current.send_replace(Arc::new(objects));
    }

    /// Asks for a change and waits until it is in force, or refused.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn propose(&self, proposal: Proposal) -> Result<Outcome, Refused> {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(Request { proposal, reply }).await;
        sent.map_err(|_| Refused::NotStored("the server is stopping".to_owned()))?;
        answer
            .await
            .unwrap_or_else(|_| Err(Refused::NotStored("the server is stopping".to_owned())))
    }
}
