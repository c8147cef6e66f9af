//! The file: tables, transactions, and what is said when it cannot be used.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::Location;

/// The form of the file that this version reads and writes.
const FORMAT: u64 = 1;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// By service and id.
const INSTANCES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("instances");
/// By kind and name.
const OBJECTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("objects");
/// By number.
const REVISIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("revisions");

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Another process has it.
    #[error("the store {0} is in use by another process; give this one another --store")]
    InUse(String),
    /// It is not ours, or of a later version.
    #[error("the store {0} has format {1}; this version reads format {FORMAT}")]
    Format(String, u64),
    /// A record that this version cannot read.
    #[error("the store has a record of '{0}' that cannot be read: {1}")]
    Record(String, String),
    /// Anything else.
    #[error("the store {0}: {1}")]
    Failed(String, String),
}

/// A change of one record; `None` removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// An instance.
    Instance {
        /// The service.
        service: String,
        /// Its name within the service.
        id: String,
        /// The record.
        record: Option<Vec<u8>>,
    },
    /// An object of the configuration.
    Object {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// The document.
        document: Option<Vec<u8>>,
    },
    /// A revision of the configuration.
    Revision {
        /// Its number.
        number: u64,
        /// The record.
        record: Option<Vec<u8>>,
    },
}

/// An open store.
#[derive(Debug)]
pub struct Disk {
    database: Database,
    name: String,
}

impl Disk {
    /// Opens the store, or makes it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn open(location: &Location) -> Result<Self, Failure> {
        match location {
            Location::Memory => {
                let database = Database::builder().create_with_backend(InMemoryBackend::new());
                Self::prepare(database, "in memory".to_owned())
            }
            Location::File(path) => {
                let name = path.display().to_string();
                if !path.exists() {
                    Self::make(path, &name)?;
                }
                let file = open(path).map_err(|error| failed(&name, error))?;
                Self::over_file(file, name)
            }
        }
    }

    /// Makes the file under another name first, so that a crash leaves none that is half made.
    fn make(path: &Path, name: &str) -> Result<(), Failure> {
        let told = |error: std::io::Error| failed(name, error);
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(told)?;
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".new-{}", std::process::id()));
        let new = Path::new(&new);
        drop(Self::over_file(open(new).map_err(told)?, name.to_owned())?);
        // Unlike a rename this does not replace what another process made meanwhile.
        match std::fs::hard_link(new, path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(told(error));
            }
            _ => {}
        }
        std::fs::remove_file(new).map_err(told)?;
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(told)
    }

    fn over_file(file: std::fs::File, name: String) -> Result<Self, Failure> {
        let backend = FileBackend::new(file);
        let opened = backend.and_then(|file| Database::builder().create_with_backend(file));
        Self::prepare(opened, name)
    }

    /// Over storage of any kind.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn over(backend: impl redb::StorageBackend) -> Result<Self, Failure> {
        Self::prepare(Database::builder().create_with_backend(backend), "of a test".to_owned())
    }

    fn prepare(opened: Result<Database, DatabaseError>, name: String) -> Result<Self, Failure> {
        let database = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => Failure::InUse(name.clone()),
            other => failed(&name, other),
        })?;
        let disk = Self { database, name };
        let format = disk.format().map_err(|error| disk.failed(error))?;
        if format != FORMAT {
            return Err(Failure::Format(disk.name, format));
        }
        Ok(disk)
    }

    /// The file's format; it is made to have all tables, at once.
    fn format(&self) -> Result<u64, redb::Error> {
        let transaction = self.database.begin_write()?;
        let format = {
            let mut meta = transaction.open_table(META)?;
            let found = meta.get("format")?.map(|value| value.value());
            if found.is_none() {
                meta.insert("format", FORMAT)?;
            }
            for table in [INSTANCES, OBJECTS] {
                transaction.open_table(table)?;
            }
            transaction.open_table(REVISIONS)?;
            found.unwrap_or(FORMAT)
        };
        match format {
            FORMAT => transaction.commit()?,
            // Not ours to change.
            _ => transaction.abort()?,
        }
        Ok(format)
    }

    /// Writes all of that or nothing, and returns when it is on the medium.
    ///
    /// # Errors
    /// Where it is not.
    pub fn commit(&self, writes: &[Write]) -> Result<(), Failure> {
        self.try_commit(writes).map_err(|error| self.failed(error))
    }

    fn try_commit(&self, writes: &[Write]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut instances = transaction.open_table(INSTANCES)?;
            let mut objects = transaction.open_table(OBJECTS)?;
            let mut revisions = transaction.open_table(REVISIONS)?;
            for write in writes {
                match write {
                    Write::Instance { service, id, record } => {
                        put(&mut instances, (service.as_str(), id.as_str()), record.as_deref())?;
                    }
                    Write::Object { kind, name, document } => {
                        put(&mut objects, (kind.as_str(), name.as_str()), document.as_deref())?;
                    }
                    Write::Revision { number, record } => {
                        put(&mut revisions, *number, record.as_deref())?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// All records of instances: service, id, record.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn instances(&self) -> Result<Vec<(String, String, Vec<u8>)>, Failure> {
        self.pairs(INSTANCES).map_err(|error| self.failed(error))
    }

    /// All objects: kind, name, document.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn objects(&self) -> Result<Vec<(String, String, Vec<u8>)>, Failure> {
        self.pairs(OBJECTS).map_err(|error| self.failed(error))
    }

    /// All revisions that are kept, oldest first.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn revisions(&self) -> Result<Vec<(u64, Vec<u8>)>, Failure> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(REVISIONS)?;
            let mut found = Vec::new();
            for entry in table.iter()? {
                let (number, record) = entry?;
                found.push((number.value(), record.value().to_vec()));
            }
            Ok(found)
        };
        read().map_err(|error| self.failed(error))
    }

    fn pairs(
        &self,
        table: TableDefinition<'_, (&str, &str), &[u8]>,
    ) -> Result<Vec<(String, String, Vec<u8>)>, redb::Error> {
        let table = self.database.begin_read()?.open_table(table)?;
        let mut found = Vec::new();
        for entry in table.iter()? {
            let (key, value) = entry?;
            let (service, id) = key.value();
            found.push((service.to_owned(), id.to_owned(), value.value().to_vec()));
        }
        Ok(found)
    }

    fn failed(&self, error: impl std::fmt::Display) -> Failure {
        failed(&self.name, error)
    }
}

fn put<'k, K: redb::Key + 'static>(
    table: &mut redb::Table<'_, K, &'static [u8]>,
    key: impl std::borrow::Borrow<K::SelfType<'k>>,
    value: Option<&[u8]>,
) -> Result<(), redb::Error> {
    match value {
        Some(value) => table.insert(key, value)?,
        None => table.remove(key)?,
    };
    Ok(())
}

fn failed(name: &str, error: impl std::fmt::Display) -> Failure {
    Failure::Failed(name.to_owned(), error.to_string())
}

/// Opens or makes a file for the owner alone.
fn open(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
