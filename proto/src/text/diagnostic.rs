//! What is wrong with a file, and where: one line for logs, with the source line for people.

use std::fmt;

use super::tree::Place;

/// Most errors of one file that are kept; the others are counted.
pub const DIAGNOSTICS_MAX: usize = 50;

/// Longest source line that is shown, in characters.
const SOURCE_MAX: usize = 160;

/// One remark on a file. Displays as `boot.yaml:2:3: path: message; did you mean 'x'?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Name of the file, as given; empty if there is none.
    pub file: String,
    /// From 1; 0 if the remark is about the whole file.
    pub line: u32,
    /// In characters from 1; 0 if the remark is about the whole file.
    pub column: u32,
    /// Proto path such as `static_resources.listeners[0].name`; empty at the root.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
    /// The line of the file, if there is one to show.
    pub source: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line) {
            ("", 0) => {}
            (file, 0) => write!(f, "{file}: ")?,
            (file, line) => write!(f, "{file}:{line}:{}: ", self.column)?,
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean '{suggestion}'?"),
            None => Ok(()),
        }
    }
}

impl Diagnostic {
    /// The one line, and under it the source line with a caret.
    #[must_use]
    pub fn long(&self) -> String {
        let Some(source) = &self.source else { return self.to_string() };
        // Tabs are kept so that the caret stands under its character.
        let lead: String = source
            .chars()
            .take((self.column as usize).saturating_sub(1))
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        format!("{self}\n    {source}\n    {lead}^")
    }
}

/// At least one error; at most [`DIAGNOSTICS_MAX`] are kept. Displays one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    /// The errors, in the order of the file.
    pub errors: Vec<Diagnostic>,
    /// How many more there were.
    pub dropped: usize,
    /// What was odd besides.
    pub warnings: Vec<Diagnostic>,
}

impl Diagnostics {
    /// All errors in their long form.
    #[must_use]
    pub fn long(&self) -> String {
        let mut text: Vec<String> = self.errors.iter().map(Diagnostic::long).collect();
        text.extend((self.dropped > 0).then(|| format!("and {} more errors", self.dropped)));
        text.join("\n")
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        match self.dropped {
            0 => Ok(()),
            n => write!(f, "\nand {n} more errors"),
        }
    }
}

impl std::error::Error for Diagnostics {}

/// An error about a file as a whole.
pub(super) fn whole_file(file: &str, message: &str) -> Diagnostics {
    let error = Diagnostic {
        file: file.to_owned(),
        line: 0,
        column: 0,
        path: String::new(),
        message: message.to_owned(),
        suggestion: None,
        source: None,
    };
    Diagnostics { errors: vec![error], dropped: 0, warnings: Vec::new() }
}

/// Gathers remarks on one file.
#[derive(Debug)]
pub(super) struct Sink {
    file: String,
    lines: Vec<String>,
    errors: Vec<Diagnostic>,
    dropped: usize,
    warnings: Vec<Diagnostic>,
}

impl Sink {
    pub(super) fn new(file: &str, source: &str) -> Self {
        Self {
            file: file.to_owned(),
            lines: source.lines().map(str::to_owned).collect(),
            errors: Vec::new(),
            dropped: 0,
            warnings: Vec::new(),
        }
    }

    pub(super) fn error(
        &mut self,
        place: Place,
        path: &str,
        message: &str,
        suggestion: Option<String>,
    ) {
        if self.errors.len() == DIAGNOSTICS_MAX {
            self.dropped += 1;
            return;
        }
        let diagnostic = self.diagnostic(place, path, message, suggestion);
        self.errors.push(diagnostic);
    }

    pub(super) fn warning(&mut self, place: Place, path: &str, message: &str) {
        if self.warnings.len() < DIAGNOSTICS_MAX {
            let diagnostic = self.diagnostic(place, path, message, None);
            self.warnings.push(diagnostic);
        }
    }

    fn diagnostic(
        &self,
        place: Place,
        path: &str,
        message: &str,
        suggestion: Option<String>,
    ) -> Diagnostic {
        let index = (place.line as usize).wrapping_sub(1);
        Diagnostic {
            file: self.file.clone(),
            line: place.line,
            column: place.column,
            path: path.to_owned(),
            message: message.to_owned(),
            suggestion,
            source: self.lines.get(index).and_then(|line| showable(line)),
        }
    }

    /// The warnings, or all errors if there are some.
    pub(super) fn finish(self) -> Result<Vec<Diagnostic>, Diagnostics> {
        if self.errors.is_empty() { Ok(self.warnings) } else { Err(self.into_errors()) }
    }

    /// The errors; there must be one.
    pub(super) fn into_errors(mut self) -> Diagnostics {
        self.errors.sort_by_key(|error| (error.line, error.column));
        Diagnostics { errors: self.errors, dropped: self.dropped, warnings: self.warnings }
    }
}

/// The line, unless it is too long to be of help.
pub(super) fn showable(line: &str) -> Option<String> {
    (line.chars().count() <= SOURCE_MAX).then(|| line.to_owned())
}
