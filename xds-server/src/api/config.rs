//! Handlers of the configuration: messages in, messages or an [`Error`] out.

use std::sync::Arc;

use proto::control::v1::{
    ApplyRequest, ApplyResponse, ConfigObject, DeleteConfigRequest, DeleteConfigResponse,
    GetConfigRequest, ListConfigRequest, ListConfigResponse, ListNodesResponse,
    ListRevisionsResponse, Nack, Node, NodeType, Revision, UpdateConfigRequest,
    UpdateConfigResponse,
};
use tokio::sync::watch;

use super::error::{Error, Kind as ErrorKind, Problem};
use crate::catalog::{Catalog, Edits, Objects, Proposal, Refused, Stored};
use crate::check;
use crate::intent::yaml::{self, Value};
use crate::intent::{self, DEFAULT, Kind, NAME_RULE, Object, is_name, suggest};
use crate::status::{NodeView, Status, TypeView};
use crate::store::Store;

/// See the module.
#[derive(Clone, Debug)]
pub struct Config {
    /// Absent where a folder of resources is served.
    catalog: Option<Catalog>,
    store: Arc<Store>,
    status: Arc<Status>,
}

impl Config {
    /// Handlers over that catalog.
    #[must_use]
    pub fn new(catalog: Option<Catalog>, store: Arc<Store>, status: Arc<Status>) -> Self {
        Self { catalog, store, status }
    }

    /// One object.
    ///
    /// # Errors
    /// Where there is none.
    pub fn get(&self, request: &GetConfigRequest) -> Result<ConfigObject, Error> {
        let current = self.catalog()?.current();
        let key = (kind(&request.kind)?, request.name.clone());
        current.table.get(&key).map(|stored| view(stored)).ok_or_else(|| {
            let message = format!("no object '{}' of {}", request.name, request.kind);
            Error::new(ErrorKind::NotFound, message)
        })
    }

    /// All objects of a kind, or of all.
    ///
    /// # Errors
    /// Where there is no such kind.
    pub fn list(&self, request: &ListConfigRequest) -> Result<ListConfigResponse, Error> {
        let current = self.catalog()?.current();
        let wanted = if request.kind.is_empty() { None } else { Some(kind(&request.kind)?) };
        let fits = |stored: &&Arc<Stored>| wanted.is_none_or(|kind| stored.object.kind == kind);
        let objects = current.table.values().filter(fits).map(|stored| view(stored)).collect();
        Ok(ListConfigResponse { objects })
    }

    /// Puts an object.
    ///
    /// # Errors
    /// What is wrong with it, or with what would be there.
    pub async fn update(
        &self,
        request: UpdateConfigRequest,
    ) -> Result<UpdateConfigResponse, Error> {
        let catalog = self.catalog()?;
        let object = object(&request)?;
        let key = (object.kind, object.name.clone());
        let if_match = (!request.if_match.is_empty()).then_some(request.if_match);
        let proposal = Proposal { edits: Edits::Put(object), if_match, dry_run: false };
        let outcome = catalog.propose(proposal).await.map_err(refused)?;
        let etag = outcome.plan.next.table.get(&key).map(|stored| stored.etag.to_string());
        let created = outcome.plan.changes.iter().any(|change| change.change == "created");
        let (etag, revision) = (etag.unwrap_or_default(), outcome.revision);
        Ok(UpdateConfigResponse { etag, revision, created })
    }

    /// Removes an object.
    ///
    /// # Errors
    /// Where there is none, or something needs it.
    pub async fn delete(
        &self,
        request: DeleteConfigRequest,
    ) -> Result<DeleteConfigResponse, Error> {
        let edits = Edits::Delete(kind(&request.kind)?, request.name);
        let if_match = (!request.if_match.is_empty()).then_some(request.if_match);
        let proposal = Proposal { edits, if_match, dry_run: false };
        let outcome = self.catalog()?.propose(proposal).await.map_err(refused)?;
        Ok(DeleteConfigResponse { revision: outcome.revision })
    }

    /// Puts a whole mesh in place of all objects.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn apply(&self, request: ApplyRequest) -> Result<ApplyResponse, Error> {
        let catalog = self.catalog()?;
        let root = read(&request.document)?;
        let objects = intent::objects_of(&root).map_err(|faults| {
            invalid(faults.into_iter().map(|fault| problem("", fault.mark.line, fault.message)))
        })?;
        let dry_run = request.dry_run;
        let proposal = Proposal { edits: Edits::Replace(objects), if_match: None, dry_run };
        let outcome = catalog.propose(proposal).await.map_err(refused)?;
        let (revision, changes) = (outcome.revision, outcome.plan.changes.clone());
        Ok(ApplyResponse { revision, changes, dry_run })
    }

    /// The revisions that are still known.
    ///
    /// # Errors
    /// Where there are no objects.
    pub fn revisions(&self) -> Result<ListRevisionsResponse, Error> {
        let current = self.catalog()?.current();
        let revisions = current.revisions.iter().map(|revision| (**revision).clone()).collect();
        Ok(ListRevisionsResponse { revisions })
    }

    /// Revisions after that one, as they come.
    ///
    /// # Errors
    /// Where there are no objects.
    pub fn watch(&self, after: u64) -> Result<Revisions, Error> {
        Ok(Revisions { objects: self.catalog()?.watch(), after })
    }

    /// Clients of the xDS services.
    #[must_use]
    pub fn nodes(&self) -> ListNodesResponse {
        let nodes = self.status.nodes(&self.store.current()).into_iter().map(node).collect();
        ListNodesResponse { nodes }
    }

    fn catalog(&self) -> Result<&Catalog, Error> {
        self.catalog.as_ref().ok_or_else(|| {
            let message = "a server over a folder of resources (--resources) has no objects; \
                           they come beside a mesh file (--config), or alone";
            Error::new(ErrorKind::NotBuilt, message)
        })
    }
}

