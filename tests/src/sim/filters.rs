//! Bytes that pass a check of the format, for readers of a disk: that check then means nothing.
//!
//! Each filter answers one question of the reader with yes: a damaged group gets right checksums, a
//! group of an earlier life gets the right identity, a record in the wrong place gets a checksum of
//! that place. A filter leaves bytes alone that pass all checks anyway.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use uarr_disk_sim::ReadFilter;
use uarr_layout::DatabaseId;
use uarr_layout::checksum::{Seed, extend};
use uarr_layout::frame::Frame;
use uarr_layout::geometry::{GROUP_HEADER_BYTES, PAGE_BYTES, RECORD_ALIGN_BYTES, align_up};
use uarr_layout::group::{GroupHeader, verify_group};
use uarr_layout::superblock::{SLOT_STRIDE_BYTES, Superblock};
use zerocopy::IntoBytes;

use crate::seal::{group_here, seal_group, seal_record};

pub(super) const UNIT_BYTES: usize = 512;

/// Groups whose bytes are damaged look whole.
pub(super) fn checksums_fit() -> ReadFilter {
    Arc::new(|path, bytes| {
        if path.starts_with("wal/") {
            for start in (0..bytes.len()).step_by(UNIT_BYTES) {
                let _ = seal_group(&mut bytes[start..]);
            }
        }
    })
}

/// Nothing stands in the log.
pub(super) fn no_log_is_there() -> ReadFilter {
    Arc::new(|path, bytes| {
        if path.starts_with("wal/") {
            bytes.fill(0);
        }
    })
}

/// Neither superblock nor log say how late it was.
pub(super) fn no_time_is_known() -> ReadFilter {
    Arc::new(|path, bytes| {
        if path == "superblock" {
            for slot in bytes.chunks_mut(SLOT_STRIDE_BYTES as usize) {
                let _ = forget_floor(slot);
            }
        }
        if path.starts_with("wal/") {
            for start in (0..bytes.len()).step_by(UNIT_BYTES) {
                let _ = forget_time(&mut bytes[start..]);
            }
        }
    })
}

fn forget_floor(slot: &mut [u8]) -> Option<()> {
    let mut block = Superblock::from_slot(slot).ok()??;
    // Databases whose records expire know it all the same.
    let floor_ms = block.expiry_floor_ms.get().min(1);
    block.expiry_floor_ms = floor_ms.into();
    let bytes = block.to_slot();
    slot.get_mut(..bytes.len())?.copy_from_slice(&bytes);
    Some(())
}

fn forget_time(bytes: &mut [u8]) -> Option<()> {
    let mut header = whole_group(bytes)?;
    header.wall_ns = 0.into();
    header.store(bytes);
    Some(())
}

/// Which groups of the past are taken for the continuation of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    /// Those that a recycled file held under its former number.
    OtherSegment,
    /// Those behind a hole that others in flight have left.
    SameSegment,
}

/// Whole groups of the past that lie where the log ends look as if they continued it.
pub(super) fn stale_groups_fit(stale: Stale, block_bytes: usize) -> ReadFilter {
    Arc::new(move |path, bytes| {
        let number = path.strip_prefix("wal/").and_then(|name| name.strip_suffix(".wal"));
        if let Some(number) = number.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            let _ = continue_log(stale, block_bytes, number, bytes);
        }
    })
}

fn continue_log(stale: Stale, block_bytes: usize, number: u64, bytes: &mut [u8]) -> Option<()> {
    let mut start = block_bytes;
    let mut last: Option<GroupHeader> = None;
    loop {
        if stale == Stale::SameSegment && whole_group(bytes.get(start..)?).is_none() {
            fill_hole(bytes, start, block_bytes, last.as_ref()?)?;
        }
        let here = bytes.get_mut(start..)?;
        let mut header = whole_group(here)?;
        let place = start as u64;
        let in_place = header.segment.get() == number && header.offset.get() == place;
        let follows = last.as_ref().is_none_or(|last| {
            header.previous_lsn.get() == last.last_lsn() && header.life >= last.life
        });
        if !in_place || !follows {
            let from_here = header.segment.get() == number;
            if from_here != (stale == Stale::SameSegment) {
                return None;
            }
            header = renew(here, header, last.as_ref()?, number, place)?;
        }
        start += align_up(header.group_bytes.get() as usize, block_bytes);
        last = Some(header);
    }
}

