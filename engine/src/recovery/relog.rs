//! After a crash: recovery writes the end of the log again, to a new place.
//!
//! Recovery can read groups at the end of the log that no later one proves durable, but perhaps
//! only from a cache: their flush may have failed, or no process asked for one. To flush them again
//! is not enough: a device that dropped a write has nothing left to flush and reports success. To
//! write them again in place is too much: a torn write may destroy what was durable. So:
//! 1. A segment without a number (one that is prepared durably loses its own) gets a header of the
//!    new life, then the unproven groups, frame for frame. They name the same previous LSNs as
//!    before, and call everything up to their own end durable.
//! 2. It is made durable, whole.
//! 3. It gets the next number, by rename, and the name is made durable.
//! 4. The superblock gets the new life, and the log continues behind the copy.
//!
//! A death before 3 leaves the old groups in force. A death after 3 leaves the copy in force, which
//! is complete then: readers take the groups of the latest life ([`crate::log::chain`]). Without
//! unproven groups the segment has only a header. So no write of a new life touches a block of an
//! older one.

use std::io;

use uarr_layout::geometry::{GROUP_HEADER_BYTES, align_up_u64};
use uarr_layout::group::{GroupHeader, SegmentHeader, verify_group};
use uarr_layout::superblock::Superblock;
use uarr_uring::{AlignedBuffer, OpenMode, Storage, StorageFile};

use crate::error::{Error, Result};
use crate::files::{SEGMENT_UNFINISHED, WAL_DIR, segment_path};
use crate::log::position::LogPosition;
use crate::log::zeros::remove_unfinished;
use crate::structure::Structure;

/// Room of a segment that is made here: opening need not wait for the zeros of a regular one.
const ROOM_BYTES: u64 = 4 << 20;
/// Zeros are written in steps of this size.
const STEP_BYTES: u64 = 1 << 20;

/// What is known of the log that ends here.
pub(crate) struct OldLog<'a> {
    pub root: &'a Superblock,
    /// Numbers of all segment files, ascending.
    pub present: &'a [u64],
    pub end: LogPosition,
    /// The groups at the end to write again, oldest first.
    pub unproven: &'a [GroupHeader],
}

/// Begins a segment of `life` with the unproven groups. Returns the place behind them, where the
/// log continues, and the segments that are there now.
//= WAL-14
pub(crate) fn go_on_afresh<S: Storage>(
    storage: &S,
    log: &OldLog<'_>,
    life: u64,
) -> Result<(LogPosition, Vec<u64>)> {
    let failed = |error| Error::io("cannot begin a log segment to go on in", error);
    assert!(log.present.is_sorted());
    let follow = |pair: &[GroupHeader]| pair[1].previous_lsn.get() == pair[0].last_lsn();
    assert!(log.unproven.windows(2).all(follow), "no record is missing in the copy");
    let last_lsn = log.unproven.last().map_or(log.end.lsn, GroupHeader::last_lsn);
    assert_eq!(last_lsn, log.end.lsn, "the copy ends where the log does");
    let is_earlier = |group: &GroupHeader| group.life.get() >> 32 < life >> 32;
    assert!(log.unproven.iter().all(is_earlier), "of two places the copy is in force");
    let highest = log.present.last().copied().unwrap_or(0).max(log.end.segment);
    let number = highest + 1;
    let block_bytes = u64::from(log.root.block_bytes.get());
    let copied =
        log.unproven.iter().map(|group| align_up_u64(group.group_bytes.get(), block_bytes));
    let used_bytes = block_bytes + copied.sum::<u64>();

    remove_unfinished(storage).map_err(failed)?;
    let spare = spare_segment(storage, log, used_bytes)?;
    let file = match spare {
        // The old name is durably gone before the copy is in the file: under it, after a loss of
        // power, the copy would prove that records are missing which were never durable.
        Some(spare) => storage
            .rename(&segment_path(spare), SEGMENT_UNFINISHED)
            .and_then(|()| storage.make_dir_durable(WAL_DIR))
            .and_then(|()| storage.open(SEGMENT_UNFINISHED, OpenMode::Direct)),
        None => create(storage, log, used_bytes),
    };
    let file = file.map_err(failed)?;
    let bytes = file.len().map_err(failed)?;
    write_header(storage, &file, log, SegmentFacts { number, life, bytes }).map_err(failed)?;
    let mut offset = block_bytes;
    for group in log.unproven {
        let mut moved = group.clone();
        (moved.segment, moved.life, moved.offset) = (number.into(), life.into(), offset.into());
        moved.durable_lsn = log.end.lsn.into();
        offset += copy_group(storage, &file, group, &moved, log)?;
    }
    assert_eq!(offset, used_bytes, "what was measured was written");
    file.make_durable()
        .and_then(|()| storage.rename(SEGMENT_UNFINISHED, &segment_path(number)))
        .and_then(|()| storage.make_dir_durable(WAL_DIR))
        .map_err(failed)?;
    let kept = log.present.iter().copied().filter(|number| Some(*number) != spare);
    let present = kept.chain([number]).collect();
    Ok((LogPosition { segment: number, offset, lsn: log.end.lsn }, present))
}

