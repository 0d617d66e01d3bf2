//! Leaves that grow at one edge: ascending and descending keys.
//!
//! Such a leaf packs its entries without gaps from its first slot upwards, or from its last slot
//! downwards, and learns its model from them as it doubles. It is *closed* when a key beyond its
//! entries lies in another slot of the parent, and either the keys of that slot may not find room
//! any more, or the key lies so far away that no line leads through both. A new leaf beside it
//! takes over; the closed one stays where it is, with all its entries, if its model is right, and
//! is laid out anew if not. So ascending and descending keys are written once, in order.
//!
//! A leaf that fills up before such a key comes is split at the slot of the next key, see
//! `split_edge`. If all its entries lie in that slot, the slot alone becomes a subtree, see
//! `set_apart`.

use std::sync::atomic::Ordering::Relaxed;

use super::bulk::build;
use super::limits::{
    EDGE_ERROR_LOG2_MAX, EDGE_SLOTS_MAX, EDGE_SLOTS_MIN, EDGE_SLOTS_TAKEN_OVER,
    SMALL_ERROR_LOG2_MAX, SMALL_KEYS,
};
use super::place::Step;
use super::reshape::Reshape;
use crate::leaf::{Density, Fit, Growth, Leaf, Model};
use crate::node::Child;

/// Small leaves with a large error ask for narrower slots, as long as the parent has no more than
/// so many for each child.
const DOUBLED_SLOTS_PER_CHILD: usize = 4;

/// A key this many mean gaps away begins a new leaf, if the old one has enough entries.
const JUMP_GAPS: u128 = 32;
const JUMP_KEYS_MIN: u64 = 64;

impl Leaf {
    /// Where this leaf's inserts went, as far as they agree.
    pub(crate) fn pattern(&self) -> Growth {
        let inserts = self.tally.inserts.load(Relaxed);
        let most = inserts - inserts / 8;
        if inserts < 8 {
            self.growth
        } else if self.tally.appends.load(Relaxed) >= most {
            Growth::Append
        } else if self.tally.prepends.load(Relaxed) >= most {
            Growth::Prepend
        } else {
            Growth::Within
        }
    }

    /// The entry at the edge where this leaf grows, if `key` lies beyond it.
    #[inline]
    pub(crate) fn edge_before(&self, key: u64) -> Option<u64> {
        // Most leaves grow nowhere: their first and last slots are not worth two cache misses.
        match self.growth {
            Growth::Within => None,
            Growth::Append => self.ends().map(|(_, last)| last).filter(|&last| key > last),
            Growth::Prepend => self.ends().map(|(first, _)| first).filter(|&first| key < first),
        }
    }

    /// Whether the leaf should close between the entry at its growing edge and a key beyond it,
    /// which lies in another slot of the parent, see above. Slots are `2^shift` keys wide.
    pub(crate) fn is_closing(&self, edge: u64, key: u64, shift: u32) -> bool {
        let Some((first, last)) = self.ends() else { return false };
        let (count, span) = (self.count() as u64, u128::from(last - first));
        if count >= JUMP_KEYS_MIN
            && u128::from(key.abs_diff(edge)) * u128::from(count) > span * JUMP_GAPS
        {
            return true;
        }
        let (begin, end) = self.bounds();
        // Once it has grown as far as it may.
        let slot_count = self.slots().len().max(EDGE_SLOTS_MAX);
        let free = (slot_count - (end - begin)) as u128;
        let keys_per_slot = (u128::from(count) << shift) / span.max(1);
        free < keys_per_slot.min(slot_count as u128 / 2)
    }
}

