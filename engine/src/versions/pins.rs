//! LSNs at which readers look: versions that they may need stay reachable.
//!
//! A forked process has copies of its parent's pins, and may drop them. It takes no lock for that:
//! a thread of the parent may have held it in the moment of the fork, and nothing there needs
//! versions kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use uarr_uring::Owner;

use crate::sync::{Rank, Ranked, lock};
use crate::versions::visible::Visible;

/// LSNs at which iterators and snapshots read. Versions they may need stay reachable; of some, what
/// they find in the index stays where it is, too.
pub(crate) struct Pins(Arc<Pinning>);

/// What pins share.
struct Pinning {
    /// Only in this process pins keep anything.
    owner: Owner,
    readers: Ranked<BTreeMap<u64, Pinned>>,
}

/// Readers at one LSN.
struct Pinned {
    count: usize,
    /// How many of them need what they find in the index where it is.
    in_place_count: usize,
    /// When the first of them came, by the clock of the storage.
    since: Duration,
}

/// What a pin keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Each version up to the pinned LSN can be found, wherever it lies.
    Versions,
    /// All that the index names from now on also stays where it is.
    Places,
}

impl Pins {
    /// None yet, in the process that is `owner`.
    pub fn new(owner: Owner) -> Self {
        Self(Arc::new(Pinning { owner, readers: Ranked::new(Rank::Leaf, BTreeMap::new()) }))
    }

    /// Pins the LSN that `lsn` returns: the newest visible one, or a later one up to which all is
    /// applied. It is asked for where no pin can end or begin.
    pub fn pin(
        &self,
        keeps: Keeps,
        lsn: impl FnOnce() -> u64,
        now: impl FnOnce() -> Duration,
    ) -> LsnPin {
        let mut pins = lock(&self.0.readers);
        let lsn = lsn();
        let new = || Pinned { count: 0, in_place_count: 0, since: now() };
        let pinned = pins.entry(lsn).or_insert_with(new);
        pinned.count += 1;
        pinned.in_place_count += usize::from(keeps == Keeps::Places);
        LsnPin { pins: self.0.clone(), lsn, moment_ms: 0, keeps }
    }

    /// The lowest LSN that is pinned, and since when. Later ones are not lower.
    pub fn oldest_pinned(&self) -> Option<(u64, Duration)> {
        lock(&self.0.readers).first_key_value().map(|(lsn, pinned)| (*lsn, pinned.since))
    }

    /// The lowest LSN of the pins that keep places, too.
    pub fn oldest_in_place(&self) -> Option<u64> {
        let pins = lock(&self.0.readers);
        pins.iter().find(|(_, pinned)| pinned.in_place_count > 0).map(|(lsn, _)| *lsn)
    }

    /// All pinned LSNs, ascending.
    pub fn lsns(&self) -> Vec<u64> {
        lock(&self.0.readers).keys().copied().collect()
    }

    /// The LSN that every present and future reader can see up to.
    pub fn oldest(&self, visible: &Visible) -> u64 {
        let pins = lock(&self.0.readers);
        let visible_lsn = visible.lsn();
        // A pin may be ahead of what those see who come.
        pins.first_key_value().map_or(visible_lsn, |(lsn, _)| visible_lsn.min(*lsn))
    }
}

/// What a reader of many records has: an LSN that is pinned.
pub(crate) struct LsnPin {
    pins: Arc<Pinning>,
    pub lsn: u64,
    /// When it was set, in ms since 1970, for records that expire; 0: there was none.
    pub moment_ms: u64,
    keeps: Keeps,
}

impl Clone for LsnPin {
    /// Another reader at the same LSN.
    fn clone(&self) -> Self {
        let Self { lsn, moment_ms, keeps, .. } = *self;
        if self.pins.owner.is_here() {
            let mut readers = lock(&self.pins.readers);
            let pinned = readers.get_mut(&lsn).expect("it is pinned");
            pinned.count += 1;
            pinned.in_place_count += usize::from(keeps == Keeps::Places);
        }
        Self { pins: self.pins.clone(), lsn, moment_ms, keeps }
    }
}

impl Drop for LsnPin {
    fn drop(&mut self) {
        if !self.pins.owner.is_here() {
            return;
        }
        let mut readers = lock(&self.pins.readers);
        let pinned = readers.get_mut(&self.lsn).expect("it was pinned");
        assert!(pinned.count > 0, "a pin without readers is removed");
        pinned.count -= 1;
        pinned.in_place_count -= usize::from(self.keeps == Keeps::Places);
        if pinned.count == 0 {
            assert_eq!(pinned.in_place_count, 0, "each of them was counted");
            readers.remove(&self.lsn);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use uarr_disk_sim::refuse::in_fork;

    use super::*;

    #[test]
    fn a_pin_lasts_as_long_as_the_last_of_its_readers() {
        let (pins, visible) = (Pins::new(Owner::new()), Visible::new(5));
        let first = pins.pin(Keeps::Places, || visible.lsn(), || Duration::from_secs(1));
        visible.show(7);
        let second = first.clone();
        let newer = pins.pin(Keeps::Versions, || visible.lsn(), || Duration::from_secs(2));
        assert_eq!((second.lsn, pins.lsns()), (5, vec![5, 7]));
        drop(first);
        assert_eq!((pins.oldest(&visible), pins.oldest_in_place()), (5, Some(5)));
        drop(second);
        assert_eq!(
            (pins.oldest_pinned(), pins.oldest_in_place()),
            (Some((7, Duration::from_secs(2))), None)
        );
        drop(newer);
        assert_eq!((pins.oldest(&visible), pins.lsns()), (7, vec![]));
        let _ahead = pins.pin(Keeps::Versions, || 9, || Duration::from_secs(3));
        assert_eq!((pins.oldest(&visible), pins.lsns()), (7, vec![9]), "others see less");
    }

    /// Once, a range that a forked process dropped waited for ever: a thread of the parent, which
    /// the new process has not, held the lock.
    #[test]
    fn a_forked_process_ends_pins_without_the_lock() {
        let (pins, visible) = (Pins::new(Owner::new()), Visible::new(5));
        let mut pin = Some(pins.pin(Keeps::Places, || visible.lsn(), || Duration::ZERO));
        let (is_held, is_over) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let held = lock(&pins.0.readers);
                is_held.wait();
                is_over.wait();
                drop(held);
            });
            is_held.wait();
            let drop_both = || {
                let pin = pin.take().unwrap();
                drop(pin.clone());
                drop(pin);
            };
            assert!(in_fork(drop_both).unwrap());
            is_over.wait();
        });
        assert_eq!(pins.lsns(), [5], "the parent's is still there");
        drop(pin);
        assert_eq!(pins.lsns(), []);
    }
}
