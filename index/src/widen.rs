//! Widening a parent whose edge leaf holds keys beyond the parent's slots.
//!
//! Without it appends would nest one tight node inside the last slot of another, without end. Near
//! keys extend the parent by slots of the same width, at least by half, so that the copies are
//! amortised. Far keys get a node ABOVE the parent with few, much wider slots, in which the parent
//! is one child: every such level multiplies the width, so there are never many.

use crate::bulk::build;
use crate::fit::FILL_GROWN;
use crate::grow::{Step, retire};
use crate::node::{Child, FANOUT_MAX, FANOUT_MIN, Inner};
use crate::reshape::{Reshape, is_dense};

/// Slots of a new node above, at most.
const ABOVE_SLOTS_MAX: u128 = 64;

impl<'g> Reshape<'_, 'g> {
    /// Changes the parent so that its slots reach `key`, which belongs to its edge leaf. False, and
    /// nothing changed, if they do already or cannot. `writer.entries` hold the leaf's entries.
    pub(crate) fn widen_for(&mut self, key: u64) -> bool {
        let Some(step) = self.place.steps.last().copied() else { return false };
        let end = step.inner.slot_low(step.inner.len());
        if u128::from(key) >= end {
            self.extend_right(&step, key) || self.put_above(&step, step.inner.low(), key)
        } else if key < step.inner.low() {
            let last = u128::from(step.range.1).min(end - 1) as u64;
            self.extend_left(&step, key) || self.put_above(&step, key, last)
        } else {
            false
        }
    }

    fn extend_right(&mut self, step: &Step<'g>, key: u64) -> bool {
        let (low, shift) = (step.inner.low(), step.inner.shift());
        let needed = ((key - low) >> shift).saturating_add(1);
        let useful = ((step.range.1 - low) >> shift).saturating_add(1);
        if needed > FANOUT_MAX as u64 || !is_near(step.inner, needed as usize) {
            return false;
        }
        let mut slots = step.inner.children();
        let goal = needed.max(slots.len() as u64 * 3 / 2 + FANOUT_MIN as u64);
        let goal = goal.min(useful).min(FANOUT_MAX as u64) as usize;
        let last = slots[slots.len() - 1];
        slots.resize(goal, last);
        // Slots before the first border lead to one child in any case, by clamping.
        let (_, first_end) = step.inner.run(0);
        let spared =
            if first_end > goal / 4 && first_end < slots.len() { first_end - 1 } else { 0 };
        slots.drain(..spared);
        let wider = Inner::new(low + ((spared as u64) << shift), shift, slots);
        self.replace_parent(step, Child::from_inner(wider));
        true
    }

    fn extend_left(&mut self, step: &Step<'g>, key: u64) -> bool {
        let (low, shift) = (step.inner.low(), step.inner.shift());
        let len = step.inner.len();
        let needed = ((low - key - 1) >> shift).saturating_add(1);
        let useful = (low - step.range.0) >> shift;
        let total = needed.saturating_add(len as u64);
        if useful == 0 || total > FANOUT_MAX as u64 || !is_near(step.inner, total as usize) {
            return false;
        }
        let more = needed.max(len as u64 / 2 + FANOUT_MIN as u64).min(useful);
        let more = more.min((FANOUT_MAX - len) as u64) as usize;
        let mut slots = vec![step.inner.child(0); more];
        slots.extend(step.inner.children());
        let (last_first, _) = step.inner.run(len - 1);
        let (spared, kept) = (len - 1 - last_first, last_first + more + 1);
        if spared > slots.len() / 4 && last_first > 0 {
            slots.truncate(kept);
        }
        let wider = Inner::new(low - ((more as u64) << shift), shift, slots);
        self.replace_parent(step, Child::from_inner(wider));
        true
    }

    /// Puts a node above the parent whose slots reach from `first` to `last`; one of the two lies
    /// beyond the parent's own slots. The edge leaf is cut where the parent's part ends.
    fn put_above(&mut self, step: &Step<'g>, first: u64, last: u64) -> bool {
        let inner = step.inner;
        let own_end = inner.slot_low(inner.len()).min(u128::from(step.range.1) + 1);
        let own_last = (own_end - 1) as u64;
        let own_low = inner.low().max(step.range.0);
        let right = last > own_last;
        let mut shift = 0;
        while u128::from(last - first) >> shift >= ABOVE_SLOTS_MAX {
            shift += 1;
        }
        // The parent is one slot wide if that leaves a slot for the keys beyond it.
        while shift < 63 && (own_last - own_low) >> shift > 0 {
            shift += 1;
        }
        let run_of = |shift: u32| {
            (
                (own_low - first) >> shift,
                ((own_last - first) >> shift) + 1,
                ((last - first) >> shift) + 1,
            )
        };
        let separates = |shift: u32| {
            let (own_first, own_end, len) = run_of(shift);
            if right { own_end < len } else { own_first > 0 }
        };
        while !separates(shift) {
            if shift == 0 || (last - first) >> (shift - 1) >= FANOUT_MAX as u64 {
                return false;
            }
            shift -= 1;
        }
        let (own_first, own_end, len) = run_of(shift);
        let border = if right { first + (own_end << shift) } else { first + (own_first << shift) };
        let cut = self.writer.entries.partition_point(|&(key, _)| key < border);
        let (left, right_part) = self.writer.entries.split_at(cut);
        let range = self.place.leaf.range();
        let low_child = build(left, (range.0, border - 1), FILL_GROWN);
        let high_child = build(right_part, (border, range.1), FILL_GROWN);
        let (inside, outside) =
            if right { (low_child, high_child) } else { (high_child, low_child) };
        let copy = Inner::new(inner.low(), inner.shift(), inner.children());
        copy.set_run(inner.run(step.slot), inside);
        let own = Child::from_inner(copy);
        let mut slots = vec![outside; len as usize];
        let own_run = if right { 0..own_end as usize } else { own_first as usize..len as usize };
        slots[own_run].fill(own);
        self.replace_parent(step, Child::from_inner(Inner::new(first, shift, slots)));
        retire(self.place.child, self.guard);
        true
    }
}

/// Whether a parent with `slot_count` slots would still be in proportion.
fn is_near(inner: &Inner, slot_count: usize) -> bool {
    slot_count <= 2 * inner.len() || is_dense(inner, slot_count)
}
