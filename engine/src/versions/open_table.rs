//! [`OpenTable`]: what all handles of one table share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use uarr_layout::limits::EXPIRES_MS_MAX;

use crate::catalog::{CatalogEntry, catalog_key};
use crate::data::key_index::KeyIndex;
use crate::data::tables::OtherIndex;
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::Expiry;
use crate::options::WriteOptions;
use crate::sync::{Rank, Ranked, lock};

/// A table but the default one, as handles use it.
pub(crate) struct OpenTable {
    pub name: String,
    pub number: u32,
    /// Stored key of its record in the catalog.
    pub catalog_key: Box<[u8]>,
    pub other: Arc<OtherIndex>,
    /// What can change, in one word, so that no reader sees half of a change: when records expire
    /// whose writers do not say it, times two (so many ms behind the write; 0: never), and in the
    /// lowest bit whether each write is durable before it is acknowledged.
    options: AtomicU64,
    /// Version of the catalog's record that they are from. They change under its lock.
    options_version: Ranked<u64>,
    /// LSN of what has dropped it; 0: nobody has.
    dropped_lsn: AtomicU64,
}

const DURABLE_BIT: u64 = 1;
const _: () = assert!(EXPIRES_MS_MAX <= u64::MAX >> 1, "twice as much is a number");

fn packed(entry: &CatalogEntry) -> u64 {
    assert!(entry.expires_in_ms <= EXPIRES_MS_MAX, "it was checked when it was read");
    let durable = if entry.is_durable { DURABLE_BIT } else { 0 };
    entry.expires_in_ms << 1 | durable
}

impl OpenTable {
    /// As `entry` says, the catalog's record with `version`.
    pub fn new(name: &str, entry: &CatalogEntry, version: u64, other: Arc<OtherIndex>) -> Self {
        assert_eq!(other.index.space.prefix, Some(entry.prefix()), "the index is its own");
        Self {
            name: name.to_owned(),
            number: entry.number,
            catalog_key: catalog_key(name.as_bytes()).as_ref().into(),
            other,
            options: AtomicU64::new(packed(entry)),
            options_version: Ranked::new(Rank::Leaf, version),
            dropped_lsn: AtomicU64::new(0),
        }
    }

    /// The catalog's record with `version` says `entry` of it. All handles follow, if they have
    /// not heard of a later one.
    pub fn note_options(&self, entry: &CatalogEntry, version: u64) {
        assert!(self.is(&self.name, entry), "number and kind of a table stay");
        let mut known = lock(&self.options_version);
        if *known < version {
            *known = version;
            self.options.store(packed(entry), Ordering::Release);
        }
    }

    /// Whether it is the table that `entry` describes under `name`.
    pub fn is(&self, name: &str, entry: &CatalogEntry) -> bool {
        self.name == name && self.other.index.space.prefix == Some(entry.prefix())
    }

    pub fn index(&self) -> &KeyIndex {
        &self.other.index
    }

    /// When records expire whose writers do not say it.
    pub fn expiry(&self) -> Expiry {
        match self.options.load(Ordering::Acquire) >> 1 {
            0 => Expiry::Never,
            ms => Expiry::In(Duration::from_millis(ms)),
        }
    }

    /// Whether each write is durable before it is acknowledged, whatever the database promises.
    pub fn is_durable(&self) -> bool {
        self.options.load(Ordering::Acquire) & DURABLE_BIT != 0
    }

    /// What a write to `table` promises whose caller asks for `options`; `None`: the default one.
    pub fn promise(table: Option<&Self>, options: WriteOptions) -> WriteOptions {
        if table.is_some_and(Self::is_durable) { options.durable() } else { options }
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
