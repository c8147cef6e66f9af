//! From what is asked for to what would be there; pure.

use std::sync::Arc;

use proto::control::v1::{Change, Revision};

use super::{OBJECTS_MAX, Objects, REVISIONS_MAX, Stored, Table};
use crate::check::Problem;
use crate::durable::Write;
use crate::intent::{Kind, Object};

/// A change that someone asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// What is to change.
    pub edits: Edits,
    /// The etag that the present object must have; `*` is any.
    pub if_match: Option<String>,
    /// Whether it is only looked at.
    pub dry_run: bool,
}

/// See [`Proposal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edits {
    /// An object, new or in place of the present one.
    Put(Object),
    /// An object goes.
    Delete(Kind, String),
    /// These take the place of all.
    Replace(Vec<Object>),
}

/// Why a proposal is refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// No such object.
    NotFound,
    /// The present object has another etag, or there is none.
    OtherEtag,
    /// What would be there is wrong.
    Problems(Vec<Problem>),
    /// Too many objects.
    TooMany,
    /// It could not be written, so nothing changed.
    NotStored(String),
}

/// What would be there.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// All of it.
    pub next: Objects,
    /// What differs; nothing where the content is equal, and then there is no new revision.
    pub changes: Vec<Change>,
    /// What the store has to write.
    pub writes: Vec<Write>,
}

impl Objects {
    /// What would be there if the proposal were taken at that time.
    ///
    /// # Errors
    /// Where it does not fit what is there; the content is not looked at.
    pub fn plan(&self, proposal: &Proposal, at: &str) -> Result<Plan, Refused> {
        let mut table = self.table.clone();
        match &proposal.edits {
            Edits::Put(object) => {
                let key = (object.kind, object.name.clone());
                self.check_etag(&key, proposal.if_match.as_deref())?;
                table.insert(key, Arc::new(Stored::new(object.clone())));
            }
            Edits::Delete(kind, name) => {
                let key = (*kind, name.clone());
                self.check_etag(&key, proposal.if_match.as_deref())?;
                table.remove(&key).ok_or(Refused::NotFound)?;
            }
            Edits::Replace(objects) => {
                let stored = objects.iter().map(|object| {
                    let key = (object.kind, object.name.clone());
                    (key, Arc::new(Stored::new(object.clone())))
                });
                table = stored.collect();
            }
        }
        if table.len() > OBJECTS_MAX {
            return Err(Refused::TooMany);
        }
        Ok(self.plan_for(table, at))
    }

    fn check_etag(&self, key: &(Kind, String), wanted: Option<&str>) -> Result<(), Refused> {
        let Some(wanted) = wanted else { return Ok(()) };
        match self.table.get(key) {
            Some(stored) if wanted == "*" || wanted == &*stored.etag => Ok(()),
            _ => Err(Refused::OtherEtag),
        }
    }

    fn plan_for(&self, table: Table, at: &str) -> Plan {
        let (mut changes, mut writes) = (Vec::new(), Vec::new());
        let mut add = |(kind, name): &(Kind, String), change: &str, document: Option<&str>| {
            let (kind, name) = (kind.key().to_owned(), name.clone());
            let change = change.to_owned();
            changes.push(Change { kind: kind.clone(), name: name.clone(), change });
            let document = document.map(|text| text.as_bytes().to_vec());
            writes.push(Write::Object { kind, name, document });
        };
        for (key, stored) in &table {
            let word = match self.table.get(key) {
                Some(before) if before.etag == stored.etag => continue,
                Some(_) => "changed",
                None => "created",
            };
            add(key, word, Some(&stored.document));
        }
        for key in self.table.keys().filter(|key| !table.contains_key(*key)) {
            add(key, "deleted", None);
        }
        let mut next = Self { table, revisions: self.revisions.clone() };
        if !changes.is_empty() {
            let revision = self.revision() + 1;
            let record = Revision { revision, at: at.to_owned(), changes: changes.clone() };
            writes.push(Write::Revision { number: revision, record: encode(&record) });
            next.revisions.push_back(Arc::new(record));
            while next.revisions.len() > REVISIONS_MAX
                && let Some(oldest) = next.revisions.pop_front()
            {
                writes.push(Write::Revision { number: oldest.revision, record: None });
            }
        }
        Plan { next, changes, writes }
    }
}

fn encode(revision: &Revision) -> Option<Vec<u8>> {
    // Cannot fail: texts and numbers under names.
    serde_json::to_vec(revision).ok()
}
