//! [`Span`]: where bytes may be appended.

use super::chunks::Chunks;

/// A range of addresses of which nothing is published, and which has space of its own.
pub(super) struct Span {
    /// Number of the chunk that it begins in.
    first: u64,
    /// So many more chunks have some of it.
    others: u64,
    /// Its offset in the file.
    pub start: u64,
    /// So many bytes before it are not published either.
    pub gap: u64,
    /// The offset in the first chunk at which it ends, as if that went on.
    end: u64,
}

impl Span {
    /// The `len` bytes at `address`.
    ///
    /// Panics if they may not be appended: all are errors of the caller, not of the disk.
    #[inline]
    pub fn find(chunks: &Chunks, address: u64, len: u64) -> Self {
        let slots = chunks.slots();
        let (shift, chunk_bytes) = (slots.chunk_shift(), slots.chunk_bytes());
        let first = address >> shift;
        let Some(found) = slots.find(address) else {
            panic!("append at {address}, but chunk {first} is not open");
        };
        let offset = slots.offset(address);
        let end = offset.checked_add(len).expect("addresses of a map stay far below 2^64");
        assert!(offset >= found.published_bytes, "append at {offset}, but published before");
        // Behind the first one the chunks lie one behind the other, and are empty.
        let others = end.saturating_sub(1) >> shift;
        for index in 1..=others {
            let next = slots.find((first + index) << shift);
            let next = next.expect("a range spans open chunks");
            assert!(next.start == found.start + index * chunk_bytes, "one behind the other");
            assert!(next.published_bytes == 0, "append over published bytes");
        }
        let place = found.start >> shift;
        let mut places = place..place + others + 1;
        assert!(places.all(|place| chunks.is_allocated(place)), "append to {end}, without space");
        let (start, gap) = (found.start + offset, offset - found.published_bytes);
        Self { first, others, start, gap, end }
    }

    /// Readers find its bytes, and the gap before them. Called by the one writer, once these are
    /// there.
    #[inline]
    pub fn publish(&self, chunks: &Chunks) {
        let chunk_bytes = chunks.chunk_bytes();
        for index in 0..=self.others {
            let published = (self.end - index * chunk_bytes).min(chunk_bytes);
            chunks.publish(self.first + index, published);
        }
    }
}
