//! The files that the rules look at, and the parts of Rust text that they need.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
pub(crate) struct Source {
    /// Path from the repository's root, with `/`.
    pub(crate) path: String,
    /// Its whole text.
    pub(crate) text: String,
}

impl Source {
    /// Lines of code without line comments, numbered from 1; comment lines come out empty.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, without_comment(line)))
    }

    /// The file's name without its folders.
    pub(crate) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Whether the file holds tests only, by the names that the project uses.
    pub(crate) fn is_test(&self) -> bool {
        let name = self.file_name();
        self.path.contains("/tests/")
            || self.path.starts_with("tests/")
            || name == "tests.rs"
            || name.ends_with("_tests.rs")
    }

    /// The number of the line where inline tests begin, or the end of the file.
    pub(crate) fn tests_from(&self) -> usize {
        let inline = |line: &str| line.trim_end().ends_with('{') && line.contains("mod tests");
        self.text.lines().position(inline).map_or(usize::MAX, |at| at + 1)
    }
}

/// All text files of the repository, ordered by path.
pub(crate) fn all() -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).ok()?;
        let path = path.strip_prefix(&root).ok()?.to_string_lossy().replace('\\', "/");
        Some(Source { path, text })
    };
    paths.into_iter().filter_map(read).collect()
}

/// The Rust files of the repository.
pub(crate) fn rust() -> Vec<Source> {
    all().into_iter().filter(|source| source.path.ends_with(".rs")).collect()
}

/// The Rust files of the data plane's library; the path begins at its `src`.
pub(crate) fn data_plane() -> Vec<Source> {
    let inside = |source: Source| {
        let path = source.path.strip_prefix("data-plane/src/")?.to_owned();
        Some(Source { path, text: source.text })
    };
    rust().into_iter().filter_map(inside).collect()
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map_or_else(|| tests.to_owned(), Path::to_owned)
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let skip = matches!(name.as_str(), ".git" | "target" | "node_modules" | "__pycache__");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !skip => collect(&path, into),
            Ok(kind) if kind.is_file() && !skip => into.push(path),
            _ => {}
        }
    }
}

/// Cuts a line comment; a `//` inside a string stays when a quote follows it.
fn without_comment(line: &str) -> &str {
    match line.find("//") {
        Some(at) if !line[..at].contains('"') => &line[..at],
        Some(at) if line.trim_start().starts_with("//") => &line[..at],
        _ => line,
    }
}
