//! [`Recent`]: keys that were written while transactions are open, and [`ReadSet`]: what one of
//! them has read.
//!
//! A transaction reads as of one LSN and is staged at a later one. It may be staged if nothing
//! that it has read was written in between: then it is as if all of it had happened in the moment
//! of its staging, and the order of LSNs is an order in which all transactions could have run one
//! after the other. A record that it has read and that has expired by then is as one that was
//! deleted in between.
//!
//! Invariants:
//! - While keys are kept, each frame with a key that is staged is noted, in the order of LSNs.
//! - What was staged behind `known_lsn` is all there. A transaction that reads as of an earlier LSN
//!   cannot be judged: it may not begin, or conflicts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Bound, RangeInclusive};
use std::sync::atomic::{AtomicU64, Ordering};

use uarr_layout::frame::Frame;

use crate::error::{Error, ErrorKind, Result};
use crate::table_prefix::TablePrefix;

/// Bytes of keys that are kept at most, with what each takes besides. A transaction that more was
/// written beside has to be tried again.
const BYTES_MAX: usize = 16 << 20;
const ENTRY_BYTES: usize = 32;
/// Keys that are kept when no transaction is open: the next one begins without waiting for what is
/// on its way.
const IDLE_COUNT_MAX: usize = 1 << 10;
/// Keys that are compared while the lock is held, about.
const LOOK_COUNT_MAX: usize = 256;

const EXPIRED: &str = "a record that the transaction has read has expired since; nothing of it was \
                       written, run it again";
const CONFLICT: &str = "something that the transaction has read was written since; nothing of it \
                        was written, run it again";

/// A key that was written.
struct Written {
    lsn: u64,
    key: Box<[u8]>,
}

/// See [`self`]. Part of what the staging lock protects.
#[derive(Default)]
pub(crate) struct Recent {
    /// Whether keys are kept.
    is_kept: bool,
    known_lsn: u64,
    written: VecDeque<Written>,
    bytes: usize,
    /// LSNs that open transactions have begun with, and how many have.
    begun: BTreeMap<u64, usize>,
    /// How many wait for what is on its way, to begin then.
    waiting_count: usize,
}

impl Recent {
    /// A transaction begins; it reads all that was staged up to `lsn` and not refused. So far LSNs
    /// up to `staged_lsn` were given out. An LSN: it may begin when it reads up to there, as it is
    /// not known what was written before.
    pub fn begin(&mut self, lsn: u64, staged_lsn: u64) -> std::result::Result<(), u64> {
        assert!(lsn <= staged_lsn, "what it reads was staged");
        if !self.is_kept {
            let is_idle = self.begun.is_empty() && self.waiting_count == 0;
            assert!(is_idle, "keys are kept as long as transactions are open, or are to be");
            (self.is_kept, self.known_lsn) = (true, staged_lsn);
        }
        if lsn < self.known_lsn {
            return Err(self.known_lsn);
        }
        *self.begun.entry(lsn).or_default() += 1;
        Ok(())
    }

    /// A transaction waits to begin: keys are kept until [`Recent::end_wait`], so it does not find
    /// again that it has to wait.
    pub fn begin_wait(&mut self) {
        assert!(self.is_kept, "who waits has begun to keep keys");
        self.waiting_count += 1;
    }

    /// One that has waited has begun, or does not want to any more.
    pub fn end_wait(&mut self) {
        assert!(self.waiting_count > 0, "who waits was counted");
        self.waiting_count -= 1;
        self.forget_needless();
    }

    /// A transaction that has begun with `lsn` has ended.
    pub fn end(&mut self, lsn: u64) {
        let count = self.begun.get_mut(&lsn).expect("it has begun");
        *count -= 1;
        if *count == 0 {
            self.begun.remove(&lsn);
        }
        self.forget_needless();
    }