impl Reshape<'_, '_> {
    /// Hands over to a new leaf that has the slot of `key`, which is none of the slots with
    /// entries.
    pub(crate) fn close(&mut self) -> bool {
        let Some(step) = self.place.steps.last().copied() else { return false };
        let Some((first, last)) = self.place.leaf.ends() else { return false };
        let (leaf, growth) = (self.place.leaf, self.place.leaf.growth);
        let run = step.inner.run(step.slot);
        let edge_slot = step.inner.slot_of(if growth == Growth::Append { last } else { first });
        if edge_slot == step.slot {
            return false;
        }
        // Downwards, right beside the entries: keys between them and this one, if they ascend,
        // would each ask for a leaf of their own. Upwards that would nest clusters of keys far
        // apart.
        let next_slot = if growth == Growth::Append { step.slot } else { edge_slot - 1 };
        let (taken, border) = beside(run, next_slot, growth);
        let border_key = step.inner.slot_low(border) as u64;
        assert!(if growth == Growth::Append { last < border_key } else { border_key <= first });
        let (stays_range, taken_range) = cut(leaf.range(), border_key, growth);
        let slot_count =
            (leaf.count() + leaf.count() / 4).clamp(EDGE_SLOTS_MIN, EDGE_SLOTS_TAKEN_OVER);
        let edge = self.edge_leaf_empty(taken_range, slot_count, growth);
        let error_log2 = leaf.learn();
        let fits = error_log2 <= EDGE_ERROR_LOG2_MAX;
        let small = leaf.count() <= SMALL_KEYS && error_log2 <= SMALL_ERROR_LOG2_MAX;
        if fits || small {
            step.inner.take_over(taken, edge);
            leaf.set_range(stays_range.0, stays_range.1);
        } else {
            self.collect();
            let rebuilt = build(self.memory(), &self.writer.entries, stays_range, Density::CLOSED);
            let parts = in_order(rebuilt, edge, growth);
            let replaced = step.inner.replace_by_two(step.slot, border, parts);
            self.retire(replaced);
        }
        self.writer.history.splits += 1;
        let slot_count = step.inner.len() * 2;
        if small && !fits && slot_count <= DOUBLED_SLOTS_PER_CHILD * step.inner.children_count() {
            self.double(&step);
        }
        true
    }

    /// Doubles the slots of a leaf that grows at its edge; all new ones lie there. False if that
    /// would make little room.
    pub(crate) fn expand_edge(&mut self, growth: Growth) -> bool {
        let leaf = self.place.leaf;
        let entries = &self.writer.entries;
        let slot_count = (leaf.slots().len() * 2).clamp(EDGE_SLOTS_MIN, EDGE_SLOTS_MAX);
        if slot_count - slot_count / 8 < entries.len() {
            return false;
        }
        let fit = Fit::at_edge(entries, slot_count, growth);
        let leaf = Leaf::filled(self.memory(), leaf.range(), entries, &fit, growth);
        self.replace_leaf(Child::from_leaf(leaf));
        self.writer.history.expansions += 1;
        true
    }

    /// Starts a new leaf at the slot of `key`, which lies beyond all entries of the full leaf, and
    /// lets it have the entries that are in this slot already. False if the parent's slots do not
    /// allow it, or if one of both leaves would be too large.
    pub(crate) fn split_edge(&mut self, growth: Growth) -> bool {
        let Some(step) = self.place.steps.last().copied() else { return false };
        let run = step.inner.run(step.slot);
        let (_, border) = beside(run, step.slot, growth);
        if border <= run.0 || run.1 <= border {
            return false;
        }
        let Some(border_key) = self.border_key(&step, border) else { return false };
        let entries = &self.writer.entries;
        let (left, right) = entries.split_at(entries.partition_point(|&(key, _)| key < border_key));
        let (staying, moving) =
            if growth == Growth::Append { (left, right) } else { (right, left) };
        let moving_max = staying.len().min(EDGE_SLOTS_MAX / 2);
        if moving.len() > moving_max || staying.len() > Density::CLOSED.keys_max() {
            return false;
        }
        let (stays_range, taken_range) = cut(self.place.leaf.range(), border_key, growth);
        let edge = self.edge_leaf(moving, taken_range, growth);
        let rebuilt = build(self.memory(), staying, stays_range, Density::CLOSED);
        let parts = in_order(rebuilt, edge, growth);
        let replaced = step.inner.replace_by_two(step.slot, border, parts);
        self.retire(replaced);
        self.writer.history.splits += 1;
        true
    }

