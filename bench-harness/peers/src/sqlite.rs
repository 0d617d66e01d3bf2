//! SQLite: a table with an integer key in WAL mode, one connection and its prepared statements per
//! thread.
//!
//! Settings: journal_mode=WAL, synchronous=FULL for durable writes and OFF for unsynced ones,
//! mmap_size and page cache as large as the data, a busy timeout of 30 s. A session lets each
//! statement open its own read transaction, or opens one for all of them.
//!
//! A record is modified in a transaction that begins with BEGIN IMMEDIATE, which waits until no
//! other connection writes. One that began by reading could not wait: once another connection has
//! written, SQLite refuses its first write at once (SQLITE_BUSY_SNAPSHOT), and all of it was in
//! vain.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, Statement, ToSql, params};

use crate::{Durability, PeerError, PeerFacts, PeerKey, PeerOptions, PeerSession, View};

const SQL_CREATE: &str =
    "CREATE TABLE IF NOT EXISTS record (key INTEGER PRIMARY KEY, value BLOB NOT NULL)";
const SQL_CREATE_TEXT: &str =
    "CREATE TABLE IF NOT EXISTS record (key BLOB PRIMARY KEY, value BLOB NOT NULL)";
const SQL_PUT: &str = "INSERT INTO record (key, value) VALUES (?1, ?2) \
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const SQL_GET: &str = "SELECT value FROM record WHERE key = ?1";
const SQL_SCAN: &str = "SELECT key, value FROM record WHERE key >= ?1 ORDER BY key LIMIT ?2";
const SQL_BEGIN: &str = "BEGIN IMMEDIATE";
const SQL_COMMIT: &str = "COMMIT";

/// Longest wait for another connection's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two attempts where SQLite itself does not wait.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// Largest record of a table WITHOUT ROWID, which SQLite's guide gives as a twentieth of a page.
const RECORD_BYTES_MAX: u64 = 4096 / 20;

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
                synchronous=FULL; os-cache: synchronous=OFF; transactions: BEGIN IMMEDIATE; text \
                keys: BLOB PRIMARY KEY, of small records WITHOUT ROWID; before reads: the WAL \
                checkpointed"
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
        let create = match options.text_record_bytes {
            None => SQL_CREATE.to_owned(),
            Some(bytes) if bytes <= RECORD_BYTES_MAX => format!("{SQL_CREATE_TEXT} WITHOUT ROWID"),
            Some(_) => SQL_CREATE_TEXT.to_owned(),
        };
        anchor.connection.execute_batch(&create)?;
        Ok(Self { path, options, anchor: Mutex::new(anchor) })
    }

    /// Brings the whole log into the database file and cuts it to nothing: no read looks for its
    /// page in the log then.
    pub fn checkpoint(&self) -> Result<(), PeerError> {
        let anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + BUSY_TIMEOUT;
        // Where a writer's own checkpoint is under way, it says so at once, whatever it may wait.
        loop {
            let is_busy: bool =
                anchor
                    .connection
                    .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            if !is_busy {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = "SQLite could not checkpoint its log: it is in use";
                return Err(PeerError::Refused(what));
            }
            std::thread::sleep(BUSY_PAUSE);
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
            begin: self.connection.prepare(SQL_BEGIN)?,
            commit: self.connection.prepare(SQL_COMMIT)?,
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

impl ToSql for PeerKey<'_> {
    #[inline]
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Number(number) => row_id(*number).into(),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Blob(text)),
        })
    }
}

/// One thread's way into SQLite.
pub struct SqliteSession<'c> {
    put: Statement<'c>,
    get: Statement<'c>,
    scan: Statement<'c>,
    begin: Statement<'c>,
    commit: Statement<'c>,
    connection: &'c Connection,
}

impl PeerSession for SqliteSession<'_> {
    #[inline]
    fn put<'k>(&mut self, key: impl Into<PeerKey<'k>>, value: &[u8]) -> Result<(), PeerError> {
        self.put.execute(params![key.into(), value])?;
        Ok(())
    }

    #[inline]
    fn get<'k, R>(
        &mut self,
        key: impl Into<PeerKey<'k>>,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, PeerError> {
        let mut rows = self.get.query(params![key.into()])?;
        match rows.next()? {
            Some(row) => {
                let value = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
                Ok(Some(read(value)))
            }
            None => Ok(None),
        }
    }

    fn scan<'k>(
        &mut self,
        from: impl Into<PeerKey<'k>>,
        count: u64,
        mut read: impl FnMut(PeerKey<'_>, &[u8]),
    ) -> Result<u64, PeerError> {
        let count_max = i64::try_from(count).unwrap_or(i64::MAX);
        let mut rows = self.scan.query(params![from.into(), count_max])?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            let value = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            let key = match row.get_ref(0)? {
                ValueRef::Integer(row_id) => PeerKey::Number(key_of_row(row_id)),
                key => PeerKey::Text(key.as_blob().map_err(rusqlite::Error::from)?),
            };
            read(key, value);
            seen += 1;
        }
        Ok(seen)
    }

    /// There is one write transaction at a time, so none is refused. After an error the
    /// transaction ends with the connection, as the run does.
    fn modify<'k>(
        &mut self,
        key: impl Into<PeerKey<'k>>,
        change: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> Result<Option<u64>, PeerError> {
        let key = key.into();
        self.begin.execute([])?;
        let value = self.get(key, change)?;
        if let Some(value) = &value {
            self.put(key, value)?;
        }
        self.commit.execute([])?;
        Ok(value.map(|_| 0))
    }

    fn load<'r>(
        &mut self,
        records: impl Iterator<Item = (PeerKey<'r>, &'r [u8])>,
    ) -> Result<(), PeerError> {
        let transaction = self.connection.unchecked_transaction()?;
        for (key, value) in records {
            self.put.execute(params![key, value])?;
        }
        Ok(transaction.commit()?)
    }
}
