//! Tokens, keys and times without a connection. Signatures of all algorithms are compared with
//! Envoy's verdicts by the differential tests.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::config::{Excuse, JwtConfig, KeySource, Places, Provider, Requirement};
use super::jwks::Keys;
use super::remote::{Fetched, Remote, Source};
use super::token::{Failure, Token};
use super::verify::{RemoteKeys, Verify};
use crate::base::clock;
use crate::codec::{RequestHead, Version};
use crate::telemetry::stats::{Registry, Scope};

const NOW: u64 = 1_000_000;
const SECRET: &[u8] = b"a secret of these tests";

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token of `claims`, signed with the secret.
fn token(alg: &str, claims: &Value) -> String {
    let signed = format!("{}.{}", encoded(&json!({"alg": alg})), encoded(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn keys() -> Keys {
    let secret = URL_SAFE_NO_PAD.encode(SECRET);
    Keys::parse(&json!({"keys": [{"kty": "oct", "k": secret}]}).to_string()).expect("a key")
}

fn provider(name: &str, header: &str) -> Provider {
    let header = header.parse().expect("a name");
    Provider {
        name: name.into(),
        issuer: name.into(),
        audiences: Vec::new(),
        subjects: None,
        require_expiration: false,
        max_lifetime: None,
        keys: KeySource::Local(keys()),
        places: Places {
            headers: vec![(header, "".into())],
            params: Vec::new(),
            cookies: Vec::new(),
        },
        forward: false,
        payload: None,
        clock_skew: 60,
        claims: Vec::new(),
        clear_route_cache: false,
    }
}

fn config(providers: Vec<Provider>) -> JwtConfig {
    JwtConfig {
        providers,
        rules: Vec::new(),
        by_name: Vec::new(),
        bypass_cors_preflight: false,
        strip_failure_response: false,
        stat_prefix: "".into(),
    }
}

fn verify(
    config: &JwtConfig,
    requirement: &Requirement,
    headers: &[(&'static str, String)],
) -> (Result<(), Failure>, RequestHead) {
    let mut head = RequestHead::unknown(Version::Http11);
    for (name, value) in headers {
        head.headers.insert(*name, value.parse().expect("a value"));
    }
    let remote = RemoteKeys { sources: &[], fetched: &[], now: clock::now(), missing: None };
    let head_of = &mut head;
    let mut verify =
        Verify { config, head: head_of, now: NOW, clears_route: false, remote, misses: 0 };
    let verdict = verify.requirement(requirement);
    (verdict, head)
}

const fn of(at: usize) -> Requirement {
    Requirement::Provider { at, audiences: None }
}

/// The verdict on a token with these claims besides its issuer.
fn of_claims(provider: &Provider, claims: &Value) -> Result<(), Failure> {
    let mut claims = claims.clone();
    claims["iss"] = json!(&*provider.name);
    let config = config(vec![provider.clone()]);
    verify(&config, &of(0), &[("x-a", token("HS256", &claims))]).0
}

#[test]
fn a_token_counts_from_nbf_to_exp_with_the_skew_on_both_sides() {
    let provider = provider("a", "x-a");
    for (claims, verdict) in [
        (json!({}), Ok(())),
        (json!({"exp": NOW - 60}), Ok(())),
        (json!({"exp": NOW - 61}), Err(Failure::Expired)),
        (json!({"nbf": NOW + 60}), Ok(())),
        (json!({"nbf": NOW + 61}), Err(Failure::NotYetValid)),
        (json!({"exp": u64::MAX, "nbf": 1}), Ok(())),
        (json!({"nbf": u64::MAX}), Err(Failure::NotYetValid)),
    ] {
        assert_eq!(of_claims(&provider, &claims), verdict, "{claims}");
    }
}

#[test]
fn a_lifetime_has_an_end_where_one_is_required_and_not_a_late_one() {
    let required = Provider { require_expiration: true, ..provider("a", "x-a") };
    assert_eq!(of_claims(&required, &json!({})), Err(Failure::VerificationFails));
    assert_eq!(of_claims(&required, &json!({"exp": u64::MAX})), Ok(()));
    let short = Provider { max_lifetime: Some(100), ..provider("a", "x-a") };
    assert_eq!(of_claims(&short, &json!({})), Err(Failure::VerificationFails));
    assert_eq!(of_claims(&short, &json!({"exp": NOW + 100})), Ok(()));
    let late = json!({"exp": NOW + 101});
    assert_eq!(of_claims(&short, &late), Err(Failure::VerificationFails));
}

#[test]
fn a_secret_verifies_no_other_algorithm_and_no_other_text() {
    let good = token("HS256", &json!({"iss": "a"}));
    let (signed, tag) = good.rsplit_once('.').expect("three parts");
    let (header, _) = signed.split_once('.').expect("three parts");
    for bad in [
        token("HS512", &json!({"iss": "a"})),
        token("RS256", &json!({"iss": "a"})),
        token("ES256", &json!({"iss": "a"})),
        token("EdDSA", &json!({"iss": "a"})),
        format!("{header}.{}.{tag}", encoded(&json!({"iss": "a", "sub": "root"}))),
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 32])),
    ] {
        let token = Token::parse(&bad).expect("well-formed");
        assert_eq!(keys().verify(&token), Err(Failure::VerificationFails), "{bad}");
    }
    assert_eq!(keys().verify(&Token::parse(&good).expect("well-formed")), Ok(()));
    let none = token("none", &json!({"iss": "a"}));
    assert_eq!(Token::parse(&none).err(), Some(Failure::HeaderAlgUnknown));
}

#[test]
fn keys_that_are_too_short_or_broken_are_passed_over() {
    let short = URL_SAFE_NO_PAD.encode([0xff; 128]);
    for key in [
        json!({"kty": "RSA", "n": short, "e": "AQAB"}),
        json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}),
        json!({"kty": "oct", "k": ""}),
        json!({"kty": "unknown"}),
        json!(5),
    ] {
        let text = json!({"keys": [key]}).to_string();
        assert_eq!(Keys::parse(&text).err().as_deref(), Some("none of its keys can be used"));
    }
}

