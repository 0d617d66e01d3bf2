//! Openings of chunks and chunk tables that say something else, with right checksums, for readers
//! of a disk.

use std::sync::Arc;

use uarr_disk_sim::ReadFilter;
use uarr_layout::chunk::{ChunkEntry, ChunkOpening, ChunkState};
use uarr_layout::frame::{Frame, Frames};
use uarr_layout::geometry::{
    CHUNK_HEADER_BYTES, FRAME_HEADER_BYTES, GROUP_HEADER_BYTES, PAGE_BYTES, align_up,
};
use uarr_layout::image::PieceKind;
use zerocopy::{FromBytes, IntoBytes};

use super::filters::{UNIT_BYTES, whole_group};
use super::piece_filter::pieces_are;
use super::plan::CHUNK_BYTES;
use crate::seal::seal_group;

/// Which openings of chunks look as if they had never been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    All,
    /// Those in groups without the first record of their chunk: a group before them said the same.
    Repeated,
}

/// The openings in front of groups are not there; the rest of their groups is.
pub(super) fn openings_are_hidden(hidden: Hidden, block_bytes: usize) -> ReadFilter {
    Arc::new(move |path, bytes| {
        if path.starts_with("wal/") {
            for start in (0..bytes.len()).step_by(UNIT_BYTES) {
                let _ = hide_openings(hidden, block_bytes, &mut bytes[start..]);
            }
        }
    })
}

fn hide_openings(hidden: Hidden, block_bytes: usize, bytes: &mut [u8]) -> Option<()> {
    let mut header = whole_group(bytes)?;
    let end = header.group_bytes.get() as usize;
    let frames: Vec<_> =
        Frames::new(&bytes[GROUP_HEADER_BYTES..end]).collect::<Result<_, _>>().ok()?;
    let is_repeated = |opening: &Frame<'_>| {
        let first = opening.header.address.get() + CHUNK_HEADER_BYTES;
        let is_first = |address: u64| (first..first + CHUNK_HEADER_BYTES).contains(&address);
        !frames.iter().any(|frame| !frame.opens_chunk() && is_first(frame.header.address.get()))
    };
    let is_hidden =
        |frame: &&Frame<'_>| frame.opens_chunk() && (hidden == Hidden::All || is_repeated(frame));
    let taken: Vec<usize> = frames.iter().take_while(is_hidden).map(Frame::len_in_log).collect();
    let (count, taken_bytes) = (taken.len() as u32, taken.iter().sum::<usize>());
    let left = end - taken_bytes;
    // The next group is looked for where this one ends.
    if count == 0 || align_up(left, block_bytes) != align_up(end, block_bytes) {
        return None;
    }
    bytes.copy_within(GROUP_HEADER_BYTES + taken_bytes..end, GROUP_HEADER_BYTES);
    bytes[left..end].fill(0);
    header.group_bytes = (left as u64).into();
    header.first_lsn += u64::from(count);
    header.frame_count -= count;
    header.store(bytes);
    seal_group(bytes)
}

/// Each opening says that its chunk lies one place further.
pub(super) fn places_are_moved() -> ReadFilter {
    Arc::new(|path, bytes| {
        if path.starts_with("wal/") {
            for start in (0..bytes.len()).step_by(UNIT_BYTES) {
                let _ = move_places(&mut bytes[start..]);
            }
        }
    })
}

fn move_places(bytes: &mut [u8]) -> Option<()> {
    let end = whole_group(bytes)?.group_bytes.get() as usize;
    let mut at = GROUP_HEADER_BYTES;
    while at < end {
        let (frame, len) = Frame::load(&bytes[at..end]).ok()?;
        if frame.opens_chunk() {
            let opening = ChunkOpening::peek(frame.value)?;
            let moved =
                ChunkOpening::new(opening.place.get() as u64 + 1, opening.count.get() as u64);
            moved.write_to_prefix(&mut bytes[at + FRAME_HEADER_BYTES..]).ok()?;
        }
        at += len;
    }
    seal_group(bytes)
}

/// The open chunk of each image has a durable page more.
pub(super) fn a_page_more_is_durable() -> ReadFilter {
    tables_are(|_, table| {
        for entry in table.iter_mut().filter(|entry| entry.state() == ChunkState::Open) {
            let durable_bytes = u64::from(entry.durable_bytes.get()) + PAGE_BYTES;
            entry.durable_bytes = (durable_bytes.min(CHUNK_BYTES) as u32).into();
        }
    })
}

/// Each checkpoint seems to list its quarantined chunks since the one before it.
pub(super) fn quarantine_is_older() -> ReadFilter {
    tables_are(|_, table| {
        for entry in table.iter_mut().filter(|entry| entry.quarantined_since() > 1) {
            let (number, place) = (entry.number.get(), entry.place.get().into());
            *entry = ChunkEntry::quarantined(number, place, entry.quarantined_since() - 1);
        }
    })
}

/// No checkpoint lists a chunk as quarantined: all still have their places.
pub(super) fn nothing_is_quarantined() -> ReadFilter {
    tables_are(|_, table| {
        for entry in table.iter_mut().filter(|entry| entry.state() == ChunkState::Quarantined) {
            *entry =
                ChunkEntry::new(entry.number.get(), entry.place.get().into(), ChunkState::Full);
        }
    })
}

/// What is wrong with every second image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WrongTable {
    /// Two chunks have one place.
    OnePlaceTwice,
    /// The newest chunk with records is missing.
    LacksChunk,
}

/// Images with odd numbers have tables that cannot be.
pub(super) fn every_second_table_is(wrong: WrongTable) -> ReadFilter {
    tables_are(move |image, table| match wrong {
        _ if image.is_multiple_of(2) => {}
        WrongTable::OnePlaceTwice => {
            if let [first, .., last] = &mut table[..] {
                last.place = first.place;
            }
        }
        WrongTable::LacksChunk => {
            if let Some(newest) = table.iter().rposition(|entry| entry.live_lines.get() > 0) {
                table.remove(newest);
            }
        }
    })
}

/// `edit` changes the chunk table of each image, whose number it gets too.
fn tables_are(edit: impl Fn(u64, &mut Vec<ChunkEntry>) + Send + Sync + 'static) -> ReadFilter {
    pieces_are(PieceKind::Chunks, move |image, used| {
        let mut table = <[ChunkEntry]>::ref_from_bytes(used).ok()?.to_vec();
        edit(image, &mut table);
        Some((table.as_bytes().to_vec(), table.len()))
    })
}
