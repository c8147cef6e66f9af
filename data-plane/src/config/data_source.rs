//! `envoy.config.core.v3.DataSource`: bytes written in place, in a file or in the environment.
//!
//! `config` does no I/O: whoever parses hands in [`DataSources`]. Files are read once, when the
//! resource is parsed, as Envoy does where nothing watches them.

use std::sync::Arc;

use proto::envoy::config::core::v3::DataSource;
use proto::envoy::config::core::v3::data_source::Specifier;

use super::error::{At, Problems, Reason};
use super::resource::ParseCx;

/// Reads what a configuration names.
pub trait DataSources: Sync {
    /// Content of a file.
    ///
    /// # Errors
    /// Why it cannot be read, as one clause.
    fn file(&self, path: &str) -> Result<Vec<u8>, String>;

    /// Whether there is something at `path`: what a file source watches must exist.
    fn exists(&self, path: &str) -> bool {
        self.file(path).is_ok()
    }

    /// Whether a log can be written to `path`; makes the file where there is none, as Envoy does.
    ///
    /// # Errors
    /// Why it cannot be opened, as one clause.
    fn appendable(&self, path: &str) -> Result<(), String> {
        let _ = path;
        Ok(())
    }

    /// Value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;
}

/// Has nothing: for tests and for callers that must not touch the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSources;

impl DataSources for NoSources {
    fn file(&self, _: &str) -> Result<Vec<u8>, String> {
        Err("files are not read here".into())
    }

    /// Nothing is known, so nothing is held against the path.
    fn exists(&self, _: &str) -> bool {
        true
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }
}

/// The bytes of `source`; may be empty.
///
/// # Errors
/// If nothing is said, or the file or variable cannot be read.
pub fn parse(source: DataSource, cx: &ParseCx<'_>) -> Result<Arc<[u8]>, Problems> {
    let specifier = source.specifier.ok_or(Reason::Missing)?;
    match specifier {
        Specifier::InlineBytes(bytes) => Ok(bytes.into()),
        Specifier::InlineString(text) => Ok(text.into_bytes().into()),
        Specifier::Filename(path) => read(&path, cx).at("filename"),
        Specifier::EnvironmentVariable(name) => variable(&name, cx).at("environment_variable"),
    }
}

/// The text of `source`; may be empty.
///
/// # Errors
/// As for `parse`, and if it is not UTF-8.
pub fn parse_text(source: DataSource, cx: &ParseCx<'_>) -> Result<Arc<str>, Problems> {
    let bytes = parse(source, cx)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| Reason::Invalid {
        got: format!("bytes that are not text ({error})"),
        must: "UTF-8".into(),
    })?;
    Ok(text.into())
}

fn read(path: &str, cx: &ParseCx<'_>) -> Result<Arc<[u8]>, Problems> {
    let bytes = cx.sources.file(path).map_err(|why| Reason::Invalid {
        got: format!("\"{path}\""),
        must: format!("a readable file ({why})"),
    })?;
    Ok(bytes.into())
}

fn variable(name: &str, cx: &ParseCx<'_>) -> Result<Arc<[u8]>, Problems> {
    let value = cx.sources.variable(name).ok_or_else(|| Reason::Invalid {
        got: format!("\"{name}\""),
        must: "an environment variable that is set".into(),
    })?;
    Ok(value.into_bytes().into())
}
