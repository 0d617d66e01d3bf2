//! RocksDB, SQLite and LMDB behind [`Store`], and what they share with the other peers.

use std::path::Path;
use std::time::Duration;

use uarr_bench_peers::{
    Durability, Lmdb, LmdbSession, PeerError, PeerKey, PeerOptions, PeerSession, Sqlite,
    SqliteSession,
};
#[cfg(feature = "peers")]
use uarr_bench_peers::{Rocks, RocksSession};

use crate::error::BenchError;
use crate::measure::job::View;
use crate::measure::keys::{KeyForm, TextKey, key_of_text, text_of};
use crate::measure::store::{Contender, OpenSpec, Session, Store, Writes};

/// How long a write of class `Interval` may stay in memory only.
const INTERVAL: Duration = Duration::from_millis(100);

#[cfg(feature = "peers")]
/// Where RocksDB's warm-up writes its keys; far from those of the workloads by chance of 64 bits.
const WARM_KEY_FIRST: u64 = 0xffff_f000_0000_0000;

pub(super) fn failed(error: PeerError) -> BenchError {
    BenchError::Setup(error.to_string())
}

pub(super) fn options(spec: OpenSpec) -> PeerOptions {
    let durability = match spec.writes {
        Writes::Durable => Durability::Durable,
        Writes::Interval => Durability::Interval(INTERVAL),
        Writes::OsCache => Durability::OsCache,
    };
    let data_bytes = spec.data_bytes();
    let cache_bytes = spec.cache_bytes.unwrap_or(2 * data_bytes);
    let text_record_bytes = spec.key_form.text_bytes().map(|_| spec.record_bytes());
    PeerOptions { durability, data_bytes, cache_bytes, modifies: spec.modifies, text_record_bytes }
}

pub(super) fn peer_view(view: View) -> uarr_bench_peers::View {
    match view {
        View::PerRead => uarr_bench_peers::View::PerRead,
        View::Snapshot => uarr_bench_peers::View::Snapshot,
    }
}

/// Version and settings of a peer; see [`super::facts`].
pub fn facts(peer: Contender, folder: &Path) -> Result<(String, String), BenchError> {
    let facts = match peer {
        #[cfg(feature = "peers")]
        Contender::Rocksdb => Rocks::facts(&folder.join("facts-rocksdb")).map_err(failed)?,
        Contender::Sqlite => Sqlite::facts(),
        Contender::Lmdb => Lmdb::facts(),
        #[cfg(feature = "rust-peers")]
        Contender::Redb => uarr_bench_peers::Redb::facts(),
        #[cfg(feature = "rust-peers")]
        Contender::Fjall => uarr_bench_peers::Fjall::facts(),
        other => unreachable!("{other} is no peer that is built in, in {}", folder.display()),
    };
    let flushes = facts.flushes_per_commit;
    let settings = format!("{}; flushes per commit of a lone writer: {flushes}", facts.settings);
    Ok((facts.version, settings))
}

/// A session of any of them.
pub struct Peer<P> {
    pub(super) session: P,
    pub(super) keys: KeyForm,
}

/// A key, and the text that it is.
enum OwnKey {
    Number(u64),
    Text(TextKey),
}

impl OwnKey {
    #[inline]
    fn peer(&self) -> PeerKey<'_> {
        match self {
            Self::Number(number) => PeerKey::Number(*number),
            Self::Text(text) => PeerKey::Text(text.as_ref()),
        }
    }
}

impl<P> Peer<P> {
    #[inline]
    fn key(&self, key: u64) -> OwnKey {
        let len = self.keys.text_bytes();
        len.map_or(OwnKey::Number(key), |len| OwnKey::Text(text_of(key, len)))
    }
}

impl<P: PeerSession> Session for Peer<P> {
    #[inline]
    fn put(&mut self, key: u64, value: &[u8]) -> Result<(), BenchError> {
        let key = self.key(key);
        self.session.put(key.peer(), value).map_err(failed)
    }

