//! Where a request comes from and goes to: host and port of absolute URLs, cut out as Envoy does.
//!
//! What is no URL stays as it is, on both sides: it equals only itself.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{ORIGIN, REFERER};

use crate::codec::RequestHead;
use crate::route::joined;

/// Where a request comes from: host and port of `origin`, else of `referer`; empty where neither
/// says it. An opaque origin (`null`, RFC 6454 7.1) says nothing, and `referer` is not asked.
pub(super) fn source(headers: &HeaderMap) -> Cow<'_, [u8]> {
    let origin = joined(headers, &ORIGIN).filter(|origin| !origin.is_empty());
    match origin {
        Some(origin) if *origin == *b"null" => Cow::Borrowed(b""),
        Some(origin) => host_and_port(origin),
        None => joined(headers, &REFERER).map(host_and_port).unwrap_or_default(),
    }
}

/// Where it goes to: host and port of the URL that it asks for.
pub(super) fn target(head: &RequestHead) -> Cow<'_, [u8]> {
    let Some(authority) = &head.authority else { return Cow::Borrowed(b"") };
    let authority = authority.as_bytes();
    match host_of(authority) {
        Some(host) => Cow::Borrowed(host),
        None => {
            let scheme = head.scheme.as_ref().map_or(&b"http"[..], |scheme| scheme.as_bytes());
            Cow::Owned([scheme, b"://", authority].concat())
        }
    }
}

fn host_and_port(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(host_of_url(text).unwrap_or(text)),
        Cow::Owned(text) => match host_of_url(&text) {
            Some(host) => Cow::Owned(host.to_vec()),
            None => Cow::Owned(text),
        },
    }
}

/// Host and port of an absolute URL; `None` if it is none.
fn host_of_url(url: &[u8]) -> Option<&[u8]> {
    let colon = url.iter().position(|byte| *byte == b':')?;
    let (scheme, rest) = (&url[..colon], url[colon..].strip_prefix(b"://")?);
    let of_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    if !scheme.first()?.is_ascii_alphabetic() || !scheme.iter().all(of_scheme) {
        return None;
    }
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if path.iter().all(u8::is_ascii_graphic) { host_of(authority) } else { None }
}

/// The host and the port of an authority, without who asks.
fn host_of(authority: &[u8]) -> Option<&[u8]> {
    let at = authority.iter().position(|byte| *byte == b'@');
    let (who, place) =
        at.map_or((&b""[..], authority), |at| (&authority[..at], &authority[at + 1..]));
    let of_who = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()%;:&=+$,".contains(byte);
    if !who.iter().all(of_who) {
        return None;
    }
    let length = match place.strip_prefix(b"[") {
        Some(inside) => {
            let close = inside.iter().position(|byte| *byte == b']').filter(|close| *close > 0)?;
            let of_v6 = |byte: &u8| byte.is_ascii_hexdigit() || b":.".contains(byte);
            inside[..close].iter().all(of_v6).then_some(close + 2)?
        }
        None => {
            let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-.".contains(byte);
            let end = place.iter().position(|byte| !of_name(byte)).unwrap_or(place.len());
            Some(end).filter(|end| *end > 0)?
        }
    };
    match place[length..].split_first() {
        None => Some(place),
        Some((b':', port)) if is_port(port) => Some(place),
        Some(_) => None,
    }
}

fn is_port(text: &[u8]) -> bool {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u64>().ok());
    text.iter().all(u8::is_ascii_digit) && number.is_some_and(|port| port <= 65_535)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each was seen at Envoy 1.40.
    #[test]
    fn a_url_is_cut_to_host_and_port_as_envoy_does() {
        for (url, host) in [
            ("http://e.com", "e.com"),
            ("HTTP://E.com", "E.com"),
            ("http://e.com/#f", "e.com"),
            ("http://e.com/?#f", "e.com"),
            ("http://@e.com", "e.com"),
            ("http://u@e.com:80", "e.com:80"),
            ("http://u:p@e.com", "e.com"),
            ("http://[::1]:80", "[::1]:80"),
            ("http://u@[::1]:80/", "[::1]:80"),
            ("c+s.d-1://e.com", "e.com"),
            ("http://e.com/%zz", "e.com"),
            ("http://e.com?a@b", "e.com"),
            ("http://u/p@e.com", "u"),
            ("http://e.com:080", "e.com:080"),
        ] {
            assert_eq!(host_of_url(url.as_bytes()), Some(host.as_bytes()), "{url}");
        }
    }

    /// Each was seen at Envoy 1.40.
    #[test]
    fn what_is_no_url_is_not_cut() {
        for text in [
            "http://e.com#f",
            "http://e.com:80#f",
            "http://e.com/ x",
            "http://e.com/\tx",
            "http://e.com?a b",
            "http://a@b@e.com",
            "http://e.com:",
            "http://e.com:8x",
            "http://e.com:80:80",
            "http://e.com:99999/",
            "http://e.com,x",
            "http://e.com;x",
            "http://e com",
            "http://e.com\\x",
            "http://:80",
            "http://",
            "http:///p",
            "http://[::1",
            "http://[::1]x",
            "http://[zz]",
            "http://[]",
            "http://::1",
            "1http://e.com",
            "+h://e.com",
            "://e.com",
            "//e.com",
            "/e.com",
            "e.com",
            "e.com:80",
            "u@e.com",
            "e.com?x=http://f.com",
            "http:e.com",
            "http:/e.com",
            "http://e_com",
            "http://%65.com",
            "http://e.com\"",
            "http://{e}",
            "http://u p@e.com",
            "http://u\"@e.com",
            "http://u#@e.com",
            "a b://e.com",
            "*",
            "",
        ] {
            assert_eq!(host_of_url(text.as_bytes()), None, "{text}");
        }
    }

    proptest::proptest! {
        /// What is cut out stands in the URL, and is cut out of itself again.
        #[test]
        fn a_host_is_a_part_of_its_url(url in "[a-z]{0,4}:?/{0,2}[a-z0-9@:.\\[\\]/?#% _-]{0,12}") {
            if let Some(host) = host_of_url(url.as_bytes()) {
                let host = std::str::from_utf8(host).unwrap();
                proptest::prop_assert!(!host.is_empty() && url.contains(host));
                proptest::prop_assert_eq!(host_of(host.as_bytes()), Some(host.as_bytes()));
            }
        }
    }

    #[test]
    fn a_port_is_a_number_and_nothing_more() {
        assert!(is_port(b"0") && is_port(b"65535") && is_port(b"00080"));
        assert!(!is_port(b"") && !is_port(b"65536") && !is_port(b"+80") && !is_port(b"8 "));
    }
}
