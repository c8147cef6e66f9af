//! A JSON Web Token (RFC 7519) in its compact form: parsed, nothing verified. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// A token.
pub(super) struct Token<'a> {
    /// What the signature is of: header and payload as they came.
    pub(super) signed: &'a [u8],
    /// The payload as it came.
    pub(super) payload: &'a str,
    pub(super) signature: Vec<u8>,
    pub(super) alg: Alg,
    pub(super) kid: Option<Box<str>>,
    pub(super) claims: Map<String, Value>,
    /// `exp`, `nbf`; 0 where there is none, as in Envoy.
    pub(super) exp: u64,
    pub(super) nbf: u64,
    pub(super) audiences: Vec<Box<str>>,
}

macro_rules! algorithms {
    ($($name:ident $text:literal,)*) => {
        /// Algorithms that signatures are verified with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Alg {
            $($name,)*
        }

        impl Alg {
            fn named(name: &str) -> Option<Self> {
                Some(match name {
                    $($text => Self::$name,)*
                    _ => return None,
                })
            }

            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

algorithms! {
    EdDsa "EdDSA",
    Es256 "ES256",
    Es384 "ES384",
    Es512 "ES512",
    Hs256 "HS256",
    Hs384 "HS384",
    Hs512 "HS512",
    Ps256 "PS256",
    Ps384 "PS384",
    Ps512 "PS512",
    Rs256 "RS256",
    Rs384 "RS384",
    Rs512 "RS512",
}

macro_rules! failures {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// Why a token is none; the texts are Envoy's, which stand in bodies and logs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Failure {
            $($(#[$doc])* $name,)*
        }

        impl Failure {
            pub(super) const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

failures! {
    Missing "Jwt is missing",
    NotYetValid "Jwt not yet valid",
    Expired "Jwt is expired",
    BadFormat "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
    HeaderBase64 "Jwt header is an invalid Base64url encoded",
    HeaderJson "Jwt header is an invalid JSON",
    HeaderAlg "Jwt header [alg] field is required and must be a string",
    HeaderAlgUnknown "Jwt header [alg] is not supported",
    HeaderKid "Jwt header [kid] field is not a string",
    PayloadBase64 "Jwt payload is an invalid Base64url encoded",
    PayloadJson "Jwt payload is an invalid JSON",
    Iss "Jwt payload [iss] field is not a string",
    Sub "Jwt payload [sub] field is not a string",
    Iat "Jwt payload [iat] field is not an integer",
    IatRange "Jwt payload [iat] field is not a positive 64 bit integer",
    Nbf "Jwt payload [nbf] field is not an integer",
    NbfRange "Jwt payload [nbf] field is not a positive 64 bit integer",
    Exp "Jwt payload [exp] field is not an integer",
    ExpRange "Jwt payload [exp] field is not a positive 64 bit integer",
    Jti "Jwt payload [jti] field is not a string",
    Aud "Jwt payload [aud] field is not a string or string list",
    SignatureBase64 "Jwt signature is an invalid Base64url encoded",
    Ed25519Length "Jwt ED25519 signature is wrong length",
    UnknownIssuer "Jwt issuer is not configured",
    AudienceNotAllowed "Audiences in Jwt are not allowed",
    VerificationFails "Jwt verification fails",
    NoKey "Jwks doesn't have key to match kid or alg from Jwt",
    FetchFailed "Jwks remote fetch is failed",
    /// Nobody knows yet: a key is to be fetched.
    Unfetched "Jwks remote fetch is failed",
}

impl<'a> Token<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Failure> {
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Failure::BadFormat);
        };
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(Failure::BadFormat);
        }
        let fields = object(header, Failure::HeaderBase64, Failure::HeaderJson)?;
        let alg = fields.get("alg").and_then(Value::as_str).ok_or(Failure::HeaderAlg)?;
        let alg = Alg::named(alg).ok_or(Failure::HeaderAlgUnknown)?;
        let kid = string(&fields, "kid", Failure::HeaderKid)?.map(Into::into);
        let claims = object(payload, Failure::PayloadBase64, Failure::PayloadJson)?;
        string(&claims, "iss", Failure::Iss)?;
        string(&claims, "sub", Failure::Sub)?;
        integer(&claims, "iat", Failure::Iat, Failure::IatRange)?;
        let nbf = integer(&claims, "nbf", Failure::Nbf, Failure::NbfRange)?;
        let exp = integer(&claims, "exp", Failure::Exp, Failure::ExpRange)?;
        string(&claims, "jti", Failure::Jti)?;
        let audiences = audiences(claims.get("aud"))?;
        let signature = decode(signature).ok_or(Failure::SignatureBase64)?;
        let signed = &text.as_bytes()[..header.len() + 1 + payload.len()];
        Ok(Self { signed, payload, signature, alg, kid, claims, exp, nbf, audiences })
    }

    pub(super) fn issuer(&self) -> &str {
        self.claims.get("iss").and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn subject(&self) -> &str {
        self.claims.get("sub").and_then(Value::as_str).unwrap_or_default()
    }

    /// What stands at the end of a path of keys.
    pub(super) fn claim(&self, path: &[Box<str>]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        let first = self.claims.get(&**first)?;
        rest.iter().try_fold(first, |value, key| value.as_object()?.get(&**key))
    }
}

/// Base64url; padding may stand there.
fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

fn object(text: &str, base64: Failure, json: Failure) -> Result<Map<String, Value>, Failure> {
    let bytes = decode(text).ok_or(base64)?;
    serde_json::from_slice(&bytes).map_err(|_| json)
}

fn string<'m>(
    map: &'m Map<String, Value>,
    key: &str,
    wrong: Failure,
) -> Result<Option<&'m str>, Failure> {
    map.get(key).map(|value| value.as_str().ok_or(wrong)).transpose()
}

fn integer(
    map: &Map<String, Value>,
    key: &str,
    wrong: Failure,
    range: Failure,
) -> Result<u64, Failure> {
    match map.get(key) {
        None => Ok(0),
        Some(Value::Number(number)) if number.is_u64() => Ok(number.as_u64().unwrap_or(0)),
        Some(Value::Number(number)) => {
            let number = number.as_f64().ok_or(wrong)?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
            if (0.0..9e18).contains(&number) { Ok(number as u64) } else { Err(range) }
        }
        Some(_) => Err(wrong),
    }
}

fn audiences(claim: Option<&Value>) -> Result<Vec<Box<str>>, Failure> {
    match claim {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.as_str().into()]),
        Some(Value::Array(list)) => {
            let text = |value: &Value| value.as_str().map(Into::into).ok_or(Failure::Aud);
            list.iter().map(text).collect()
        }
        Some(_) => Err(Failure::Aud),
    }
}
