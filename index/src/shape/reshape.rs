//! One change of shape: what a leaf that is full, badly laid out, or nearly empty is replaced by.
//!
//! Full between its entries: laid out anew and larger while its model is worth it, else split along
//! the slots of its parent, whose slots are doubled if need be, else turned into a subtree.
//! Nearly empty: laid out anew and smaller, or taken out.

use crossbeam_epoch::Guard;

use super::bulk::build;
use super::limits::{COST_SPLIT_NS, CROWDED_KEYS_MAX, LEAF_KEYS_SMALL};
use super::place::{Place, Step, Writer};
use crate::huge::Memory;
use crate::leaf::{Density, Fit, Growth, LEAF_SLOTS_MIN, Leaf};
use crate::node::{Child, FANOUT_MAX, Inner, Node, Unlinked};
use crate::tree::Tree;

/// An end of a subtree.
#[derive(Clone, Copy)]
enum End {
    First,
    Last,
}

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
    /// Whether removals left the leaf so empty that it should shrink or go.
    pub(crate) fn is_sparse(&self) -> bool {
        let slot_count = self.slots().len();
        self.count() == 0 || slot_count > 2 * LEAF_SLOTS_MIN && self.count() * 3 < slot_count
    }
}

impl<'g> Reshape<'_, 'g> {
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
        let child =
            build(self.memory(), &self.writer.entries, self.place.leaf.range(), Density::GROWN);
        self.replace_leaf(child);
        self.writer.history.expansions += 1;
        true
    }

    /// Where new nodes go.
    pub(super) fn memory(&self) -> &Memory {
        &self.tree.memory
    }

    pub(crate) fn collect(&mut self) {
        self.writer.entries.clear();
        self.place.leaf.collect(&mut self.writer.entries);
    }

    /// Frees a node when no reader can hold it any more.
    pub(crate) fn retire(&mut self, node: Unlinked) {
        self.writer.retire(node, self.guard);
    }

    /// Lets `new` stand in for the node at `level` of the way, which is retired.
    pub(crate) fn replace(&mut self, level: usize, new: Child) {
        let replaced = self.tree.replace(&self.place.steps, level, new);
        self.retire(replaced);
    }

    pub(crate) fn replace_leaf(&mut self, child: Child) {
        self.replace(self.place.steps.len(), child);
    }

    /// Lays the leaf out anew with more room, if it may grow and its model is worth it.
    pub(super) fn expand(&mut self) -> bool {
        let entries = &self.writer.entries;
        if entries.len() > Density::GROWN.keys_max()
            || entries.len() > CROWDED_KEYS_MAX && self.place.leaf.is_crowded()
        {
            return false;
        }
        let fit = Fit::within(entries, Density::GROWN);
        if entries.len() > LEAF_KEYS_SMALL && fit.cost_ns() > COST_SPLIT_NS {
            return false;
        }
        let leaf =
            Leaf::filled(self.memory(), self.place.leaf.range(), entries, &fit, Growth::Within);
        self.replace_leaf(Child::from_leaf(leaf));
        self.writer.history.expansions += 1;
        true
    }

    /// Splits the leaf along its parent's slots, or turns it into a subtree.
    pub(super) fn split(&mut self, density: Density) {
        if !self.place.steps.is_empty() && self.split_sideways(density) {
            self.writer.history.splits += 1;
            return;
        }
        let child = build(self.memory(), &self.writer.entries, self.place.leaf.range(), density);
        self.replace_leaf(child);
        self.writer.history.splits += 1;
    }

    /// Splits at the slot border nearest to the median key. Doubles the parent's slots first if the
    /// leaf has only one. False if the borders do not separate the keys well.
    fn split_sideways(&mut self, density: Density) -> bool {
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
        let left = build(self.memory(), &entries[..cut], (range.0, border - 1), density);
        let right = build(self.memory(), &entries[cut..], (border, range.1), density);
        let replaced = step.inner.replace_by_two(step.slot, slot, [left, right]);
        self.retire(replaced);
        true
    }

    /// Replaces the parent by one with two slots for each. False if it would become too large.
    pub(crate) fn double(&mut self, step: &Step<'g>) -> bool {
        let children = step.inner.children();
        if step.inner.shift() == 0
            || children.len() * 2 > FANOUT_MAX
            || !step.inner.may_have(children.len() * 2)
        {
            return false;
        }
        let slots = children.into_iter().flat_map(|child| [child; 2]).collect();
        let doubled = Inner::new(self.memory(), step.inner.low(), step.inner.shift() - 1, slots);
        self.replace_parent(Child::from_inner(doubled));
        true
    }

    /// Replaces the leaf's parent.
    fn replace_parent(&mut self, child: Child) {
        self.replace(self.place.steps.len() - 1, child);
        self.writer.history.inner_changes += 1;
    }

    /// Lets a neighbour answer for the range of the empty leaf. False without a parent.
    fn absorb(&mut self) -> bool {
        let Some(step) = self.place.steps.last().copied() else { return false };
        let run = step.inner.run(step.slot);
        // The heir may be a subtree: its leaf next to the gap answers for what clamps to it.
        let before = run.0.checked_sub(1).map(|slot| (slot, End::Last));
        let behind = (run.1 < step.inner.len()).then_some((run.1, End::First));
        let Some((slot, end)) = before.or(behind) else { return false };
        let heir = step.inner.child(slot);
        let leaf = self.leaf_at(heir, end);
        let (own, gone) = (leaf.range(), self.place.leaf.range());
        leaf.set_range(own.0.min(gone.0), own.1.max(gone.1));
        let absorbed = step.inner.replace(step.slot, heir);
        self.retire(absorbed);
        if step.inner.run(0).1 == step.inner.len() {
            // One child is left: the parent decides nothing.
            self.replace_parent(heir);
        }
        true
    }

    /// The first or the last leaf below `child`.
    fn leaf_at(&self, mut child: Child, end: End) -> &'g Leaf {
        loop {
            // SAFETY: the guard pinned this thread before the pointer was loaded from the tree.
            match unsafe { child.node::<'g>() } {
                Node::Leaf(leaf) => return leaf,
                Node::Inner(inner) => {
                    child = inner.child(match end {
                        End::First => 0,
                        End::Last => inner.len() - 1,
                    });
                }
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
