//! What was accepted and what was refused, resource by resource, for `/config_dump` and CSDS (R3).
//!
//! A copy of facts, written as updates pass by and read by pages; nothing decides by it. A refused
//! resource keeps what was last accepted and says beside it what was refused and why.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use super::stream::{AbsentReason, Called, Cause, Event, Update};
use super::{Name, TypeUrl, WILDCARD};

/// State of all resources of one client.
#[derive(Debug, Default)]
pub struct Status {
    /// Guards the whole record; never held while anything else is locked or awaited.
    types: Mutex<BTreeMap<TypeUrl, TypeStatus>>,
}

/// State of one type's resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeStatus {
    /// Version of the last response without a refused resource.
    pub version: String,
    /// By name.
    pub resources: BTreeMap<Name, ResourceStatus>,
    /// Refused resources of the last response that could not even be named.
    pub nameless: Vec<ErrorState>,
}

/// State of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceStatus {
    /// In CSDS's terms.
    pub client_status: ClientStatus,
    /// What is in force, if anything was ever accepted.
    pub accepted: Option<AcceptedResource>,
    /// What went wrong last, if that came after the last good version.
    pub error: Option<ErrorState>,
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedResource {
    /// Its version.
    pub version: String,
    /// Bytes of its `Any`.
    pub raw: Bytes,
    /// When its content came.
    pub last_updated: SystemTime,
}

/// `envoy.admin.v3.UpdateFailureState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorState {
    /// Why.
    pub details: String,
    /// When.
    pub last_update_attempt: SystemTime,
    /// The version refused; empty where the server itself reported the error.
    pub version: String,
    /// The bytes refused.
    pub raw: Bytes,
}

/// `envoy.admin.v3.ClientResourceStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientStatus {
    /// `ACKED`: the last version is in force.
    Acked,
    /// `DOES_NOT_EXIST`.
    DoesNotExist,
    /// `NACKED`: the last version was refused.
    Nacked,
    /// `RECEIVED_ERROR`: the server could not give it.
    ReceivedError,
    /// `REQUESTED`: no answer yet.
    Requested,
    /// `TIMEOUT`: no answer in time.
    Timeout,
}

impl ResourceStatus {
    const REQUESTED: Self =
        Self { client_status: ClientStatus::Requested, accepted: None, error: None };
}

impl Status {
    /// A copy of one type's state.
    #[must_use]
    pub fn of_type(&self, type_url: &TypeUrl) -> TypeStatus {
        self.locked(|types| types.get(type_url).cloned().unwrap_or_default())
    }

    /// The types of which there is a state.
    #[must_use]
    pub fn types(&self) -> Vec<TypeUrl> {
        self.locked(|types| types.keys().cloned().collect())
    }

    pub(super) fn watch(&self, type_url: &TypeUrl, name: &Name) {
        self.locked(|types| {
            let status = types.entry(type_url.clone()).or_default();
            if &**name != WILDCARD {
                status.resources.entry(name.clone()).or_insert(ResourceStatus::REQUESTED);
            }
        });
    }

    pub(super) fn unwatch(&self, type_url: &TypeUrl, name: &Name) {
        self.locked(|types| {
            let Some(status) = types.get_mut(type_url) else { return };
            match &**name {
                WILDCARD => status.resources.clear(),
                name => drop(status.resources.remove(name)),
            }
        });
    }

    pub(super) fn record<V>(&self, event: &Event<V>, now: SystemTime) {
        match event {
            Event::Update(update) => self.locked(|types| {
                let status = types.entry(update.type_url.clone()).or_default();
                status.record(update, now);
            }),
            Event::Absent { type_url, name, why } => self.locked(|types| {
                let status = types.entry(type_url.clone()).or_default();
                let resource =
                    status.resources.entry(name.clone()).or_insert(ResourceStatus::REQUESTED);
                resource.client_status = ClientStatus::DoesNotExist;
                resource.accepted = None;
                resource.error = match why {
                    AbsentReason::Error(details) => Some(ErrorState::reported(details, now)),
                    AbsentReason::Removed | AbsentReason::Silence => None,
                };
            }),
            Event::FetchTimeout { type_url, name } => self.locked(|types| {
                let status = types.get_mut(type_url).and_then(|t| t.resources.get_mut(name));
                if let Some(status) = status
                    && status.client_status == ClientStatus::Requested
                {
                    status.client_status = ClientStatus::Timeout;
                }
            }),
            Event::Connect | Event::Disconnected { .. } | Event::Ignored { .. } => {}
        }
    }

