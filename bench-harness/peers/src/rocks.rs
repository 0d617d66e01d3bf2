//! RocksDB: one shared handle, big-endian keys, one session per thread.
//!
//! Settings: bloom filter of 10 bits per key, HyperClockCache twice as large as the data, no
//! compression, WAL files recycled, everything else as RocksDB ships it. Durable writes use
//! `sync=true`. Writes that are durable within an interval stay in a buffer of the process
//! (`manual_wal_flush`) until a thread flushes and syncs the WAL.
//!
//! The database is opened as an OptimisticTransactionDB; what is not written in transactions goes
//! to the plain database inside. Transactions look for conflicts in memtables, so those that were
//! written out are kept, as many as RocksDB keeps for that; without transactions none.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, CompactOptions, DBCompressionType,
    ErrorKind, OptimisticTransactionDB, OptimisticTransactionOptions, Options, ReadOptions,
    SnapshotWithThreadMode, WaitForCompactOptions, WriteBatchWithTransaction, WriteOptions,
};

use crate::{Durability, PeerError, PeerFacts, PeerKey, PeerOptions, PeerSession, View, rocks_log};

/// Smallest block cache: small data must not make RocksDB evict its own index blocks.
const CACHE_BYTES_MIN: u64 = 64 << 20;

/// Size of a memtable, which is RocksDB's default.
const MEMTABLE_BYTES: &str = "67108864";
/// The same while log files are made to be recycled: none fills then.
const MEMTABLE_BYTES_WARM: &str = "134217728";
/// Bytes of each of these files: more than the log of a full memtable of small records takes.
const LOG_BYTES_WARM: usize = 80 << 20;
/// Files made: one to write, one that waits for its memtable, and one more in the pool.
const LOG_FILES_WARM: usize = 3;

/// Bytes of memtables that are kept where no transaction asks for them; 0 would mean RocksDB's
/// default for a database with transactions.
const HISTORY_BYTES_NONE: i64 = 1;

type DB = OptimisticTransactionDB;

/// An open RocksDB database.
pub struct Rocks {
    db: Arc<DB>,
    durability: Durability,
    flusher: Option<Flusher>,
}

impl Rocks {
    /// Its log.
    pub const FLUSHES_PER_COMMIT: u32 = 1;

    /// What a reader of the results needs to know, in part by RocksDB's own words: opens and
    /// removes a database in `path`, which must not exist.
    pub fn facts(path: &Path) -> Result<PeerFacts, PeerError> {
        const SETTINGS: &str = "bloom filter 10 bits/key, HyperClockCache 2x the data, \
            compression none, recycle_log_file_num=2, log files of 80 MiB written before; sync: \
            sync=true; interval-100ms: manual_wal_flush, flush_wal(true) each 100 ms; os-cache: \
            sync=false; transactions: OptimisticTransactionDB, get_for_update; before reads: \
            compacted";
        let options = PeerOptions {
            durability: Durability::OsCache,
            data_bytes: 0,
            cache_bytes: 0,
            modifies: false,
            text_record_bytes: None,
        };
        drop(Self::open(path, options)?);
        let log = std::fs::read(path.join("LOG"))?;
        std::fs::remove_dir_all(path)?;
        let (version, settings) = rocks_log::facts(&String::from_utf8_lossy(&log), SETTINGS);
        Ok(PeerFacts { version, settings, flushes_per_commit: Self::FLUSHES_PER_COMMIT })
    }

    /// Opens or creates the database in directory `path`.
    pub fn open(path: &Path, options: PeerOptions) -> Result<Self, PeerError> {
        let cache_bytes = options.cache_bytes.max(CACHE_BYTES_MIN);
        let cache_bytes = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
        let mut table = BlockBasedOptions::default();
        table.set_bloom_filter(10.0, false);
        table.set_block_cache(&Cache::new_hyper_clock_cache(cache_bytes, 0));
        let mut database = Options::default();
        database.create_if_missing(true);
        database.set_compression_type(DBCompressionType::None);
        database.set_recycle_log_file_num(2);
        database.set_block_based_table_factory(&table);
        if !options.modifies {
            database.set_max_write_buffer_size_to_maintain(HISTORY_BYTES_NONE);
        }
        if let Durability::Interval(_) = options.durability {
            database.set_manual_wal_flush(true);
        }
        let db = Arc::new(DB::open(&database, path)?);
        let flusher = match options.durability {
            Durability::Interval(interval) => Some(Flusher::start(Arc::clone(&db), interval)),
            Durability::Durable | Durability::OsCache => None,
        };
        Ok(Self { db, durability: options.durability, flusher })
    }

