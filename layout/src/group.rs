//! The log on disk: segments of groups.
//!
//! ```text
//! segment   block 0                  block 1 ..
//!           SegmentHeader, zeros     group  group  group ...   (rest: zeros, or groups of earlier
//!                                                              lives)
//! group     GroupHeader  frame  frame ...  zeros to the end of the block
//! ```
//! The segment header is written together with the segment's first group, in one write. A group is
//! one write; its first byte lies on a block boundary, and no block of it is ever written again in
//! the same life.
//!
//! Invariants a reader checks, in this order: checksum (which covers everything but the magic),
//! magic, database, segment and offset (misdirected blocks), life (stale blocks), `previous_lsn`
//! (nothing is missing between two groups). `durable_lsn` says how far the log was known durable
//! when the group was written: a hole before it is damage, a hole after it is a torn tail.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checks;
use crate::checksum::crc32c;
use crate::frame::Frames;
use crate::geometry::{FRAME_HEADER_BYTES, GROUP_HEADER_BYTES};
use crate::header_sum::HeaderSum;
use crate::limits::{FORMAT_VERSION, GROUP_BYTES_MAX, KEY_BYTES_MAX, LSN_MAX, VALUE_BYTES_MAX};
use crate::{DatabaseId, Defect};

const SEGMENT_MAGIC: [u8; 8] = *b"UARRWAL1";
const GROUP_MAGIC: [u8; 4] = *b"UGRP";

/// First bytes of a segment that has been begun.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SegmentHeader {
    magic: [u8; 8],
    crc: U32,
    major: U16,
    minor: U16,
    /// Identity of the database.
    pub database: DatabaseId,
    /// Number of the segment, as in its file name.
    pub segment: U64,
    /// Life number of the log when the segment was begun.
    pub life: U64,
    /// LSN of the segment's first record.
    pub first_lsn: U64,
    /// Length of the file.
    pub segment_bytes: U64,
    /// Unit of writes.
    pub block_bytes: U32,
    reserved: U32,
    /// Wall-clock time, nanoseconds since 1970.
    pub wall_ns: U64,
}

/// First bytes of a group.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GroupHeader {
    magic: [u8; 4],
    crc: U32,
    /// Identity of the database.
    pub database: DatabaseId,
    /// Segment the group was written to.
    pub segment: U64,
    /// Life number of the log.
    pub life: U64,
    /// Offset in the segment.
    pub offset: U64,
    /// LSN of the first record; the others follow without a gap.
    pub first_lsn: U64,
    /// LSN of the last record of the group before this one; 0 before the first of all.
    pub previous_lsn: U64,
    /// Everything up to this LSN was durable when the group was written.
    pub durable_lsn: U64,
    /// Wall-clock time, nanoseconds since 1970.
    pub wall_ns: U64,
    /// Records in the group.
    pub frame_count: U32,
    /// CRC-32C of all frame headers of the group, which carry the checksums of their payloads.
    pub frames_crc: U32,
    /// Bytes of header and frames, without the padding.
    pub group_bytes: U64,
}

const _: () = assert!(size_of::<SegmentHeader>() == 80);
const _: () = assert!(size_of::<GroupHeader>() == GROUP_HEADER_BYTES);

// A group holds the longest value with the longest key, padded.
const _: () = assert!(
    GROUP_BYTES_MAX
        >= (GROUP_HEADER_BYTES + FRAME_HEADER_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX + 16) as u64
);

impl SegmentHeader {
    /// A header for segment `segment`; the caller sets the remaining fields.
    pub fn new(database: DatabaseId, segment: u64) -> Self {
        let mut header = Self::new_zeroed();
        header.magic = SEGMENT_MAGIC;
        (header.major, header.minor) = (FORMAT_VERSION.0.into(), FORMAT_VERSION.1.into());
        header.database = database;
        header.segment = segment.into();
        header
    }

    /// Version of the format it was written by.
    pub fn version(&self) -> (u16, u16) {
        (self.major.get(), self.minor.get())
    }

    /// Writes the header with its checksum to the start of `block`.
    pub fn store(&self, block: &mut [u8]) {
        let mut header = self.clone();
        header.crc = crc32c(&[&header.as_bytes()[12..]]).into();
        block[..size_of::<Self>()].copy_from_slice(header.as_bytes());
    }

    /// Reads a header and checks that it is that of `segment` of `database`.
    pub fn load(block: &[u8], database: &DatabaseId, segment: u64) -> Result<Self, Defect> {
        let header = Self::ref_from_prefix(block).map_err(|_| Defect::Short)?.0;
        let expected = crc32c(&[&header.as_bytes()[12..]]);
        let has_magic = header.magic == SEGMENT_MAGIC;
        checks::sealed(has_magic, expected, header.crc)?;
        checks::version(header.major, header.minor)?;
        checks::database(database, &header.database)?;
        checks::position(segment, header.segment)?;
        if !has_magic {
            return Err(Defect::DamagedMagic);
        }
        Ok(header.clone())
    }
}