#[test]
fn all_asks_for_each_and_any_for_one_and_tokens_are_taken_out() {
    let config = config(vec![provider("a", "x-a"), provider("b", "x-b")]);
    let good = |issuer: &str| token("HS256", &json!({"iss": issuer}));
    let all = Requirement::All(vec![of(0), of(1)]);
    let any = Requirement::Any { of: vec![of(0), of(1)], excuse: Excuse::None };
    let a = ("x-a", good("a"));
    let b = ("x-b", good("b"));
    let (verdict, head) = verify(&config, &all, &[a.clone(), b.clone()]);
    assert_eq!(verdict, Ok(()));
    assert!(head.headers.is_empty(), "{:?}", head.headers);
    assert_eq!(verify(&config, &all, &[a]).0, Err(Failure::Missing));
    assert_eq!(verify(&config, &any, &[b]).0, Ok(()));
    assert_eq!(verify(&config, &any, &[]).0, Err(Failure::Missing));
    let (verdict, _) = verify(&config, &any, &[("x-a", "bad".into())]);
    assert_eq!(verdict, Err(Failure::BadFormat));
    let (verdict, _) = verify(&config, &any, &[("x-a", good("b"))]);
    assert_eq!(verdict, Err(Failure::UnknownIssuer));
}

#[test]
fn what_is_excused_is_what_is_configured() {
    let config = config(vec![provider("a", "x-a")]);
    let bad = [("x-a", "bad".to_owned())];
    for (requirement, none, failed) in [
        (Requirement::AllowMissing, true, false),
        (Requirement::AllowMissingOrFailed, true, true),
        (Requirement::Any { of: vec![of(0)], excuse: Excuse::Missing }, true, false),
        (Requirement::Any { of: vec![of(0)], excuse: Excuse::Failed }, true, true),
        (of(0), false, false),
    ] {
        assert_eq!(verify(&config, &requirement, &[]).0.is_ok(), none, "{requirement:?}");
        assert_eq!(verify(&config, &requirement, &bad).0.is_ok(), failed, "{requirement:?}");
    }
}

