//! Which rows of the tree a reader wants.

use regex::Regex;

use super::table::Kind;

/// The stat types that `/stats?type=` can choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kinds {
    /// All of them.
    #[default]
    All,
    /// `Counters`.
    Counters,
    /// `Gauges`.
    Gauges,
    /// `Histograms`.
    Histograms,
    /// `TextReadouts`.
    TextReadouts,
}

impl Kinds {
    /// The value of `type=`, which Envoy matches to the letter.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "All" => Self::All,
            "Counters" => Self::Counters,
            "Gauges" => Self::Gauges,
            "Histograms" => Self::Histograms,
            "TextReadouts" => Self::TextReadouts,
            _ => return None,
        })
    }

    pub(super) fn admits(self, kind: Kind) -> bool {
        match self {
            Self::All => true,
            Self::Counters => matches!(kind, Kind::Counter | Kind::SharedCounter),
            Self::Gauges => matches!(kind, Kind::Gauge | Kind::SharedGauge),
            Self::Histograms => kind == Kind::Histogram,
            Self::TextReadouts => kind == Kind::Text,
        }
    }
}

/// Which rows to read. Expressions match anywhere in the raw dotted name.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only names that match.
    pub filter: Option<Regex>,
    /// Not those that match.
    pub invert: Option<Regex>,
    /// Only what was ever written; a gauge that was set to 0 was written.
    pub used_only: bool,
    /// Only stats of these types.
    pub kinds: Kinds,
}

impl Query {
    pub(super) fn wants(&self, name: &str, used: bool) -> bool {
        (used || !self.used_only)
            && self.filter.as_ref().is_none_or(|filter| filter.is_match(name))
            && self.invert.as_ref().is_none_or(|invert| !invert.is_match(name))
    }
}
