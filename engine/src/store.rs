//! Records in the data file: reading them in place, and the one place that appends them.
//!
//! Invariants:
//! - Published bytes never change. The map hands out only what the one appender has published.
//! - A record is returned only if its header and payload match their checksums, or if this process
//!   wrote it since open (the bytes then come from its own memory).
//! - Where a record goes is decided when it is staged ([`uarr_layout::geometry::place`]) and
//!   written in its log frame; the appender only obeys. Replay therefore rebuilds the same bytes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use uarr_index::KeySource;
use uarr_layout::checksum::Seed;
use uarr_layout::frame::Frame;
use uarr_layout::record::{
    CHUNK_HEADER_BYTES, ChunkHeader, Locator, RECORD_BYTES_MIN, RECORD_HEADER_BYTES, RecordHeader,
};
use uarr_layout::{DatabaseId, Defect};
use uarr_uring::{DataMap, DataMapWriter};
use zerocopy::IntoBytes;

use crate::error::{Error, Result};
use crate::files::DATA_FILE;
use crate::options::VerifyPolicy;

/// A record, viewed in place. `bytes` are as many as its header says.
#[derive(Clone, Copy)]
pub(crate) struct RecordView<'a> {
    pub header: &'a RecordHeader,
    bytes: &'a [u8],
}

impl<'a> RecordView<'a> {
    #[inline]
    pub fn key(self) -> &'a [u8] {
        &self.bytes[RECORD_HEADER_BYTES..][..usize::from(self.header.key_bytes.get())]
    }

    #[inline]
    pub fn value(self) -> &'a [u8] {
        &self.bytes[self.header.value_offset()..]
    }
}

/// The readers' side of the data file.
pub(crate) struct RecordStore<M> {
    map: M,
    seed: Seed,
    policy: VerifyPolicy,
    /// Records from this address on are believed, whatever `verified` says of them.
    trusted_from: u64,
    /// Which of the records that were there at open were checked.
    verified: Verified,
}

/// Bytes of the data file that one piece of [`Verified`] is about.
const VERIFIED_PIECE_BYTES: u64 = 64 << 20;

/// One bit for each possible start of a record. A piece takes memory once one of its records was
/// checked: the length of a file says nothing about how much of it is there.
struct Verified {
    pieces: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

impl Verified {
    /// For records before `end`.
    fn new(end: u64) -> Self {
        let count = end.div_ceil(VERIFIED_PIECE_BYTES);
        Self { pieces: (0..count).map(|_| OnceLock::new()).collect() }
    }

    /// Piece, word and bit of the record at `address`.
    fn place(address: u64) -> (usize, usize, u64) {
        let unit = address % VERIFIED_PIECE_BYTES / RECORD_BYTES_MIN;
        ((address / VERIFIED_PIECE_BYTES) as usize, (unit / 64) as usize, 1 << (unit % 64))
    }

    fn contains(&self, address: u64) -> bool {
        let (piece, word, bit) = Self::place(address);
        let piece = self.pieces.get(piece).and_then(OnceLock::get);
        piece.is_some_and(|words| words[word].load(Ordering::Relaxed) & bit != 0)
    }

    /// Records behind the end are not noted.
    fn insert(&self, address: u64) {
        let (piece, word, bit) = Self::place(address);
        let Some(piece) = self.pieces.get(piece) else { return };
        let word_count = (VERIFIED_PIECE_BYTES / RECORD_BYTES_MIN / 64) as usize;
        let words = piece.get_or_init(|| (0..word_count).map(|_| AtomicU64::new(0)).collect());
        words[word].fetch_or(bit, Ordering::Relaxed);
    }
}

impl<M: DataMap> RecordStore<M> {
    pub fn new(map: M, database: &DatabaseId, policy: VerifyPolicy, session_start: u64) -> Self {
        let verified = Verified::new(session_start);
        let trusted_from = match policy {
            VerifyPolicy::FirstTouch => session_start,
            VerifyPolicy::Never => 0,
            VerifyPolicy::Always => u64::MAX,
        };
        Self { map, seed: Seed::new(database), policy, trusted_from, verified }
    }

