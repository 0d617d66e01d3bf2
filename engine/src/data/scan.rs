//! Finding records in the data file without the index: at each place that a header fits.
//!
//! A record starts at a multiple of 16 bytes, and its header's checksum covers the database and the
//! record's own address. So a header that fits proves where the record ends, even if the payload is
//! damaged, and the scan goes on behind it. Where none fits, it goes on 16 bytes further. Bytes
//! between records are zeros; the scan reports others as strange: a record whose header is damaged,
//! or the remains of one that was cut.

use std::collections::BTreeMap;
use std::ops::Range;

use uarr_layout::checksum::Seed;
use uarr_layout::geometry::{
    CHUNK_HEADER_BYTES, EXPIRY_BYTES, RECORD_ALIGN_BYTES, RECORD_HEADER_BYTES,
};
use uarr_layout::limits::CHUNK_BYTES;
use uarr_layout::record::{ChunkHeader, RecordHeader};
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::StorageFile;
use zerocopy::FromZeros;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::HOLE_BYTES;
use crate::structure::Structure;

/// The smallest chunk that a data file can be divided into.
const CHUNK_BYTES_MIN: u64 = *CHUNK_BYTES.start();
const READ_BYTES: usize = 1 << 20;
const READ_BYTES_SMALL: usize = 4096;
/// Shorter runs of zeros between strange bytes belong to them: headers hold some.
const ZERO_BYTES: u64 = 64;

/// A place in the data file, and the address of what lies there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Offset in the file.
    pub offset: u64,
    pub address: u64,
}

impl Spot {
    /// The spot so many bytes behind it.
    pub fn behind(self, bytes: u64) -> Self {
        Self { offset: self.offset + bytes, address: self.address.wrapping_add(bytes) }
    }
}

/// What the log or an image says of the chunk in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownChunk {
    pub address: u64,
    /// A header in the place that says something else is believed if its chunk was opened behind
    /// this LSN.
    pub lsn: u64,
}

/// Which addresses lie where, by the offset of the place.
pub(crate) type KnownChunks = BTreeMap<u64, KnownChunk>;

/// Where a chunk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkStart {
    pub spot: Spot,
    /// Its header is there.
    pub has_header: bool,
}

/// What stands in the data file.
pub(crate) enum Found<'a> {
    /// A record, header and payload as written.
    Whole {
        spot: Spot,
        header: &'a RecordHeader,
        /// In ms since 1970; 0: never.
        expires_ms: u64,
        key: &'a [u8],
        value: &'a [u8],
    },
    /// A record whose header fits and whose payload does not.
    Damaged { spot: Spot, header: &'a RecordHeader, defect: Defect },
    /// So many bytes that are not zero and no record.
    Strange { spot: Spot, bytes: u64 },
}

impl Found<'_> {
    fn strange(range: Range<Spot>) -> Self {
        Self::Strange { spot: range.start, bytes: range.end.offset - range.start.offset }
    }

    /// Where it begins.
    pub fn spot(&self) -> Spot {
        match self {
            Self::Whole { spot, .. } | Self::Damaged { spot, .. } | Self::Strange { spot, .. } => {
                *spot
            }
        }
    }

    /// The damage that it is; `None` for whole records.
    pub fn damage(&self) -> Option<Error> {
        match self {
            Self::Whole { .. } => None,
            Self::Damaged { spot, header, defect } => {
                Some(Structure::record(spot.address).lsn(header.lsn.get()).damage(defect))
            }
            Self::Strange { spot, bytes } => {
                let what = format!("expected a record or zeros, found {bytes} other bytes");
                Some(Structure::record(spot.address).damage(what))
            }
        }
    }
}

/// Reads a file from front to back.
pub(crate) struct Window<'a, F> {
    file: &'a F,
    file_bytes: u64,
    read_bytes: usize,
    bytes: Vec<u8>,
    start: u64,
}

impl<'a, F: StorageFile> Window<'a, F> {
    /// To read all of it.
    pub fn new(file: &'a F) -> Result<Self> {
        let file_bytes = file.len().map_err(failed)?;
        Ok(Self { file, file_bytes, read_bytes: READ_BYTES, bytes: Vec::new(), start: 0 })
    }

    /// To read a little here and there.
    pub fn here_and_there(file: &'a F) -> Result<Self> {
        Ok(Self { read_bytes: READ_BYTES_SMALL, ..Self::new(file)? })
    }

