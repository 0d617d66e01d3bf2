//! How callers wait for their group, and what they do when it is staged.

use std::sync::Arc;

use crate::commit::cell::GroupCell;
use crate::commit::wakes::OwnWaker;

/// What a caller does after its frames were staged.
pub(crate) enum Role {
    /// Nothing: the write is acknowledged in memory.
    Done,
    /// Write the oldest groups, then wait for the own one. Between the two no user code may run:
    /// others wait for the leader.
    Leader(Arc<GroupCell>),
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
