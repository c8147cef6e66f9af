//! The body of a request that may have to be said twice.

use bytes::{Bytes, BytesMut};

use crate::codec::BodyPart;

/// Data below this many bytes is copied together: a handle of its own costs more than that, and
/// holds the whole buffer that it was read into.
const SMALL: usize = 4096;

/// The request's body as it was sent, in parts.
#[derive(Debug, Default)]
pub(super) struct Kept {
    parts: Vec<BodyPart>,
    /// Small data that came after `parts`.
    tail: BytesMut,
    /// Bytes of data in both.
    bytes: u64,
}

impl Kept {
    /// Bytes of data that are kept.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a part. Large data shares its bytes with the part.
    pub(super) fn add(&mut self, part: &BodyPart) {
        if let BodyPart::Data(data) = part {
            self.bytes += data.len() as u64;
            if data.len() < SMALL {
                self.tail.extend_from_slice(data);
                return;
            }
        }
        if !self.tail.is_empty() {
            self.parts.push(BodyPart::Data(self.tail.split().freeze()));
        }
        self.parts.push(part.clone());
    }

    /// All of it in order, with as few parts as there are.
    pub(super) fn parts(&self) -> impl Iterator<Item = BodyPart> {
        let tail =
            (!self.tail.is_empty()).then(|| BodyPart::Data(Bytes::copy_from_slice(&self.tail)));
        self.parts.iter().cloned().chain(tail)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn data(bytes: &[u8]) -> BodyPart {
        BodyPart::Data(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn small_data_becomes_one_part_and_the_order_stays() {
        let mut kept = Kept::default();
        let large = vec![b'x'; SMALL];
        for part in [data(b"a"), data(b"b"), data(&large), data(b"c"), data(b"d")] {
            kept.add(&part);
        }
        kept.add(&BodyPart::Trailers(HeaderMap::new()));
        let parts: Vec<_> = kept.parts().collect();
        assert_eq!(parts.len(), 4, "{parts:?}");
        let bytes: Vec<u8> = parts
            .iter()
            .flat_map(|part| match part {
                BodyPart::Data(data) => data.to_vec(),
                BodyPart::Trailers(_) => b"end".to_vec(),
            })
            .collect();
        assert_eq!(bytes, [b"ab", large.as_slice(), b"cdend"].concat());
        assert_eq!(kept.bytes(), 4 + SMALL as u64);
    }

    #[test]
    fn a_million_parts_of_a_byte_take_about_a_million_bytes() {
        let mut kept = Kept::default();
        for _ in 0..1_000_000 {
            kept.add(&data(b"x"));
        }
        assert!(kept.tail.capacity() <= 1 << 21, "{}", kept.tail.capacity());
        assert!(kept.parts.is_empty());
        assert_eq!(kept.parts().count(), 1);
    }
}
