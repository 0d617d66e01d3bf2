//! RocksDB: one shared handle, big-endian keys, one session per thread.
//!
//! Settings: bloom filter of 10 bits per key, LRU block cache twice as large as the data, no
//! compression, WAL files recycled, everything else as RocksDB ships it. Durable writes use
//! `sync=true`.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Options, ReadOptions, WaitForCompactOptions,
    WriteBatch, WriteOptions,
};

use crate::{Durability, PeerError, PeerOptions, PeerSession};

/// Smallest block cache: small data must not make RocksDB evict its own index blocks.
const CACHE_BYTES_MIN: u64 = 64 << 20;

/// Unsynced bytes written before each of the two rotations that fill the pool of WAL files to
/// recycle.
const RECYCLE_WARM_BYTES: usize = 24 << 20;

/// An open RocksDB database.
pub struct Rocks {
    db: DB,
    durability: Durability,
}

impl Rocks {
    /// What a reader of the results needs to know about the set-up.
    pub const SETTINGS: &str = "bloom filter 10 bits/key, LRU block cache 2x the data, compression \
        none, recycle_log_file_num=2; durable: sync=true; unsynced: sync=false";

    /// Version of the RocksDB sources compiled in.
    pub const VERSION: &str = "11.8 (rocksdb crate 0.25)";

    /// Opens or creates the database in directory `path`.
    pub fn open(path: &Path, options: PeerOptions) -> Result<Self, PeerError> {
        let cache_bytes = (2 * options.data_bytes).max(CACHE_BYTES_MIN);
        let cache_bytes = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
        let mut table = BlockBasedOptions::default();
        table.set_bloom_filter(10.0, false);
        table.set_block_cache(&Cache::new_lru_cache(cache_bytes));
        let mut database = Options::default();
        database.create_if_missing(true);
        database.set_compression_type(DBCompressionType::None);
        database.set_recycle_log_file_num(2);
        database.set_block_based_table_factory(&table);
        Ok(Self { db: DB::open(&database, path)?, durability: options.durability })
    }

    /// A session for the calling thread.
    pub fn session(&self) -> RocksSession<'_> {
        let mut write = WriteOptions::default();
        write.set_sync(self.durability == Durability::Durable);
        RocksSession { db: &self.db, write, read: ReadOptions::default() }
    }

    /// Brings durable commits to their steady state: RocksDB reuses WAL files, whose extents are
    /// written already, only after the first ones were retired. Writes records under keys from
    /// `key_first` on, and removes none of them.
    pub fn recycle_log_files(&self, key_first: u64) -> Result<(), PeerError> {
        let mut write = WriteOptions::default();
        write.set_sync(false);
        let value = [0x5au8; 4096];
        let mut key = key_first;
        for _rotation in 0..2 {
            for _put in 0..RECYCLE_WARM_BYTES / value.len() {
                self.db.put_opt(key.to_be_bytes(), value, &write)?;
                key += 1;
            }
            self.db.flush()?;
        }
        self.settle()
    }

    /// Waits until memtables are written out and no compaction is running or due.
    pub fn settle(&self) -> Result<(), PeerError> {
        self.db.flush()?;
        self.db.wait_for_compact(&WaitForCompactOptions::default())?;
        Ok(())
    }
}

/// One thread's way into RocksDB.
pub struct RocksSession<'s> {
    db: &'s DB,
    write: WriteOptions,
    read: ReadOptions,
}

impl PeerSession for RocksSession<'_> {
    #[inline]
    fn put(&mut self, key: u64, value: &[u8]) -> Result<(), PeerError> {
        Ok(self.db.put_opt(key.to_be_bytes(), value, &self.write)?)
    }

    #[inline]
    fn get<R>(&mut self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, PeerError> {
        Ok(self.db.get_pinned_opt(key.to_be_bytes(), &self.read)?.map(|value| read(&value)))
    }

    fn scan(
        &mut self,
        from: u64,
        count: u64,
        mut read: impl FnMut(u64, &[u8]),
    ) -> Result<u64, PeerError> {
        let mut cursor = self.db.raw_iterator();
        cursor.seek(from.to_be_bytes());
        let mut seen = 0;
        while seen < count
            && let Some((key, value)) = cursor.item()
        {
            let key = key.try_into().expect("all keys are 8 bytes long");
            read(u64::from_be_bytes(key), value);
            seen += 1;
            cursor.next();
        }
        cursor.status()?;
        Ok(seen)
    }

    fn load(&mut self, records: &[(u64, Vec<u8>)]) -> Result<(), PeerError> {
        let mut batch = WriteBatch::default();
        for (key, value) in records {
            batch.put(key.to_be_bytes(), value);
        }
        Ok(self.db.write_opt(batch, &self.write)?)
    }
}
