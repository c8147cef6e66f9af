//! The encoding of one message, gathered field by field.
//!
//! Fields come out by ascending number and map entries by key, whatever the order of the file,
//! so that the same configuration always has the same bytes.

use std::collections::BTreeMap;

use crate::wire::{put_bytes, put_key, put_varint};

/// A message in the making.
#[derive(Debug, Default)]
pub(super) struct Record {
    fields: Vec<(u32, Vec<u8>)>,
    maps: BTreeMap<(u32, Vec<u8>), Vec<u8>>,
}

/// One scalar, ready for the wire.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Encoded {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    Bytes(Vec<u8>),
}

impl Encoded {
    /// Whether it is proto3's default, which is not written for a field without presence.
    pub(super) fn is_default(&self) -> bool {
        match self {
            Self::Varint(bits) | Self::Fixed64(bits) => *bits == 0,
            Self::Fixed32(bits) => *bits == 0,
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }

    /// The whole field with its key.
    pub(super) fn field(&self, number: u32) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Varint(bits) => {
                put_key(&mut out, number, 0);
                put_varint(&mut out, *bits);
            }
            Self::Fixed32(bits) => {
                put_key(&mut out, number, 5);
                out.extend(bits.to_le_bytes());
            }
            Self::Fixed64(bits) => {
                put_key(&mut out, number, 1);
                out.extend(bits.to_le_bytes());
            }
            Self::Bytes(bytes) => put_bytes(&mut out, number, bytes),
        }
        out
    }

    /// The value without a key, as it stands in a packed field.
    fn packed(&self, out: &mut Vec<u8>) {
        match self {
            Self::Varint(bits) => put_varint(out, *bits),
            Self::Fixed32(bits) => out.extend(bits.to_le_bytes()),
            Self::Fixed64(bits) => out.extend(bits.to_le_bytes()),
            Self::Bytes(bytes) => out.extend(bytes),
        }
    }
}

impl Record {
    /// Sets a singular scalar: an earlier value of the field goes.
    pub(super) fn set(&mut self, number: u32, value: &Encoded) {
        self.clear(number);
        self.fields.push((number, value.field(number)));
    }

    /// Takes the values of a field away.
    pub(super) fn clear(&mut self, number: u32) {
        self.fields.retain(|(there, _)| *there != number);
    }

    /// Adds a message, bytes or text; a message that is there already is merged by readers.
    pub(super) fn push(&mut self, number: u32, value: &Encoded) {
        self.fields.push((number, value.field(number)));
    }

    /// Adds numbers of a repeated field, packed as proto3 does.
    pub(super) fn push_packed(&mut self, number: u32, values: &[Encoded]) {
        let mut packed = Vec::new();
        for value in values {
            value.packed(&mut packed);
        }
        if !packed.is_empty() {
            self.push(number, &Encoded::Bytes(packed));
        }
    }

    /// Adds a map entry; the same key again replaces it.
    pub(super) fn insert(&mut self, number: u32, key: &Encoded, value: Option<&Encoded>) {
        let key = key.field(1);
        let mut entry = key.clone();
        if let Some(value) = value {
            entry.extend(value.field(2));
        }
        self.maps.insert((number, key), entry);
    }

    /// The encoding.
    pub(super) fn finish(mut self) -> Vec<u8> {
        for ((number, _), entry) in self.maps {
            self.fields.push((number, Encoded::Bytes(entry).field(number)));
        }
        self.fields.sort_by_key(|(number, _)| *number);
        self.fields.into_iter().flat_map(|(_, bytes)| bytes).collect()
    }
}
