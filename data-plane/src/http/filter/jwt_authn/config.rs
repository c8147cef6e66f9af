//! `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`: which requests need which token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use proto::envoy::config::core::v3 as core;
use proto::envoy::config::core::v3::http_uri::HttpUpstreamType;
use proto::envoy::extensions::filters::http::jwt_authn::v3 as pb;
use proto::rules::PolicyRow;

use super::jwks::Keys;
use super::remote::{Ahead, Remote};
use crate::base::pattern::StringMatcher;
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::extension::{self, Body};
use crate::config::resource::ParseCx;
use crate::config::route::match_rules::{parse_match, parse_string_matcher};
use crate::config::route::{BackOff, RetryNames, RetryOn, RetryPolicy, RouteMatcher};
use crate::config::{data_source, field};

/// Full name of the message of a chain.
pub(super) const MESSAGE: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";

/// Full name of the message of a route.
pub(super) const OF_ROUTE: &str = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";

/// What is built. Metadata, rules by filter state and tokens that
/// are not verified are not.
pub(super) const ROWS: &[PolicyRow<'static>] = &[
    (
        MESSAGE,
        &[
            "providers",
            "rules",
            "bypass_cors_preflight",
            "requirement_map",
            "strip_failure_response",
            "stat_prefix",
        ],
        &[],
    ),
    (OF_ROUTE, &["disabled", "requirement_name"], &[]),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider",
        &[
            "issuer",
            "audiences",
            "subjects",
            "require_expiration",
            "max_lifetime",
            "local_jwks",
            "remote_jwks",
            "forward",
            "from_headers",
            "from_params",
            "from_cookies",
            "forward_payload_header",
            "pad_forward_payload_header",
            "clock_skew_seconds",
            "claim_to_headers",
            "clear_route_cache",
        ],
        // Whether a verified token is remembered: every token is verified here.
        &["jwt_cache_config"],
    ),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.RemoteJwks",
        &["http_uri", "cache_duration", "async_fetch", "retry_policy"],
        &[],
    ),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.JwksAsyncFetch",
        &["fast_listener", "failed_refetch_duration"],
        &[],
    ),
    ("envoy.extensions.filters.http.jwt_authn.v3.JwtHeader", &["name", "value_prefix"], &[]),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.JwtClaimToHeader",
        &["header_name", "claim_name", "claim_path"],
        &[],
    ),
    ("envoy.extensions.filters.http.jwt_authn.v3.JwtClaimToHeader.PathSegment", &["key"], &[]),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.RequirementRule",
        &["match", "requires", "requirement_name"],
        &[],
    ),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.JwtRequirement",
        &[
            "provider_name",
            "provider_and_audiences",
            "requires_any",
            "requires_all",
            "allow_missing_or_failed",
            "allow_missing",
        ],
        &[],
    ),
    (
        "envoy.extensions.filters.http.jwt_authn.v3.ProviderWithAudiences",
        &["provider_name", "audiences"],
        &[],
    ),
    ("envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementOrList", &["requirements"], &[]),
    ("envoy.extensions.filters.http.jwt_authn.v3.JwtRequirementAndList", &["requirements"], &[]),
];

/// How long fetched keys are good where nothing is written.
const CACHE: Duration = Duration::from_secs(600);

/// How long before that time is over they are fetched anew, where that is ahead of requests.
const EARLY: Duration = Duration::from_secs(5);

/// Envoy's allowance for clocks that differ.
const CLOCK_SKEW_SECONDS: u32 = 60;

/// Which requests need which token.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtConfig {
    /// `providers`, by name.
    pub providers: Vec<Provider>,
    /// `rules`; the first that matches counts.
    pub rules: Vec<Rule>,
    /// `requirement_map`, by name.
    pub by_name: Vec<(Box<str>, Requirement)>,
    /// `bypass_cors_preflight`.
    pub bypass_cors_preflight: bool,
    /// `strip_failure_response`.
    pub strip_failure_response: bool,
    /// `stat_prefix`; may be empty.
    pub stat_prefix: Box<str>,
}

