//! [`Reader`]: what the commands that only read look at.

use std::ops::Bound;

use uarr::{Db, Error, KeyKind, OwnedRecord, ReadOnly, Result, TableInfo, VerifyReport};

use crate::key::Key;

/// Records in key order.
pub type Records = Box<dyn DoubleEndedIterator<Item = Result<OwnedRecord>>>;

/// A database, or a table of it, to read from.
pub enum Reader {
    /// As its files say; nothing is changed.
    Files(ReadOnly),
    /// The one that the shell has open.
    Open(Db),
}

impl Reader {
    pub fn key_kind(&self) -> KeyKind {
        match self {
            Self::Files(files) => files.key_kind(),
            Self::Open(db) => db.key_kind(),
        }
    }

    pub fn get(&self, key: &Key) -> Result<Option<OwnedRecord>> {
        match self {
            Self::Files(files) => files.get(key),
            Self::Open(db) => Ok(db.get(key)?.map(|record| record.to_owned())),
        }
    }

    /// As [`Reader::get`], for the only key of a command: it keeps what the log says of this one.
    pub fn get_alone(&self, key: &Key) -> Result<Option<OwnedRecord>> {
        match self {
            Self::Files(files) => Ok(files.get_many(std::slice::from_ref(key))?.pop().flatten()),
            Self::Open(_) => self.get(key),
        }
    }

    pub fn range(&self, bounds: (Bound<Key>, Bound<Key>)) -> Result<Records> {
        Ok(match self {
            Self::Files(files) => Box::new(files.range(bounds)?),
            Self::Open(db) => Box::new(db.range_owned(bounds)?),
        })
    }

    pub fn prefix(&self, prefix: Vec<u8>) -> Result<Records> {
        Ok(match self {
            Self::Files(files) => Box::new(files.prefix(prefix)?),
            Self::Open(db) => Box::new(db.prefix_owned(prefix)?),
        })
    }

    /// Keys of the table, such as have expired and are not deleted yet included.
    pub fn count_keys(&self) -> Result<u64> {
        match self {
            Self::Files(files) => files.count_keys(),
            Self::Open(db) => Ok(db.len()),
        }
    }

    pub fn tables(&self) -> Vec<Result<TableInfo>> {
        match self {
            Self::Files(files) => files.tables(),
            Self::Open(db) => db.tables(),
        }
    }

    pub fn verify(&self, progress: impl FnMut(u64)) -> Result<VerifyReport> {
        match self {
            Self::Files(files) => files.verify(progress),
            Self::Open(db) => db.verify(progress),
        }
    }

    /// Damage that opening got around.
    pub fn notes(&self) -> Vec<Error> {
        match self {
            Self::Files(files) => files.recovery_report().notes,
            Self::Open(db) => db.recovery_report().notes.clone(),
        }
    }
}
