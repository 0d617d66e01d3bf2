//! This project's engine behind [`Store`].

use std::path::Path;
use std::time::Duration;

use crate::error::BenchError;
use crate::measure::job::View;
use crate::measure::keys::{KeyForm, key_of_text, text_of};
use crate::measure::phases::PutTimes;
use crate::measure::store::{Counters, OpenSpec, Session, Store, Writes};

/// How long an unsynced write may stay in memory only.
const INTERVAL: Duration = Duration::from_millis(100);

/// Where the records of the warm-up lie: far from those of the workloads by chance of 64 bits.
const WARM_KEY_FIRST: u64 = 0xffff_f000_0000_0000;
const WARM_VALUE_BYTES: usize = 32 << 10;
/// Four segments, twice.
const WARM_PART_RECORDS: u64 = 8000;

/// What a reader of the results needs to know about the set-up.
pub const SETTINGS: &str = "keys(KeyKind::U64), Bytes where keys are text, else defaults; sync: \
    Durability::Sync; interval-100ms: Durability::Interval(100 ms); transactions: Db::transaction";

/// The engine's database.
pub struct Engine {
    db: uarr::Db,
    keys: KeyForm,
}

fn failed(error: uarr::Error) -> BenchError {
    BenchError::Setup(format!("uarr: {error}"))
}

impl Engine {
    /// Opens or creates the database in `dir`, with other options than the default where
    /// `configure` sets them.
    pub fn open(
        dir: &Path,
        spec: OpenSpec,
        configure: impl FnOnce(uarr::Builder) -> uarr::Builder,
    ) -> Result<Self, BenchError> {
        let durability = match spec.writes {
            Writes::Durable => uarr::Durability::Sync,
            Writes::Interval => uarr::Durability::Interval(INTERVAL),
            Writes::OsCache => {
                let text = "uarr has no writes that wait for the page cache".to_owned();
                return Err(BenchError::Setup(text));
            }
        };
        let kind = match spec.key_form {
            KeyForm::U64 => uarr::KeyKind::U64,
            KeyForm::Text16 | KeyForm::Text | KeyForm::Text40 => uarr::KeyKind::Bytes,
        };
        let builder = uarr::Db::builder(dir).keys(kind).durability(durability);
        let db = configure(builder).open().map_err(failed)?;
        Ok(Self { db, keys: spec.key_form })
    }

    /// A session for the calling thread.
    pub fn session(&self, view: View) -> EngineSession<'_> {
        assert!(view == View::PerRead, "uarr has no snapshots to keep");
        EngineSession { db: &self.db, keys: self.keys, put_times: None }
    }
}

impl Store for Engine {
    type Session<'s> = EngineSession<'s>;

    fn with_session<R>(
        &self,
        view: View,
        body: impl FnOnce(&mut Self::Session<'_>) -> R,
    ) -> Result<R, BenchError> {
        Ok(body(&mut self.session(view)))
    }

    /// As for RocksDB: log files are reused once checkpoints have released the first ones.
    fn prepare_durable(&self) -> Result<(), BenchError> {
        let value = [0x5a; WARM_VALUE_BYTES];
        for part in 0..2 {
            let first = WARM_KEY_FIRST + part * WARM_PART_RECORDS;
            let keys = first..first + WARM_PART_RECORDS;
            match self.keys.text_bytes() {
                None => self.db.ingest(keys.map(|key| (key, value))),
                Some(len) => {
                    self.db.ingest(keys.map(|key| (text_of(key, len).as_ref().to_vec(), value)))
                }
            }
            .map_err(failed)?;
            self.db.checkpoint().map_err(failed)?;
        }
        Ok(())
    }

    /// No checkpoint is due or under way after it.
    fn settle(&self) -> Result<(), BenchError> {
        self.db.checkpoint().map_err(failed)
    }

    fn sync(&self) -> Result<(), BenchError> {
        self.db.sync().map_err(failed)
    }

    fn counters(&self) -> Option<Counters> {
        let stats = self.db.stats();
        Some(Counters {
            commit_count: stats.commit_count,
            flush_count: stats.flush_count,
            write_count: stats.write_count,
        })
    }

    fn close(self) -> Result<(), BenchError> {
        self.db.close().map_err(failed)
    }
}

/// One thread's way into the engine: the shared handle itself.
pub struct EngineSession<'s> {
    db: &'s uarr::Db,
    keys: KeyForm,
    put_times: Option<PutTimes>,
}

impl Session for EngineSession<'_> {
    #[inline]
    fn put(&mut self, key: u64, value: &[u8]) -> Result<(), BenchError> {
        let commit = match self.keys.text_bytes() {
            None => self.db.put(key, value),
            Some(len) => self.db.put(text_of(key, len).as_ref(), value),
        };
        let commit = commit.map_err(failed)?;
        let times = [commit.queue_ns, commit.io_ns, commit.wake_ns];
        self.put_times = commit.is_durable.then_some(times);
        Ok(())
    }

    #[inline]
    fn take_put_times(&mut self) -> Option<PutTimes> {
        self.put_times.take()
    }

    #[inline]
    fn get<R>(&mut self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, BenchError> {
        let record = match self.keys.text_bytes() {
            None => self.db.get(key),
            Some(len) => self.db.get(text_of(key, len).as_ref()),
        };
        let record = record.map_err(failed)?;
        Ok(record.map(|record| read(record.bytes())))
    }

    fn scan(
        &mut self,
        from: u64,
        count: u64,
        mut read: impl FnMut(u64, &[u8]),
    ) -> Result<u64, BenchError> {
        let mut seen = 0;
        let records = match self.keys.text_bytes() {
            None => self.db.range(from..),
            Some(len) => self.db.range(text_of(from, len).as_ref()..),
        };
        let records = records.map_err(failed)?;
        for record in records.take(usize::try_from(count).unwrap_or(usize::MAX)) {
            let record = record.map_err(failed)?;
            let key = match self.keys.text_bytes() {
                None => record.key_u64(),
                Some(_) => key_of_text(record.key()),
            };
            let wrong =
                || BenchError::WrongData("uarr has a key that was never written".to_owned());
            read(key.ok_or_else(wrong)?, record.bytes());
            seen += 1;
        }
        Ok(seen)
    }

    fn load(&mut self, records: &[(u64, Vec<u8>)]) -> Result<(), BenchError> {
        let mut batch = self.db.batch();
        for (key, value) in records {
            match self.keys.text_bytes() {
                None => batch.put(*key, value),
                Some(len) => batch.put(text_of(*key, len).as_ref(), value),
            };
        }
        batch.commit().map_err(failed)?;
        Ok(())
    }

    fn modify(
        &mut self,
        key: u64,
        change: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> Result<Option<u64>, BenchError> {
        match self.keys.text_bytes() {
            None => modify(self.db, key, change),
            Some(len) => modify(self.db, text_of(key, len).as_ref(), change),
        }
    }
}

fn modify(
    db: &uarr::Db,
    key: impl uarr::AsKey + Copy,
    mut change: impl FnMut(&[u8]) -> Vec<u8>,
) -> Result<Option<u64>, BenchError> {
    let mut run_count = 0;
    let is_there = db.transaction(|transaction| {
        run_count += 1;
        let Some(record) = transaction.get(key)? else { return Ok(false) };
        transaction.put(key, change(record.bytes()))?;
        Ok::<_, uarr::Error>(true)
    });
    Ok(is_there.map_err(failed)?.then(|| run_count - 1))
}
