//! Deletions whose index entry is still there.
//!
//! A deleted key keeps pointing to its tombstone until no reader can need the version before it.
//!
//! Invariants:
//! - there is one entry for each key of the index that points to a tombstone, and none for others:
//!   what is kept is bounded by keys, however often they are deleted and written again;
//! - the one with the lowest LSN can be forgotten first;
//! - one call forgets a bounded number of them, in proportion to what was deleted since the last
//!   one: no writer pays for all that a long-lived reader has held up.

use std::collections::BTreeMap;

use uarr_layout::record::Locator;

/// As many may be forgotten at once although nothing was deleted.
const FORGET_COUNT_MIN: usize = 16;

/// What became of the index entry of a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexEntry {
    Removed,
    /// The tombstone is damaged: a get of its key finds that.
    Stuck,
}

/// The tombstones that keys of the index point to, with their LSNs.
#[derive(Default)]
pub(crate) struct Tombstones {
    indexed: BTreeMap<Locator, u64>,
    /// The same, by LSN.
    by_lsn: BTreeMap<u64, Locator>,
    /// How many this has stopped to follow although their keys still point to them.
    stuck_count: usize,
    /// How many were noted since some were last forgotten.
    noted_count: usize,
}

impl Tombstones {
    /// Notes that the index entry of a key changed from `previous` to `locator`, the record with
    /// `lsn`.
    pub fn note(&mut self, lsn: u64, previous: Option<Locator>, locator: Locator) {
        if let Some(previous) = previous.filter(|previous| previous.is_tombstone()) {
            self.forget(previous);
        }
        if locator.is_tombstone() {
            let last = self.by_lsn.last_key_value();
            assert!(last.is_none_or(|(last, _)| *last < lsn), "the newest comes last");
            self.enter(lsn, locator);
        }
    }

    /// A key of the index points to the tombstone at `locator`, which has `lsn`.
    pub fn enter(&mut self, lsn: u64, locator: Locator) {
        assert!(locator.is_tombstone());
        // A log of other bytes may name a record twice, but no LSN.
        self.indexed.insert(locator, lsn);
        assert!(self.by_lsn.insert(lsn, locator).is_none(), "LSNs are used once");
        self.noted_count += 1;
    }

    /// The tombstone at `from` was moved to `to`.
    pub fn note_moved(&mut self, from: Locator, to: Locator) {
        match self.indexed.remove(&from) {
            Some(lsn) => {
                assert!(self.by_lsn.insert(lsn, to) == Some(from), "each is in both");
                self.indexed.insert(to, lsn);
            }
            None => assert!(self.stuck_count > 0, "a tombstone of the index was noted"),
        }
    }

    /// No key of the index points to the tombstone at `locator` any more.
    pub fn forget(&mut self, locator: Locator) {
        match self.indexed.remove(&locator) {
            Some(lsn) => assert!(self.by_lsn.remove(&lsn).is_some(), "each is in both"),
            None => {
                assert!(self.stuck_count > 0, "a tombstone of the index was noted");
                self.stuck_count -= 1;
            }
        }
    }

    /// How many may be forgotten now: more than were noted since this was last asked, so that none
    /// pile up.
    pub fn forget_count(&mut self) -> usize {
        FORGET_COUNT_MIN + 2 * std::mem::take(&mut self.noted_count)
    }

    /// Has what was noted so far forgotten piece by piece, as if a reader had held it up: no writer
    /// of this session has deleted it.
    pub fn leave_as_backlog(&mut self) {
        self.noted_count = 0;
    }

    /// The oldest tombstone, if its LSN is at most `bound`.
    pub fn oldest(&self, bound: u64) -> Option<Locator> {
        self.by_lsn.first_key_value().filter(|(lsn, _)| **lsn <= bound).map(|(_, oldest)| *oldest)
    }

    /// Drops the oldest one.
    pub fn drop_oldest(&mut self, entry: IndexEntry) {
        let oldest = self.by_lsn.pop_first().and_then(|(_, oldest)| self.indexed.remove(&oldest));
        assert!(oldest.is_some(), "only what is there is dropped");
        self.stuck_count += usize::from(entry == IndexEntry::Stuck);
    }

    /// Keys of the index that are deleted.
    pub fn indexed_count(&self) -> usize {
        self.indexed.len() + self.stuck_count
    }
}

#[cfg(test)]
mod tests {
    use uarr_layout::record::RecordKind;

    use super::*;

    fn value(address: u64) -> Locator {
        Locator::new(address, 64, RecordKind::Value)
    }

    fn tombstone(address: u64) -> Locator {
        Locator::new(address, 64, RecordKind::Tombstone)
    }

    #[test]
    fn keys_deleted_twice_count_once() {
        let mut tombstones = Tombstones::default();
        let (put, first, second) = (value(64), tombstone(128), tombstone(192));
        tombstones.note(1, None, put);
        tombstones.note(2, Some(put), first);
        assert_eq!(tombstones.oldest(1), None);
        assert_eq!(tombstones.oldest(2), Some(first));
        tombstones.note(3, Some(first), second);
        assert_eq!(tombstones.indexed_count(), 1);
        assert_eq!(tombstones.oldest(2), None);
        assert_eq!(tombstones.oldest(3), Some(second));
        tombstones.drop_oldest(IndexEntry::Removed);
        assert_eq!(tombstones.indexed_count(), 0);
    }

    /// Keys that were deleted and written again left an entry behind at each round, which nothing
    /// took out.
    #[test]
    fn what_is_kept_is_bounded_by_keys() {
        let mut tombstones = Tombstones::default();
        let mut newest = [None; 3];
        for round in 0..30_000_u64 {
            let previous = &mut newest[(round % 3) as usize];
            let address = (round + 1) * 64;
            let locator = if round % 5 == 0 { value(address) } else { tombstone(address) };
            tombstones.note(round + 1, *previous, locator);
            *previous = Some(locator);
            let deleted = newest.iter().flatten().filter(|locator| locator.is_tombstone());
            assert_eq!(tombstones.indexed_count(), deleted.count());
        }
    }

    #[test]
    fn a_backlog_is_forgotten_piece_by_piece_and_shrinks() {
        let mut tombstones = Tombstones::default();
        let mut address = 0;
        let mut delete = |tombstones: &mut Tombstones, count: u64| {
            for _ in 0..count {
                address += 64;
                tombstones.note(address, None, tombstone(address));
            }
        };
        delete(&mut tombstones, 10_000);
        tombstones.forget_count();
        let mut left = tombstones.indexed_count();
        for count in [0, 1, 100] {
            delete(&mut tombstones, count);
            let forgotten = tombstones.forget_count();
            assert!(forgotten <= FORGET_COUNT_MIN + 2 * count as usize);
            (0..forgotten).for_each(|_| tombstones.drop_oldest(IndexEntry::Removed));
            assert!(tombstones.indexed_count() < left);
            left = tombstones.indexed_count();
        }
    }
}
