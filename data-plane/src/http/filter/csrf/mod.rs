//! `envoy.filters.http.csrf`: refuses requests that change something and that another site's page
//! made (`envoy.extensions.filters.http.csrf.v3.CsrfPolicy`).
//!
//! The policy of the most specific level of the route replaces the chain's. It fails closed: a
//! request that does not say where it comes from is refused like one from elsewhere.

mod config;
mod url;

use std::sync::Arc;

use http::{Method, StatusCode};

use crate::codec::RequestHead;
use crate::config::error::Problems;
use crate::config::extension::{Body, ExtensionConfig, ExtensionParser, PolicyRow, message};
use crate::config::resource::ParseCx;
use crate::config::route::RuntimeFraction;
use crate::http::exchange::Exchange;
use crate::http::filter::{FilterCx, FilterFactory, FilterKind, HttpFilter, Step};
use crate::http::reply::LocalReply;
use crate::route::fraction_holds;
use crate::telemetry::stats::{CsrfStat, Group, Scope};

pub use config::CsrfPolicy;

const MESSAGE: &str = "envoy.extensions.filters.http.csrf.v3.CsrfPolicy";

/// The kind, for the registry.
pub struct Kind;

impl ExtensionParser for Kind {
    fn name(&self) -> &'static str {
        "envoy.filters.http.csrf"
    }

    fn message(&self) -> &'static str {
        MESSAGE
    }

    fn fields(&self) -> &'static [PolicyRow<'static>] {
        config::ROWS
    }

    fn parse(&self, body: &Body<'_>, _: &ParseCx<'_>) -> Result<ExtensionConfig, Problems> {
        config::parse(message(body)?).map(|policy| ExtensionConfig::new(MESSAGE, policy))
    }

    fn parse_override(
        &self,
        body: &Body<'_>,
        cx: &ParseCx<'_>,
    ) -> Result<ExtensionConfig, Problems> {
        self.parse(body, cx)
    }
}

impl FilterKind for Kind {
    fn build(&self, config: &ExtensionConfig, cx: &FilterCx<'_>) -> Arc<dyn FilterFactory> {
        let scope = Scope::http(cx.stat_prefix).join("csrf.");
        Arc::new(Factory { config: config.clone(), stats: cx.registry.group(scope) })
    }
}

#[derive(Debug)]
struct Factory {
    config: ExtensionConfig,
    stats: Group<CsrfStat>,
}

impl FilterFactory for Factory {
    fn create(&self, overrides: &[&ExtensionConfig]) -> Box<dyn HttpFilter> {
        // As in Envoy what another kind of filter left under this name does not count.
        let own = overrides.last().copied().filter(|config| config.value::<CsrfPolicy>().is_some());
        let config = own.unwrap_or(&self.config).clone();
        Box::new(Filter { config, stats: self.stats.clone() })
    }
}

struct Filter {
    config: ExtensionConfig,
    stats: Group<CsrfStat>,
}

impl HttpFilter for Filter {
    fn on_request(&mut self, head: &mut RequestHead, ex: &mut Exchange) -> Step {
        let policy: &CsrfPolicy = self.config.value().expect("the parser of this filter makes it");
        let draws = |share: &RuntimeFraction| {
            fraction_holds(share, ex.worker.random_u64(), &*ex.worker.shared.runtime)
        };
        let enabled = draws(&policy.enabled);
        if !(enabled || policy.shadow.as_ref().is_some_and(draws)) || !changes(&head.method) {
            return Step::Continue;
        }
        let source = url::source(&head.headers);
        let stat = if source.is_empty() {
            CsrfStat::MissingSourceOrigin
        } else if *source == *url::target(head) || policy.allows(&source) {
            CsrfStat::RequestValid
        } else {
            CsrfStat::RequestInvalid
        };
        self.stats.inc(ex.worker.id, stat);
        if stat == CsrfStat::RequestValid || !enabled {
            return Step::Continue;
        }
        Step::Reply(Box::new(LocalReply::new(
            StatusCode::FORBIDDEN,
            "Invalid origin",
            "csrf_origin_mismatch",
        )))
    }
}

impl CsrfPolicy {
    fn allows(&self, source: &[u8]) -> bool {
        self.origins.iter().any(|one| one.is_match(source))
    }
}

fn changes(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::DELETE | Method::PATCH)
}