/// Who makes tokens, and how they are told (`JwtProvider`).
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: Box<str>,
    /// `issuer`; empty is any.
    pub issuer: Box<str>,
    /// `audiences`; none is any.
    pub audiences: Vec<Box<str>>,
    /// `subjects`.
    pub subjects: Option<StringMatcher>,
    /// `require_expiration`.
    pub require_expiration: bool,
    /// `max_lifetime`, in seconds from now on.
    pub max_lifetime: Option<u64>,
    /// Where its keys are.
    pub keys: KeySource,
    /// Where its tokens stand.
    pub places: Places,
    /// `forward`: the upstream sees the token.
    pub forward: bool,
    /// `forward_payload_header`, and whether it is padded.
    pub payload: Option<(HeaderName, bool)>,
    /// `clock_skew_seconds`.
    pub clock_skew: u64,
    /// `claim_to_headers`.
    pub claims: Vec<Claim>,
    /// `clear_route_cache`.
    pub clear_route_cache: bool,
}

/// Where a provider's keys are.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySource {
    /// `local_jwks`: here.
    Local(Keys),
    /// `remote_jwks`.
    Remote(Box<Remote>),
}

/// Where tokens stand in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// `from_headers`: a field, and what stands before the token in it.
    pub headers: Vec<(HeaderName, Box<str>)>,
    /// `from_params`.
    pub params: Vec<Box<str>>,
    /// `from_cookies`.
    pub cookies: Vec<Box<str>>,
}

/// A claim that the upstream sees in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The header.
    pub header: HeaderName,
    /// The keys that lead to it.
    pub path: Vec<Box<str>>,
}

/// A rule; without a requirement nothing is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// `match`.
    pub matcher: RouteMatcher,
    /// `requires` or `requirement_name`.
    pub requires: Option<Requirement>,
}

/// What tokens a request must have (`JwtRequirement`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// All of them.
    All(Vec<Self>),
    /// `allow_missing`: any good token of any provider, or none.
    AllowMissing,
    /// `allow_missing_or_failed`.
    AllowMissingOrFailed,
    /// One of them; `excuse` stands for `allow_missing…` among them.
    Any {
        /// The others.
        of: Vec<Self>,
        /// What is let pass besides.
        excuse: Excuse,
    },
    /// A token of that provider.
    Provider {
        /// Its place.
        at: usize,
        /// In place of the provider's own audiences.
        audiences: Option<Vec<Box<str>>>,
    },
}

/// What is let pass where no token is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Excuse {
    /// That there was a bad one.
    Failed,
    /// That there was none.
    Missing,
    /// Nothing.
    #[default]
    None,
}

/// What a route says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfRoute {
    /// `disabled`.
    Disabled,
    /// `requirement_name`.
    Named(Box<str>),
}

/// Reads the message of a route.
pub(super) fn parse_of_route(body: &Body<'_>) -> Result<OfRoute, Problems> {
    use pb::per_route_config::RequirementSpecifier as S;
    let message: pb::PerRouteConfig = extension::message(body)?;
    match message.requirement_specifier {
        Some(S::Disabled(_)) => Ok(OfRoute::Disabled),
        Some(S::RequirementName(name)) => Ok(OfRoute::Named(name.into())),
        None => Err(Reason::Missing.into()).at("requirement_specifier"),
    }
}

/// Reads the message of a chain.
pub(super) fn parse(body: &Body<'_>, cx: &ParseCx<'_>) -> Result<JwtConfig, Problems> {
    let message: pb::JwtAuthentication = extension::message(body)?;
    let mut all = Collector::default();
    let mut providers = Vec::with_capacity(message.providers.len());
    for (name, provider) in sorted(message.providers) {
        let parsed = parse_provider(name.clone().into(), provider, cx);
        providers.extend(all.keep(parsed.at_key("providers", &name)));
    }
    // A provider that is wrong would be missing in what follows.
    all.finish()?;
    let mut all = Collector::default();
    let mut by_name = Vec::with_capacity(message.requirement_map.len());
    for (name, requirement) in sorted(message.requirement_map) {
        let parsed = parse_requirement(requirement, &providers);
        let parsed = all.keep(parsed.at_key("requirement_map", &name));
        by_name.extend(parsed.map(|parsed| (Box::from(name), parsed)));
    }
    all.finish()?;
    let mut all = Collector::default();
    let mut rules = Vec::with_capacity(message.rules.len());
    for (i, rule) in message.rules.into_iter().enumerate() {
        rules.extend(all.keep(parse_rule(rule, &providers, &by_name).at_index("rules", i)));
    }
    all.finish()?;
    Ok(JwtConfig {
        providers,
        rules,
        by_name,
        bypass_cors_preflight: message.bypass_cors_preflight,
        strip_failure_response: message.strip_failure_response,
        stat_prefix: message.stat_prefix.into(),
    })
}

