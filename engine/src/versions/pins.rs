//! LSNs at which readers look: versions that they may need stay reachable.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sync::{Rank, Ranked, lock};
use crate::versions::visible::Visible;

/// LSNs at which iterators read. Versions they may need stay reachable, and what they find in the
/// index stays where it is.
pub(crate) struct Pins(Ranked<BTreeMap<u64, Pinned>>);

/// Readers at one LSN.
struct Pinned {
    count: usize,
    /// When the first of them came, by the clock of the storage.
    since: Duration,
}

impl Default for Pins {
    fn default() -> Self {
        Self(Ranked::new(Rank::Leaf, BTreeMap::new()))
    }
}

impl Pins {
    /// Pins the newest visible LSN.
    pub fn pin(&self, visible: &Visible, now: impl FnOnce() -> Duration) -> LsnPin<'_> {
        let mut pins = lock(&self.0);
        let lsn = visible.lsn();
        pins.entry(lsn).or_insert_with(|| Pinned { count: 0, since: now() }).count += 1;
        LsnPin { pins: self, lsn }
    }

    /// The lowest LSN that is pinned, and since when. Later ones are not lower.
    pub fn oldest_pinned(&self) -> Option<(u64, Duration)> {
        lock(&self.0).first_key_value().map(|(lsn, pinned)| (*lsn, pinned.since))
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
pub(crate) struct LsnPin<'a> {
    pins: &'a Pins,
    pub lsn: u64,
}

impl Drop for LsnPin<'_> {
    fn drop(&mut self) {
        let mut pins = lock(&self.pins.0);
        let pinned = pins.get_mut(&self.lsn).expect("it was pinned");
        assert!(pinned.count > 0, "a pin without readers is removed");
        pinned.count -= 1;
        if pinned.count == 0 {
            pins.remove(&self.lsn);
        }
    }
}
