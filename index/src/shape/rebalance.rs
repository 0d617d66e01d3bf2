//! Rebuilds a subtree that has become deeper than its keys need.
//!
//! Splits and widenings are local; on keys that cluster at every scale they can nest. When a change
//! of shape leaves its leaf as deep as `REBUILD_KEYS_MAX` says, the largest ancestor within the
//! budget is built anew, as a bulk load would. The budget bounds the stall; deeper parts of larger
//! subtrees are flattened piece by piece.

use crossbeam_epoch::Guard;

use super::bulk::build;
use super::limits::{REBUILD_KEYS_MAX, REBUILD_LEVELS_MIN};
use super::reshape::Reshape;
use crate::leaf::Density;
use crate::node::{Child, Node};

impl Reshape<'_, '_> {
    /// Flattens the surroundings of the key if they are too deep. Says whether it did.
    pub(crate) fn rebalance(&mut self) -> bool {
        let steps = &self.place.steps;
        let budget = REBUILD_KEYS_MAX.iter().find(|(depth, _)| steps.len() >= *depth);
        let Some(&(_, keys_max)) = budget else { return false };
        let mut chosen = None;
        for level in (0..steps.len()).rev() {
            match count_entries(steps[level].child, keys_max, self.guard) {
                Some(_) => chosen = Some(level),
                None => break,
            }
        }
        let Some(level) = chosen.filter(|level| steps.len() - level >= REBUILD_LEVELS_MIN) else {
            return false;
        };
        let step = &steps[level];
        self.writer.entries.clear();
        // SAFETY: the guard pinned this thread before the pointer was loaded from the tree.
        for node in unsafe { step.child.nodes_below() } {
            // SAFETY: as above.
            if let Node::Leaf(leaf) = unsafe { node.node() } {
                leaf.collect(&mut self.writer.entries);
            }
        }
        let rebuilt = build(self.memory(), &self.writer.entries, step.range, Density::GROWN);
        let replaced = self.tree.replace(steps, level, rebuilt);
        // SAFETY: what stands in was built of entries alone.
        let gone = unsafe { replaced.with_all_below() };
        gone.into_iter().for_each(|node| self.retire(node));
        self.writer.history.rebuilds += 1;
        true
    }
}

impl Reshape<'_, '_> {
    /// Starts afresh when the last entry is gone: the nodes that routed to it are of no use.
    pub(crate) fn clear(&mut self) -> bool {
        if self.place.steps.is_empty() {
            return self.shrink();
        }
        let empty = build(self.memory(), &[], (0, u64::MAX), Density::GROWN);
        let replaced = self.tree.replace(&self.place.steps, 0, empty);
        // SAFETY: an empty leaf stands in.
        let gone = unsafe { replaced.with_all_below() };
        gone.into_iter().for_each(|node| self.retire(node));
        true
    }
}

/// Entries below `top`, unless there are more than `count_max`.
fn count_entries(top: Child, count_max: usize, _guard: &Guard) -> Option<usize> {
    let mut count = 0;
    let mut pending = vec![top];
    while let Some(child) = pending.pop() {
        // SAFETY: the guard pinned this thread before the pointer was loaded from the tree.
        match unsafe { child.node() } {
            Node::Leaf(leaf) => count += leaf.count(),
            Node::Inner(inner) => pending.extend(inner.children_distinct()),
        }
        if count > count_max {
            return None;
        }
    }
    Some(count)
}
