//! What outlives the process: one file, written through before anything is said to be done.
//!
//! An embedded database (redb) with one transaction a write: after a crash at any moment the
//! file holds all of it or nothing of it. `--store memory` is the same database over memory.
//! [`Disk`] reads and commits; [`journal`] is the thread that writes what goes on by itself.

mod disk;
pub mod journal;
#[cfg(test)]
mod tests;

pub use self::disk::{Disk, Failure, Write};

use std::path::{Path, PathBuf};

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Nowhere: all is forgotten with the process.
    Memory,
    /// That file; its folder is made if need be, for the owner alone.
    File(PathBuf),
}

/// Name of the file in the state folder.
const FILE: &str = "xds-server.redb";

impl Location {
    /// As `--store` says it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "memory" => Self::Memory,
            path => Self::File(path.into()),
        }
    }

    /// The file in that state folder.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self::File(folder.join(FILE))
    }

    /// The file in the state folder, by the environment; `None` where it names no folder.
    pub fn standard(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        // systemd separates several by colons; the first is the program's own.
        let given = set("STATE_DIRECTORY").and_then(|all| all.split(':').next().map(PathBuf::from));
        let folder = given
            .or_else(|| set("XDG_STATE_HOME").map(|state| Path::new(&state).join("gomesh")))
            .or_else(|| set("HOME").map(|home| Path::new(&home).join(".local/state/gomesh")))?;
        Some(Self::in_folder(&folder))
    }
}