    /// Notes the keys of `frames`, which were staged now.
    #[inline]
    pub fn note(&mut self, frames: &[Frame<'_>]) {
        if self.is_kept {
            self.keep(frames);
        }
    }

    #[inline(never)]
    fn keep(&mut self, frames: &[Frame<'_>]) {
        for frame in frames {
            let lsn = frame.header.lsn.get();
            let newest = self.written.back().map_or(self.known_lsn, |written| written.lsn);
            assert!(newest < lsn, "keys are noted in the order of their LSNs");
            self.bytes += frame.key.len() + ENTRY_BYTES;
            self.written.push_back(Written { lsn, key: frame.key.into() });
        }
        while self.bytes > BYTES_MAX {
            self.forget_oldest();
        }
        self.forget_needless();
    }

    /// Forgets what no transaction asks for, and stops keeping keys when none was open for long.
    fn forget_needless(&mut self) {
        if let Some((oldest, _)) = self.begun.first_key_value() {
            let oldest = *oldest;
            while self.written.front().is_some_and(|written| written.lsn <= oldest) {
                self.forget_oldest();
            }
        } else if self.waiting_count == 0 && self.written.len() > IDLE_COUNT_MAX {
            *self = Self::default();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.written.pop_front() else { return };
        assert!(self.known_lsn < oldest.lsn, "what is forgotten was known");
        self.bytes -= oldest.key.len() + ENTRY_BYTES;
        self.known_lsn = oldest.lsn;
    }

    /// Compares some more of what was written with what `reads` has, if there is much; says
    /// whether more is left than [`Recent::check`] should look at.
    pub fn check_some(&self, reads: &ReadSet) -> Result<bool> {
        let count = self.check_up_to(reads, LOOK_COUNT_MAX)?;
        Ok(count > LOOK_COUNT_MAX)
    }

    /// Refuses a transaction that has read something that was written since.
    pub fn check(&self, reads: &ReadSet) -> Result<()> {
        self.check_up_to(reads, usize::MAX).map(drop)
    }

    /// Compares up to `count_max` of the keys that were not compared yet; how many these were.
    fn check_up_to(&self, reads: &ReadSet, count_max: usize) -> Result<usize> {
        if reads.is_empty() {
            return Ok(0);
        }
        assert!(self.is_kept, "keys are kept as long as transactions are open");
        let checked_lsn = reads.checked_lsn.load(Ordering::Relaxed);
        if checked_lsn < self.known_lsn {
            let message = "so much was written beside the transaction that it is not known whether \
                           something it has read was; nothing of it was written, run it again";
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let start = self.written.partition_point(|written| written.lsn <= checked_lsn);
        let count = self.written.len() - start;
        for written in self.written.iter().skip(start).take(count_max) {
            if reads.has(&written.key) {
                reads.conflict_lsn.store(written.lsn, Ordering::Relaxed);
                return Err(Error::new(ErrorKind::Conflict, CONFLICT));
            }
            reads.checked_lsn.store(written.lsn, Ordering::Relaxed);
        }
        Ok(count)
    }
}

/// What a transaction has read: keys, whether they were there or not, and ranges as they were asked
/// for, with all that is not there.
pub(crate) struct ReadSet {
    /// Nothing of it was written from when the transaction began up to here.
    checked_lsn: AtomicU64,
    /// LSNs that the transaction has read and that were staged when it began.
    staged: Option<RangeInclusive<u64>>,
    keys: BTreeSet<Box<[u8]>>,
    /// By table: stored keys of one may lie between those of another.
    ranges: BTreeMap<Option<TablePrefix>, RangesRead>,
    /// When the first of the records that were read expires, in ms since 1970; 0: none does.
    expires_ms: u64,
    /// LSN of the write that something of it conflicts with; 0: none.
    conflict_lsn: AtomicU64,
}

/// Ranges of the keys of one table: where each begins, and the first key behind it, if there is
/// one. None touches another.
#[derive(Debug, Default)]
struct RangesRead(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

/// The first key behind `key`.
fn next_key(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

impl ReadSet {
    /// Nothing yet, of a transaction that has begun with `lsn`, when all from `staged_from` on was
    /// staged only, if there is one.
    pub fn new(lsn: u64, staged_from: Option<u64>) -> Self {
        assert!(staged_from.is_none_or(|from| from <= lsn), "it reads what is staged");
        let [checked_lsn, conflict_lsn] = [lsn, 0].map(AtomicU64::new);
        let staged = staged_from.map(|from| from..=lsn);
        let (keys, ranges) = (BTreeSet::new(), BTreeMap::new());
        Self { checked_lsn, staged, keys, ranges, expires_ms: 0, conflict_lsn }
    }

    /// LSNs that the transaction may have read and that were staged only when it began.
    pub fn staged(&self) -> Option<&RangeInclusive<u64>> {
        self.staged.as_ref()
    }

    /// The write that was found to conflict: a transaction that reads it may run.
    pub fn conflict_lsn(&self) -> u64 {
        self.conflict_lsn.load(Ordering::Relaxed)
    }

    /// Notes that `key` was read.
    pub fn note_key(&mut self, key: &[u8]) {
        if !self.keys.contains(key) {
            self.keys.insert(key.into());
        }
    }

    /// Notes that a record was read that expires at `expires_ms`, in ms since 1970; 0: it never
    /// does.
    pub fn note_expiry(&mut self, expires_ms: u64) {
        let first = [self.expires_ms, expires_ms].into_iter().filter(|ms| *ms > 0).min();
        self.expires_ms = first.unwrap_or(0);
    }

    /// Refuses a transaction that has read what, as `has_passed` says of its time, has expired.
    pub fn check_expiry(&self, has_passed: impl FnOnce(u64) -> bool) -> Result<()> {
        match has_passed(self.expires_ms) {
            true => Err(Error::new(ErrorKind::Conflict, EXPIRED)),
            false => Ok(()),
        }
    }

    /// Notes that all keys between `low` and `high` of the table with `prefix` were read.
    pub fn note_range(
        &mut self,
        prefix: Option<TablePrefix>,
        low: &Bound<Vec<u8>>,
        high: &Bound<Vec<u8>>,
    ) {
        self.ranges.entry(prefix).or_default().note(low, high);
    }

    /// Whether nothing was read.
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty()
    }

    fn has(&self, key: &[u8]) -> bool {
        let of_table = || self.ranges.get(&TablePrefix::of(key));
        self.keys.contains(key) || of_table().is_some_and(|ranges| ranges.has(key))
    }
}

impl RangesRead {
    fn note(&mut self, low: &Bound<Vec<u8>>, high: &Bound<Vec<u8>>) {
        let mut start = match low {
            Bound::Unbounded => Vec::new(),
            Bound::Included(key) => key.clone(),
            Bound::Excluded(key) => next_key(key),
        };
        let mut end = match high {
            Bound::Unbounded => None,
            Bound::Included(key) => Some(next_key(key)),
            Bound::Excluded(key) => Some(key.clone()),
        };
        if end.as_ref().is_some_and(|end| *end <= start) {
            return;
        }
        // All that it touches becomes one with it.
        while let Some((known_start, known_end)) = self.last_up_to(end.as_deref()) {
            if known_end.is_some_and(|known_end| known_end < start.as_slice()) {
                break;
            }
            end = end.filter(|_| known_end.is_some());
            if let (Some(end), Some(known_end)) = (&mut end, known_end)
                && end.as_slice() < known_end
            {
                *end = known_end.to_vec();
            }
            let known_start = known_start.to_vec();
            self.0.remove(&known_start);
            start = start.min(known_start);
        }
        self.0.insert(start, end);
    }

    /// The last range that begins at or before `end`; the last of all without one.
    fn last_up_to(&self, end: Option<&[u8]>) -> Option<(&[u8], Option<&[u8]>)> {
        let last = match end {
            Some(end) => self.0.range::<[u8], _>((Bound::Unbounded, Bound::Included(end))),
            None => self.0.range::<[u8], _>(..),
        }
        .next_back();
        last.map(|(start, end)| (start.as_slice(), end.as_deref()))
    }

    fn has(&self, key: &[u8]) -> bool {
        let is_before_end = |(_, end): (&[u8], Option<&[u8]>)| end.is_none_or(|end| key < end);
        self.last_up_to(Some(key)).is_some_and(is_before_end)
    }
}

#[cfg(test)]
mod tests {
    use uarr_layout::frame::FrameKind;

    use super::*;

    fn write(recent: &mut Recent, lsn: u64, key: &[u8]) {
        let mut frame = Frame::new(FrameKind::Put, 0, key, b"");
        frame.header.lsn = lsn.into();
        recent.note(&[frame]);
    }

    fn reads(lsn: u64, keys: &[&[u8]]) -> ReadSet {
        let mut reads = ReadSet::new(lsn, None);
        keys.iter().for_each(|key| reads.note_key(key));
        reads
    }

    fn is_conflict<T>(result: Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == ErrorKind::Conflict)
    }

    #[test]
    fn what_was_written_since_is_compared_and_nothing_else() {
        let mut recent = Recent::default();
        write(&mut recent, 1, b"a");
        assert_eq!(recent.begin(1, 2), Err(2), "what has LSN 2 was not noted");
        assert_eq!(recent.begin(2, 2), Ok(()));
        write(&mut recent, 3, b"b");
        assert!(recent.check(&reads(2, &[b"a", b"c"])).is_ok());
        let refused = reads(2, &[b"a", b"b"]);
        assert!(is_conflict(recent.check(&refused)));
        assert_eq!(refused.conflict_lsn(), 3);
        assert!(recent.check(&reads(3, &[b"b"])).is_ok(), "it has read that");
        let mut range = ReadSet::new(2, None);
        range.note_range(None, &Bound::Excluded(b"b".to_vec()), &Bound::Unbounded);
        assert!(recent.check(&range).is_ok());
        write(&mut recent, 4, b"c");
        assert!(is_conflict(recent.check(&range)));
        let none = ReadSet::new(0, None);
        assert!(recent.check(&none).is_ok(), "who reads nothing conflicts with nothing");
    }

    #[test]
    fn keys_are_kept_as_long_as_somebody_may_ask_for_them() {
        let mut recent = Recent::default();
        recent.begin(10, 10).unwrap();
        for lsn in 11..=2000 {
            write(&mut recent, lsn, b"key");
        }
        recent.begin(1500, 2000).unwrap();
        recent.end(10);
        assert_eq!(recent.written.len(), 500);
        assert!(is_conflict(recent.check(&reads(10, &[b"other"]))), "it has ended");
        recent.end(1500);
        assert!(recent.is_kept, "the next one begins without waiting");
        for lsn in 2001..=3000 {
            write(&mut recent, lsn, b"key");
        }
        assert!(!recent.is_kept && recent.written.is_empty() && recent.bytes == 0);
    }

    #[test]
    fn what_is_much_is_compared_in_parts() {
        let mut recent = Recent::default();
        recent.begin(0, 0).unwrap();
        for lsn in 1..=1000 {
            write(&mut recent, lsn, &lsn.to_be_bytes());
        }
        let own = reads(0, &[b"other"]);
        let mut count = 0;
        while recent.check_some(&own).unwrap() {
            count += 1;
        }
        assert_eq!((count, own.checked_lsn.into_inner()), (3, 1000));
        let late = reads(0, &[&999_u64.to_be_bytes()]);
        for _ in 0..3 {
            assert!(recent.check_some(&late).unwrap());
        }
        assert!(is_conflict(recent.check(&late)));
        let early = reads(0, &[&300_u64.to_be_bytes()]);
        assert!(recent.check_some(&early).unwrap());
        assert!(is_conflict(recent.check_some(&early)));
    }

    #[test]
    fn who_waits_to_begin_does_not_find_again_that_it_has_to() {
        let mut recent = Recent::default();
        assert_eq!(recent.begin(0, 1), Err(1));
        recent.begin_wait();
        for lsn in 2..=5000 {
            write(&mut recent, lsn, b"key");
        }
        assert_eq!(recent.begin(1, 5000), Ok(()));
        recent.end_wait();
        assert!(is_conflict(recent.check(&reads(1, &[b"key"]))));
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let bound = |key: u8, is_in: bool| match is_in {
            true => Bound::Included(vec![key]),
            false => Bound::Excluded(vec![key]),
        };
        let mut state = 7_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for _ in 0..2000 {
            let (mut reads, mut model) = (ReadSet::new(0, None), [false; 40]);
            for _ in 0..random(12) {
                let [low, high] = [(); 2].map(|()| (random(40) as u8, random(2) == 0));
                let [low_open, high_open] = [(); 2].map(|()| random(15) == 0);
                let low_bound = if low_open { Bound::Unbounded } else { bound(low.0, low.1) };
                let high_bound = if high_open { Bound::Unbounded } else { bound(high.0, high.1) };
                reads.note_range(None, &low_bound, &high_bound);
                for (key, is_read) in (0..).zip(&mut model) {
                    *is_read |= (low_open || key > low.0 || key == low.0 && low.1)
                        && (high_open || key < high.0 || key == high.0 && high.1);
                }
            }
            for (key, is_read) in (0..).zip(model) {
                assert_eq!(reads.has(&[key]), is_read, "{key} of {:?}", reads.ranges);
            }
            let ranges: Vec<_> = reads.ranges.values().flat_map(|ranges| &ranges.0).collect();
            let is_apart = |pair: &[(&Vec<u8>, &Option<Vec<u8>>)]| {
                pair[0].1.as_ref().is_some_and(|end| end < pair[1].0)
            };
            assert!(ranges.windows(2).all(is_apart), "{ranges:?}");
        }
    }
}