fn sorted<T>(map: HashMap<String, T>) -> Vec<(String, T)> {
    let mut entries: Vec<_> = map.into_iter().collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries
}

fn parse_provider(
    name: Box<str>,
    message: pb::JwtProvider,
    cx: &ParseCx<'_>,
) -> Result<Provider, Problems> {
    let mut all = Collector::default();
    let keys = all.keep(parse_keys(message.jwks_source_specifier, cx));
    let subjects = message.subjects.map(parse_string_matcher).transpose().at("subjects");
    let subjects = all.keep(subjects).flatten();
    let max_lifetime = all.keep(field::duration(message.max_lifetime, "max_lifetime")).flatten();
    let places = (message.from_headers, message.from_params, message.from_cookies);
    let places = all.keep(parse_places(places.0, places.1, places.2));
    let payload = match message.forward_payload_header.as_str() {
        "" => None,
        name => all.keep(field::header_name(name, "forward_payload_header")),
    };
    let claims = message.claim_to_headers.into_iter().enumerate();
    let claims: Vec<_> = claims
        .filter_map(|(i, claim)| all.keep(parse_claim(claim).at_index("claim_to_headers", i)))
        .collect();
    all.finish()?;
    let (Some(keys), Some(places)) = (keys, places) else { return Err(Reason::Missing.into()) };
    let clock_skew = match message.clock_skew_seconds {
        0 => CLOCK_SKEW_SECONDS,
        seconds => seconds,
    };
    Ok(Provider {
        name,
        issuer: message.issuer.into(),
        audiences: audiences(&message.audiences),
        subjects,
        require_expiration: message.require_expiration,
        max_lifetime: max_lifetime.map(|lifetime| lifetime.as_secs()),
        keys,
        places,
        forward: message.forward,
        payload: payload.map(|name| (name, message.pad_forward_payload_header)),
        clock_skew: clock_skew.into(),
        claims,
        clear_route_cache: message.clear_route_cache,
    })
}

fn parse_keys(
    source: Option<pb::jwt_provider::JwksSourceSpecifier>,
    cx: &ParseCx<'_>,
) -> Result<KeySource, Problems> {
    use pb::jwt_provider::JwksSourceSpecifier as S;
    match source {
        None => Err(Reason::Missing.into()).at("jwks_source_specifier"),
        Some(S::RemoteJwks(remote)) => {
            let remote = parse_remote(remote).at("remote_jwks")?;
            Ok(KeySource::Remote(Box::new(remote)))
        }
        Some(S::LocalJwks(local)) => data_source::parse_text(local, cx)
            .and_then(|text| {
                Keys::parse(&text).map(KeySource::Local).map_err(|why| {
                    let must = format!("a JSON Web Key Set with a key that can be used ({why})");
                    Reason::Invalid { got: "a text".into(), must }.into()
                })
            })
            .at("local_jwks"),
    }
}

