//! The writing end of the log: groups of frames, and where they go.
//!
//! ```text
//! GroupBuilder buffer   [ block kept for a segment header | group header | frame | frame | .. zeros ]
//! ```
//! A group is one write. The segment header, when a segment is begun, travels in the same write.
//! Groups start on fresh blocks; no block is written twice in one life of the log.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use uarr_layout::DatabaseId;
use uarr_layout::frame::{Frame, Frames};
use uarr_layout::geometry::align_up;
use uarr_layout::group::{GROUP_HEADER_BYTES, GroupHeader, SegmentHeader};
use uarr_uring::{
    AlignedBuffer, CommitStrategy, GroupDone, GroupWrite, LogCounters, LogWriter, Storage,
    StorageFile,
};

use crate::lead::InFlight;
use crate::segments::{Segment, Segments};

/// A group takes no more frames when the values that its patches lead to have more bytes than this.
const RESULT_BYTES_MAX: usize = 16 << 20;

/// A place in the log: between two groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogPosition {
    pub segment: u64,
    pub offset: u64,
    /// LSN of the last record before this place.
    pub lsn: u64,
}

/// Frames on their way into a group.
pub(crate) struct GroupBuilder {
    buffer: Arc<AlignedBuffer>,
    /// Where the group header goes: the block size of the log.
    start: usize,
    end: usize,
    frames_crc: u32,
    pub first_lsn: u64,
    pub record_count: u32,
    /// What the patches among the frames lead to, in their order, for whoever applies them.
    results: Vec<Box<[u8]>>,
    result_bytes: usize,
}

impl GroupBuilder {
    /// An empty group in `buffer`, which nobody else holds. What is in it does not matter: every
    /// byte that goes to the device is written before.
    pub fn new(buffer: Arc<AlignedBuffer>, block_bytes: usize, first_lsn: u64) -> Self {
        let end = block_bytes + GROUP_HEADER_BYTES;
        Self {
            buffer,
            start: block_bytes,
            end,
            frames_crc: 0,
            first_lsn,
            record_count: 0,
            results: Vec::new(),
            result_bytes: 0,
        }
    }

    /// Bytes of buffer that a group with `frame_bytes` of frames needs.
    pub fn buffer_bytes(block_bytes: usize, frame_bytes: usize) -> usize {
        block_bytes + align_up(GROUP_HEADER_BYTES + frame_bytes, block_bytes)
    }

    pub fn has_room_for(&self, frame_bytes: usize) -> bool {
        self.end + frame_bytes <= self.buffer.len() && self.result_bytes <= RESULT_BYTES_MAX
    }

