//! Whether a request has the tokens that it needs, and what is passed on of them.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde_json::Value;

use super::config::{Claim, Excuse, JwtConfig, KeySource, Provider, Requirement, bare_audience};
use super::places::{self, Found};
use super::remote::{Fetched, Source};
use super::token::{Failure, Token};
use crate::base::clock::{self, Instant};
use crate::codec::RequestHead;

/// A request that is looked at.
pub(super) struct Verify<'a> {
    pub(super) config: &'a JwtConfig,
    pub(super) head: &'a mut RequestHead,
    /// Seconds since 1970.
    pub(super) now: u64,
    /// A claim changed what routes may depend on.
    pub(super) clears_route: bool,
    /// Keys from elsewhere.
    pub(super) remote: RemoteKeys<'a>,
    /// Tokens that were looked for in a cache, which is none: Envoy counts them all the same.
    pub(super) misses: u64,
}

/// Keys from elsewhere, as far as they are at hand.
#[derive(Clone, Copy)]
pub(super) struct RemoteKeys<'a> {
    /// By the place of their providers.
    pub(super) sources: &'a [Option<Arc<Source>>],
    /// What was fetched for this request, and for which provider.
    pub(super) fetched: &'a [(usize, Fetched)],
    pub(super) now: Instant,
    /// The first provider whose keys are missing. Where the verdict is [`Failure::Unfetched`] they
    /// are to be fetched, and all is looked at anew.
    pub(super) missing: Option<usize>,
}

/// Whose tokens count, and what is let pass.
#[derive(Clone, Copy)]
struct Asked<'a> {
    /// Of that provider; or else of the one that the token names.
    provider: Option<&'a Provider>,
    audiences: Option<&'a [Box<str>]>,
    excuse: Excuse,
}

