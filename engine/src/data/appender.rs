//! The one place that writes records to the data file.

use uarr_layout::DatabaseId;
use uarr_layout::checksum::Seed;
use uarr_layout::chunk::ChunkOpening;
use uarr_layout::frame::Frame;
use uarr_layout::geometry::{CHUNK_HEADER_BYTES, PAGE_BYTES, RECORD_HEADER_BYTES};
use uarr_layout::record::{ChunkHeader, Locator, RecordHeader};
use uarr_uring::DataMapWriter;
use zerocopy::IntoBytes;

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

    /// Opens the chunks at `address` that a frame with `lsn` says to lie at `opening`, if they are
    /// not open.
    //= DAT-2
    pub fn open(&mut self, address: u64, lsn: u64, opening: &ChunkOpening) {
        assert!(address.is_multiple_of(self.chunk_bytes));
        let (first, place) = (address / self.chunk_bytes, u64::from(opening.place.get()));
        let mut is_new = false;
        for index in 0..u64::from(opening.count.get()) {
            is_new |= self.writer.open_chunk(first + index, place + index);
        }
        if is_new {
            let header = ChunkHeader::new(self.database, address, lsn);
            self.writer.append(address, &[header.as_bytes()]);
        }
    }

    /// Zeroes what lies between the last record of the chunk at `address` and offset `end`, the end
    /// of a page, so that no later append touches that page.
    //= DAT-5
    pub fn pad(&mut self, address: u64, published_bytes: u64, end: u64) {
        assert!(end.is_multiple_of(PAGE_BYTES) && end <= self.chunk_bytes);
        if published_bytes < end {
            self.writer.append(address + end - 1, &[&[0]]);
        }
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
        self.last_lsn = lsn;
        Locator::of_frame(frame)
    }

    /// Makes the data file at least `bytes` long.
    pub fn grow(&mut self, bytes: u64) -> std::io::Result<()> {
        self.writer.grow(bytes)
    }
}
