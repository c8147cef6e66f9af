//! One encoding for equal messages, so that a hash of bytes is a hash of content (S9).
//!
//! Fields go in order of number, entries of maps in order of key, and what an `Any` of a known
//! type contains is treated alike. The meaning never changes: bytes that are not well formed, and
//! messages that set two members of one `oneof`, are left as they came.

use proto::prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

/// Messages inside each other that are looked into; deeper ones stay as they are.
const DEPTH_MAX: usize = 100;
const ANY: &str = "google.protobuf.Any";

/// The canonical bytes of a message; the same bytes where the type is unknown.
#[must_use]
pub fn canonical(pool: &DescriptorPool, type_url: &str, bytes: Vec<u8>) -> Vec<u8> {
    let name = type_url.rsplit('/').next().unwrap_or(type_url);
    match pool.get_message_by_name(name) {
        Some(message) => rewritten(pool, &message, &bytes, 0).unwrap_or(bytes),
        None => bytes,
    }
}

/// One field as it stands in the bytes.
struct Part {
    number: u32,
    /// Key of a map's entry, to sort by.
    key: Option<Vec<u8>>,
    bytes: Vec<u8>,
}

fn rewritten(
    pool: &DescriptorPool,
    message: &MessageDescriptor,
    bytes: &[u8],
    depth: usize,
) -> Option<Vec<u8>> {
    if depth > DEPTH_MAX {
        return None;
    }
    if message.full_name() == ANY {
        return any(pool, bytes, depth);
    }
    let mut parts: Vec<Part> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let before = rest;
        let (number, content) = next_field(&mut rest)?;
        let field = message.get_field(number);
        let raw = &before[..before.len() - rest.len()];
        let inner = content.zip(field.as_ref().and_then(message_of));
        let Some((content, inner)) = inner else {
            parts.push(Part { number, key: None, bytes: raw.to_vec() });
            continue;
        };
        let content = rewritten(pool, &inner, content, depth + 1)?;
        let key = inner.is_map_entry().then(|| entry_key(&content));
        let mut out = Vec::with_capacity(raw.len());
        put_varint(&mut out, u64::from(number) << 3 | 2);
        put_varint(&mut out, content.len() as u64);
        out.extend_from_slice(&content);
        parts.push(Part { number, key, bytes: out });
    }
    if sets_a_oneof_twice(message, &parts) {
        return None;
    }
    // Stable: elements of a list keep their order.
    parts.sort_by(|a, b| (a.number, &a.key).cmp(&(b.number, &b.key)));
    Some(parts.into_iter().flat_map(|part| part.bytes).collect())
}

fn any(pool: &DescriptorPool, bytes: &[u8], depth: usize) -> Option<Vec<u8>> {
    let (mut type_url, mut value) = (&[][..], &[][..]);
    let mut rest = bytes;
    while !rest.is_empty() {
        match next_field(&mut rest)? {
            (1, Some(content)) => type_url = content,
            (2, Some(content)) => value = content,
            _ => return None,
        }
    }
    let name = std::str::from_utf8(type_url).ok()?.rsplit('/').next()?;
    let inner = pool.get_message_by_name(name);
    let value = match inner {
        Some(message) => {
            rewritten(pool, &message, value, depth + 1).unwrap_or_else(|| value.to_vec())
        }
        None => value.to_vec(),
    };
    let mut out = Vec::with_capacity(bytes.len());
    for (number, content) in [(1, type_url), (2, value.as_slice())] {
        if !content.is_empty() {
            put_varint(&mut out, number << 3 | 2);
            put_varint(&mut out, content.len() as u64);
            out.extend_from_slice(content);
        }
    }
    Some(out)
}

fn message_of(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) => Some(message),
        _ => None,
    }
}

fn sets_a_oneof_twice(message: &MessageDescriptor, parts: &[Part]) -> bool {
    message.oneofs().any(|oneof| {
        let members = oneof.fields().filter(|f| parts.iter().any(|p| p.number == f.number()));
        members.count() > 1
    })
}

