//! `envoy.filters.http.cors`: answers preflight requests, and tells browsers who may read a
//! response (`envoy.extensions.filters.http.cors.v3.Cors`, `CorsPolicy`).
//!
//! The chain's filter does nothing by itself: policies stand at levels of the route, and what the
//! most specific one leaves open is said by the next. Only routes to a cluster have any. It
//! restricts browsers and no request: what it does not answer goes on.

mod config;

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use smallvec::SmallVec;

use crate::codec::{RequestHead, ResponseHead};
use crate::config::error::Problems;
use crate::config::extension::{Body, ExtensionConfig, ExtensionParser, PolicyRow, message};
use crate::config::resource::ParseCx;
use crate::config::route::RuntimeFraction;
use crate::http::exchange::Exchange;
use crate::http::filter::{FilterCx, FilterFactory, FilterKind, HttpFilter, ResponseStep, Step};
use crate::http::reply::{LocalReply, Shape};
use crate::route::{fraction_holds, joined};
use crate::telemetry::stats::{CorsStat, Group, Scope};

pub use config::CorsPolicy;

const MESSAGE: &str = "envoy.extensions.filters.http.cors.v3.Cors";
const OVERRIDE: &str = "envoy.extensions.filters.http.cors.v3.CorsPolicy";
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// The kind, for the registry.
pub struct Kind;

impl ExtensionParser for Kind {
    fn name(&self) -> &'static str {
        "envoy.filters.http.cors"
    }

    fn message(&self) -> &'static str {
        MESSAGE
    }

    fn override_message(&self) -> Option<&'static str> {
        Some(OVERRIDE)
    }

    fn fields(&self) -> &'static [PolicyRow<'static>] {
        config::ROWS
    }

    fn parse(&self, _: &Body<'_>, _: &ParseCx<'_>) -> Result<ExtensionConfig, Problems> {
        Ok(ExtensionConfig::new(MESSAGE, ()))
    }

    fn parse_override(
        &self,
        body: &Body<'_>,
        _: &ParseCx<'_>,
    ) -> Result<ExtensionConfig, Problems> {
        config::parse(message(body)?).map(|policy| ExtensionConfig::new(OVERRIDE, policy))
    }
}

impl FilterKind for Kind {
    fn build(&self, _: &ExtensionConfig, cx: &FilterCx<'_>) -> Arc<dyn FilterFactory> {
        let scope = Scope::http(cx.stat_prefix).join("cors.");
        Arc::new(Factory { stats: cx.registry.group(scope) })
    }
}

#[derive(Debug)]
struct Factory {
    stats: Group<CorsStat>,
}

impl FilterFactory for Factory {
    fn create(&self, overrides: &[&ExtensionConfig]) -> Box<dyn HttpFilter> {
        let own = overrides.iter().rev().filter(|level| level.value::<CorsPolicy>().is_some());
        Box::new(Filter {
            policies: Policies(own.map(|level| (*level).clone()).collect()),
            stats: self.stats.clone(),
            readable_by: None,
        })
    }
}

/// The policies of a request's route, the most specific first.
struct Policies(SmallVec<[ExtensionConfig; 2]>);

impl Policies {
    /// What the most specific one says that says anything.
    fn first<'a, T>(&'a self, said: impl Fn(&'a CorsPolicy) -> Option<T>) -> Option<T> {
        self.0.iter().filter_map(ExtensionConfig::value).find_map(said)
    }

    /// Whether a share of the most specific one alone holds this request.
    fn draws(
        &self,
        ex: &Exchange,
        share: impl Fn(&CorsPolicy) -> Option<&RuntimeFraction>,
        unsaid: bool,
    ) -> bool {
        let Some(policy) = self.0.first().and_then(ExtensionConfig::value) else { return false };
        let runtime = &*ex.worker.shared.runtime;
        share(policy).map_or(unsaid, |share| fraction_holds(share, ex.worker.random_u64(), runtime))
    }

