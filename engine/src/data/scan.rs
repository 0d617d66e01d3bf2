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
use uarr_layout::geometry::{CHUNK_HEADER_BYTES, RECORD_ALIGN_BYTES, RECORD_HEADER_BYTES};
use uarr_layout::limits::CHUNK_BYTES;
use uarr_layout::record::{ChunkHeader, RecordHeader};
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::StorageFile;

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

/// Which addresses lie where: what the log and the images say of chunks, by the offset of the
/// chunk. The header of a chunk says it too, and is believed first.
pub(crate) type KnownChunks = BTreeMap<u64, u64>;

/// What stands in the data file.
pub(crate) enum Found<'a> {
    /// A record, header and payload as written.
    Whole { spot: Spot, header: &'a RecordHeader, key: &'a [u8], value: &'a [u8] },
    /// A record whose header fits and whose payload does not.
    Damaged { spot: Spot, header: &'a RecordHeader, defect: Defect },
    /// Bytes that are not zero and no record: addresses.
    Strange(Range<u64>),
}

impl Found<'_> {
    /// The damage that it is; `None` for whole records.
    pub fn damage(&self) -> Option<Error> {
        match self {
            Self::Whole { .. } => None,
            Self::Damaged { spot, header, defect } => {
                Some(Structure::record(spot.address).lsn(header.lsn.get()).damage(defect))
            }
            Self::Strange(range) => {
                let bytes = range.end - range.start;
                let what = format!("expected a record or zeros, found {bytes} other bytes");
                Some(Structure::record(range.start).damage(what))
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

    /// The header at `spot`, if one fits there.
    pub fn header(&mut self, spot: Spot) -> Result<Option<RecordHeader>> {
        let seed = self.seed;
        let bytes = self.bytes(spot.offset, RECORD_HEADER_BYTES)?;
        let header = bytes.and_then(RecordHeader::peek);
        // Zeros are what most of a young file holds.
        let header = header.filter(|header| header.lsn.get() != 0 && header.key_bytes.get() != 0);
        Ok(header.filter(|header| header.verify_header(seed, spot.address).is_ok()).copied())
    }

    /// The value of the record at `spot`, if it is whole.
    pub fn value(&mut self, spot: Spot) -> Result<Option<Vec<u8>>> {
        let mut value = None;
        if let Some(header) = self.header(spot)? {
            self.payload(spot, &header, &mut |found| {
                if let Found::Whole { value: found, .. } = found {
                    value = Some(found.to_vec());
                }
                Ok(())
            })?;
        }
        Ok(value)
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
        let mut strange: Option<Range<u64>> = None;
        while spot.offset < end {
            if let Some(address) = self.chunk_header(spot.offset)? {
                spot = Spot { address, ..spot }.behind(CHUNK_HEADER_BYTES);
                continue;
            }
            if let Some(address) = known.get(&spot.offset) {
                spot.address = *address;
            }
            let Some(header) = self.header(spot)? else {
                let unit = (end - spot.offset).min(RECORD_ALIGN_BYTES) as usize;
                let bytes = self.bytes(spot.offset, unit)?.unwrap_or_default();
                if bytes.iter().any(|byte| *byte != 0) {
                    let unit_end = spot.address.wrapping_add(unit as u64);
                    strange.get_or_insert(spot.address..unit_end).end = unit_end;
                } else if let Some(range) =
                    strange.take_if(|strange| spot.address.wrapping_sub(strange.end) >= ZERO_BYTES)
                {
                    each(Found::Strange(range))?;
                }
                spot = spot.behind(RECORD_ALIGN_BYTES);
                if spot.offset.is_multiple_of(HOLE_BYTES) && strange.is_none() {
                    let behind = self.window.behind_hole(spot.offset)?.max(spot.offset);
                    spot = spot.behind((behind & !(RECORD_ALIGN_BYTES - 1)) - spot.offset);
                }
                continue;
            };
            if let Some(range) = strange.take() {
                each(Found::Strange(range))?;
            }
            self.payload(spot, &header, &mut each)?;
            let next = spot.offset + header.record_bytes() as u64;
            assert!(next > spot.offset, "a scan goes on");
            spot = spot.behind(next.next_multiple_of(RECORD_ALIGN_BYTES) - spot.offset);
        }
        strange.map_or(Ok(()), |range| each(Found::Strange(range)))
    }

    /// The address that the chunk header at `offset` says, if one is there.
    pub fn chunk_header(&mut self, offset: u64) -> Result<Option<u64>> {
        if !offset.is_multiple_of(CHUNK_BYTES_MIN) {
            return Ok(None);
        }
        let database = self.database;
        let bytes = self.bytes(offset, CHUNK_HEADER_BYTES as usize)?;
        let header = bytes.and_then(|bytes| ChunkHeader::load_any(bytes, &database).ok());
        let address = header.map(|header| header.address.get());
        Ok(address.filter(|address| address.is_multiple_of(CHUNK_BYTES_MIN)))
    }

    fn payload(
        &mut self,
        spot: Spot,
        header: &RecordHeader,
        each: &mut impl FnMut(Found<'_>) -> Result<()>,
    ) -> Result<()> {
        let Some(bytes) = self.bytes(spot.offset, header.record_bytes())? else {
            return each(Found::Damaged { spot, header, defect: Defect::Length });
        };
        let key_end = RECORD_HEADER_BYTES + usize::from(header.key_bytes.get());
        let (key, value) = (&bytes[RECORD_HEADER_BYTES..key_end], &bytes[header.value_offset()..]);
        each(match header.verify_payload(key, value) {
            Ok(()) => Found::Whole { spot, header, key, value },
            Err(defect) => Found::Damaged { spot, header, defect },
        })
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::io("cannot read a file of the database", error)
}
