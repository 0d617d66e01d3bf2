//! Keys, versions of their values, and records: what the database of the model holds.

use std::fmt::{Debug, Formatter, Result};

/// How many keys there are: few, so that versions of one lie in many chunks.
pub const KEY_COUNT: usize = 6;
/// Values are below it.
const VALUE_BOUND: Value = 1_000_003;

pub type Key = usize;
pub type Lsn = u64;
pub type Value = u64;
pub type ChunkNumber = u64;

/// Where a record is: names a chunk by its number, never a place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub chunk: ChunkNumber,
    pub offset: usize,
}

impl Debug for Address {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        write!(formatter, "{}:{}", self.chunk, self.offset)
    }
}

/// A value that a key has had since `lsn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub lsn: Lsn,
    pub value: Value,
}

/// What a reader of each key finds at one moment.
pub type State = [Option<Version>; KEY_COUNT];

/// A version as it stands in the data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its own address, as if it were part of a checksum: a record elsewhere is none.
    pub address: Address,
    pub key: Key,
    pub lsn: Lsn,
    /// `None`: a tombstone.
    pub value: Option<Value>,
    /// The version before, where it was when this one was applied.
    pub previous: Option<Address>,
}

impl Record {
    /// What a reader gets; a tombstone means: not there.
    pub fn version(&self) -> Option<Version> {
        self.value.map(|value| Version { lsn: self.lsn, value })
    }

    /// The same version at another address.
    pub fn moved_to(self, address: Address) -> Self {
        Self { address, ..self }
    }
}

/// A change of a value, and the version that it changes.
#[derive(Clone, Copy, Debug)]
pub struct Patch {
    pub delta: Value,
    /// LSN of the base.
    pub base: Lsn,
    /// Where the base was when the patch was made. For a mutation alone: the base may move.
    pub base_address: Address,
}

/// The value that a patch makes of `base`; no two bases have the same, as good as ever.
pub fn patched(base: Value, delta: Value) -> Value {
    assert!(base < VALUE_BOUND && delta < VALUE_BOUND, "values are small");
    (base * 31 + delta) % VALUE_BOUND
}
