//! The places of a leaf's array, and the search for a key among them.

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use crate::huge::HugeBox;
use crate::sync::AtomicU64;

/// The array.
pub(super) type Slots = HugeBox<[Slot]>;

/// One place of the array.
pub(crate) struct Slot {
    key: AtomicU64,
    payload: AtomicU64,
}

impl Slot {
    pub(super) fn new(key: u64, payload: u64) -> Self {
        Self { key: AtomicU64::new(key), payload: AtomicU64::new(payload) }
    }

    #[inline]
    pub(crate) fn key(&self) -> u64 {
        self.key.load(Relaxed)
    }

    #[inline]
    pub(crate) fn payload(&self) -> u64 {
        self.payload.load(Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, key: u64, payload: u64) {
        self.key.store(key, Relaxed);
        self.payload.store(payload, Relaxed);
    }

    #[inline]
    pub(crate) fn set_payload(&self, payload: u64) {
        self.payload.store(payload, Relaxed);
    }
}

/// Slots in a cache line.
pub(super) const SLOTS_PER_LINE: usize = 64 / size_of::<Slot>();

/// `slots[low].key < key`.
#[inline]
pub(super) fn search_right(slots: &[Slot], mut low: usize, key: u64) -> Result<usize, usize> {
    let mut step = 1;
    let high = loop {
        let probe = low + step;
        if probe >= slots.len() {
            break slots.len();
        }
        let found = slots[probe].key();
        if found == key {
            return Ok(probe);
        }
        if found > key {
            break probe;
        }
        low = probe;
        step *= 2;
    };
    search_between(slots, low + 1..high, key)
}

/// `slots[high].key > key`.
#[inline]
pub(super) fn search_left(
    slots: &[Slot],
    begin: usize,
    mut high: usize,
    key: u64,
) -> Result<usize, usize> {
    let mut step = 1;
    let low = loop {
        if high < begin + step {
            break begin;
        }
        let probe = high - step;
        let found = slots[probe].key();
        if found == key {
            return Ok(probe);
        }
        if found < key {
            break probe + 1;
        }
        high = probe;
        step *= 2;
    };
    search_between(slots, low..high, key)
}

/// The slot of `key` among those in `range`, or the first one of a higher key.
#[inline]
fn search_between(slots: &[Slot], range: Range<usize>, key: u64) -> Result<usize, usize> {
    let Range { start: mut low, end: mut high } = range;
    while low < high {
        let middle = (low + high) / 2;
        let found = slots[middle].key();
        if found == key {
            return Ok(middle);
        }
        if found < key {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Err(high)
}