    /// The record that `locator` names, checked as the policy asks.
    #[inline]
    pub fn record(&self, locator: Locator) -> Result<RecordView<'_>> {
        let address = locator.address();
        match self.view(address) {
            Some(view) if address >= self.trusted_from => Ok(view),
            Some(view) => self.checked(address, view),
            None => Err(self.damage(address, None, Defect::Length)),
        }
    }

    /// The record that `locator` names, checked in any case.
    pub fn record_verified(&self, locator: Locator) -> Result<RecordView<'_>> {
        let address = locator.address();
        let view = self.view(address);
        view.ok_or_else(|| self.damage(address, None, Defect::Length))
            .and_then(|view| self.verify(address, view))
    }

    /// The key that the record at `locator` seems to have: its header is as written, its payload
    /// need not be.
    pub fn seeming_key(&self, locator: Locator) -> Option<&[u8]> {
        let view = self.view(locator.address())?;
        view.header.verify_header(self.seed, locator.address()).ok()?;
        Some(view.key())
    }

    /// Asks the processor to fetch the first lines of the record.
    #[inline]
    pub fn prefetch(&self, locator: Locator) {
        let address = locator.address();
        for line in 0..locator.line_count().clamp(1, 4) {
            self.map.prefetch(address + line * 64);
        }
    }

    /// Brings pages ahead of the appends into memory, while appends go on.
    pub fn prefault(&self, address: u64, bytes: u64) {
        self.map.prefault(address, bytes);
    }

    /// Bytes of the data file that are allocated.
    pub fn allocated_bytes(&self) -> u64 {
        self.map.allocated_bytes()
    }

    /// Checks the header of the chunk at `address`.
    pub fn verify_chunk(&self, address: u64, database: &DatabaseId) -> Result<()> {
        let bytes = self.map.bytes(address, CHUNK_HEADER_BYTES as usize);
        let bytes = bytes.ok_or_else(|| self.damage(address, None, Defect::Length))?;
        match ChunkHeader::load(bytes, database, address) {
            Ok(_) => Ok(()),
            Err(defect) => Err(Error::defect(DATA_FILE, address, None, "chunk header", defect)),
        }
    }

    #[inline]
    fn view(&self, address: u64) -> Option<RecordView<'_>> {
        let rest = self.map.bytes_from(address);
        let header = RecordHeader::peek(rest)?;
        let bytes = match rest.get(..header.record_bytes()) {
            Some(bytes) => bytes,
            // Records lie in one chunk, but for those longer than that.
            None => self.map.bytes(address, header.record_bytes())?,
        };
        Some(RecordView { header, bytes })
    }

    /// `view`, if it was checked before or is found sound now.
    #[inline(never)]
    fn checked<'a>(&self, address: u64, view: RecordView<'a>) -> Result<RecordView<'a>> {
        if self.policy == VerifyPolicy::FirstTouch && self.verified.contains(address) {
            return Ok(view);
        }
        self.verify(address, view)
    }

    #[cold]
    fn verify<'a>(&self, address: u64, view: RecordView<'a>) -> Result<RecordView<'a>> {
        let checked = view
            .header
            .verify_header(self.seed, address)
            .and_then(|()| view.header.verify_payload(view.key(), view.value()));
        match checked {
            Ok(()) => {
                self.verified.insert(address);
                Ok(view)
            }
            Err(defect) => Err(self.damage(address, Some(view.header.lsn.get()), defect)),
        }
    }

    #[cold]
    fn damage(&self, address: u64, lsn: Option<u64>, defect: Defect) -> Error {
        Error::corrupt(DATA_FILE, address, lsn, "record", defect)
    }
}

impl<M: DataMap> KeySource for RecordStore<M> {
    type Error = Error;

