//! This project's engine behind [`Store`].

use std::path::Path;
use std::time::Duration;

use crate::error::BenchError;
use crate::measure::job::View;
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
pub const SETTINGS: &str = "keys(KeyKind::U64), else defaults; sync: Durability::Sync; \
    interval-100ms: Durability::Interval(100 ms)";

/// The engine's database.
pub struct Engine(uarr::Db);

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
        let builder = uarr::Db::builder(dir).keys(uarr::KeyKind::U64).durability(durability);
        Ok(Self(configure(builder).open().map_err(failed)?))
    }

    /// A session for the calling thread.
    pub fn session(&self, view: View) -> EngineSession<'_> {
        assert!(view == View::PerRead, "uarr has no snapshots to keep");
        EngineSession { db: &self.0, put_times: None }
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
            self.0.ingest(keys.map(|key| (key, value))).map_err(failed)?;
            self.0.checkpoint().map_err(failed)?;
        }
        Ok(())
    }

    /// No checkpoint is due or under way after it.
    fn settle(&self) -> Result<(), BenchError> {
        self.0.checkpoint().map_err(failed)
    }

    fn sync(&self) -> Result<(), BenchError> {
        self.0.sync().map_err(failed)
    }

    fn counters(&self) -> Option<Counters> {
        let stats = self.0.stats();
        Some(Counters {
            commit_count: stats.commit_count,
            flush_count: stats.flush_count,
            write_count: stats.write_count,
        })
    }

    fn close(self) -> Result<(), BenchError> {
        self.0.close().map_err(failed)
    }
}

/// One thread's way into the engine: the shared handle itself.
pub struct EngineSession<'s> {
    db: &'s uarr::Db,
    put_times: Option<PutTimes>,
}

impl Session for EngineSession<'_> {
    #[inline]
    fn put(&mut self, key: u64, value: &[u8]) -> Result<(), BenchError> {
        let commit = self.db.put(key, value).map_err(failed)?;
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
        let record = self.db.get(key).map_err(failed)?;
        Ok(record.map(|record| read(record.bytes())))
    }

    fn scan(
        &mut self,
        from: u64,
        count: u64,
        mut read: impl FnMut(u64, &[u8]),
    ) -> Result<u64, BenchError> {
        let mut seen = 0;
        let records = self.db.range(from..).map_err(failed)?;
        for record in records.take(usize::try_from(count).unwrap_or(usize::MAX)) {
            let record = record.map_err(failed)?;
            read(record.key_u64().expect("a table of integers"), record.bytes());
            seen += 1;
        }
        Ok(seen)
    }

    fn load(&mut self, records: &[(u64, Vec<u8>)]) -> Result<(), BenchError> {
        let mut batch = self.db.batch();
        for (key, value) in records {
            batch.put(*key, value);
        }
        batch.commit().map_err(failed)?;
        Ok(())
    }
}
