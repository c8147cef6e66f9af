//! Handlers of the registry: messages in, messages or an [`Error`] out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use proto::control::state_name;
use proto::control::v1::{
    DeregisterRequest, DeregisterResponse, Instance, InstanceState, ListInstancesRequest,
    ListInstancesResponse, RegisterRequest, RegisterResponse, Registration, RenewRequest,
    RenewResponse,
};

use super::error::{Error, Kind, Problem};
use crate::clock::{self, Instant};
use crate::intent::{self, NAME_RULE, is_name};
use crate::registry::{Health, Keeper, Life, Listed, Refusal, Registered, Registry, Spec};

/// How long a lease is where the instance does not say.
const TTL: Duration = Duration::from_secs(15);
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(3600);
/// So that the weights of a full service still add up within Envoy's 32 bits.
const WEIGHT_MAX: u32 = 10_000;
const LABELS_MAX: usize = 32;
const TEXT_BYTES_MAX: usize = 200;

/// See the module.
#[derive(Clone, Debug)]
pub struct Instances {
    /// Absent where a folder of resources is served.
    registry: Option<Arc<Registry>>,
}

impl Instances {
    /// Handlers over that registry.
    #[must_use]
    pub fn new(registry: Option<Arc<Registry>>) -> Self {
        Self { registry }
    }

    /// Registers an instance; also says whether it is a new one.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub async fn register(
        &self,
        request: RegisterRequest,
        keeper: Keeper,
    ) -> Result<(RegisterResponse, bool), Error> {
        let registry = self.registry()?;
        let mut problems = names(&request.service, &request.id);
        let registration = request.registration.unwrap_or_default();
        if registration.check.is_some() {
            let message = "check: checks by the control plane are not built yet; say `state` \
                           yourself, or leave it out";
            return Err(Error::new(Kind::NotBuilt, message));
        }
        let spec = spec(registration, &keeper, &mut problems);
        let (Some(spec), true) = (spec, problems.is_empty()) else {
            return Err(Error::invalid(problems));
        };
        let given = registry.register(&request.service, &request.id, spec, keeper).await;
        let Registered { lease, until, created } = given.map_err(refused)?;
        let expires_at = until.map(wall_clock).unwrap_or_default();
        Ok((RegisterResponse { lease_id: lease.to_string(), expires_at }, created))
    }

    /// Renews a lease.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub async fn renew(&self, request: &RenewRequest) -> Result<RenewResponse, Error> {
        let registry = self.registry()?;
        let RenewRequest { service, id, lease_id } = request;
        let renewed = registry.renew(service, id, lease_id).await.map_err(refused)?;
        let expires_at = renewed.until.map(wall_clock).unwrap_or_default();
        Ok(RenewResponse { lease_id: renewed.lease.to_string(), expires_at })
    }

    /// Drains and removes an instance.
    ///
    /// # Errors
    /// What is wrong with the request.
    pub async fn deregister(
        &self,
        request: &DeregisterRequest,
    ) -> Result<DeregisterResponse, Error> {
        let registry = self.registry()?;
        let DeregisterRequest { service, id } = request;
        let removed_at = registry.deregister(service, id, "").await.map_err(refused)?;
        Ok(DeregisterResponse { removed_at: wall_clock(removed_at) })
    }

    /// Lists instances.
    ///
    /// # Errors
    /// Where there is no registry.
    pub fn list(&self, request: &ListInstancesRequest) -> Result<ListInstancesResponse, Error> {
        let service = (!request.service.is_empty()).then_some(request.service.as_str());
        let instances = self.registry()?.list(service).into_iter().map(view).collect();
        Ok(ListInstancesResponse { instances })
    }

    /// The stream that was that lease has ended, properly or not.
    pub async fn end(&self, service: &str, id: &str, lease: &str, end: StreamEnd) {
        let Some(registry) = &self.registry else { return };
        match end {
            StreamEnd::Finished => {
                // Refused where another lease is in force by now: nothing is to be done then.
                let _ = registry.deregister(service, id, lease).await;
            }
            StreamEnd::Lost => registry.lose(service, id, lease),
        }
    }

    fn registry(&self) -> Result<&Arc<Registry>, Error> {
        self.registry.as_ref().ok_or_else(|| {
            let message = "a server over a folder of resources (--resources) has no registry; \
                           a mesh file (--config) with `discover: registry` has";
            Error::new(Kind::NotBuilt, message)
        })
    }
}

