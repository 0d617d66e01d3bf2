//! Groups that a leader has taken and that are not settled.

use std::sync::Arc;

use uarr_uring::AlignedBuffer;

use crate::commit::cell::GroupCell;
use crate::commit::staging::StagedGroup;
use crate::error::Error;
use crate::log::builder::{GroupBuilder, Submitted};

/// A group that was taken from the staging area and is not settled.
pub(crate) struct InFlight {
    pub cell: Arc<GroupCell>,
    pub last_lsn: u64,
    pub commit_count: u32,
    pub record_count: u32,
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
        let StagedGroup { builder, cell, commit_count, .. } = group;
        Self {
            cell,
            last_lsn: builder.last_lsn(),
            commit_count,
            record_count: builder.record_count,
            submitted_ns: 0,
            state: State::Taken(builder),
            is_applied: false,
            failure: None,
        }
    }
}
