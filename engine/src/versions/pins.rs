//! LSNs at which readers look: versions that they may need stay reachable.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::lock;

/// LSNs at which iterators read. Versions they may need stay reachable.
#[derive(Default)]
pub(crate) struct Pins(Mutex<BTreeMap<u64, usize>>);

impl Pins {
    /// Pins the newest visible LSN.
    pub fn pin(&self, visible_lsn: &AtomicU64) -> u64 {
        let mut pins = lock(&self.0);
        let lsn = visible_lsn.load(Ordering::Acquire);
        *pins.entry(lsn).or_default() += 1;
        lsn
    }

    /// Ends a pin.
    pub fn unpin(&self, lsn: u64) {
        let mut pins = lock(&self.0);
        if let Some(count) = pins.get_mut(&lsn) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&lsn);
            }
        }
    }

    /// The LSN that every present and future reader can see up to.
    pub fn oldest(&self, visible_lsn: &AtomicU64) -> u64 {
        let pins = lock(&self.0);
        let visible_lsn = visible_lsn.load(Ordering::Acquire);
        pins.first_key_value().map_or(visible_lsn, |(lsn, _)| visible_lsn.min(*lsn))
    }
}
