//! redb: a table with an integer key, a transaction for each write.
//!
//! Settings: a cache twice as large as the data, everything else as redb ships it. A session opens
//! a read transaction, and the table in it, for each read, or one for all.

use std::path::Path;

use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition};

use crate::{Durability, PeerError, PeerFacts, PeerOptions, PeerSession, View};

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("record");
const CACHE_BYTES_MIN: u64 = 64 << 20;

type Records = ReadOnlyTable<u64, &'static [u8]>;

/// An open redb database.
pub struct Redb {
    db: Database,
}

fn failed(error: impl Into<redb::Error>) -> PeerError {
    PeerError::Redb(error.into())
}

impl Redb {
    /// Its data and the root that names them, together.
    pub const FLUSHES_PER_COMMIT: u32 = 1;

    /// What a reader of the results needs to know.
    pub fn facts() -> PeerFacts {
        PeerFacts {
            version: env!("PEER_VERSION_REDB").to_owned(),
            settings: "cache 2x the data, everything else as shipped; sync: \
                Durability::Immediate, a transaction each"
                .to_owned(),
            flushes_per_commit: Self::FLUSHES_PER_COMMIT,
        }
    }

    /// Opens or creates the database in directory `path`.
    pub fn open(path: &Path, options: PeerOptions) -> Result<Self, PeerError> {
        if options.durability != Durability::Durable {
            // What it calls `None` is lost if the process is killed.
            return Err(PeerError::Refused("redb has no writes that only survive a kill"));
        }
        std::fs::create_dir_all(path)?;
        let cache_bytes = options.cache_bytes.max(CACHE_BYTES_MIN);
        let mut builder = Database::builder();
        builder.set_cache_size(usize::try_from(cache_bytes).unwrap_or(usize::MAX));
        let db = builder.create(path.join("peer.redb")).map_err(failed)?;
        let write = db.begin_write().map_err(failed)?;
        write.open_table(RECORDS).map_err(failed)?;
        write.commit().map_err(failed)?;
        Ok(Self { db })
    }

    /// A session for the calling thread.
    pub fn session(&self, view: View) -> Result<RedbSession<'_>, PeerError> {
        let snapshot = match view {
            View::PerRead => None,
            View::Snapshot => Some(self.records()?),
        };
        Ok(RedbSession { store: self, snapshot })
    }

    fn records(&self) -> Result<Records, PeerError> {
        let read = self.db.begin_read().map_err(failed)?;
        read.open_table(RECORDS).map_err(failed)
    }
}

/// One thread's way into redb.
pub struct RedbSession<'s> {
    store: &'s Redb,
    snapshot: Option<Records>,
}

impl RedbSession<'_> {
    /// Runs `read` in the snapshot, or in a read transaction of its own.
    #[inline]
    fn in_view<R>(
        &self,
        read: impl FnOnce(&Records) -> Result<R, PeerError>,
    ) -> Result<R, PeerError> {
        match &self.snapshot {
            Some(snapshot) => read(snapshot),
            None => read(&self.store.records()?),
        }
    }

    fn write<'r>(&self, records: impl Iterator<Item = (u64, &'r [u8])>) -> Result<(), PeerError> {
        assert!(self.snapshot.is_none(), "a session with a snapshot only reads");
        let write = self.store.db.begin_write().map_err(failed)?;
        let mut table = write.open_table(RECORDS).map_err(failed)?;
        for (key, value) in records {
            table.insert(key, value).map_err(failed)?;
        }
        drop(table);
        write.commit().map_err(failed)
    }
}

impl PeerSession for RedbSession<'_> {
    fn put(&mut self, key: u64, value: &[u8]) -> Result<(), PeerError> {
        self.write([(key, value)].into_iter())
    }

    #[inline]
    fn get<R>(&mut self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, PeerError> {
        self.in_view(|records| {
            let found = records.get(key).map_err(failed)?;
            Ok(found.map(|value| read(value.value())))
        })
    }

    fn scan(
        &mut self,
        from: u64,
        count: u64,
        mut read: impl FnMut(u64, &[u8]),
    ) -> Result<u64, PeerError> {
        let count_max = usize::try_from(count).unwrap_or(usize::MAX);
        self.in_view(|records| {
            let mut seen = 0;
            for record in records.range(from..).map_err(failed)?.take(count_max) {
                let (key, value) = record.map_err(failed)?;
                read(key.value(), value.value());
                seen += 1;
            }
            Ok(seen)
        })
    }

    fn load(&mut self, records: &[(u64, Vec<u8>)]) -> Result<(), PeerError> {
        self.write(records.iter().map(|(key, value)| (*key, value.as_slice())))
    }
}
