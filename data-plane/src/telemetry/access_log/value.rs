//! A value of a format, and how it is written into text and into JSON.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use super::entry::Addr;
use super::time::TimeFormat;
use crate::telemetry::flags::ResponseFlags;

/// What an operator found. Numbers stay numbers in JSON, what is absent is `null`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Absent,
    Bytes(&'a [u8]),
    Number(u64),
    Time(SystemTime, &'a TimeFormat),
    Address(SocketAddr),
    Ip(SocketAddr),
    Flags(ResponseFlags),
    LongFlags(ResponseFlags),
}

impl<'a> Value<'a> {
    pub(crate) fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, |text| Self::Bytes(text.as_bytes()))
    }

    /// As [`Value::text`]; an empty text is absent.
    pub(crate) fn filled(text: Option<&'a str>) -> Self {
        Self::text(text.filter(|text| !text.is_empty()))
    }

    pub(crate) fn number(number: Option<u64>) -> Self {
        number.map_or(Self::Absent, Self::Number)
    }

    pub(crate) fn address(address: Option<Addr<'a>>) -> Self {
        match address {
            None => Self::Absent,
            Some(Addr::Ip(address)) => Self::Address(address),
            Some(Addr::Pipe(path)) => Self::Bytes(path.as_bytes()),
        }
    }

    pub(crate) fn without_port(address: Option<Addr<'a>>) -> Self {
        match address {
            Some(Addr::Ip(address)) => Self::Ip(address),
            other => Self::address(other),
        }
    }

    pub(crate) fn port(address: Option<Addr<'a>>) -> Self {
        match address {
            Some(Addr::Ip(address)) => Self::Number(u64::from(address.port())),
            _ => Self::Absent,
        }
    }

    pub(crate) const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Writes the bare text; nothing for an absent value.
    pub(crate) fn write_text(&self, out: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        let _ = match *self {
            Self::Absent => Ok(()),
            Self::Bytes(bytes) => out.write_all(bytes),
            Self::Number(number) => {
                write_number(out, number);
                Ok(())
            }
            Self::Time(time, format) => {
                format.write(time, out);
                Ok(())
            }
            Self::Address(SocketAddr::V4(address)) => {
                write_ipv4(out, *address.ip());
                out.push(b':');
                write_number(out, address.port().into());
                Ok(())
            }
            Self::Address(address) => write!(out, "{address}"),
            Self::Ip(SocketAddr::V4(address)) => {
                write_ipv4(out, *address.ip());
                Ok(())
            }
            Self::Ip(address) => write!(out, "{}", address.ip()),
            Self::Flags(flags) if flags.is_empty() => out.write_all(b"-"),
            Self::Flags(flags) => write!(out, "{flags}"),
            Self::LongFlags(flags) if flags.is_empty() => out.write_all(b"-"),
            Self::LongFlags(flags) => {
                for (at, name) in flags.long().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(name.as_bytes());
                }
                Ok(())
            }
        };
    }

    fn write_quoted(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        self.write_text(out);
        out.push(b'"');
    }

    /// Writes a JSON value.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Absent => out.extend_from_slice(b"null"),
            Self::Number(number) => write_number(out, number),
            Self::Bytes(bytes) => write_json_string(out, bytes),
            // Nothing in these needs an escape.
            Self::Address(_) | Self::Ip(_) | Self::Flags(_) | Self::LongFlags(_) => {
                self.write_quoted(out);
            }
            Self::Time(_, format) if format.is_plain() => self.write_quoted(out),
            Self::Time(time, format) => {
                let mut text = Vec::with_capacity(32);
                format.write(time, &mut text);
                write_json_string(out, &text);
            }
        }
    }
}

fn write_ipv4(out: &mut Vec<u8>, ip: Ipv4Addr) {
    for (at, octet) in ip.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        write_number(out, octet.into());
    }
}

pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Writes a string with its quotes. What is no UTF-8 is written byte by byte as `\u00XX`, with
/// every special character in that form, as Envoy does.
pub(crate) fn write_json_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let plain = |byte: &u8| (0x20..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\');
    if bytes.iter().all(plain) {
        out.extend_from_slice(bytes);
    } else if std::str::from_utf8(bytes).is_ok() {
        for &byte in bytes {
            write_escaped(out, byte);
        }
    } else {
        for byte in bytes {
            if plain(byte) {
                out.push(*byte);
            } else {
                write_hex(out, *byte);
            }
        }
    }
    out.push(b'"');
}

fn write_escaped(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        0..0x20 | 0x7f => write_hex(out, byte),
        _ => out.push(byte),
    }
}

fn write_hex(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\u00");
    out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}
