//! [`StagedCounters`]: counters whose newest value is staged and not applied. The next change
//! builds upon it without waiting: many of one counter go into one group.

use std::collections::BTreeMap;

/// So many are kept before it is looked for those that were applied.
const KEPT_COUNT_MIN: usize = 64;

/// The value that a counter had when it was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StagedCounter {
    /// LSN of its record.
    pub lsn: u64,
    pub value: i64,
    /// When it expires, in ms since 1970; 0: never.
    pub expires_ms: u64,
}

/// Part of what the staging lock protects.
#[derive(Default)]
pub(crate) struct StagedCounters {
    by_key: BTreeMap<Box<[u8]>, StagedCounter>,
    /// When there are so many, it is looked for those that were applied.
    kept_count_max: usize,
}

impl StagedCounters {
    /// The counter of `key`, if that is what was staged last for it: the last record of a key of
    /// its slot has `lsn`.
    pub fn last_staged(&self, key: &[u8], lsn: u64) -> Option<StagedCounter> {
        self.by_key.get(key).copied().filter(|counter| counter.lsn == lsn)
    }

    /// Something that was staged has failed: of no counter it is known any more what came last.
    pub fn clear(&mut self) {
        self.by_key.clear();
    }

    /// Notes what was staged. Records up to `applied_lsn` are found elsewhere.
    pub fn note(&mut self, key: &[u8], counter: StagedCounter, applied_lsn: u64) {
        assert!(applied_lsn < counter.lsn, "it was staged just now");
        match self.by_key.get_mut(key) {
            Some(known) => {
                assert!(known.lsn < counter.lsn, "records are staged in the order of their LSNs");
                *known = counter;
            }
            None => _ = self.by_key.insert(key.into(), counter),
        }
        if self.by_key.len() > self.kept_count_max {
            self.by_key.retain(|_, counter| counter.lsn > applied_lsn);
            self.kept_count_max = KEPT_COUNT_MIN.max(self.by_key.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(lsn: u64, value: i64) -> StagedCounter {
        StagedCounter { lsn, value, expires_ms: 0 }
    }

    #[test]
    fn only_the_last_record_of_a_slot_says_what_its_counter_is() {
        let mut counters = StagedCounters::default();
        counters.note(b"a", counter(5, 1), 4);
        counters.note(b"a", counter(6, 2), 4);
        assert_eq!(counters.last_staged(b"a", 6), Some(counter(6, 2)));
        assert_eq!(counters.last_staged(b"a", 7), None, "another record came behind it");
        assert_eq!(counters.last_staged(b"b", 6), None);
    }

    #[test]
    fn counters_that_were_applied_are_forgotten() {
        let mut counters = StagedCounters::default();
        for lsn in 1..10_000u64 {
            let applied_lsn = lsn.saturating_sub(10);
            counters.note(&lsn.to_be_bytes(), counter(lsn, 0), applied_lsn);
        }
        assert!(counters.by_key.len() <= KEPT_COUNT_MIN);
        assert!(counters.last_staged(&9_999u64.to_be_bytes(), 9_999).is_some());
    }
}