fn parse_remote(message: pb::RemoteJwks) -> Result<Remote, Problems> {
    let uri = field::required(message.http_uri, "http_uri")?;
    let timeout = field::timeout(uri.timeout, None, "timeout").at("http_uri")?;
    let (authority, path) = parts_of(&uri.uri).at("uri").at("http_uri")?;
    let Some(HttpUpstreamType::Cluster(cluster)) = uri.http_upstream_type else {
        return Err(Reason::Missing.into()).at("cluster").at("http_uri");
    };
    let cache = field::duration(message.cache_duration, "cache_duration")?.unwrap_or(CACHE);
    let cache = Duration::from_secs(cache.as_secs());
    let ahead = message.async_fetch.map(|fetch| parse_ahead(fetch, cache));
    let ahead = ahead.transpose().at("async_fetch")?;
    let retry = message.retry_policy.map(parse_retries).transpose().at("retry_policy")?;
    Ok(Remote {
        authority,
        path,
        cluster: cluster.into(),
        timeout,
        cache,
        retry: retry.map(Arc::new),
        ahead,
    })
}

/// Times are whole seconds as in Envoy, but never none: that would be one fetch after another.
fn parse_ahead(message: pb::JwksAsyncFetch, cache: Duration) -> Result<Ahead, Problems> {
    let failed = field::duration(message.failed_refetch_duration, "failed_refetch_duration")?;
    let second = Duration::from_secs(1);
    let early = if cache > EARLY { cache - EARLY } else { cache };
    Ok(Ahead {
        fast_listener: message.fast_listener,
        pause: early.max(second),
        pause_failed: Duration::from_secs(failed.unwrap_or(second).as_secs()).max(second),
    })
}

/// Host and path of a URI as Envoy takes it apart; its scheme does not matter, the cluster has TLS.
fn parts_of(uri: &str) -> Result<(HeaderValue, HeaderValue), Problems> {
    let rest = uri.split_once("://").map_or("", |(_, rest)| rest);
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    match (HeaderValue::try_from(host), HeaderValue::try_from(path)) {
        (Ok(host), Ok(path)) if !host.is_empty() => Ok((host, path)),
        _ => {
            Err(Reason::Invalid { got: uri.into(), must: "a URI with a scheme and a host".into() }
                .into())
        }
    }
}

/// When keys are asked for again: Envoy has its own conditions here.
fn parse_retries(message: core::RetryPolicy) -> Result<RetryPolicy, Problems> {
    let base = message.retry_back_off.as_ref().map(|back_off| back_off.base_interval);
    let base = field::duration(base.flatten(), "base_interval").at("retry_back_off")?;
    let base = base.unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(1));
    let max = message.retry_back_off.and_then(|back_off| back_off.max_interval);
    let max = field::duration(max, "max_interval").at("retry_back_off")?.unwrap_or(base * 10);
    if max < base {
        let (got, must) = (format!("{max:?}"), format!("at least base_interval, {base:?}"));
        return Err(Reason::Invalid { got, must }.into()).at("max_interval").at("retry_back_off");
    }
    Ok(RetryPolicy {
        on: RetryOn::parse("5xx,gateway-error,connect-failure,reset", RetryNames::All),
        num_retries: field::uint(message.num_retries, 1),
        back_off: Some(BackOff { base, max }),
        // As in Envoy, though nobody wrote that.
        per_try_timeout: Some(max),
        ..RetryPolicy::default()
    })
}

/// Where nothing is written: a bearer token, then the parameter of RFC 6750 2.3.
fn parse_places(
    headers: Vec<pb::JwtHeader>,
    params: Vec<String>,
    cookies: Vec<String>,
) -> Result<Places, Problems> {
    if headers.is_empty() && params.is_empty() && cookies.is_empty() {
        let headers = vec![(http::header::AUTHORIZATION, "Bearer ".into())];
        return Ok(Places { headers, params: vec!["access_token".into()], cookies: Vec::new() });
    }
    let mut all = Collector::default();
    let mut parsed = Vec::with_capacity(headers.len());
    for (i, header) in headers.into_iter().enumerate() {
        let name = field::header_name(&header.name, "name").at_index("from_headers", i);
        parsed.extend(all.keep(name).map(|name| (name, header.value_prefix.into())));
    }
    all.finish()?;
    let texts = |list: Vec<String>| list.into_iter().map(Into::into).collect();
    Ok(Places { headers: parsed, params: texts(params), cookies: texts(cookies) })
}

