//! Rebuilds a subtree that has become deeper than its keys need.
//!
//! Splits and widenings are local; on keys that cluster at every scale they can nest. When a change
//! of shape leaves its leaf deeper than `DEPTH_SOFT_MAX`, the largest ancestor within the budget is
//! built anew, as a bulk load would. The budget bounds the stall; deeper parts of larger subtrees
//! are flattened piece by piece.

use crossbeam_epoch::Guard;

use crate::bulk::build;
use crate::fit::FILL_GROWN;
use crate::grow::{Writer, retire};
use crate::node::{Child, Node};
use crate::tree::Tree;

/// Inner nodes above a leaf from which its surroundings are rebuilt.
const DEPTH_SOFT_MAX: usize = 6;

/// Keys that one rebuild may move: about a third of a millisecond.
const REBUILD_KEYS_MAX: usize = 8192;

/// Levels that a rebuild must cover to be worth it.
const REBUILD_LEVELS_MIN: usize = 3;

impl Tree {
    /// Flattens the surroundings of `key` if they are too deep.
    pub(crate) fn rebalance(&self, writer: &mut Writer, key: u64, guard: &Guard) {
        let place = self.locate(key, guard);
        if place.steps.len() <= DEPTH_SOFT_MAX {
            return;
        }
        let mut chosen = None;
        for level in (0..place.steps.len()).rev() {
            match count_entries(place.steps[level].child, REBUILD_KEYS_MAX, guard) {
                Some(_) => chosen = Some(level),
                None => break,
            }
        }
        let Some(level) = chosen else { return };
        if place.steps.len() - level < REBUILD_LEVELS_MIN {
            return;
        }
        let step = &place.steps[level];
        let nodes = nodes_below(step.child, guard);
        writer.entries.clear();
        for &node in &nodes {
            // SAFETY: the guard pinned this thread before the pointer was loaded from the tree.
            if let Node::Leaf(leaf) = unsafe { node.node() } {
                leaf.collect(&mut writer.entries);
            }
        }
        self.replace(&place.steps, level, build(&writer.entries, step.range, FILL_GROWN));
        for node in nodes {
            retire(node, guard);
        }
        writer.history.rebuilds += 1;
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

/// All nodes from `top` down, leaves in ascending order of their keys.
fn nodes_below(top: Child, _guard: &Guard) -> Vec<Child> {
    let mut nodes = Vec::new();
    let mut pending = vec![top];
    while let Some(child) = pending.pop() {
        nodes.push(child);
        // SAFETY: the guard pinned this thread before the pointer was loaded from the tree.
        if let Node::Inner(inner) = unsafe { child.node() } {
            pending.extend(inner.children_distinct().into_iter().rev());
        }
    }
    nodes
}
