//! LMDB: one environment, big-endian keys, one session per thread.
//!
//! Settings: a map of at least eight times the data, everything else as LMDB ships it; unsynced
//! writes with MDB_NOSYNC. A session opens a read transaction for each read, or one for all.

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, RoTxn, WithTls};

use crate::{Durability, PeerError, PeerFacts, PeerKey, PeerOptions, PeerSession, View};

/// Smallest map; pages that are half full and freed ones must find room.
const MAP_BYTES_MIN: u64 = 1 << 30;

/// An open LMDB environment.
pub struct Lmdb {
    env: Env,
    records: Database<Bytes, Bytes>,
}

impl Lmdb {
    /// Its data, then the meta page that names them.
    pub const FLUSHES_PER_COMMIT: u32 = 2;

    /// What a reader of the results needs to know.
    pub fn facts() -> PeerFacts {
        let version = heed::lmdb_version();
        PeerFacts {
            version: format!("{}.{}.{}", version.major, version.minor, version.patch),
            settings: "map 8x the data, everything else as shipped; os-cache: MDB_NOSYNC"
                .to_owned(),
            flushes_per_commit: Self::FLUSHES_PER_COMMIT,
        }
    }

    /// Opens or creates the environment in directory `path`.
    pub fn open(path: &Path, options: PeerOptions) -> Result<Self, PeerError> {
        if let Durability::Interval(_) = options.durability {
            // A loss of power may damage what MDB_NOSYNC wrote, not only lose the last of it.
            return Err(PeerError::Refused("LMDB has no bounded loss of unsynced writes"));
        }
        std::fs::create_dir_all(path)?;
        let map_bytes = (8 * options.data_bytes).max(MAP_BYTES_MIN).next_multiple_of(1 << 20);
        let mut builder = EnvOpenOptions::new();
        builder.map_size(usize::try_from(map_bytes).unwrap_or(usize::MAX));
        let env = open_env(&mut builder, path, options.durability)?;
        let mut transaction = env.write_txn()?;
        let records = env.create_database(&mut transaction, None)?;
        transaction.commit()?;
        Ok(Self { env, records })
    }

    /// A session for the calling thread.
    pub fn session(&self, view: View) -> Result<LmdbSession<'_>, PeerError> {
        let snapshot = match view {
            View::PerRead => None,
            View::Snapshot => Some(self.env.read_txn()?),
        };
        Ok(LmdbSession { store: self, snapshot })
    }
}

#[allow(unsafe_code, reason = "LMDB maps a file, and its flags may cost consistency")]
fn open_env(
    builder: &mut EnvOpenOptions<WithTls>,
    path: &Path,
    durability: Durability,
) -> Result<Env, PeerError> {
    if durability == Durability::OsCache {
        // SAFETY: without syncs a loss of power may damage the database, which lies in a directory
        // of the run and is removed after it; a kill does not damage it.
        unsafe { builder.flags(EnvFlags::NO_SYNC) };
    }
    // SAFETY: the file lies in a directory that this run has just made for this store alone, so
    // nothing changes it beside LMDB, and LMDB locks it.
    Ok(unsafe { builder.open(path) }?)
}

/// One thread's way into LMDB.
pub struct LmdbSession<'s> {
    store: &'s Lmdb,
    snapshot: Option<RoTxn<'s, WithTls>>,
}

impl<'s> LmdbSession<'s> {
    /// Runs `read` in the snapshot, or in a read transaction of its own.
    #[inline]
    fn in_view<R>(
        &self,
        read: impl FnOnce(&RoTxn<'_, WithTls>) -> Result<R, PeerError>,
    ) -> Result<R, PeerError> {
        match &self.snapshot {
            Some(snapshot) => read(snapshot),
            None => read(&self.store.env.read_txn()?),
        }
    }

    fn write<'r>(
        &mut self,
        records: impl Iterator<Item = (PeerKey<'r>, &'r [u8])>,
    ) -> Result<(), PeerError> {
        assert!(self.snapshot.is_none(), "a session with a snapshot only reads");
        let mut transaction = self.store.env.write_txn()?;
        for (key, value) in records {
            self.store.records.put(&mut transaction, key.bytes().as_ref(), value)?;
        }
        Ok(transaction.commit()?)
    }
}

impl PeerSession for LmdbSession<'_> {
    fn put<'k>(&mut self, key: impl Into<PeerKey<'k>>, value: &[u8]) -> Result<(), PeerError> {
        self.write([(key.into(), value)].into_iter())
    }

    #[inline]
    fn get<'k, R>(
        &mut self,
        key: impl Into<PeerKey<'k>>,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, PeerError> {
        let (records, key) = (self.store.records, key.into());
        self.in_view(|view| Ok(records.get(view, key.bytes().as_ref())?.map(read)))
    }

    fn scan<'k>(
        &mut self,
        from: impl Into<PeerKey<'k>>,
        count: u64,
        mut read: impl FnMut(PeerKey<'_>, &[u8]),
    ) -> Result<u64, PeerError> {
        let (records, from) = (self.store.records, from.into());
        let count_max = usize::try_from(count).unwrap_or(usize::MAX);
        self.in_view(|view| {
            let mut seen = 0;
            let first = from.bytes();
            let range = (Bound::Included(first.as_ref()), Bound::Unbounded);
            for record in records.range(view, &range)?.take(count_max) {
                let (key, value) = record?;
                read(from.of_bytes(key), value);
                seen += 1;
            }
            Ok(seen)
        })
    }

    /// There is one write transaction at a time, so none is refused.
    fn modify<'k>(
        &mut self,
        key: impl Into<PeerKey<'k>>,
        mut change: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> Result<Option<u64>, PeerError> {
        let (records, key) = (self.store.records, key.into());
        let key = key.bytes();
        let mut transaction = self.store.env.write_txn()?;
        let Some(value) = records.get(&transaction, key.as_ref())?.map(&mut change) else {
            return Ok(None);
        };
        records.put(&mut transaction, key.as_ref(), &value)?;
        transaction.commit()?;
        Ok(Some(0))
    }

    fn load<'r>(
        &mut self,
        records: impl Iterator<Item = (PeerKey<'r>, &'r [u8])>,
    ) -> Result<(), PeerError> {
        self.write(records)
    }
}