    fn allows(&self, origin: &[u8]) -> bool {
        let origins = self.first(|policy| Some(&policy.origins).filter(|list| !list.is_empty()));
        let mut origins = origins.into_iter().flatten();
        origins.any(|one| one.is_match(b"*") || one.is_match(origin))
    }
}

struct Filter {
    policies: Policies,
    stats: Group<CorsStat>,
    /// The origin that may read the response.
    readable_by: Option<HeaderValue>,
}

impl HttpFilter for Filter {
    fn on_request(&mut self, head: &mut RequestHead, ex: &mut Exchange) -> Step {
        let forwards = ex.route().is_some_and(|route| route.forward().is_some());
        if self.policies.0.is_empty() || !forwards {
            return Step::Continue;
        }
        let enabled = self.policies.draws(ex, |policy| policy.enabled.as_ref(), true);
        if !enabled && !self.policies.draws(ex, |policy| policy.shadow.as_ref(), false) {
            return Step::Continue;
        }
        let origin = joined(&head.headers, &ORIGIN).unwrap_or_default();
        if origin.is_empty() {
            return Step::Continue;
        }
        let allowed = self.policies.allows(&origin);
        let stat = if allowed { CorsStat::OriginValid } else { CorsStat::OriginInvalid };
        self.stats.inc(ex.worker.id, stat);
        if !enabled {
            return Step::Continue;
        }
        self.readable_by = HeaderValue::from_bytes(&origin).ok().filter(|_| allowed);
        let method = joined(&head.headers, &ACCESS_CONTROL_REQUEST_METHOD).unwrap_or_default();
        if head.method != Method::OPTIONS || method.is_empty() {
            return Step::Continue;
        }
        let forwarded = self.policies.first(|policy| policy.forward_not_matching);
        if !allowed && forwarded.unwrap_or(true) {
            return Step::Continue;
        }
        Step::Reply(Box::new(self.preflight(&head.headers, method)))
    }

    fn on_response(&mut self, head: &mut ResponseHead, _: &mut Exchange) -> ResponseStep {
        if let Some(origin) = &self.readable_by {
            head.headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            if self.credentials() {
                head.headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
            }
            if let Some(exposed) = self.policies.first(|policy| policy.exposed.as_ref()) {
                head.headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
            }
        }
        ResponseStep::Continue
    }
}

impl Filter {
    fn credentials(&self) -> bool {
        self.policies.first(|policy| policy.credentials).unwrap_or(false)
    }

    /// The answer to a preflight; what `on_response` adds is added to it too.
    fn preflight(&self, request: &HeaderMap, method: Cow<'_, [u8]>) -> LocalReply {
        let mut reply = LocalReply::new(StatusCode::OK, "", "cors_response");
        reply.shape = Shape::AsIs;
        let mut say = |name: HeaderName, value: HeaderValue| reply.headers.push((name, value));
        // `*` is whatever was asked for.
        let or_asked = |said: &HeaderValue, asked: &[u8]| {
            if said == "*" { HeaderValue::from_bytes(asked).ok() } else { Some(said.clone()) }
        };
        if self.credentials() {
            say(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        let methods = self.policies.first(|policy| policy.methods.as_ref());
        if let Some(value) = methods.and_then(|said| or_asked(said, &method)) {
            say(ACCESS_CONTROL_ALLOW_METHODS, value);
        }
        let asked = joined(request, &ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
        let headers = self.policies.first(|policy| policy.headers.as_ref());
        if let Some(value) = headers.and_then(|said| or_asked(said, &asked)) {
            say(ACCESS_CONTROL_ALLOW_HEADERS, value);
        }
        if let Some(max_age) = self.policies.first(|policy| policy.max_age.as_ref()) {
            say(ACCESS_CONTROL_MAX_AGE, max_age.clone());
        }
        let private = joined(request, &REQUEST_PRIVATE_NETWORK).unwrap_or_default();
        if *private == *b"true"
            && self.policies.first(|policy| policy.private_network) == Some(true)
        {
            say(ALLOW_PRIVATE_NETWORK, TRUE);
        }
        reply
    }
}
