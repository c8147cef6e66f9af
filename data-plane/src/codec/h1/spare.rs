//! What the heads of a worker's messages leave behind for the next ones: header maps with their
//! memory, and the names that were read.
//!
//! A map of a dozen fields is larger than what the system's allocator keeps at hand for a thread,
//! so that making and freeing two of them cost each request more than reading its head. Names are
//! the same few for all messages of a worker: one that was read before, in the same letters, is
//! compared and copied instead of checked, put into lower case and looked up letter by letter.
//! What is kept is bounded, whatever peers send.

use std::cell::{Cell, RefCell};

use http::{HeaderMap, HeaderName};

use super::fields::{Special, special};
use crate::codec::ProtocolError;

/// Maps that are kept.
const MAPS: usize = 64;
/// A map with more room than this is not kept; nearly all heads need less.
const MAP_ROOM: usize = 48;
/// A kept map has no more second lines of one name than this behind it.
const MAP_EXTRA: usize = 8;
/// Fields of a map that is new, with what a proxy is likely to add.
const MAP_NEW: usize = 12;
/// Names that are known at once; a power of two.
const NAMES: usize = 128;
/// Longest name that is remembered.
const NAME_MAX: usize = 38;

/// Where a field lies in a head.
pub(super) struct Span {
    pub kind: Option<Special>,
    pub name: HeaderName,
    pub value: (usize, usize),
}

pub(super) type Spans = Vec<Span>;

/// A worker's spare parts of heads.
#[derive(Default)]
pub struct SpareHeads {
    maps: RefCell<Vec<HeaderMap>>,
    spans: Cell<Spans>,
    names: RefCell<Names>,
}

impl std::fmt::Debug for SpareHeads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpareHeads").finish_non_exhaustive()
    }
}

impl SpareHeads {
    /// An empty map with room for a usual head.
    #[must_use]
    pub fn take_map(&self) -> HeaderMap {
        let spare = self.maps.borrow_mut().pop();
        spare.unwrap_or_else(|| HeaderMap::with_capacity(MAP_NEW))
    }

    /// Takes a map back.
    pub fn give_map(&self, mut map: HeaderMap) {
        let usual = (1..=MAP_ROOM).contains(&map.capacity());
        if !usual || map.len() > map.keys_len() + MAP_EXTRA {
            return;
        }
        map.clear();
        let mut maps = self.maps.borrow_mut();
        if maps.len() < MAPS {
            maps.push(map);
        }
    }

    /// An empty list.
    pub(super) fn take_spans(&self) -> Spans {
        self.spans.take()
    }

    /// Takes a list back.
    pub(super) fn give_spans(&self, spans: Spans) {
        if spans.is_empty() {
            self.spans.set(spans);
        }
    }

    /// The name that these bytes are, and whether it has a meaning for this hop.
    ///
    /// # Errors
    /// No name at all.
    pub(super) fn name(&self, raw: &[u8]) -> Result<(HeaderName, Option<Special>), ProtocolError> {
        self.names.borrow_mut().name(raw)
    }
}

/// A name as it was written.
struct Known {
    raw: [u8; NAME_MAX],
    len: u8,
    kind: Option<Special>,
    name: HeaderName,
}

/// Names by a few of their letters; the last one read takes the place of another.
#[derive(Default)]
struct Names(Vec<Option<Known>>);

impl Names {
    fn name(&mut self, raw: &[u8]) -> Result<(HeaderName, Option<Special>), ProtocolError> {
        let place = place(raw);
        if let Some(Some(known)) = self.0.get(place)
            && known.raw.get(..usize::from(known.len)) == Some(raw)
        {
            return Ok((known.name.clone(), known.kind));
        }
        self.learn(raw, place)
    }

    #[cold]
    fn learn(
        &mut self,
        raw: &[u8],
        place: usize,
    ) -> Result<(HeaderName, Option<Special>), ProtocolError> {
        let name = HeaderName::from_bytes(raw).map_err(|_| ProtocolError::BadHeader)?;
        let kind = special(raw);
        if raw.len() <= NAME_MAX {
            if self.0.is_empty() {
                self.0.resize_with(NAMES, || None);
            }
            let mut known =
                Known { raw: [0; NAME_MAX], len: raw.len() as u8, kind, name: name.clone() };
            known.raw[..raw.len()].copy_from_slice(raw);
            self.0[place] = Some(known);
        }
        Ok((name, kind))
    }
}

/// Where a name is kept: its length and four of its letters tell the usual ones apart.
fn place(raw: &[u8]) -> usize {
    let len = raw.len();
    let [.., last] = raw else { return 0 };
    let letter = |at: usize| usize::from(raw[at]);
    let mixed = len * 7 + letter(0) + letter(len / 2) * 5 + letter(len / 3) * 11;
    (mixed + usize::from(*last) * 3) % NAMES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_whether_it_was_seen_or_not() {
        let spare = SpareHeads::default();
        let long = "x".repeat(NAME_MAX + 1);
        for raw in ["host", "Host", "HOST", "x-a", "X-A", "accept", "te", "x-b", &long] {
            for _ in 0..3 {
                let (name, kind) = spare.name(raw.as_bytes()).unwrap();
                assert_eq!(name.as_str(), raw.to_ascii_lowercase());
                assert_eq!(kind, special(raw.as_bytes()), "{raw}");
            }
        }
        for raw in [&b""[..], b"a b", b"\xff", b"a:"] {
            assert_eq!(spare.name(raw), Err(ProtocolError::BadHeader));
        }
    }

    #[test]
    fn names_in_one_place_are_told_apart() {
        let spare = SpareHeads::default();
        let names: Vec<String> = (0..2000).map(|n| format!("x-{n}-name")).collect();
        for name in names.iter().chain(names.iter().rev()) {
            assert_eq!(spare.name(name.as_bytes()).unwrap().0.as_str(), name);
        }
    }

    #[test]
    fn maps_come_back_empty_and_large_ones_not_at_all() {
        let spare = SpareHeads::default();
        let mut map = spare.take_map();
        map.insert("a", "b".parse().unwrap());
        let room = map.capacity();
        spare.give_map(map);
        let map = spare.take_map();
        assert_eq!((map.len(), map.capacity()), (0, room));
        spare.give_map(HeaderMap::with_capacity(MAP_ROOM * 2));
        spare.give_map(HeaderMap::new());
        let mut lines = HeaderMap::with_capacity(1);
        for _ in 0..MAP_EXTRA + 2 {
            lines.append("a", "b".parse().unwrap());
        }
        spare.give_map(lines);
        assert!(spare.maps.borrow().is_empty());
        for _ in 0..MAPS + 5 {
            spare.give_map(HeaderMap::with_capacity(4));
        }
        assert_eq!(spare.maps.borrow().len(), MAPS);
    }
}
