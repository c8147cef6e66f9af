//! `envoy.filters.http.local_ratelimit`: answers requests over a rate instead of passing them on.
//!
//! The most specific configuration of the route stands in place of the chain's, with buckets and
//! counters of its own, which live as long as that configuration is in force. All workers take from
//! the same buckets; see [`bucket`].

mod bucket;
mod config;
mod limiter;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use http::header::RETRY_AFTER;
use http::{HeaderName, StatusCode};
use smallvec::SmallVec;

use crate::base::clock::{self, Instant};
use crate::codec::{RequestHead, ResponseHead};
use crate::config::error::Problems;
use crate::config::extension::{Body, ExtensionConfig, ExtensionParser, PolicyRow};
use crate::config::header_mutation::AppendAction;
use crate::config::resource::ParseCx;
use crate::config::route::RuntimeFraction;
use crate::http::exchange::Exchange;
use crate::http::filter::{FilterCx, FilterFactory, FilterKind, HttpFilter, ResponseStep, Step};
use crate::http::rate_limit::{Asked, describe};
use crate::http::reply::LocalReply;
use crate::http::{entry, headers};
use crate::route::fraction_holds;
use crate::route::mutation::{HeaderEdits, Side};
use crate::telemetry::access_log::LogType;
use crate::telemetry::flags::ResponseFlags;
use crate::telemetry::stats::{Group, LocalRateLimitStat, Registry, Scope};

use bucket::Bucket;
use config::Place;
pub use config::{BucketConfig, BucketScope, DescriptorConfig, HostRules, LocalRateLimitConfig};
use limiter::{Limiter, Verdict, Which};

/// gRPC's RESOURCE_EXHAUSTED.
const RESOURCE_EXHAUSTED: u32 = 8;

const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The kind, for the registry.
pub struct Kind;

impl ExtensionParser for Kind {
    fn name(&self) -> &'static str {
        "envoy.filters.http.local_ratelimit"
    }

    fn message(&self) -> &'static str {
        config::MESSAGE
    }

    fn fields(&self) -> &'static [PolicyRow<'static>] {
        config::ROWS
    }

    fn parse(&self, body: &Body<'_>, cx: &ParseCx<'_>) -> Result<ExtensionConfig, Problems> {
        config::parse(body, Place::Chain, cx).map(Configured::wrap)
    }

    fn parse_override(
        &self,
        body: &Body<'_>,
        cx: &ParseCx<'_>,
    ) -> Result<ExtensionConfig, Problems> {
        config::parse(body, Place::Route, cx).map(Configured::wrap)
    }
}

impl FilterKind for Kind {
    fn build(&self, config: &ExtensionConfig, cx: &FilterCx<'_>) -> Arc<dyn FilterFactory> {
        let factory = Factory { config: config.clone(), registry: cx.registry.clone() };
        factory.activate(config);
        Arc::new(factory)
    }
}

/// A configuration and what works by it. The latter is made where the former is first used and
/// goes with it: an update of the routes starts with full buckets, as in Envoy.
#[derive(Debug)]
struct Configured {
    config: LocalRateLimitConfig,
    active: OnceLock<Active>,
}

/// Equality is that of what was written.
impl PartialEq for Configured {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
    }
}

#[derive(Debug)]
struct Active {
    limiter: Limiter,
    stats: Group<LocalRateLimitStat>,
    request_edits: HeaderEdits,
    response_edits: HeaderEdits,
}

impl Configured {
    fn wrap(config: LocalRateLimitConfig) -> ExtensionConfig {
        ExtensionConfig::new(config::MESSAGE, Self { config, active: OnceLock::new() })
    }
}

#[derive(Debug)]
struct Factory {
    config: ExtensionConfig,
    registry: Registry,
}