/// How the stream that is a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// The instance said that it is done.
    Finished,
    /// It said nothing.
    Lost,
}

fn refused(refusal: Refusal) -> Error {
    let kind = match refusal {
        Refusal::UnknownService(_) | Refusal::UnknownInstance { .. } => Kind::NotFound,
        Refusal::NotDiscovered(_) | Refusal::OtherLease(_) | Refusal::Drains(_) => Kind::Conflict,
        Refusal::TooMany(..) => Kind::Exhausted,
        Refusal::NotStored(_) => Kind::Unavailable,
    };
    Error::new(kind, refusal.to_string())
}

fn problem(path: impl Into<String>, got: impl std::fmt::Display, rule: &str) -> Problem {
    Problem::new(path, format!("got '{got}'; must be {rule}"))
}

fn names(service: &str, id: &str) -> Vec<Problem> {
    let named = [("service", service), ("id", id)].into_iter();
    let wrong = named.filter(|(_, name)| !is_name(name));
    wrong.map(|(path, name)| problem(path, short(name), NAME_RULE)).collect()
}

/// A text for an error, cut where it is long.
fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

fn spec(from: Registration, keeper: &Keeper, problems: &mut Vec<Problem>) -> Option<Spec> {
    let address = from.address.parse::<IpAddr>().ok();
    let address = address.filter(|ip| !ip.is_unspecified() && !ip.is_multicast());
    if address.is_none() {
        let rule = "an IPv4 or IPv6 address that peers can connect to";
        problems.push(problem("address", short(&from.address), rule));
    }
    let port = u16::try_from(from.port).ok().filter(|port| *port > 0);
    if port.is_none() {
        problems.push(problem("port", from.port, "1 to 65535"));
    }
    if from.weight > WEIGHT_MAX {
        problems.push(problem("weight", from.weight, "1 to 10000"));
    }
    if !is_short_text(&from.zone) {
        problems.push(problem("zone", short(&from.zone), TEXT_RULE));
    }
    check_labels(&from.labels, problems);
    let health = match from.state() {
        InstanceState::Unspecified | InstanceState::Passing => Some(Health::Passing),
        InstanceState::Warning => Some(Health::Warning),
        InstanceState::Critical => Some(Health::Critical),
        InstanceState::Draining => None,
    };
    if health.is_none() || InstanceState::try_from(from.state).is_err() {
        let name = state_name::name(from.state);
        problems.push(problem("state", name, "passing, warning or critical"));
    }
    let ttl = ttl(&from.ttl, keeper, problems)?;
    let (address, health) = (SocketAddr::new(address?, port?), health?);
    let (labels, weight, zone) = (from.labels, from.weight.max(1), from.zone);
    Some(Spec { address, labels, weight, zone, ttl, health })
}

const TEXT_RULE: &str = "a text of at most 200 bytes without control characters";

fn is_short_text(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
}

fn check_labels(labels: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    if labels.len() > LABELS_MAX {
        problems.push(problem("labels", format!("{} entries", labels.len()), "at most 32"));
        return;
    }
    for (key, value) in labels {
        if key.is_empty() || !is_short_text(key) {
            problems.push(problem("labels", short(key), TEXT_RULE));
        } else if !is_short_text(value) {
            problems.push(problem(format!("labels.{key}"), short(value), TEXT_RULE));
        }
    }
}

fn ttl(written: &str, keeper: &Keeper, problems: &mut Vec<Problem>) -> Option<Duration> {
    if written.is_empty() {
        return Some(TTL);
    }
    if *keeper != Keeper::Renewals {
        let message = "is not for a stream, which is the lease itself; leave it out";
        problems.push(Problem::new("ttl", message));
        return None;
    }
    let ttl = intent::parse_duration(written).filter(|ttl| (TTL_MIN..=TTL_MAX).contains(ttl));
    if ttl.is_none() {
        problems.push(problem("ttl", short(written), "1s to 1h, such as 15s"));
    }
    ttl
}

