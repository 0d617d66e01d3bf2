//! The index image: what a checkpoint remembers of the index.
//!
//! A file of pieces, each a whole number of blocks long, each with its own checksum over its header
//! and its used bytes; the header names database, image and offset, so a piece is valid only in its
//! place.
//!
//! ```text
//! piece     PieceHeader (64)   used bytes   zeros to the end of the block
//! integer entries   see [`crate::packed`]             ascending keys
//! byte entries      locator u64, shared u16, suffix length u16, suffix   ascending keys; `shared`
//!                   bytes are those of the key before, 0 in the first entry of a piece
//! entries of tables  as byte entries, of all other ordered tables: their stored keys
//! unordered entries  as byte entries, of tables without order: in any order, of one table in each
//!                   piece
//! chunks            ChunkEntry (32) after ChunkEntry     ascending numbers; behind all entries
//! end               total number of entries u64; exactly one, the last piece
//! ```

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checks;
use crate::checksum::crc32c;
use crate::geometry::PIECE_HEADER_BYTES;
use crate::limits::{BLOCK_BYTES, FORMAT_VERSION, KEY_BYTES_MAX};
use crate::{DatabaseId, Defect};

const MAGIC: [u8; 4] = *b"UIMG";

/// No piece is longer than this; the longest key fits well.
pub const PIECE_BYTES_MAX: usize = 256 << 10;

/// What a piece holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum PieceKind {
    /// Packed integer keys.
    IntEntries = 1,
    /// Front-coded byte keys.
    ByteEntries = 2,
    /// The total.
    End = 3,
    /// [`ChunkEntry`](crate::chunk::ChunkEntry) after the other, all in this one piece or several.
    Chunks = 4,
    /// Front-coded stored keys of all ordered tables but the default one.
    TableEntries = 5,
    /// The same of tables without order, each piece of one.
    UnorderedEntries = 6,
}

/// First bytes of a piece.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PieceHeader {
    magic: [u8; 4],
    crc: U32,
    /// Identity of the database.
    pub database: DatabaseId,
    /// Number of the checkpoint.
    pub image: U64,
    /// Offset of the piece in the file.
    pub offset: U64,
    major: U16,
    kind: U16,
    /// Table of the entries.
    pub table: U32,
    /// Number of entries.
    pub entry_count: U32,
    /// Bytes behind the header that count.
    pub used_bytes: U32,
    /// Bytes to the next piece.
    pub piece_bytes: U32,
    reserved: U32,
}

const _: () = assert!(size_of::<PieceHeader>() == PIECE_HEADER_BYTES);

/// Start of an entry of a byte-key table; the suffix follows.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct ByteEntry {
    /// Bits of the locator.
    pub locator: U64,
    /// Bytes shared with the key before.
    pub shared: U16,
    /// Bytes that follow.
    pub suffix_bytes: U16,
}

// The longest key fits into a piece, which is made of blocks.
const _: () = assert!(
    PIECE_HEADER_BYTES + size_of::<ByteEntry>() + KEY_BYTES_MAX <= PIECE_BYTES_MAX
        && PIECE_BYTES_MAX.is_multiple_of(*BLOCK_BYTES.start() as usize)
);

impl PieceHeader {
    /// The header of a piece; the caller sets the remaining fields.
    pub fn new(database: DatabaseId, image: u64, kind: PieceKind) -> Self {
        let mut header = Self::new_zeroed();
        header.magic = MAGIC;
        header.major = FORMAT_VERSION.0.into();
        header.database = database;
        header.image = image.into();
        header.kind = (kind as u16).into();
        header
    }

    /// Writes the header with its checksum over `piece`, whose used bytes are in place already.
    pub fn store(&self, piece: &mut [u8]) {
        let used = PIECE_HEADER_BYTES + self.used_bytes.get() as usize;
        let mut header = self.clone();
        header.crc = crc32c(&[&header.as_bytes()[8..], &piece[PIECE_HEADER_BYTES..used]]).into();
        piece[..PIECE_HEADER_BYTES].copy_from_slice(header.as_bytes());
    }

    /// Reads the header alone and checks that its lengths can be trusted enough to read the piece.
    pub fn peek(bytes: &[u8]) -> Result<Self, Defect> {
        let header = Self::ref_from_prefix(bytes).map_err(|_| Defect::Short)?.0;
        if header.magic != MAGIC {
            return Err(Defect::Magic);
        }
        let (used, piece) = (header.used_bytes.get(), header.piece_bytes.get());
        let is_piece =
            piece as usize <= PIECE_BYTES_MAX && piece.is_multiple_of(*BLOCK_BYTES.start());
        let room = piece.checked_sub(PIECE_HEADER_BYTES as u32);
        if !is_piece || room.is_none_or(|room| used > room) {
            return Err(Defect::Length);
        }
        Ok(header.clone())
    }

    /// Checks a whole piece of image `image` at `offset` and returns its kind and used bytes.
    //= IMG-1
    pub fn verify<'a>(
        &self,
        piece: &'a [u8],
        database: &DatabaseId,
        image: u64,
        offset: u64,
    ) -> Result<(PieceKind, &'a [u8]), Defect> {
        let end = PIECE_HEADER_BYTES + self.used_bytes.get() as usize;
        let used = piece.get(PIECE_HEADER_BYTES..end).ok_or(Defect::Short)?;
        let expected = crc32c(&[&self.as_bytes()[8..], used]);
        checks::checksum(expected, self.crc)?;
        checks::database(database, &self.database)?;
        checks::position(image, self.image)?;
        checks::position(offset, self.offset)?;
        if self.table.get() != 0 {
            return Err(Defect::Field("table"));
        }
        let kind = match self.kind.get() {
            1 => PieceKind::IntEntries,
            2 => PieceKind::ByteEntries,
            3 => PieceKind::End,
            4 => PieceKind::Chunks,
            5 => PieceKind::TableEntries,
            6 => PieceKind::UnorderedEntries,
            other => return Err(Defect::Kind((other & 0xff) as u8)),
        };
        Ok((kind, used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::bits_of;

    //= test IMG-1
    #[test]
    fn every_flipped_bit_of_a_piece_is_seen() {
        let id = DatabaseId([5; 16]);
        let mut piece = vec![0; 512];
        piece[PIECE_HEADER_BYTES..][..16].copy_from_slice(&[0xab; 16]);
        let mut header = PieceHeader::new(id, 3, PieceKind::IntEntries);
        header.offset = 1024.into();
        header.entry_count = 1.into();
        header.used_bytes = 16.into();
        header.piece_bytes = 512.into();
        header.store(&mut piece);

        let check = |piece: &[u8], image, offset| {
            let header = PieceHeader::peek(piece)?;
            header.verify(piece, &id, image, offset).map(|(kind, used)| (kind, used.to_vec()))
        };
        assert_eq!(check(&piece, 3, 1024), Ok((PieceKind::IntEntries, vec![0xab; 16])));
        assert!(check(&piece, 4, 1024).is_err());
        assert!(check(&piece, 3, 512).is_err());
        for bit in bits_of(PIECE_HEADER_BYTES + 16) {
            let mut damaged = piece.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&damaged, 3, 1024).is_err(), "bit {bit}");
        }
    }
}