/// The encoded key of a map's entry; entries without one have the type's zero.
fn entry_key(entry: &[u8]) -> Vec<u8> {
    let mut rest = entry;
    while !rest.is_empty() {
        let before = rest;
        match next_field(&mut rest) {
            Some((1, content)) => {
                let raw = &before[..before.len() - rest.len()];
                return content.unwrap_or(raw).to_vec();
            }
            Some(_) => {}
            None => break,
        }
    }
    Vec::new()
}

/// Number of the next field, and its content if it is length-delimited.
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Option<&'a [u8]>)> {
    let tag = take_varint(rest)?;
    let number = u32::try_from(tag >> 3).ok()?;
    let content = match tag & 7 {
        0 => {
            take_varint(rest)?;
            None
        }
        1 => {
            *rest = rest.get(8..)?;
            None
        }
        2 => {
            let length = usize::try_from(take_varint(rest)?).ok()?;
            let (content, after) = rest.split_at_checked(length)?;
            *rest = after;
            Some(content)
        }
        5 => {
            *rest = rest.get(4..)?;
            None
        }
        _ => return None,
    };
    Some((number, content))
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::CLUSTER;
    use proto::envoy::config::cluster::v3::Cluster;
    use proto::envoy::config::core::v3::Metadata;
    use proto::google::protobuf::{Struct, Value, value::Kind as ValueKind};
    use proto::prost::Message as _;

    fn cluster(keys: &[&str]) -> Cluster {
        let value = || Value { kind: Some(ValueKind::StringValue("v".into())) };
        let fields = keys.iter().map(|key| ((*key).to_owned(), value())).collect();
        let filter_metadata = keys.iter().map(|key| ((*key).to_owned(), Struct::default()));
        let mut metadata =
            Metadata { filter_metadata: filter_metadata.collect(), ..Default::default() };
        metadata.filter_metadata.insert("gomesh".into(), Struct { fields });
        Cluster { name: "a".into(), metadata: Some(metadata), ..Default::default() }
    }

    #[test]
    fn s9_maps_are_sorted_at_all_depths() {
        let pool = proto::descriptors();
        let one = cluster(&["a", "b", "c", "d", "e", "f", "g"]);
        let two = cluster(&["g", "c", "e", "b", "d", "a", "f"]);
        let bytes: Vec<Vec<u8>> = (0..20)
            .flat_map(|_| [one.clone(), two.clone()])
            .map(|cluster| canonical(&pool, CLUSTER, cluster.encode_to_vec()))
            .collect();
        assert!(bytes.iter().all(|other| *other == bytes[0]));
        assert_eq!(Cluster::decode(bytes[0].as_slice()).unwrap(), one);
    }

    #[test]
    fn what_is_inside_an_any_is_sorted_too() {
        let pool = proto::descriptors();
        let url = "type.googleapis.com/google.protobuf.Any";
        let wrapped = |cluster: Cluster| proto::convert::pack(&cluster).encode_to_vec();
        let one = canonical(&pool, url, wrapped(cluster(&["a", "b", "c", "d", "e"])));
        for _ in 0..20 {
            let other = canonical(&pool, url, wrapped(cluster(&["e", "d", "c", "b", "a"])));
            assert_eq!(one, other);
        }
    }

    #[test]
    fn malformed_bytes_and_unknown_types_stay() {
        let pool = proto::descriptors();
        assert_eq!(canonical(&pool, CLUSTER, vec![0xff]), [0xff]);
        assert_eq!(canonical(&pool, CLUSTER, vec![0x0a, 0x05, 0x61]), [0x0a, 0x05, 0x61]);
        assert_eq!(canonical(&pool, "no.such.Type", vec![0x10, 1, 0x08, 1]), [0x10, 1, 0x08, 1]);
    }
}