fn view(listed: Listed) -> Instance {
    let instance = listed.instance;
    let spec = instance.spec.clone();
    let state = |health| match health {
        Health::Passing => InstanceState::Passing,
        Health::Warning => InstanceState::Warning,
        Health::Critical => InstanceState::Critical,
        Health::Draining => InstanceState::Draining,
    };
    let ttl = if instance.life == Life::Stream { String::new() } else { duration_text(spec.ttl) };
    let registration = Registration {
        address: spec.address.ip().to_string(),
        port: spec.address.port().into(),
        labels: spec.labels,
        weight: spec.weight,
        zone: spec.zone,
        ttl,
        check: None,
        state: state(spec.health) as i32,
    };
    let expires_at = match instance.life {
        Life::Until(at) => wall_clock(at),
        _ => String::new(),
    };
    Instance {
        service: listed.service,
        id: listed.id,
        registration: Some(registration),
        state: state(instance.health()) as i32,
        lease_id: instance.lease.to_string(),
        expires_at,
        stale: instance.stale,
    }
}

fn duration_text(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// RFC 3339 of a moment that the monotonic clock will reach.
fn wall_clock(at: Instant) -> String {
    clock::rfc3339(clock::system_now() + at.saturating_duration_since(clock::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration() -> Registration {
        Registration { address: "10.0.0.1".into(), port: 80, ..Default::default() }
    }

    fn handlers() -> Instances {
        let registry = Registry::default();
        registry.set_services(["a".to_owned()].into(), ["b".to_owned()].into());
        Instances::new(Some(Arc::new(registry)))
    }

    async fn register(service: &str, id: &str, registration: Registration) -> Result<bool, Error> {
        let (service, id) = (service.to_owned(), id.to_owned());
        let request = RegisterRequest { service, id, registration: Some(registration) };
        handlers().register(request, Keeper::Renewals).await.map(|(_, created)| created)
    }

    #[tokio::test]
    async fn wrong_values_are_named_with_the_rule_all_at_once() {
        let error = register(
            "a",
            "x/y",
            Registration {
                address: "host.local".into(),
                port: 70_000,
                labels: [("k".to_owned(), "\n".to_owned())].into(),
                weight: 10_001,
                zone: "z".repeat(201),
                ttl: "10ms".into(),
                state: InstanceState::Draining as i32,
                check: None,
            },
        );
        let error = error.await.expect_err("is refused");
        assert_eq!(error.status(), 422);
        let paths: Vec<_> = error.problems.iter().map(|problem| problem.path.as_str()).collect();
        let want = ["id", "address", "port", "weight", "zone", "labels.k", "state", "ttl"];
        assert_eq!(paths, want);
        assert!(error.message.contains("port: got '70000'; must be 1 to 65535"), "{error:?}");
    }

    #[tokio::test]
    async fn what_does_not_fit_the_mesh_is_refused_by_name() {
        assert_eq!(register("a", "1", registration()).await, Ok(true));
        let error = register("c", "1", registration()).await.expect_err("no such service");
        assert_eq!((error.kind, error.status().as_u16()), (Kind::NotFound, 404));
        let error = register("b", "1", registration()).await.expect_err("has endpoints");
        assert_eq!((error.kind, error.status().as_u16()), (Kind::Conflict, 409));
        assert!(error.message.contains("discover: registry"), "{error:?}");
    }

    #[tokio::test]
    async fn what_is_not_built_says_so() {
        let check = Some(proto::control::v1::Check { http: "/".into() });
        let error = register("a", "1", Registration { check, ..registration() }).await;
        assert_eq!(error.expect_err("not built").status(), 501);
        let list = Instances::new(None).list(&ListInstancesRequest::default());
        assert_eq!(list.expect_err("no registry").status(), 501);
    }

    #[tokio::test]
    async fn addresses_that_nobody_can_connect_to_are_refused() {
        for address in ["0.0.0.0", "::", "224.0.0.1", "", "10.0.0.1:80", "localhost"] {
            let registration = Registration { address: address.into(), ..registration() };
            let error = register("a", "1", registration).await.expect_err(address);
            assert_eq!(error.problems[0].path, "address");
        }
    }
}