    #[inline]
    fn get<R>(&mut self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, BenchError> {
        let key = self.key(key);
        self.session.get(key.peer(), read).map_err(failed)
    }

    fn scan(
        &mut self,
        from: u64,
        count: u64,
        mut read: impl FnMut(u64, &[u8]),
    ) -> Result<u64, BenchError> {
        let from = self.key(from);
        let mut is_ours = true;
        let seen = self.session.scan(from.peer(), count, |key, value| {
            let number = match key {
                PeerKey::Number(number) => Some(number),
                PeerKey::Text(text) => key_of_text(text),
            };
            is_ours &= number.is_some();
            number.into_iter().for_each(|number| read(number, value));
        });
        let wrong = || BenchError::WrongData("a peer has a key that was never written".to_owned());
        is_ours.then_some(()).ok_or_else(wrong)?;
        seen.map_err(failed)
    }

    fn load(&mut self, records: &[(u64, Vec<u8>)]) -> Result<(), BenchError> {
        let keys: Vec<OwnKey> = records.iter().map(|(key, _)| self.key(*key)).collect();
        let records = keys.iter().zip(records);
        let records = records.map(|(key, (_, value))| (key.peer(), value.as_slice()));
        self.session.load(records).map_err(failed)
    }

    fn modify(
        &mut self,
        key: u64,
        change: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> Result<Option<u64>, BenchError> {
        let key = self.key(key);
        self.session.modify(key.peer(), change).map_err(failed)
    }
}

/// RocksDB.
#[cfg(feature = "peers")]
pub struct RocksStore(Rocks, KeyForm);

#[cfg(feature = "peers")]
impl RocksStore {
    /// Opens or creates the database in `dir`.
    pub fn open(dir: &Path, spec: OpenSpec) -> Result<Self, BenchError> {
        Ok(Self(Rocks::open(dir, options(spec)).map_err(failed)?, spec.key_form))
    }
}

#[cfg(feature = "peers")]
impl Store for RocksStore {
    type Session<'s> = Peer<RocksSession<'s>>;

    fn with_session<R>(
        &self,
        view: View,
        body: impl FnOnce(&mut Self::Session<'_>) -> R,
    ) -> Result<R, BenchError> {
        let (session, keys) = (self.0.session(peer_view(view)), self.1);
        Ok(body(&mut Peer { session, keys }))
    }

    fn prepare_durable(&self) -> Result<(), BenchError> {
        self.0.recycle_log_files(WARM_KEY_FIRST).map_err(failed)
    }

    fn prepare_reads(&self) -> Result<(), BenchError> {
        self.0.compact().map_err(failed)
    }

    fn settle(&self) -> Result<(), BenchError> {
        self.0.settle().map_err(failed)
    }

    fn sync(&self) -> Result<(), BenchError> {
        self.0.sync().map_err(failed)
    }

    fn close(self) -> Result<(), BenchError> {
        self.0.close().map_err(failed)
    }
}

/// SQLite.
pub struct SqliteStore(Sqlite, KeyForm);

impl SqliteStore {
    /// Opens or creates the database in `dir`.
    pub fn open(dir: &Path, spec: OpenSpec) -> Result<Self, BenchError> {
        Ok(Self(Sqlite::open(dir, options(spec)).map_err(failed)?, spec.key_form))
    }
}

impl Store for SqliteStore {
    type Session<'s> = Peer<SqliteSession<'s>>;

    fn with_session<R>(
        &self,
        view: View,
        body: impl FnOnce(&mut Self::Session<'_>) -> R,
    ) -> Result<R, BenchError> {
        let connection = self.0.connect().map_err(failed)?;
        let session = connection.session(peer_view(view)).map_err(failed)?;
        Ok(body(&mut Peer { session, keys: self.1 }))
    }

    fn prepare_reads(&self) -> Result<(), BenchError> {
        self.0.checkpoint().map_err(failed)
    }

    fn close(self) -> Result<(), BenchError> {
        drop(self.0);
        Ok(())
    }
}

/// LMDB.
pub struct LmdbStore(Lmdb, KeyForm);

impl LmdbStore {
    /// Opens or creates the database in `dir`.
    pub fn open(dir: &Path, spec: OpenSpec) -> Result<Self, BenchError> {
        Ok(Self(Lmdb::open(dir, options(spec)).map_err(failed)?, spec.key_form))
    }
}

impl Store for LmdbStore {
    type Session<'s> = Peer<LmdbSession<'s>>;

    fn with_session<R>(
        &self,
        view: View,
        body: impl FnOnce(&mut Self::Session<'_>) -> R,
    ) -> Result<R, BenchError> {
        let session = self.0.session(peer_view(view)).map_err(failed)?;
        Ok(body(&mut Peer { session, keys: self.1 }))
    }

    fn close(self) -> Result<(), BenchError> {
        drop(self.0);
        Ok(())
    }
}
