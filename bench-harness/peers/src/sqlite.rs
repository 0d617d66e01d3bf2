//! SQLite: a table with an integer key in WAL mode, one connection and its prepared statements per
//! thread.
//!
//! Settings: journal_mode=WAL, synchronous=FULL for durable writes and OFF for unsynced ones,
//! mmap_size and page cache as large as the data, a busy timeout of 30 s. A session lets each
//! statement open its own read transaction, or opens one for all of them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Statement, params};

use crate::{Durability, PeerError, PeerFacts, PeerOptions, PeerSession, View};

const SQL_CREATE: &str =
    "CREATE TABLE IF NOT EXISTS record (key INTEGER PRIMARY KEY, value BLOB NOT NULL)";
const SQL_PUT: &str = "INSERT INTO record (key, value) VALUES (?1, ?2) \
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const SQL_GET: &str = "SELECT value FROM record WHERE key = ?1";
const SQL_SCAN: &str = "SELECT key, value FROM record WHERE key >= ?1 ORDER BY key LIMIT ?2";

/// Longest wait for another connection's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Smallest page cache and map.
const CACHE_BYTES_MIN: u64 = 64 << 20;

/// An SQLite database file; connections are opened from it.
pub struct Sqlite {
    path: PathBuf,
    options: PeerOptions,
    /// Keeps the WAL and its index alive between the connections of worker threads. Never used
    /// by sessions; the lock is there because a connection must not be shared by threads.
    anchor: Mutex<SqliteConnection>,
}

impl Sqlite {
    /// Its log.
    pub const FLUSHES_PER_COMMIT: u32 = 1;

    /// What a reader of the results needs to know.
    pub fn facts() -> PeerFacts {
        PeerFacts {
            version: rusqlite::version().to_owned(),
            settings: "journal_mode=WAL, mmap_size and cache_size 2x the data, prepared \
                statements, one connection per thread, busy_timeout 30 s; sync: \
                synchronous=FULL; os-cache: synchronous=OFF; before reads: the WAL checkpointed"
                .to_owned(),
            flushes_per_commit: Self::FLUSHES_PER_COMMIT,
        }
    }

    /// Opens or creates the database in directory `path`.
    pub fn open(path: &Path, options: PeerOptions) -> Result<Self, PeerError> {
        if let Durability::Interval(_) = options.durability {
            return Err(PeerError::Refused("SQLite cannot make its log durable at intervals"));
        }
        std::fs::create_dir_all(path)?;
        let path = path.join("peer.sqlite");
        let anchor = SqliteConnection::open(&path, options)?;
        anchor.connection.execute_batch(SQL_CREATE)?;
        Ok(Self { path, options, anchor: Mutex::new(anchor) })
    }

    /// Brings the whole log into the database file and cuts it to nothing: no read looks for its
    /// page in the log then.
    pub fn checkpoint(&self) -> Result<(), PeerError> {
        let anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let is_busy: bool =
            anchor.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        match is_busy {
            false => Ok(()),
            true => Err(PeerError::Refused("SQLite could not checkpoint its log: it is in use")),
        }
    }

    /// A connection for the calling thread.
    pub fn connect(&self) -> Result<SqliteConnection, PeerError> {
        SqliteConnection::open(&self.path, self.options)
    }
}

/// One thread's connection; statements borrow from it.
pub struct SqliteConnection {
    connection: Connection,
}

impl SqliteConnection {
    fn open(path: &Path, options: PeerOptions) -> Result<Self, PeerError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let cache_bytes = options.cache_bytes.max(CACHE_BYTES_MIN);
        let synchronous = match options.durability {
            Durability::Durable => "FULL",
            Durability::OsCache | Durability::Interval(_) => "OFF",
        };
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(
            None,
            "mmap_size",
            i64::try_from(cache_bytes).unwrap_or(i64::MAX),
        )?;
        // A negative cache_size is in KiB.
        connection.pragma_update(
            None,
            "cache_size",
            -i64::try_from(cache_bytes / 1024).unwrap_or(i64::MAX),
        )?;
        Ok(Self { connection })
    }

    /// Prepares the statements. A snapshot ends with the connection.
    pub fn session(&self, view: View) -> Result<SqliteSession<'_>, PeerError> {
        if view == View::Snapshot {
            // The first read takes the snapshot.
            self.connection.execute_batch("BEGIN")?;
        }
        Ok(SqliteSession {
            put: self.connection.prepare(SQL_PUT)?,
            get: self.connection.prepare(SQL_GET)?,
            scan: self.connection.prepare(SQL_SCAN)?,
            connection: &self.connection,
        })
    }
}

/// The signed integer that stands for a key, in the order of keys.
const fn row_id(key: u64) -> i64 {
    (key ^ 1 << 63).cast_signed()
}

const fn key_of_row(row_id: i64) -> u64 {
    row_id.cast_unsigned() ^ 1 << 63
}

/// One thread's way into SQLite.
pub struct SqliteSession<'c> {
    put: Statement<'c>,
    get: Statement<'c>,
    scan: Statement<'c>,
    connection: &'c Connection,
}

impl PeerSession for SqliteSession<'_> {
    #[inline]
    fn put(&mut self, key: u64, value: &[u8]) -> Result<(), PeerError> {
        self.put.execute(params![row_id(key), value])?;
        Ok(())
    }

    #[inline]
    fn get<R>(&mut self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, PeerError> {
        let mut rows = self.get.query(params![row_id(key)])?;
        match rows.next()? {
            Some(row) => {
                let value = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
                Ok(Some(read(value)))
            }
            None => Ok(None),
        }
    }

    fn scan(
        &mut self,
        from: u64,
        count: u64,
        mut read: impl FnMut(u64, &[u8]),
    ) -> Result<u64, PeerError> {
        let count_max = i64::try_from(count).unwrap_or(i64::MAX);
        let mut rows = self.scan.query(params![row_id(from), count_max])?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            let value = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            read(key_of_row(row.get(0)?), value);
            seen += 1;
        }
        Ok(seen)
    }

    fn load(&mut self, records: &[(u64, Vec<u8>)]) -> Result<(), PeerError> {
        let transaction = self.connection.unchecked_transaction()?;
        for (key, value) in records {
            self.put.execute(params![row_id(*key), value])?;
        }
        Ok(transaction.commit()?)
    }
}
