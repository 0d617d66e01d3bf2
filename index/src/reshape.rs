//! What to do with a leaf that is full, badly laid out, or nearly empty.
//!
//! Full between its entries: laid out anew and larger while its model is worth it, else split along
//! the slots of its parent, whose slots are doubled if need be, else turned into a subtree.
//! Full at its edge (appends, prepends): a new leaf beside it takes over, and the old one is left
//! as it is if its model turned out right. Keys behind the parent's last slot widen the parent, see
//! `widen`. So ascending and descending keys never copy what is in place.

use std::sync::atomic::Ordering::Relaxed;

use crossbeam_epoch::Guard;

use crate::bulk::{COST_SPLIT_NS, LEAF_KEYS_SMALL, build, leaf_keys_max};
use crate::fit::{FILL_CLOSED, FILL_GROWN, Fit, LEAF_SLOTS_MIN};
use crate::grow::{Place, Step, Writer, retire};
use crate::leaf::{Growth, LEAF_SLOTS_MAX, Leaf};
use crate::model::Model;
use crate::node::{Child, FANOUT_MAX, Inner, Node};
use crate::tree::Tree;

/// A crowded leaf with more keys than this is split rather than laid out again.
const CROWDED_KEYS_MAX: usize = 1024;

/// Slots of the leaf that takes over at an edge.
const EDGE_SLOTS: usize = 1024;

/// Least slots of a leaf that grows at its edge.
const EDGE_SLOTS_MIN: usize = 64;

/// Density that the model of a new edge leaf expects.
const EDGE_DENSITY: f64 = 0.9;

/// Mean log2 of the error up to which a filled edge leaf stays as it is.
const EDGE_ERROR_LOG2_MAX: f32 = 2.5;

/// A split that leaves less than this share of the keys on one side is no split.
const SPLIT_SHARE_MIN: usize = 8;

/// One change of shape around the leaf that answers for `key`.
pub(crate) struct Reshape<'a, 'g> {
    pub(crate) tree: &'a Tree,
    pub(crate) writer: &'a mut Writer,
    pub(crate) place: Place<'g>,
    pub(crate) key: u64,
    pub(crate) guard: &'g Guard,
}

impl Leaf {
    /// Where this leaf's inserts went, as far as they agree.
    fn pattern(&self) -> Growth {
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

    /// Whether a growing edge comes near the end of the largest leaf, and `key` belongs there.
    #[inline]
    pub(crate) fn is_closing(&self, key: u64) -> bool {
        if self.growth == Growth::Within || self.slots().len() < LEAF_SLOTS_MAX {
            return false;
        }
        let (begin, end) = self.bounds();
        match self.growth {
            Growth::Append => {
                end > LEAF_SLOTS_MAX / 8 * 7 && self.ends().is_some_and(|(_, last)| key > last)
            }
            _ => begin < LEAF_SLOTS_MAX / 8 && self.ends().is_some_and(|(first, _)| key < first),
        }
    }

    /// Whether removals left the leaf so empty that it should shrink or go.
    pub(crate) fn is_sparse(&self) -> bool {
        let slot_count = self.slots().len();
        self.count() == 0 || slot_count > 2 * LEAF_SLOTS_MIN && self.count() * 3 < slot_count
    }

    /// Mean log2 of 1 + the distance between prediction and slot, over all used slots.
    fn error_now(&self) -> f32 {
        let (begin, end) = self.bounds();
        let errors = self.slots()[begin..end].iter().enumerate().map(|(i, slot)| {
            let predicted = self.start(slot.key(), begin, end);
            u64::from(64 - (predicted.abs_diff(begin + i) as u64).leading_zeros())
        });
        errors.sum::<u64>() as f32 / (end - begin).max(1) as f32
    }
}

impl<'g> Reshape<'_, 'g> {
    /// Makes room for a key that the leaf refused.
    pub(crate) fn make_room(&mut self) -> bool {
        self.collect();
        let leaf = self.place.leaf;
        let (first, last) = leaf.ends().expect("a full leaf has entries");
        let edge = match leaf.pattern() {
            Growth::Append => self.key > last,
            Growth::Prepend => self.key < first,
            Growth::Within => false,
        };
        if edge && leaf.slots().len() < LEAF_SLOTS_MAX {
            self.expand_edge(leaf.pattern());
        } else if !edge && self.expand() {
        } else if !(edge && self.split_edge(leaf.pattern())) {
            self.split();
        }
        true
    }

    /// Widens a node above the leaf, or closes the leaf; a refusal is remembered for a while.
    pub(crate) fn grow_edge(&mut self, widens: bool, closes: bool) -> bool {
        let changed = widens && self.widen() || closes && self.close();
        if !changed {
            self.place.leaf.tally.refuse();
        }
        changed
    }

