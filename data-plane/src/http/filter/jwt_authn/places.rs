//! Where tokens stand in a request: found, and taken out.

use http::HeaderName;

use super::config::{Places, Provider};
use crate::codec::RequestHead;
use crate::route::{cookie, joined, query_parameter, without_query_parameter};

/// A token and where it was found.
pub(super) struct Found {
    pub(super) text: String,
    pub(super) place: Place,
    /// Whose tokens may stand there; an empty name is anyone's.
    pub(super) issuers: Vec<Box<str>>,
}

/// A place of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Header(String, Box<str>),
    Param(Box<str>),
    Cookie(Box<str>),
}

impl Place {
    /// Headers, parameters, cookies; among headers the name and what stands before a token count as
    /// one text, as in Envoy.
    fn rank(&self) -> (u8, String) {
        match self {
            Self::Header(name, prefix) => (0, format!("{name}{prefix}")),
            Self::Param(name) => (1, name.to_string()),
            Self::Cookie(name) => (2, name.to_string()),
        }
    }
}

/// The tokens of providers, in the order of the places.
pub(super) fn find(providers: &[&Provider], head: &RequestHead) -> Vec<Found> {
    let mut places: Vec<(Place, Vec<Box<str>>)> = Vec::new();
    for provider in providers {
        for place in places_of(&provider.places) {
            let issuer = provider.issuer.clone();
            match places.iter_mut().find(|(known, _)| *known == place) {
                Some((_, issuers)) => issuers.push(issuer),
                None => places.push((place, vec![issuer])),
            }
        }
    }
    places.sort_by_cached_key(|(place, _)| place.rank());
    let found = |(place, issuers): (Place, Vec<Box<str>>)| {
        let text = read(&place, head)?;
        Some(Found { text, place, issuers })
    };
    places.into_iter().filter_map(found).collect()
}

fn places_of(places: &Places) -> impl Iterator<Item = Place> {
    let header = |(name, prefix): &(HeaderName, Box<str>)| {
        Place::Header(name.as_str().to_owned(), prefix.clone())
    };
    let headers = places.headers.iter().map(header);
    let params = places.params.iter().cloned().map(Place::Param);
    headers.chain(params).chain(places.cookies.iter().cloned().map(Place::Cookie))
}

fn read(place: &Place, head: &RequestHead) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match place {
        Place::Header(name, prefix) => {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let value = text(&joined(&head.headers, &name)?);
            if prefix.is_empty() {
                return Some(value);
            }
            // As in Envoy the prefix may stand anywhere; from the first character of a token on
            // everything is the token.
            let (_, rest) = value.split_once(&**prefix)?;
            let of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            Some(rest.trim_start_matches(|c| !of_token(c)).to_owned())
        }
        Place::Param(name) => query_parameter(head.path.as_bytes(), name).map(|v| text(&v)),
        Place::Cookie(name) => cookie(&head.headers, name.as_bytes()).map(text),
    }
}

/// Takes a token out, so that the upstream does not see it. Cookies stay, as in Envoy.
pub(super) fn remove(place: &Place, head: &mut RequestHead) {
    match place {
        Place::Header(name, _) => {
            head.headers.remove(name.as_str());
        }
        Place::Param(name) => {
            if let Some(path) = without_query_parameter(head.path.as_bytes(), name)
                && let Ok(path) = http::HeaderValue::from_bytes(&path)
            {
                head.path = path;
            }
        }
        Place::Cookie(_) => {}
    }
}