impl Factory {
    /// After the first time this is one look at an atomic.
    fn activate(&self, config: &ExtensionConfig) {
        let Some(Configured { config, active }) = config.value() else { return };
        active.get_or_init(|| Active {
            limiter: Limiter::new(config, clock::now()),
            stats: self.registry.group(Scope::local_rate_limit(&config.stat_prefix)),
            request_edits: HeaderEdits::new(Side::Request, &[], &config.request_headers),
            response_edits: HeaderEdits::new(Side::Response, &[], &config.response_headers),
        });
    }
}

impl FilterFactory for Factory {
    fn create(&self, overrides: &[&ExtensionConfig]) -> Box<dyn HttpFilter> {
        let config = overrides.last().copied().unwrap_or(&self.config);
        self.activate(config);
        Box::new(Filter { config: config.clone(), own: None, told: None })
    }
}

/// The buckets of one connection.
struct OfConnection {
    config: ExtensionConfig,
    limiter: Limiter,
}

struct Filter {
    config: ExtensionConfig,
    /// The buckets of its connection, where those count.
    own: Option<Rc<OfConnection>>,
    /// The bucket that the client is told of.
    told: Option<Which>,
}

impl Filter {
    fn configured(&self) -> Option<(&LocalRateLimitConfig, &Active)> {
        let configured: &Configured = self.config.value()?;
        Some((&configured.config, configured.active.get()?))
    }

    /// The connection's buckets, made by its first request; none where all share them.
    fn buckets_of_connection(&self, ex: &Exchange, now: Instant) -> Option<Rc<OfConnection>> {
        let configured: &Configured = self.config.value()?;
        if configured.config.scope == BucketScope::Process {
            return None;
        }
        let is = |kept: &OfConnection| {
            kept.config.value().is_some_and(|kept| std::ptr::eq::<Configured>(kept, configured))
        };
        Some(ex.conn.keep(is, || OfConnection {
            config: self.config.clone(),
            limiter: Limiter::new(&configured.config, now),
        }))
    }

    fn limiter(&self) -> Option<&Limiter> {
        let (_, active) = self.configured()?;
        Some(self.own.as_ref().map_or(&active.limiter, |own| &own.limiter))
    }

    fn bucket(&self) -> Option<&Bucket> {
        self.limiter()?.bucket(self.told?)
    }

    /// Whether it may pass.
    fn ask(&mut self, head: &RequestHead, ex: &Exchange) -> bool {
        let now = clock::now();
        self.own = self.buckets_of_connection(ex, now);
        let verdict = self.verdict(head, ex, now);
        self.told = verdict.and_then(|verdict| verdict.bucket);
        verdict.is_none_or(|verdict| verdict.allowed)
    }

    fn verdict(&self, head: &RequestHead, ex: &Exchange, now: Instant) -> Option<Verdict> {
        let (config, _) = self.configured()?;
        let asked = asked(head, ex);
        let mut descriptors = SmallVec::new();
        if !config.descriptors.is_empty() {
            for (rules, stage) in rules(config, ex) {
                describe(rules, stage, &asked, &mut descriptors);
            }
        }
        Some(self.limiter()?.ask(config, &descriptors, now))
    }

    fn refuse(&self, head: &RequestHead, ex: &Exchange) -> Option<Box<LocalReply>> {
        let (config, active) = self.configured()?;
        let mut reply = LocalReply::new(config.status, "local_rate_limited", "local_rate_limited");
        reply.flags = ResponseFlags::RATE_LIMITED;
        reply.grpc_status = config.resource_exhausted.then_some(RESOURCE_EXHAUSTED);
        reply.late_headers = active
            .response_edits
            .additions(&mut |format, _| format.render(&entry::of(ex, head, LogType::NotSet)));
        if config.retry_after
            && config.status == StatusCode::TOO_MANY_REQUESTS
            && let Some(bucket) = self.bucket()
        {
            let seconds = headers::number(bucket.seconds_to_next(clock::now()).max(1));
            reply.late_headers.push((RETRY_AFTER, seconds, AppendAction::AddIfAbsent));
        }
        Some(Box::new(reply))
    }
}

