//! The superblock: the root of a database.
//!
//! File `superblock` has two slots, [`SLOT_STRIDE_BYTES`] apart so that no device unit holds both.
//! Writers alternate between them; the valid slot with the higher generation counts. Magic,
//! checksum and version stay at their places in every future version, so that readers refuse a
//! newer database by name instead of calling it damaged.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checks;
use crate::checksum::crc32c;
use crate::geometry::PAGE_BYTES;
use crate::limits::{
    ADDRESS_MAX, BLOCK_BYTES, CHUNK_BYTES, EXPIRES_MS_MAX, FORMAT_VERSION, LIFE_COUNT_MAX, LSN_MAX,
    NUMBER_MAX, SEGMENT_BLOCKS_MIN, SEGMENT_BYTES,
};
use crate::{DatabaseId, Defect};

/// Bytes of a slot that the checksum covers.
pub const SLOT_BYTES: usize = 4096;
/// Distance between the two slots.
pub const SLOT_STRIDE_BYTES: u64 = 65_536;

/// How a slot begins.
pub const MAGIC: [u8; 8] = *b"UARRSUPR";
const CRC_START: usize = 12;

/// One checkpoint: everything up to `lsn` is in the index image, the log is replayed from
/// (`segment`, `offset`).
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(C)]
pub struct Checkpoint {
    /// Number of the checkpoint and name of its image; 0 is the empty database before the first
    /// one.
    pub number: U64,
    /// Every record up to this LSN is reflected in the image.
    pub lsn: U64,
    /// Segment where replay starts.
    pub segment: U64,
    /// Offset of the first group to replay in it.
    pub offset: U64,
    /// The first chunk number that was not given out when the pages were sealed: the image says
    /// which chunks below it there are.
    pub next_chunk: U64,
    /// The log was durable up to this LSN: replay that does not reach it has met damage.
    pub end_lsn: U64,
    /// Length of the image file.
    pub image_bytes: U64,
    /// Entries in the image.
    pub entry_count: U64,
}

impl Checkpoint {
    fn check(&self, block_bytes: u32, chunk_bytes: u64, next_lsn: u64) -> Result<(), Defect> {
        let (lsn, end_lsn) = (self.lsn.get(), self.end_lsn.get());
        let offset = self.offset.get();
        let is_possible = [
            ("number of a checkpoint", self.number.get() < NUMBER_MAX),
            ("LSN of a checkpoint", lsn < next_lsn),
            ("end LSN of a checkpoint", end_lsn < next_lsn),
            ("segment of a checkpoint", self.segment.get() < NUMBER_MAX),
            (
                "offset of a checkpoint",
                offset <= NUMBER_MAX && offset.is_multiple_of(block_bytes.into()),
            ),
            ("next chunk of a checkpoint", self.next_chunk.get() <= ADDRESS_MAX / chunk_bytes),
        ];
        match is_possible.iter().find(|(_, is_possible)| !is_possible) {
            Some((field, _)) => Err(Defect::Field(field)),
            None => Ok(()),
        }
    }
}

/// The content of a slot.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Superblock {
    magic: [u8; 8],
    crc: U32,
    major: U16,
    minor: U16,
    /// Identity of the database.
    pub database: DatabaseId,
    /// Rises by one with each write of a slot.
    pub generation: U64,
    /// Life number of the log: high half counts opens, low half is random, so that no group of an
    /// earlier open is ever taken for one of this.
    pub life: U64,
    /// 1 if the database was closed and its log has nothing to replay, 0 while it is open.
    pub closed: U32,
    /// Kind of the keys of the default table.
    pub key_kind: U32,
    /// Creation time, nanoseconds since 1970.
    pub created_ns: U64,
    /// Unit of log writes.
    pub block_bytes: U32,
    /// How groups are committed: number of the strategy that was found best here.
    pub strategy: U32,
    /// Regular size of a log segment.
    pub segment_bytes: U64,
    /// Size of a data file chunk.
    pub chunk_bytes: U64,
    /// Median time of a 4 KiB commit with each strategy when it was measured, in ns; 0 = not
    /// measured.
    pub strategy_ns: [U64; 3],
    /// Half of the key of the hashes of byte keys; the other half is drawn at each open.
    pub hash_seed: U64,
    /// The first LSN that was never given out when this slot was written.
    pub next_lsn: U64,
    /// The newest checkpoint and the one before it.
    pub checkpoints: [Checkpoint; 2],
    /// Records that expired by then, in ms since 1970, are never shown again; 0: none ever could.
    pub expiry_floor_ms: U64,
    reserved: [u8; 3832],
}

