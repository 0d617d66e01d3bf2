//! Records in the data file, and how the index names them.
//!
//! ```text
//! chunk     ChunkHeader (64)  record  gap  record ...
//! record    RecordHeader (32)   [expiry (8)]   key   zeros to 8   value          starts 16-aligned
//! ```
//! The header's checksum covers the database, the record's own address, the payload checksum and
//! the expiry, if there is one;
//! the payload checksum covers key and value. A record in the wrong place, of another database or
//! with any flipped bit is never taken for valid.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checks;
use crate::checksum::{Seed, crc32c, extend, payload_crc};
use crate::frame::{Frame, FrameKind};
use crate::geometry::{
    CHUNK_HEADER_BYTES, EXPIRY_BYTES, RECORD_ALIGN_BYTES, RECORD_HEADER_BYTES, record_bytes,
    value_offset,
};
use crate::limits::{ADDRESS_MAX, EXPIRES_MS_MAX, FORMAT_VERSION, LSN_MAX, VALUE_BYTES_MAX};
use crate::{DatabaseId, Defect};

const CHUNK_MAGIC: [u8; 8] = *b"UARRCHNK";
const FLAG_TOMBSTONE: u16 = 1;
/// An expiry stands between header and key.
const FLAG_EXPIRES: u16 = 2;
const KNOWN_FLAGS: u16 = FLAG_TOMBSTONE | FLAG_EXPIRES;

/// First bytes of a chunk, unless it holds more of a record that begins in another.
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ChunkHeader {
    magic: [u8; 8],
    crc: U32,
    major: U16,
    minor: U16,
    /// Identity of the database.
    pub database: DatabaseId,
    /// Address of the chunk.
    pub address: U64,
    /// LSN of the frame that opened the chunk.
    pub first_lsn: U64,
    reserved: [u8; 16],
}

/// First bytes of a record.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct RecordHeader {
    header_crc: U32,
    /// CRC-32C of key and value.
    pub payload_crc: U32,
    /// Position of the record's frame in the log, and its version.
    pub lsn: U64,
    /// [`Locator`] of the previous version of the same key, 0 if there is none.
    pub previous: U64,
    /// Length of the value.
    pub value_bytes: U32,
    /// Length of the key.
    pub key_bytes: U16,
    flags: U16,
}

const _: () = assert!(size_of::<ChunkHeader>() as u64 == CHUNK_HEADER_BYTES);
const _: () = assert!(size_of::<RecordHeader>() == RECORD_HEADER_BYTES);

// The flag becomes the length without a branch.
const _: () = assert!((FLAG_EXPIRES as usize) << 2 == EXPIRY_BYTES);

// A locator has 48 bits for the number of a record's first unit.
const _: () = assert!(ADDRESS_MAX / RECORD_ALIGN_BYTES <= 1 << 48);

/// What the index stores for a key: address, size hint and kind of its newest record, in 8 bytes.
///
/// ```text
/// 63 ..................... 16 | 15        | 14 .............. 0
/// address / 16                | tombstone | cache lines of the record, 0 = unknown
/// ```
/// 0 is no locator: no record starts at address 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Locator(u64);

/// What a record is to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// The key has its value.
    Value,
    /// It removes the key.
    Tombstone,
}

impl RecordKind {
    /// The kind of the record that `frame` becomes.
    fn of_frame(frame: &Frame<'_>) -> Self {
        let is_delete = frame.header.kind == FrameKind::Delete as u8;
        if is_delete { Self::Tombstone } else { Self::Value }
    }
}

impl Locator {
    /// Names the record at `address`, `bytes` long; 0 if its size is not known.
    pub fn new(address: u64, bytes: usize, kind: RecordKind) -> Self {
        assert!(address.is_multiple_of(RECORD_ALIGN_BYTES));
        assert!(address > 0 && address / RECORD_ALIGN_BYTES < 1 << 48);
        let lines = bytes.div_ceil(64);
        let lines = if lines > 0x7fff { 0 } else { lines as u64 };
        Self(
            (address / RECORD_ALIGN_BYTES) << 16
                | (u64::from(kind == RecordKind::Tombstone) << 15)
                | lines,
        )
    }