    /// From now on reads so much at least.
    pub fn look_ahead(&mut self, bytes: usize) {
        self.read_bytes = bytes.max(READ_BYTES_SMALL);
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// `len` bytes at `offset`; `None` if the file ends before.
    pub fn bytes(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>> {
        let fits = |end: u64| end <= self.file_bytes;
        if !offset.checked_add(len as u64).is_some_and(fits) {
            return Ok(None);
        }
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + len as u64 > end {
            let wanted = (self.file_bytes - offset).min(self.read_bytes.max(len) as u64) as usize;
            let more = wanted.saturating_sub(self.bytes.len());
            if self.bytes.try_reserve(more).is_err() {
                let message = format!("there is no memory for a structure of {wanted} bytes");
                return Err(Error::new(ErrorKind::Io, message));
            }
            self.bytes.resize(wanted, 0);
            let read = self.file.read_at(&mut self.bytes, offset).map_err(failed)?;
            self.bytes.truncate(read);
            self.start = offset;
        }
        let start = (offset - self.start) as usize;
        Ok(self.bytes.get(start..start + len))
    }

    /// Where the file goes on at or behind `offset` if there is a hole of the file system, which
    /// reads as zeros.
    pub fn behind_hole(&self, offset: u64) -> Result<u64> {
        Ok(self.file.next_data(offset).map_err(failed)?.unwrap_or(self.file_bytes))
    }
}

/// Finds records in a data file.
pub(crate) struct DataReader<'a, F> {
    window: Window<'a, F>,
    database: DatabaseId,
    seed: Seed,
}

impl<'a, F: StorageFile> DataReader<'a, F> {
    pub fn new(window: Window<'a, F>, database: DatabaseId) -> Self {
        Self { window, database, seed: Seed::new(&database) }
    }

    pub fn file_bytes(&self) -> u64 {
        self.window.file_bytes()
    }

