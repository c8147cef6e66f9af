//! `envoy.filters.http.jwt_authn`: lets requests pass that have the tokens they need.
//!
//! Tokens are verified on the request's own worker: a signature costs tens of microseconds and
//! waits for nothing. Keys stand in the configuration (`local_jwks`), or are fetched when a request
//! needs them (`remote_jwks`), or ahead of that (`async_fetch`).

mod config;
mod jwks;
mod places;
mod remote;
#[cfg(test)]
mod tests;
mod token;
mod verify;

use std::rc::Rc;
use std::sync::Arc;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use smallvec::SmallVec;

use crate::base::clock;
use crate::codec::RequestHead;
use crate::config::error::Problems;
use crate::config::extension::{Body, ExtensionConfig, ExtensionParser, PolicyRow};
use crate::config::header_mutation::AppendAction;
use crate::config::resource::ParseCx;
use crate::http::chore::Chore;
use crate::http::exchange::Exchange;
use crate::http::filter::{FilterCx, FilterFactory, FilterKind, HttpFilter, Step, Wake};
use crate::http::reply::LocalReply;
use crate::http::router::AskCx;
use crate::route::route_matches;
use crate::telemetry::stats::{Group, JwtStat, Scope};

pub use config::{
    Claim, Excuse, JwtConfig, KeySource, OfRoute, Places, Provider, Requirement, Rule,
};
pub use jwks::Keys;
pub use remote::{Ahead, Remote};
use remote::{Fetched, Source};
use token::Failure;
use verify::{RemoteKeys, Verify};

/// Bytes of a path in the realm of a refusal.
const REALM_PATH_MAX: usize = 256;

/// The kind, for the registry.
pub struct Kind;

impl ExtensionParser for Kind {
    fn name(&self) -> &'static str {
        "envoy.filters.http.jwt_authn"
    }

    fn message(&self) -> &'static str {
        config::MESSAGE
    }

    fn override_message(&self) -> Option<&'static str> {
        Some(config::OF_ROUTE)
    }

    fn fields(&self) -> &'static [PolicyRow<'static>] {
        config::ROWS
    }

    fn parse(&self, body: &Body<'_>, cx: &ParseCx<'_>) -> Result<ExtensionConfig, Problems> {
        config::parse(body, cx).map(|config| ExtensionConfig::new(config::MESSAGE, config))
    }

    fn parse_override(
        &self,
        body: &Body<'_>,
        _: &ParseCx<'_>,
    ) -> Result<ExtensionConfig, Problems> {
        config::parse_of_route(body).map(|of| ExtensionConfig::new(config::OF_ROUTE, of))
    }
}

impl FilterKind for Kind {
    fn build(&self, config: &ExtensionConfig, cx: &FilterCx<'_>) -> Arc<dyn FilterFactory> {
        let prefix = config.value::<JwtConfig>().map_or("", |config| &config.stat_prefix);
        let part = match prefix {
            "" => "jwt_authn.".to_owned(),
            prefix => format!("jwt_authn.{prefix}."),
        };
        let stats = cx.registry.group(Scope::http(cx.stat_prefix).join(&part));
        let providers = config.value::<JwtConfig>().map_or(&[][..], |config| &config.providers);
        let source = |provider: &Provider| match &provider.keys {
            KeySource::Local(_) => None,
            KeySource::Remote(remote) => Some(Source::new(remote, &stats)),
        };
        let sources = providers.iter().map(source).collect();
        Arc::new(Factory { config: config.clone(), stats, sources })
    }
}

#[derive(Debug)]
struct Factory {
    config: ExtensionConfig,
    stats: Group<JwtStat>,
    /// Keys from elsewhere, by the place of their providers.
    sources: Arc<[Option<Arc<Source>>]>,
}

impl FilterFactory for Factory {
    fn chores(&self) -> Vec<Arc<dyn Chore>> {
        let ahead = self.sources.iter().flatten().filter(|source| source.is_ahead());
        ahead.map(|source| Arc::clone(source) as Arc<dyn Chore>).collect()
    }

