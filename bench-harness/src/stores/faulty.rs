//! The engine, misbehaving on purpose: to see that a run notices.

use std::path::Path;

use crate::error::BenchError;
use crate::measure::job::View;
use crate::measure::store::{Counters, OpenSpec, Session, Store, Writes};
use crate::stores::engine::{Engine, EngineSession};

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One byte of every thousandth value that is read is another.
    WrongData,
    /// Every thousandth put is acknowledged and forgotten.
    LostWrite,
    /// Durable writes are acknowledged before a flush.
    SkippedFlush,
    /// What is modified is read and written apart: others come in between, and their writes are
    /// lost.
    LostUpdate,
}

impl Fault {
    /// Those that `check` notices.
    const OF_CHECK: [Self; 3] = [Self::WrongData, Self::LostWrite, Self::SkippedFlush];
    /// Those that `run` notices: it counts no flushes.
    const OF_RUN: [Self; 3] = [Self::WrongData, Self::LostWrite, Self::LostUpdate];

    const fn name(self) -> &'static str {
        match self {
            Self::WrongData => "wrong-data",
            Self::LostWrite => "lost-write",
            Self::SkippedFlush => "skipped-flush",
            Self::LostUpdate => "lost-update",
        }
    }

    fn among(all: [Self; 3], name: &str) -> Result<Self, String> {
        let found = all.into_iter().find(|fault| fault.name() == name);
        found.ok_or_else(|| format!("none of {}", all.map(Self::name).join(", ")))
    }

    /// The fault with this name, if it is one that `check` notices.
    pub fn of_check(name: &str) -> Result<Self, String> {
        Self::among(Self::OF_CHECK, name)
    }

    /// The fault with this name, if it is one that `run` notices.
    pub fn of_run(name: &str) -> Result<Self, String> {
        Self::among(Self::OF_RUN, name)
    }
}

/// How often a fault shows.
const CALLS_PER_FAULT: u64 = 1000;

/// The engine with a fault.
pub struct FaultyEngine {
    engine: Engine,
    fault: Fault,
}

impl FaultyEngine {
    /// Opens or creates the database in `dir`.
    pub fn open(dir: &Path, spec: OpenSpec, fault: Fault) -> Result<Self, BenchError> {
        let writes = match (fault, spec.writes) {
            (Fault::SkippedFlush, Writes::Durable) => Writes::Interval,
            (_, writes) => writes,
        };
        let engine = Engine::open(dir, OpenSpec { writes, ..spec }, |builder| builder)?;
        Ok(Self { engine, fault })
    }
}

impl Store for FaultyEngine {
    type Session<'s> = FaultySession<'s>;

    fn with_session<R>(
        &self,
        view: View,
        body: impl FnOnce(&mut FaultySession<'_>) -> R,
    ) -> Result<R, BenchError> {
        let inner = self.engine.session(view);
        Ok(body(&mut FaultySession { inner, fault: self.fault, call_count: 0 }))
    }

    fn prepare_durable(&self) -> Result<(), BenchError> {
        self.engine.prepare_durable()
    }

    fn settle(&self) -> Result<(), BenchError> {
        self.engine.settle()
    }

    fn sync(&self) -> Result<(), BenchError> {
        self.engine.sync()
    }

    fn counters(&self) -> Option<Counters> {
        self.engine.counters()
    }

    fn close(self) -> Result<(), BenchError> {
        self.engine.close()
    }
}

/// One thread's way into it.
pub struct FaultySession<'s> {
    inner: EngineSession<'s>,
    fault: Fault,
    call_count: u64,
}

impl FaultySession<'_> {
    /// Whether `fault` shows now.
    fn shows(&mut self, fault: Fault) -> bool {
        self.call_count += 1;
        self.fault == fault && self.call_count.is_multiple_of(CALLS_PER_FAULT)
    }
}

impl Session for FaultySession<'_> {
    fn put(&mut self, key: u64, value: &[u8]) -> Result<(), BenchError> {
        if self.shows(Fault::LostWrite) { Ok(()) } else { self.inner.put(key, value) }
    }

    fn get<R>(&mut self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, BenchError> {
        let is_wrong = self.shows(Fault::WrongData);
        self.inner.get(key, |value| {
            let mut value = value.to_vec();
            value.iter_mut().take(usize::from(is_wrong)).for_each(|byte| *byte ^= 1);
            read(&value)
        })
    }

    fn scan(
        &mut self,
        from: u64,
        count: u64,
        read: impl FnMut(u64, &[u8]),
    ) -> Result<u64, BenchError> {
        self.inner.scan(from, count, read)
    }

    fn load(&mut self, records: &[(u64, Vec<u8>)]) -> Result<(), BenchError> {
        self.inner.load(records)
    }

    fn modify(
        &mut self,
        key: u64,
        change: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> Result<Option<u64>, BenchError> {
        if self.fault != Fault::LostUpdate {
            return self.inner.modify(key, change);
        }
        let Some(value) = self.inner.get(key, change)? else { return Ok(None) };
        self.inner.put(key, &value)?;
        Ok(Some(0))
    }
}