    /// Bytes of the buffer.
    pub fn buffer_len(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes that the group takes in the log, without a segment header.
    pub fn log_bytes(&self) -> u64 {
        match self.record_count {
            0 => 0,
            _ => align_up(self.end - self.start, self.start) as u64,
        }
    }

    pub fn last_lsn(&self) -> u64 {
        self.first_lsn + u64::from(self.record_count) - 1
    }

    /// The buffer of a group that is not written after all.
    pub fn into_buffer(self) -> Arc<AlignedBuffer> {
        self.buffer
    }

    /// Adds frames, whose LSNs are the next ones.
    pub fn push(&mut self, frames: &[Frame<'_>]) {
        let buffer = Arc::get_mut(&mut self.buffer).expect("a group being built is not shared");
        for frame in frames {
            assert_eq!(frame.header.lsn.get(), self.first_lsn + u64::from(self.record_count));
            let bytes = frame.len_in_log();
            frame.store(&mut buffer[self.end..self.end + bytes]);
            self.frames_crc = frame.header.extend_crc(self.frames_crc);
            self.end += bytes;
            self.record_count += 1;
        }
    }

    /// Keeps what the patch that was just added leads to.
    pub fn keep_result(&mut self, result: &[u8]) {
        self.results.push(result.into());
        self.result_bytes += result.len();
    }
}

/// A group that was handed to the device.
pub(crate) struct Submitted {
    /// What the device's answer will name.
    pub ticket: u64,
    /// The same buffer the device reads.
    pub buffer: Arc<AlignedBuffer>,
    /// End of the frames in it.
    pub end: usize,
    /// The place behind the group.
    pub position: LogPosition,
    results: Vec<Box<[u8]>>,
}

impl Submitted {
    /// The frames, as the kernel may be reading them too, patches with their results.
    pub fn frames(&self, block_bytes: usize) -> impl Iterator<Item = Frame<'_>> {
        let mut results = self.results.iter();
        let frames = Frames::new(&self.buffer[block_bytes + GROUP_HEADER_BYTES..self.end]);
        frames.map(move |frame| {
            let mut frame = frame.expect("frames of a group that was just built are whole");
            if frame.patch().is_some() {
                frame.result = results.next().map(|result| &**result);
            }
            frame
        })
    }
}

/// The active segment and the way to the device. One thread at a time: the leader.
pub(crate) struct Log<S: Storage> {
    writer: S::Log,
    active: Segment<S::File>,
    position: LogPosition,
    /// When the active segment was begun or opened, by the clock of the storage.
    begun: Option<Duration>,
    /// Groups taken from the staging area and not settled, oldest first. They are the log's, not
    /// the leader's: another thread may go on with them.
    pub flight: VecDeque<InFlight>,
    database: DatabaseId,
    life: u64,
    block_bytes: usize,
}

/// Identity of the log that is being written.
#[derive(Clone, Copy)]
pub(crate) struct LogIdentity {
    pub database: DatabaseId,
    pub life: u64,
    pub block_bytes: usize,
}

impl<S: Storage> Log<S> {
    /// Goes on at `position` in `active`.
    pub fn new(
        writer: S::Log,
        active: Segment<S::File>,
        position: LogPosition,
        identity: LogIdentity,
    ) -> Self {
        assert_eq!(active.number, position.segment);
        assert!(position.offset.is_multiple_of(identity.block_bytes as u64));
        let LogIdentity { database, life, block_bytes } = identity;
        Self {
            writer,
            active,
            position,
            begun: None,
            flight: VecDeque::new(),
            database,
            life,
            block_bytes,
        }
    }

    /// A buffer for groups, registered with the kernel while there are such.
    pub fn buffer(&mut self, bytes: usize) -> Arc<AlignedBuffer> {
        self.writer.buffer(bytes)
    }

    pub fn strategy(&self) -> CommitStrategy {
        self.writer.strategy()
    }

    pub fn set_strategy(&mut self, strategy: CommitStrategy) -> io::Result<()> {
        self.writer.set_strategy(strategy)
    }

    pub fn counters(&self) -> LogCounters {
        self.writer.counters()
    }

    /// Sends `group` to the device, behind those that were sent before. All up to `durable_lsn` is
    /// durable. On error nothing was written: the log goes on as if the group had never been.
    pub fn submit(
        &mut self,
        mut group: GroupBuilder,
        context: SubmitContext<'_, S>,
    ) -> Result<Submitted, (io::Error, Arc<AlignedBuffer>)> {
        assert!(group.record_count > 0);
        assert!(group.first_lsn > self.position.lsn);
        let body_bytes = align_up(group.end - group.start, self.block_bytes);
        if let Err(error) = self.make_current(body_bytes as u64, &context) {
            context.segments.note_dropped(body_bytes as u64);
            return Err((error, group.buffer));
        }
        let begins_segment = self.position.offset == 0;
        let lead_bytes = if begins_segment { self.block_bytes } else { 0 };
        let write_offset = self.position.offset;
        self.store_headers(&mut group, write_offset + lead_bytes as u64, &context);

        let start = group.start - lead_bytes;
        let len = lead_bytes + body_bytes;
        let write = GroupWrite {
            file: self.active.file.clone(),
            offset: write_offset,
            buffer: group.buffer.clone(),
            start,
            len,
            durable: true,
        };
        let ticket = match self.writer.submit(write) {
            Ok(ticket) => ticket,
            Err(error) => {
                context.segments.note_dropped(body_bytes as u64);
                return Err((error, group.buffer));
            }
        };
        self.position.offset += len as u64;
        self.position.lsn = group.last_lsn();
        let active_room = self.active.bytes - self.position.offset;
        context.segments.note_submitted(body_bytes as u64, active_room);
        let GroupBuilder { buffer, end, results, .. } = group;
        Ok(Submitted { ticket, buffer, end, position: self.position, results })
    }

