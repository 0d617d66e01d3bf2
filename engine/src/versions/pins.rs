//! LSNs at which readers look: versions that they may need stay reachable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::{Rank, Ranked, lock};
use crate::versions::visible::Visible;

/// LSNs at which iterators and snapshots read. Versions they may need stay reachable; of some, what
/// they find in the index stays where it is, too.
pub(crate) struct Pins(Arc<Ranked<BTreeMap<u64, Pinned>>>);

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
    /// Each version that was visible can be found, wherever it lies.
    Versions,
    /// All that the index names from now on also stays where it is.
    Places,
}

impl Default for Pins {
    fn default() -> Self {
        Self(Arc::new(Ranked::new(Rank::Leaf, BTreeMap::new())))
    }
}

impl Pins {
    /// Pins the newest visible LSN.
    pub fn pin(&self, keeps: Keeps, visible: &Visible, now: impl FnOnce() -> Duration) -> LsnPin {
        let mut pins = lock(&self.0);
        let lsn = visible.lsn();
        let new = || Pinned { count: 0, in_place_count: 0, since: now() };
        let pinned = pins.entry(lsn).or_insert_with(new);
        pinned.count += 1;
        pinned.in_place_count += usize::from(keeps == Keeps::Places);
        LsnPin { pins: self.0.clone(), lsn, moment_ms: 0, keeps, is_left: false }
    }

    /// The lowest LSN that is pinned, and since when. Later ones are not lower.
    pub fn oldest_pinned(&self) -> Option<(u64, Duration)> {
        lock(&self.0).first_key_value().map(|(lsn, pinned)| (*lsn, pinned.since))
    }

    /// The lowest LSN of the pins that keep places, too.
    pub fn oldest_in_place(&self) -> Option<u64> {
        let pins = lock(&self.0);
        pins.iter().find(|(_, pinned)| pinned.in_place_count > 0).map(|(lsn, _)| *lsn)
    }

    /// All pinned LSNs, ascending.
    pub fn lsns(&self) -> Vec<u64> {
        lock(&self.0).keys().copied().collect()
    }

    /// The LSN that every present and future reader can see up to.
    pub fn oldest(&self, visible: &Visible) -> u64 {
        let pins = lock(&self.0);
        let visible_lsn = visible.lsn();
        let oldest = pins.first_key_value().map_or(visible_lsn, |(lsn, _)| *lsn);
        assert!(oldest <= visible_lsn, "readers look at what is visible");
        oldest
    }
}

/// What a reader of many records has: an LSN that is pinned.
pub(crate) struct LsnPin {
    pins: Arc<Ranked<BTreeMap<u64, Pinned>>>,
    pub lsn: u64,
    /// When it was set, in ms since 1970, for records that expire; 0: there was none.
    pub moment_ms: u64,
    keeps: Keeps,
    is_left: bool,
}

impl LsnPin {
    /// It stays for ever: a forked process leaves what is its parent's, whose threads may have held
    /// the lock.
    pub fn leave(&mut self) {
        self.is_left = true;
    }
}

impl Clone for LsnPin {
    /// Another reader at the same LSN.
    fn clone(&self) -> Self {
        let Self { lsn, moment_ms, keeps, .. } = *self;
        let mut pins = lock(&self.pins);
        let pinned = pins.get_mut(&lsn).expect("it is pinned");
        pinned.count += 1;
        pinned.in_place_count += usize::from(keeps == Keeps::Places);
        drop(pins);
        Self { pins: self.pins.clone(), lsn, moment_ms, keeps, is_left: false }
    }
}

impl Drop for LsnPin {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        let mut pins = lock(&self.pins);
        let pinned = pins.get_mut(&self.lsn).expect("it was pinned");
        assert!(pinned.count > 0, "a pin without readers is removed");
        pinned.count -= 1;
        pinned.in_place_count -= usize::from(self.keeps == Keeps::Places);
        if pinned.count == 0 {
            assert_eq!(pinned.in_place_count, 0, "each of them was counted");
            pins.remove(&self.lsn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_lasts_as_long_as_the_last_of_its_readers() {
        let (pins, visible) = (Pins::default(), Visible::new(5));
        let first = pins.pin(Keeps::Places, &visible, || Duration::from_secs(1));
        visible.show(7);
        let second = first.clone();
        let newer = pins.pin(Keeps::Versions, &visible, || Duration::from_secs(2));
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
    }
}