    fn create(&self, overrides: &[&ExtensionConfig]) -> Box<dyn HttpFilter> {
        let of_route = overrides.last().map(|config| (*config).clone());
        Box::new(Filter {
            config: self.config.clone(),
            of_route,
            stats: self.stats.clone(),
            sources: Arc::clone(&self.sources),
            fetched: SmallVec::new(),
        })
    }
}

struct Filter {
    config: ExtensionConfig,
    of_route: Option<ExtensionConfig>,
    stats: Group<JwtStat>,
    sources: Arc<[Option<Arc<Source>>]>,
    /// What was fetched for this request.
    fetched: SmallVec<[(usize, Fetched); 1]>,
}

impl Filter {
    /// What the request needs, or the answer to one whose route names what does not exist.
    fn needed<'c>(
        &self,
        config: &'c JwtConfig,
        head: &RequestHead,
        ex: &Exchange,
    ) -> Result<Option<&'c Requirement>, Box<LocalReply>> {
        let of_route = self.of_route.as_ref().and_then(|config| config.value::<OfRoute>());
        match of_route {
            Some(OfRoute::Disabled) => Ok(None),
            Some(OfRoute::Named(name)) => {
                let found = config.by_name.binary_search_by(|(known, _)| known.cmp(name));
                found.map(|at| Some(&config.by_name[at].1)).map_err(|_| unknown(name, config))
            }
            None => {
                let input = ex.route_input(head);
                let rule = config.rules.iter().find(|rule| route_matches(&rule.matcher, &input));
                Ok(rule.and_then(|rule| rule.requires.as_ref()))
            }
        }
    }

    /// Goes by the tokens of the request; waits where it takes keys that are not at hand.
    fn judge(&self, head: &mut RequestHead, ex: &mut Exchange) -> Step {
        let worker = ex.worker.id;
        let Some(config) = self.config.value::<JwtConfig>() else {
            return Step::Reply(stripped(Failure::VerificationFails));
        };
        let needed = match self.needed(config, head, ex) {
            Ok(needed) => needed,
            Err(reply) => {
                self.stats.inc(worker, JwtStat::Denied);
                return Step::Reply(reply);
            }
        };
        let Some(needed) = needed else {
            self.stats.inc(worker, JwtStat::Allowed);
            return Step::Continue;
        };
        let asked = head.path.clone();
        // What is not known yet may make it necessary to look at all tokens again.
        let now = clock::now();
        let lacks = |source: &Arc<Source>| source.with_keys(now, |_| ()).is_none();
        let before = self.sources.iter().flatten().any(lacks).then(|| head.clone());
        let fetched = &self.fetched;
        let remote = RemoteKeys { sources: &self.sources, fetched, now, missing: None };
        let mut verify =
            Verify { config, head, now: verify::now(), clears_route: false, remote, misses: 0 };
        let verified = verify.requirement(needed);
        let (clears_route, misses) = (verify.clears_route, verify.misses);
        if verified == Err(Failure::Unfetched)
            && let (Some(at), Some(before)) = (verify.remote.missing, before)
        {
            *head = before;
            return self.fetch(at, ex);
        }
        if misses > 0 {
            self.stats.add(worker, JwtStat::JwtCacheMiss, misses);
        }
        if let Err(failure) = verified {
            self.stats.inc(worker, JwtStat::Denied);
            return Step::Reply(match config.strip_failure_response {
                true => stripped(failure),
                false => refusal(failure, head, &asked),
            });
        }
        self.stats.inc(worker, JwtStat::Allowed);
        if clears_route {
            ex.choose_route(head);
        }
        Step::Continue
    }

    /// Waits for the keys of the provider at `at`.
    fn fetch(&self, at: usize, ex: &Exchange) -> Step {
        let Some(Some(source)) = self.sources.get(at) else {
            return Step::Reply(stripped(Failure::FetchFailed));
        };
        let cx = AskCx { worker: Rc::clone(&ex.worker), own: ex.manager.stats.own.clone() };
        let cluster = ex.view.clusters.get(source.cluster()).cloned();
        let telling = source.fetch(cx, cluster);
        Step::Wait(Box::pin(async move {
            let fetched: (usize, Fetched) = (at, remote::told(telling).await);
            Box::new(fetched) as Wake
        }))
    }
}