impl GroupHeader {
    /// A header of `database`; the caller sets the remaining fields.
    pub fn new(database: DatabaseId) -> Self {
        let mut header = Self::new_zeroed();
        header.magic = GROUP_MAGIC;
        header.database = database;
        header
    }

    /// LSN of the group's last record.
    pub fn last_lsn(&self) -> u64 {
        (self.first_lsn.get() + u64::from(self.frame_count.get())).saturating_sub(1)
    }

    /// Writes the header with its checksum to the start of `block`.
    pub fn store(&self, block: &mut [u8]) {
        let mut header = self.clone();
        header.crc = crc32c(&[&header.as_bytes()[8..]]).into();
        block[..size_of::<Self>()].copy_from_slice(header.as_bytes());
    }

    /// Reads a header and checks that it belongs to `segment` of `database` at `offset`.
    /// Life and LSNs are for the caller to judge.
    //= WAL-5
    pub fn load(
        block: &[u8],
        database: &DatabaseId,
        segment: u64,
        offset: u64,
    ) -> Result<Self, Defect> {
        let header = Self::ref_from_prefix(block).map_err(|_| Defect::Short)?.0;
        let expected = crc32c(&[&header.as_bytes()[8..]]);
        let has_magic = header.magic == GROUP_MAGIC;
        checks::sealed(has_magic, expected, header.crc)?;
        checks::database(database, &header.database)?;
        checks::position(segment, header.segment)?;
        checks::position(offset, header.offset)?;
        let smallest = (GROUP_HEADER_BYTES + FRAME_HEADER_BYTES) as u64;
        let is_length = (smallest..=GROUP_BYTES_MAX).contains(&header.group_bytes.get());
        // No frame is shorter than its header.
        let frame_count_max = header.group_bytes.get() / FRAME_HEADER_BYTES as u64;
        let frame_count = u64::from(header.frame_count.get());
        if !is_length || frame_count == 0 || frame_count > frame_count_max {
            return Err(Defect::Length);
        }
        if header.first_lsn.get() > LSN_MAX - frame_count {
            return Err(Defect::Field("first LSN"));
        }
        if !has_magic {
            return Err(Defect::DamagedMagic);
        }
        Ok(header.clone())
    }

    /// Reads a header of `database` that may stand in another place than its own: what it says of
    /// the time when it was written holds wherever a device has put it.
    //= WAL-4
    pub fn load_misplaced(block: &[u8], database: &DatabaseId) -> Result<Self, Defect> {
        let claimed = Self::ref_from_prefix(block).map_err(|_| Defect::Short)?.0;
        Self::load(block, database, claimed.segment.get(), claimed.offset.get())
    }
}

