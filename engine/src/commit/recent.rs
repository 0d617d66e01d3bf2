//! [`Recent`]: keys that were written while transactions are open, and [`ReadSet`]: what one of
//! them has read.
//!
//! A transaction reads as of one LSN and is staged at a later one. It may be staged if nothing
//! that it has read was written in between: then it is as if all of it had happened in the moment
//! of its staging, and the order of LSNs is an order in which all transactions could have run one
//! after the other.
//!
//! Invariants:
//! - While keys are kept, each frame with a key that is staged is noted, in the order of LSNs.
//! - What was staged behind `known_lsn` is all there. A transaction that reads as of an earlier LSN
//!   cannot be judged: it may not begin, or conflicts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering};

use uarr_layout::frame::Frame;

use crate::error::{Error, ErrorKind, Result};

/// Bytes of keys that are kept at most, with what each takes besides. A transaction that more was
/// written beside has to be tried again.
const BYTES_MAX: usize = 16 << 20;
const ENTRY_BYTES: usize = 32;
/// Keys that are kept when no transaction is open: the next one begins without waiting for what is
/// on its way.
const IDLE_COUNT_MAX: usize = 1 << 10;
/// Keys that are compared while the lock is held, about.
const LOOK_COUNT_MAX: usize = 256;

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
}

impl Recent {
    /// A transaction begins; it reads all that was staged up to `lsn` and not refused. So far LSNs
    /// up to `staged_lsn` were given out. An LSN: it may begin when it reads up to there, as it is
    /// not known what was written before.
    pub fn begin(&mut self, lsn: u64, staged_lsn: u64) -> std::result::Result<(), u64> {
        assert!(lsn <= staged_lsn, "what it reads was staged");
        if !self.is_kept {
            assert!(self.begun.is_empty(), "keys are kept as long as transactions are open");
            (self.is_kept, self.known_lsn) = (true, staged_lsn);
        }
        if lsn < self.known_lsn {
            return Err(self.known_lsn);
        }
        *self.begun.entry(lsn).or_default() += 1;
        Ok(())
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

    /// Forgets what no transaction asks for, and stops to keep keys when none was open for long.
    fn forget_needless(&mut self) {
        if let Some((oldest, _)) = self.begun.first_key_value() {
            let oldest = *oldest;
            while self.written.front().is_some_and(|written| written.lsn <= oldest) {
                self.forget_oldest();
            }
        } else if self.written.len() > IDLE_COUNT_MAX {
            *self = Self::default();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.written.pop_front() else { return };
        self.bytes -= oldest.key.len() + ENTRY_BYTES;
        self.known_lsn = oldest.lsn;
    }

    /// Compares some more of what was written with what `reads` has, if there is much; says
    /// whether more is left than [`Recent::check`] should look at.
    pub fn check_some(&self, reads: &mut ReadSet) -> Result<bool> {
        if reads.is_empty() {
            return Ok(false);
        }
        let start = self.unchecked(reads)?;
        let end = self.written.len().min(start + LOOK_COUNT_MAX);
        if end == self.written.len() {
            return Ok(false);
        }
        reads.compare(self.written.range(start..end))?;
        reads.checked_lsn = self.written[end - 1].lsn;
        Ok(true)
    }

    /// Refuses a transaction that has read something that was written since.
    pub fn check(&self, reads: &ReadSet) -> Result<()> {
        if reads.is_empty() {
            return Ok(());
        }
        let start = self.unchecked(reads)?;
        reads.compare(self.written.range(start..))
    }

    /// Where that begins which was not compared with what `reads` has.
    fn unchecked(&self, reads: &ReadSet) -> Result<usize> {
        assert!(self.is_kept, "keys are kept as long as transactions are open");
        if reads.checked_lsn < self.known_lsn {
            let message = "so much was written beside the transaction that it is not known whether \
                           something it has read was; nothing of it was written, run it again";
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        Ok(self.written.partition_point(|written| written.lsn <= reads.checked_lsn))
    }
}

type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// What a transaction has read: keys, whether they were there or not, and ranges as they were asked
/// for, with all that is not there.
pub(crate) struct ReadSet {
    /// Nothing of it was written from when the transaction began up to here.
    checked_lsn: u64,
    keys: BTreeSet<Box<[u8]>>,
    ranges: Vec<Bounds>,
    /// LSN of the write that something of it conflicts with; 0: none.
    conflict_lsn: AtomicU64,
}

impl ReadSet {
    /// Nothing yet, of a transaction that has begun with `lsn`.
    pub fn new(lsn: u64) -> Self {
        let conflict_lsn = AtomicU64::new(0);
        Self { checked_lsn: lsn, keys: BTreeSet::new(), ranges: Vec::new(), conflict_lsn }
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

    /// Notes that all keys between `low` and `high` were read.
    pub fn note_range(&mut self, low: &Bound<Vec<u8>>, high: &Bound<Vec<u8>>) {
        if !self.ranges.iter().any(|(known_low, known_high)| known_low == low && known_high == high)
        {
            self.ranges.push((low.clone(), high.clone()));
        }
    }

    /// Whether nothing was read.
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty()
    }

    fn has(&self, key: &[u8]) -> bool {
        let is_in = |(low, high): &Bounds| {
            (low.as_ref().map(Vec::as_slice), high.as_ref().map(Vec::as_slice)).contains(key)
        };
        self.keys.contains(key) || self.ranges.iter().any(is_in)
    }

    fn compare<'w>(&self, mut written: impl Iterator<Item = &'w Written>) -> Result<()> {
        let Some(conflict) = written.find(|written| self.has(&written.key)) else { return Ok(()) };
        self.conflict_lsn.store(conflict.lsn, Ordering::Relaxed);
        Err(Error::new(ErrorKind::Conflict, CONFLICT))
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
        let mut reads = ReadSet::new(lsn);
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
        let mut range = ReadSet::new(2);
        range.note_range(&Bound::Excluded(b"b".to_vec()), &Bound::Unbounded);
        assert!(recent.check(&range).is_ok());
        write(&mut recent, 4, b"c");
        assert!(is_conflict(recent.check(&range)));
        assert!(recent.check(&ReadSet::new(0)).is_ok(), "who reads nothing conflicts with nothing");
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
        let mut own = reads(0, &[b"other"]);
        let mut count = 0;
        while recent.check_some(&mut own).unwrap() {
            count += 1;
        }
        assert_eq!((count, own.checked_lsn), (3, 768));
        let mut late = reads(0, &[&999_u64.to_be_bytes()]);
        while recent.check_some(&mut late).unwrap() {}
        assert!(is_conflict(recent.check(&late)));
        let mut early = reads(0, &[&300_u64.to_be_bytes()]);
        assert!(recent.check_some(&mut early).unwrap());
        assert!(is_conflict(recent.check_some(&mut early)));
    }
}