impl HttpFilter for Filter {
    fn on_request(&mut self, head: &mut RequestHead, ex: &mut Exchange) -> Step {
        let Some(config) = self.config.value::<JwtConfig>() else {
            // A filter that lost its rules lets nobody pass.
            return Step::Reply(stripped(Failure::VerificationFails));
        };
        sanitize(config, &mut head.headers);
        if config.bypass_cors_preflight && is_preflight(head) {
            let worker = ex.worker.id;
            self.stats.inc(worker, JwtStat::CorsPreflightBypassed);
            self.stats.inc(worker, JwtStat::Allowed);
            return Step::Continue;
        }
        self.judge(head, ex)
    }

    fn on_wake(&mut self, wake: Wake, head: &mut RequestHead, ex: &mut Exchange) -> Step {
        if let Ok(fetched) = wake.downcast::<(usize, Fetched)>() {
            self.fetched.push(*fetched);
        }
        self.judge(head, ex)
    }
}

/// Headers that say what a token says come from nowhere else.
fn sanitize(config: &JwtConfig, headers: &mut HeaderMap) {
    for provider in &config.providers {
        if let Some((name, _)) = &provider.payload {
            headers.remove(name);
        }
        for claim in &provider.claims {
            headers.remove(&claim.header);
        }
    }
}

fn is_preflight(head: &RequestHead) -> bool {
    let said = |name| head.headers.get(name).is_some_and(|value: &HeaderValue| !value.is_empty());
    head.method == Method::OPTIONS && said(ORIGIN) && said(ACCESS_CONTROL_REQUEST_METHOD)
}

fn details(why: &str) -> String {
    format!("jwt_authn_access_denied{{{}}}", why.replace(' ', "_"))
}

/// A refusal that says nothing.
fn stripped(failure: Failure) -> Box<LocalReply> {
    let status = match failure {
        Failure::AudienceNotAllowed => StatusCode::FORBIDDEN,
        _ => StatusCode::UNAUTHORIZED,
    };
    let mut reply = LocalReply::new(status, "", "");
    reply.details = details(failure.text()).into();
    Box::new(reply)
}

/// One that says why; `path` is the one that was asked for, tokens included.
fn refusal(failure: Failure, head: &RequestHead, path: &HeaderValue) -> Box<LocalReply> {
    let mut reply = stripped(failure);
    reply.body = failure.text().into();
    let mut challenge = b"Bearer realm=\"".to_vec();
    challenge.extend_from_slice(head.scheme.as_ref().map_or(b"http", |s| s.as_bytes()));
    challenge.extend_from_slice(b"://");
    challenge.extend_from_slice(head.authority.as_ref().map_or(b"", |a| a.as_bytes()));
    let path = path.as_bytes();
    challenge.extend_from_slice(&path[..path.len().min(REALM_PATH_MAX)]);
    challenge.push(b'"');
    if failure != Failure::Missing {
        challenge.extend_from_slice(b", error=\"invalid_token\"");
    }
    if let Ok(challenge) = HeaderValue::from_bytes(&challenge) {
        let action = AppendAction::OverwriteIfExistsOrAdd;
        reply.late_headers.push((WWW_AUTHENTICATE, challenge, action));
    }
    reply
}

fn unknown(name: &str, config: &JwtConfig) -> Box<LocalReply> {
    let known: Vec<&str> = config.by_name.iter().map(|(known, _)| &**known).collect();
    let why = format!("Wrong requirement_name: {name}. It should be one of [{}]", known.join(","));
    let body = format!("Failed JWT authentication: {why}");
    let mut reply = LocalReply::new(StatusCode::FORBIDDEN, body, "");
    reply.details = details(&why).into();
    Box::new(reply)
}