    /// A session for the calling thread.
    pub fn session(&self, view: View) -> RocksSession<'_> {
        let mut write = WriteOptions::default();
        write.set_sync(self.durability == Durability::Durable);
        let snapshot = (view == View::Snapshot).then(|| self.db.snapshot());
        let mut read = ReadOptions::default();
        if let Some(snapshot) = &snapshot {
            read.set_snapshot(snapshot);
        }
        RocksSession { db: &self.db, write, read, snapshot }
    }

    /// Brings durable commits to their steady state: RocksDB reuses WAL files, whose extents are
    /// written already, only after the first ones were retired. A memtable is full before its log
    /// is as long as one of these files, so no commit extends them. RocksDB cuts a file to what it
    /// holds when it goes on to the next: nothing may flush between the rounds, [`Self::settle`]
    /// does not. Writes records under keys from `key_first` on, and removes none of them.
    pub fn recycle_log_files(&self, key_first: u64) -> Result<(), PeerError> {
        let mut write = WriteOptions::default();
        write.set_sync(false);
        let value = [0x5au8; 4096];
        let mut key = key_first;
        // A memtable keeps the size with which it began.
        self.db.set_options(&[("write_buffer_size", MEMTABLE_BYTES_WARM)])?;
        self.db.put_opt(key.to_be_bytes(), value, &write)?;
        self.db.flush()?;
        for file in 1..=LOG_FILES_WARM {
            for _put in 0..LOG_BYTES_WARM / value.len() {
                key += 1;
                self.db.put_opt(key.to_be_bytes(), value, &write)?;
            }
            if file == LOG_FILES_WARM {
                self.db.set_options(&[("write_buffer_size", MEMTABLE_BYTES)])?;
            }
            self.db.flush()?;
        }
        self.settle()
    }

    /// Waits until full memtables are written out and no compaction is running or due.
    pub fn settle(&self) -> Result<(), PeerError> {
        self.db.wait_for_compact(&WaitForCompactOptions::default())?;
        Ok(())
    }

    /// Brings all records to the last level, where a read looks at one file.
    pub fn compact(&self) -> Result<(), PeerError> {
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.flush()?;
        self.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        self.settle()
    }

    /// Makes all that was written durable.
    pub fn sync(&self) -> Result<(), PeerError> {
        Ok(self.db.flush_wal(true)?)
    }

    /// Closes the database; the error of a flush in the background is reported here.
    pub fn close(self) -> Result<(), PeerError> {
        self.flusher.map_or(Ok(()), Flusher::end)
    }
}

/// A thread that makes the log durable at intervals, if something was written to it.
struct Flusher {
    /// It ends when this is dropped.
    stop: Sender<()>,
    thread: JoinHandle<Result<(), rocksdb::Error>>,
}

impl Flusher {
    fn start(db: Arc<DB>, interval: Duration) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut durable = db.latest_sequence_number();
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let written = db.latest_sequence_number();
                if written > durable {
                    db.flush_wal(true)?;
                    durable = written;
                }
            }
            db.flush_wal(true)
        });
        Self { stop, thread }
    }

    fn end(self) -> Result<(), PeerError> {
        drop(self.stop);
        let ended = self.thread.join();
        Ok(ended.map_err(|_| PeerError::Refused("the thread that flushes RocksDB panicked"))??)
    }
}

/// One thread's way into RocksDB.
pub struct RocksSession<'s> {
    db: &'s DB,
    write: WriteOptions,
    /// Names the snapshot, so it is dropped first.
    read: ReadOptions,
    snapshot: Option<SnapshotWithThreadMode<'s, DB>>,
}

