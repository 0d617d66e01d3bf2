//! [`ExpiringChunks`]: which chunks hold records that expire, and when it is worth to look through
//! them.
//!
//! Looking through a chunk costs the same however many records have expired in it. So it is done
//! when a quarter of those that expire has: of each chunk a sample of their times is kept, and of
//! a checkpoint that was loaded only when that moment is. What was looked through has a new sample,
//! of what is left. Records that were replaced meanwhile are in the sample all the same: then
//! there is less to find.

use std::collections::BTreeMap;

/// Times that a sample has at most.
const SAMPLE_COUNT_MAX: usize = 64;
/// A chunk is looked through when one in so many of its records that expire has expired.
const DUE_SHARE: usize = 4;

/// When records of one chunk expire, in ms since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Every `stride`th of them.
    times: Vec<u64>,
    stride: u32,
    /// Records since the last of `times`.
    passed_over: u32,
    /// What a checkpoint said of records before; 0: nothing.
    loaded_ms: u64,
}

/// Part of what the one writer changes.
#[derive(Debug, Default)]
pub(crate) struct ExpiringChunks {
    chunks: BTreeMap<u64, Sample>,
    /// The chunk that is being looked through, and what was noted of it before.
    swept: Option<(u64, Sample)>,
}

impl Sample {
    /// A record expires at `expires_ms`.
    pub fn note(&mut self, expires_ms: u64) {
        assert!(expires_ms > 0, "0 stands for never");
        self.passed_over += 1;
        if self.passed_over < self.stride {
            return;
        }
        self.passed_over = 0;
        self.times.push(expires_ms);
        if self.times.len() > SAMPLE_COUNT_MAX {
            let mut is_kept = false;
            self.times.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.stride = self.stride.max(1) * 2;
        }
    }

    /// When it is worth to look; 0: never.
    fn due_ms(&self) -> u64 {
        let mut times = self.times.clone();
        times.sort_unstable();
        let due = times.get(times.len() / DUE_SHARE).copied();
        let known = [self.loaded_ms, due.unwrap_or(0)];
        known.into_iter().filter(|due| *due > 0).min().unwrap_or(0)
    }

    /// When the first of its records has expired, as far as it is known; 0: never.
    fn first_ms(&self) -> u64 {
        let known = self.times.iter().copied().chain([self.loaded_ms]);
        known.filter(|first| *first > 0).min().unwrap_or(0)
    }

    fn merge(&mut self, other: Self) {
        other.times.iter().for_each(|time| self.note(*time));
        if other.loaded_ms > 0 {
            self.loaded_ms = match self.loaded_ms {
                0 => other.loaded_ms,
                own => own.min(other.loaded_ms),
            };
        }
    }
}

/// Which chunks are looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// Those in which enough has expired.
    Worth,
    /// Those in which something has.
    All,
}

impl ExpiringChunks {
    /// A record of chunk `number` expires at `expires_ms`; 0: it does not.
    #[inline]
    pub fn note(&mut self, number: u64, expires_ms: u64) {
        if expires_ms != 0 {
            self.chunks.entry(number).or_default().note(expires_ms);
        }
    }

    /// A checkpoint says when it is worth to look through chunk `number`; 0: never.
    pub fn load(&mut self, number: u64, due_ms: u64) {
        if due_ms > 0 {
            self.chunks.entry(number).or_default().loaded_ms = due_ms;
        }
    }

    /// When it is worth to look through chunk `number`, for a checkpoint; 0: never.
    pub fn due_ms(&self, number: u64) -> u64 {
        if self.swept.as_ref().is_some_and(|(swept, _)| *swept == number) {
            // It is not known yet what is left.
            return 1;
        }
        self.chunks.get(&number).map_or(0, Sample::due_ms)
    }

    /// Begins to look through the chunk that has waited longest at `now_ms`: its number. `None`:
    /// none is due, or another is looked through.
    pub fn begin(&mut self, now_ms: u64, sweep: Sweep) -> Option<u64> {
        if self.swept.is_some() {
            return None;
        }
        let due = self.chunks.iter().map(|(number, sample)| match sweep {
            Sweep::Worth => (sample.due_ms(), *number),
            Sweep::All => (sample.first_ms(), *number),
        });
        let (_, number) = due.filter(|(due_ms, _)| (1..=now_ms).contains(due_ms)).min()?;
        self.swept = Some((number, self.chunks.remove(&number)?));
        Some(number)
    }

    /// The chunk was looked through: `left` is what is left of what was there when that began.
    /// `None`: it was given up, and what was known counts.
    pub fn end(&mut self, left: Option<Sample>) {
        let Some((number, before)) = self.swept.take() else { return };
        let known = left.unwrap_or(before);
        if known != Sample::default() {
            self.chunks.entry(number).or_default().merge(known);
        }
    }

    /// Chunk `number` is gone.
    pub fn forget(&mut self, number: u64) {
        self.chunks.remove(&number);
        self.swept.take_if(|(swept, _)| *swept == number);
    }

    /// Chunks with records that expire.
    #[cfg(test)]
    fn chunk_count(&self) -> usize {
        self.chunks.len() + usize::from(self.swept.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_due_when_a_quarter_has_expired() {
        let mut expiring = ExpiringChunks::default();
        (1..=1000).for_each(|ms| expiring.note(7, 10_000 + ms));
        expiring.note(7, 0);
        let due_ms = expiring.due_ms(7);
        assert!((10_200..=10_300).contains(&due_ms), "{due_ms}");
        assert_eq!((expiring.due_ms(8), expiring.chunk_count()), (0, 1));
        assert_eq!(expiring.begin(due_ms - 1, Sweep::Worth), None);
        assert_eq!(expiring.begin(due_ms, Sweep::Worth), Some(7));
        assert_eq!(expiring.begin(u64::MAX, Sweep::All), None, "one at a time");
        assert_eq!(expiring.due_ms(7), 1, "a checkpoint must not take it for done");
        expiring.end(Some(Sample::default()));
        assert_eq!((expiring.due_ms(7), expiring.chunk_count()), (0, 0));
    }

    #[test]
    fn what_comes_while_a_chunk_is_looked_through_stays_known() {
        let mut expiring = ExpiringChunks::default();
        expiring.note(7, 100);
        assert_eq!(expiring.begin(100, Sweep::Worth), Some(7));
        expiring.note(7, 300);
        let mut left = Sample::default();
        left.note(200);
        expiring.end(Some(left));
        assert_eq!(expiring.due_ms(7), 200);
        assert_eq!(expiring.begin(200, Sweep::Worth), Some(7));
        expiring.end(None);
        assert_eq!(expiring.due_ms(7), 200, "given up, it is as due as before");
        assert_eq!(expiring.begin(200, Sweep::Worth), Some(7));
        expiring.forget(7);
        expiring.end(None);
        assert_eq!(expiring.chunk_count(), 0, "the chunk is gone");
    }

    #[test]
    fn what_a_checkpoint_said_counts_beside_what_is_new() {
        let mut expiring = ExpiringChunks::default();
        expiring.load(3, 500);
        expiring.load(4, 0);
        (0..8).for_each(|_| expiring.note(3, 9000));
        assert_eq!((expiring.due_ms(3), expiring.chunk_count()), (500, 1));
        expiring.note(5, 700);
        expiring.note(5, 900);
        assert_eq!(expiring.begin(700, Sweep::All), Some(3), "it has waited longest");
    }
}
