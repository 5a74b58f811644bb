//! Keys and values that survive power cuts.
//!
//! Does:      reads everything at the start; then writes whole batches, each safe on disk or not
//!            there at all. A full disk refuses a batch and may take the next; a disk that fails
//!            is not written to again, because nobody knows what it still holds.
//! Does not:  serve reads later: whoever needs the values keeps them.
//! Bounds:    `KEY_BYTES_MAX`, `VALUE_BYTES_MAX`, `CACHE_BYTES` of memory.
//! Trusts:    redb for the order of writes; nothing else about the disk.
//! Start at:  `Store::open`.

use crate::{BadVolume, Disk, Volume};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::io;
use std::sync::Arc;

/// Bytes of a key: paths such as `register/<hex>`.
pub const KEY_BYTES_MAX: usize = 256;
/// Bytes of a value: a record with its envelope.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// Memory for pages: the store is written, seldom read.
const CACHE_BYTES: usize = 1 << 20;

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");

/// Why the state can't be used. The disk was not changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Volume(#[from] BadVolume),
    #[error("the state on the partition is damaged")]
    Damaged(#[source] redb::Error),
}

impl OpenError {
    /// The operator's next step.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Volume(BadVolume::Small { .. }) => "Make a larger one: cargo image disk",
            Self::Volume(BadVolume::Foreign) => {
                "If nothing on it is needed, make it empty: blkdiscard or dd if=/dev/zero"
            }
            Self::Volume(BadVolume::Newer { .. }) => "Boot the newer image again",
            Self::Volume(BadVolume::Read(_) | BadVolume::Write(_)) => {
                "The disk is failing or write-protected; replace it"
            }
            Self::Damaged(_) => {
                "Replace the disk; or, to begin anew under a new key, write zeros to the partition"
            }
        }
    }
}

/// Why a batch was not saved. What was saved before is still there.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error("the key or the value of `{key}` is too long")]
    TooLong { key: String },
    /// Nothing was changed, and a later batch may fit.
    #[error("the state partition is full")]
    Full,
    /// Nothing is known about this batch, and the store takes no other.
    #[error("the state partition fails: {0}")]
    Disk(#[source] Box<redb::Error>),
}

/// A value to keep under a key, or the key to forget.
pub type Change = (String, Option<Vec<u8>>);

/// See the module.
#[derive(Debug)]
pub struct Store {
    disk: Arc<dyn Disk>,
    /// `None`: the disk failed, and nobody knows what is on it.
    database: Option<Database>,
}

impl Store {
    /// Opens the state on a disk; an empty disk begins an empty state.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(disk: impl Disk) -> Result<Self, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let database = Some(database_on(&disk)?);
        Ok(Self { disk, database })
    }

    /// All keys and values, in the order of the keys.
    ///
    /// # Errors
    /// When the disk fails or its content is damaged.
    pub fn entries(&self) -> Result<Vec<(String, Vec<u8>)>, OpenError> {
        self.read().map_err(OpenError::Damaged)
    }

    fn read(&self) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
        let transaction = self.database()?.begin_read()?;
        let table = match transaction.open_table(TABLE) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut entries = Vec::new();
        for entry in table.iter()? {
            let (key, value) = entry?;
            entries.push((key.value().to_owned(), value.value().to_vec()));
        }
        Ok(entries)
    }

    /// Keeps a batch. When this returns `Ok`, all of it is safe.
    ///
    /// # Errors
    /// See [`SaveError`]: then none of it is kept, unless a later opening shows otherwise because
    /// the disk failed in the very last step.
    pub fn save(&mut self, changes: &[Change]) -> Result<(), SaveError> {
        for (key, value) in changes {
            let value_bytes = value.as_ref().map_or(0, Vec::len);
            if key.len() > KEY_BYTES_MAX || value_bytes > VALUE_BYTES_MAX {
                let key = key.chars().take(KEY_BYTES_MAX).collect();
                return Err(SaveError::TooLong { key });
            }
        }
        let Err(error) = self.write(changes) else {
            return Ok(());
        };
        // The database takes nothing more once its disk refused a step.
        self.database = None;
        if !is_full(&error) {
            return Err(SaveError::Disk(Box::new(error)));
        }
        match database_on(&self.disk) {
            Ok(database) => {
                self.database = Some(database);
                Err(SaveError::Full)
            }
            Err(OpenError::Damaged(error)) => Err(SaveError::Disk(Box::new(error))),
            Err(OpenError::Volume(bad)) => {
                let error = redb::Error::Io(io::Error::other(bad));
                Err(SaveError::Disk(Box::new(error)))
            }
        }
    }

    fn database(&self) -> Result<&Database, redb::Error> {
        self.database.as_ref().ok_or(redb::Error::PreviousIo)
    }

    fn write(&self, changes: &[Change]) -> Result<(), redb::Error> {
        let transaction = self.database()?.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in changes {
                match value {
                    Some(value) => table.insert(key.as_str(), value.as_slice())?,
                    None => table.remove(key.as_str())?,
                };
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn database_on(disk: &Arc<dyn Disk>) -> Result<Database, OpenError> {
    let volume = Volume::open(Arc::clone(disk))?;
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    let database = builder.create_with_backend(volume);
    database.map_err(|error| OpenError::Damaged(error.into()))
}

/// Whether the partition has no room for more: `Volume` says so before anything is written.
fn is_full(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(io) if io.kind() == io::ErrorKind::StorageFull)
}
