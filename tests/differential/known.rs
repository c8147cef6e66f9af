//! Differences that are known, with their reasons: `known.toml`, a section a family.
//!
//! A key is `case:aspect`, where `*` stands for all; the value is the reason. An entry that no case
//! needed fails, so that the list shrinks by itself.

use std::fs;

use tests::binaries;

/// A family's known differences.
pub(crate) struct Known {
    entries: Vec<Entry>,
    allow_unused: bool,
}

struct Entry {
    key: String,
    used: bool,
}

impl Known {
    /// Reads a family's section; comparing Envoy with itself needs none.
    pub(crate) fn of(family: &str, none: bool) -> Self {
        let file = binaries::root().join("tests/differential/known.toml");
        let text = fs::read_to_string(file).expect("known.toml is there");
        let text = if none { "" } else { text.as_str() };
        let mut section = "";
        let mut entries = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name;
                continue;
            }
            let (key, reason) = line.split_once('=').expect("known.toml: key = \"reason\"");
            let reason = reason.trim().trim_matches('"').trim();
            assert!(!reason.is_empty(), "known.toml: {key} has no reason");
            if section == family {
                let key = key.trim().trim_matches('"').to_owned();
                entries.push(Entry { key, used: false });
            }
        }
        Self { entries, allow_unused: none }
    }

    /// Whether a difference is known; marks the entry as needed.
    pub(crate) fn covers(&mut self, case: &str, aspect: &str) -> bool {
        let mut covered = false;
        for entry in &mut self.entries {
            let Some((of_case, of_aspect)) = entry.key.rsplit_once(':') else { continue };
            if (of_case == case || of_case == "*") && (of_aspect == aspect || of_aspect == "*") {
                entry.used = true;
                covered = true;
            }
        }
        covered
    }

    /// One line for each entry that nothing needed.
    pub(crate) fn unused(&self) -> Vec<String> {
        let unused = self.entries.iter().filter(|entry| !entry.used && !self.allow_unused);
        unused.map(|entry| format!("known.toml: {} is not needed", entry.key)).collect()
    }
}
