//! RocksDB, SQLite and LMDB behind [`Store`].

use std::path::Path;

use uarr_bench_peers::{
    Durability, Lmdb, LmdbSession, PeerError, PeerOptions, Rocks, RocksSession, Sqlite,
    SqliteSession,
};

use crate::error::BenchError;
use crate::store::{OpenSpec, Session, Store};

/// Where RocksDB's warm-up writes its keys; far from those of the workloads by chance of 64 bits.
const WARM_KEY_FIRST: u64 = 0xffff_f000_0000_0000;

fn failed(error: PeerError) -> BenchError {
    BenchError::Setup(error.to_string())
}

fn options(spec: OpenSpec) -> PeerOptions {
    let durability = if spec.durable { Durability::Durable } else { Durability::OsCache };
    PeerOptions { durability, data_bytes: spec.data_bytes }
}

/// RocksDB.
pub struct RocksStore(Rocks);

impl RocksStore {
    /// Opens or creates the database in `dir`.
    pub fn open(dir: &Path, spec: OpenSpec) -> Result<Self, BenchError> {
        Ok(Self(Rocks::open(dir, options(spec)).map_err(failed)?))
    }
}

impl Store for RocksStore {
    type Session<'s> = RocksSession<'s>;

    fn with_session<R>(
        &self,
        body: impl FnOnce(&mut Self::Session<'_>) -> R,
    ) -> Result<R, BenchError> {
        Ok(body(&mut self.0.session()))
    }

    fn prepare_durable(&self) -> Result<(), BenchError> {
        self.0.recycle_log_files(WARM_KEY_FIRST).map_err(failed)
    }

    fn settle(&self) -> Result<(), BenchError> {
        self.0.settle().map_err(failed)
    }

    fn close(self) -> Result<(), BenchError> {
        drop(self.0);
        Ok(())
    }
}

impl Session for RocksSession<'_> {
    #[inline]
    fn put(&mut self, key: u64, value: &[u8]) -> Result<(), BenchError> {
        RocksSession::put(self, key, value).map_err(failed)
    }

    #[inline]
    fn get<R>(&mut self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, BenchError> {
        RocksSession::get(self, key, read).map_err(failed)
    }

    fn scan(
        &mut self,
        from: u64,
        count: u64,
        read: impl FnMut(u64, &[u8]),
    ) -> Result<u64, BenchError> {
        RocksSession::scan(self, from, count, read).map_err(failed)
    }

    fn load(&mut self, records: &[(u64, Vec<u8>)]) -> Result<(), BenchError> {
        RocksSession::load(self, records).map_err(failed)
    }
}

/// SQLite.
pub struct SqliteStore(Sqlite);

impl SqliteStore {
    /// Opens or creates the database in `dir`.
    pub fn open(dir: &Path, spec: OpenSpec) -> Result<Self, BenchError> {
        Ok(Self(Sqlite::open(dir, options(spec)).map_err(failed)?))
    }
}

impl Store for SqliteStore {
    type Session<'s> = SqliteSession<'s>;

    fn with_session<R>(
        &self,
        body: impl FnOnce(&mut Self::Session<'_>) -> R,
    ) -> Result<R, BenchError> {
        let connection = self.0.connect().map_err(failed)?;
        let mut session = connection.session().map_err(failed)?;
        Ok(body(&mut session))
    }

    fn close(self) -> Result<(), BenchError> {
        drop(self.0);
        Ok(())
    }
}

impl Session for SqliteSession<'_> {
    #[inline]
    fn put(&mut self, key: u64, value: &[u8]) -> Result<(), BenchError> {
        SqliteSession::put(self, key, value).map_err(failed)
    }

    #[inline]
    fn get<R>(&mut self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, BenchError> {
        SqliteSession::get(self, key, read).map_err(failed)
    }

    fn scan(
        &mut self,
        from: u64,
        count: u64,
        read: impl FnMut(u64, &[u8]),
    ) -> Result<u64, BenchError> {
        SqliteSession::scan(self, from, count, read).map_err(failed)
    }

    fn load(&mut self, records: &[(u64, Vec<u8>)]) -> Result<(), BenchError> {
        SqliteSession::load(self, records).map_err(failed)
    }
}

/// LMDB.
pub struct LmdbStore(Lmdb);

impl LmdbStore {
    /// Opens or creates the database in `dir`.
    pub fn open(dir: &Path, spec: OpenSpec) -> Result<Self, BenchError> {
        Ok(Self(Lmdb::open(dir, options(spec)).map_err(failed)?))
    }
}

impl Store for LmdbStore {
    type Session<'s> = LmdbSession<'s>;

    fn with_session<R>(
        &self,
        body: impl FnOnce(&mut Self::Session<'_>) -> R,
    ) -> Result<R, BenchError> {
        Ok(body(&mut self.0.session()))
    }

    fn close(self) -> Result<(), BenchError> {
        drop(self.0);
        Ok(())
    }
}

impl Session for LmdbSession<'_> {
    #[inline]
    fn put(&mut self, key: u64, value: &[u8]) -> Result<(), BenchError> {
        LmdbSession::put(self, key, value).map_err(failed)
    }

    #[inline]
    fn get<R>(&mut self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, BenchError> {
        LmdbSession::get(self, key, read).map_err(failed)
    }

    fn scan(
        &mut self,
        from: u64,
        count: u64,
        read: impl FnMut(u64, &[u8]),
    ) -> Result<u64, BenchError> {
        LmdbSession::scan(self, from, count, read).map_err(failed)
    }

    fn load(&mut self, records: &[(u64, Vec<u8>)]) -> Result<(), BenchError> {
        LmdbSession::load(self, records).map_err(failed)
    }
}
