//! The path of a request, made canonical before anything judges or forwards it.
//!
//! One value comes out, and routing, filters, logs and the upstream all see that one: paths that
//! differ between the judge and the receiver are how access rules are evaded. The query never
//! changes. The rules are those of Envoy's connection manager: escaped slashes first, then RFC 3986
//! normalization, then double slashes. Work is linear in the path.

use std::borrow::Cow;

use crate::config::http_manager::{EscapedSlashes, NormalizationConfig};

#[cfg(test)]
mod tests;

/// What becomes of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sanitized<'p> {
    /// Go on with this path.
    Forward(Cow<'p, [u8]>),
    /// Answer 307 with this path as `location` (`UNESCAPE_AND_REDIRECT`).
    Redirect(Vec<u8>),
    /// Answer 400 (`path_normalization_failed`).
    Reject,
}

/// Makes a path canonical. `path` begins with `/` and has no fragment ([`fragment`]).
#[must_use]
pub fn sanitize<'p>(path: &'p [u8], handling: &NormalizationConfig) -> Sanitized<'p> {
    let mut out = Cow::Borrowed(path);
    let mut redirect = false;
    if handling.escaped_slashes != EscapedSlashes::KeepUnchanged
        && let Some(unescaped) = unescape_slashes(&out)
    {
        if handling.escaped_slashes == EscapedSlashes::RejectRequest {
            return Sanitized::Reject;
        }
        redirect = handling.escaped_slashes == EscapedSlashes::UnescapeAndRedirect;
        out = Cow::Owned(unescaped);
    }
    if handling.normalize_path {
        match normalize(&out) {
            None => return Sanitized::Reject,
            Some(normal) if normal == *out => {}
            Some(normal) => out = Cow::Owned(normal),
        }
    }
    if handling.merge_slashes
        && let Some(merged) = merge_slashes(&out)
    {
        out = Cow::Owned(merged);
    }
    if redirect { Sanitized::Redirect(out.into_owned()) } else { Sanitized::Forward(out) }
}

/// Where the fragment of a path begins. Envoy refuses such a request with 400, or cuts the
/// fragment off where the runtime says so.
#[must_use]
pub fn fragment(path: &[u8]) -> Option<usize> {
    path.iter().position(|&b| b == b'#')
}

/// `%2F` → `/` and `%5C` → `\` before the query; `None` if there is none.
fn unescape_slashes(path: &[u8]) -> Option<Vec<u8>> {
    let (before, query) = split_query(path);
    let mut out = Vec::with_capacity(path.len());
    let mut rest = before;
    while let Some((&byte, after)) = rest.split_first() {
        let slash = match rest.get(..3).filter(|_| byte == b'%') {
            Some(b"%2f" | b"%2F") => Some(b'/'),
            Some(b"%5c" | b"%5C") => Some(b'\\'),
            _ => None,
        };
        out.push(slash.unwrap_or(byte));
        rest = if slash.is_some() { &rest[3..] } else { after };
    }
    let found = out.len() < before.len();
    out.extend_from_slice(query);
    found.then_some(out)
}

fn split_query(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().position(|&b| b == b'?').unwrap_or(path.len()))
}

/// Runs of `/` before the query become one; `None` if there is no run. A path of slashes alone
/// keeps two, the first and the last, as in Envoy.
fn merge_slashes(path: &[u8]) -> Option<Vec<u8>> {
    let (before, query) = split_query(path);
    if !before.windows(2).any(|pair| pair == b"//") {
        return None;
    }
    if before.iter().all(|&b| b == b'/') {
        return Some([b"//", query].concat());
    }
    let mut out = Vec::with_capacity(path.len());
    for &byte in before {
        if byte != b'/' || out.last() != Some(&b'/') {
            out.push(byte);
        }
    }
    out.extend_from_slice(query);
    Some(out)
}

