//! [`Live`]: how much of each chunk the index names.
//!
//! Counted where the index changes, from the locators alone, so no record is read. It chooses what
//! is moved. That nothing is named in a chunk any more is said by this count and, before its place
//! is given away, by the walks of two checkpoints, which look at every entry of the index.

use std::collections::BTreeMap;
use std::ops::Add;

use uarr_layout::record::Locator;
use uarr_uring::CHUNK_SPAN;

use crate::error::{Error, ErrorKind, Result};

/// Bytes of a line.
pub(crate) const LINE_BYTES: u64 = 64;

/// What the index names in one chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LiveRecords {
    pub count: u32,
    /// Cache lines that they take.
    pub lines: u32,
}

impl Add for LiveRecords {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { count: self.count + other.count, lines: self.lines + other.lines }
    }
}

/// What the index names, by chunk.
pub(crate) struct Live {
    chunk_shift: u32,
    /// Count and lines by number, as far as those of one map are apart. Memory for what is used
    /// alone: the allocator is asked for zeros, which it gets from the kernel.
    chunks: Box<[[u32; 2]]>,
    /// Lines of the records whose locators do not say it, as they have too many: by address.
    long_lines: BTreeMap<u64, u32>,
    total_lines: u64,
}

impl Live {
    /// What `locators` name. `bytes_of` says how long a record is whose locator does not say it.
    pub fn new(
        chunk_bytes: u64,
        locators: impl Iterator<Item = Locator>,
        bytes_of: impl Fn(Locator) -> u64,
    ) -> Result<Self> {
        assert!(chunk_bytes.is_power_of_two());
        let bytes = CHUNK_SPAN as usize * size_of::<[u32; 2]>();
        Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| no_memory(bytes))?;
        let chunks = vec![[0; 2]; CHUNK_SPAN as usize].into();
        let (chunk_shift, long_lines) = (chunk_bytes.trailing_zeros(), BTreeMap::new());
        let mut live = Self { chunk_shift, chunks, long_lines, total_lines: 0 };
        locators.for_each(|locator| live.add(locator, || bytes_of(locator)));
        Ok(live)
    }

    /// The index names `new`, a record of `bytes`, in place of `old`.
    #[inline]
    pub fn replace(&mut self, old: Option<Locator>, new: Locator, bytes: u64) {
        // Replay may name a record again.
        if old == Some(new) {
            return;
        }
        self.add(new, || bytes);
        old.into_iter().for_each(|old| self.remove(old));
    }

    #[inline]
    fn add(&mut self, locator: Locator, bytes: impl FnOnce() -> u64) {
        let lines = match locator.line_count() {
            0 => self.add_long(locator, bytes()),
            lines => lines as u32,
        };
        self.total_lines += u64::from(lines);
        let [live_count, live_lines] = self.slot(locator);
        *live_count += 1;
        *live_lines += lines;
    }

    #[cold]
    fn add_long(&mut self, locator: Locator, bytes: u64) -> u32 {
        let lines = u32::try_from(bytes.div_ceil(LINE_BYTES)).expect("records are limited");
        self.long_lines.insert(locator.address(), lines);
        lines
    }

    /// The index does not name `old` any more.
    #[inline]
    pub fn remove(&mut self, old: Locator) {
        let lines = match old.line_count() {
            // Images of other bytes may name a record twice.
            0 => self.long_lines.remove(&old.address()).unwrap_or(0),
            lines => lines as u32,
        };
        let [live_count, live_lines] = self.slot(old);
        assert!(*live_count > 0 && *live_lines >= lines, "what is named was counted");
        *live_count -= 1;
        *live_lines -= lines;
        self.total_lines -= u64::from(lines);
    }

    /// Number of the chunk that `locator` names a record in.
    #[inline]
    pub fn number_of(&self, locator: Locator) -> u64 {
        locator.address() >> self.chunk_shift
    }

    #[inline]
    fn slot(&mut self, locator: Locator) -> &mut [u32; 2] {
        let number = self.number_of(locator);
        &mut self.chunks[(number % CHUNK_SPAN) as usize]
    }

    /// What is named in chunk `number`.
    pub fn of(&self, number: u64) -> LiveRecords {
        let [count, lines] = self.chunks[(number % CHUNK_SPAN) as usize];
        LiveRecords { count, lines }
    }

    /// Cache lines of all that is named.
    pub fn total_lines(&self) -> u64 {
        self.total_lines
    }
}

fn no_memory(bytes: usize) -> Error {
    let what = format!(
        "the process has no {bytes} bytes of address space to count what lives; raise its limit \
         RLIMIT_AS (ulimit -v; LimitAS= of a systemd service)"
    );
    Error::new(ErrorKind::Io, what)
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
        let mut live = Live::new(CHUNK, [first].into_iter(), |_| 0).unwrap();
        assert_eq!(live.of(3), LiveRecords { count: 1, lines: 2 });
        live.replace(None, second, 64);
        assert_eq!(live.of(3), LiveRecords { count: 2, lines: 3 });
        let large = record(9 * CHUNK + 64, 8 << 20);
        live.replace(Some(first), large, 8 << 20);
        assert_eq!(live.of(3), LiveRecords { count: 1, lines: 1 });
        assert_eq!(live.of(9), LiveRecords { count: 1, lines: 1 << 17 });
        assert_eq!(live.total_lines(), 1 + (1 << 17));
        live.remove(large);
        live.remove(second);
        assert_eq!((live.of(3), live.total_lines()), (LiveRecords::default(), 0));
    }

    #[test]
    #[should_panic(expected = "was counted")]
    fn nothing_is_taken_away_twice() {
        let record = Locator::new(64, 64, RecordKind::Value);
        let mut live = Live::new(1 << 16, [record].into_iter(), |_| 0).unwrap();
        live.remove(record);
        live.remove(record);
    }
}
