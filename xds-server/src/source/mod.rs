//! Where resources come from: a folder of Envoy resources, or a mesh file.
//!
//! [`Source::load`] reads everything anew and either gives all that is to be served or says all
//! that is wrong; there is no half. Watching is [`watch`]'s business.

mod raw;
#[cfg(test)]
mod tests;
pub mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::check::{self, Problem};
use crate::intent::yaml::{self, Entry, Fault, Node, Value};
use crate::intent::{self, Object, Texts};
use crate::share::{Audience, Loaded, Share};
use crate::snapshot::Place;
use crate::support::Unsupported;
use crate::translate;

pub use raw::FILE_BYTES_MAX;

/// Where resources come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A mesh file.
    Mesh(PathBuf),
    /// What the API is given, alone.
    Objects,
    /// A folder of files in the form of Envoy's file subscriptions.
    Resources {
        /// The folder.
        folder: PathBuf,
        /// Whether nothing may be served.
        empty: Empty,
    },
}

/// What to make of a folder without a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// It is served: clients lose what they have.
    Allowed,
    /// It is taken for a mistake.
    Refused,
}

impl Source {
    /// Reads it all.
    ///
    /// # Errors
    /// Everything that is wrong; at least one problem.
    pub fn load(&self, unsupported: Unsupported) -> Result<Loaded, Vec<Problem>> {
        self.load_with(&[], unsupported)
    }

    /// Reads it all, with the objects that came by the API.
    ///
    /// # Errors
    /// Everything that is wrong; at least one problem.
    pub fn load_with(
        &self,
        objects: &[Object],
        unsupported: Unsupported,
    ) -> Result<Loaded, Vec<Problem>> {
        let mut loaded = match self {
            Self::Mesh(file) => load_mesh(file, root_of(file)?, objects)?,
            Self::Objects => load_mesh(Path::new("api"), no_file(), objects)?,
            Self::Resources { folder, empty } => load_folder(folder, *empty)?,
        };
        let findings = check::check(&loaded.resources());
        if !findings.problems.is_empty() {
            return Err(findings.problems);
        }
        let told = loaded.unsupported();
        if unsupported == Unsupported::Refused && !told.is_empty() {
            let refused = |text| Problem::new(None, format!("{text}; refused by --strict"));
            return Err(told.into_iter().map(refused).collect());
        }
        loaded.warnings.extend(findings.warnings);
        loaded.warnings.extend(told.into_iter().map(|text| Problem::new(None, text)));
        Ok(loaded)
    }

    /// What it consists of now, for watching.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let mut extent = Extent::default();
        match self {
            Self::Resources { folder, .. } => {
                extent.patterns = vec!["*.yaml".into(), "*.json".into()];
                extent.files = raw::files_in(folder, raw::is_resource_file).unwrap_or_default();
                extent.folders.push(folder.clone());
            }
            Self::Objects => {}
            Self::Mesh(file) => {
                extent.files.push(file.clone());
                for pattern in raw_of(file).unwrap_or_default() {
                    let path = beside(file, &pattern);
                    extent.files.extend(raw::matching(&path).unwrap_or_default());
                    extent.folders.extend(path.parent().map(Path::to_owned));
                    extent.patterns.extend(file_name(&path));
                }
            }
        }
        extent
    }
}

/// The files of a source, and where others may appear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Files that are read, whether they exist or not.
    pub files: Vec<PathBuf>,
    /// Folders in which files may appear.
    pub folders: Vec<PathBuf>,
    /// Names, with `*`, of those that count.
    pub patterns: Vec<String>,
}

impl Extent {
    /// Whether a file of that name would be read from one of the folders.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| raw::glob(pattern, name))
    }
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name().and_then(|name| name.to_str()).map(ToOwned::to_owned)
}