    /// Names the record that `frame` becomes.
    pub fn of_frame(frame: &Frame<'_>) -> Self {
        Self::new(frame.header.address.get(), frame.record_bytes(), RecordKind::of_frame(frame))
    }

    /// False if a record with this header cannot be the one that was named: it removes its key and
    /// should not, or the other way round, or has another length.
    pub fn fits(self, header: &RecordHeader) -> bool {
        let named = Self::new(self.address(), header.record_bytes(), header.kind());
        let is_length_known = self.line_count() != 0;
        self.is_tombstone() == named.is_tombstone()
            && (!is_length_known || self.line_count() == named.line_count())
    }

    /// The locator with these bits, `None` for 0.
    #[inline]
    pub fn from_bits(bits: u64) -> Option<Self> {
        (bits >> 16 != 0).then_some(Self(bits))
    }

    /// The locator of a record that is no tombstone, whose address is `unit` times 16; `None` if
    /// there is no such address, or no such count of cache lines.
    #[inline]
    pub(crate) fn from_parts(unit: u64, line_count: u64) -> Option<Self> {
        let is_possible = (1..1 << 48).contains(&unit) && line_count <= 0x7fff;
        is_possible.then_some(Self(unit << 16 | line_count))
    }

    /// Its address divided by 16.
    #[inline]
    pub(crate) fn unit(self) -> u64 {
        self.0 >> 16
    }

    /// All bits.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// Address of the record.
    #[inline]
    pub fn address(self) -> u64 {
        (self.0 >> 16) * RECORD_ALIGN_BYTES
    }

    /// Whether the record removes its key.
    pub fn is_tombstone(self) -> bool {
        self.0 & (1 << 15) != 0
    }

    /// Cache lines of the record, if known.
    #[inline]
    pub fn line_count(self) -> u64 {
        self.0 & 0x7fff
    }
}

impl ChunkHeader {
    /// The header of the chunk at `address`, which the frame with `first_lsn` opened.
    pub fn new(database: DatabaseId, address: u64, first_lsn: u64) -> Self {
        let mut header = Self::new_zeroed();
        header.magic = CHUNK_MAGIC;
        (header.major, header.minor) = (FORMAT_VERSION.0.into(), FORMAT_VERSION.1.into());
        header.database = database;
        header.address = address.into();
        header.first_lsn = first_lsn.into();
        header.crc = crc32c(&[&header.as_bytes()[12..]]).into();
        header
    }

    /// Reads the header at `address` of `database`.
    pub fn load(bytes: &[u8], database: &DatabaseId, address: u64) -> Result<Self, Defect> {
        let header = Self::load_any(bytes, database)?;
        checks::position(address, header.address)?;
        Ok(header)
    }

    /// Reads a header of `database`, whatever its address, if a chunk can have it.
    pub fn load_any(bytes: &[u8], database: &DatabaseId) -> Result<Self, Defect> {
        let header = Self::ref_from_prefix(bytes).map_err(|_| Defect::Short)?.0;
        if header.magic != CHUNK_MAGIC {
            return Err(Defect::Magic);
        }
        let expected = crc32c(&[&header.as_bytes()[12..]]);
        checks::checksum(expected, header.crc)?;
        checks::database(database, &header.database)?;
        //= SUP-9
        match header.address.get() {
            0..ADDRESS_MAX => Ok(header.clone()),
            _ => Err(Defect::Field("address")),
        }
    }
}

