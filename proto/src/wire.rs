//! The protobuf wire format, read in place and written by hand.
//!
//! Used where a message is walked without knowing its Rust type. Reading borrows, never
//! allocates and never panics: malformed input ends as [`Malformed`].

/// The bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// One field's value as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
    /// Wire types 3 and 4, skipped: only unknown fields have it.
    Group,
}

impl Value<'_> {
    /// The number of a varint; 0 for anything else.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Varint(number) => number,
            _ => 0,
        }
    }
}

impl<'a> Value<'a> {
    /// The bytes of a length-delimited field; empty for anything else.
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// The text of a length-delimited field; empty if it is not UTF-8.
    pub(crate) fn text(self) -> &'a str {
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }
}

/// Most groups inside each other that are skipped.
const GROUPS_MAX: u32 = 32;

/// Reads the fields of one message, in order.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Result<(u32, Value<'a>), Malformed>> {
        (!self.rest.is_empty()).then(|| self.field(0))
    }

    fn field(&mut self, depth: u32) -> Result<(u32, Value<'a>), Malformed> {
        let (number, wire_type) = self.tag()?;
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed64()?),
            2 => Value::Bytes(self.delimited()?),
            3 => {
                self.skip_group(number, depth)?;
                Value::Group
            }
            5 => Value::Fixed32(self.fixed32()?),
            _ => return Err(Malformed),
        };
        Ok((number, value))
    }

    fn tag(&mut self) -> Result<(u32, u32), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let number = key >> 3;
        if number == 0 { Err(Malformed) } else { Ok((number, key & 7)) }
    }

    fn skip_group(&mut self, group: u32, depth: u32) -> Result<(), Malformed> {
        if depth >= GROUPS_MAX {
            return Err(Malformed);
        }
        loop {
            let mut ahead = self.clone();
            let (number, wire_type) = ahead.tag()?;
            if wire_type == 4 {
                *self = ahead;
                return if number == group { Ok(()) } else { Err(Malformed) };
            }
            self.field(depth + 1)?;
        }
    }

    /// A varint of at most ten bytes.
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in 0..10_u32 {
            let byte = *self.rest.first().ok_or(Malformed)?;
            self.rest = &self.rest[1..];
            if shift == 9 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    pub(crate) fn fixed32(&mut self) -> Result<u32, Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<4>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*head))
    }

    pub(crate) fn fixed64(&mut self) -> Result<u64, Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<8>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*head))
    }

    fn delimited(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(head)
    }
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field's key: `wire_type` is 0, 1, 2 or 5.
pub(crate) fn put_key(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

/// Appends a length-delimited field.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_key(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The number that zigzag encoding (sint32, sint64) hides in a varint.
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Zigzag encoding (sint32, sint64).
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_written() {
        let mut out = Vec::new();
        put_key(&mut out, 1, 0);
        put_varint(&mut out, u64::MAX);
        put_bytes(&mut out, 20, b"ab");
        let mut reader = Reader::new(&out);
        assert_eq!(reader.next(), Some(Ok((1, Value::Varint(u64::MAX)))));
        assert_eq!(reader.next(), Some(Ok((20, Value::Bytes(b"ab")))));
        assert_eq!(reader.next(), None);
    }

    #[test]
    fn what_is_cut_off_or_nonsense_is_malformed() {
        for bytes in [&[0x08][..], &[0x0a, 5, 1], &[0x00], &[0x0f, 1], &[0x0b], &[0x0b, 0x14]] {
            assert_eq!(Reader::new(bytes).next(), Some(Err(Malformed)), "{bytes:?}");
        }
        assert_eq!(Reader::new(&[0xff; 11]).varint(), Err(Malformed));
    }

    #[test]
    fn groups_are_skipped_to_their_own_end() {
        let mut reader = Reader::new(&[0x0b, 0x10, 1, 0x0c, 0x18, 7]);
        assert_eq!(reader.next(), Some(Ok((1, Value::Group))));
        assert_eq!(reader.next(), Some(Ok((3, Value::Varint(7)))));
    }

    #[test]
    fn zigzag_goes_both_ways() {
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
