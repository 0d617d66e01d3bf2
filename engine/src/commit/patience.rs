//! How callers wait for their group, and what they do when it is staged.

use std::sync::Arc;

use crate::commit::cell::GroupCell;
use crate::commit::leadership::Lead;
use crate::commit::wakes::OwnWaker;

/// What a caller does after its frames were staged.
pub(crate) enum Role {
    /// Nothing: the write is acknowledged in memory.
    Done,
    /// Write the oldest groups, then wait for the own one. Between the two no user code may run:
    /// others wait for the leader.
    Leader(Arc<GroupCell>, Lead),
    /// Wait: another thread writes the group.
    Member(Arc<GroupCell>),
}

/// How a caller waits.
#[derive(Clone, Copy)]
pub(crate) enum Patience<'a> {
    /// It blocks, and leads where no other thread does.
    Thread,
    /// It is woken; the log thread leads.
    Task(&'a OwnWaker<'a>),
    /// It blocks for room only; full groups are the log thread's.
    Ahead,
}

/// A write that was staged.
pub(crate) struct Staged {
    /// LSN of its last record.
    pub lsn: u64,
    /// What its caller does next.
    pub role: Role,
}

/// Why nothing was staged. A task is woken when it is time to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotYet {
    /// Another writer comes before this one, or what it builds upon is not the newest any more.
    OutOfTurn,
    /// All buffers are full.
    NoRoom,
}

/// The outcome of an attempt to stage.
pub(crate) type Attempt = Result<Staged, NotYet>;
