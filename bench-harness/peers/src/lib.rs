//! RocksDB, SQLite, LMDB, redb and fjall, set up the way their own guides recommend for this load,
//! compiled apart.
//!
//! Compiling RocksDB takes many minutes of C++, so it has a feature of its own, `rocksdb`, and only
//! `uarr-bench` with its feature `sqlite`, `rust-peers` or `peers` depends on this crate. It
//! depends on nothing of ours and knows no workloads: it offers stores whose sessions are all
//! alike, [`PeerSession`], each with the settings that a reader of the results can check.
//!
//! Invariants:
//! - A store opened as [`Durability::Durable`] returns from a write only when the write survives a
//!   loss of power, one flush of the device per commit or per group of commits.
//! - A store opened as [`Durability::Interval`] acknowledges a write in memory and makes it durable
//!   within the interval and one flush.
//! - A store opened as [`Durability::OsCache`] never waits for the device.
//! - Reads copy nothing that the peer's own interface does not copy.

#![deny(unsafe_code)]

#[cfg(feature = "fjall")]
mod fjall;
mod key;
mod lmdb;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocks;
#[cfg(any(feature = "rocksdb", test))]
mod rocks_log;
mod sqlite;

#[cfg(feature = "fjall")]
pub use self::fjall::{Fjall, FjallSession};
#[cfg(feature = "redb")]
pub use self::redb::{Redb, RedbSession};
pub use key::PeerKey;
pub use lmdb::{Lmdb, LmdbSession};
#[cfg(feature = "rocksdb")]
pub use rocks::{Rocks, RocksSession};
pub use sqlite::{Sqlite, SqliteConnection, SqliteSession};

use std::fmt;
use std::time::Duration;

/// When a write of a peer is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After it reached stable storage.
    Durable,
    /// At once; it reaches stable storage within this time and one flush. RocksDB alone has this.
    Interval(Duration),
    /// After it reached the page cache of the operating system.
    OsCache,
}

/// How peers are opened.
#[derive(Clone, Copy, Debug)]
pub struct PeerOptions {
    /// When writes are acknowledged.
    pub durability: Durability,
    /// Bytes of user data expected; maps are made large enough to hold all of it.
    pub data_bytes: u64,
    /// Bytes of the peer's own cache, if it has one.
    pub cache_bytes: u64,
    /// Whether sessions modify records.
    pub modifies: bool,
    /// Bytes of a record, where keys are text.
    pub text_record_bytes: Option<u64>,
}

/// What the reads of a session see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Each read sees what was there when it began: it opens a read transaction and ends it.
    PerRead,
    /// All reads see what was there when the session began: one read transaction for all of them.
    /// A session writes nothing then.
    Snapshot,
}

/// What a reader of the results needs to know about a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFacts {
    /// The version, as the library gives it at run time.
    pub version: String,
    /// How it was compiled and set up.
    pub settings: String,
    /// How often it flushes the device for a durable write of a lone writer. A test counts them.
    pub flushes_per_commit: u32,
}

/// One thread's way into a peer.
pub trait PeerSession {
    /// Writes one record with the durability the store was opened with.
    fn put<'k>(&mut self, key: impl Into<PeerKey<'k>>, value: &[u8]) -> Result<(), PeerError>;
    /// Hands the value under `key` to `read`, in place in the peer's own memory; `None` if there is
    /// no record.
    fn get<'k, R>(
        &mut self,
        key: impl Into<PeerKey<'k>>,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, PeerError>;
    /// Hands key and value of up to `count` records to `read`, in key order from `from` on, in
    /// place. Returns how many there were; fewer only at the end.
    fn scan<'k>(
        &mut self,
        from: impl Into<PeerKey<'k>>,
        count: u64,
        read: impl FnMut(PeerKey<'_>, &[u8]),
    ) -> Result<u64, PeerError>;
    /// Writes all records in one transaction.
    fn load<'r>(
        &mut self,
        records: impl Iterator<Item = (PeerKey<'r>, &'r [u8])>,
    ) -> Result<(), PeerError>;
    /// Reads the value under `key`, and writes what `change` makes of it, in one transaction with
    /// the durability the store was opened with; runs it again as long as the peer says that
    /// another one came in between. Returns how often that was; `None` if there is no record.
    fn modify<'k>(
        &mut self,
        key: impl Into<PeerKey<'k>>,
        change: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> Result<Option<u64>, PeerError>;
}

