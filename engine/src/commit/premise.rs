//! What must hold in the moment in which records are staged.

use std::fmt;

use crate::commit::counter_premise::CounterPremise;
use crate::commit::recent::ReadSet;
use crate::commit::turns::LinePlace;

/// What the newest version of a key must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// There is no record.
    Absent,
    /// There is a record.
    Present,
    /// There is the record with this LSN.
    Version(u64),
    /// The newest record is the one with this LSN, and has expired.
    Expired(u64),
}

/// The newest version of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NewestVersion {
    /// LSN of the record, if there is one for readers.
    pub version: Option<u64>,
    /// LSN of the record that has expired, if there is one.
    pub expired: Option<u64>,
}

impl Expected {
    /// The newest version is `version`; `None`: there is no record.
    pub fn of(version: Option<u64>) -> Self {
        version.map_or(Self::Absent, Self::Version)
    }

    /// Whether `newest` is as expected.
    pub fn is_met_by(self, newest: NewestVersion) -> bool {
        match self {
            Self::Absent => newest.version.is_none(),
            Self::Present => newest.version.is_some(),
            Self::Version(expected) => newest.version == Some(expected),
            Self::Expired(expected) => newest.expired == Some(expected),
        }
    }
}

impl fmt::Display for Expected {
    /// Goes on behind the name of a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("should not be there"),
            Self::Present => f.write_str("should be there"),
            Self::Version(version) => write!(f, "should have version {version}"),
            Self::Expired(version) => write!(f, "should have expired with version {version}"),
        }
    }
}

/// A key whose newest version a change builds upon.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base<'a> {
    pub key: &'a [u8],
    pub expected: Expected,
}

/// See [`self`].
#[derive(Clone, Copy, Default)]
pub(crate) struct Premise<'a> {
    /// The writer's place in the queues, if it had to wait.
    pub place: Option<&'a LinePlace>,
    /// What must be the newest versions.
    pub bases: &'a [Base<'a>],
    /// The counter that is changed, alone.
    pub counter: Option<&'a CounterPremise<'a>>,
    /// What nobody else may have written since it was read.
    pub reads: Option<&'a ReadSet>,
}

impl Premise<'_> {
    /// Whether records that have expired are deleted.
    pub fn is_sweep(&self) -> bool {
        matches!(self.bases.first(), Some(Base { expected: Expected::Expired(_), .. }))
    }
}
