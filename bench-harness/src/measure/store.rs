//! What the harness asks of a store under test, and the list of stores.
//!
//! [`Store`] and [`Session`] are generic, so the measured loops call a store directly; the driver,
//! [`crate::measure::drive`], puts a coarse object-safe layer above them, one call per measurement.
//!
//! Invariant: a store opened with [`Class::Sync`] acknowledges a write only when it survives a loss
//! of power. [`Class::promise`] says what weaker classes promise; every report prints it.

use std::fmt;
use std::ops::Add;

use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::measure::job::View;
use crate::measure::keys::{KeyForm, KeyOrder};
use crate::measure::phases::PutTimes;
use crate::measure::workload::VALUE_BYTES;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Contender {
    /// The bare device under the same directory.
    Floor,
    /// This project's engine.
    Uarr,
    /// RocksDB (feature `peers`).
    Rocksdb,
    /// SQLite (feature `sqlite`).
    Sqlite,
    /// LMDB (feature `sqlite`); takes part where only reads are measured.
    Lmdb,
    /// redb (feature `rust-peers`); takes part in workloads and parts, not in `check`.
    Redb,
    /// fjall (feature `rust-peers`); as redb.
    Fjall,
}

impl Contender {
    /// The stores of `check`, in the order they take turns.
    pub const STORES: [Self; 3] = [Self::Uarr, Self::Rocksdb, Self::Sqlite];
    /// Those of workloads and of the parts that write.
    pub const WRITE_STORES: [Self; 5] =
        [Self::Uarr, Self::Rocksdb, Self::Sqlite, Self::Redb, Self::Fjall];
    /// Those that take part where only reads are measured.
    pub const READ_STORES: [Self; 6] =
        [Self::Uarr, Self::Rocksdb, Self::Sqlite, Self::Lmdb, Self::Redb, Self::Fjall];

    /// The name in tables, JSON and target files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Uarr => "uarr",
            Self::Rocksdb => "rocksdb",
            Self::Sqlite => "sqlite",
            Self::Lmdb => "lmdb",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
        }
    }

    /// The contender with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Floor]
            .into_iter()
            .chain(Self::READ_STORES)
            .find(|contender| contender.name() == name)
    }

    /// Whether this program was built with the store inside.
    pub const fn is_built_in(self) -> bool {
        match self {
            Self::Floor | Self::Uarr => true,
            Self::Rocksdb => cfg!(feature = "peers"),
            Self::Sqlite | Self::Lmdb => cfg!(feature = "sqlite"),
            Self::Redb | Self::Fjall => cfg!(feature = "rust-peers"),
        }
    }

    /// Whether many reads can see one moment in it.
    pub const fn has_snapshots(self) -> bool {
        !matches!(self, Self::Floor | Self::Uarr)
    }

    /// What its writes can wait for, short of the device; the strongest promise first.
    pub const fn memory_first(self) -> &'static [Writes] {
        match self {
            // What redb calls no durability does not survive a kill: a promise of no class.
            Self::Floor | Self::Redb => &[],
            Self::Uarr => &[Writes::Interval],
            Self::Rocksdb => &[Writes::Interval, Writes::OsCache],
            Self::Sqlite | Self::Lmdb | Self::Fjall => &[Writes::OsCache],
        }
    }

    /// Its writes for a load: those that are not waited for, if it has such.
    pub fn load_writes(self) -> Writes {
        self.memory_first().first().copied().unwrap_or(Writes::Durable)
    }

    /// What this program has to be built with to have the store inside.
    pub const fn feature(self) -> &'static str {
        match self {
            Self::Floor | Self::Uarr => "default",
            Self::Rocksdb => "peers",
            Self::Sqlite | Self::Lmdb => "sqlite",
            Self::Redb | Self::Fjall => "rust-peers",
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// When a write is acknowledged, or that there are no writes in the row. Only rows of one class are
/// divided by each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// After it reached stable storage.
    Sync,
    /// At once; it reaches stable storage within 100 ms. Older reports say `interval`.
    #[serde(rename = "interval-100ms", alias = "interval")]
    Interval,
    /// After it reached the page cache; stable storage when the operating system likes.
    OsCache,
    /// Nothing is written in the measured part; each read opens and ends its read transaction.
    Read,
    /// The same, with one read transaction for all reads.
    ReadSnapshot,
}

impl Class {
    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Interval => "interval-100ms",
            Self::OsCache => "os-cache",
            Self::Read => "read",
            Self::ReadSnapshot => "read-snapshot",
        }
    }

    /// What is promised, for the legend of the tables.
    pub const fn promise(self) -> &'static str {
        match self {
            Self::Sync => "acknowledged after the device has it; survives a loss of power",
            Self::Interval => "acknowledged in memory; at most 100 ms are lost, even by a kill",
            Self::OsCache => {
                "acknowledged in the page cache; survives a kill, power loss has no bound"
            }
            Self::Read => "nothing is written; a read transaction for each read",
            Self::ReadSnapshot => "nothing is written; one read transaction for all reads",
        }
    }
}

