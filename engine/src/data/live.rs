//! [`Live`]: how much of each chunk the index names.
//!
//! Counted where the index changes, from the locators alone, so no record is read. It chooses what
//! is moved. That nothing is named in a chunk any more is said by this count and, before its place
//! is given away, by the walks of two checkpoints, which look at every entry of the index.

use uarr_layout::record::Locator;
use uarr_uring::CHUNK_SPAN;

/// Bytes of a line.
pub(crate) const LINE_BYTES: u64 = 64;
/// Lines that are counted for a record whose locator does not say how many it has: it has more.
const LINES_UNKNOWN: u32 = 1 << 15;

/// What the index names in one chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LiveRecords {
    pub count: u32,
    /// Cache lines that they take, at least.
    pub lines: u32,
}

/// What the index names, by chunk.
pub(crate) struct Live {
    chunk_shift: u32,
    /// Count and lines by number, as far as those of one map are apart. Memory for what is used
    /// alone: the allocator is asked for zeros, which it gets from the kernel.
    chunks: Box<[[u32; 2]]>,
    total_lines: u64,
}

impl Live {
    /// What `locators` name.
    pub fn new(chunk_bytes: u64, locators: impl Iterator<Item = Locator>) -> Self {
        assert!(chunk_bytes.is_power_of_two());
        let chunks = vec![[0; 2]; CHUNK_SPAN as usize].into();
        let mut live = Self { chunk_shift: chunk_bytes.trailing_zeros(), chunks, total_lines: 0 };
        locators.for_each(|locator| live.add(locator));
        live
    }

    /// The index names `new` in place of `old`.
    #[inline]
    pub fn replace(&mut self, old: Option<Locator>, new: Locator) {
        self.add(new);
        old.into_iter().for_each(|old| self.remove(old));
    }

    #[inline]
    fn add(&mut self, locator: Locator) {
        let lines = lines_of(locator);
        self.total_lines += u64::from(lines);
        let [live_count, live_lines] = self.slot(locator);
        *live_count += 1;
        *live_lines += lines;
    }

    /// The index does not name `old` any more.
    #[inline]
    pub fn remove(&mut self, old: Locator) {
        let lines = lines_of(old);
        let [live_count, live_lines] = self.slot(old);
        assert!(*live_count > 0 && *live_lines >= lines, "what is named was counted");
        *live_count -= 1;
        *live_lines -= lines;
        self.total_lines -= u64::from(lines);
    }

    #[inline]
    fn slot(&mut self, locator: Locator) -> &mut [u32; 2] {
        let number = locator.address() >> self.chunk_shift;
        &mut self.chunks[(number % CHUNK_SPAN) as usize]
    }

    /// What is named in chunk `number`.
    pub fn of(&self, number: u64) -> LiveRecords {
        let [count, lines] = self.chunks[(number % CHUNK_SPAN) as usize];
        LiveRecords { count, lines }
    }

    /// Cache lines of all that is named, at least.
    pub fn total_lines(&self) -> u64 {
        self.total_lines
    }
}

#[inline]
fn lines_of(locator: Locator) -> u32 {
    match locator.line_count() {
        0 => LINES_UNKNOWN,
        lines => lines as u32,
    }
}

#[cfg(test)]
mod tests {
    use uarr_layout::record::RecordKind;

    use super::*;

    #[test]
    fn what_is_named_is_counted_by_chunk() {
        const CHUNK: u64 = 1 << 16;
        let record = |address, bytes| Locator::new(address, bytes, RecordKind::Value);
        let (first, second) = (record(3 * CHUNK + 64, 100), record(3 * CHUNK + 640, 64));
        let mut live = Live::new(CHUNK, [first].into_iter());
        assert_eq!(live.of(3), LiveRecords { count: 1, lines: 2 });
        live.replace(None, second);
        assert_eq!(live.of(3), LiveRecords { count: 2, lines: 3 });
        let large = record(9 * CHUNK + 64, 8 << 20);
        live.replace(Some(first), large);
        assert_eq!(live.of(3), LiveRecords { count: 1, lines: 1 });
        assert_eq!(live.of(9), LiveRecords { count: 1, lines: LINES_UNKNOWN });
        assert_eq!(live.total_lines(), 1 + u64::from(LINES_UNKNOWN));
        live.remove(large);
        live.remove(second);
        assert_eq!((live.of(3), live.total_lines()), (LiveRecords::default(), 0));
    }

    #[test]
    #[should_panic(expected = "was counted")]
    fn nothing_is_taken_away_twice() {
        let record = Locator::new(64, 64, RecordKind::Value);
        let mut live = Live::new(1 << 16, [record].into_iter());
        live.remove(record);
        live.remove(record);
    }
}
