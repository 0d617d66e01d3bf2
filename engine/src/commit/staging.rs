//! Writes on their way to the device: the group that still takes frames, and full ones before it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use uarr_layout::chunk::ChunkOpening;
use uarr_layout::frame::Frame;
use uarr_layout::limits::LSN_MAX;
use uarr_uring::AlignedBuffer;

use crate::commit::cell::GroupCell;
use crate::commit::leadership::Lead;
use crate::commit::recent::Recent;
use crate::commit::refused_tables::RefusedTables;
use crate::commit::turns::Turns;
use crate::data::places::Places;
use crate::data::stream::Stream;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::BUFFER_COUNT;
use crate::log::builder::{GroupBuilder, StagedFrames};

/// Cells whose members may still be looking, and free ones.
const SPARE_CELLS_MAX: usize = 8;

const STAGED_LOST: &str = "something that the transaction has read was refused for lack of room; \
                           nothing of it was written, run it again";

/// A group that has not been handed to the device.
pub(crate) struct StagedGroup {
    pub builder: GroupBuilder,
    pub cell: Arc<GroupCell>,
    pub commit_count: u32,
    /// Blocked members: one of them can lead.
    pub thread_count: u32,
    /// A thread or task waits for the group to be durable: it is not left until its interval is
    /// over.
    pub is_awaited: bool,
    /// Chunks that its chunk-open frames name.
    pub named_chunks: Vec<u64>,
    /// The first record of an earlier group that one of its own builds upon, as it was staged.
    pub base_lsn: Option<u64>,
}

impl StagedGroup {
    /// Whether there is nothing to write: no commit, and no chunk that it names.
    pub fn is_empty(&self) -> bool {
        self.commit_count == 0 && self.named_chunks.is_empty()
    }
}

/// Groups that a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// The oldest one.
    Oldest,
    Any,
}

/// What all writers share before their group is submitted.
pub(crate) struct Staging {
    pub open: Option<StagedGroup>,
    pub sealed: VecDeque<StagedGroup>,
    pub spare: Vec<Arc<AlignedBuffer>>,
    /// Cells of finished groups, free once their members have looked.
    pub spare_cells: VecDeque<Arc<GroupCell>>,
    pub next_lsn: u64,
    /// Where the next record goes in the data file.
    pub places: Places,
    /// Every group up to this LSN was written or has failed.
    pub settled_lsn: u64,
    /// The last LSN of the latest group that has failed; 0: none has.
    failed_lsn: u64,
    /// A thread has the lead, or has been offered it.
    is_led: bool,
    /// Groups that a leader took and that are not settled.
    pub in_flight_count: usize,
    pub settled_waiters: usize,
    pub buffer_waiters: usize,
    /// Tasks that wait for a buffer.
    pub room_wakers: Vec<Waker>,
    /// Tasks to be woken by a thread that holds nothing; see [`crate::commit::wakes`].
    pub due_wakes: Vec<Waker>,
    /// The log thread sleeps and was not woken yet.
    pub log_thread_rests: bool,
    /// The log thread runs wakers, which may write and wait for it: it is not to be relied on.
    pub log_thread_is_out: bool,
    /// The log thread has ended, so no thread waits for `due_wakes` any more.
    pub log_thread_has_ended: bool,
    /// Who may change which key.
    pub turns: Turns,
    /// What open transactions must not have read.
    pub recent: Recent,
    /// Tables that take no writes.
    pub refused: RefusedTables,
}

impl Staging {
    pub fn new(next_lsn: u64, places: Places, spare: Vec<Arc<AlignedBuffer>>) -> Self {
        assert!(next_lsn > 0, "LSN 0 stands for no record");
        assert_eq!(spare.len(), BUFFER_COUNT);
        Self {
            open: None,
            sealed: VecDeque::new(),
            spare,
            spare_cells: VecDeque::new(),
            next_lsn,
            places,
            settled_lsn: next_lsn - 1,
            failed_lsn: 0,
            is_led: false,
            in_flight_count: 0,
            settled_waiters: 0,
            buffer_waiters: 0,
            room_wakers: Vec::new(),
            due_wakes: Vec::new(),
            log_thread_rests: false,
            log_thread_is_out: false,
            log_thread_has_ended: false,
            turns: Turns::default(),
            recent: Recent::default(),
            refused: RefusedTables::default(),
        }
    }

