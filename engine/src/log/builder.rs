//! Frames on their way into a group, and the group as the device has it.
//!
//! ```text
//! GroupBuilder buffer   [ kept for a segment header | group header | frame | frame | .. zeros ]
//! ```
//! A group is one write. The segment header, when a segment is begun, travels in the same write.

use std::ops::RangeInclusive;
use std::sync::Arc;

use uarr_layout::frame::{Frame, Frames};
use uarr_layout::geometry::{FRAME_HEADER_BYTES, GROUP_HEADER_BYTES, align_up};
use uarr_layout::header_sum::HeaderSum;
use uarr_layout::limits::{BLOCK_BYTES, GROUP_BYTES_MAX};
use uarr_uring::AlignedBuffer;

use crate::log::position::LogPosition;

/// A group takes no more frames when the values that its patches lead to have more bytes than this.
const RESULT_BYTES_MAX: usize = 16 << 20;

// The header of a group lies in its first block, as readers look for it.
const _: () = assert!(GROUP_HEADER_BYTES + FRAME_HEADER_BYTES <= *BLOCK_BYTES.start() as usize);
// Buffers of the longest group, and offsets in them, are no problem for 64 bits.
const _: () = assert!(GROUP_BYTES_MAX + 2 * (*BLOCK_BYTES.end() as u64) < u32::MAX as u64);

/// What a patch leads to, by its LSN.
type ResultOf = (u64, Box<[u8]>);

/// Frames on their way into a group.
pub(crate) struct GroupBuilder {
    pub buffer: Arc<AlignedBuffer>,
    /// Where the group header goes: the block size of the log.
    pub start: usize,
    pub end: usize,
    pub headers: HeaderSum,
    pub first_lsn: u64,
    pub frame_count: u32,
    /// What the patches among the frames lead to, in their order, for the applier.
    pub results: Vec<ResultOf>,
    result_bytes: usize,
}

impl GroupBuilder {
    /// An empty group in `buffer`, which has no other holder. What is in it does not matter: the
    /// builder writes every byte that goes to the device.
    pub fn new(buffer: Arc<AlignedBuffer>, block_bytes: usize, first_lsn: u64) -> Self {
        assert!(block_bytes.is_power_of_two());
        assert!(first_lsn > 0, "no record has LSN 0");
        let end = block_bytes + GROUP_HEADER_BYTES;
        assert!(end <= buffer.len(), "a buffer has room for both headers");
        assert_eq!(Arc::strong_count(&buffer), 1, "neither the device nor another group has it");
        Self {
            buffer,
            start: block_bytes,
            end,
            headers: HeaderSum::default(),
            first_lsn,
            frame_count: 0,
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
        if self.frame_count == 0 {
            return 0;
        }
        align_up(self.end - self.start, self.start) as u64
    }

    pub fn last_lsn(&self) -> u64 {
        self.first_lsn + u64::from(self.frame_count) - 1
    }

    /// The buffer of a group that is not written after all.
    pub fn into_buffer(self) -> Arc<AlignedBuffer> {
        self.buffer
    }

    /// Adds frames, whose LSNs are the next ones.
    pub fn push(&mut self, frames: &[Frame<'_>]) {
        assert!(!frames.is_empty());
        let buffer = Arc::get_mut(&mut self.buffer).expect("a group being built is not shared");
        for frame in frames {
            assert_eq!(frame.header.lsn.get(), self.first_lsn + u64::from(self.frame_count));
            let bytes = frame.len_in_log();
            assert!(bytes <= buffer.len() - self.end, "room was there before it was staged");
            frame.store(&mut buffer[self.end..self.end + bytes]);
            self.headers.add(&frame.header);
            self.end += bytes;
            self.frame_count += 1;
        }
        assert!(self.end.is_multiple_of(8), "frames start 8-aligned");
    }

    /// Bytes that [`GroupBuilder::copy_to`] copies, about.
    pub fn copied_bytes(&self) -> u64 {
        self.log_bytes() + self.result_bytes as u64
    }

    /// Copies the frames, of which there are some, behind those in `out`.
    pub fn copy_to(&self, out: &mut StagedFrames) {
        assert!(self.frame_count > 0, "an empty group has no first LSN yet");
        let is_next = out.bytes.is_empty() || out.last_lsn + 1 == self.first_lsn;
        assert!(is_next, "groups follow each other without a gap");
        if out.bytes.is_empty() {
            out.first_lsn = self.first_lsn;
        }
        out.last_lsn = self.last_lsn();
        out.bytes.extend_from_slice(&self.buffer[self.start + GROUP_HEADER_BYTES..self.end]);
        out.results.extend_from_slice(&self.results);
    }

    /// Keeps what `frame`, which was added, leads to if it is a patch: the log does not say it.
    pub fn keep_result(&mut self, frame: &Frame<'_>) {
        let Some(result) = frame.result else { return };
        let lsn = frame.header.lsn.get();
        assert!(frame.patch().is_some(), "other frames lead to what they say");
        assert!(lsn >= self.first_lsn);
        assert!(lsn <= self.last_lsn());
        assert!(self.results.last().is_none_or(|(last, _)| *last < lsn));
        self.results.push((lsn, result.into()));
        self.result_bytes += result.len();
    }
}

/// Copies of the frames of groups that may still take more.
#[derive(Default)]
pub(crate) struct StagedFrames {
    /// Of the first frame, and of the last; 0: there is none.
    pub first_lsn: u64,
    pub last_lsn: u64,
    bytes: Vec<u8>,
    results: Vec<ResultOf>,
}

impl StagedFrames {
    /// The frames, patches with their results.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        resolved_frames(&self.bytes, self.first_lsn..=self.last_lsn, &self.results)
    }
}

/// The frames in `bytes`, which have `lsns`, patches with their results.
fn resolved_frames<'a>(
    bytes: &'a [u8],
    mut lsns: RangeInclusive<u64>,
    results: &'a [ResultOf],
) -> impl Iterator<Item = Frame<'a>> {
    let mut results = results.iter();
    Frames::new(bytes).map(move |frame| {
        let mut frame = frame.expect("frames of a group that was just built are whole");
        assert_eq!(Some(frame.header.lsn.get()), lsns.next());
        if let Some((header, _)) = frame.patch() {
            let (lsn, result) = results.next().expect("the result of each patch was kept");
            assert_eq!(*lsn, frame.header.lsn.get());
            assert_eq!(result.len(), header.result_bytes.get() as usize);
            // Takes 0.1 ns a byte, about as long as the copy to the data file.
            debug_assert!(header.is_result(frame.key, result));
            frame.result = Some(result);
        }
        frame
    })
}

/// A group that was handed to the device.
pub(crate) struct Submitted {
    /// What the device's answer will name.
    pub ticket: u64,
    /// The same buffer the device reads.
    pub buffer: Arc<AlignedBuffer>,
    /// End of the frames in it.
    pub end: usize,
    pub first_lsn: u64,
    /// The place behind the group.
    pub position: LogPosition,
    pub results: Vec<ResultOf>,
}

impl Submitted {
    /// The frames, as the kernel may be reading them too, patches with their results.
    pub fn frames(&self, block_bytes: usize) -> impl Iterator<Item = Frame<'_>> {
        let bytes = &self.buffer[block_bytes + GROUP_HEADER_BYTES..self.end];
        resolved_frames(bytes, self.first_lsn..=self.position.lsn, &self.results)
    }
}
