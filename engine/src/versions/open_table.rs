//! [`OpenTable`]: what all handles of one table share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::catalog::{CatalogEntry, catalog_key};
use crate::data::key_index::KeyIndex;
use crate::data::tables::OtherIndex;
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::Expiry;
use crate::key_space::KeySpace;
use crate::table_prefix::TablePrefix;

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
    is_dropped: AtomicBool,
}

impl OpenTable {
    pub fn new(name: &str, entry: &CatalogEntry, other: Arc<OtherIndex>) -> Self {
        assert_eq!(other.index.space.prefix, Some(entry.prefix()), "the index is its own");
        let catalog_key = catalog_key(name.as_bytes()).as_ref().into();
        let (name, is_dropped) = (name.to_owned(), AtomicBool::new(false));
        let CatalogEntry { number, expires_in_ms, is_durable, .. } = *entry;
        Self { name, number, catalog_key, other, expires_in_ms, is_durable, is_dropped }
    }

    /// What its stored keys begin with.
    pub fn prefix(&self) -> TablePrefix {
        self.space().prefix.expect("it is not the default table")
    }

    pub fn space(&self) -> KeySpace {
        self.other.index.space
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

    /// Somebody has dropped it.
    pub fn note_dropped(&self) {
        self.is_dropped.store(true, Ordering::Release);
    }

    pub fn is_dropped(&self) -> bool {
        self.is_dropped.load(Ordering::Acquire)
    }

    /// Errors: it was dropped.
    pub fn check(&self) -> Result<()> {
        if self.is_dropped() { Err(dropped(&self.name)) } else { Ok(()) }
    }
}

/// The error for what somebody does with a table that was dropped.
#[cold]
fn dropped(name: &str) -> Error {
    let message = format!("table '{name}' was dropped; open it again to begin a new one");
    Error::new(ErrorKind::TableNotFound, message)
}
