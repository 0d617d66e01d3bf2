//! The one place that writes records to the data file.

use std::io;
use std::ops::Range;

use uarr_layout::DatabaseId;
use uarr_layout::checksum::Seed;
use uarr_layout::chunk::ChunkOpening;
use uarr_layout::frame::Frame;
use uarr_layout::geometry::{CHUNK_HEADER_BYTES, EXPIRY_BYTES, PAGE_BYTES, RECORD_HEADER_BYTES};
use uarr_layout::record::{ChunkHeader, Locator, RecordHeader};
use uarr_uring::{ClosedChunk, DataMapWriter};
use zerocopy::IntoBytes;

use crate::data::copies::{ColdChunk, Copies};

/// The one writer of the data file.
pub(crate) struct Appender<W> {
    writer: W,
    database: DatabaseId,
    seed: Seed,
    chunk_bytes: u64,
    /// LSN of the last record.
    last_lsn: u64,
}

impl<W: DataMapWriter> Appender<W> {
    pub fn new(writer: W, database: DatabaseId, chunk_bytes: u64) -> Self {
        assert!(chunk_bytes.is_power_of_two());
        let seed = Seed::new(&database);
        Self { writer, database, seed, chunk_bytes, last_lsn: 0 }
    }

    /// LSN of the last record that was appended since the file was opened, or 0.
    pub fn last_lsn(&self) -> u64 {
        self.last_lsn
    }

    /// Opens the chunks that `frame` says to lie somewhere, if they are not open.
    //= DAT-2
    pub fn open(&mut self, frame: &Frame<'_>) {
        let (address, lsn) = (frame.header.address.get(), frame.header.lsn.get());
        let opening = ChunkOpening::peek(frame.value);
        let opening = opening.expect("it was staged, or checked by replay");
        assert!(address.is_multiple_of(self.chunk_bytes));
        let (first, place) = (address / self.chunk_bytes, u64::from(opening.place.get()));
        if self.writer.open_chunks(first, place, opening.count.get().into()) {
            let header = ChunkHeader::new(self.database, address, lsn);
            self.writer.append(address, &[header.as_bytes()]);
        }
    }

    /// Zeroes what lies between the last record of the chunk at `address` and offset `end`, the end
    /// of a page, so that no later append touches that page.
    //= DAT-5
    pub fn pad(&mut self, address: u64, published_bytes: u64, end: u64) -> io::Result<()> {
        const ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];
        assert!(end.is_multiple_of(PAGE_BYTES) && end <= self.chunk_bytes);
        // More than the rest of a page, where a group was refused after its records had got places.
        let mut start = published_bytes;
        while start < end {
            let bytes = (end - start).min(PAGE_BYTES);
            self.writer.append_written(address + start, &ZEROS[..bytes as usize])?;
            start += bytes;
        }
        Ok(())
    }

    /// Writes the record of `frame` to its address and returns what the index is to hold.
    pub fn append(&mut self, frame: &Frame<'_>, previous: Option<Locator>) -> Locator {
        let header = RecordHeader::for_frame(frame, previous, self.seed);
        let (address, lsn) = (frame.header.address.get(), frame.header.lsn.get());
        assert!(lsn > self.last_lsn, "records are applied in the order of their LSNs");
        let offset = address & (self.chunk_bytes - 1);
        assert!(offset >= CHUNK_HEADER_BYTES, "a chunk begins with its header");
        // 7 of the 2,675 instructions of a put in memory.
        debug_assert_eq!(header.record_bytes(), header.value_offset() + frame.value.len());
        const ZEROS: [u8; 64] = [0; 64];
        let value_offset = header.value_offset();
        let (key_start, key_end) = (header.key_offset(), header.key_offset() + frame.key.len());
        let expires_ms = frame.header.expires_ms.get().to_le_bytes();
        if value_offset <= ZEROS.len() {
            let mut head = ZEROS;
            head[..RECORD_HEADER_BYTES].copy_from_slice(header.as_bytes());
            if header.expires() {
                head[RECORD_HEADER_BYTES..][..EXPIRY_BYTES].copy_from_slice(&expires_ms);
            }
            head[key_start..key_end].copy_from_slice(frame.key);
            self.writer.append(address, &[&head[..value_offset], frame.value]);
        } else {
            let padding = &ZEROS[..value_offset - key_end];
            let expiry = &expires_ms[..key_start - RECORD_HEADER_BYTES];
            let parts = [header.as_bytes(), expiry, frame.key, padding, frame.value];
            self.writer.append(address, &parts);
        }
        self.last_lsn = lsn;
        Locator::of_frame(frame)
    }

    /// To gather copies for the end of chunk `cold`, of which so much is published.
    pub fn copies(&self, cold: &ColdChunk, published_bytes: u64) -> Copies {
        Copies::new(*cold, published_bytes, self.seed)
    }

    /// Writes `copies` to the end of their chunk, all or none.
    pub fn append_copies(&mut self, copies: &Copies) -> io::Result<()> {
        match copies.as_written() {
            (_, []) => Ok(()),
            (address, bytes) => self.writer.append_written(address, bytes),
        }
    }

    /// Readers find chunk `number`, and those opened with it, no more.
    pub fn close(&mut self, number: u64) -> ClosedChunk {
        self.writer.close_chunk(number)
    }

    /// Whether no reader looks at it any more.
    pub fn is_given_back(&mut self, closed: &mut ClosedChunk) -> bool {
        self.writer.is_given_back(closed)
    }

    /// Gives `places` space of their own.
    pub fn allocate(&mut self, places: Range<u64>) -> io::Result<()> {
        self.writer.allocate(places)
    }

    /// Gives the space of `places`, which no chunk has, back to the file system.
    pub fn deallocate(&mut self, places: Range<u64>) -> io::Result<()> {
        self.writer.deallocate(places)
    }

    /// Gives the space that chunk `number` has published nothing in back to the file system.
    pub fn give_back_rest(&mut self, number: u64) -> io::Result<()> {
        self.writer.give_back_rest(number)
    }
}
