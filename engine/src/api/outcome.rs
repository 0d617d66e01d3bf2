//! What became of a write with a condition.

use crate::api::record::Record;
use crate::commit::changes::Stop;
use crate::commit::receipt::Commit;
use crate::error::Result;
use crate::key::KeyKind;

/// Whether a write with a condition was done. A condition that is not met is an answer, no error:
/// nothing was written then.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let db = uarr::Db::open(&dir)?;
/// use uarr::Outcome;
///
/// match db.insert("user:ada", b"first")? {
///     Outcome::Written(commit) => println!("version {}", commit.lsn),
///     Outcome::Refused(refusal) => println!("taken: {:?}", refusal.found),
/// }
/// let second = db.insert("user:ada", b"second")?;
/// assert_eq!(second.found().ok_or("it was there")?, b"first");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the write may have been refused"]
pub enum Outcome<'a> {
    /// It was done; the LSN of the receipt is the version of the record.
    Written(Commit),
    /// It was not done, as its condition is not met.
    Refused(Refusal<'a>),
}

/// Why a write was refused.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refusal<'a> {
    /// Number of the change in its batch, from 0; the first whose condition is not met.
    pub change: usize,
    /// The newest record of its key: as durable as the database promises for what readers see, or,
    /// if the write was to be durable, durable. `None`: there is none.
    pub found: Option<Record<'a>>,
}

impl<'a> Outcome<'a> {
    /// What the caller gets for `written`.
    pub(in crate::api) fn of(
        written: std::result::Result<Commit, Stop<'a>>,
        kind: KeyKind,
    ) -> Result<Self> {
        match written {
            Ok(commit) => Ok(Self::Written(commit)),
            Err(Stop::Refused { change, found }) => {
                let found = found.map(|found| Record::new(found, kind));
                Ok(Self::Refused(Refusal { change, found }))
            }
            Err(Stop::Error(error)) => Err(error),
        }
    }

    /// Whether the write was done.
    pub fn is_written(&self) -> bool {
        matches!(self, Self::Written(_))
    }

    /// The receipt, if the write was done.
    pub fn commit(&self) -> Option<Commit> {
        match self {
            Self::Written(commit) => Some(*commit),
            Self::Refused(_) => None,
        }
    }

    /// The record that was found, if the write was refused and there is one.
    pub fn found(self) -> Option<Record<'a>> {
        match self {
            Self::Written(_) => None,
            Self::Refused(refusal) => refusal.found,
        }
    }
}