proptest! {
    #[test]
    fn no_text_is_a_token_by_chance(text in "\\PC*", header in "\\PC*", payload in "\\PC*") {
        prop_assert!(Token::parse(&text).is_err());
        let parts = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part));
        let text = format!("{}.{}.AAAA", parts[0], parts[1]);
        prop_assert!(Token::parse(&text).is_err());
    }
}

fn remote() -> Remote {
    Remote {
        authority: HeaderValue::from_static("keys.test"),
        path: HeaderValue::from_static("/"),
        cluster: "keys".into(),
        timeout: None,
        cache: Duration::from_secs(60),
        retry: None,
        ahead: None,
    }
}

/// The verdict where the first provider's keys stand elsewhere, and what is to be fetched.
fn verdict(
    requirement: &Requirement,
    fetched: &[(usize, Fetched)],
    headers: &[(&'static str, String)],
) -> (Result<(), Failure>, Option<usize>) {
    let elsewhere = KeySource::Remote(Box::new(remote()));
    let config =
        config(vec![Provider { keys: elsewhere, ..provider("a", "x-a") }, provider("b", "x-b")]);
    let stats = Registry::new(1).group(Scope::plain("jwt."));
    let sources = [Some(Source::new(&remote(), &stats)), None];
    let mut head = RequestHead::unknown(Version::Http11);
    for (name, value) in headers {
        head.headers.insert(*name, value.parse().expect("a value"));
    }
    let remote = RemoteKeys { sources: &sources, fetched, now: clock::now(), missing: None };
    let (config, head) = (&config, &mut head);
    let mut verify = Verify { config, head, now: NOW, clears_route: false, remote, misses: 0 };
    (verify.requirement(requirement), verify.remote.missing)
}

#[test]
fn keys_are_fetched_only_where_the_verdict_depends_on_them() {
    let of_a = || ("x-a", token("HS256", &json!({"iss": "a"})));
    let of_b = || ("x-b", token("HS256", &json!({"iss": "b"})));
    let unfetched = (Err(Failure::Unfetched), Some(0));
    assert_eq!(verdict(&of(0), &[], &[of_a()]), unfetched);
    assert_eq!(verdict(&of(0), &[], &[]), (Err(Failure::Missing), None));
    let all = Requirement::All(vec![of(0), of(1)]);
    assert_eq!(verdict(&all, &[], &[of_a(), of_b()]), unfetched);
    assert_eq!(verdict(&all, &[], &[of_a()]).0, Err(Failure::Missing), "refused in any case");
    let any = Requirement::Any { of: vec![of(0), of(1)], excuse: Excuse::None };
    assert_eq!(verdict(&any, &[], &[of_a(), of_b()]).0, Ok(()), "the other one is good");
    assert_eq!(verdict(&any, &[], &[of_a()]), unfetched);
    let excused = Requirement::Any { of: vec![of(0)], excuse: Excuse::Failed };
    assert_eq!(verdict(&excused, &[], &[of_a()]), unfetched, "its claims may be passed on");
    assert_eq!(verdict(&Requirement::AllowMissingOrFailed, &[], &[of_a()]), unfetched);
}

#[test]
fn what_was_fetched_for_a_request_decides_it() {
    let of_a = [("x-a", token("HS256", &json!({"iss": "a"})))];
    assert_eq!(verdict(&of(0), &[(0, Some(keys()))], &of_a), (Ok(()), None));
    assert_eq!(verdict(&of(0), &[(0, None)], &of_a), (Err(Failure::FetchFailed), None));
    let other = Keys::parse(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#).expect("a key");
    let refused = (Err(Failure::VerificationFails), None);
    assert_eq!(verdict(&of(0), &[(0, Some(other))], &of_a), refused);
    assert_eq!(verdict(&Requirement::AllowMissingOrFailed, &[(0, None)], &of_a).0, Ok(()));
}
