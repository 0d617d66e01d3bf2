//! A leaf: a sorted array with gaps, a model that predicts slots, and a version for its readers.
//!
//! ```text
//! slots   . . . | A A B C C C D E | . . .        begin = 3, end = 11, 5 entries
//!               begin             end
//! ```
//!
//! Invariants, whenever the version is even:
//! - keys of `slots[begin..end]` never fall; a run of equal keys is ONE entry whose spare copies
//!   are the gaps; every copy carries the same payload, so the first equal key ends a lookup;
//! - slots outside of `begin..end` are unused: appends and prepends move a bound, nothing else;
//! - no key value is special: 0 and `u64::MAX` are stored like any other;
//! - all keys lie in the closed range `low..=high`, for which this leaf alone is responsible.
//!
//! Concurrency: one writer (the holder of the index's lock) and any number of readers. The version
//! is odd while slots change. All shared words are atomics, so a reader may see a half-made change
//! but never undefined behaviour; it then finds the version changed and reads again. The model may
//! be replaced beside readers: it only says where their search starts. Everything else (capacity,
//! growth) is fixed at birth: a leaf that needs another shape is replaced.

#[cfg(not(loom))]
use std::mem::offset_of;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use allocator_api2::vec::Vec;

use super::fit::{Fit, Growth, LEAF_SLOTS_MAX, LEAF_SLOTS_MIN, Placement, sampled_error_log2};
use super::model::{MODEL_SLOTS_MAX, Model, SharedModel};
use super::slot::{SLOTS_PER_LINE, Slot, Slots, search_left, search_right};
use super::tally::Tally;
use crate::huge::{HugeBox, Memory};
use crate::life::Life;
use crate::prefetch::prefetch;
use crate::sync::{AtomicU32, AtomicU64, fence, pause};

/// A leaf with at most so many slots takes as many entries; in a larger one, entries that lie too
/// close would have to be moved too far.
const FILLED_SLOTS_MAX: usize = 256;

const _: () = assert!(LEAF_SLOTS_MIN <= FILLED_SLOTS_MAX && FILLED_SLOTS_MAX <= LEAF_SLOTS_MAX);
const _: () = assert!(LEAF_SLOTS_MAX <= MODEL_SLOTS_MAX);

/// Copies of an entry that are written without asking whether there are so many.
const COPIES_AT_ONCE: usize = 4;

/// A leaf of the tree. The first cache line is all that a lookup needs besides the slots.
#[repr(C, align(64))]
pub(crate) struct Leaf {
    version: AtomicU64,
    /// `begin` in the low half, `end` in the high half.
    bounds: AtomicU64,
    model: SharedModel,
    slots: Slots,
    low: AtomicU64,
    high: AtomicU64,
    /// The writer's own counters; readers never touch them.
    pub(crate) tally: Tally,
    /// Inserts between entries are refused from this count on.
    count_max: u32,
    pub(crate) growth: Growth,
    /// Bits of the mean of log2(1 + distance between predicted and actual slot) when the model was
    /// made, an `f32`. The writer's own.
    error_log2: AtomicU32,
    pub(crate) life: Life,
}

// What a lookup needs lies in the first line: the address and the length of the slots come before
// their memory. (Loom has atomics of its own.)
#[cfg(not(loom))]
const _: () =
    assert!(offset_of!(Leaf, slots) + size_of::<&[Slot]>() == 64 && align_of::<Leaf>() == 64);

impl Leaf {
    /// A leaf without entries for `low..=high`, whose first keys are expected where `model` says.
    pub(crate) fn empty(
        memory: &Memory,
        range: (u64, u64),
        slot_count: usize,
        model: Model,
        growth: Growth,
    ) -> HugeBox<Self> {
        let mut slots = Vec::with_capacity_in(slot_count, memory.clone());
        slots.extend((0..slot_count).map(|_| Slot::new(0, 0)));
        Self::assemble(range, model, slots.into_boxed_slice(), 0, (0, 0), growth, 0.0)
    }

