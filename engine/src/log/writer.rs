//! The writing end of the log: groups of frames, and where they go.
//!
//! ```text
//! GroupBuilder buffer   [ block for a segment header | group header | frame | frame | .. zeros ]
//! ```
//! A group is one write. The segment header, when a segment is begun, travels in the same write.
//! Groups start on fresh blocks; no block is written twice in one life of the log.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use uarr_layout::DatabaseId;
use uarr_layout::geometry::align_up;
use uarr_layout::group::{GroupHeader, SegmentHeader};
use uarr_uring::{
    AlignedBuffer, CommitStrategy, GroupDone, GroupWrite, LogCounters, LogWriter, Storage,
};

use crate::log::builder::{GroupBuilder, Submitted};
use crate::log::position::{LogIdentity, LogPosition};
use crate::log::segment::Segment;
use crate::log::segments::Segments;
use crate::sync::{Rank, Ranked, holds_only};

/// The active segment and the way to the device. One thread at a time: the leader.
pub(crate) struct OpenLog<S: Storage> {
    writer: S::Log,
    active: Segment<S::File>,
    position: LogPosition,
    /// When the active segment was begun or opened, by the clock of the storage.
    begun: Option<Duration>,
    database: DatabaseId,
    life: u64,
    block_bytes: usize,
}

impl<S: Storage> OpenLog<S> {
    /// Goes on at `position` in `active`.
    pub fn new(
        writer: S::Log,
        active: Segment<S::File>,
        position: LogPosition,
        identity: LogIdentity,
    ) -> Self {
        assert_eq!(active.number, position.segment);
        assert!(identity.block_bytes.is_power_of_two());
        assert!(position.offset.is_multiple_of(identity.block_bytes as u64));
        assert!(position.offset <= active.bytes);
        let LogIdentity { database, life, block_bytes } = identity;
        Self { writer, active, position, begun: None, database, life, block_bytes }
    }

    /// A buffer for groups, registered with the kernel while there are such.
    pub fn buffer(&mut self, bytes: usize) -> Arc<AlignedBuffer> {
        self.writer.buffer(bytes)
    }

    pub fn strategy(&self) -> CommitStrategy {
        self.writer.strategy()
    }

    pub fn set_strategy(&mut self, strategy: CommitStrategy) -> io::Result<()> {
        self.writer.set_strategy(strategy)?;
        assert_eq!(self.writer.strategy(), strategy);
        Ok(())
    }

    pub fn counters(&self) -> LogCounters {
        self.writer.counters()
    }

    /// Sends `group` to the device, behind those that were sent before. All up to `durable_lsn` is
    /// durable. On error nothing was written: the log goes on as if the group had never been.
    //= WAL-3
    pub fn submit(
        &mut self,
        mut group: GroupBuilder,
        context: SubmitContext<'_, S>,
    ) -> Result<Submitted, (io::Error, Arc<AlignedBuffer>)> {
        assert!(
            holds_only(&[Rank::Mover, Rank::Root, Rank::Leading]),
            "no writer waits for the device"
        );
        assert!(group.frame_count > 0);
        assert!(group.first_lsn > self.position.lsn);
        assert!(group.first_lsn > context.durable_lsn, "what is durable is not written again");
        assert_eq!(group.start, self.block_bytes);
        let body_bytes = align_up(group.end - group.start, self.block_bytes);
        assert_eq!(body_bytes as u64, group.log_bytes(), "as many as were noted as staged");
        assert!(group.start + body_bytes <= group.buffer.len(), "the padding is in it too");
        if let Err(error) = self.make_current(body_bytes as u64, &context) {
            context.segments.room.note_unstaged(body_bytes as u64);
            return Err((error, group.buffer));
        }
        let begins_segment = self.position.offset == 0;
        let header_bytes = if begins_segment { self.block_bytes } else { 0 };
        let write_offset = self.position.offset;
        self.store_headers(&mut group, write_offset + header_bytes as u64, &context);

        let start = group.start - header_bytes;
        let len = header_bytes + body_bytes;
        assert!(len.is_multiple_of(self.block_bytes));
        assert!(write_offset.is_multiple_of(self.block_bytes as u64));
        assert!(write_offset + len as u64 <= self.active.bytes, "segments never grow");
        let write = GroupWrite {
            file: self.active.file.clone(),
            offset: write_offset,
            buffer: group.buffer.clone(),
            start,
            len,
        };
        let ticket = match self.writer.submit(write) {
            Ok(ticket) => ticket,
            Err(error) => {
                context.segments.room.note_unstaged(body_bytes as u64);
                return Err((error, group.buffer));
            }
        };
        self.position.offset += len as u64;
        self.position.lsn = group.last_lsn();
        assert!(self.position.lsn >= group.first_lsn, "the log goes on behind the group");
        let active_bytes = self.active.bytes - self.position.offset;
        context.segments.note_submitted(body_bytes as u64, active_bytes);
        let GroupBuilder { buffer, end, first_lsn, results, .. } = group;
        Ok(Submitted { ticket, buffer, end, first_lsn, position: self.position, results })
    }

