//! Options of a database: units, defaults, limits.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use uarr_layout::limits::{CHUNK_BYTES, DATA_BYTES_MAX, SEGMENT_BYTES};
use uarr_uring::CommitStrategy;

use crate::error::{Error, Result};
use crate::key::KeyKind;
use crate::limits::{ADDRESS_SPACE_BYTES_MIN, CHUNK_COUNT_MAX};

/// When a write is acknowledged. Its text is `sync`, `manual`, or `interval:` and a number with its
/// unit (`s`, `ms`, `us` or `ns`):
///
/// ```
/// use std::time::Duration;
/// use uarr::Durability;
/// assert_eq!("sync".parse::<Durability>()?, Durability::Sync);
/// let interval = Durability::Interval(Duration::from_millis(100));
/// assert_eq!("interval:100ms".parse::<Durability>()?, interval);
/// assert_eq!(interval.to_string(), "interval:100ms");
/// # Ok::<(), uarr::Error>(())
/// ```
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

/// Units of an interval in text, the longest first, with their nanoseconds.
const UNITS: [(&str, u64); 4] = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000), ("ns", 1)];

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = match self {
            Self::Sync => return f.pad("sync"),
            Self::Manual => return f.pad("manual"),
            Self::Interval(interval) => interval.as_nanos(),
        };
        let divides = |(_, unit_ns): &(&str, u64)| interval.is_multiple_of((*unit_ns).into());
        let (unit, unit_ns) = UNITS.into_iter().find(divides).expect("one is a nanosecond");
        f.pad(&format!("interval:{}{unit}", interval / u128::from(unit_ns)))
    }
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refused = |why: &str| Error::invalid(format!("'{text}' is no durability: {why}"));
        let forms = "give sync, interval:100ms or manual";
        let interval = match text {
            "sync" => return Ok(Self::Sync),
            "manual" => return Ok(Self::Manual),
            _ => text.strip_prefix("interval:").ok_or_else(|| refused(forms))?,
        };
        let unit_at = interval.find(|digit: char| !digit.is_ascii_digit());
        let (count, unit) = interval.split_at(unit_at.unwrap_or(interval.len()));
        let unit_ns = UNITS.into_iter().find(|(name, _)| *name == unit).map(|(_, ns)| ns);
        let unit_ns = unit_ns.ok_or_else(|| refused("the units are s, ms, us and ns"))?;
        let count: u64 = count.parse().map_err(|_| refused(forms))?;
        let interval_ns = count.checked_mul(unit_ns).ok_or_else(|| refused("it is too long"))?;
        Ok(Self::Interval(Duration::from_nanos(interval_ns)))
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
    /// it is visible at once. All earlier writes are durable then too. What it tells if it writes
    /// nothing, as a condition that is not met, is durable as well.
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
    /// It fails with [`crate::ErrorKind::Busy`]; nothing of it was written. Loads wait
    /// ([`crate::Db::ingest`]).
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
    /// This opening has made the directory.
    pub made_directory: bool,
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
            made_directory: false,
            background: true,
            group_bytes: 256 << 10,
            segment_bytes: 32 << 20,
            segment_age: None,
            chunk_bytes: 16 << 20,
            address_space_bytes: 1 << 40,
            checkpoint_log_bytes: 64 << 20,
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
                 {chunk_bytes} (fixed when the database is created); raise it"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_durability_reads_back() {
        let check = |durability: Durability, text: &str| {
            assert_eq!(durability.to_string(), text);
            assert_eq!(text.parse::<Durability>().unwrap(), durability);
        };
        check(Durability::Sync, "sync");
        check(Durability::Manual, "manual");
        check(Durability::Interval(Duration::from_secs(2)), "interval:2s");
        check(Durability::Interval(Duration::from_millis(1500)), "interval:1500ms");
        check(Durability::Interval(Duration::from_micros(1001)), "interval:1001us");
        let odd = Duration::from_nanos(3_600_000_000_001);
        check(Durability::Interval(odd), "interval:3600000000001ns");
    }

    #[test]
    fn other_texts_are_no_durability() {
        for text in [
            "",
            "Sync",
            "interval",
            "interval:",
            "interval:5",
            "interval:ms",
            "interval:-1ms",
            "interval:1h",
            "interval:99999999999999999999s",
            "interval:99999999999s",
        ] {
            assert!(text.parse::<Durability>().is_err(), "{text}");
        }
    }
}
