//! RocksDB, SQLite and LMDB, set up the way their own guides recommend for this load, compiled
//! apart.
//!
//! Compiling RocksDB takes many minutes of C++, so it has a feature of its own, `rocksdb`, and only
//! `uarr-bench` with its feature `sqlite` or `peers` depends on this crate. This crate depends on
//! nothing of ours. It knows no workloads: it offers stores whose sessions are all alike,
//! [`PeerSession`], each with the settings that a reader of the results can check.
//!
//! Invariants:
//! - A store opened as [`Durability::Durable`] returns from a write only when the write survives a
//!   loss of power, one flush of the device per commit or per group of commits.
//! - A store opened as [`Durability::OsCache`] never waits for the device.
//! - Reads copy nothing that the peer's own interface does not copy.

#![deny(unsafe_code)]

mod lmdb;
#[cfg(feature = "rocksdb")]
mod rocks;
mod sqlite;

pub use lmdb::{Lmdb, LmdbSession};
#[cfg(feature = "rocksdb")]
pub use rocks::{Rocks, RocksSession};
pub use sqlite::{Sqlite, SqliteConnection, SqliteSession};

use std::fmt;

/// When a write of a peer is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After it reached stable storage.
    Durable,
    /// After it reached the page cache of the operating system.
    OsCache,
}

/// How peers are opened.
#[derive(Clone, Copy, Debug)]
pub struct PeerOptions {
    /// When writes are acknowledged.
    pub durability: Durability,
    /// Bytes of user data expected; caches and maps are made large enough to hold all of it.
    pub data_bytes: u64,
}

/// One thread's way into a peer.
pub trait PeerSession {
    /// Writes one record with the durability the store was opened with.
    fn put(&mut self, key: u64, value: &[u8]) -> Result<(), PeerError>;
    /// Hands the value under `key` to `read`, in place in the peer's own memory; `None` if there is
    /// no record.
    fn get<R>(&mut self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, PeerError>;
    /// Hands key and value of up to `count` records to `read`, in key order from `from` on, in
    /// place. Returns how many there were; fewer only at the end.
    fn scan(
        &mut self,
        from: u64,
        count: u64,
        read: impl FnMut(u64, &[u8]),
    ) -> Result<u64, PeerError>;
    /// Writes all records in one transaction.
    fn load(&mut self, records: &[(u64, Vec<u8>)]) -> Result<(), PeerError>;
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
    /// From the file system around them.
    Io(std::io::Error),
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "rocksdb")]
            Self::Rocks(error) => write!(f, "RocksDB: {error}"),
            Self::Sqlite(error) => write!(f, "SQLite: {error}"),
            Self::Lmdb(error) => write!(f, "LMDB: {error}"),
            Self::Io(error) => write!(f, "directory of a peer: {error}"),
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

impl From<std::io::Error> for PeerError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}
