//! Where in the files each field of a message stood.

use std::collections::HashMap;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, showable};
use super::tree::Place;

/// From proto paths to places. A field inside an `Any` has the `Any`'s path in front of its own,
/// with nothing between, as in [`crate::rules::path_text`].
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<File>,
    places: HashMap<String, (usize, Place)>,
    /// Length of each list, by path.
    lists: HashMap<String, usize>,
}

#[derive(Clone, Debug)]
struct File {
    name: String,
    source: Arc<str>,
}

impl SourceMap {
    pub(super) fn new(file: &str, source: &str) -> Self {
        let files = vec![File { name: file.to_owned(), source: source.into() }];
        Self { files, ..Self::default() }
    }

    pub(super) fn set(&mut self, path: &str, place: Place) {
        self.places.entry(path.to_owned()).or_insert((0, place));
    }

    /// Counts one more item of the list at `path`; the answer is its index.
    pub(super) fn next_index(&mut self, path: &str) -> usize {
        let length = self.lists.entry(path.to_owned()).or_insert(0);
        *length += 1;
        *length - 1
    }

    /// Name of the (first) file.
    #[must_use]
    pub fn file(&self) -> &str {
        self.files.first().map_or("", |file| &file.name)
    }

    /// Line and column (from 1) of the field at `path`, or of what encloses it most closely.
    #[must_use]
    pub fn locate(&self, path: &str) -> Option<(u32, u32)> {
        self.find(path).map(|(_, place)| (place.line, place.column))
    }

    /// A remark on the field at `path`, with its place if that is known.
    #[must_use]
    pub fn diagnose(&self, path: &str, message: &str) -> Diagnostic {
        let (file, place) = self.find(path).unwrap_or_default();
        let file = self.files.get(file);
        let index = (place.line as usize).wrapping_sub(1);
        Diagnostic {
            file: file.map(|file| file.name.clone()).unwrap_or_default(),
            line: place.line,
            column: place.column,
            path: path.to_owned(),
            message: message.to_owned(),
            suggestion: None,
            source: file.and_then(|file| file.source.lines().nth(index).and_then(showable)),
        }
    }

    fn find(&self, path: &str) -> Option<(usize, Place)> {
        let mut path = path;
        loop {
            if let Some(found) = self.places.get(path) {
                return Some(*found);
            }
            path = parent(path)?;
        }
    }

    /// The places of a merged message: what `over` has wins, its list items come after ours.
    pub(super) fn merge(mut self, over: Self) -> Self {
        let shift = self.files.len();
        self.files.extend(over.files);
        let lists = self.lists.clone();
        let moved = |path: &str| shifted(path, &lists);
        for (path, (file, place)) in over.places {
            self.places.insert(moved(&path), (file + shift, place));
        }
        for (path, length) in over.lists {
            *self.lists.entry(moved(&path)).or_insert(0) += length;
        }
        self
    }
}

/// The path without its last step.
fn parent(path: &str) -> Option<&str> {
    if path.is_empty() {
        return None;
    }
    if let Some(inner) = path.strip_suffix("\"]") {
        // A key is written with its quotes escaped, so `["` opens it.
        return Some(inner.rfind("[\"").map_or("", |at| &path[..at]));
    }
    Some(path.rfind(['.', '[']).map_or("", |at| &path[..at]))
}

/// The path with its first list index moved behind the items that are already there.
fn shifted(path: &str, lists: &HashMap<String, usize>) -> String {
    for (at, _) in path.match_indices('[') {
        let rest = &path[at + 1..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (Ok(index), Some(there)) = (rest[..digits].parse::<usize>(), lists.get(&path[..at]))
        else {
            continue;
        };
        return format!("{}[{}{}", &path[..at], index + there, &rest[digits..]);
    }
    path.to_owned()
}
