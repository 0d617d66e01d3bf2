//! redb: a table with an integer key, a transaction for each write.
//!
//! Settings: a cache twice as large as the data, everything else as redb ships it. A session opens
//! a read transaction, and the table in it, for each read, or one for all.

use std::path::Path;

use redb::{Database, Key, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition};

use crate::{Durability, PeerError, PeerFacts, PeerKey, PeerOptions, PeerSession, View};

const NUMBERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("record");
const TEXTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("text");
const CACHE_BYTES_MIN: u64 = 64 << 20;

const OTHER_KIND: &str = "all keys of a database are of one kind";

/// The table that there is, to read it.
enum Records {
    Numbers(ReadOnlyTable<u64, &'static [u8]>),
    Texts(ReadOnlyTable<&'static [u8], &'static [u8]>),
}

/// An open redb database.
pub struct Redb {
    db: Database,
    is_text: bool,
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
                Durability::Immediate, a transaction each, one at a time"
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
        let is_text = options.text_record_bytes.is_some();
        let write = db.begin_write().map_err(failed)?;
        match is_text {
            false => drop(write.open_table(NUMBERS).map_err(failed)?),
            true => drop(write.open_table(TEXTS).map_err(failed)?),
        }
        write.commit().map_err(failed)?;
        Ok(Self { db, is_text })
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
        match self.is_text {
            false => read.open_table(NUMBERS).map(Records::Numbers).map_err(failed),
            true => read.open_table(TEXTS).map(Records::Texts).map_err(failed),
        }
    }
}

fn get_in<'k, K: Key + 'static, R>(
    records: &ReadOnlyTable<K, &'static [u8]>,
    key: &K::SelfType<'k>,
    read: impl FnOnce(&[u8]) -> R,
) -> Result<Option<R>, PeerError> {
    let found = records.get(key).map_err(failed)?;
    Ok(found.map(|value| read(value.value())))
}

fn scan_in<'k, K: Key + 'static>(
    records: &ReadOnlyTable<K, &'static [u8]>,
    from: K::SelfType<'k>,
    count: u64,
    mut read: impl FnMut(K::SelfType<'_>, &[u8]),
) -> Result<u64, PeerError> {
    let count_max = usize::try_from(count).unwrap_or(usize::MAX);
    let mut seen = 0;
    for record in records.range(from..).map_err(failed)?.take(count_max) {
        let (key, value) = record.map_err(failed)?;
        read(key.value(), value.value());
        seen += 1;
    }
    Ok(seen)
}

/// Whether there is such a record.
fn modify_in<'k, K: Key + 'static>(
    records: &mut Table<'_, K, &'static [u8]>,
    key: &K::SelfType<'k>,
    mut change: impl FnMut(&[u8]) -> Vec<u8>,
) -> Result<bool, PeerError> {
    let value = records.get(key).map_err(failed)?.map(|value| change(value.value()));
    let Some(value) = value else { return Ok(false) };
    records.insert(key, value.as_slice()).map_err(failed)?;
    Ok(true)
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

    fn write<'r>(
        &self,
        records: impl Iterator<Item = (PeerKey<'r>, &'r [u8])>,
    ) -> Result<(), PeerError> {
        assert!(self.snapshot.is_none(), "a session with a snapshot only reads");
        let write = self.store.db.begin_write().map_err(failed)?;
        match self.store.is_text {
            false => {
                let mut table = write.open_table(NUMBERS).map_err(failed)?;
                for (key, value) in records {
                    let PeerKey::Number(key) = key else { panic!("{OTHER_KIND}") };
                    table.insert(key, value).map_err(failed)?;
                }
            }
            true => {
                let mut table = write.open_table(TEXTS).map_err(failed)?;
                for (key, value) in records {
                    let PeerKey::Text(key) = key else { panic!("{OTHER_KIND}") };
                    table.insert(key, value).map_err(failed)?;
                }
            }
        }
        write.commit().map_err(failed)
    }
}

impl PeerSession for RedbSession<'_> {
    fn put<'k>(&mut self, key: impl Into<PeerKey<'k>>, value: &[u8]) -> Result<(), PeerError> {
        self.write([(key.into(), value)].into_iter())
    }

    #[inline]
    fn get<'k, R>(
        &mut self,
        key: impl Into<PeerKey<'k>>,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, PeerError> {
        self.in_view(|records| match (records, key.into()) {
            (Records::Numbers(records), PeerKey::Number(key)) => get_in(records, &key, read),
            (Records::Texts(records), PeerKey::Text(key)) => get_in(records, &key, read),
            _ => panic!("{OTHER_KIND}"),
        })
    }

    fn scan<'k>(
        &mut self,
        from: impl Into<PeerKey<'k>>,
        count: u64,
        mut read: impl FnMut(PeerKey<'_>, &[u8]),
    ) -> Result<u64, PeerError> {
        self.in_view(|records| match (records, from.into()) {
            (Records::Numbers(records), PeerKey::Number(from)) => {
                scan_in(records, from, count, |key, value| read(PeerKey::Number(key), value))
            }
            (Records::Texts(records), PeerKey::Text(from)) => {
                let read = |key: &[u8], value: &[u8]| read(PeerKey::Text(key), value);
                scan_in(records, from, count, read)
            }
            _ => panic!("{OTHER_KIND}"),
        })
    }

    /// There is one write transaction at a time, so none is refused.
    fn modify<'k>(
        &mut self,
        key: impl Into<PeerKey<'k>>,
        change: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> Result<Option<u64>, PeerError> {
        let write = self.store.db.begin_write().map_err(failed)?;
        let is_there = match (self.store.is_text, key.into()) {
            (false, PeerKey::Number(key)) => {
                let mut records = write.open_table(NUMBERS).map_err(failed)?;
                modify_in(&mut records, &key, change)
            }
            (true, PeerKey::Text(key)) => {
                let mut records = write.open_table(TEXTS).map_err(failed)?;
                modify_in(&mut records, &key, change)
            }
            _ => panic!("{OTHER_KIND}"),
        }?;
        if !is_there {
            return Ok(None);
        }
        write.commit().map_err(failed)?;
        Ok(Some(0))
    }

    fn load<'r>(
        &mut self,
        records: impl Iterator<Item = (PeerKey<'r>, &'r [u8])>,
    ) -> Result<(), PeerError> {
        self.write(records)
    }
}