    fn locked<T>(&self, f: impl FnOnce(&mut BTreeMap<TypeUrl, TypeStatus>) -> T) -> T {
        f(&mut self.types.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl TypeStatus {
    fn record<V>(&mut self, update: &Update<V>, now: SystemTime) {
        if update.cause == Cause::Response && update.rejected.is_empty() {
            self.version.clone_from(&update.version);
        }
        for changed in &update.changed {
            let accepted = AcceptedResource {
                version: changed.version.clone(),
                raw: changed.raw.clone(),
                last_updated: now,
            };
            let (client_status, accepted) = (ClientStatus::Acked, Some(accepted));
            let resource = ResourceStatus { client_status, accepted, error: None };
            self.resources.insert(changed.name.clone(), resource);
        }
        for (name, version) in &update.unchanged {
            if let Some(resource) = self.resources.get_mut(name) {
                resource.client_status = ClientStatus::Acked;
                resource.error = None;
                if let Some(accepted) = &mut resource.accepted {
                    accepted.version.clone_from(version);
                }
            }
        }
        for name in &update.removed {
            self.resources.remove(name);
        }
        for error in &update.errors {
            if let Some(resource) = self.resources.get_mut(&error.name) {
                resource.client_status = ClientStatus::ReceivedError;
                resource.error = Some(ErrorState::reported(&error.message, now));
            }
        }
        if update.cause == Cause::Response {
            self.nameless.clear();
        }
        for bad in &update.rejected {
            let error = ErrorState {
                details: bad.problems.to_string(),
                last_update_attempt: now,
                version: bad.version.clone(),
                raw: bad.raw.clone(),
            };
            if bad.called == Called::ByPlace {
                self.nameless.push(error);
                continue;
            }
            let resource =
                self.resources.entry(bad.name.clone()).or_insert(ResourceStatus::REQUESTED);
            resource.client_status = ClientStatus::Nacked;
            resource.error = Some(error);
        }
    }
}

impl ErrorState {
    fn reported(details: &str, now: SystemTime) -> Self {
        let (version, raw) = (String::new(), Bytes::new());
        Self { details: details.to_owned(), last_update_attempt: now, version, raw }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::error::Reason;
    use crate::xds::stream::{Changed, Rejected, ResourceError};

    const RDS: TypeUrl = TypeUrl::ROUTES;

    fn update(version: &str) -> Update<()> {
        Update {
            type_url: RDS,
            version: version.into(),
            cause: Cause::Response,
            changed: Vec::new(),
            unchanged: Vec::new(),
            removed: Vec::new(),
            rejected: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn changed(name: &str, version: &str) -> Changed<()> {
        let (name, raw) = (name.into(), Bytes::copy_from_slice(version.as_bytes()));
        Changed { name, version: version.into(), value: (), raw }
    }

    fn rejected(name: &str, called: Called) -> Rejected {
        let problems = Reason::Missing.into();
        let (name, raw) = (name.into(), Bytes::from_static(b"bad"));
        Rejected { name, called, version: "2".into(), problems, raw }
    }

    fn status_of(status: &Status, name: &str) -> ClientStatus {
        status.of_type(&RDS).resources[name].client_status
    }

    #[test]
    fn r3_refused_entry_shows_the_accepted_one_and_the_error_beside_it() {
        let (status, now) = (Status::default(), SystemTime::UNIX_EPOCH);
        let good = Update { changed: vec![changed("r", "1")], ..update("1") };
        status.record(&Event::Update(good), now);
        let bad = vec![rejected("r", Called::ByName), rejected("resources[1]", Called::ByPlace)];
        status.record(&Event::Update(Update { rejected: bad, ..update("2") }), now);
        let state = status.of_type(&RDS);
        assert_eq!(state.version, "1");
        assert_eq!(state.nameless.len(), 1);
        assert_eq!(state.resources.len(), 1, "a place is no name");
        let entry = &state.resources["r"];
        assert_eq!(entry.client_status, ClientStatus::Nacked);
        assert_eq!(entry.accepted.as_ref().map(|a| a.version.as_str()), Some("1"));
        assert_eq!(entry.error.as_ref().map(|e| e.version.as_str()), Some("2"));

        let again = Update { unchanged: vec![("r".into(), "3".into())], ..update("3") };
        status.record(&Event::Update(again), now);
        let state = status.of_type(&RDS);
        assert!(state.nameless.is_empty());
        assert_eq!(state.resources["r"].client_status, ClientStatus::Acked);
        assert_eq!(state.resources["r"].error, None);
    }

    #[test]
    fn r3_names_go_from_requested_to_what_became_of_them() {
        let (status, now) = (Status::default(), SystemTime::UNIX_EPOCH);
        for name in ["absent", "failing", "late"] {
            status.watch(&RDS, &name.into());
            assert_eq!(status_of(&status, name), ClientStatus::Requested);
        }
        let (type_url, name, why) = (RDS, "absent".into(), AbsentReason::Silence);
        status.record::<()>(&Event::Absent { type_url, name, why }, now);
        let (type_url, name) = (RDS, "late".into());
        status.record::<()>(&Event::FetchTimeout { type_url, name }, now);
        let error = ResourceError { name: "failing".into(), code: 14, message: "busy".into() };
        status.record(&Event::Update(Update { errors: vec![error], ..update("1") }), now);
        assert_eq!(status_of(&status, "absent"), ClientStatus::DoesNotExist);
        assert_eq!(status_of(&status, "late"), ClientStatus::Timeout);
        assert_eq!(status_of(&status, "failing"), ClientStatus::ReceivedError);
        status.unwatch(&RDS, &"late".into());
        assert!(!status.of_type(&RDS).resources.contains_key("late"));
    }
}
