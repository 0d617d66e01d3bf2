//! Right checksums for wrong bytes, which then look as if the engine had written them.

use uarr_layout::checksum::{Seed, crc32c, extend, payload_crc};
use uarr_layout::frame::{Frame, FrameKind};
use uarr_layout::geometry::GROUP_HEADER_BYTES;
use uarr_layout::group::GroupHeader;
use uarr_layout::image::PieceHeader;
use uarr_layout::record::{Locator, RecordHeader};
use uarr_layout::superblock::SLOT_BYTES;
use zerocopy::{FromBytes, IntoBytes};

const GROUP_MAGIC: &[u8] = b"UGRP";

/// Gives the group at the start of `bytes` the checksums that fit. `None`: its lengths are
/// impossible.
pub fn seal_group(bytes: &mut [u8]) -> Option<()> {
    let mut header = group_here(bytes)?;
    let end = usize::try_from(header.group_bytes.get()).ok()?;
    let body = bytes.get_mut(GROUP_HEADER_BYTES..end)?;
    let mut crc = 0;
    let mut at = 0;
    while at < body.len() {
        let (frame, len) = Frame::load(&body[at..]).ok()?;
        let mut frame_header = frame.header;
        frame_header.payload_crc = payload_crc(frame.key, frame.value).into();
        crc = extend(crc, frame_header.as_bytes());
        frame_header.write_to_prefix(&mut body[at..]).ok()?;
        at += len;
    }
    header.frames_crc = crc.into();
    header.store(bytes);
    Some(())
}

/// The header of a group that looks like one.
pub fn group_here(bytes: &[u8]) -> Option<GroupHeader> {
    let header = GroupHeader::ref_from_prefix(bytes).ok()?.0;
    bytes.starts_with(GROUP_MAGIC).then(|| header.clone())
}

/// Gives what looks like a record at `address` the checksum of that place.
pub fn seal_record(bytes: &mut [u8], address: usize, seed: Seed) -> Option<()> {
    let header = *RecordHeader::peek(bytes.get(address..)?)?;
    if header.key_bytes.get() == 0 || header.lsn.get() == 0 {
        return None;
    }
    let record = bytes.get(address..address.checked_add(header.record_bytes())?)?;
    let key = header.key(record)?;
    let value = record.get(header.value_offset()..)?;
    if payload_crc(key, value) != header.payload_crc.get() {
        return None;
    }
    let kind = if header.is_tombstone() { FrameKind::Delete } else { FrameKind::Put };
    let mut frame = Frame::new(kind, 0, key, value).expiring(header.expires_ms(record));
    frame.header.lsn = header.lsn;
    frame.header.address = (address as u64).into();
    let sealed = RecordHeader::for_frame(&frame, Locator::from_bits(header.previous.get()), seed);
    sealed.write_to_prefix(&mut bytes[address..]).ok()
}

/// Gives the piece of an index image at the start of `bytes` the checksum that fits. `None`: its
/// lengths are impossible.
pub fn seal_piece(bytes: &mut [u8]) -> Option<()> {
    let header = PieceHeader::peek(bytes).ok()?;
    let piece = bytes.get_mut(..header.piece_bytes.get() as usize)?;
    header.store(piece);
    Some(())
}

/// Gives the superblock slot at the start of `bytes` the checksum that fits.
pub fn seal_slot(bytes: &mut [u8]) {
    const CRC: std::ops::Range<usize> = 8..12;
    let crc = crc32c(&[&bytes[CRC.end..SLOT_BYTES]]);
    bytes[CRC].copy_from_slice(&crc.to_le_bytes());
}