    /// Hands over to a new leaf before a growing edge is full, if `key` begins a new slot of the
    /// parent: then nothing has to be copied. Says whether it did.
    fn close(&mut self) -> bool {
        let Some(step) = self.place.steps.last().copied() else { return false };
        let Some((first, last)) = self.place.leaf.ends() else { return false };
        let edge_key = if self.place.leaf.growth == Growth::Append { last } else { first };
        if step.inner.slot_of(self.key) == step.inner.slot_of(edge_key) {
            return false;
        }
        self.collect();
        self.split_edge(self.place.leaf.growth)
    }

    /// Gives back the memory of a leaf that lost most of its entries, or takes out an empty one.
    pub(crate) fn shrink(&mut self) -> bool {
        if self.place.leaf.count() == 0 && self.absorb() {
            self.writer.history.merges += 1;
            return true;
        }
        if self.place.leaf.slots().len() <= 2 * LEAF_SLOTS_MIN {
            return false;
        }
        self.collect();
        let child = build(&self.writer.entries, self.place.leaf.range(), FILL_GROWN);
        self.replace_leaf(child);
        self.writer.history.expansions += 1;
        true
    }

    fn collect(&mut self) {
        self.writer.entries.clear();
        self.place.leaf.collect(&mut self.writer.entries);
    }

    fn replace_leaf(&mut self, child: Child) {
        self.tree.replace(&self.place.steps, self.place.steps.len(), child);
        retire(self.place.child, self.guard);
    }

    /// Lays the leaf out anew with more room, if it may grow and its model is worth it.
    fn expand(&mut self) -> bool {
        let entries = &self.writer.entries;
        if entries.len() > leaf_keys_max(FILL_GROWN)
            || entries.len() > CROWDED_KEYS_MAX && self.place.leaf.is_crowded()
        {
            return false;
        }
        let fit = Fit::within(entries, FILL_GROWN);
        if entries.len() > LEAF_KEYS_SMALL && fit.cost_ns() > COST_SPLIT_NS {
            return false;
        }
        let leaf = Leaf::filled(self.place.leaf.range(), entries, &fit, Growth::Within);
        self.replace_leaf(Child::from_leaf(leaf));
        self.writer.history.expansions += 1;
        true
    }

    /// Doubles the slots of a leaf that grows at its edge; all new ones lie there.
    fn expand_edge(&mut self, growth: Growth) {
        let leaf = self.place.leaf;
        let slot_count = (leaf.slots().len() * 2).clamp(EDGE_SLOTS_MIN, LEAF_SLOTS_MAX);
        let fit = Fit::at_edge(&self.writer.entries, slot_count, growth);
        let leaf = Leaf::filled(leaf.range(), &self.writer.entries, &fit, growth);
        self.replace_leaf(Child::from_leaf(leaf));
        self.writer.history.expansions += 1;
    }

    /// Starts a new leaf at the slot of `key`, which lies beyond all entries of the full leaf.
    /// False if the parent's slots do not allow it.
    fn split_edge(&mut self, growth: Growth) -> bool {
        if self.place.steps.is_empty() {
            return false;
        }
        let step = self.place.steps[self.place.steps.len() - 1];
        let run = step.inner.run(step.slot);
        let slot = step.inner.slot_of(self.key);
        // Slots of the part that stays, slots of the new leaf, and the first slot of the right one.
        let (stays, taken, border) = match growth {
            Growth::Append => ((run.0, slot), (slot, run.1), slot),
            _ => ((slot + 1, run.1), (run.0, slot + 1), slot + 1),
        };
        if stays.0 >= stays.1 {
            return false;
        }
        let border_key = step.inner.slot_low(border);
        let cut = self.writer.entries.partition_point(|&(key, _)| u128::from(key) < border_key);
        let (left, right) = self.writer.entries.split_at(cut);
        let (staying, moving) =
            if growth == Growth::Append { (left, right) } else { (right, left) };
        if moving.len() > staying.len() {
            return false;
        }
        let range = self.place.leaf.range();
        let cut_range = |low_part: bool| {
            if low_part { (range.0, (border_key - 1) as u64) } else { (border_key as u64, range.1) }
        };
        let appends = growth == Growth::Append;
        let edge = self.edge_leaf(moving, cut_range(!appends), growth);
        let stays_range = cut_range(appends);
        let kept = moving.is_empty() && self.place.leaf.error_now() <= EDGE_ERROR_LOG2_MAX;
        if kept {
            step.inner.set_run(taken, edge);
            self.place.leaf.set_range(stays_range.0, stays_range.1);
        } else {
            let rebuilt = build(staying, stays_range, FILL_CLOSED);
            step.inner.set_run(stays, rebuilt);
            step.inner.set_run(taken, edge);
            retire(self.place.child, self.guard);
        }
        self.writer.history.splits += 1;
        true
    }

    /// A leaf with `entries` that expects more beyond them, at the pace of the leaf before it.
    fn edge_leaf(&self, entries: &[(u64, u64)], range: (u64, u64), growth: Growth) -> Child {
        let slot_count = (entries.len() * 2).clamp(EDGE_SLOTS, LEAF_SLOTS_MAX);
        if entries.is_empty() {
            return self.edge_leaf_empty(range, slot_count, growth);
        }
        let fit = Fit::at_edge(entries, slot_count, growth);
        Child::from_leaf(Leaf::filled(range, entries, &fit, growth))
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
        let pace = self.place.leaf.count().max(1) as f64 / span / EDGE_DENSITY;
        let slot = if growth == Growth::Append { 0 } else { slot_count - 1 };
        let model = Model::line(self.key, slot as f64, pace, slot_count);
        Child::from_leaf(Leaf::empty(range, slot_count, model, growth))
    }