    /// Leaves the slots beyond that of `key` to a new leaf, so that a full leaf below one slot of
    /// the parent gets no more keys when they have left that slot: else it would take all later
    /// ones, one level deeper each time keys lie twice as close. False if there are none.
    pub(crate) fn set_apart(&mut self, growth: Growth) -> bool {
        let Some(step) = self.place.steps.last().copied() else { return false };
        let run = step.inner.run(step.slot);
        let (taken, border) = match growth {
            Growth::Append => ((step.slot + 1, run.1), step.slot + 1),
            _ => ((run.0, step.slot), step.slot),
        };
        if taken.0 >= taken.1 {
            return false;
        }
        let Some(border_key) = self.border_key(&step, border) else { return false };
        let (stays_range, taken_range) = cut(self.place.leaf.range(), border_key, growth);
        let edge = self.edge_leaf_empty(taken_range, EDGE_SLOTS_MIN, growth);
        step.inner.take_over(taken, edge);
        self.place.leaf.set_range(stays_range.0, stays_range.1);
        true
    }

    /// The first key of slot `border`, if it cuts the range of the leaf in two: a node may have
    /// slots beyond the keys that it answers for.
    fn border_key(&self, step: &Step<'_>, border: usize) -> Option<u64> {
        let (low, high) = self.place.leaf.range();
        let key = u64::try_from(step.inner.slot_low(border)).ok()?;
        (low < key && key <= high).then_some(key)
    }

    /// A leaf with `entries` that expects more beyond them, at the pace of the leaf before it.
    fn edge_leaf(&self, entries: &[(u64, u64)], range: (u64, u64), growth: Growth) -> Child {
        let slot_count = (entries.len() * 2).clamp(EDGE_SLOTS_TAKEN_OVER, EDGE_SLOTS_MAX);
        if entries.is_empty() {
            return self.edge_leaf_empty(range, slot_count, growth);
        }
        let fit = Fit::at_edge(entries, slot_count, growth);
        Child::from_leaf(Leaf::filled(self.memory(), range, entries, &fit, growth))
    }

    /// A leaf that expects keys from `key` outwards, at the pace of the present leaf.
    pub(crate) fn edge_leaf_empty(
        &self,
        range: (u64, u64),
        slot_count: usize,
        growth: Growth,
    ) -> Child {
        let (first, last) = self.place.leaf.ends().unwrap_or((self.key, self.key));
        let span = (last - first).max(1) as f64;
        let pace = self.place.leaf.count().max(1) as f64 / span;
        let slot = if growth == Growth::Append { 0 } else { slot_count - 1 };
        let model = Model::line(self.key, slot as f64, pace, slot_count);
        Child::from_leaf(Leaf::empty(self.memory(), range, slot_count, model, growth))
    }
}

/// What stays and what is taken, the one with lower keys first.
fn in_order(stays: Child, taken: Child, growth: Growth) -> [Child; 2] {
    if growth == Growth::Append { [stays, taken] } else { [taken, stays] }
}

/// Slots of `run` that a new leaf takes when the present one is closed before `slot`, and the first
/// slot of the right one of both.
fn beside(run: (usize, usize), slot: usize, growth: Growth) -> ((usize, usize), usize) {
    match growth {
        Growth::Append => ((slot, run.1), slot),
        _ => ((run.0, slot + 1), slot + 1),
    }
}

/// The parts of `range` that stay and are taken if it is cut before `border_key`.
fn cut(range: (u64, u64), border_key: u64, growth: Growth) -> ((u64, u64), (u64, u64)) {
    assert!(range.0 < border_key);
    assert!(border_key <= range.1);
    let (low, high) = ((range.0, border_key - 1), (border_key, range.1));
    if growth == Growth::Append { (low, high) } else { (high, low) }
}