/// The wall clock.
pub(super) fn now() -> u64 {
    clock::system_now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Verify<'_> {
    pub(super) fn requirement(&mut self, requirement: &Requirement) -> Result<(), Failure> {
        let config = self.config;
        let all = || config.providers.iter().collect::<Vec<_>>();
        match requirement {
            Requirement::All(list) => self.all(list),
            Requirement::Any { of, excuse } => self.any(of, *excuse),
            Requirement::AllowMissing => {
                let asked = Asked { provider: None, audiences: None, excuse: Excuse::Missing };
                self.tokens(&all(), asked)
            }
            Requirement::AllowMissingOrFailed => {
                let asked = Asked { provider: None, audiences: None, excuse: Excuse::Failed };
                self.tokens(&all(), asked)
            }
            Requirement::Provider { at, audiences } => {
                let provider = config.providers.get(*at);
                let asked =
                    Asked { provider, audiences: audiences.as_deref(), excuse: Excuse::None };
                provider.map_or(Err(Failure::UnknownIssuer), |p| self.tokens(&[p], asked))
            }
        }
    }

    /// What is refused in any case needs no key.
    fn all(&mut self, list: &[Requirement]) -> Result<(), Failure> {
        let mut known = Ok(());
        for one in list {
            match self.requirement(one) {
                Err(Failure::Unfetched) => known = Err(Failure::Unfetched),
                verdict => verdict?,
            }
        }
        known
    }

    /// What went wrong with a token says more than that another was not there.
    fn any(&mut self, of: &[Requirement], excuse: Excuse) -> Result<(), Failure> {
        let (mut worst, mut known) = (Failure::Missing, true);
        for one in of {
            match self.requirement(one) {
                Ok(()) => return Ok(()),
                Err(Failure::Unfetched) => known = false,
                Err(Failure::Missing) => {}
                Err(Failure::UnknownIssuer) if worst != Failure::Missing => {}
                Err(failure) => worst = failure,
            }
        }
        if !known {
            return Err(Failure::Unfetched);
        }
        match (excuse, worst) {
            (Excuse::Failed, _) | (Excuse::Missing, Failure::Missing) => Ok(()),
            _ => Err(worst),
        }
    }

    /// All tokens that are found must be good: the upstream might go by a bad one that stands
    /// beside a good one.
    fn tokens(&mut self, of: &[&Provider], asked: Asked<'_>) -> Result<(), Failure> {
        let found = places::find(of, self.head);
        if found.is_empty() && asked.excuse == Excuse::None {
            return Err(Failure::Missing);
        }
        // As in Envoy the last place comes first.
        for found in found.iter().rev() {
            match self.token(found, asked) {
                Err(Failure::Unfetched) => return Err(Failure::Unfetched),
                Err(failure) if asked.excuse != Excuse::Failed => return Err(failure),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn token(&mut self, found: &Found, asked: Asked<'_>) -> Result<(), Failure> {
        if asked.provider.is_some() {
            self.misses += 1;
        }
        let token = Token::parse(&found.text)?;
        let issuer = token.issuer();
        if !found.issuers.iter().any(|known| known.is_empty() || **known == *issuer) {
            return Err(Failure::UnknownIssuer);
        }
        let of = |issuer: &str| self.config.providers.iter().find(|known| *known.issuer == *issuer);
        let named = || of(issuer).or_else(|| of(""));
        let provider = asked.provider.or_else(named).ok_or(Failure::UnknownIssuer)?;
        check_claims(&token, provider, asked.audiences, self.now)?;
        self.signature(&token, provider)?;
        self.pass_on(&token, provider);
        if !provider.forward {
            places::remove(&found.place, self.head);
        }
        Ok(())
    }

    fn signature(&mut self, token: &Token<'_>, provider: &Provider) -> Result<(), Failure> {
        if let KeySource::Local(keys) = &provider.keys {
            return keys.verify(token);
        }
        let place = self.config.providers.iter().position(|known| std::ptr::eq(known, provider));
        let place = place.ok_or(Failure::FetchFailed)?;
        let remote = &mut self.remote;
        if let Some((_, fetched)) = remote.fetched.iter().find(|(at, _)| *at == place) {
            return fetched.as_ref().map_or(Err(Failure::FetchFailed), |keys| keys.verify(token));
        }
        let source = remote.sources.get(place).and_then(Option::as_ref);
        let known =
            source.and_then(|source| source.with_keys(remote.now, |keys| keys.verify(token)));
        known.unwrap_or_else(|| {
            remote.missing.get_or_insert(place);
            Err(Failure::Unfetched)
        })
    }

    fn pass_on(&mut self, token: &Token<'_>, provider: &Provider) {
        if let Some((name, padded)) = &provider.payload {
            let mut text = token.payload.trim_end_matches('=').to_owned();
            while *padded && !text.len().is_multiple_of(4) {
                text.push('=');
            }
            if let Ok(value) = HeaderValue::from_str(&text) {
                self.head.headers.insert(name, value);
            }
        }
        for Claim { header, path } in &provider.claims {
            let value = token.claim(path).and_then(text_of).map(HeaderValue::try_from);
            if let Some(Ok(value)) = value {
                self.head.headers.insert(header, value);
                self.clears_route |= provider.clear_route_cache;
            }
        }
    }
}

/// A claim as a header says it.
fn text_of(claim: &Value) -> Option<String> {
    Some(match claim {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:.6}", number.as_f64()?),
        Value::Bool(_) | Value::Number(_) => claim.to_string(),
        Value::Array(_) | Value::Object(_) => STANDARD.encode(claim.to_string()),
    })
}

/// Everything but the signature.
fn check_claims(
    token: &Token<'_>,
    provider: &Provider,
    audiences: Option<&[Box<str>]>,
    now: u64,
) -> Result<(), Failure> {
    if now.saturating_add(provider.clock_skew) < token.nbf {
        return Err(Failure::NotYetValid);
    }
    if token.exp > 0 && now > token.exp.saturating_add(provider.clock_skew) {
        return Err(Failure::Expired);
    }
    if provider.subjects.as_ref().is_some_and(|s| !s.is_match(token.subject().as_bytes())) {
        return Err(Failure::VerificationFails);
    }
    let endless = token.exp == 0;
    if endless && (provider.require_expiration || provider.max_lifetime.is_some()) {
        return Err(Failure::VerificationFails);
    }
    if provider.max_lifetime.is_some_and(|most| token.exp > now.saturating_add(most)) {
        return Err(Failure::VerificationFails);
    }
    let allowed = audiences.unwrap_or(&provider.audiences);
    let one = |audience: &str| allowed.iter().any(|known| **known == *bare_audience(audience));
    if !allowed.is_empty() && !token.audiences.iter().any(|audience| one(audience)) {
        return Err(Failure::AudienceNotAllowed);
    }
    Ok(())
}