    /// Splits the leaf along its parent's slots, or turns it into a subtree.
    fn split(&mut self) {
        if !self.place.steps.is_empty() && self.split_sideways() {
            self.writer.history.splits += 1;
            return;
        }
        let child = build(&self.writer.entries, self.place.leaf.range(), FILL_GROWN);
        self.replace_leaf(child);
        self.writer.history.splits += 1;
    }

    /// Splits at the slot border nearest to the median key. Doubles the parent's slots first if the
    /// leaf has only one. False if the borders do not separate the keys well.
    fn split_sideways(&mut self) -> bool {
        let step = self.place.steps[self.place.steps.len() - 1];
        let run = step.inner.run(step.slot);
        let entries = &self.writer.entries;
        let count = entries.len();
        let cut_at = |border: u128| entries.partition_point(|&(key, _)| u128::from(key) < border);
        let fair = |cut: usize| cut.min(count - cut) >= count.div_ceil(SPLIT_SHARE_MIN);
        if run.1 - run.0 == 1 {
            let middle = step.inner.slot_low(run.0) + (1 << step.inner.shift() >> 1);
            return step.inner.shift() > 0 && fair(cut_at(middle)) && self.double(&step);
        }
        let median = step.inner.slot_of(entries[count / 2].0);
        let borders = [median, median + 1].into_iter().filter(|&slot| slot > run.0 && slot < run.1);
        let best = borders
            .map(|slot| (slot, cut_at(step.inner.slot_low(slot))))
            .max_by_key(|&(_, cut)| cut.min(count - cut));
        let Some((slot, cut)) = best.filter(|&(_, cut)| fair(cut)) else { return false };
        let border = step.inner.slot_low(slot) as u64;
        let range = self.place.leaf.range();
        let left = build(&entries[..cut], (range.0, border - 1), FILL_GROWN);
        let right = build(&entries[cut..], (border, range.1), FILL_GROWN);
        step.inner.set_run((run.0, slot), left);
        step.inner.set_run((slot, run.1), right);
        retire(self.place.child, self.guard);
        true
    }

    /// Replaces the parent by one with two slots for each. False if it would become too large.
    fn double(&mut self, step: &Step<'g>) -> bool {
        let children = step.inner.children();
        if children.len() * 2 > FANOUT_MAX || !step.inner.may_have(children.len() * 2) {
            return false;
        }
        let slots = children.into_iter().flat_map(|child| [child; 2]).collect();
        let doubled = Inner::new(step.inner.low(), step.inner.shift() - 1, slots);
        self.replace_parent(step, Child::from_inner(doubled));
        true
    }

    /// Replaces the leaf's parent.
    fn replace_parent(&mut self, step: &Step<'g>, child: Child) {
        self.tree.replace(&self.place.steps, self.place.steps.len() - 1, child);
        retire(step.child, self.guard);
        self.writer.history.inner_changes += 1;
    }

    /// Lets a neighbour answer for the range of the empty leaf. False without a parent.
    fn absorb(&mut self) -> bool {
        let Some(step) = self.place.steps.last().copied() else { return false };
        let run = step.inner.run(step.slot);
        let neighbours = [run.0.checked_sub(1), (run.1 < step.inner.len()).then_some(run.1)];
        let Some(slot) = neighbours.into_iter().flatten().next() else { return false };
        let heir = step.inner.child(slot);
        // The heir may be a subtree: its leaf next to the gap answers for what clamps to it.
        let leaf = self.edge_of(heir, slot < run.0);
        let (own, gone) = (leaf.range(), self.place.leaf.range());
        leaf.set_range(own.0.min(gone.0), own.1.max(gone.1));
        step.inner.set_run(run, heir);
        retire(self.place.child, self.guard);
        if step.inner.run(0).1 == step.inner.len() {
            // One child is left: the parent decides nothing.
            self.replace_parent(&step, heir);
        }
        true
    }

    /// The last (or else the first) leaf below `child`.
    fn edge_of(&self, mut child: Child, last: bool) -> &'g Leaf {
        loop {
            // SAFETY: the guard pinned this thread before the pointer was loaded from the tree.
            match unsafe { child.node::<'g>() } {
                Node::Leaf(leaf) => return leaf,
                Node::Inner(inner) => child = inner.child(if last { inner.len() - 1 } else { 0 }),
            }
        }
    }
}

impl Inner {
    /// Whether `slot_count` slots are in proportion to the children of the node.
    pub(crate) fn may_have(&self, slot_count: usize) -> bool {
        slot_count <= 64 || slot_count <= 16 * self.children_count()
    }
}
