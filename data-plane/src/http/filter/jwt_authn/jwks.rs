//! JSON Web Key Sets (RFC 7517) and what their keys verify (RFC 7518, RFC 8037).

use std::sync::Arc;

use aws_lc_rs::{hmac, signature as sig};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::token::{Alg, Failure, Token};

/// The keys of a set that can be used.
#[derive(Clone)]
pub struct Keys {
    source: Arc<str>,
    keys: Arc<[Key]>,
}

/// Equality is that of what was written.
impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// A set may hold secrets.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys", self.keys.len())
    }
}

/// One key.
struct Key {
    kid: Option<Box<str>>,
    alg: Option<Box<str>>,
    material: Material,
}

/// What a key is made of; it says which algorithms it may be used with.
enum Material {
    Ec { curve: Curve, point: Vec<u8> },
    Ed25519 { point: Vec<u8> },
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Secret(Vec<u8>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Keys {
    /// Reads a set. A key that cannot be used is passed over; there must be another.
    ///
    /// # Errors
    /// Why there is none, as one clause.
    pub fn parse(text: &str) -> Result<Self, String> {
        let set: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let list = set.get("keys").and_then(Value::as_array).ok_or("it has no list of keys")?;
        let keys: Arc<[Key]> = list.iter().filter_map(Key::parse).collect();
        if keys.is_empty() {
            return Err("none of its keys can be used".into());
        }
        Ok(Self { source: text.into(), keys })
    }

    /// Whether one of the keys made the token's signature.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), Failure> {
        let mut failure = Failure::NoKey;
        for key in self.keys.iter().filter(|key| key.may_be_of(token)) {
            if key.verifies(token) {
                return Ok(());
            }
            let is_ed25519 = matches!(key.material, Material::Ed25519 { .. });
            if is_ed25519 && token.signature.len() != 64 {
                failure = Failure::Ed25519Length;
            } else if failure == Failure::NoKey {
                failure = Failure::VerificationFails;
            }
        }
        Err(failure)
    }
}

impl Key {
    fn parse(key: &Value) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok()?;
            (!bytes.is_empty()).then_some(bytes)
        };
        let material = match text("kty")? {
            "RSA" => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                let n: Vec<u8> = n.into_iter().skip_while(|byte| *byte == 0).collect();
                // Shorter ones are not verified with.
                (n.len() >= 256).then_some(Material::Rsa { n, e })?
            }
            "EC" => {
                let (curve, length) = match text("crv")? {
                    "P-256" => (Curve::P256, 32),
                    "P-384" => (Curve::P384, 48),
                    "P-521" => (Curve::P521, 66),
                    _ => return None,
                };
                let (x, y) = (bytes("x")?, bytes("y")?);
                let whole = x.len() == length && y.len() == length;
                whole.then(|| Material::Ec { curve, point: [vec![4], x, y].concat() })?
            }
            "OKP" if text("crv")? == "Ed25519" => {
                let point = bytes("x").filter(|point| point.len() == 32)?;
                Material::Ed25519 { point }
            }
            "oct" => Material::Secret(bytes("k")?),
            _ => return None,
        };
        Some(Self { kid: text("kid").map(Into::into), alg: text("alg").map(Into::into), material })
    }

    /// Where both sides say an id or an algorithm, they must agree.
    fn may_be_of(&self, token: &Token<'_>) -> bool {
        let agrees = |own: Option<&str>, other: Option<&str>| match (own, other) {
            (Some(own), Some(other)) => own.is_empty() || other.is_empty() || own == other,
            _ => true,
        };
        agrees(self.kid.as_deref(), token.kid.as_deref())
            && agrees(self.alg.as_deref(), Some(token.alg.name()))
    }

    /// The algorithm must be one of the key's kind, whatever the token says of itself: a public key
    /// is never a secret, and a curve has its own digest.
    fn verifies(&self, token: &Token<'_>) -> bool {
        let (data, signature) = (token.signed, &*token.signature);
        match &self.material {
            Material::Rsa { n, e } => rsa(token.alg).is_some_and(|parameters| {
                sig::RsaPublicKeyComponents { n, e }.verify(parameters, data, signature).is_ok()
            }),
            Material::Ec { curve, point } => ec(token.alg, *curve).is_some_and(|algorithm| {
                sig::UnparsedPublicKey::new(algorithm, point).verify(data, signature).is_ok()
            }),
            Material::Ed25519 { point } => {
                token.alg == Alg::EdDsa
                    && sig::UnparsedPublicKey::new(&sig::ED25519, point)
                        .verify(data, signature)
                        .is_ok()
            }
            Material::Secret(secret) => secret_hash(token.alg).is_some_and(|algorithm| {
                hmac::verify(&hmac::Key::new(algorithm, secret), data, signature).is_ok()
            }),
        }
    }
}

fn rsa(alg: Alg) -> Option<&'static sig::RsaParameters> {
    Some(match alg {
        Alg::Rs256 => &sig::RSA_PKCS1_2048_8192_SHA256,
        Alg::Rs384 => &sig::RSA_PKCS1_2048_8192_SHA384,
        Alg::Rs512 => &sig::RSA_PKCS1_2048_8192_SHA512,
        Alg::Ps256 => &sig::RSA_PSS_2048_8192_SHA256,
        Alg::Ps384 => &sig::RSA_PSS_2048_8192_SHA384,
        Alg::Ps512 => &sig::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

fn ec(alg: Alg, curve: Curve) -> Option<&'static sig::EcdsaVerificationAlgorithm> {
    Some(match (alg, curve) {
        (Alg::Es256, Curve::P256) => &sig::ECDSA_P256_SHA256_FIXED,
        (Alg::Es384, Curve::P384) => &sig::ECDSA_P384_SHA384_FIXED,
        (Alg::Es512, Curve::P521) => &sig::ECDSA_P521_SHA512_FIXED,
        _ => return None,
    })
}

fn secret_hash(alg: Alg) -> Option<hmac::Algorithm> {
    Some(match alg {
        Alg::Hs256 => hmac::HMAC_SHA256,
        Alg::Hs384 => hmac::HMAC_SHA384,
        Alg::Hs512 => hmac::HMAC_SHA512,
        _ => return None,
    })
}
