//! Which fields of Envoy's messages a caller supports, and which it accepts without effect.

use crate::schema::{Message, schema};

/// A row of a policy: full message name, supported fields, ignored fields.
pub type PolicyRow<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

/// A caller's table of supported and ignored fields, compiled to bits.
///
/// Every set field of a message that has no row is unsupported. Not judged at all are
/// `google.protobuf.*`, `envoy.service.discovery.v3.Resource` and `TypedStruct`.
#[derive(Debug, Default)]
pub struct Policy {
    /// By message index; `None` everywhere if everything is supported.
    rows: Option<Vec<Option<Row>>>,
    problems: Vec<String>,
}

#[derive(Clone, Debug)]
struct Row {
    supported: Box<[u64]>,
    ignored: Box<[u64]>,
}

/// What a policy says of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Support {
    Supported,
    Ignored,
    Unsupported,
}

impl Policy {
    /// Compiles a table. Rows of the same message add up; wrong names are kept for
    /// [`Self::check_table`] and have no other effect.
    #[must_use]
    pub fn new(table: &[PolicyRow<'_>]) -> Self {
        let mut rows = vec![None; schema().messages.len()];
        let mut problems = Vec::new();
        for (name, supported, ignored) in table {
            let Some(message) = schema().message(name) else {
                problems.push(format!("no message {name}"));
                continue;
            };
            let row: &mut Row = rows[message.index].get_or_insert_with(|| Row::empty(message));
            mark(message, supported, &mut row.supported, &mut problems);
            mark(message, ignored, &mut row.ignored, &mut problems);
            let both = row.supported.iter().zip(&row.ignored).any(|(a, b)| a & b != 0);
            if both {
                problems.push(format!("{name}: a field is both supported and ignored"));
            }
        }
        Self { rows: Some(rows), problems }
    }

    /// A policy that supports every field: only Envoy's own rules are checked.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// What is wrong with the table: unknown messages and fields, contradictions. For a test.
    #[must_use]
    pub fn check_table(&self) -> Vec<String> {
        self.problems.clone()
    }

    /// Whether the table has a row for that message.
    #[must_use]
    pub fn knows(&self, message: &str) -> bool {
        let Some(rows) = &self.rows else { return true };
        schema().message(message).is_some_and(|message| rows[message.index].is_some())
    }

    pub(super) fn support(&self, message: &Message, position: usize) -> Support {
        let Some(rows) = &self.rows else { return Support::Supported };
        let has = |bits: &[u64]| {
            bits.get(position / 64).is_some_and(|word| word & (1 << (position % 64)) != 0)
        };
        match rows.get(message.index).and_then(Option::as_ref) {
            _ if is_exempt(&message.name) => Support::Supported,
            Some(row) if has(&row.supported) => Support::Supported,
            Some(row) if has(&row.ignored) => Support::Ignored,
            _ => Support::Unsupported,
        }
    }
}

impl Row {
    fn empty(message: &Message) -> Self {
        let bits = vec![0; message.fields.len().div_ceil(64)].into_boxed_slice();
        Self { supported: bits.clone(), ignored: bits }
    }
}

fn mark(message: &Message, names: &[&str], bits: &mut [u64], problems: &mut Vec<String>) {
    for name in names {
        match message.fields.iter().position(|field| field.name == *name) {
            Some(position) => bits[position / 64] |= 1 << (position % 64),
            None => problems.push(format!("{} has no field {name}", message.name)),
        }
    }
}

/// Messages that only carry others.
fn is_exempt(name: &str) -> bool {
    name.starts_with("google.protobuf.")
        || name == "envoy.service.discovery.v3.Resource"
        || name == "xds.type.v3.TypedStruct"
        || name == "udpa.type.v1.TypedStruct"
}