/// RFC 3986 §6.2.2 as browsers do it: dot segments go (also `%2e`), `\` is `/`, escaped unreserved
/// bytes are unescaped, bytes that may not stand there are escaped. `None`: not to be had, as with
/// an escaped or bare NUL.
fn normalize(path: &[u8]) -> Option<Vec<u8>> {
    let (mut rest, query) = split_query(path);
    let mut out = Vec::with_capacity(path.len() + 1);
    if !matches!(rest.first(), Some(b'/' | b'\\')) {
        out.push(b'/');
    }
    while let Some(&byte) = rest.first() {
        if out.last() == Some(&b'/')
            && let Some((dots, after)) = dot_segment(rest)
        {
            rest = after;
            if dots == Dots::Parent {
                pop_segment(&mut out);
            }
            continue;
        }
        let used = push_normal(&mut out, byte, rest)?;
        rest = &rest[used..];
    }
    out.extend_from_slice(query);
    Some(out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dots {
    Current,
    Parent,
}

/// A segment `.` or `..` at the start of `rest`, in any spelling, and what follows its slash. Path
/// parameters behind plain dots do not save it (`/..;x/`), since some origins ignore them; behind
/// escaped dots they do, as in Envoy.
fn dot_segment(rest: &[u8]) -> Option<(Dots, &[u8])> {
    let first = dot(rest)?;
    let (dots, mut after) = match dot(first) {
        Some(second) => (Dots::Parent, second),
        None => (Dots::Current, first),
    };
    let plain = !rest[..rest.len() - after.len()].contains(&b'%');
    if plain && after.first() == Some(&b';') {
        let end = after.iter().position(|&b| b == b'/').unwrap_or(after.len());
        after = &after[end..];
    }
    match after.first() {
        None => Some((dots, after)),
        Some(b'/' | b'\\') => Some((dots, &after[1..])),
        Some(_) => None,
    }
}

fn dot(rest: &[u8]) -> Option<&[u8]> {
    let escaped = rest.strip_prefix(b"%2e").or_else(|| rest.strip_prefix(b"%2E"));
    rest.strip_prefix(b".").or(escaped)
}

/// `/a/b/` → `/a/`; the root stays.
fn pop_segment(out: &mut Vec<u8>) {
    let inner = out.len().saturating_sub(1);
    let slash = out[..inner].iter().rposition(|&b| b == b'/');
    out.truncate(slash.map_or(out.len(), |at| at + 1));
}

/// Writes the character that begins with `byte`; says how many bytes it took.
fn push_normal(out: &mut Vec<u8>, byte: u8, rest: &[u8]) -> Option<usize> {
    match byte {
        b'\\' => out.push(b'/'),
        b'%' => return push_escape(out, rest),
        0 => return None,
        b'!' | b'$'..=b';' | b'=' | b'@'..=b'Z' | b'[' | b']' | b'_' | b'a'..=b'z' | b'~' => {
            out.push(byte);
        }
        0x80.. => return Some(push_unicode(out, rest)),
        _ => escape(out, byte),
    }
    Some(1)
}

fn push_escape(out: &mut Vec<u8>, rest: &[u8]) -> Option<usize> {
    let hex = |at: usize| rest.get(at).and_then(|&b| char::from(b).to_digit(16));
    let (Some(high), Some(low)) = (hex(1), hex(2)) else {
        out.push(b'%');
        return Some(1);
    };
    match u8::try_from(high * 16 + low).unwrap_or_default() {
        0 => return None,
        plain @ (b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'_' | b'a'..=b'z' | b'~') => {
            out.push(plain);
        }
        _ => out.extend_from_slice(&rest[..3]),
    }
    Some(3)
}

/// UTF-8 is escaped byte by byte; what is none becomes U+FFFD.
fn push_unicode(out: &mut Vec<u8>, rest: &[u8]) -> usize {
    let chunk = rest.get(..4).unwrap_or(rest).utf8_chunks().next();
    let valid = chunk.as_ref().and_then(|chunk| chunk.valid().chars().next());
    let used = match (valid, &chunk) {
        (Some(c), _) => c.len_utf8(),
        (None, Some(chunk)) => chunk.invalid().len().max(1),
        (None, None) => 1,
    };
    let mut buffer = [0; 4];
    let c = valid.unwrap_or(char::REPLACEMENT_CHARACTER);
    for &byte in c.encode_utf8(&mut buffer).as_bytes() {
        escape(out, byte);
    }
    used
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}
