//! [`ChunkScan`]: the records of one chunk, in the map, one behind the other.

use uarr_layout::checksum::Seed;
use uarr_layout::geometry::{CHUNK_HEADER_BYTES, RECORD_ALIGN_BYTES};
use uarr_layout::record::RecordHeader;

/// Walks through the published bytes of a chunk. A header that fits where it stands says where its
/// record ends; elsewhere the walk goes on 16 bytes further, past zeros and past what is damaged.
pub(crate) struct ChunkScan<'p> {
    bytes: &'p [u8],
    address: u64,
    offset: u64,
    seed: Seed,
}

impl<'p> ChunkScan<'p> {
    /// The chunk at `address`, from `offset` on.
    pub fn new(bytes: &'p [u8], address: u64, offset: u64, seed: Seed) -> Self {
        assert!(offset.is_multiple_of(RECORD_ALIGN_BYTES));
        Self { bytes, address, offset: offset.max(CHUNK_HEADER_BYTES), seed }
    }

    /// Offset behind what was found so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The header at the present offset, if it fits there.
    fn header(&self) -> Option<&'p RecordHeader> {
        let record = self.bytes.get(self.offset as usize..)?;
        let header = RecordHeader::peek(record)?;
        // Zeros are what most of a gap holds.
        let is_used = header.lsn.get() != 0 && header.key_bytes.get() != 0;
        let address = self.address + self.offset;
        let fits = is_used && header.verify_header(record, self.seed, address).is_ok();
        fits.then_some(header)
    }
}

impl<'p> Iterator for ChunkScan<'p> {
    /// Address and header of a record.
    type Item = (u64, &'p RecordHeader);

    fn next(&mut self) -> Option<Self::Item> {
        while self.offset < self.bytes.len() as u64 {
            let address = self.address + self.offset;
            let Some(header) = self.header() else {
                self.offset += RECORD_ALIGN_BYTES;
                continue;
            };
            let end = self.offset + header.record_bytes() as u64;
            self.offset = end.next_multiple_of(RECORD_ALIGN_BYTES);
            return Some((address, header));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use uarr_layout::DatabaseId;
    use uarr_layout::frame::{Frame, FrameKind};
    use zerocopy::IntoBytes;

    use super::*;

    #[test]
    fn records_are_found_behind_gaps_and_damage() {
        let seed = Seed::new(&DatabaseId([9; 16]));
        let start = 7 << 16;
        let mut bytes = vec![0; 1 << 12];
        for offset in [64usize, 256, 1024] {
            let mut frame = Frame::new(FrameKind::Put, 0, b"a key", &[7; 100]);
            frame.header.address = (start + offset as u64).into();
            frame.header.lsn = 5.into();
            let header = RecordHeader::for_frame(&frame, None, seed);
            bytes[offset..][..size_of::<RecordHeader>()].copy_from_slice(header.as_bytes());
        }
        let found = |bytes: &[u8], offset| {
            let scan = ChunkScan::new(bytes, start, offset, seed);
            scan.map(|(address, _)| address - start).collect::<Vec<_>>()
        };
        assert_eq!(found(&bytes, 0), [64, 256, 1024]);
        assert_eq!(found(&bytes, 80), [256, 1024]);
        bytes[256] ^= 1;
        assert_eq!(found(&bytes, 0), [64, 1024]);
        assert_eq!(found(&bytes[..1040], 0), [64], "it is not there as a whole");
    }
}