const _: () = assert!(size_of::<Checkpoint>() == 64);
const _: () = assert!(size_of::<Superblock>() == SLOT_BYTES);
// A slot is a page, and no write of one touches the other.
const _: () = assert!(SLOT_BYTES as u64 == PAGE_BYTES && SLOT_STRIDE_BYTES > PAGE_BYTES);
const _: () = assert!(std::mem::offset_of!(Superblock, crc) == 8);
const _: () = assert!(std::mem::offset_of!(Superblock, major) == CRC_START);

/// What a new database is made with.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Unit of log writes.
    pub block_bytes: u32,
    /// Regular size of a log segment.
    pub segment_bytes: u64,
    /// Size of a data file chunk.
    pub chunk_bytes: u64,
}

impl Superblock {
    /// The superblock of a new, empty database.
    pub fn new(database: DatabaseId, geometry: Geometry) -> Self {
        let mut block = Self::new_zeroed();
        block.magic = MAGIC;
        (block.major, block.minor) = (FORMAT_VERSION.0.into(), FORMAT_VERSION.1.into());
        block.database = database;
        block.block_bytes = geometry.block_bytes.into();
        block.segment_bytes = geometry.segment_bytes.into();
        block.chunk_bytes = geometry.chunk_bytes.into();
        block
    }

    /// Version of the format that the database may contain.
    pub fn version(&self) -> (u16, u16) {
        (self.major.get(), self.minor.get())
    }

    /// The bytes of a slot, checksum included.
    pub fn to_slot(&self) -> Vec<u8> {
        let mut slot = self.clone();
        slot.crc = crc32c(&[&slot.as_bytes()[CRC_START..]]).into();
        slot.as_bytes().to_vec()
    }

    /// Reads a slot: `Ok(None)` if it was never written (all zero).
    //= SUP-1
    pub fn from_slot(bytes: &[u8]) -> Result<Option<Self>, Defect> {
        let block = Self::ref_from_prefix(bytes).map_err(|_| Defect::Short)?.0;
        if block.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if block.magic != MAGIC {
            return Err(Defect::Magic);
        }
        let expected = crc32c(&[&block.as_bytes()[CRC_START..]]);
        checks::checksum(expected, block.crc)?;
        checks::version(block.major, block.minor)?;
        block.check()?;
        Ok(Some(block.clone()))
    }

