//! Groups that a leader has taken and that are not settled.

use std::collections::VecDeque;
use std::sync::Arc;

use uarr_uring::{AlignedBuffer, Storage};

use crate::commit::cell::GroupCell;
use crate::commit::staging::StagedGroup;
use crate::error::Error;
use crate::log::builder::{GroupBuilder, Submitted};
use crate::log::writer::OpenLog;

/// A group that was taken from the staging area and is not settled.
pub(crate) struct InFlight {
    pub cell: Arc<GroupCell>,
    pub last_lsn: u64,
    /// See [`StagedGroup`].
    pub base_lsn: Option<u64>,
    pub commit_count: u32,
    /// Blocked members: one of them can lead.
    pub thread_count: u32,
    pub record_count: u32,
    /// Chunks that its chunk-open frames name.
    pub named_chunks: Vec<u64>,
    pub submitted_ns: u64,
    pub state: State,
    pub is_applied: bool,
    /// Why it failed, if it did.
    pub failure: Option<Error>,
}

pub(crate) enum State {
    /// It goes to the device next.
    Taken(GroupBuilder),
    /// The device has it.
    Submitted(Submitted),
    /// The device has answered.
    Written(Submitted),
    /// The device never had it.
    Refused(Arc<AlignedBuffer>),
    /// Only while it is moved from one state to the next.
    Moving,
}

impl InFlight {
    pub fn new(group: StagedGroup) -> Self {
        let StagedGroup {
            builder, cell, commit_count, thread_count, named_chunks, base_lsn, ..
        } = group;
        let record_count = builder.frame_count - named_chunks.len() as u32;
        assert!(commit_count <= record_count, "a commit has records");
        assert!(commit_count > 0 || !named_chunks.is_empty(), "no group is empty");
        Self {
            cell,
            last_lsn: builder.last_lsn(),
            base_lsn,
            commit_count,
            thread_count,
            record_count,
            named_chunks,
            submitted_ns: 0,
            state: State::Taken(builder),
            is_applied: false,
            failure: None,
        }
    }
}

/// What a leader works with: the log, and what is in flight. One thread at a time.
pub(crate) struct Leading<S: Storage> {
    pub log: OpenLog<S>,
    /// Groups taken from the staging area and not settled, oldest first. They belong to no thread:
    /// another one may go on with them.
    pub flight: VecDeque<InFlight>,
    /// Last LSN of the latest group that was refused for lack of room.
    pub refused_lsn: u64,
}

impl<S: Storage> Leading<S> {
    /// Nothing is in flight.
    pub fn new(log: OpenLog<S>) -> Self {
        Self { log, flight: VecDeque::new(), refused_lsn: 0 }
    }

    /// What the members of the oldest group wait on that a thread waits for, if there is one.
    pub fn awaited(&self) -> Option<&Arc<GroupCell>> {
        self.flight.iter().find(|group| group.thread_count > 0).map(|group| &group.cell)
    }

    /// The group that the device has under `ticket`.
    pub fn waits_for(&mut self, ticket: u64) -> Option<&mut InFlight> {
        let is_meant = |group: &&mut InFlight| match &group.state {
            State::Submitted(submitted) => submitted.ticket == ticket,
            _ => false,
        };
        self.flight.iter_mut().find(is_meant)
    }
}