    /// A leaf with `entries` (strictly ascending, inside the range) placed as `fit` says.
    pub(crate) fn filled(
        memory: &Memory,
        range: (u64, u64),
        entries: &[(u64, u64)],
        fit: &Fit,
        growth: Growth,
    ) -> HugeBox<Self> {
        assert!(entries.len() <= fit.slot_count);
        assert!(fit.slot_count <= LEAF_SLOTS_MAX);
        let Some(&(first, _)) = entries.first() else {
            return Self::empty(memory, range, fit.slot_count, fit.model, growth);
        };
        assert!(range.0 <= first);
        assert!(entries[entries.len() - 1].0 <= range.1);
        let mut slots = Vec::with_capacity_in(fit.slot_count, memory.clone());
        let room = &mut slots.spare_capacity_mut()[..fit.slot_count];
        let mut place = Placement::new(fit, entries.len());
        let begin = place.next(first);
        let mut end = begin;
        let mut at = begin;
        for (i, &(key, payload)) in entries.iter().enumerate() {
            if i > 0 {
                at = place.next(key);
            }
            let copies = &mut room[end..];
            // As many at once as an entry mostly has; the next entry overwrites those that are too
            // many. How many there are cannot be predicted, and a wrong guess takes as long as ten
            // stores.
            let stored = copies.first_chunk_mut::<COPIES_AT_ONCE>().map_or(0, |chunk| {
                for slot in chunk {
                    slot.write(Slot::new(key, payload));
                }
                COPIES_AT_ONCE
            });
            if at - end >= stored {
                for slot in &mut copies[stored..=at - end] {
                    slot.write(Slot::new(key, payload));
                }
            }
            end = at + 1;
        }
        for unused in [0..begin, end..fit.slot_count] {
            for slot in &mut room[unused] {
                slot.write(Slot::new(0, 0));
            }
        }
        // SAFETY: the capacity is at least `slot_count`, and all these slots were written above:
        // before `begin`, from there to `end` without a hole, and from `end` on.
        unsafe { slots.set_len(fit.slot_count) };
        let bounds = (begin, end);
        Self::assemble(
            range,
            fit.model,
            slots.into_boxed_slice(),
            entries.len(),
            bounds,
            growth,
            fit.error_log2,
        )
    }

    fn assemble(
        range: (u64, u64),
        model: Model,
        slots: Slots,
        count: usize,
        bounds: (usize, usize),
        growth: Growth,
        error_log2: f32,
    ) -> HugeBox<Self> {
        assert!(range.0 <= range.1);
        assert!(model.predict(u64::MAX) < slots.len(), "a model stays inside of its leaf");
        let spared = if slots.len() <= FILLED_SLOTS_MAX { 0 } else { slots.len() / 5 };
        let count_max = (slots.len() - spared) as u32;
        let memory = HugeBox::allocator(&slots).clone();
        let leaf = Self {
            version: AtomicU64::new(0),
            bounds: AtomicU64::new(pack(bounds.0, bounds.1)),
            model: SharedModel::new(model),
            slots,
            low: AtomicU64::new(range.0),
            high: AtomicU64::new(range.1),
            tally: Tally::new(count),
            count_max,
            growth,
            error_log2: AtomicU32::new(error_log2.to_bits()),
            life: Life::begin(),
        };
        HugeBox::new_in(leaf, memory)
    }

    /// The payload stored for `key`, from one moment of the leaf.
    #[inline]
    pub(crate) fn get(&self, key: u64) -> Option<u64> {
        self.get_near(self.predict(key), key)
    }

    /// As `get`, for a key that is expected at slot `at`, one of the leaf's.
    #[inline(always)]
    pub(crate) fn get_near(&self, at: usize, key: u64) -> Option<u64> {
        let version = self.version.load(Acquire);
        let (begin, end) = self.bounds();
        let slot = &self.slots[at];
        self.prefetch_around(at);
        if slot.key() == key && begin <= at && at < end {
            let payload = slot.payload();
            // Orders the loads above before the second load of the version, see `read`.
            fence(Acquire);
            if self.version.load(Relaxed) == version & !1 {
                return Some(payload);
            }
        }
        self.get_beside(at, key)
    }

    /// As `get_near`, for a key that lies elsewhere, or is written right now.
    #[inline(never)]
    fn get_beside(&self, at: usize, key: u64) -> Option<u64> {
        self.read(|| {
            let (begin, end) = self.bounds();
            let at = self.search_from(at, key, begin, end).ok()?;
            Some(self.slots[at].payload())
        })
    }

    /// Runs `look` until no write happened beside it. `look` may see half-made changes: it must
    /// end and must not panic on them.
    #[inline]
    pub(crate) fn read<T>(&self, mut look: impl FnMut() -> T) -> T {
        let mut attempts = 0;
        loop {
            let version = self.version.load(Acquire);
            if version & 1 == 0 {
                let seen = look();
                // Orders the loads of `look` before the second load of the version.
                fence(Acquire);
                if self.version.load(Relaxed) == version {
                    return seen;
                }
            }
            attempts += 1;
            pause(attempts);
        }
    }

