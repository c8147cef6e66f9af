//! Why TLS failed, in words for logs and `%RESPONSE_CODE_DETAILS%`: rustls's texts carry names of
//! its types.

use std::borrow::Cow;
use std::fmt::Write as _;

use rustls::{CertificateError, Error};

/// The reason, on one line.
#[must_use]
pub fn reason(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => format!("certificate refused: {}", certificate(why)),
        Error::PeerIncompatible(why) => format!("peer is incompatible: {}", spaced(why)),
        Error::PeerMisbehaved(why) => format!("peer misbehaved: {}", spaced(why)),
        Error::AlertReceived(alert) => format!("peer sent the alert {}", spaced(alert)),
        Error::InvalidMessage(why) => format!("message cannot be read: {}", spaced(why)),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "message out of turn".to_owned()
        }
        error => error.to_string(),
    }
}

fn certificate(error: &CertificateError) -> Cow<'static, str> {
    use CertificateError as E;
    match error {
        // Our own rules, and what webpki says of a path: the name of a reason.
        E::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(why) => spaced(why).into(),
            None => other.0.to_string().into(),
        },
        E::Expired => "expired".into(),
        E::NotValidYet => "not valid yet".into(),
        E::UnknownIssuer => "unknown issuer".into(),
        E::InvalidPurpose => "not for this purpose".into(),
        E::BadEncoding => "cannot be read".into(),
        error => spaced(error).into(),
    }
}

/// `NoCipherSuitesInCommon` as `no cipher suites in common`; what follows the name is left out.
fn spaced(named: &impl std::fmt::Debug) -> String {
    let text = format!("{named:?}");
    let name = text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let mut words = String::with_capacity(name.len() + 8);
    let mut small = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && small {
            words.push(' ');
        }
        small = !c.is_ascii_uppercase();
        let _written = write!(words, "{}", c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{AlertDescription, OtherError, PeerIncompatible};

    use super::super::verify::WrongName;
    use super::{CertificateError, Error, reason};

    #[test]
    fn reasons_are_words() {
        let other = |why| CertificateError::Other(OtherError(why));
        for (error, words) in [
            (
                other(Arc::new(WrongName)).into(),
                "certificate refused: no subject alternative name matches",
            ),
            (
                other(Arc::new(webpki::Error::MaximumPathDepthExceeded)).into(),
                "certificate refused: maximum path depth exceeded",
            ),
            (CertificateError::Expired.into(), "certificate refused: expired"),
            (CertificateError::BadSignature.into(), "certificate refused: bad signature"),
            (
                PeerIncompatible::NoCipherSuitesInCommon.into(),
                "peer is incompatible: no cipher suites in common",
            ),
            (
                Error::AlertReceived(AlertDescription::ProtocolVersion),
                "peer sent the alert protocol version",
            ),
        ] {
            assert_eq!(reason(&error), words);
        }
    }
}
