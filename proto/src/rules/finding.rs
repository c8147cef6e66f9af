//! What [`super::check`] finds, and where.

use std::fmt::{self, Write};

/// One step into a message. An `Any` adds no step: its message's fields follow directly.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathStep {
    /// A field by its proto name.
    Field(&'static str),
    /// An element of a repeated field.
    Index(usize),
    /// An entry of a map.
    Key(String),
}

/// Writes steps as `static_resources.clusters[0].metadata["a"]`.
#[must_use]
pub fn path_text(steps: &[PathStep]) -> String {
    let mut text = String::new();
    for step in steps {
        // Writing to a string cannot fail.
        let _ = match step {
            PathStep::Field(name) if text.is_empty() => write!(text, "{name}"),
            PathStep::Field(name) => write!(text, ".{name}"),
            PathStep::Index(index) => write!(text, "[{index}]"),
            PathStep::Key(key) => write!(text, "[{key:?}]"),
        };
    }
    text
}

/// One thing worth saying about a message. Displays as `path: what`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where, from the root of the checked message.
    pub path: Vec<PathStep>,
    /// What.
    pub kind: FindingKind,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return self.kind.fmt(f);
        }
        write!(f, "{}: {}", path_text(&self.path), self.kind)
    }
}

/// What is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// A `validate.rules` constraint does not hold; Envoy refuses the message.
    Constraint {
        /// What stands there, as a user would recognise it.
        got: String,
        /// The rule, readable after "must be".
        must: String,
    },
    /// A field number that the descriptors do not know.
    UnknownField {
        /// The number.
        number: u32,
    },
    /// A set field that the policy lists neither as supported nor as ignored.
    Unsupported {
        /// Full name of the message.
        message: &'static str,
        /// Proto name of the field.
        field: &'static str,
    },
    /// A set field that the policy lists as ignored.
    Ignored {
        /// Full name of the message.
        message: &'static str,
        /// Proto name of the field.
        field: &'static str,
    },
    /// An `Any` whose type the descriptors do not know; its content was not looked at.
    UnknownType {
        /// As written in the `Any`.
        type_url: String,
    },
    /// A set field or an enum value that is on its way out.
    Deprecated {
        /// Full name of the field, as in Envoy's runtime key `envoy.deprecated_features:NAME`.
        field: String,
        /// Name of the enum value if that is what is deprecated.
        value: Option<&'static str>,
        /// Refused by Envoy unless runtime allows it (`disallowed_by_default`); else only warned.
        disallowed: bool,
    },
    /// The bytes are not an encoding of the message that stands here.
    Malformed,
    /// More messages inside each other than [`super::DEPTH_MAX`].
    TooDeep,
}

impl FindingKind {
    /// Whether it says something without objecting to it.
    #[must_use]
    pub fn is_note(&self) -> bool {
        matches!(self, Self::Ignored { .. } | Self::Deprecated { disallowed: false, .. })
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constraint { got, must } => write!(f, "got {got}; must be {must}"),
            Self::UnknownField { number } => write!(f, "unknown field number {number}"),
            Self::Unsupported { message, field } => {
                let short = message.rsplit('.').next().unwrap_or(message);
                write!(f, "field {short}.{field} is known to Envoy 1.40, not supported here")
            }
            Self::Ignored { message, field } => {
                let short = message.rsplit('.').next().unwrap_or(message);
                write!(f, "field {short}.{field} has no effect here")
            }
            Self::UnknownType { type_url } => write!(f, "unknown type {type_url:?}"),
            Self::Deprecated { field, value, disallowed } => {
                let verb = if *disallowed { "is no longer allowed" } else { "is deprecated" };
                match value {
                    Some(value) => write!(f, "value {value} of {field} {verb}"),
                    None => write!(f, "field {field} {verb}"),
                }
            }
            Self::Malformed => f.write_str("malformed protobuf bytes"),
            Self::TooDeep => f.write_str("messages nested too deeply"),
        }
    }
}