impl PeerSession for RocksSession<'_> {
    #[inline]
    fn put<'k>(&mut self, key: impl Into<PeerKey<'k>>, value: &[u8]) -> Result<(), PeerError> {
        Ok(self.db.put_opt(key.into().bytes(), value, &self.write)?)
    }

    #[inline]
    fn get<'k, R>(
        &mut self,
        key: impl Into<PeerKey<'k>>,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, PeerError> {
        Ok(self.db.get_pinned_opt(key.into().bytes(), &self.read)?.map(|value| read(&value)))
    }

    fn scan<'k>(
        &mut self,
        from: impl Into<PeerKey<'k>>,
        count: u64,
        mut read: impl FnMut(PeerKey<'_>, &[u8]),
    ) -> Result<u64, PeerError> {
        let mut options = ReadOptions::default();
        if let Some(snapshot) = &self.snapshot {
            options.set_snapshot(snapshot);
        }
        let mut cursor = self.db.raw_iterator_opt(options);
        let from = from.into();
        cursor.seek(from.bytes());
        let mut seen = 0;
        while seen < count
            && let Some((key, value)) = cursor.item()
        {
            read(from.of_bytes(key), value);
            seen += 1;
            cursor.next();
        }
        cursor.status()?;
        Ok(seen)
    }

    fn modify<'k>(
        &mut self,
        key: impl Into<PeerKey<'k>>,
        mut change: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> Result<Option<u64>, PeerError> {
        let (key, options) = (key.into(), OptimisticTransactionOptions::default());
        let key = key.bytes();
        let mut retries = 0;
        loop {
            let transaction = self.db.transaction_opt(&self.write, &options);
            let found = transaction.get_pinned_for_update_opt(&key, true, &self.read)?;
            let Some(value) = found.map(|value| change(&value)) else { return Ok(None) };
            transaction.put(&key, value)?;
            match transaction.commit() {
                Ok(()) => return Ok(Some(retries)),
                // The second: memtables that would tell were dropped.
                Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::TryAgain) => {
                    retries += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn load<'r>(
        &mut self,
        records: impl Iterator<Item = (PeerKey<'r>, &'r [u8])>,
    ) -> Result<(), PeerError> {
        let mut batch = WriteBatchWithTransaction::<true>::default();
        for (key, value) in records {
            batch.put(key.bytes(), value);
        }
        Ok(self.db.write_opt(batch, &self.write)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Size of each log file, by inode, which a recycled one keeps.
    fn log_files(dir: &Path) -> BTreeMap<u64, u64> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
        let logs = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "log"));
        logs.map(|log| log.metadata().unwrap()).map(|log| (log.ino(), log.len())).collect()
    }

    #[test]
    fn no_commit_extends_a_log_file() {
        const PUTS: u64 = 1_000_000; // more than two memtables
        let dir = std::env::temp_dir().join(format!("uarr-bench-rocks-{}", std::process::id()));
        let options = PeerOptions {
            durability: Durability::OsCache,
            data_bytes: 1 << 20,
            cache_bytes: 2 << 20,
            modifies: false,
            text_record_bytes: None,
        };
        let rocks = Rocks::open(&dir, options).unwrap();
        rocks.recycle_log_files(1 << 60).unwrap();
        let before = log_files(&dir);
        let mut session = rocks.session(View::PerRead);
        for key in 0..PUTS {
            session.put(key, &[7; 128]).unwrap();
        }
        let after = log_files(&dir);
        drop(session);
        rocks.close().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        // A file that was left is cut to what it held.
        let is_as_long = |(file, bytes)| before.get(file).is_some_and(|before| before >= bytes);
        assert!(after.iter().all(is_as_long), "{before:?} {after:?}");
        assert!(before.values().all(|&bytes| bytes >= LOG_BYTES_WARM as u64), "{before:?}");
    }

    #[test]
    fn a_snapshot_sees_what_was_there_when_the_session_began() {
        let dir = std::env::temp_dir().join(format!("uarr-bench-views-{}", std::process::id()));
        let durability = Durability::Interval(Duration::from_millis(5));
        let (data_bytes, cache_bytes) = (1 << 20, 2 << 20);
        let options = PeerOptions {
            durability,
            data_bytes,
            cache_bytes,
            modifies: true,
            text_record_bytes: None,
        };
        let rocks = Rocks::open(&dir, options).unwrap();
        let mut writer = rocks.session(View::PerRead);
        writer.put(1, b"old").unwrap();
        let mut snapshot = rocks.session(View::Snapshot);
        writer.put(1, b"new").unwrap();
        let is = |session: &mut RocksSession<'_>, expected: &[u8]| {
            session.get(1, |value| value == expected).unwrap()
        };
        assert_eq!(is(&mut snapshot, b"old"), Some(true));
        assert_eq!(is(&mut writer, b"new"), Some(true));
        drop((snapshot, writer));
        rocks.compact().unwrap();
        rocks.close().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        let facts = Rocks::facts(&dir).unwrap();
        assert!(facts.version.starts_with(|first: char| first.is_ascii_digit()), "{facts:?}");
        assert!(facts.settings.contains("CRC") && !facts.settings.contains("unknown"), "{facts:?}");
        assert!(!dir.exists());
    }
}