    /// Waits for any of the submitted groups.
    pub fn complete(&mut self) -> GroupDone {
        assert!(
            holds_only(&[Rank::Mover, Rank::Root, Rank::Leading]),
            "no writer waits for the device"
        );
        self.writer.complete().expect("the leader waits only for groups it has submitted")
    }

    /// Moves on to the next segment if the active one has no room for `body_bytes`, or has been
    /// active for long enough and the next is ready.
    //= WAL-9
    fn make_current(&mut self, body_bytes: u64, context: &SubmitContext<'_, S>) -> io::Result<()> {
        let header_bytes = if self.position.offset == 0 { self.block_bytes as u64 } else { 0 };
        let has_room = self.position.offset + header_bytes + body_bytes <= self.active.bytes;
        if has_room && !self.is_old(context) {
            return Ok(());
        }
        let needed = self.block_bytes as u64 + body_bytes;
        let next = match context.segments.take(needed) {
            Some(segment) => segment,
            None if has_room => return Ok(()),
            None => {
                // Only if preparation fell behind; it is never on the path otherwise.
                let _space = crate::sync::lock(context.space);
                context.segments.prepare(context.storage, needed)?;
                context.segments.take(needed).ok_or_else(|| {
                    io::Error::other("another thread took the segment that was just prepared")
                })?
            }
        };
        assert!(next.number > self.active.number, "numbers of segments rise");
        assert!(next.bytes >= needed);
        if has_room {
            // It is left for its age.
            context.segments.room.note_left(self.active.bytes - self.position.offset);
        }
        context.segments.seal(self.active.number, self.active.bytes);
        self.position = LogPosition { segment: next.number, offset: 0, lsn: self.position.lsn };
        self.active = next;
        self.begun = Some(context.storage.now());
        Ok(())
    }

    /// Whether the active segment was begun longer ago than a segment should be used for.
    fn is_old(&mut self, context: &SubmitContext<'_, S>) -> bool {
        let Some(age) = context.segment_age else { return false };
        if context.segments.room.has_large() {
            // The room that is left is spoken for.
            return false;
        }
        let now = context.storage.now();
        let begun = *self.begun.get_or_insert(now);
        self.position.offset > 0 && now.saturating_sub(begun) >= age
    }

    fn store_headers(
        &self,
        group: &mut GroupBuilder,
        group_offset: u64,
        context: &SubmitContext<'_, S>,
    ) {
        let wall_ns = context.wall_ns;
        let mut header = GroupHeader::new(self.database);
        header.segment = self.active.number.into();
        header.life = self.life.into();
        header.offset = group_offset.into();
        header.first_lsn = group.first_lsn.into();
        header.previous_lsn = self.position.lsn.into();
        header.durable_lsn = context.durable_lsn.into();
        header.wall_ns = wall_ns.into();
        header.frame_count = group.frame_count.into();
        header.frames_crc = group.headers.crc().into();
        header.group_bytes = ((group.end - group.start) as u64).into();

        let (start, number) = (group.start, self.active.number);
        let buffer = Arc::get_mut(&mut group.buffer).expect("a group being built is not shared");
        header.store(&mut buffer[start..]);
        // 34 ns a group. What replay would refuse is not acknowledged.
        let read = GroupHeader::load(&buffer[start..], &self.database, number, group_offset);
        assert!(read.is_ok(), "{read:?}");
        let padding_end = start + align_up(group.end - start, self.block_bytes);
        buffer[group.end..padding_end].fill(0);
        if self.position.offset == 0 {
            buffer[..start].fill(0);
            let mut segment = SegmentHeader::new(self.database, number);
            segment.life = self.life.into();
            segment.first_lsn = group.first_lsn.into();
            segment.segment_bytes = self.active.bytes.into();
            segment.block_bytes = u32::try_from(self.block_bytes).expect("blocks are small").into();
            segment.wall_ns = wall_ns.into();
            segment.store(buffer);
            let read = SegmentHeader::load(buffer, &self.database, number);
            assert!(read.is_ok(), "{read:?}");
        }
    }
}

/// What [`OpenLog::submit`] needs besides the group.
pub(crate) struct SubmitContext<'a, S: Storage> {
    pub storage: &'a S,
    pub segments: &'a Segments<S::File>,
    /// Held while a segment is prepared.
    pub space: &'a Ranked<()>,
    pub durable_lsn: u64,
    /// What time it is, in ns since 1970.
    pub wall_ns: u64,
    /// How long a segment is used although it has room.
    pub segment_age: Option<Duration>,
}