/// A store as it was set up for the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreFacts {
    /// Who.
    pub contender: Contender,
    /// Version measured.
    pub version: String,
    /// Settings that matter for the result.
    pub settings: String,
}

/// What a store's writes wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Each is durable when it returns.
    Durable,
    /// Each returns at once and is durable within 100 ms and one flush.
    Interval,
    /// Each returns when it is in the page cache.
    OsCache,
}

impl Writes {
    /// What that promises.
    pub const fn class(self) -> Class {
        match self {
            Self::Durable => Class::Sync,
            Self::Interval => Class::Interval,
            Self::OsCache => Class::OsCache,
        }
    }
}

/// How stores are opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenSpec {
    /// When its writes return.
    pub writes: Writes,
    /// Records expected; caches are sized to hold all of them.
    pub record_count: u64,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Where keys lie.
    pub key_order: KeyOrder,
    /// What keys are.
    pub key_form: KeyForm,
    /// Bytes that its caches may take; all data without it.
    pub cache_bytes: Option<u64>,
    /// Whether sessions modify records.
    pub modifies: bool,
}

impl OpenSpec {
    /// Records with values of the usual size.
    pub const fn new(writes: Writes, record_count: u64) -> Self {
        Self {
            writes,
            record_count,
            value_bytes: VALUE_BYTES,
            key_order: KeyOrder::Spread,
            key_form: KeyForm::U64,
            cache_bytes: None,
            modifies: false,
        }
    }

    /// Bytes of all keys and values.
    pub fn data_bytes(self) -> u64 {
        self.record_count * self.record_bytes()
    }

    /// Bytes of a key and its value.
    pub fn record_bytes(self) -> u64 {
        (self.key_form.bytes() + self.value_bytes) as u64
    }
}

/// Counters of a store since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commits acknowledged.
    pub commit_count: u64,
    /// Flushes asked of the device for the log.
    pub flush_count: u64,
    /// Writes to the log.
    pub write_count: u64,
}

impl Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            commit_count: self.commit_count + other.commit_count,
            flush_count: self.flush_count + other.flush_count,
            write_count: self.write_count + other.write_count,
        }
    }
}

/// An open store, shared by threads.
pub trait Store: Send + Sync + Sized + 'static {
    /// One thread's way in.
    type Session<'s>: Session
    where
        Self: 's;

    /// Runs `body` with a session of the calling thread. `body` is not called when there is none.
    fn with_session<R>(
        &self,
        view: View,
        body: impl FnOnce(&mut Self::Session<'_>) -> R,
    ) -> Result<R, BenchError>;
    /// What the store needs to show its steady state of durable commits; not measured.
    fn prepare_durable(&self) -> Result<(), BenchError> {
        Ok(())
    }
    /// Brings what was written to where the store reads it best; not measured.
    fn prepare_reads(&self) -> Result<(), BenchError> {
        self.settle()
    }
    /// Waits until background work caused by earlier writes is done, where the store reports that.
    fn settle(&self) -> Result<(), BenchError> {
        Ok(())
    }
    /// Hands all that was written to the operating system, at least.
    fn sync(&self) -> Result<(), BenchError> {
        Ok(())
    }
    /// The store's own count of commits and flushes, where it has one.
    fn counters(&self) -> Option<Counters> {
        None
    }
    /// Closes the store; everything acknowledged must be there when it is opened again.
    fn close(self) -> Result<(), BenchError>;
}

/// One thread's way into a store.
pub trait Session {
    /// Writes one record with the store's durability.
    fn put(&mut self, key: u64, value: &[u8]) -> Result<(), BenchError>;
    /// What the last durable put spent its time on, once, where the store reports that.
    #[inline]
    fn take_put_times(&mut self) -> Option<PutTimes> {
        None
    }
    /// Hands the value under `key` to `read` without a copy of ours; `None` if there is no such
    /// record.
    fn get<R>(&mut self, key: u64, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, BenchError>;
    /// Hands key and value of up to `count` records to `read`, in key order from `from` on; fewer
    /// only at the end. Returns how many.
    fn scan(
        &mut self,
        from: u64,
        count: u64,
        read: impl FnMut(u64, &[u8]),
    ) -> Result<u64, BenchError>;
    /// Writes all records as one atomic batch with the store's durability.
    fn load(&mut self, records: &[(u64, Vec<u8>)]) -> Result<(), BenchError>;
    /// Reads the value under `key` and writes what `change` makes of it, in one transaction with
    /// the store's durability, and does so again as long as another one came in between. Returns
    /// how often that was; `None` if there is no such record.
    fn modify(
        &mut self,
        key: u64,
        change: impl FnMut(&[u8]) -> Vec<u8>,
    ) -> Result<Option<u64>, BenchError>;
}
