//! Deletions whose index entry is still there.
//!
//! A deleted key keeps pointing to its tombstone until no reader can need the version before it. The queue is
//! in LSN order, so what can be forgotten is always at its front.

use std::collections::VecDeque;

use uarr_layout::record::Locator;

/// Tombstones in LSN order, and how many keys of the index point to one.
#[derive(Default)]
pub(crate) struct Tombstones {
    queue: VecDeque<(u64, Locator)>,
    indexed_count: usize,
}

impl Tombstones {
    /// Notes that the index entry of a key changed from `previous` to `locator`, the record with `lsn`.
    pub fn note(&mut self, lsn: u64, previous: Option<Locator>, locator: Locator) {
        if previous.is_some_and(Locator::is_tombstone) {
            self.indexed_count -= 1;
        }
        if locator.is_tombstone() {
            self.indexed_count += 1;
            self.queue.push_back((lsn, locator));
        }
    }

    /// The oldest tombstone, if its LSN is at most `bound`.
    pub fn oldest(&self, bound: u64) -> Option<Locator> {
        self.queue.front().filter(|(lsn, _)| *lsn <= bound).map(|(_, locator)| *locator)
    }

    /// Drops the oldest one. `was_indexed`: its key pointed to it until now.
    pub fn drop_oldest(&mut self, was_indexed: bool) {
        self.queue.pop_front();
        self.indexed_count -= usize::from(was_indexed);
    }

    /// Keys of the index that are deleted.
    pub fn indexed_count(&self) -> usize {
        self.indexed_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_deleted_twice_count_once() {
        let mut tombstones = Tombstones::default();
        let put = Locator::new(64, 64, false);
        let (first, second) = (Locator::new(128, 64, true), Locator::new(192, 64, true));
        tombstones.note(1, None, put);
        tombstones.note(2, Some(put), first);
        tombstones.note(3, Some(first), second);
        assert_eq!(tombstones.indexed_count(), 1);
        assert_eq!(tombstones.oldest(1), None);
        assert_eq!(tombstones.oldest(2), Some(first));
        tombstones.drop_oldest(false);
        assert_eq!(tombstones.indexed_count(), 1);
        assert_eq!(tombstones.oldest(3), Some(second));
        tombstones.drop_oldest(true);
        assert_eq!(tombstones.indexed_count(), 0);
    }
}