    /// Checks that every field lies within its limits.
    //= SUP-9
    pub fn check(&self) -> Result<(), Defect> {
        let block_bytes = self.block_bytes.get();
        let segment_bytes = self.segment_bytes.get();
        let chunk_bytes = self.chunk_bytes.get();
        let next_lsn = self.next_lsn.get();
        let is_segment = segment_bytes.is_power_of_two() && SEGMENT_BYTES.contains(&segment_bytes);
        let is_possible = [
            ("generation", self.generation.get() < NUMBER_MAX),
            ("life", self.life.get() >> 32 < LIFE_COUNT_MAX),
            ("closed", self.closed.get() <= 1),
            ("key kind", self.key_kind.get() <= 2),
            ("block bytes", block_bytes.is_power_of_two() && BLOCK_BYTES.contains(&block_bytes)),
            ("segment bytes", is_segment),
            ("chunk bytes", chunk_bytes.is_power_of_two() && CHUNK_BYTES.contains(&chunk_bytes)),
            ("next LSN", next_lsn <= LSN_MAX),
            ("expiry floor", self.expiry_floor_ms.get() <= EXPIRES_MS_MAX),
        ];
        if let Some((field, _)) = is_possible.iter().find(|(_, is_possible)| !is_possible) {
            return Err(Defect::Field(field));
        }
        if segment_bytes / u64::from(block_bytes) < SEGMENT_BLOCKS_MIN {
            return Err(Defect::Field("segment bytes"));
        }
        self.checkpoints
            .iter()
            .try_for_each(|checkpoint| checkpoint.check(block_bytes, chunk_bytes, next_lsn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::bits_of;

    fn sample() -> Superblock {
        let geometry = Geometry { block_bytes: 4096, segment_bytes: 1 << 26, chunk_bytes: 1 << 26 };
        let mut block = Superblock::new(DatabaseId([7; 16]), geometry);
        block.generation = 3.into();
        block.checkpoints[0].lsn = 99.into();
        block.next_lsn = 100.into();
        block
    }

    //= test SUP-9
    #[test]
    fn impossible_fields_are_named() {
        type Change = (&'static str, fn(&mut Superblock));
        let cases: [Change; 16] = [
            ("generation", |block| block.generation = NUMBER_MAX.into()),
            ("life", |block| block.life = (LIFE_COUNT_MAX << 32).into()),
            ("closed", |block| block.closed = 2.into()),
            ("key kind", |block| block.key_kind = 3.into()),
            ("block bytes", |block| block.block_bytes = 256.into()),
            ("block bytes", |block| block.block_bytes = 4097.into()),
            ("segment bytes", |block| block.segment_bytes = (1 << 17).into()),
            ("segment bytes", |block| block.block_bytes = (1 << 20).into()),
            ("chunk bytes", |block| block.chunk_bytes = (3 << 20).into()),
            ("next LSN", |block| block.next_lsn = u64::MAX.into()),
            ("expiry floor", |block| block.expiry_floor_ms = u64::MAX.into()),
            ("LSN of a checkpoint", |block| block.next_lsn = 99.into()),
            ("end LSN of a checkpoint", |block| block.checkpoints[1].end_lsn = 100.into()),
            ("segment of a checkpoint", |block| block.checkpoints[0].segment = NUMBER_MAX.into()),
            ("offset of a checkpoint", |block| block.checkpoints[0].offset = 4097.into()),
            ("next chunk of a checkpoint", |block| {
                block.checkpoints[0].next_chunk =
                    (ADDRESS_MAX / block.chunk_bytes.get() + 1).into();
            }),
        ];
        for (name, change) in cases {
            let mut block = sample();
            if name == "segment bytes" {
                block.segment_bytes = (1 << 23).into();
            }
            change(&mut block);
            assert_eq!(Superblock::from_slot(&block.to_slot()), Err(Defect::Field(name)));
        }
    }

    //= test SUP-1
    #[test]
    fn round_trip() {
        let block = sample();
        assert_eq!(Superblock::from_slot(&block.to_slot()).unwrap().unwrap().generation.get(), 3);
        assert_eq!(Superblock::from_slot(&[0; SLOT_BYTES]), Ok(None));
        assert_eq!(Superblock::from_slot(&[0; 100]), Err(Defect::Short));
    }

    //= test SUP-1
    #[test]
    fn every_flipped_bit_is_seen() {
        let slot = sample().to_slot();
        for bit in bits_of(SLOT_BYTES) {
            let mut damaged = slot.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::from_slot(&damaged).is_err(), "bit {bit}");
        }
    }

    //= test SUP-1
    #[test]
    fn another_version_is_named() {
        for (major, minor) in [(3, 0), (2, 1), (1, 1), (0, 0)] {
            let mut block = sample();
            (block.major, block.minor) = (major.into(), minor.into());
            let found = Superblock::from_slot(&block.to_slot());
            assert_eq!(found, Err(Defect::Version { major, minor }));
        }
    }
}
