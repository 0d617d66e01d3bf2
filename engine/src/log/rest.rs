//! What a closed database gives back of its log.
//!
//! ```text
//! segment    header   groups that no kept checkpoint needs   groups   room   zeros
//!            kept     given back                             kept     kept   given back
//! ```
//! The room that is kept behind the end is for the first groups of the next life, so that none
//! waits for a segment. The next opening finds how much there is ([`StorageFile::whole_end`]).

use std::io;
use std::ops::Range;

use uarr_layout::geometry::align_up_u64;
use uarr_uring::{OpenMode, Storage, StorageFile};

use crate::files::segment_path;
use crate::log::position::LogPosition;

/// Room behind the end of the log that is kept, as a part of the segment.
const KEPT_PART: u64 = 32;

/// Gives back the space of what stands in the first segment of a log before `start`, but for the
/// header of the segment, and of what lies in its last one behind `end`, where the log ends.
//= WAL-16
pub(crate) fn give_back_log<S: Storage>(
    storage: &S,
    start: LogPosition,
    end: LogPosition,
    block_bytes: u64,
) -> io::Result<()> {
    if (start.segment, start.offset) > (end.segment, end.offset) {
        // A superblock that the engine has not written says so.
        return Ok(());
    }
    // Whole groups: what is left of one would look like damage.
    give_back(storage, start.segment, |_| block_bytes..start.offset)?;
    give_back(storage, end.segment, |bytes| {
        align_up_u64(end.offset + bytes / KEPT_PART, block_bytes)..bytes
    })
}

fn give_back<S: Storage>(
    storage: &S,
    segment: u64,
    part: impl FnOnce(u64) -> Range<u64>,
) -> io::Result<()> {
    let file = storage.open(&segment_path(segment), OpenMode::Direct)?;
    let bytes = file.len()?;
    let part = part(bytes);
    // What an older checkpoint says of its start is not checked if nothing is replayed from there.
    let end = part.end.min(bytes);
    if part.start < end { file.give_back(part.start, end - part.start) } else { Ok(()) }
}