    fn key(&self, payload: u64) -> Result<&[u8]> {
        match Locator::from_bits(payload) {
            Some(locator) => Ok(self.record(locator)?.key()),
            None => Err(self.damage(0, None, Defect::Length)),
        }
    }
}

/// The one writer of the data file.
pub(crate) struct Appender<W> {
    writer: W,
    database: DatabaseId,
    seed: Seed,
    chunk_bytes: u64,
    /// End of the last record.
    end: u64,
}

impl<W: DataMapWriter> Appender<W> {
    pub fn new(writer: W, database: DatabaseId, chunk_bytes: u64) -> Self {
        Self { writer, database, seed: Seed::new(&database), chunk_bytes, end: 0 }
    }

    /// Zeroes what lies between the last record and `address`, the end of its page, so that no
    /// later append touches that page.
    pub fn pad_to(&mut self, address: u64) {
        if self.end < address && !address.is_multiple_of(self.chunk_bytes) {
            self.writer.append(address, &[]);
            self.end = address;
        }
    }

    /// Writes the record of `frame` to its address and returns what the index is to hold.
    pub fn append(&mut self, frame: &Frame<'_>, previous: Option<Locator>) -> Locator {
        let header = RecordHeader::for_frame(frame, previous, self.seed);
        let address = frame.header.address.get();
        let chunk_start = address & !(self.chunk_bytes - 1);
        if address == chunk_start + CHUNK_HEADER_BYTES {
            let lsn = frame.header.lsn.get();
            let chunk = ChunkHeader::new(self.database, chunk_start, lsn);
            self.writer.append(chunk_start, &[chunk.as_bytes()]);
        }
        const ZEROS: [u8; 64] = [0; 64];
        let value_offset = header.value_offset();
        let key_end = RECORD_HEADER_BYTES + frame.key.len();
        if value_offset <= ZEROS.len() {
            let mut head = ZEROS;
            head[..RECORD_HEADER_BYTES].copy_from_slice(header.as_bytes());
            head[RECORD_HEADER_BYTES..key_end].copy_from_slice(frame.key);
            self.writer.append(address, &[&head[..value_offset], frame.value]);
        } else {
            let padding = &ZEROS[..value_offset - key_end];
            self.writer.append(address, &[header.as_bytes(), frame.key, padding, frame.value]);
        }
        self.end = address + (value_offset + frame.value.len()) as u64;
        Locator::of_record(address, frame.key.len(), frame.value.len(), header.is_tombstone())
    }

    /// Makes the data file at least `bytes` long.
    pub fn grow(&mut self, bytes: u64) -> std::io::Result<()> {
        self.writer.grow(bytes)
    }
}

/// How many bytes of each chunk may be read when everything before `data_tail` may.
pub(crate) fn readable_chunks(data_tail: u64, chunk_bytes: u64) -> Vec<u64> {
    let chunks = data_tail.div_ceil(chunk_bytes);
    (0..chunks).map(|chunk| (data_tail - chunk * chunk_bytes).min(chunk_bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checked_records_are_noted_one_by_one_up_to_the_end() {
        let end = 3 * VERIFIED_PIECE_BYTES;
        let verified = Verified::new(end - 4096);
        let addresses = [64, 112, 64 + RECORD_BYTES_MIN * 64, end / 2, end - 4096, end - 64];
        for (index, address) in addresses.iter().enumerate() {
            assert!(!verified.contains(*address));
            verified.insert(*address);
            assert!(addresses[..=index].iter().all(|address| verified.contains(*address)));
        }
        verified.insert(end);
        assert!(!verified.contains(end) && !verified.contains(1 << 60));
        assert!(!verified.contains(64 + RECORD_BYTES_MIN * 32));
    }

    #[test]
    fn chunks_are_readable_up_to_the_tail() {
        assert_eq!(readable_chunks(0, 100), Vec::<u64>::new());
        assert_eq!(readable_chunks(100, 100), [100]);
        assert_eq!(readable_chunks(250, 100), [100, 100, 50]);
    }
}
