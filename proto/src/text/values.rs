//! Scalars of a document as values of a field's type.

use super::encode::Encoder;
use super::record::Encoded;
use super::scalar::{self, BadNumber};
use super::suggest::suggest;
use super::tree::{Data, Node};
use crate::schema::{Enum, Kind, schema};
use crate::wire::zigzag;

impl Encoder<'_> {
    /// The value of a scalar field; `None` after an error, or for an enum value that is allowed
    /// to be unknown.
    pub(super) fn scalar(&mut self, kind: Kind, node: &Node) -> Option<Encoded> {
        match kind {
            Kind::Double => Some(Encoded::Fixed64(self.float(node)?.to_bits())),
            // Rounds as protobuf does.
            Kind::Float => Some(Encoded::Fixed32((self.float(node)? as f32).to_bits())),
            Kind::Bool => self.boolean(node),
            Kind::String => self.string(node),
            Kind::Bytes => self.bytes(node),
            Kind::Enum(at) => self.enumeration(&schema().enums[at], node),
            Kind::Message(_) => None,
            _ => self.integer(kind, node),
        }
    }

    fn integer(&mut self, kind: Kind, node: &Node) -> Option<Encoded> {
        let (low, high) = match kind {
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => (i32::MIN.into(), i32::MAX.into()),
            Kind::Uint32 | Kind::Fixed32 => (0, u32::MAX.into()),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => (i64::MIN.into(), i64::MAX.into()),
            _ => (0, i128::from(u64::MAX)),
        };
        let text = match &node.data {
            Data::Number(text) | Data::Text(text) => text,
            other => {
                self.error(node.place, &format!("expected a whole number, got {}", other.kind()));
                return None;
            }
        };
        let value = match scalar::whole_number(text, low, high) {
            Ok(value) => value,
            Err(bad) => {
                let text = match bad {
                    BadNumber::NotANumber => format!("'{text}' is not a whole number"),
                    BadNumber::Fraction => format!("{text} is not whole"),
                    BadNumber::OutOfRange => format!("{text} is not in {low}–{high}"),
                };
                self.error(node.place, &text);
                return None;
            }
        };
        // The range was checked; two's complement keeps the sign on the wire.
        Some(match kind {
            Kind::Sint32 | Kind::Sint64 => Encoded::Varint(zigzag(value as i64)),
            Kind::Fixed32 | Kind::Sfixed32 => Encoded::Fixed32(value as u32),
            Kind::Fixed64 | Kind::Sfixed64 => Encoded::Fixed64(value as u64),
            _ => Encoded::Varint(value as u64),
        })
    }

    fn float(&mut self, node: &Node) -> Option<f64> {
        let text = match &node.data {
            Data::Number(text) | Data::Text(text) => text,
            other => {
                self.error(node.place, &format!("expected a number, got {}", other.kind()));
                return None;
            }
        };
        let value = scalar::float(text);
        if value.is_none() {
            self.error(node.place, &format!("'{text}' is not a number"));
        }
        value
    }

    fn boolean(&mut self, node: &Node) -> Option<Encoded> {
        let value = match &node.data {
            Data::Bool(value) => Some(*value),
            Data::Text(text) => scalar::quoted_boolean(text),
            _ => None,
        };
        if value.is_none() {
            let got = shown(node);
            self.error(node.place, &format!("expected true or false, got {got}"));
        }
        value.map(|value| Encoded::Varint(value.into()))
    }

    fn string(&mut self, node: &Node) -> Option<Encoded> {
        let text = match &node.data {
            Data::Text(text) => return Some(Encoded::Bytes(text.clone().into_bytes())),
            Data::Number(text) => format!("expected a text, got the number {text}; quote it"),
            // The word is not known any more: `y`, `on` and `True` all mean true.
            Data::Bool(value) => {
                format!("expected a text, got a word that means {value}; quote it")
            }
            other => format!("expected a text, got {}", other.kind()),
        };
        self.error(node.place, &text);
        None
    }

    fn bytes(&mut self, node: &Node) -> Option<Encoded> {
        let value = match &node.data {
            Data::Text(text) => scalar::base64(text),
            _ => None,
        };
        if value.is_none() {
            self.error(node.place, "expected bytes in base64");
        }
        value.map(Encoded::Bytes)
    }

    fn enumeration(&mut self, of: &Enum, node: &Node) -> Option<Encoded> {
        let number = match &node.data {
            Data::Text(text) => of.number_of(text).or_else(|| text.parse().ok()),
            Data::Number(text) => {
                let (low, high) = (i32::MIN.into(), i32::MAX.into());
                let number = scalar::whole_number(text, low, high).ok();
                number.and_then(|number| i32::try_from(number).ok())
            }
            Data::Null => Some(0),
            other => {
                self.error(node.place, &format!("expected a name, got {}", other.kind()));
                return None;
            }
        };
        if number.is_none() {
            let names: Vec<&str> = of.values.iter().map(|value| value.name).collect();
            let wrong = shown(node);
            let suggestion = match &node.data {
                Data::Text(text) => suggest(text, names.iter().copied()),
                _ => None,
            };
            let text = format!("unknown value {wrong}; must be one of {}", names.join(", "));
            self.unknown(node.place, &text, suggestion);
        }
        // Negative numbers are sign-extended.
        number.map(|number| Encoded::Varint(i64::from(number).cast_unsigned()))
    }
}

/// A value as the user wrote it, as far as that is known.
pub(super) fn shown(node: &Node) -> String {
    match &node.data {
        Data::Text(text) => format!("'{text}'"),
        Data::Number(text) => text.clone(),
        other => other.kind().to_owned(),
    }
}
