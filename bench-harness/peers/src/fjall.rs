//! fjall: one shared keyspace, big-endian keys.
//!
//! Settings: a cache twice as large as the data, everything else as fjall ships it, without its
//! feature of compression. Durable writes are inserts followed by `persist(SyncData)`; writes of
//! the page cache are inserts, which fjall hands to the operating system. Transactions are its
//! optimistic ones, committed and then made durable as inserts are: fjall commits one at a time,
//! and would flush the device meanwhile.

use std::path::Path;

use fjall::{
    Keyspace, KeyspaceCreateOptions, OptimisticTxDatabase, PersistMode, Readable, Snapshot,
};

use crate::{Durability, PeerError, PeerFacts, PeerKey, PeerOptions, PeerSession, View};

const CACHE_BYTES_MIN: u64 = 64 << 20;

/// An open fjall database.
pub struct Fjall {
    /// What is not written in transactions goes past them, to the database inside.
    db: OptimisticTxDatabase,
    records: Keyspace,
    durability: Durability,
}

impl Fjall {
    /// Its journal.
    pub const FLUSHES_PER_COMMIT: u32 = 1;

    /// What a reader of the results needs to know.
    pub fn facts() -> PeerFacts {
        PeerFacts {
            version: env!("PEER_VERSION_FJALL").to_owned(),
            settings: "cache 2x the data, no compression, everything else as shipped; sync: \
                insert and persist(SyncData); os-cache: insert; transactions: \
                OptimisticTxDatabase, then as inserts; before reads: major compaction"
                .to_owned(),
            flushes_per_commit: Self::FLUSHES_PER_COMMIT,
        }
    }

    /// Opens or creates the database in directory `path`.
    pub fn open(path: &Path, options: PeerOptions) -> Result<Self, PeerError> {
        if let Durability::Interval(_) = options.durability {
            return Err(PeerError::Refused("fjall makes its journal durable when it is told to"));
        }
        let cache_bytes = options.cache_bytes.max(CACHE_BYTES_MIN);
        let db = OptimisticTxDatabase::builder(path).cache_size(cache_bytes).open()?;
        let records = db.inner().keyspace("record", KeyspaceCreateOptions::default)?;
        Ok(Self { db, records, durability: options.durability })
    }

    /// A session for the calling thread.
    pub fn session(&self, view: View) -> FjallSession<'_> {
        let snapshot = (view == View::Snapshot).then(|| self.db.read_tx());
        FjallSession { store: self, snapshot }
    }

    /// Brings all records to tables of the last level.
    pub fn compact(&self) -> Result<(), PeerError> {
        self.records.rotate_memtable_and_wait()?;
        Ok(self.records.major_compact()?)
    }

    /// Makes all that was written durable.
    pub fn sync(&self) -> Result<(), PeerError> {
        Ok(self.db.persist(PersistMode::SyncData)?)
    }

    fn acknowledge(&self) -> Result<(), PeerError> {
        match self.durability {
            Durability::Durable => self.sync(),
            Durability::OsCache | Durability::Interval(_) => Ok(()),
        }
    }
}

/// One thread's way into fjall.
pub struct FjallSession<'s> {
    store: &'s Fjall,
    snapshot: Option<Snapshot>,
}

impl PeerSession for FjallSession<'_> {
    fn put<'k>(&mut self, key: impl Into<PeerKey<'k>>, value: &[u8]) -> Result<(), PeerError> {
        assert!(self.snapshot.is_none(), "a session with a snapshot only reads");
        self.store.records.insert(key.into().bytes().as_ref(), value)?;
        self.store.acknowledge()
    }

    #[inline]
    fn get<'k, R>(
        &mut self,
        key: impl Into<PeerKey<'k>>,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, PeerError> {
        let (records, key) = (&self.store.records, key.into());
        let key = key.bytes();
        let found = match &self.snapshot {
            Some(snapshot) => snapshot.get(records, key)?,
            None => records.get(key)?,
        };
        Ok(found.map(|value| read(&value)))
    }

    fn scan<'k>(
        &mut self,
        from: impl Into<PeerKey<'k>>,
        count: u64,
        mut read: impl FnMut(PeerKey<'_>, &[u8]),
    ) -> Result<u64, PeerError> {
        let (records, from) = (&self.store.records, from.into());
        let first = from.bytes();
        let found = match &self.snapshot {
            Some(snapshot) => snapshot.range(records, first.as_ref()..),
            None => records.range(first.as_ref()..),
        };
        let mut seen = 0;
        for record in found.take(usize::try_from(count).unwrap_or(usize::MAX)) {
            let (key, value) = record.into_inner()?;
            read(from.of_bytes(&key), &value);
            seen += 1;
        }
        Ok(seen)
    }

    fn modify<'k>(
        &mut self,
        key: impl Into<PeerKey<'k>>,
        mut change: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> Result<Option<u64>, PeerError> {
        let (records, key) = (&self.store.records, key.into());
        let key = key.bytes();
        let mut retries = 0;
        loop {
            let mut transaction = self.store.db.write_tx()?;
            let Some(value) = transaction.get(records, &key)?.map(|value| change(&value)) else {
                return Ok(None);
            };
            transaction.insert(records, key.as_ref(), value);
            if transaction.commit()?.is_ok() {
                break;
            }
            retries += 1;
        }
        self.store.acknowledge()?;
        Ok(Some(retries))
    }

    fn load<'r>(
        &mut self,
        records: impl Iterator<Item = (PeerKey<'r>, &'r [u8])>,
    ) -> Result<(), PeerError> {
        let mut batch = self.store.db.inner().batch();
        for (key, value) in records {
            batch.insert(&self.store.records, key.bytes().as_ref(), value);
        }
        batch.commit()?;
        self.store.acknowledge()
    }
}