    /// Waits for any of the submitted groups.
    pub fn complete(&mut self) -> GroupDone {
        self.writer.complete().expect("the leader waits only for groups it has submitted")
    }

    /// Moves on to the next segment if the active one has no room for `body_bytes`, or has been
    /// active for long enough and the next is ready.
    fn make_current(&mut self, body_bytes: u64, context: &SubmitContext<'_, S>) -> io::Result<()> {
        let lead_bytes = if self.position.offset == 0 { self.block_bytes as u64 } else { 0 };
        let has_room = self.position.offset + lead_bytes + body_bytes <= self.active.bytes;
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
                    io::Error::other("a prepared segment was taken by someone else")
                })?
            }
        };
        context.segments.seal(self.active.number, self.active.bytes);
        self.position = LogPosition { segment: next.number, offset: 0, lsn: self.position.lsn };
        self.active = next;
        self.begun = Some(context.storage.now());
        Ok(())
    }

    /// Whether the active segment was begun longer ago than a segment should be used for.
    fn is_old(&mut self, context: &SubmitContext<'_, S>) -> bool {
        let Some(age) = context.segment_age else { return false };
        if context.segments.have_large() {
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
        let wall_ns = context.storage.wall_ns().cast_unsigned();
        let mut header = GroupHeader::new(self.database);
        header.segment = self.active.number.into();
        header.life = self.life.into();
        header.offset = group_offset.into();
        header.first_lsn = group.first_lsn.into();
        header.previous_lsn = self.position.lsn.into();
        header.durable_lsn = context.durable_lsn.into();
        header.wall_ns = wall_ns.into();
        header.record_count = group.record_count.into();
        header.frames_crc = group.frames_crc.into();
        header.group_bytes = ((group.end - group.start) as u64).into();

        let start = group.start;
        let buffer = Arc::get_mut(&mut group.buffer).expect("a group being built is not shared");
        header.store(&mut buffer[start..]);
        let padding_end = start + align_up(group.end - start, self.block_bytes);
        buffer[group.end..padding_end].fill(0);
        if self.position.offset == 0 {
            buffer[..start].fill(0);
            let mut segment = SegmentHeader::new(self.database, self.active.number);
            segment.life = self.life.into();
            segment.first_lsn = group.first_lsn.into();
            segment.segment_bytes = self.active.bytes.into();
            segment.block_bytes = u32::try_from(self.block_bytes).expect("blocks are small").into();
            segment.wall_ns = wall_ns.into();
            segment.store(buffer);
        }
    }
}

/// What [`Log::submit`] needs besides the group.
pub(crate) struct SubmitContext<'a, S: Storage> {
    pub storage: &'a S,
    pub segments: &'a Segments<S::File>,
    /// Held while a segment is prepared.
    pub space: &'a Mutex<()>,
    pub durable_lsn: u64,
    /// How long a segment is used although it has room.
    pub segment_age: Option<Duration>,
}

/// The active segment opened again at `position`.
pub(crate) fn reopen_segment<S: Storage>(
    storage: &S,
    position: LogPosition,
) -> io::Result<Segment<S::File>> {
    let path = crate::files::segment_path(position.segment);
    let file = storage.open(&path, uarr_uring::OpenMode::Direct)?;
    let bytes = file.len()?;
    Ok(Segment { number: position.segment, file: Arc::new(file), bytes })
}
