//! What stands in the files of a database, read with `uarr_layout` alone, without the engine.

use std::ops::Range;

use uarr_layout::DatabaseId;
use uarr_layout::checksum::Seed;
use uarr_layout::chunk::ChunkEntry;
use uarr_layout::geometry::{PIECE_HEADER_BYTES, RECORD_ALIGN_BYTES, RECORD_HEADER_BYTES};
use uarr_layout::group::GroupHeader;
use uarr_layout::image::{ByteEntry, PieceHeader, PieceKind};
use uarr_layout::packed::PackedEntries;
use uarr_layout::record::{ChunkHeader, Locator, RecordHeader};
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

/// A record's header where it stands.
#[derive(Clone, Copy, Debug)]
pub struct PlacedHeader {
    /// Its first byte in the data file.
    pub offset: usize,
    /// The address that it has there.
    pub address: u64,
    /// The header.
    pub header: RecordHeader,
}

/// All places in the data file where a record's header fits, as far as chunk headers say which
/// addresses lie where.
pub fn record_headers(files: &Files) -> Vec<PlacedHeader> {
    let (_, block) = superblock(files);
    let (seed, chunk_bytes) = (Seed::new(&block.database), block.chunk_bytes.get() as usize);
    let bytes = &files[DATA_FILE];
    let (mut found, mut address) = (Vec::new(), 0);
    let places = (0..bytes.len() - RECORD_HEADER_BYTES).step_by(RECORD_ALIGN_BYTES as usize);
    for offset in places {
        if offset.is_multiple_of(chunk_bytes)
            && let Ok(header) = ChunkHeader::load_any(&bytes[offset..], &block.database)
        {
            address = header.address.get();
        }
        let header = *RecordHeader::peek(&bytes[offset..]).expect("a header's bytes");
        if header.lsn.get() > 0 && header.verify_header(&bytes[offset..], seed, address).is_ok() {
            found.push(PlacedHeader { offset, address, header });
        }
        address += RECORD_ALIGN_BYTES;
    }
    found
}

/// The chunk table of image `number`; `None` if the image is not whole.
pub fn chunk_table(files: &Files, database: &DatabaseId, number: u64) -> Option<Vec<ChunkEntry>> {
    let mut table = Vec::new();
    for (kind, used) in pieces(files, database, number)? {
        if kind == PieceKind::Chunks {
            table.extend_from_slice(<[ChunkEntry]>::ref_from_bytes(used).ok()?);
        }
    }
    Some(table)
}

/// The chunk table of the newest checkpoint.
pub fn newest_table(files: &Files) -> Vec<ChunkEntry> {
    let (_, block) = superblock(files);
    let number = block.checkpoints[0].number.get();
    chunk_table(files, &block.database, number).expect("the image is whole")
}

/// The parts of the data file that the newest checkpoint calls durable.
pub fn durable_ranges(files: &Files) -> Vec<Range<usize>> {
    let chunk_bytes = superblock(files).1.chunk_bytes.get() as usize;
    let range = |entry: &ChunkEntry| {
        let start = entry.place.get() as usize * chunk_bytes;
        start..start + entry.durable_bytes.get() as usize
    };
    newest_table(files).iter().map(range).collect()
}

/// The pieces of image `number`: kind and used bytes; `None` if one is not whole, or there is no
/// end piece.
fn pieces<'a>(
    files: &'a Files,
    database: &DatabaseId,
    number: u64,
) -> Option<Vec<(PieceKind, &'a [u8])>> {
    let bytes = files.get(&format!("index/{number:016x}.img"))?;
    let (mut pieces, mut offset) = (Vec::new(), 0);
    loop {
        let piece = bytes.get(offset..)?;
        let header = PieceHeader::peek(piece).ok()?;
        let (kind, used) = header.verify(piece, database, number, offset as u64).ok()?;
        assert!(used.len() + PIECE_HEADER_BYTES <= header.piece_bytes.get() as usize);
        pieces.push((kind, used));
        if kind == PieceKind::End {
            return Some(pieces);
        }
        offset += header.piece_bytes.get() as usize;
    }
}

/// Locators of image `number`, of all tables; `None` if it is not whole.
pub fn image_locators(files: &Files, database: &DatabaseId, number: u64) -> Option<Vec<Locator>> {
    let mut locators = Vec::new();
    for (kind, used) in pieces(files, database, number)? {
        match kind {
            PieceKind::IntEntries => {
                for entry in PackedEntries::new(used) {
                    locators.push(entry.ok()?.1);
                }
            }
            PieceKind::ByteEntries | PieceKind::TableEntries | PieceKind::UnorderedEntries => {
                locators.extend(byte_entries(used)?.into_iter().map(|(_, locator)| locator));
            }
            PieceKind::Chunks => {}
            PieceKind::End => {
                let total = u64::from_le_bytes(used.try_into().ok()?);
                return (total == locators.len() as u64).then_some(locators);
            }
        }
    }
    None
}

/// Stored keys and locators of a piece of byte entries.
pub(crate) fn byte_entries(mut used: &[u8]) -> Option<Vec<(Vec<u8>, Locator)>> {
    let (mut entries, mut key) = (Vec::new(), Vec::new());
    while !used.is_empty() {
        let (entry, rest) = ByteEntry::ref_from_prefix(used).ok()?;
        let (suffix, rest) = rest.split_at_checked(entry.suffix_bytes.get().into())?;
        key.truncate(entry.shared.get().into());
        key.extend_from_slice(suffix);
        entries.push((key.clone(), Locator::from_bits(entry.locator.get())?));
        used = rest;
    }
    Some(entries)
}

/// Keys and locators of image `number` of a database with byte keys; `None` if it is not whole,
/// from its first piece to its end piece with the right total.
pub fn image_entries(
    files: &Files,
    database: &DatabaseId,
    number: u64,
) -> Option<Vec<(Vec<u8>, Locator)>> {
    let mut entries = Vec::new();
    for (kind, used) in pieces(files, database, number)? {
        match kind {
            PieceKind::ByteEntries | PieceKind::TableEntries | PieceKind::UnorderedEntries => {
                entries.extend(byte_entries(used)?);
            }
            PieceKind::IntEntries | PieceKind::Chunks => {}
            PieceKind::End => {
                let total = u64::from_le_bytes(used.try_into().ok()?);
                return (total == entries.len() as u64).then_some(entries);
            }
        }
    }
    None
}