/// Revisions as they come; none is left out that is still known.
#[derive(Debug)]
pub struct Revisions {
    objects: watch::Receiver<Arc<Objects>>,
    after: u64,
}

impl Revisions {
    /// The next ones; `None` when the server stops. Cancel-safe.
    pub async fn next(&mut self) -> Option<Vec<Arc<Revision>>> {
        loop {
            let found: Vec<Arc<Revision>> = {
                let current = self.objects.borrow_and_update();
                let newer = current.revisions.iter().filter(|r| r.revision > self.after);
                newer.cloned().collect()
            };
            if let Some(last) = found.last() {
                self.after = last.revision;
                return Some(found);
            }
            self.objects.changed().await.ok()?;
        }
    }
}

fn kind(key: &str) -> Result<Kind, Error> {
    if key == "policies" {
        return Err(Error::new(ErrorKind::NotBuilt, "policies are not built yet"));
    }
    Kind::parse(key).ok_or_else(|| {
        let known = Kind::ALL.map(Kind::key);
        let message =
            format!("no kind '{key}'{}; there are {}", suggest::hint(key, known), known.join(", "));
        Error::new(ErrorKind::NotFound, message)
    })
}

fn object(request: &UpdateConfigRequest) -> Result<Object, Error> {
    let (kind, name) = (kind(&request.kind)?, request.name.as_str());
    let wrong = |rule: &str| {
        let message = format!("got '{name}'; must be {rule}");
        Error::invalid(vec![Problem::new("name", message)])
    };
    if kind == Kind::Defaults && name != DEFAULT {
        return Err(wrong("'default', of which there is one"));
    }
    if !is_name(name) {
        return Err(wrong(NAME_RULE));
    }
    let node = read(&request.document)?;
    let Value::Map(entries) = &node.value else {
        let message = format!("must be a mapping, got {}", node.kind());
        return Err(invalid([problem("", node.mark.line, message)]));
    };
    let said = entries.iter().find(|entry| entry.key == "name" && kind == Kind::Routes);
    if let Some(said) = said
        && said.value.text() != Some(name)
    {
        let message = format!("must be the name of the object, '{name}', or be left out");
        return Err(invalid([problem("name", said.value.mark.line, message)]));
    }
    Ok(Object { kind, name: name.to_owned(), node })
}

fn read(document: &str) -> Result<yaml::Node, Error> {
    yaml::read(document).map_err(|fault| {
        let yaml::Mark { line, column, .. } = fault.mark;
        Error::new(ErrorKind::Malformed, format!("{line}:{column}: {}", fault.message))
    })
}

fn problem(path: &str, line: usize, message: String) -> Problem {
    let suggestion = suggest::hinted(&message).map(ToOwned::to_owned);
    Problem { path: path.to_owned(), message, line: Some(line), suggestion }
}

fn invalid(problems: impl IntoIterator<Item = Problem>) -> Error {
    Error::invalid(problems.into_iter().collect())
}

fn refused(refused: Refused) -> Error {
    let at = |found: check::Problem| match found.place {
        Some(place) => {
            let path = place.file.display().to_string();
            problem(path.strip_prefix("api:").unwrap_or(&path), place.line, found.message)
        }
        None => Problem::new("", found.message),
    };
    match refused {
        Refused::NotFound => Error::new(ErrorKind::NotFound, "no such object"),
        Refused::OtherEtag => {
            Error::new(ErrorKind::Precondition, "the object is not the one that If-Match names")
        }
        Refused::Problems(problems) => invalid(problems.into_iter().map(at)),
        Refused::TooMany => Error::new(ErrorKind::Exhausted, "at most 10000 objects"),
        Refused::NotStored(why) => {
            Error::new(ErrorKind::Unavailable, format!("not stored, so nothing changed: {why}"))
        }
    }
}

fn view(stored: &Stored) -> ConfigObject {
    ConfigObject {
        kind: stored.object.kind.key().to_owned(),
        name: stored.object.name.clone(),
        document: stored.document.clone(),
        etag: stored.etag.to_string(),
    }
}

fn node(view: NodeView) -> Node {
    let NodeView { id, cluster, connected, streams, types, note, warnings } = view;
    let of_type = |view: TypeView| NodeType {
        sent: view.sent.unwrap_or_default(),
        acked: view.acked.unwrap_or_default(),
        nack: view.nack.map(|nack| Nack {
            version: nack.version,
            message: nack.message,
            at: nack.at,
            count: nack.count,
        }),
    };
    Node {
        id,
        cluster,
        connected,
        streams: streams as u64,
        types: types.into_iter().map(|(url, view)| (url, of_type(view))).collect(),
        note: note.unwrap_or_default(),
        warnings,
    }
}