    /// Runs `change` as one step for every reader. Writer only; `change` must not panic.
    #[inline]
    pub(crate) fn write<T>(&self, change: impl FnOnce() -> T) -> T {
        let version = self.version.load(Relaxed);
        assert!(version & 1 == 0, "a leaf has one writer");
        self.version.store(version + 1, Relaxed);
        // Orders the odd version before every store of `change`.
        fence(Release);
        let done = change();
        self.version.store(version + 2, Release);
        done
    }

    /// First used slot and the slot behind the last used one.
    #[inline]
    pub(crate) fn bounds(&self) -> (usize, usize) {
        self.life.check();
        let word = self.bounds.load(Relaxed);
        ((word & 0xffff_ffff) as usize, (word >> 32) as usize)
    }

    pub(crate) fn set_bounds(&self, begin: usize, end: usize) {
        assert!(begin <= end);
        assert!(end <= self.slots.len());
        self.bounds.store(pack(begin, end), Relaxed);
    }

    /// The closed range of keys this leaf answers for. Readers call it inside `read`.
    pub(crate) fn range(&self) -> (u64, u64) {
        (self.low.load(Relaxed), self.high.load(Relaxed))
    }

    /// Changes the range. Never makes a stored key fall outside.
    pub(crate) fn set_range(&self, low: u64, high: u64) {
        assert!(low <= high);
        self.write(|| {
            self.low.store(low, Relaxed);
            self.high.store(high, Relaxed);
        });
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(crate) fn count(&self) -> usize {
        self.tally.count.load(Relaxed) as usize
    }

    pub(crate) fn count_max(&self) -> usize {
        self.count_max as usize
    }

    /// The slot where `key` probably lies.
    #[inline]
    pub(crate) fn predict(&self, key: u64) -> usize {
        self.model.load().predict(key).min(self.slots.len() - 1)
    }

    /// See the field.
    pub(crate) fn error_log2(&self) -> f32 {
        f32::from_bits(self.error_log2.load(Relaxed))
    }

    /// Replaces the model by one of the slots as they are; returns its error, from samples. Writer
    /// only.
    pub(crate) fn learn(&self) -> f32 {
        let (begin, end) = self.bounds();
        let key = |rank: usize| self.slots[begin + rank].key();
        let model = Model::train_on(end - begin, key, begin..end, self.slots.len());
        let error_log2 =
            sampled_error_log2(end - begin, |rank| model.predict(key(rank)).abs_diff(begin + rank));
        self.model.store(model);
        self.error_log2.store(error_log2.to_bits(), Relaxed);
        error_log2
    }

    /// Where the leaf lies.
    pub(crate) fn memory(&self) -> &Memory {
        HugeBox::allocator(&self.slots)
    }

    /// Heap and header bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.slots.len() * size_of::<Slot>()
    }

    /// Where the search for `key` starts. `begin < end`.
    #[inline]
    pub(crate) fn start(&self, key: u64, begin: usize, end: usize) -> usize {
        self.predict(key).clamp(begin, end - 1)
    }

    /// Fetches the neighbours of a predicted slot: most keys lie within a few slots of it.
    #[inline]
    pub(crate) fn prefetch_around(&self, at: usize) {
        // One of the two lies in the line of the slot itself, and costs nothing.
        let slot = self.slots.as_ptr().wrapping_add(at);
        prefetch(slot.wrapping_add(SLOTS_PER_LINE / 2).cast());
        prefetch(slot.wrapping_sub(SLOTS_PER_LINE / 2).cast());
    }

    /// Any slot with `key`, or else the first slot in `begin..=end` whose key is greater.
    #[inline]
    pub(crate) fn search(&self, key: u64, begin: usize, end: usize) -> Result<usize, usize> {
        let at = self.predict(key);
        self.prefetch_around(at);
        self.search_from(at, key, begin, end)
    }

    /// As `search`, outwards from slot `at` in doubling steps, then halving: O(log distance).
    #[inline]
    fn search_from(&self, at: usize, key: u64, begin: usize, end: usize) -> Result<usize, usize> {
        if begin == end {
            return Err(begin);
        }
        let start = at.clamp(begin, end - 1);
        let slots = &self.slots[..end];
        let found = slots[start].key();
        if found == key {
            Ok(start)
        } else if found < key {
            search_right(slots, start, key)
        } else {
            search_left(slots, begin, start, key)
        }
    }
}

fn pack(begin: usize, end: usize) -> u64 {
    begin as u64 | (end as u64) << 32
}
