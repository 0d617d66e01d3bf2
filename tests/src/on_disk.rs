//! What stands in the files of a database, read with `uarr_layout` alone, without the engine.

use uarr_layout::DatabaseId;
use uarr_layout::checksum::Seed;
use uarr_layout::geometry::{PIECE_HEADER_BYTES, RECORD_ALIGN_BYTES, RECORD_HEADER_BYTES};
use uarr_layout::group::GroupHeader;
use uarr_layout::image::{ByteEntry, PieceHeader, PieceKind};
use uarr_layout::record::{Locator, RecordHeader};
use uarr_layout::superblock::{SLOT_STRIDE_BYTES, Superblock};
use zerocopy::FromBytes;

use crate::files::Files;

/// Path of the data file.
pub const DATA_FILE: &str = "data/records.uarr";

/// Both slots of the superblock; `None` for one that was never written or is damaged.
pub fn superblocks(files: &Files) -> [Option<Superblock>; 2] {
    let bytes = &files["superblock"];
    [0, SLOT_STRIDE_BYTES as usize].map(|start| Superblock::from_slot(&bytes[start..]).ok()?)
}

/// The superblock that is in force, and its slot.
pub fn superblock(files: &Files) -> (usize, Superblock) {
    let slots = superblocks(files).into_iter().enumerate();
    let slots = slots.filter_map(|(slot, block)| Some((slot, block?)));
    slots.max_by_key(|(_, block)| block.generation.get()).expect("one slot can be read")
}

/// A group where it stands.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Path of its segment.
    pub path: String,
    /// Its first byte there.
    pub offset: usize,
    /// Its header, valid in this place; its frames need not be.
    pub header: GroupHeader,
}

impl Placed {
    /// Bytes of header and frames.
    pub fn bytes(&self) -> usize {
        self.header.group_bytes.get() as usize
    }
}

/// All groups whose headers are valid where they stand, by segment and offset.
pub fn groups(files: &Files) -> Vec<Placed> {
    let (_, block) = superblock(files);
    let mut found = Vec::new();
    for (path, bytes) in files {
        let Some(number) = segment_number(path) else { continue };
        for offset in (0..bytes.len()).step_by(block.block_bytes.get() as usize) {
            let loaded =
                GroupHeader::load(&bytes[offset..], &block.database, number, offset as u64);
            found.extend(loaded.map(|header| Placed { path: path.clone(), offset, header }));
        }
    }
    found
}

/// Number of the segment at `path`; `None` if no segment lies there.
pub fn segment_number(path: &str) -> Option<u64> {
    let digits = path.strip_prefix("wal/")?.strip_suffix(".wal")?;
    u64::from_str_radix(digits, 16).ok()
}

/// All places in the data file before `end` where a record's header fits, with the headers.
pub fn record_headers(files: &Files, end: usize) -> Vec<(u64, RecordHeader)> {
    let seed = Seed::new(&superblock(files).1.database);
    let bytes = &files[DATA_FILE];
    let mut found = Vec::new();
    let places =
        (0..end.min(bytes.len() - RECORD_HEADER_BYTES)).step_by(RECORD_ALIGN_BYTES as usize);
    for address in places {
        let header = RecordHeader::peek(&bytes[address..]).expect("a header's bytes");
        if header.lsn.get() > 0 && header.verify_header(seed, address as u64).is_ok() {
            found.push((address as u64, *header));
        }
    }
    found
}

/// Keys and locators of image `number` of a table with byte keys; `None` if it is not whole, from
/// its first piece to its end piece with the right total.
pub fn image_entries(
    files: &Files,
    database: &DatabaseId,
    number: u64,
) -> Option<Vec<(Vec<u8>, Locator)>> {
    let bytes = files.get(&format!("index/{number:016x}.img"))?;
    let (mut entries, mut key, mut offset) = (Vec::new(), Vec::new(), 0);
    loop {
        let piece = bytes.get(offset..)?;
        let header = PieceHeader::peek(piece).ok()?;
        let (kind, mut used) = header.verify(piece, database, number, offset as u64).ok()?;
        assert!(used.len() + PIECE_HEADER_BYTES <= header.piece_bytes.get() as usize);
        if kind == PieceKind::End {
            let total = u64::from_le_bytes(used.try_into().ok()?);
            return (total == entries.len() as u64).then_some(entries);
        }
        while !used.is_empty() {
            let (entry, rest) = ByteEntry::ref_from_prefix(used).ok()?;
            let (suffix, rest) = rest.split_at_checked(entry.suffix_bytes.get().into())?;
            key.truncate(entry.shared.get().into());
            key.extend_from_slice(suffix);
            entries.push((key.clone(), Locator::from_bits(entry.locator.get())?));
            used = rest;
        }
        offset += header.piece_bytes.get() as usize;
    }
}