    /// Whether a thread has the lead, or has been offered it.
    pub fn is_led(&self) -> bool {
        self.is_led
    }

    /// The lead, if no thread has it.
    pub fn take_lead(&mut self) -> Option<Lead> {
        (!std::mem::replace(&mut self.is_led, true)).then(Lead::given)
    }

    /// Takes the lead back: no thread has it now.
    pub fn return_lead(&mut self) {
        assert!(self.is_led, "only a lead that was taken is returned");
        self.is_led = false;
    }

    /// Asks a thread that waits for a group of `which` to lead, if there is one; it then has the
    /// lead. Returns whether there was one.
    pub fn offer_lead(&mut self, which: Awaited) -> bool {
        let awaited = self.awaited().filter(|(is_oldest, _)| *is_oldest || which == Awaited::Any);
        let Some((_, group)) = awaited else { return false };
        assert!(!self.is_led || self.in_flight_count == 0, "the lead ends with an empty flight");
        group.cell.offer_lead();
        self.is_led = true;
        true
    }

    /// Asks a thread that waits on `cell`, for a group in flight, to lead: it then has the lead.
    pub fn offer_lead_in_flight(&mut self, cell: &GroupCell) {
        assert!(self.in_flight_count > 0, "its group is not settled");
        assert!(!self.is_led, "there is one lead");
        cell.offer_lead();
        self.is_led = true;
    }

    pub fn has_work(&self) -> bool {
        self.open.is_some() || !self.sealed.is_empty()
    }

    /// Notes that every group up to `lsn` was written or has failed.
    pub fn note_settled(&mut self, lsn: u64) {
        assert!(lsn < self.next_lsn, "an LSN that no record has");
        // Groups that are failed before they are handed to the device do not wait for those that
        // are.
        self.settled_lsn = self.settled_lsn.max(lsn);
    }

    /// Groups that no leader has taken, oldest first.
    fn groups(&self) -> impl Iterator<Item = &StagedGroup> {
        self.sealed.iter().chain(&self.open)
    }

    /// The first LSN that no leader has taken.
    pub fn first_staged_lsn(&self) -> u64 {
        self.groups().next().map_or(self.next_lsn, |group| group.builder.first_lsn)
    }

    /// Bytes that [`Staging::copy_staged`] copies, about.
    pub fn copied_bytes(&self) -> u64 {
        self.groups().map(|group| group.builder.copied_bytes()).sum()
    }

    /// Notes that the group that ends with `lsn` has failed.
    pub fn note_failed(&mut self, lsn: u64) {
        assert!(self.failed_lsn < lsn, "groups fail in the order of their LSNs");
        self.failed_lsn = lsn;
        // Of no counter it is known any more what came last.
        self.turns.counters.clear();
    }

    /// Errors: of what was staged from `from` on something was lost since.
    pub fn check_staged(&self, from: Option<u64>) -> Result<()> {
        match from.is_some_and(|from| from <= self.failed_lsn) {
            true => Err(Error::new(ErrorKind::Conflict, STAGED_LOST)),
            false => Ok(()),
        }
    }

    /// A copy of all that no leader has taken.
    pub fn copy_staged(&self) -> StagedFrames {
        let mut copy = StagedFrames::default();
        let groups = self.groups().filter(|group| !group.is_empty());
        groups.for_each(|group| group.builder.copy_to(&mut copy));
        copy
    }

    pub fn take_oldest(&mut self) -> Option<StagedGroup> {
        let group = self.sealed.pop_front().or_else(|| self.open.take())?;
        assert!(!group.is_empty(), "no group is empty");
        assert!(group.builder.first_lsn > self.settled_lsn, "it was not settled before");
        Some(group)
    }

    /// All groups, oldest first. A panic may have left the last one empty.
    pub fn take_all(&mut self) -> VecDeque<StagedGroup> {
        let mut groups = std::mem::take(&mut self.sealed);
        groups.extend(self.open.take());
        groups
    }

    /// The oldest group that takes no more frames.
    pub fn take_sealed(&mut self) -> Option<StagedGroup> {
        let group = self.sealed.pop_front()?;
        assert!(!group.is_empty(), "no group is empty");
        assert!(group.builder.first_lsn > self.settled_lsn, "it was not settled before");
        Some(group)
    }

