//! Widening a node whose slots end before a new key.
//!
//! Such a key would go to the edge leaf, and behind it all others of an ascending load: one tight
//! node would nest inside the last slot of another, without end. So the first key beyond changes
//! the topmost node it lies beyond. Near keys extend that node by slots of the same width, by half
//! or by some hundreds, so that the copies are amortised. Far keys get a node ABOVE it with few,
//! much wider slots, in which the old node is one child: every such level at least doubles the
//! width. No entry moves: the edge leaf keeps its entries, and a new leaf answers for the new
//! slots.

use super::limits::{
    ABOVE_SLOTS_MAX, BESIDE_SLOTS, EXTENDED_SLOTS_PER_CHILD, EXTENSION_CHILDREN, EXTENSION_MIN,
};
use super::place::Step;
use super::reshape::Reshape;
use crate::leaf::{Growth, Leaf};
use crate::node::{Child, FANOUT_MAX, FANOUT_MIN, Inner, Side};

impl Leaf {
    /// Whether `key` lies beyond all entries of the leaf.
    #[inline]
    pub(crate) fn reaches_out(&self, key: u64) -> bool {
        self.ends().is_some_and(|(first, last)| key < first || key > last)
    }
}

impl<'g> Reshape<'_, 'g> {
    /// Makes the slots of a node on the way reach the key. False, and nothing changed, if there is
    /// no slot border between the edge leaf's entries and the key, or no node may grow.
    pub(crate) fn widen(&mut self) -> bool {
        let Some((first, last)) = self.place.leaf.ends() else { return false };
        for level in 0..self.place.steps.len() {
            let step = self.place.steps[level];
            let range = self.place.leaf.range();
            // Nodes below may reach further; then the leaf is not at the edge of this one.
            let widened = match step.inner.side_of(self.key) {
                Side::Within => continue,
                Side::Behind => {
                    self.key > last
                        && range.1 == step.range.1
                        && (self.extend_right(level, &step, last)
                            || self.put_above(level, &step, last))
                }
                Side::Before => {
                    self.key < first
                        && range.0 == step.range.0
                        && (self.extend_left(level, &step, first)
                            || self.put_above(level, &step, first))
                }
            };
            if widened {
                self.writer.history.inner_changes += 1;
                return true;
            }
        }
        false
    }

    fn extend_right(&mut self, level: usize, step: &Step<'g>, last: u64) -> bool {
        let (low, shift, len) = (step.inner.low(), step.inner.shift(), step.inner.len());
        let needed = ((self.key - low) >> shift).saturating_add(1);
        let useful = ((step.range.1.min(step.reach.1.max(self.key)) - low) >> shift) + 1;
        if needed > FANOUT_MAX as u64 || !may_extend(step.inner, needed as usize) {
            return false;
        }
        assert!(needed <= useful);
        let goal = needed.max((len + extension(step.inner)) as u64);
        let goal = goal.min(useful).min(FANOUT_MAX as u64) as usize;
        let border = ((last.max(low) - low) >> shift) as usize + 1;
        let border = border.max(len);
        let direct = level + 1 == self.place.steps.len();
        if !direct && border >= needed as usize {
            return false;
        }
        let mut slots = step.inner.children();
        slots.resize(border, slots[len - 1]);
        if direct {
            slots.resize(goal, slots[len - 1]);
        } else {
            let border_key = low + ((border as u64) << shift);
            slots.resize(goal, self.leaf_beside((border_key, step.range.1), Growth::Append));
        }
        // A queue leaves a long first run behind; by clamping, a part of it serves as well.
        let (_, first_end) = step.inner.run(0);
        let spared = if first_end > goal / 2 && first_end < len { first_end - goal / 4 } else { 0 };
        slots.drain(..spared);
        let wider = Inner::new(self.memory(), low + ((spared as u64) << shift), shift, slots);
        self.replace(level, Child::from_inner(wider));
        if !direct {
            let border_key = low + ((border as u64) << shift);
            self.place.leaf.set_range(self.place.leaf.range().0, border_key - 1);
        }
        true
    }

    fn extend_left(&mut self, level: usize, step: &Step<'g>, first: u64) -> bool {
        let (low, shift, len) = (step.inner.low(), step.inner.shift(), step.inner.len());
        let needed = ((low - self.key - 1) >> shift).saturating_add(1);
        // What nodes above could not reach clamps to this one, all of it.
        let reached = if self.key < step.reach.0 { 0 } else { step.reach.0 };
        let useful = (low - step.range.0.max(reached)) >> shift;
        let total = needed.saturating_add(len as u64);
        if needed > useful || total > FANOUT_MAX as u64 || !may_extend(step.inner, total as usize) {
            return false;
        }
        let more = needed.max(extension(step.inner) as u64).min(useful);
        let more = more.min((FANOUT_MAX - len) as u64) as usize;
        let low = low - ((more as u64) << shift);
        // New slots up to this one, exclusive, are the new leaf's.
        let border = (((first.max(low) - low) >> shift) as usize).min(more);
        let direct = level + 1 == self.place.steps.len();
        if !direct && border <= ((self.key - low) >> shift) as usize {
            return false;
        }
        let border_key = low + ((border as u64) << shift);
        let mut slots = vec![step.inner.child(0); more];
        if !direct {
            slots[..border].fill(self.leaf_beside((step.range.0, border_key - 1), Growth::Prepend));
        }
        slots.extend(step.inner.children());
        let (last_first, _) = step.inner.run(len - 1);
        if len - last_first > slots.len() / 2 && last_first > 0 {
            slots.truncate(more + last_first + slots.len() / 4);
        }
        let wider = Child::from_inner(Inner::new(self.memory(), low, shift, slots));
        self.replace(level, wider);
        if !direct {
            self.place.leaf.set_range(border_key, self.place.leaf.range().1);
        }
        true
    }

    /// Puts a node above the one at `level` whose slots reach from it to the key. `edge` is the
    /// entry of the edge leaf nearest to the key.
    fn put_above(&mut self, level: usize, step: &Step<'g>, edge: u64) -> bool {
        let right = self.key > edge;
        // A key just beyond, where no whole slot is left to extend, may as well be clamped.
        let inner = step.inner;
        let beyond = if right {
            u128::from(self.key) - (inner.slot_low(inner.len()) - 1)
        } else {
            u128::from(inner.low() - self.key)
        };
        let width = (inner.len() as u128) << inner.shift();
        if beyond < width && inner.len() <= FANOUT_MAX / 2 {
            return false;
        }
        let own_end = step.inner.slot_low(step.inner.len()).min(u128::from(step.range.1) + 1);
        // The part that stays with the node reaches to its last slot and to the last entry.
        let (own_low, own_last) = (step.inner.low(), (own_end - 1) as u64);
        let (own_low, own_last) = (own_low.min(edge), own_last.max(edge));
        let (first, last) = if right { (own_low, self.key) } else { (self.key, own_last) };
        let mut shift = 0;
        while (last - first) >> shift >= ABOVE_SLOTS_MAX {
            shift += 1;
        }
        let own_first = (own_low - first) >> shift;
        let own_end = ((own_last - first) >> shift) + 1;
        let len = ((last - first) >> shift) + 1;
        if if right { own_end == len } else { own_first == 0 } {
            return false;
        }
        let border = first + (if right { own_end } else { own_first } << shift);
        let (beside, own_range) = if right {
            (self.leaf_beside((border, step.range.1), Growth::Append), (0, border - 1))
        } else {
            (self.leaf_beside((step.range.0, border - 1), Growth::Prepend), (border, u64::MAX))
        };
        let mut slots = vec![beside; len as usize];
        slots[own_first as usize..own_end as usize].fill(step.child);
        let above = Inner::new(self.memory(), first, shift, slots);
        self.tree.put_above(&self.place.steps, level, above);
        let (low, high) = self.place.leaf.range();
        self.place.leaf.set_range(low.max(own_range.0), high.min(own_range.1));
        true
    }

    fn leaf_beside(&self, range: (u64, u64), growth: Growth) -> Child {
        let slot_count = self.place.leaf.slots().len().clamp(BESIDE_SLOTS.0, BESIDE_SLOTS.1);
        self.edge_leaf_empty(range, slot_count, growth)
    }
}

/// Slots that a node is widened by, if no more are needed: half of those it has, but not so many
/// that pointing all of them to each new edge leaf in turn would cost more than copying them again.
fn extension(inner: &Inner) -> usize {
    let slots_per_child = inner.len() / inner.children_count();
    let most = EXTENSION_MIN.max(EXTENSION_CHILDREN * slots_per_child);
    (inner.len() / 2 + FANOUT_MIN).min(most)
}

/// Whether `slot_count` slots are in proportion to the children of a node that reaches out: more
/// than elsewhere, because more children are on their way.
fn may_extend(inner: &Inner, slot_count: usize) -> bool {
    slot_count <= EXTENDED_SLOTS_PER_CHILD * inner.children_count()
}