impl RecordHeader {
    /// The header of the record of `frame`, with the previous version's locator. Records hold whole
    /// values: a patch is resolved before; and no table, which replay refuses.
    pub fn for_frame(frame: &Frame<'_>, previous: Option<Locator>, seed: Seed) -> Self {
        assert_ne!(frame.header.kind, FrameKind::Patch as u8);
        assert_eq!(frame.header.table.get(), 0);
        let mut header = Self::new_zeroed();
        header.payload_crc = frame.header.payload_crc;
        header.lsn = frame.header.lsn;
        header.previous = previous.map_or(0, Locator::bits).into();
        header.value_bytes = frame.header.value_bytes;
        header.key_bytes = frame.header.key_bytes;
        let kind = match RecordKind::of_frame(frame) {
            RecordKind::Value => 0,
            RecordKind::Tombstone => FLAG_TOMBSTONE,
        };
        let expiry = frame.expiry();
        assert!(kind == 0 || expiry.is_none(), "what is deleted does not expire");
        header.flags = (kind | if expiry.is_some() { FLAG_EXPIRES } else { 0 }).into();
        let expiry = expiry.as_ref().map_or(&[][..], |expiry| expiry);
        header.header_crc = header.expected_crc(seed, frame.header.address.get(), expiry).into();
        header
    }

    /// The header of the same record, which is `bytes`, at another `address`.
    pub fn moved_to(&self, bytes: &[u8], address: u64, seed: Seed) -> Self {
        let mut header = *self;
        let expiry = self.expiry(bytes).expect("the record is whole");
        header.header_crc = header.expected_crc(seed, address, expiry).into();
        header
    }

    /// The locator of the record with this header at `address`.
    pub fn locator(&self, address: u64) -> Locator {
        Locator::new(address, self.record_bytes(), self.kind())
    }

    /// The header at the start of `bytes`; nothing is checked.
    #[inline]
    pub fn peek(bytes: &[u8]) -> Option<&Self> {
        Some(Self::ref_from_prefix(bytes).ok()?.0)
    }

    fn kind(&self) -> RecordKind {
        if self.is_tombstone() { RecordKind::Tombstone } else { RecordKind::Value }
    }

    /// Whether the record removes its key.
    #[inline]
    pub fn is_tombstone(&self) -> bool {
        self.flags.get() & FLAG_TOMBSTONE != 0
    }

    /// Bytes of its expiry: 0 or [`EXPIRY_BYTES`].
    #[inline]
    fn expiry_bytes(&self) -> usize {
        usize::from(self.flags.get() & FLAG_EXPIRES) << 2
    }

    /// Bytes of the record.
    #[inline]
    pub fn record_bytes(&self) -> usize {
        record_bytes(self.record_key_bytes(), self.value_bytes.get() as usize)
    }

    /// Bytes between the header and the padding in front of the value: expiry and key.
    #[inline]
    pub fn record_key_bytes(&self) -> usize {
        self.expiry_bytes() + usize::from(self.key_bytes.get())
    }

    /// Offset of the key in the record.
    #[inline]
    pub fn key_offset(&self) -> usize {
        RECORD_HEADER_BYTES + self.expiry_bytes()
    }

    /// Offset of the value in the record.
    #[inline]
    pub fn value_offset(&self) -> usize {
        value_offset(self.record_key_bytes(), self.value_bytes.get() as usize)
    }