    /// The open group takes no more frames.
    pub fn seal_open(&mut self) {
        let Some(full) = self.open.take() else { return };
        assert!(!full.is_empty(), "no group is empty");
        assert_eq!(full.builder.last_lsn() + 1, self.next_lsn, "it has the newest records");
        if let Some(before) = self.sealed.back() {
            assert_eq!(before.builder.last_lsn() + 1, full.builder.first_lsn);
        }
        self.sealed.push_back(full);
    }

    /// Takes back the buffer of a settled group.
    pub fn keep_buffer(&mut self, buffer: Arc<AlignedBuffer>) {
        assert!(self.spare.len() < BUFFER_COUNT, "there are no more");
        let is_spare = |spare: &Arc<AlignedBuffer>| Arc::ptr_eq(spare, &buffer);
        assert!(!self.spare.iter().any(is_spare), "a buffer comes back once");
        self.spare.push(buffer);
    }

    /// The first group that a thread waits for, and whether it is the oldest of all.
    fn awaited(&self) -> Option<(bool, &StagedGroup)> {
        let groups = self.groups().enumerate();
        let mut awaited = groups.filter(|(_, group)| group.thread_count > 0);
        awaited.next().map(|(index, group)| (index == 0, group))
    }

    /// Lets `builder` take the next frames.
    pub fn open_group(&mut self, builder: GroupBuilder) {
        assert!(self.open.is_none(), "one group takes frames at a time");
        assert_eq!(builder.first_lsn, self.next_lsn, "LSNs have no gap between groups");
        assert_eq!(builder.frame_count, 0);
        assert!(self.next_lsn < LSN_MAX, "an open begins with more LSNs than it can give out");
        let cell = self.renewed_cell().unwrap_or_else(GroupCell::new);
        let (commit_count, thread_count, is_awaited) = (0, 0, false);
        let (named_chunks, base_lsn) = (Vec::new(), None);
        self.open = Some(StagedGroup {
            builder,
            cell,
            commit_count,
            thread_count,
            is_awaited,
            named_chunks,
            base_lsn,
        });
    }

    /// The open group has a record that builds upon the staged one with `lsn`.
    pub fn build_upon(&mut self, lsn: u64) {
        let group = self.open.as_mut().expect("it has the record");
        if lsn < group.builder.first_lsn {
            let base_lsn = group.base_lsn.unwrap_or(lsn);
            group.base_lsn = Some(base_lsn.min(lsn));
        }
    }

    /// Has the open group name the chunks that `frames` go into, unless it does, or a settled one:
    /// what it is to say of each.
    pub fn name_chunks(&mut self, frames: &[Frame<'_>]) -> Vec<(u64, ChunkOpening)> {
        let group = self.open.as_mut().expect("a group takes the frames");
        let mut openings = Vec::new();
        for frame in frames {
            let unsettled = self.places.unsettled(frame.header.address.get());
            if let Some(number) = unsettled.filter(|number| !group.named_chunks.contains(number)) {
                group.named_chunks.push(number);
                openings.push(self.places.name(number));
            }
        }
        openings
    }

    /// Has the open group name the chunk of `stream`, unless it does, or a settled one.
    pub fn name_cold(&mut self, stream: Stream) -> Option<(u64, ChunkOpening)> {
        let group = self.open.as_mut().expect("a group takes the frame");
        let number = self.places.unsettled_cold(stream)?;
        if group.named_chunks.contains(&number) {
            return None;
        }
        group.named_chunks.push(number);
        Some(self.places.name(number))
    }

    /// Keeps the cell of a finished group for later.
    pub fn keep_cell(&mut self, cell: &Arc<GroupCell>) {
        let is_spare = |spare: &Arc<GroupCell>| Arc::ptr_eq(spare, cell);
        assert!(!self.spare_cells.iter().any(is_spare), "a cell serves one group at a time");
        if self.spare_cells.len() < SPARE_CELLS_MAX {
            self.spare_cells.push_back(cell.clone());
        }
    }

    fn renewed_cell(&mut self) -> Option<Arc<GroupCell>> {
        for _ in 0..self.spare_cells.len() {
            let mut cell = self.spare_cells.pop_front()?;
            if GroupCell::renew(&mut cell) {
                return Some(cell);
            }
            self.spare_cells.push_back(cell);
        }
        None
    }
}
