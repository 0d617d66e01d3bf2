//! Finding records in the data file without the index: at each place that a header fits.
//!
//! A record starts at a multiple of 16 bytes, and its header's checksum covers the database and the
//! record's own address. So a header that fits proves where the record ends, even if the payload is
//! damaged, and the scan goes on behind it. Where none fits, it goes on 16 bytes further. Bytes
//! between records are zeros; the scan reports others as strange: a record whose header is damaged,
//! or the remains of one that was cut.

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

/// What stands in the data file.
pub(crate) enum Found<'a> {
    /// A record, header and payload as written.
    Whole { address: u64, header: &'a RecordHeader, key: &'a [u8], value: &'a [u8] },
    /// A record whose header fits and whose payload does not.
    Damaged { address: u64, header: &'a RecordHeader, defect: Defect },
    /// Bytes that are not zero and no record.
    Strange(Range<u64>),
}

impl Found<'_> {
    /// The damage that it is; `None` for whole records.
    pub fn damage(&self) -> Option<Error> {
        match self {
            Self::Whole { .. } => None,
            Self::Damaged { address, header, defect } => {
                Some(Structure::record(*address).lsn(header.lsn.get()).damage(defect))
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

    pub fn bytes(&mut self, address: u64, len: usize) -> Result<Option<&[u8]>> {
        self.window.bytes(address, len)
    }

    /// The header at `address`, if one fits there.
    pub fn header(&mut self, address: u64) -> Result<Option<RecordHeader>> {
        let seed = self.seed;
        let bytes = self.bytes(address, RECORD_HEADER_BYTES)?;
        let header = bytes.and_then(RecordHeader::peek);
        // Zeros are what most of a young file holds.
        let header = header.filter(|header| header.lsn.get() != 0 && header.key_bytes.get() != 0);
        Ok(header.filter(|header| header.verify_header(seed, address).is_ok()).copied())
    }

    /// The value of the record at `address`, if it is whole.
    pub fn value(&mut self, address: u64) -> Result<Option<Vec<u8>>> {
        let mut value = None;
        if let Some(header) = self.header(address)? {
            self.payload(address, &header, &mut |found| {
                if let Found::Whole { value: found, .. } = found {
                    value = Some(found.to_vec());
                }
                Ok(())
            })?;
        }
        Ok(value)
    }

    /// Gives `each` what stands in `range`, in ascending order. Records that begin in it may end
    /// behind it.
    pub fn scan(
        &mut self,
        range: Range<u64>,
        mut each: impl FnMut(Found<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut address = range.start.next_multiple_of(RECORD_ALIGN_BYTES);
        let end = range.end.min(self.file_bytes());
        let mut strange: Option<Range<u64>> = None;
        while address < end {
            if self.is_chunk_header(address)? {
                address += CHUNK_HEADER_BYTES;
                continue;
            }
            let Some(header) = self.header(address)? else {
                let unit = (end - address).min(RECORD_ALIGN_BYTES) as usize;
                let bytes = self.bytes(address, unit)?.unwrap_or_default();
                if bytes.iter().any(|byte| *byte != 0) {
                    let unit_end = address + unit as u64;
                    strange.get_or_insert(address..unit_end).end = unit_end;
                } else if let Some(range) =
                    strange.take_if(|strange| address - strange.end >= ZERO_BYTES)
                {
                    each(Found::Strange(range))?;
                }
                address += RECORD_ALIGN_BYTES;
                if address.is_multiple_of(HOLE_BYTES) && strange.is_none() {
                    address =
                        self.window.behind_hole(address)?.max(address) & !(RECORD_ALIGN_BYTES - 1);
                }
                continue;
            };
            if let Some(range) = strange.take() {
                each(Found::Strange(range))?;
            }
            self.payload(address, &header, &mut each)?;
            let next = address + header.record_bytes() as u64;
            assert!(next > address, "a scan goes on");
            address = next.next_multiple_of(RECORD_ALIGN_BYTES);
        }
        strange.map_or(Ok(()), |range| each(Found::Strange(range)))
    }

    fn is_chunk_header(&mut self, address: u64) -> Result<bool> {
        if !address.is_multiple_of(CHUNK_BYTES_MIN) {
            return Ok(false);
        }
        let database = self.database;
        let bytes = self.bytes(address, CHUNK_HEADER_BYTES as usize)?;
        Ok(bytes.is_some_and(|bytes| ChunkHeader::load(bytes, &database, address).is_ok()))
    }

    fn payload(
        &mut self,
        address: u64,
        header: &RecordHeader,
        each: &mut impl FnMut(Found<'_>) -> Result<()>,
    ) -> Result<()> {
        let Some(bytes) = self.bytes(address, header.record_bytes())? else {
            return each(Found::Damaged { address, header, defect: Defect::Length });
        };
        let key_end = RECORD_HEADER_BYTES + usize::from(header.key_bytes.get());
        let (key, value) = (&bytes[RECORD_HEADER_BYTES..key_end], &bytes[header.value_offset()..]);
        each(match header.verify_payload(key, value) {
            Ok(()) => Found::Whole { address, header, key, value },
            Err(defect) => Found::Damaged { address, header, defect },
        })
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::io("cannot read a file of the database", error)
}