/// Checks all of a group's frames: count, lengths, LSNs, payloads, and the checksum over their
/// headers.
//= WAL-7
pub fn verify_group(header: &GroupHeader, body: &[u8]) -> Result<(), Defect> {
    let mut count = 0u32;
    let mut sum = HeaderSum::default();
    for (lsn, frame) in (header.first_lsn.get()..).zip(Frames::new(body)) {
        let frame = frame?;
        sum.add(&frame.header);
        checks::position(lsn, frame.header.lsn)?;
        frame.verify()?;
        count += 1;
    }
    checks::checksum(sum.crc(), header.frames_crc)?;
    if count != header.frame_count.get() {
        return Err(Defect::Length);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::{bits_of, extend};
    use crate::frame::{Frame, FrameKind, stored};

    const DATABASE: DatabaseId = DatabaseId([3; 16]);

    fn sample() -> GroupHeader {
        let mut header = GroupHeader::new(DATABASE);
        header.segment = 5.into();
        header.offset = 8192.into();
        header.first_lsn = 10.into();
        header.frame_count = 4.into();
        header.group_bytes = 1000.into();
        header
    }

    //= test WAL-5
    #[test]
    fn a_group_is_valid_only_in_its_place() {
        let mut block = [0; 512];
        sample().store(&mut block);
        let header = GroupHeader::load(&block, &DATABASE, 5, 8192).unwrap();
        assert_eq!(header.last_lsn(), 13);
        assert_eq!(
            GroupHeader::load(&block, &DATABASE, 6, 8192),
            Err(Defect::Position { expected: 6, found: 5 })
        );
        assert_eq!(
            GroupHeader::load(&block, &DATABASE, 5, 4096),
            Err(Defect::Position { expected: 4096, found: 8192 })
        );
        assert_eq!(GroupHeader::load(&block, &DatabaseId([4; 16]), 5, 8192), Err(Defect::Database));
    }

    #[test]
    fn every_flipped_bit_of_the_headers_is_seen() {
        let mut block = [0; 512];
        sample().store(&mut block);
        for bit in bits_of(GROUP_HEADER_BYTES) {
            let mut damaged = block;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(GroupHeader::load(&damaged, &DATABASE, 5, 8192).is_err(), "group bit {bit}");
        }
        let mut block = [0; 512];
        SegmentHeader::new(DATABASE, 5).store(&mut block);
        assert!(SegmentHeader::load(&block, &DATABASE, 5).is_ok());
        for bit in bits_of(size_of::<SegmentHeader>()) {
            let mut damaged = block;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::load(&damaged, &DATABASE, 5).is_err(), "segment bit {bit}");
        }
    }

    #[test]
    fn a_damaged_magic_is_no_other_structure() {
        let mut block = [0; 512];
        sample().store(&mut block);
        block[1] ^= 4;
        assert_eq!(GroupHeader::load(&block, &DATABASE, 5, 8192), Err(Defect::DamagedMagic));
        let elsewhere = GroupHeader::load(&block, &DATABASE, 5, 4096);
        assert_eq!(elsewhere, Err(Defect::Position { expected: 4096, found: 8192 }));
        SegmentHeader::new(DATABASE, 5).store(&mut block);
        block[0] ^= 4;
        assert_eq!(SegmentHeader::load(&block, &DATABASE, 5), Err(Defect::DamagedMagic));
    }

    //= test WAL-5
    #[test]
    fn lengths_and_lsns_that_no_group_has_are_refused() {
        let loaded = |change: fn(&mut GroupHeader)| {
            let (mut header, mut block) = (sample(), [0; 512]);
            change(&mut header);
            header.store(&mut block);
            GroupHeader::load(&block, &DATABASE, 5, 8192).map(|_| ())
        };
        assert_eq!(loaded(|_| ()), Ok(()));
        assert_eq!(loaded(|header| header.group_bytes = GROUP_BYTES_MAX.into()), Ok(()));
        let lengths: [fn(&mut GroupHeader); 4] = [
            |header| header.group_bytes = 135.into(),
            |header| header.group_bytes = (GROUP_BYTES_MAX + 1).into(),
            |header| header.frame_count = 0.into(),
            // Twenty-five frames of 40 bytes fill 1000 bytes.
            |header| header.frame_count = 26.into(),
        ];
        for change in lengths {
            assert_eq!(loaded(change), Err(Defect::Length));
        }
        let last = |header: &mut GroupHeader| header.first_lsn = (LSN_MAX - 4).into();
        assert_eq!(loaded(last), Ok(()));
        let behind = |header: &mut GroupHeader| header.first_lsn = (LSN_MAX - 3).into();
        assert_eq!(loaded(behind), Err(Defect::Field("first LSN")));
    }

    #[test]
    fn zeros_and_ones_are_no_group() {
        assert_eq!(GroupHeader::load(&[0; 512], &DATABASE, 0, 0), Err(Defect::Magic));
        assert_eq!(GroupHeader::load(&[0xff; 512], &DATABASE, 0, 0), Err(Defect::Magic));
    }

    //= test WAL-7
    #[test]
    fn a_group_is_its_frames_and_nothing_else() {
        let frame = |lsn: u64, key: &'static [u8]| {
            let mut frame = Frame::new(FrameKind::Put, 0, key, b"value");
            frame.header.lsn = lsn.into();
            frame
        };
        let frames = [frame(10, b"one"), frame(11, b"two"), frame(12, b"three")];
        let body = stored(&frames);
        let mut header = GroupHeader::new(DATABASE);
        header.first_lsn = 10.into();
        header.frame_count = 3.into();
        let crc =
            |frames: &[Frame<'_>]| frames.iter().fold(0, |c, f| extend(c, f.header.as_bytes()));
        header.frames_crc = crc(&frames).into();
        assert_eq!(verify_group(&header, &body), Ok(()));

        let with = |change: fn(&mut GroupHeader)| {
            let mut changed = header.clone();
            change(&mut changed);
            verify_group(&changed, &body)
        };
        let position = Defect::Position { expected: 11, found: 10 };
        assert_eq!(with(|header| header.first_lsn = 11.into()), Err(position));
        assert_eq!(with(|header| header.frame_count = 2.into()), Err(Defect::Length));
        assert_eq!(with(|header| header.frame_count = 4.into()), Err(Defect::Length));
        assert!(matches!(
            with(|header| header.frames_crc = 7.into()),
            Err(Defect::Checksum { .. })
        ));
        // The frames end before the group does, or behind it.
        assert!(verify_group(&header, &body[..body.len() - 8]).is_err());
        assert!(verify_group(&header, &[&body[..], &[0; 8]].concat()).is_err());
        let gap = [frames[0], frames[1], frame(13, b"three")];
        let position = Defect::Position { expected: 12, found: 13 };
        assert_eq!(verify_group(&header, &stored(&gap)), Err(position));
        for byte in 0..body.len() {
            let mut damaged = body.clone();
            damaged[byte] ^= 0x10;
            let is_padding = verify_group(&header, &damaged).is_ok();
            assert!(!is_padding || body[byte] == 0, "byte {byte}");
        }
    }
}