    pub fn bytes(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>> {
        self.window.bytes(offset, len)
    }

    /// See [`Window::look_ahead`].
    pub fn look_ahead(&mut self, bytes: usize) {
        self.window.look_ahead(bytes);
    }

    /// Gives `take` the record at `spot`, where one has to be: it is whole or damaged.
    pub fn record(
        &mut self,
        spot: Spot,
        mut take: impl FnMut(Found<'_>) -> Result<()>,
    ) -> Result<()> {
        if let Some(header) = self.header(spot)? {
            return self.payload(spot, &header, &mut take).map(drop);
        }
        let seed = self.seed;
        let longest = RECORD_HEADER_BYTES + EXPIRY_BYTES;
        let left = self.file_bytes().saturating_sub(spot.offset).min(longest as u64) as usize;
        let bytes = self.bytes(spot.offset, left)?.unwrap_or_default();
        let header = RecordHeader::peek(bytes).copied();
        let verified = header.map(|header| header.verify_header(bytes, seed, spot.address));
        let defect = verified.and_then(Result::err).unwrap_or(Defect::Length);
        let header = header.unwrap_or_else(RecordHeader::new_zeroed);
        take(Found::Damaged { spot, header: &header, defect })
    }

    /// The header at `spot`, if one fits there.
    pub fn header(&mut self, spot: Spot) -> Result<Option<RecordHeader>> {
        let seed = self.seed;
        // The file may end behind a header without expiry.
        let mut bytes = self.bytes(spot.offset, RECORD_HEADER_BYTES)?;
        if bytes
            .and_then(RecordHeader::peek)
            .is_some_and(|header| header.key_offset() > RECORD_HEADER_BYTES)
        {
            bytes = self.bytes(spot.offset, RECORD_HEADER_BYTES + EXPIRY_BYTES)?;
        }
        let Some(bytes) = bytes else { return Ok(None) };
        let header = RecordHeader::peek(bytes);
        // Zeros are what most of a young file holds.
        let header = header.filter(|header| header.lsn.get() != 0 && header.key_bytes.get() != 0);
        let fits = |header: &&RecordHeader| header.verify_header(bytes, seed, spot.address).is_ok();
        Ok(header.filter(fits).copied())
    }

    /// The value of the record at `spot`, if it is whole, and when it expires.
    pub fn value(&mut self, spot: Spot) -> Result<Option<(Vec<u8>, u64)>> {
        let mut value = None;
        if let Some(header) = self.header(spot)? {
            self.payload(spot, &header, &mut |found| {
                if let Found::Whole { value: found, expires_ms, .. } = found {
                    value = Some((found.to_vec(), expires_ms));
                }
                Ok(())
            })?;
        }
        Ok(value)
    }

    /// Whether the record of `key` with this header is at `spot`, and whole.
    pub fn is_whole(&mut self, spot: Spot, header: &RecordHeader, key: &[u8]) -> Result<bool> {
        let mut has_key = false;
        let is_whole = self.payload(spot, header, &mut |found| {
            has_key = matches!(found, Found::Whole { key: found, .. } if found == key);
            Ok(())
        })?;
        Ok(is_whole && has_key)
    }

    /// Gives `each` what stands in the file from `spot` to offset `end`, in ascending order.
    /// Records that begin in it may end behind it.
    pub fn scan(
        &mut self,
        mut spot: Spot,
        end: u64,
        known: &KnownChunks,
        mut each: impl FnMut(Found<'_>) -> Result<()>,
    ) -> Result<()> {
        spot = spot.behind(spot.offset.next_multiple_of(RECORD_ALIGN_BYTES) - spot.offset);
        let end = end.min(self.file_bytes());
        let mut strange: Option<Range<Spot>> = None;
        while spot.offset < end {
            if let Some(chunk) = self.chunk_at(spot.offset, known)? {
                if let Some(range) = strange.take() {
                    each(Found::strange(range))?;
                }
                spot = chunk.spot;
                if chunk.has_header {
                    spot = spot.behind(CHUNK_HEADER_BYTES);
                    continue;
                }
            }
            let Some(header) = self.header(spot)? else {
                let unit = (end - spot.offset).min(RECORD_ALIGN_BYTES) as usize;
                let bytes = self.bytes(spot.offset, unit)?.unwrap_or_default();
                let zero_bytes = |strange: &Range<Spot>| spot.offset - strange.end.offset;
                if bytes.iter().any(|byte| *byte != 0) {
                    strange.get_or_insert(spot..spot).end = spot.behind(unit as u64);
                } else if let Some(range) =
                    strange.take_if(|strange| zero_bytes(strange) >= ZERO_BYTES)
                {
                    each(Found::strange(range))?;
                }
                spot = spot.behind(RECORD_ALIGN_BYTES);
                if spot.offset.is_multiple_of(HOLE_BYTES) && strange.is_none() {
                    let behind = self.window.behind_hole(spot.offset)?.max(spot.offset);
                    spot = spot.behind((behind & !(RECORD_ALIGN_BYTES - 1)) - spot.offset);
                }
                continue;
            };
            if let Some(range) = strange.take() {
                each(Found::strange(range))?;
            }
            let is_whole = self.payload(spot, &header, &mut each)?;
            let mut next = spot.offset + header.record_bytes() as u64;
            assert!(next > spot.offset, "a scan goes on");
            if !is_whole {
                next = self.end_before_others(spot, next.min(end), known)?;
            }
            spot = spot.behind(next.next_multiple_of(RECORD_ALIGN_BYTES) - spot.offset);
        }
        strange.map_or(Ok(()), |range| each(Found::strange(range)))
    }

    /// Where a damaged record from `spot` to offset `end` ends at the latest: of one that is longer
    /// than a chunk, and is not needed any more, other chunks may have places.
    fn end_before_others(&mut self, spot: Spot, end: u64, known: &KnownChunks) -> Result<u64> {
        let mut start = (spot.offset + 1).next_multiple_of(CHUNK_BYTES_MIN);
        while start < end {
            let expected = spot.behind(start - spot.offset);
            let chunk = self.chunk_at(start, known)?;
            if chunk.is_some_and(|chunk| chunk.spot != expected) {
                return Ok(start);
            }
            start += CHUNK_BYTES_MIN;
        }
        Ok(end)
    }

    /// The chunk that begins at `offset`, if one is known to or its header is there.
    pub fn chunk_at(&mut self, offset: u64, known: &KnownChunks) -> Result<Option<ChunkStart>> {
        let known = known.get(&offset);
        let start =
            |address, has_header| Some(ChunkStart { spot: Spot { offset, address }, has_header });
        let Some(header) = self.chunk_header(offset)? else {
            return Ok(known.and_then(|known| start(known.address, false)));
        };
        let (address, lsn) = (header.address.get(), header.first_lsn.get());
        Ok(match known {
            // The header is of an earlier chunk.
            Some(known) if known.address != address && lsn <= known.lsn => {
                start(known.address, false)
            }
            _ => start(address, true),
        })
    }

    /// The chunk header at `offset`, if one is there.
    pub fn chunk_header(&mut self, offset: u64) -> Result<Option<ChunkHeader>> {
        if !offset.is_multiple_of(CHUNK_BYTES_MIN) {
            return Ok(None);
        }
        let database = self.database;
        let bytes = self.bytes(offset, CHUNK_HEADER_BYTES as usize)?;
        let header = bytes.and_then(|bytes| ChunkHeader::load_any(bytes, &database).ok());
        Ok(header.filter(|header| header.address.get().is_multiple_of(CHUNK_BYTES_MIN)))
    }

    /// Gives the record at `spot` to `each`; whether it is whole.
    fn payload(
        &mut self,
        spot: Spot,
        header: &RecordHeader,
        each: &mut impl FnMut(Found<'_>) -> Result<()>,
    ) -> Result<bool> {
        let Some(bytes) = self.bytes(spot.offset, header.record_bytes())? else {
            each(Found::Damaged { spot, header, defect: Defect::Length })?;
            return Ok(false);
        };
        let key = header.key(bytes).expect("the record is there");
        let value = &bytes[header.value_offset()..];
        let verified = header.verify_payload(key, value);
        each(match verified {
            Ok(()) => {
                let expires_ms = header.expires_ms(bytes);
                Found::Whole { spot, header, expires_ms, key, value }
            }
            Err(defect) => Found::Damaged { spot, header, defect },
        })?;
        Ok(verified.is_ok())
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::io("cannot read a file of the database", error)
}
