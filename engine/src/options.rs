//! Options of a database: units, defaults, limits.

use std::ops::RangeInclusive;
use std::time::Duration;

use uarr_layout::limits::{CHUNK_BYTES, DATA_BYTES_MAX, SEGMENT_BYTES};
use uarr_uring::CommitStrategy;

use crate::error::{Error, Result};
use crate::key::KeyKind;
use crate::limits::{ADDRESS_SPACE_BYTES_MIN, CHUNK_COUNT_MAX};

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Acknowledged and visible once it survives a loss of power.
    Sync,
    /// Memory first: acknowledged and visible at once, durable at most this long plus one commit
    /// later. From 1 ms to 1 h.
    Interval(Duration),
    /// Memory first: durable after `sync`, `checkpoint` or `close`.
    Manual,
}

impl Durability {
    pub(crate) fn memory_first(self) -> bool {
        self != Self::Sync
    }
}

/// What a caller asks of one write, beyond what the database promises anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WriteOptions {
    pub(crate) durable: bool,
}

impl WriteOptions {
    /// The database's own promise.
    pub fn new() -> Self {
        Self::default()
    }

    /// Acknowledged only once it survives a loss of power, even in a memory-first database, where
    /// it is visible at once. All earlier writes are durable then too.
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }
}

/// What a write does when all group buffers are full because the device has fallen behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// It waits for room: a thread blocks, a task sleeps.
    Wait,
    /// It fails with [`crate::ErrorKind::Busy`]; nothing of it was written.
    Error,
}

/// How groups reach the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CommitPath {
    /// What was fastest on this directory when the database was created.
    Auto,
    /// Always this strategy.
    Fixed(CommitStrategy),
}

/// What opening does when the log is not perfect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecoveryMode {
    /// Any damage and any torn tail is an error.
    Strict,
    /// Opening cuts a torn tail (writes that were never acknowledged); damage is an error.
    TolerateTornTail,
}

/// When records are checked against their checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VerifyPolicy {
    /// Only by `verify`.
    Never,
    /// Each record that was there at open when it is first read.
    FirstTouch,
    /// At each read.
    Always,
}

const CHECKPOINT_LOG_BYTES_MIN: u64 = 4 << 10;
/// Less would move records without end.
const SPACE_AMPLIFICATION: RangeInclusive<f64> = 1.2..=4.0;

/// Everything that can be chosen. See [`Builder`] for units, defaults and limits.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub durability: Durability,
    pub commit_path: CommitPath,
    pub recovery: RecoveryMode,
    pub verify: VerifyPolicy,
    pub when_full: WhenFull,
    pub keys: Option<KeyKind>,
    pub create: bool,
    pub background: bool,
    pub group_bytes: usize,
    pub segment_bytes: u64,
    pub segment_age: Option<Duration>,
    pub chunk_bytes: u64,
    pub address_space_bytes: u64,
    pub checkpoint_log_bytes: u64,
    pub space_amplification_max: f64,
    pub retained_memory_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            commit_path: CommitPath::Auto,
            recovery: RecoveryMode::TolerateTornTail,
            verify: VerifyPolicy::FirstTouch,
            when_full: WhenFull::Wait,
            keys: None,
            create: true,
            background: true,
            group_bytes: 256 << 10,
            segment_bytes: 32 << 20,
            segment_age: None,
            chunk_bytes: 16 << 20,
            address_space_bytes: 1 << 40,
            checkpoint_log_bytes: 256 << 20,
            space_amplification_max: 1.5,
            retained_memory_max: 256 << 20,
        }
    }
}

impl Options {
    pub fn check(&self) -> Result<()> {
        let group_ok =
            self.group_bytes.is_power_of_two() && (1 << 14..=1 << 20).contains(&self.group_bytes);
        if !group_ok {
            return Err(Error::invalid(format!(
                "group_bytes must be a power of two from 16 KiB to 1 MiB, not {}",
                self.group_bytes
            )));
        }
        let segment_ok =
            self.segment_bytes.is_power_of_two() && SEGMENT_BYTES.contains(&self.segment_bytes);
        if !segment_ok {
            return Err(Error::invalid(format!(
                "segment_bytes must be a power of two from 256 KiB to 4 GiB, not {}",
                self.segment_bytes
            )));
        }
        let chunk_ok =
            self.chunk_bytes.is_power_of_two() && CHUNK_BYTES.contains(&self.chunk_bytes);
        if !chunk_ok {
            return Err(Error::invalid(format!(
                "chunk_bytes must be a power of two from 64 KiB to 1 GiB, not {}",
                self.chunk_bytes
            )));
        }
        if self.checkpoint_log_bytes < CHECKPOINT_LOG_BYTES_MIN {
            return Err(Error::invalid(format!(
                "checkpoint_log_bytes must be at least 4 KiB, not {}",
                self.checkpoint_log_bytes
            )));
        }
        if !SPACE_AMPLIFICATION.contains(&self.space_amplification_max) {
            return Err(Error::invalid(format!(
                "space_amplification_max must be from 1.2 to 4, not {}",
                self.space_amplification_max
            )));
        }
        if !(ADDRESS_SPACE_BYTES_MIN..=DATA_BYTES_MAX).contains(&self.address_space_bytes) {
            return Err(Error::invalid(format!(
                "address_space_bytes must be from 64 MiB to 64 TiB, not {}",
                self.address_space_bytes
            )));
        }
        match self.durability {
            Durability::Interval(interval)
                if !(Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&interval) =>
            {
                Err(Error::invalid(format!(
                    "the interval of Durability::Interval must be from 1 ms to 1 h, not \
                     {interval:?}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Checks that chunks of this size, those of the database or of one to create, go with the
    /// address space.
    pub(crate) fn check_chunks(&self, chunk_bytes: u64) -> Result<()> {
        let address_space_bytes = self.address_space_bytes;
        if chunk_bytes > address_space_bytes {
            return Err(Error::invalid(format!(
                "address_space_bytes is {address_space_bytes}, less than one chunk: chunk_bytes is \
                 {chunk_bytes}"
            )));
        }
        if address_space_bytes / chunk_bytes > CHUNK_COUNT_MAX {
            return Err(Error::invalid(format!(
                "address_space_bytes is {address_space_bytes}, more than {CHUNK_COUNT_MAX} times \
                 chunk_bytes, which is {chunk_bytes} (fixed when the database is created); lower it"
            )));
        }
        Ok(())
    }
}