fn parse_claim(message: pb::JwtClaimToHeader) -> Result<Claim, Problems> {
    let header = field::header_name(&message.header_name, "header_name")?;
    if message.claim_name.is_empty() == message.claim_path.is_empty() {
        let text = "one of claim_name and claim_path must be set, and not both";
        return Err(Reason::Rule(text.into()).into());
    }
    let path = match message.claim_path.is_empty() {
        true => message.claim_name.split('.').map(Into::into).collect(),
        false => message.claim_path.into_iter().map(|segment| segment.key.into()).collect(),
    };
    Ok(Claim { header, path })
}

fn parse_rule(
    message: pb::RequirementRule,
    providers: &[Provider],
    by_name: &[(Box<str>, Requirement)],
) -> Result<Rule, Problems> {
    use pb::requirement_rule::RequirementType as T;
    let matcher = field::required(message.r#match, "match")?;
    let matcher = parse_match(matcher).at("match")?;
    let requires = match message.requirement_type {
        None => None,
        Some(T::Requires(requires)) => Some(parse_requirement(requires, providers).at("requires")?),
        Some(T::RequirementName(name)) => {
            let found = by_name.iter().find(|(known, _)| **known == *name);
            let unknown = || Problems::from(Reason::Unknown { kind: "requirement", name });
            Some(found.map(|(_, found)| found.clone()).ok_or_else(unknown).at("requirement_name")?)
        }
    };
    Ok(Rule { matcher, requires })
}

fn parse_requirement(
    message: pb::JwtRequirement,
    providers: &[Provider],
) -> Result<Requirement, Problems> {
    use pb::jwt_requirement::RequiresType as T;
    let find = |name: String| {
        let at = providers.iter().position(|provider| *provider.name == *name);
        at.ok_or_else(|| Problems::from(Reason::Unknown { kind: "provider", name }))
    };
    Ok(match message.requires_type {
        None => return Err(Reason::Missing.into()).at("requires_type"),
        Some(T::ProviderName(name)) => {
            Requirement::Provider { at: find(name).at("provider_name")?, audiences: None }
        }
        Some(T::ProviderAndAudiences(both)) => {
            let at = find(both.provider_name).at("provider_name").at("provider_and_audiences")?;
            Requirement::Provider { at, audiences: Some(audiences(&both.audiences)) }
        }
        Some(T::AllowMissing(_)) => Requirement::AllowMissing,
        Some(T::AllowMissingOrFailed(_)) => Requirement::AllowMissingOrFailed,
        Some(T::RequiresAll(list)) => {
            let all = parse_requirements(list.requirements, providers);
            Requirement::All(all.at("requires_all")?)
        }
        Some(T::RequiresAny(list)) => {
            let all = parse_requirements(list.requirements, providers).at("requires_any")?;
            let has = |requirement: &Requirement| all.contains(requirement);
            let excuse = if has(&Requirement::AllowMissingOrFailed) {
                Excuse::Failed
            } else if has(&Requirement::AllowMissing) {
                Excuse::Missing
            } else {
                Excuse::None
            };
            let excuses = [Requirement::AllowMissingOrFailed, Requirement::AllowMissing];
            let of = all.into_iter().filter(|one| !excuses.contains(one)).collect();
            Requirement::Any { of, excuse }
        }
        Some(T::ExtractOnlyWithoutValidation(_)) => {
            field::refuse(true, "extract_only_without_validation")?;
            return Err(Reason::Missing.into());
        }
    })
}

fn parse_requirements(
    list: Vec<pb::JwtRequirement>,
    providers: &[Provider],
) -> Result<Vec<Requirement>, Problems> {
    let list = list.into_iter().enumerate();
    list.map(|(i, one)| parse_requirement(one, providers).at_index("requirements", i)).collect()
}

fn audiences(list: &[String]) -> Vec<Box<str>> {
    list.iter().map(|audience| bare_audience(audience).into()).collect()
}

/// As in Envoy neither scheme nor a closing `/` of an audience counts.
pub(super) fn bare_audience(audience: &str) -> &str {
    let bare = audience.strip_suffix('/').unwrap_or(audience);
    bare.strip_prefix("https://").or_else(|| bare.strip_prefix("http://")).unwrap_or(bare)
}
