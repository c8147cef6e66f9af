//! Envoy's own resources from files, in the form of Envoy's file subscriptions.
//!
//! A file's `resources:` hold entries with `"@type"`, or such entries in a
//! `envoy.service.discovery.v3.Resource`. Each is read strictly (unknown fields and keys that
//! stand twice are errors) and held to Envoy's constraint rules.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::google::protobuf::Any;
use proto::prost_reflect::DescriptorPool;
use proto::rules::{self, Policy};
use proto::text::{self, DuplicateKeys, ReadOptions, UnknownFields};

use crate::canonical::canonical;
use crate::check::{PROBLEMS_MAX, Problem};
use crate::references::references;
use crate::snapshot::{Place, Resource};
use crate::support::{self, Objection};

/// Largest file that is read.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// Most files of one folder.
const FILES_MAX: usize = 10_000;

type Found = (Vec<Arc<Resource>>, Vec<Problem>);

/// Whether a file of a folder of resources counts.
pub(super) fn is_resource_file(name: &str) -> bool {
    !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".json"))
}

/// The files of a folder whose name fits, by name.
pub(super) fn files_in(folder: &Path, fits: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let fits = entry.file_name().to_str().is_some_and(&fits);
        if fits && !entry.path().is_dir() {
            files.push(entry.path());
        }
        if files.len() > FILES_MAX {
            return Err(io::Error::other(format!("more than {FILES_MAX} files")));
        }
    }
    files.sort();
    Ok(files)
}

/// The files that a path with `*` in its last part names.
pub(super) fn matching(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.contains('*') {
        return Ok(vec![pattern.to_owned()]);
    }
    let folder = pattern.parent().unwrap_or(Path::new("."));
    files_in(folder, |file| !file.starts_with('.') && glob(name, file))
}

/// Whether a name fits a pattern in which `*` stands for any text.
pub(super) fn glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| &rest[at..]).chain([""]).any(|r| glob(tail, r))
        }),
    }
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(None, format!("{}: cannot be read: {error}", path.display()))
}

/// The whole of a file, if it is not too large.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Problem> {
    let fail = |error: io::Error| unreadable(path, &error);
    let metadata = std::fs::metadata(path).map_err(fail)?;
    if metadata.is_dir() {
        return Err(fail(io::ErrorKind::IsADirectory.into()));
    }
    if metadata.len() > FILE_BYTES_MAX {
        let message = format!("{}: larger than {FILE_BYTES_MAX} bytes", path.display());
        return Err(Problem::new(None, message));
    }
    std::fs::read(path).map_err(fail)
}

/// All resources of these files.
pub(super) fn read_all(files: &[PathBuf]) -> Result<Found, Vec<Problem>> {
    let pool = proto::descriptors();
    let (mut resources, mut warnings, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for file in files {
        match read_one(&pool, file) {
            Ok((found, remarks)) => {
                resources.extend(found);
                warnings.extend(remarks);
            }
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() {
        return Ok((resources, warnings));
    }
    problems.truncate(PROBLEMS_MAX);
    Err(problems)
}

fn read_one(pool: &DescriptorPool, path: &Path) -> Result<Found, Vec<Problem>> {
    let bytes = read_file(path).map_err(|problem| vec![problem])?;
    let options = ReadOptions {
        unknown_fields: UnknownFields::Refuse,
        duplicate_keys: DuplicateKeys::Refuse,
        ..Default::default()
    };
    let name = path.display().to_string();
    let read = text::parse_resources(&name, &bytes, &options).map_err(|found| {
        found.errors.iter().map(|d| Problem::new(None, d.to_string())).collect::<Vec<_>>()
    })?;
    let remark = |text: String| Problem::new(None, text);
    let mut warnings: Vec<Problem> = read.warnings.iter().map(|d| remark(d.to_string())).collect();
    let file = Arc::new(path.to_owned());
    let (mut resources, mut problems) = (Vec::new(), Vec::new());
    for found in read.message {
        let before = problems.len();
        let placed = |inner: &str, what: &str| {
            let joint = if inner.is_empty() || inner.starts_with('[') { "" } else { "." };
            read.positions.diagnose(&format!("{}{joint}{inner}", found.path), what).to_string()
        };
        for finding in rules::check(&found.type_url, &found.bytes, &Policy::everything()) {
            let text = placed(&rules::path_text(&finding.path), &finding.kind.to_string());
            let list = if finding.kind.is_note() { &mut warnings } else { &mut problems };
            list.push(remark(text));
        }
        let (line, column) = (found.line as usize, found.column as usize);
        let place = Place { file: file.clone(), line, column };
        if found.name.is_empty() {
            problems.push(Problem::new(Some(place), "a resource without a name"));
            continue;
        }
        if problems.len() > before {
            continue;
        }
        let value = canonical(pool, &found.type_url, found.bytes);
        let any = Any { type_url: found.type_url, value };
        let placed = |objection: Objection| placed(&objection.path, &objection.reason);
        let objections = support::objections(&any);
        problems.extend(objections.wrong.into_iter().map(placed).map(remark));
        let references = references(&any);
        let mut resource = Resource::new(&found.name, any, references, Some(place));
        resource.unsupported = objections.unsupported.into_iter().map(placed).collect();
        resources.push(Arc::new(resource));
    }
    if problems.is_empty() { Ok((resources, warnings)) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, name, want) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.json", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("*", "", true),
        ] {
            assert_eq!(glob(pattern, name), want, "{pattern} {name}");
        }
    }
}
