//! `envoy.filters.network.rbac` at work: whether a connection may be served at all.
//!
//! It is asked once, when all that its rules look at is known and before anything of the client's
//! goes on. Envoy waits for the client's first byte, and until then the next filters serve: a TCP
//! proxy has a connection upstream, and what a server says first reaches anybody. Here nobody who
//! is denied costs an upstream anything.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::config::rbac::network::NetworkRbacConfig;
use crate::http::conn::ConnInfo;
use crate::http::filter::rbac::{Asked, Verdict};
use crate::http::metadata::DynamicMetadata;
use crate::http::worker::Worker;
use crate::route::RouteInput;
use crate::telemetry::stats::{Group, RbacShadowStat, RbacStat, Registry, Scope};

/// One filter.
#[derive(Debug)]
pub struct NetworkRbac {
    config: Arc<NetworkRbacConfig>,
    enforced: Group<RbacStat>,
    shadow: Group<RbacShadowStat>,
}

/// A connection may not be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// `%CONNECTION_TERMINATION_DETAILS%`.
    pub details: String,
    /// How long it is held before it is closed.
    pub delay: Option<Duration>,
}

impl NetworkRbac {
    /// A filter as configured.
    #[must_use]
    pub fn build(config: &Arc<NetworkRbacConfig>, registry: &Registry) -> Self {
        let scope = Scope::plain(&format!("{}.", config.stat_prefix.trim_end_matches('.')));
        Self {
            enforced: registry.group(scope.rbac("")),
            shadow: registry.group(scope.rbac(&config.shadow_prefix)),
            config: Arc::clone(config),
        }
    }

    /// Judges a connection and counts it.
    ///
    /// # Errors
    /// If it may not be served.
    pub fn admit(&self, info: &ConnInfo, worker: &Worker) -> Result<(), Denied> {
        let (headers, metadata) = (HeaderMap::new(), DynamicMetadata::default());
        let asked = Asked {
            request: RouteInput {
                authority: None,
                path: b"",
                method: b"",
                scheme: b"",
                headers: &headers,
                random: 0,
                runtime: &*worker.shared.runtime,
            },
            conn: info,
            remote: info.remote_ip(),
            metadata: &metadata,
            route: None,
        };
        if let Some(rules) = &self.config.shadow {
            self.shadow.inc(
                worker.id,
                match rules.judge(&asked).allowed {
                    true => RbacShadowStat::ShadowAllowed,
                    false => RbacShadowStat::ShadowDenied,
                },
            );
        }
        let Some(rules) = &self.config.rules else { return Ok(()) };
        let verdict = rules.judge(&asked);
        if verdict.allowed {
            self.enforced.inc(worker.id, RbacStat::Allowed);
            return Ok(());
        }
        self.enforced.inc(worker.id, RbacStat::Denied);
        Err(self.denied(verdict))
    }

    fn denied(&self, verdict: Verdict<'_>) -> Denied {
        Denied { details: verdict.denial(), delay: self.config.delay_deny }
    }
}