impl HttpFilter for Filter {
    fn on_request(&mut self, head: &mut RequestHead, ex: &mut Exchange) -> Step {
        let worker = ex.worker.id;
        let configured = self.configured();
        if !configured.is_some_and(|(config, _)| chance(config.enabled.as_ref(), ex)) {
            return Step::Continue;
        }
        let allowed = self.ask(head, ex);
        let Some((config, Active { stats, request_edits, .. })) = self.configured() else {
            return Step::Continue;
        };
        stats.inc(worker, LocalRateLimitStat::Enabled);
        if allowed {
            stats.inc(worker, LocalRateLimitStat::Ok);
            return Step::Continue;
        }
        stats.inc(worker, LocalRateLimitStat::RateLimited);
        if chance(config.enforced.as_ref(), ex) {
            stats.inc(worker, LocalRateLimitStat::Enforced);
            return self.refuse(head, ex).map_or(Step::Continue, Step::Reply);
        }
        edit_request(request_edits, head, ex);
        Step::Continue
    }

    fn on_response(&mut self, head: &mut ResponseHead, _: &mut Exchange) -> ResponseStep {
        if let Some((config, _)) = self.configured()
            && config.x_headers
            && let Some(bucket) = self.bucket()
        {
            let now = clock::now();
            for (name, number) in [
                (X_RATELIMIT_LIMIT, bucket.size()),
                (X_RATELIMIT_REMAINING, bucket.left(now)),
                (X_RATELIMIT_RESET, bucket.seconds_to_next(now)),
            ] {
                head.headers.append(name, headers::number(number));
            }
        }
        ResponseStep::Continue
    }
}

/// Whether chance picks the request; where no share is written, never.
fn chance(fraction: Option<&RuntimeFraction>, ex: &Exchange) -> bool {
    let runtime = &*ex.worker.shared.runtime;
    fraction.is_some_and(|fraction| fraction_holds(fraction, ex.worker.random_u64(), runtime))
}

fn asked<'a>(head: &'a RequestHead, ex: &'a Exchange) -> Asked<'a> {
    let request = ex.route_input(head);
    Asked {
        cluster: ex.route().and_then(|route| route.cluster(&request)),
        client: ex.client.address,
        own_cluster: ex.worker.shared.local.service_cluster.as_bytes(),
        request,
    }
}

/// The rules that make descriptors: the filter's own, or those of the route and of its host.
fn rules<'a>(
    config: &'a LocalRateLimitConfig,
    ex: &'a Exchange,
) -> impl Iterator<Item = (&'a [crate::config::route::RateLimitRule], u32)> {
    let route = ex.route();
    let forward = route.as_ref().and_then(|route| route.forward());
    let of_route = forward.map_or(&[][..], |forward| &forward.rate_limits.rules);
    let of_host = forward.and(route.as_ref()).map(|route| &route.virtual_host().rate_limits[..]);
    let include = forward.is_some_and(|forward| forward.rate_limits.include_virtual_host);
    let of_host = of_host.filter(|_| match config.of_host {
        _ if include => true,
        HostRules::Include => true,
        HostRules::Ignore => false,
        HostRules::Override => of_route.is_empty(),
    });
    let (first, second, stage) = match config.rules.is_empty() {
        true => (of_route, of_host.unwrap_or_default(), config.stage),
        false => (&config.rules[..], &[][..], 0),
    };
    [(first, stage), (second, stage)].into_iter()
}

/// Headers that tell the upstream of a limit that is not enforced.
fn edit_request(edits: &HeaderEdits, head: &mut RequestHead, ex: &Exchange) {
    if edits.is_empty() {
        return;
    }
    let mut fields = std::mem::take(&mut head.headers);
    edits.apply(&mut fields, &mut |format, now| {
        format.render(&entry::with_headers(entry::of(ex, head, LogType::NotSet), now))
    });
    head.headers = fields;
}
