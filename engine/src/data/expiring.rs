//! [`ExpiringChunks`]: which chunks hold records that expire, and when it is worth to look through
//! them.
//!
//! Looking through a chunk costs the same however many records have expired in it. So it is done
//! when a quarter of those that expire has, or the first of them has long ago: of each chunk a
//! sample of their times is kept, and of a checkpoint that was loaded only when that moment is.
//! What was looked through has a new sample, of what is left. Records that were replaced meanwhile
//! are in the sample all the same: then there is less to find.

use std::collections::BTreeMap;

/// Times that a sample has at most.
const SAMPLE_COUNT_MAX: usize = 64;
/// A chunk is looked through when one in so many of its records that expire has expired,
const DUE_SHARE: usize = 4;
/// and at the latest so long after the first of them has.
const DUE_MS_MAX: u64 = 6 * 3_600_000;

/// When records of one chunk expire, in ms since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Some of them, each as likely as the others.
    times: Vec<u64>,
    /// How many there are.
    count: u64,
    /// The first of all; 0: there is none.
    first_ms: u64,
    /// What a checkpoint said of records before; 0: nothing.
    loaded_ms: u64,
    /// When it is worth to look; 0: never.
    due_ms: u64,
}

/// Part of what the one writer changes.
#[derive(Debug, Default)]
pub(crate) struct ExpiringChunks {
    chunks: BTreeMap<u64, Sample>,
    /// The chunk that is being looked through, and what was noted of it before.
    swept: Option<(u64, Sample)>,
}

/// The earlier of two times; 0 is none.
fn earlier(a: u64, b: u64) -> u64 {
    if a == 0 || b == 0 { a.max(b) } else { a.min(b) }
}

impl Sample {
    /// A record expires at `expires_ms`.
    pub fn note(&mut self, expires_ms: u64) {
        assert!(expires_ms > 0, "0 stands for never");
        self.count += 1;
        self.first_ms = earlier(self.first_ms, expires_ms);
        if self.times.len() < SAMPLE_COUNT_MAX {
            self.times.push(expires_ms);
        } else {
            // Vitter's algorithm R, with a number that depends on the count alone: runs repeat.
            let at = mixed(self.count) % self.count;
            match self.times.get_mut(at as usize) {
                Some(time) => *time = expires_ms,
                None => return self.renew_due_by_first(),
            }
        }
        self.renew_due();
    }

    fn renew_due(&mut self) {
        let mut times = self.times.clone();
        times.sort_unstable();
        self.due_ms = times.get(times.len() / DUE_SHARE).copied().unwrap_or(0);
        self.renew_due_by_first();
    }

    fn renew_due_by_first(&mut self) {
        let at_the_latest = match self.first_ms {
            0 => 0,
            first_ms => first_ms.saturating_add(DUE_MS_MAX),
        };
        self.due_ms = earlier(earlier(self.due_ms, at_the_latest), self.loaded_ms);
    }

    /// Whether something may have expired at `now_ms`.
    fn has_some(&self, now_ms: u64) -> bool {
        // What a checkpoint knows is only when it is worth to look.
        self.loaded_ms > 0 || (1..=now_ms).contains(&self.first_ms)
    }

    fn merge(&mut self, other: Self) {
        other.times.iter().for_each(|time| self.note(*time));
        self.first_ms = earlier(self.first_ms, other.first_ms);
        self.loaded_ms = earlier(self.loaded_ms, other.loaded_ms);
        self.renew_due();
    }
}

/// A number that looks random (the finalizer of SplitMix64).
fn mixed(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
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
            let sample = self.chunks.entry(number).or_default();
            sample.loaded_ms = due_ms;
            sample.renew_due();
        }
    }

    /// When it is worth to look through chunk `number`, for a checkpoint; 0: never.
    pub fn due_ms(&self, number: u64) -> u64 {
        if self.swept.as_ref().is_some_and(|(swept, _)| *swept == number) {
            // It is not known yet what is left.
            return 1;
        }
        self.chunks.get(&number).map_or(0, |sample| sample.due_ms)
    }

    /// Begins to look through the chunk that has waited longest at `now_ms`: its number. `None`:
    /// none is due, or another is looked through.
    pub fn begin(&mut self, now_ms: u64, sweep: Sweep) -> Option<u64> {
        if self.swept.is_some() {
            return None;
        }
        let is_due = |sample: &Sample| match sweep {
            Sweep::Worth => (1..=now_ms).contains(&sample.due_ms),
            Sweep::All => sample.has_some(now_ms),
        };
        let due = self.chunks.iter().filter(|(_, sample)| is_due(sample));
        let (_, number) = due.map(|(number, sample)| (sample.due_ms, *number)).min()?;
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

    /// Sessions that lie between records that live for long.
    #[test]
    fn neighbours_that_live_longer_do_not_hide_what_has_expired() {
        for share in [2, 3, 4, 10, 100] {
            let mut expiring = ExpiringChunks::default();
            let hour = 3_600_000;
            for number in 0..10_000 {
                expiring.note(1, if number % share == 0 { hour } else { 1000 * hour });
            }
            let due_ms = expiring.due_ms(1);
            assert!(
                due_ms == hour || (share > 3 && due_ms == hour + DUE_MS_MAX),
                "{share}: {due_ms}"
            );
            assert_eq!(expiring.begin(hour, Sweep::All), Some(1), "all that has expired is found");
        }
    }
}