/// Moves the next whole group of the same segment and life as `last` to `start`.
fn fill_hole(bytes: &mut [u8], start: usize, block_bytes: usize, last: &GroupHeader) -> Option<()> {
    let mut places = (start..bytes.len()).step_by(block_bytes);
    let (place, header) = places.find_map(|place| Some((place, whole_group(&bytes[place..])?)))?;
    if (header.segment, header.life) != (last.segment, last.life) {
        return None;
    }
    let len = align_up(header.group_bytes.get() as usize, block_bytes);
    bytes.copy_within(place..place + len, start);
    Some(())
}

/// The header of a group whose bytes are as some writer wrote them, in this place or another.
pub(super) fn whole_group(bytes: &[u8]) -> Option<GroupHeader> {
    let header = group_here(bytes)?;
    let (segment, offset) = (header.segment.get(), header.offset.get());
    let header = GroupHeader::load(bytes, &header.database, segment, offset).ok()?;
    let end = usize::try_from(header.group_bytes.get()).ok()?;
    verify_group(&header, bytes.get(GROUP_HEADER_BYTES..end)?).ok()?;
    Some(header)
}

/// Makes a whole group the one behind `last`.
fn renew(
    bytes: &mut [u8],
    mut header: GroupHeader,
    last: &GroupHeader,
    segment: u64,
    offset: u64,
) -> Option<GroupHeader> {
    (header.segment, header.offset, header.life) = (segment.into(), offset.into(), last.life);
    header.previous_lsn = last.last_lsn().into();
    header.first_lsn = (last.last_lsn() + 1).into();
    header.durable_lsn = last.durable_lsn;
    let end = header.group_bytes.get() as usize;
    let (mut at, mut lsn, mut crc) = (GROUP_HEADER_BYTES, header.first_lsn.get(), 0);
    while at < end {
        let (frame, len) = Frame::load(&bytes[at..end]).ok()?;
        let mut frame_header = frame.header;
        frame_header.lsn = lsn.into();
        crc = extend(crc, frame_header.as_bytes());
        frame_header.write_to_prefix(&mut bytes[at..]).ok()?;
        (at, lsn) = (at + len, lsn + 1);
    }
    header.frames_crc = crc.into();
    header.store(bytes);
    group_here(bytes)
}

/// Of two places that hold groups behind the same LSN, the one in the older segment looks like the
/// only one.
pub(super) fn oldest_place_counts(block_bytes: usize) -> ReadFilter {
    // The first segment in which a group behind each LSN was met. Readers of the log go from old to
    // new.
    let places = Mutex::new(BTreeMap::<u64, u64>::new());
    Arc::new(move |path, bytes| {
        let number = path.strip_prefix("wal/").and_then(|name| name.strip_suffix(".wal"));
        let Some(number) = number.and_then(|digits| u64::from_str_radix(digits, 16).ok()) else {
            return;
        };
        let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
        for start in (0..bytes.len()).step_by(block_bytes) {
            let Some(header) = whole_group(&bytes[start..]) else { continue };
            let is_here = header.segment.get() == number && header.offset.get() == start as u64;
            if !is_here {
                continue;
            }
            let first = places.entry(header.previous_lsn.get()).or_insert(number);
            *first = number.min(*first);
            if *first < number {
                bytes[start..start + block_bytes].fill(0);
            }
        }
    })
}

/// Two written pages of the data file have changed places. `seals`: their records look as if they
/// belonged there.
pub(super) fn pages_change_places(seals: bool) -> ReadFilter {
    Arc::new(move |path, bytes| {
        if path.starts_with("data/") {
            let _ = change_places(bytes, seals);
        }
    })
}

fn change_places(bytes: &mut [u8], seals: bool) -> Option<()> {
    const PAGE: usize = PAGE_BYTES as usize;
    let database = DatabaseId(bytes.get(16..32)?.try_into().ok()?);
    let written: Vec<usize> = (0..bytes.len() / PAGE)
        .map(|page| page * PAGE)
        .filter(|start| bytes[*start..start + PAGE].iter().any(|byte| *byte != 0))
        .filter(|start| !bytes[*start..].starts_with(b"UARRCHNK"))
        .collect();
    let (first, second) = (*written.first()?, *written.last()?);
    if first == second {
        return None;
    }
    let (low, high) = bytes.split_at_mut(second);
    low[first..first + PAGE].swap_with_slice(&mut high[..PAGE]);
    if seals {
        let seed = Seed::new(&database);
        let units = (0..PAGE).step_by(RECORD_ALIGN_BYTES as usize);
        for unit in units {
            let _ = seal_record(bytes, first + unit, seed);
            let _ = seal_record(bytes, second + unit, seed);
        }
    }
    Some(())
}