/// An error of a peer, with the peer's own words.
#[derive(Debug)]
pub enum PeerError {
    /// From RocksDB.
    #[cfg(feature = "rocksdb")]
    Rocks(rocksdb::Error),
    /// From SQLite.
    Sqlite(rusqlite::Error),
    /// From LMDB.
    Lmdb(heed::Error),
    /// From redb.
    #[cfg(feature = "redb")]
    Redb(::redb::Error),
    /// From fjall.
    #[cfg(feature = "fjall")]
    Fjall(::fjall::Error),
    /// From the file system around them.
    Io(std::io::Error),
    /// The peer did not do what it was asked for, without an error of its own.
    Refused(&'static str),
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "rocksdb")]
            Self::Rocks(error) => write!(f, "RocksDB: {error}"),
            Self::Sqlite(error) => write!(f, "SQLite: {error}"),
            Self::Lmdb(error) => write!(f, "LMDB: {error}"),
            #[cfg(feature = "redb")]
            Self::Redb(error) => write!(f, "redb: {error}"),
            #[cfg(feature = "fjall")]
            Self::Fjall(error) => write!(f, "fjall: {error}"),
            Self::Io(error) => write!(f, "directory of a peer: {error}"),
            Self::Refused(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for PeerError {}

#[cfg(feature = "rocksdb")]
impl From<rocksdb::Error> for PeerError {
    fn from(error: rocksdb::Error) -> Self {
        Self::Rocks(error)
    }
}

impl From<rusqlite::Error> for PeerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<heed::Error> for PeerError {
    fn from(error: heed::Error) -> Self {
        Self::Lmdb(error)
    }
}

#[cfg(feature = "fjall")]
impl From<::fjall::Error> for PeerError {
    fn from(error: ::fjall::Error) -> Self {
        Self::Fjall(error)
    }
}

impl From<std::io::Error> for PeerError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: PeerOptions = PeerOptions {
        durability: Durability::OsCache,
        data_bytes: 1 << 20,
        cache_bytes: 2 << 20,
        modifies: false,
        text_record_bytes: None,
    };

    fn dir(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("uarr-bench-{name}-{}", std::process::id()))
    }

    /// `snapshot` reads before and after `writer` writes.
    fn check_views<S: PeerSession>(writer: &mut S, snapshot: &mut S) {
        let value = |session: &mut S| session.get(1, <[u8]>::to_vec).unwrap().unwrap();
        assert_eq!(value(snapshot), b"old");
        writer.put(1, b"new").unwrap();
        assert_eq!((value(writer), value(snapshot)), (b"new".to_vec(), b"old".to_vec()));
        let mut seen = Vec::new();
        writer.scan(0, 9, |key, value| seen.push((key == 1.into(), value.to_vec()))).unwrap();
        assert_eq!(seen, [(true, b"new".to_vec())]);
    }

    #[test]
    fn sqlite_reads_each_record_anew_or_all_in_one_snapshot() {
        let dir = dir("sqlite");
        let sqlite = Sqlite::open(&dir, OPTIONS).unwrap();
        let (one, other) = (sqlite.connect().unwrap(), sqlite.connect().unwrap());
        let mut writer = one.session(View::PerRead).unwrap();
        writer.put(1, b"old").unwrap();
        sqlite.checkpoint().unwrap();
        assert_eq!(std::fs::metadata(dir.join("peer.sqlite-wal")).unwrap().len(), 0);
        let mut snapshot = other.session(View::Snapshot).unwrap();
        check_views(&mut writer, &mut snapshot);
        drop((writer, snapshot));
        drop((one, other));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn lmdb_reads_each_record_anew_or_all_in_one_snapshot() {
        let dir = dir("lmdb");
        let lmdb = Lmdb::open(&dir, OPTIONS).unwrap();
        lmdb.session(View::PerRead).unwrap().put(1, b"old").unwrap();
        // A thread of LMDB has one read transaction at a time.
        std::thread::scope(|scope| {
            let (written, wait) = std::sync::mpsc::channel();
            let (begun, begin) = std::sync::mpsc::channel();
            let lmdb = &lmdb;
            scope.spawn(move || {
                let mut snapshot = lmdb.session(View::Snapshot).unwrap();
                begun.send(()).unwrap();
                wait.recv().unwrap();
                let value = snapshot.get(1, <[u8]>::to_vec).unwrap();
                assert_eq!(value.unwrap(), b"old");
            });
            begin.recv().unwrap();
            let mut session = lmdb.session(View::PerRead).unwrap();
            session.put(1, b"new").unwrap();
            assert_eq!(session.get(1, <[u8]>::to_vec).unwrap().unwrap(), b"new");
            written.send(()).unwrap();
        });
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[cfg(feature = "redb")]
    #[test]
    fn redb_reads_each_record_anew_or_all_in_one_snapshot() {
        let dir = dir("redb");
        let options = PeerOptions { durability: Durability::Durable, ..OPTIONS };
        let redb = Redb::open(&dir, options).unwrap();
        let mut writer = redb.session(View::PerRead).unwrap();
        writer.put(1, b"old").unwrap();
        let mut snapshot = redb.session(View::Snapshot).unwrap();
        check_views(&mut writer, &mut snapshot);
        assert!(Redb::open(&dir, OPTIONS).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[cfg(feature = "fjall")]
    #[test]
    fn fjall_reads_each_record_anew_or_all_in_one_snapshot() {
        let dir = dir("fjall");
        let fjall = Fjall::open(&dir, OPTIONS).unwrap();
        let mut writer = fjall.session(View::PerRead);
        writer.put(1, b"old").unwrap();
        fjall.compact().unwrap();
        let mut snapshot = fjall.session(View::Snapshot);
        check_views(&mut writer, &mut snapshot);
        drop((writer, snapshot));
        drop(fjall);
        std::fs::remove_dir_all(dir).unwrap();
    }

    /// Text is found, modified and scanned in its order.
    fn check_text<S: PeerSession>(session: &mut S) {
        let texts = ["user:9", "user:10", "user"].map(|text| PeerKey::Text(text.as_bytes()));
        session.load(texts.iter().map(|key| (*key, b"old".as_slice()))).unwrap();
        session.put(texts[1], b"new").unwrap();
        let retries = session.modify(texts[0], |old| [old, b"er"].concat()).unwrap();
        assert_eq!(retries, Some(0));
        let mut seen = Vec::new();
        let read = |key: PeerKey<'_>, value: &[u8]| match key {
            PeerKey::Text(text) => seen.push((text.to_vec(), value.to_vec())),
            PeerKey::Number(number) => panic!("{number} is no text"),
        };
        assert_eq!(session.scan(texts[1], 9, read).unwrap(), 2);
        let all = [("user:10", "new"), ("user:9", "older")];
        assert_eq!(seen, all.map(|(key, value)| (key.into(), value.into())));
        assert_eq!(session.get(texts[2], <[u8]>::to_vec).unwrap(), Some(b"old".to_vec()));
        assert_eq!(session.get(PeerKey::Text(b"u"), |_| ()).unwrap(), None);
    }

    #[test]
    fn keys_may_be_text() {
        for text_record_bytes in [Some(30), Some(1000)] {
            let dir = dir("text");
            let durability = Durability::Durable;
            let options = PeerOptions { durability, text_record_bytes, ..OPTIONS };
            {
                let sqlite = Sqlite::open(&dir.join("sqlite"), options).unwrap();
                let connection = sqlite.connect().unwrap();
                check_text(&mut connection.session(View::PerRead).unwrap());
                let lmdb = Lmdb::open(&dir.join("lmdb"), options).unwrap();
                check_text(&mut lmdb.session(View::PerRead).unwrap());
                #[cfg(feature = "redb")]
                {
                    std::fs::create_dir_all(dir.join("redb")).unwrap();
                    let redb = Redb::open(&dir.join("redb"), options).unwrap();
                    check_text(&mut redb.session(View::PerRead).unwrap());
                }
                #[cfg(feature = "fjall")]
                {
                    let fjall = Fjall::open(&dir.join("fjall"), options).unwrap();
                    check_text(&mut fjall.session(View::PerRead));
                }
                #[cfg(feature = "rocksdb")]
                {
                    let rocks = Rocks::open(&dir.join("rocksdb"), options).unwrap();
                    check_text(&mut rocks.session(View::PerRead));
                }
            }
            std::fs::remove_dir_all(dir).unwrap();
        }
    }

    #[test]
    fn a_promise_that_a_peer_cannot_keep_is_refused() {
        let durability = Durability::Interval(Duration::from_millis(100));
        let options = PeerOptions { durability, ..OPTIONS };
        assert!(Sqlite::open(&dir("refused"), options).is_err());
        assert!(Lmdb::open(&dir("refused"), options).is_err());
    }
}
