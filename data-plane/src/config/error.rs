//! What is wrong with a configuration: where, what was found, what it must be.
//!
//! A parser returns `Result<T, Problems>` and knows only its own field names; the segments of the
//! path are put in front on the way out with [`At::at`] and [`At::at_index`].

use std::borrow::Cow;
use std::fmt;

/// Most problems that one resource reports; the rest is counted in the text.
pub const PROBLEMS_MAX: usize = 8;

/// One step of a path into a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A field by its proto name.
    Field(Cow<'static, str>),
    /// An element of a repeated field.
    Index(usize),
    /// An entry of a map.
    Key(String),
}

/// A path such as `filter_chains[0].filters[1].typed_config.stat_prefix`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath {
    /// Innermost first, since segments are added on the way out.
    reversed: Vec<Segment>,
}

impl FieldPath {
    /// The segments from the outside in.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.reversed.iter().rev()
    }

    fn wrap(&mut self, segment: Segment) {
        self.reversed.push(segment);
    }

    /// A path from segments given from the outside in.
    pub fn from_outer(segments: impl IntoIterator<Item = Segment>) -> Self {
        let mut reversed: Vec<Segment> = segments.into_iter().collect();
        reversed.reverse();
        Self { reversed }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.segments().enumerate() {
            match segment {
                Segment::Field(name) if i == 0 => f.write_str(name)?,
                Segment::Field(name) => write!(f, ".{name}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

/// Why a value is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The value stands twice where it may stand once.
    Duplicate {
        /// The value that is repeated.
        value: String,
    },
    /// A value that breaks a rule.
    Invalid {
        /// The value, as a user would recognise it.
        got: String,
        /// The rule, readable after "must be".
        must: String,
    },
    /// A required field is absent.
    Missing,
    /// Envoy 1.40 knows the field, value or extension; this build does not do it.
    NotSupported {
        /// What it is, such as `field`, `HTTP filter envoy.filters.http.lua`.
        what: String,
    },
    /// A name that nothing in the same scope bears.
    Unknown {
        /// Kind of thing, such as `cluster`.
        kind: &'static str,
        /// The name that was not found.
        name: String,
    },
    /// Any other rule, as a whole sentence.
    Rule(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { value } => write!(f, "got {value} twice; must be unique"),
            Self::Invalid { got, must } => write!(f, "got {got}; must be {must}"),
            Self::Missing => f.write_str("got nothing; must be set"),
            Self::NotSupported { what } => {
                write!(f, "{what} is known to Envoy 1.40, not supported here")
            }
            Self::Unknown { kind, name } => write!(f, "unknown {kind} '{name}'"),
            Self::Rule(text) => f.write_str(text),
        }
    }
}

/// One refused value. Displays as `path: reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, from the resource's own root.
    pub path: FieldPath,
    /// Why.
    pub reason: Reason,
}

impl Problem {
    /// A problem of the value at hand; callers add where that value stands.
    #[must_use]
    pub fn here(reason: Reason) -> Self {
        Self { path: FieldPath::default(), reason }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.to_string();
        if path.is_empty() {
            return self.reason.fmt(f);
        }
        write!(f, "{path}: {}", self.reason)
    }
}

/// At least one problem; at most [`PROBLEMS_MAX`] are kept, the others are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    kept: Vec<Problem>,
    dropped: usize,
}

impl Problems {
    /// The problems kept, in the order in which they were found.
    #[must_use]
    pub fn all(&self) -> &[Problem] {
        &self.kept
    }

    /// Adds `other`'s problems to these.
    pub fn merge(&mut self, other: Self) {
        self.dropped += other.dropped;
        for problem in other.kept {
            if self.kept.len() < PROBLEMS_MAX {
                self.kept.push(problem);
            } else {
                self.dropped += 1;
            }
        }
    }

    fn wrap(&mut self, segment: &Segment) {
        for problem in &mut self.kept {
            problem.path.wrap(segment.clone());
        }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { kept: vec![problem], dropped: 0 }
    }
}

impl From<Reason> for Problems {
    fn from(reason: Reason) -> Self {
        Problem::here(reason).into()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.kept.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        match self.dropped {
            0 => Ok(()),
            n => write!(f, "; and {n} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// Puts a segment in front of every path of an error.
pub trait At: Sized {
    /// The value stood in field `name`.
    #[must_use]
    fn at(self, name: &'static str) -> Self;
    /// The value was element `index` of repeated field `name`.
    #[must_use]
    fn at_index(self, name: &'static str, index: usize) -> Self;
    /// The value stood under `key` in map field `name`.
    #[must_use]
    fn at_key(self, name: &'static str, key: &str) -> Self;
}

impl<T> At for Result<T, Problems> {
    fn at(self, name: &'static str) -> Self {
        self.map_err(|mut problems| {
            problems.wrap(&Segment::Field(Cow::Borrowed(name)));
            problems
        })
    }

    fn at_index(self, name: &'static str, index: usize) -> Self {
        self.map_err(|mut problems| {
            problems.wrap(&Segment::Index(index));
            problems.wrap(&Segment::Field(Cow::Borrowed(name)));
            problems
        })
    }

    fn at_key(self, name: &'static str, key: &str) -> Self {
        self.map_err(|mut problems| {
            problems.wrap(&Segment::Key(key.to_owned()));
            problems.wrap(&Segment::Field(Cow::Borrowed(name)));
            problems
        })
    }
}

/// Gathers the problems of several fields, so that a user sees them all at once.
#[derive(Debug, Default)]
pub struct Collector {
    problems: Option<Problems>,
}

impl Collector {
    /// Keeps the value, or its problems and nothing.
    pub fn keep<T>(&mut self, result: Result<T, Problems>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problems) => {
                self.add(problems);
                None
            }
        }
    }

    /// Adds problems.
    pub fn add(&mut self, problems: impl Into<Problems>) {
        let problems = problems.into();
        match &mut self.problems {
            None => self.problems = Some(problems),
            Some(all) => all.merge(problems),
        }
    }

    /// Whether nothing is wrong so far.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_none()
    }

    /// All that was gathered, as an error if there is any.
    ///
    /// # Errors
    /// The problems, if there are some.
    pub fn finish(self) -> Result<(), Problems> {
        self.problems.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_written_from_the_outside_in() {
        let inner: Result<(), Problems> =
            Err(Reason::Invalid { got: "0".into(), must: "at least 1".into() }.into());
        let outer = inner.at("stat_prefix").at_index("filters", 1).at("filter_chain");
        assert_eq!(
            outer.expect_err("an error stays one").to_string(),
            "filter_chain.filters[1].stat_prefix: got 0; must be at least 1"
        );
    }

    #[test]
    fn more_problems_than_the_limit_are_counted() {
        let mut all = Collector::default();
        for i in 0..PROBLEMS_MAX + 3 {
            let one: Result<(), Problems> = Err(Reason::Missing.into());
            all.keep(one.at_index("routes", i));
        }
        let text = all.finish().expect_err("problems were added").to_string();
        assert!(text.starts_with("routes[0]: got nothing; must be set; routes[1]"), "{text}");
        assert!(text.ends_with("; and 3 more"), "{text}");
    }
}