fn load_folder(folder: &Path, empty: Empty) -> Result<Loaded, Vec<Problem>> {
    let files = raw::files_in(folder, raw::is_resource_file)
        .map_err(|error| vec![raw::unreadable(folder, &error)])?;
    let (resources, warnings) = raw::read_all(&files)?;
    if resources.is_empty() && empty == Empty::Refused {
        let message = format!(
            "{}: no resource in any *.yaml or *.json; --allow-empty serves nothing on purpose",
            folder.display()
        );
        return Err(vec![Problem::new(None, message)]);
    }
    let shares = vec![Share { audience: Audience::Everyone, resources }];
    Ok(Loaded { shares, services: Default::default(), discovered: Vec::new(), warnings })
}

/// The values of a mesh file.
fn root_of(file: &Path) -> Result<Node, Vec<Problem>> {
    let bytes = raw::read_file(file).map_err(|problem| vec![problem])?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let message = format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to());
        let place = Place { file: Arc::new(file.to_owned()), line: 1, column: 0 };
        vec![Problem::new(Some(place), message)]
    })?;
    yaml::read(&text).map_err(|fault| placed(&Texts::new(file, []), vec![fault]))
}

/// The root of a mesh without a file.
fn no_file() -> Node {
    let mark = yaml::Mark::default();
    let version = Node { mark, value: Value::Scalar { text: "1".to_owned(), plain: true } };
    let version = Entry { key: "version".to_owned(), key_mark: mark, value: version };
    Node { mark, value: Value::Map(vec![version]) }
}

/// Files that the mesh file names, also where the rest of it lacks what the API has.
fn raw_of(file: &Path) -> Option<Vec<String>> {
    let root = root_of(file).ok()?;
    let Value::Map(top) = root.value else { return None };
    let raw = top.into_iter().find(|entry| entry.key == "raw")?.value;
    let Value::List(items) = raw.value else { return None };
    let files = |item: &Node| match &item.value {
        Value::Map(entries) => {
            let files = entries.iter().find(|entry| entry.key == "files")?;
            files.value.text().map(ToOwned::to_owned)
        }
        _ => item.text().map(ToOwned::to_owned),
    };
    Some(items.iter().filter_map(files).collect())
}

fn placed(texts: &Texts, faults: Vec<Fault>) -> Vec<Problem> {
    let problem = |fault: Fault| {
        let first = fault.first.map(|mark| translate::place(texts, mark));
        let first = first.map(|place| format!("; first at {place}")).unwrap_or_default();
        let place = translate::place(texts, fault.mark);
        Problem::new(Some(place), format!("{}{first}", fault.message))
    };
    faults.into_iter().map(problem).collect()
}

fn load_mesh(file: &Path, root: Node, objects: &[Object]) -> Result<Loaded, Vec<Problem>> {
    let texts = Texts::new(file, objects);
    let root = intent::merge(root, objects).map_err(|faults| placed(&texts, faults))?;
    let mesh = intent::assemble(&root).map_err(|faults| placed(&texts, faults))?;
    let mut loaded = translate::translate(&mesh, &texts)?;
    for pattern in &mesh.raw {
        let path = beside(file, &pattern.files);
        let files = raw::matching(&path).map_err(|error| vec![raw::unreadable(&path, &error)])?;
        if files.is_empty() {
            let place = translate::place(&texts, pattern.mark);
            let message = format!("raw: no file matches '{}'", pattern.files);
            loaded.warnings.push(Problem::new(Some(place), message));
        }
        let (resources, warnings) = raw::read_all(&files)?;
        loaded.warnings.extend(warnings);
        let audiences = match &pattern.nodes {
            Some(nodes) => vec![translate::audience(nodes)],
            None => loaded.shares.iter().map(|share| share.audience.clone()).collect(),
        };
        for audience in audiences {
            match loaded.shares.iter_mut().find(|share| share.audience == audience) {
                Some(share) => share.resources.extend(resources.iter().cloned()),
                None => loaded.shares.push(Share { audience, resources: resources.clone() }),
            }
        }
    }
    Ok(loaded)
}

/// A path as written in a file, relative to that file.
fn beside(file: &Path, written: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new(".")).join(written)
}
