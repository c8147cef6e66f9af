//! What the wire-level check of `proto::rules` means for a resource.
//!
//! Some findings refuse it at once. Others a parser can name better, such as an HTTP filter that
//! is not built: they count only if the parser accepts. The rest is noted.

use std::borrow::Cow;
use std::collections::BTreeSet;

use proto::rules::{Finding, FindingKind, PathStep};

use super::error::{Collector, FieldPath, Problem, Problems, Reason, Segment};
use super::resource::{Notes, ParseCx, UnknownFields};

/// Fields whose `Any`s a parser looks at one by one, unknown types included.
const PARSED_ANYS: [&str; 3] = ["http_filters", "typed_per_filter_config", "policies"];

/// What is left to say once nothing refuses the message at once.
#[derive(Debug, Default)]
pub struct Verdict {
    soft: Vec<Problem>,
    notes: Notes,
}

impl Verdict {
    /// The notes, after the parser accepted.
    ///
    /// # Errors
    /// What the parser should have refused.
    pub fn finish(self) -> Result<Notes, Problems> {
        let mut all = Collector::default();
        for problem in self.soft {
            all.add(problem);
        }
        all.finish().map(|()| self.notes)
    }
}

/// Checks the bytes of a message against Envoy's rules and the table of `cx`.
///
/// # Errors
/// Everything that refuses the message whatever a parser says.
pub fn check(type_url: &str, bytes: &[u8], cx: &ParseCx<'_>) -> Result<Verdict, Problems> {
    let findings = proto::rules::check(type_url, bytes, cx.policy);
    let closed: Vec<&[PathStep]> =
        findings.iter().filter(|f| closes(f)).map(|f| &*f.path).collect();
    let mut hard = Collector::default();
    let mut verdict = Verdict::default();
    let (mut ignored, mut deprecated) = (BTreeSet::new(), BTreeSet::new());
    for finding in &findings {
        match &finding.kind {
            FindingKind::Ignored { .. } | FindingKind::Unsupported { .. }
                if is_below(&finding.path, &closed) => {}
            FindingKind::Ignored { message, field } => {
                ignored.insert(format!("{message}.{field}"));
            }
            FindingKind::Unsupported { message, .. } if !cx.policy.knows(message) => {
                verdict.soft.push(problem(finding));
            }
            FindingKind::UnknownField { .. } if cx.unknown_fields == UnknownFields::Count => {
                verdict.notes.unknown_fields += 1;
            }
            FindingKind::UnknownType { .. } if is_parsed(&finding.path) => {}
            FindingKind::Deprecated { disallowed: false, field, value } => {
                deprecated.insert(match value {
                    Some(value) => format!("{field}={value}"),
                    None => field.clone(),
                });
            }
            _ => hard.add(problem(finding)),
        }
    }
    verdict.notes.ignored_fields = ignored.into_iter().collect();
    verdict.notes.deprecated_fields = deprecated.into_iter().collect();
    hard.finish().map(|()| verdict)
}

/// Whether nothing below such a finding is worth a word about support.
fn closes(finding: &Finding) -> bool {
    matches!(finding.kind, FindingKind::Ignored { .. } | FindingKind::Unsupported { .. })
}

fn is_below(path: &[PathStep], closed: &[&[PathStep]]) -> bool {
    closed.iter().any(|outer| outer.len() < path.len() && path.starts_with(outer))
}

fn is_parsed(path: &[PathStep]) -> bool {
    path.iter().any(|step| matches!(step, PathStep::Field(name) if PARSED_ANYS.contains(name)))
}

fn problem(finding: &Finding) -> Problem {
    let reason = match &finding.kind {
        FindingKind::Constraint { got, must } => {
            Reason::Invalid { got: got.clone(), must: must.clone() }
        }
        FindingKind::Unsupported { .. } => Reason::NotSupported { what: "the field".into() },
        other => Reason::Rule(other.to_string()),
    };
    Problem { path: FieldPath::from_outer(finding.path.iter().map(segment)), reason }
}

fn segment(step: &PathStep) -> Segment {
    match step {
        PathStep::Field(name) => Segment::Field(Cow::Borrowed(name)),
        PathStep::Index(index) => Segment::Index(*index),
        PathStep::Key(key) => Segment::Key(key.clone()),
    }
}
