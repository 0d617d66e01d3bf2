//! The one place that writes records to the data file.

use uarr_layout::DatabaseId;
use uarr_layout::checksum::Seed;
use uarr_layout::frame::Frame;
use uarr_layout::geometry::{CHUNK_HEADER_BYTES, PAGE_BYTES, RECORD_HEADER_BYTES};
use uarr_layout::record::{ChunkHeader, Locator, RecordHeader};
use uarr_uring::{DataMapWriter, MappedChunk};
use zerocopy::IntoBytes;

/// The one writer of the data file.
pub(crate) struct Appender<W> {
    writer: W,
    database: DatabaseId,
    seed: Seed,
    chunk_bytes: u64,
    /// End of the last record.
    end: u64,
    /// Chunks before it are open.
    next_chunk: u64,
    /// LSN of the last record.
    last_lsn: u64,
}

impl<W: DataMapWriter> Appender<W> {
    /// Goes on behind `chunk_count` chunks, which the map began with.
    pub fn new(writer: W, database: DatabaseId, chunk_bytes: u64, chunk_count: u64) -> Self {
        assert!(chunk_bytes.is_power_of_two());
        let seed = Seed::new(&database);
        Self { writer, database, seed, chunk_bytes, end: 0, next_chunk: chunk_count, last_lsn: 0 }
    }

    /// Zeroes what lies between the last record and `address`, the end of its page, so that no
    /// later append touches that page.
    //= DAT-5
    pub fn pad_to(&mut self, address: u64) {
        assert!(address.is_multiple_of(PAGE_BYTES));
        if self.end < address && !address.is_multiple_of(self.chunk_bytes) {
            self.writer.append(address, &[]);
            self.end = address;
        }
    }

    /// Writes the record of `frame` to its address and returns what the index is to hold.
    pub fn append(&mut self, frame: &Frame<'_>, previous: Option<Locator>) -> Locator {
        let header = RecordHeader::for_frame(frame, previous, self.seed);
        let (address, lsn) = (frame.header.address.get(), frame.header.lsn.get());
        assert!(address >= self.end, "a record lies behind the one before");
        assert!(lsn > self.last_lsn, "records are applied in the order of their LSNs");
        //= DAT-4
        assert!(previous.is_none_or(|previous| previous.address() < address));
        // 7 of the 2,675 instructions of a put in memory.
        debug_assert_eq!(header.record_bytes(), header.value_offset() + frame.value.len());
        let end = address + header.record_bytes() as u64;
        while self.next_chunk * self.chunk_bytes < end {
            self.writer.open_chunk(self.next_chunk, self.next_chunk);
            self.next_chunk += 1;
        }
        let chunk_start = address & !(self.chunk_bytes - 1);
        //= DAT-2
        if address == chunk_start + CHUNK_HEADER_BYTES {
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
        self.last_lsn = lsn;
        Locator::of_frame(frame)
    }

    /// Makes the data file at least `bytes` long.
    pub fn grow(&mut self, bytes: u64) -> std::io::Result<()> {
        self.writer.grow(bytes)
    }
}

/// The chunks that are readable when everything before `data_tail` is, each in the place of its
/// number.
pub(crate) fn readable_chunks(data_tail: u64, chunk_bytes: u64) -> Vec<MappedChunk> {
    let readable = |number: u64| (data_tail - number * chunk_bytes).min(chunk_bytes);
    let chunk = |number| MappedChunk { number, place: number, published_bytes: readable(number) };
    (0..data_tail.div_ceil(chunk_bytes)).map(chunk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_readable_up_to_the_tail() {
        let readable =
            |tail| readable_chunks(tail, 100).iter().map(|c| c.published_bytes).collect::<Vec<_>>();
        assert_eq!(readable(0), Vec::<u64>::new());
        assert_eq!(readable(100), [100]);
        assert_eq!(readable(250), [100, 100, 50]);
    }
}
