//! [`OpenTable`]: what all handles of one table share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::catalog::{CatalogEntry, catalog_key};
use crate::data::key_index::KeyIndex;
use crate::data::tables::OtherIndex;
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::Expiry;

/// A table but the default one, as handles use it.
pub(crate) struct OpenTable {
    pub name: String,
    pub number: u32,
    /// Stored key of its record in the catalog.
    pub catalog_key: Box<[u8]>,
    other: Arc<OtherIndex>,
    /// When records expire whose writers do not say it: so many ms behind the write; 0: never.
    pub expires_in_ms: u64,
    /// Whether each write is durable before it is acknowledged, whatever the database promises.
    pub is_durable: bool,
    /// LSN of what has dropped it; 0: nobody has.
    dropped_lsn: AtomicU64,
}

impl OpenTable {
    pub fn new(name: &str, entry: &CatalogEntry, other: Arc<OtherIndex>) -> Self {
        assert_eq!(other.index.space.prefix, Some(entry.prefix()), "the index is its own");
        let catalog_key = catalog_key(name.as_bytes()).as_ref().into();
        let (name, dropped_lsn) = (name.to_owned(), AtomicU64::new(0));
        let CatalogEntry { number, expires_in_ms, is_durable, .. } = *entry;
        Self { name, number, catalog_key, other, expires_in_ms, is_durable, dropped_lsn }
    }

    pub fn index(&self) -> &KeyIndex {
        &self.other.index
    }

    /// Number of keys; exact while no thread writes.
    pub fn key_count(&self) -> u64 {
        self.other.key_count()
    }

    /// When records expire whose writers do not say it.
    pub fn expiry(&self) -> Expiry {
        match self.expires_in_ms {
            0 => Expiry::Never,
            ms => Expiry::In(Duration::from_millis(ms)),
        }
    }

    /// Somebody has dropped it, with `lsn`.
    pub fn note_dropped(&self, lsn: u64) {
        assert!(lsn > 0, "LSN 0 stands for no record");
        self.dropped_lsn.store(lsn, Ordering::Release);
    }

    /// Errors: it was dropped.
    pub fn check(&self) -> Result<()> {
        self.check_at(u64::MAX)
    }

    /// Errors: a reader at `lsn` sees that it was dropped.
    pub fn check_at(&self, lsn: u64) -> Result<()> {
        let dropped_lsn = self.dropped_lsn.load(Ordering::Acquire);
        if dropped_lsn != 0 && dropped_lsn <= lsn { Err(dropped(&self.name)) } else { Ok(()) }
    }
}

/// The error for what somebody does with a table that was dropped.
#[cold]
fn dropped(name: &str) -> Error {
    let message = format!("table '{name}' was dropped; open it again to begin a new one");
    Error::new(ErrorKind::TableNotFound, message)
}