/// A segment with room for `bytes` that is prepared and not begun: it has no group of the log.
fn spare_segment<S: Storage>(storage: &S, log: &OldLog<'_>, bytes: u64) -> Result<Option<u64>> {
    let block_bytes = log.root.block_bytes.get() as usize;
    let mut buffer = AlignedBuffer::new(2 * block_bytes);
    let blocks = &mut buffer[..2 * block_bytes];
    for number in log.present.iter().copied().filter(|number| *number > log.end.segment) {
        let path = segment_path(number);
        let failed = |error| Error::io(format!("cannot read {path}"), error);
        let file = storage.open(&path, OpenMode::Direct).map_err(failed)?;
        let read = file.read_at(blocks, 0).map_err(failed)?;
        let offset = block_bytes as u64;
        let is_begun = read == blocks.len()
            && GroupHeader::load(&blocks[block_bytes..], &log.root.database, number, offset)
                .is_ok();
        if !is_begun && file.len().map_err(failed)? >= bytes {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// A new file of zeros with room for more than `used_bytes`, or for just these if the file system
/// has no more.
fn create<S: Storage>(storage: &S, log: &OldLog<'_>, used_bytes: u64) -> io::Result<S::File> {
    let room_bytes = used_bytes.max(ROOM_BYTES.min(log.root.segment_bytes.get()));
    let allocate = |bytes| {
        let file = storage.open(SEGMENT_UNFINISHED, OpenMode::CreateDirect)?;
        file.allocate(0, bytes).map(|()| file)
    };
    let (file, bytes) = match allocate(room_bytes) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            remove_unfinished(storage)?;
            (allocate(used_bytes)?, used_bytes)
        }
        allocated => (allocated?, room_bytes),
    };
    assert!(bytes >= used_bytes, "the end of the log fits into it");
    let zeros = AlignedBuffer::new(STEP_BYTES.min(bytes) as usize);
    let mut offset = 0;
    while offset < bytes {
        let step = (bytes - offset).min(zeros.len() as u64);
        file.write_at(&zeros[..step as usize], offset)?;
        offset += step;
    }
    assert_eq!(offset, bytes, "no block of it is left without space of its own");
    Ok(file)
}

struct SegmentFacts {
    number: u64,
    life: u64,
    bytes: u64,
}

fn write_header<S: Storage>(
    storage: &S,
    file: &S::File,
    log: &OldLog<'_>,
    facts: SegmentFacts,
) -> io::Result<()> {
    let mut header = SegmentHeader::new(log.root.database, facts.number);
    header.life = facts.life.into();
    header.first_lsn = log.unproven.first().map_or(0, |group| group.first_lsn.get()).into();
    header.segment_bytes = facts.bytes.into();
    header.block_bytes = log.root.block_bytes;
    header.wall_ns = storage.wall_ns().cast_unsigned().into();
    let mut block = AlignedBuffer::new(log.root.block_bytes.get() as usize);
    header.store(&mut block);
    let read = SegmentHeader::load(&block, &log.root.database, facts.number);
    assert!(read.is_ok(), "{read:?}");
    file.write_at(&block[..log.root.block_bytes.get() as usize], 0)
}

/// Copies `group` to its place in `file` under the header `moved`. Returns how many bytes it takes.
fn copy_group<S: Storage>(
    storage: &S,
    file: &S::File,
    group: &GroupHeader,
    moved: &GroupHeader,
    log: &OldLog<'_>,
) -> Result<u64> {
    let (segment, offset) = (group.segment.get(), group.offset.get());
    let path = segment_path(segment);
    let failed = |error| Error::io(format!("cannot copy the end of the log from {path}"), error);
    let group_bytes = group.group_bytes.get() as usize;
    let bytes = align_up_u64(group_bytes as u64, log.root.block_bytes.get().into());
    let mut buffer = AlignedBuffer::new(bytes as usize);
    let buffer = &mut buffer[..bytes as usize];
    let source = storage.open(&path, OpenMode::Direct).map_err(failed)?;
    let read = source.read_at(buffer, offset).map_err(failed)?;
    let is_same = read == buffer.len()
        && GroupHeader::load(buffer, &log.root.database, segment, offset).as_ref() == Ok(group)
        && verify_group(group, &buffer[GROUP_HEADER_BYTES..group_bytes]).is_ok();
    if !is_same {
        let what = "it changed while the database was opened";
        let group = Structure::group(segment).at(offset).lsn(group.first_lsn.get());
        return Err(group.damage(what));
    }
    moved.store(buffer);
    let copied = verify_group(moved, &buffer[GROUP_HEADER_BYTES..group_bytes]);
    assert!(copied.is_ok(), "{copied:?}");
    let (segment, offset) = (moved.segment.get(), moved.offset.get());
    let read = GroupHeader::load(buffer, &log.root.database, segment, offset);
    assert!(read.is_ok(), "{read:?}");
    buffer[group_bytes..].fill(0);
    file.write_at(buffer, offset).map_err(failed)?;
    Ok(bytes)
}