    /// The key in `record`, the bytes that begin with this header; `None`: it is not all there.
    #[inline]
    pub fn key<'a>(&self, record: &'a [u8]) -> Option<&'a [u8]> {
        record.get(self.key_offset()..)?.get(..usize::from(self.key_bytes.get()))
    }

    /// Whether it expires at some time.
    #[inline]
    pub fn expires(&self) -> bool {
        self.flags.get() & FLAG_EXPIRES != 0
    }

    /// When the record, which begins with `record`, expires, in ms since 1970; 0: never.
    #[inline]
    pub fn expires_ms(&self, record: &[u8]) -> u64 {
        if !self.expires() {
            return 0;
        }
        let expiry = self.expiry(record).and_then(|bytes| bytes.try_into().ok());
        expiry.map_or(0, u64::from_le_bytes)
    }

    /// The bytes of its expiry, none if it has none; `None`: they are not all there.
    fn expiry<'a>(&self, record: &'a [u8]) -> Option<&'a [u8]> {
        record.get(RECORD_HEADER_BYTES..)?.get(..self.expiry_bytes())
    }

    /// Checks the header against its checksum, as it stands at `address`, at the start of `record`.
    //= DAT-3
    pub fn verify_header(&self, record: &[u8], seed: Seed, address: u64) -> Result<(), Defect> {
        let expiry = self.expiry(record).ok_or(Defect::Length)?;
        checks::checksum(self.expected_crc(seed, address, expiry), self.header_crc)?;
        if self.flags.get() & !KNOWN_FLAGS != 0 {
            return Err(Defect::Flags((self.flags.get() & 0xff) as u8));
        }
        match () {
            () if self.value_bytes.get() as usize > VALUE_BYTES_MAX => {
                Err(Defect::Field("value bytes"))
            }
            () if self.key_bytes.get() == 0 => Err(Defect::Field("key bytes")),
            () if self.lsn.get() > LSN_MAX => Err(Defect::Field("LSN")),
            () if !self.can_expire(record) => Err(Defect::Field("expiry")),
            () => Ok(()),
        }
    }

    /// Whether its expiry, if it has one, is one that a record can have.
    fn can_expire(&self, record: &[u8]) -> bool {
        !self.expires()
            || (!self.is_tombstone() && (1..=EXPIRES_MS_MAX).contains(&self.expires_ms(record)))
    }

    /// Checks key and value against the payload checksum.
    //= DAT-3
    pub fn verify_payload(&self, key: &[u8], value: &[u8]) -> Result<(), Defect> {
        checks::checksum(payload_crc(key, value), self.payload_crc)
    }

    fn expected_crc(&self, seed: Seed, address: u64, expiry: &[u8]) -> u32 {
        // The address and the header without its checksum, in one aligned piece: one call, whole
        // words.
        let mut words = [0u64; 1 + RECORD_HEADER_BYTES / 8];
        let bytes = words.as_mut_bytes();
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..][..RECORD_HEADER_BYTES - 4].copy_from_slice(&self.as_bytes()[4..]);
        let crc = seed.crc32c(&bytes[..4 + RECORD_HEADER_BYTES]);
        if expiry.is_empty() { crc } else { extend(crc, expiry) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::bits_of;

    #[test]
    fn locators_keep_their_parts_and_their_order() {
        let early = Locator::new(64, 100, RecordKind::Value);
        let late = Locator::new(80, 1, RecordKind::Tombstone);
        assert_eq!((early.address(), early.line_count(), early.is_tombstone()), (64, 2, false));
        assert_eq!((late.address(), late.line_count(), late.is_tombstone()), (80, 1, true));
        assert!(early < late);
        assert_eq!(Locator::from_bits(late.bits()), Some(late));
        assert_eq!(Locator::from_bits(0), None);
        assert_eq!(Locator::new(16, 1 << 30, RecordKind::Value).line_count(), 0);
    }

    //= test DAT-3
    #[test]
    fn every_flipped_bit_of_a_record_is_seen() {
        let seed = Seed::new(&DatabaseId([9; 16]));
        let mut frame = Frame::new(FrameKind::Put, 0, b"some key", b"some value");
        frame.header.address = 4096.into();
        let previous = Locator::new(64, 10, RecordKind::Value);
        let header = RecordHeader::for_frame(&frame, Some(previous), seed);
        let bytes = header.as_bytes();
        assert_eq!(header.verify_header(bytes, seed, 4096), Ok(()));
        assert!(header.verify_header(bytes, seed, 4112).is_err(), "misplaced");
        assert_eq!(header.verify_payload(frame.key, frame.value), Ok(()));
        for bit in bits_of(RECORD_HEADER_BYTES) {
            let mut damaged = header.as_bytes().to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let header = RecordHeader::peek(&damaged).unwrap();
            assert!(header.verify_header(&damaged, seed, 4096).is_err(), "bit {bit}");
        }
        assert!(header.verify_payload(b"some kez", frame.value).is_err());
    }

    //= test DAT-3
    #[test]
    fn an_expiry_stands_in_front_of_the_key_and_is_covered() {
        let seed = Seed::new(&DatabaseId([9; 16]));
        let mut frame = Frame::new(FrameKind::Put, 0, b"key", b"value");
        let plain = RecordHeader::for_frame(&frame, None, seed);
        frame.header.address = 4096.into();
        frame.header.expires_ms = 77.into();
        let header = RecordHeader::for_frame(&frame, None, seed);
        assert_eq!(header.record_bytes(), plain.record_bytes() + EXPIRY_BYTES);
        assert_eq!(header.record_bytes(), frame.record_bytes());
        let record = [header.as_bytes(), &77u64.to_le_bytes(), b"key", &[0; 5], b"value"].concat();
        assert_eq!(record.len(), header.record_bytes());
        assert_eq!(header.verify_header(&record, seed, 4096), Ok(()));
        assert_eq!((header.key(&record), header.expires_ms(&record)), (Some(&b"key"[..]), 77));
        assert_eq!(&record[header.value_offset()..], b"value");
        for bit in bits_of(RECORD_HEADER_BYTES + EXPIRY_BYTES) {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let header = RecordHeader::peek(&damaged).unwrap();
            assert!(header.verify_header(&damaged, seed, 4096).is_err(), "bit {bit}");
        }
        assert!(header.verify_header(&record[..39], seed, 4096).is_err(), "it is not all there");
        let moved = header.moved_to(&record, 8192, seed);
        assert_eq!(moved.verify_header(&record, seed, 8192), Ok(()));
        for impossible in [u64::MAX, EXPIRES_MS_MAX + 1] {
            frame.header.expires_ms = impossible.into();
            let header = RecordHeader::for_frame(&frame, None, seed);
            let record = [header.as_bytes(), &impossible.to_le_bytes()].concat();
            let verified = header.verify_header(&record, seed, 4096);
            assert_eq!(verified, Err(Defect::Field("expiry")));
        }
    }

    #[test]
    fn a_moved_record_is_the_same_elsewhere() {
        let seed = Seed::new(&DatabaseId([9; 16]));
        let mut frame = Frame::new(FrameKind::Delete, 0, b"some key", b"");
        frame.header.address = 4096.into();
        let header = RecordHeader::for_frame(&frame, None, seed);
        let moved = header.moved_to(header.as_bytes(), 8192, seed);
        let verify = |header: &RecordHeader, at| header.verify_header(header.as_bytes(), seed, at);
        assert_eq!(verify(&moved, 8192), Ok(()));
        assert!(verify(&moved, 4096).is_err() && verify(&header, 8192).is_err());
        assert_eq!((moved.lsn, moved.previous), (header.lsn, header.previous));
        assert_eq!(header.locator(4096), Locator::of_frame(&frame));
        assert!(moved.locator(8192).is_tombstone());
    }

    #[test]
    fn chunk_headers_know_their_place() {
        let id = DatabaseId([1; 16]);
        let header = ChunkHeader::new(id, 1 << 26, 77);
        assert_eq!(ChunkHeader::load(header.as_bytes(), &id, 1 << 26).unwrap(), header);
        // A sum with an offset in the chunk ended beyond 64 bits.
        let impossible = ChunkHeader::new(id, u64::MAX - 100, 77);
        let loaded = ChunkHeader::load_any(impossible.as_bytes(), &id);
        assert_eq!(loaded, Err(Defect::Field("address")));
        assert!(ChunkHeader::load(header.as_bytes(), &id, 0).is_err());
        assert!(ChunkHeader::load(header.as_bytes(), &DatabaseId([2; 16]), 1 << 26).is_err());
    }
}
