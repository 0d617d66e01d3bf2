//! What can be said about an index from outside.

use std::time::Duration;

use crossbeam_epoch as epoch;

use crate::node::Node;
use crate::shape::Writer;
use crate::tree::Tree;

/// Shape and history of an index; shown by `uarr stats`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct IndexStats {
    /// Entries.
    pub entries: usize,
    /// Inner nodes above the deepest leaf.
    pub depth: usize,
    /// Leaves.
    pub leaves: usize,
    /// Inner nodes.
    pub inner_nodes: usize,
    /// Slots of all leaves; entries over slots is the density.
    pub leaf_slots: usize,
    /// Bytes allocated for nodes. Memory of replaced nodes that readers may still hold is not in.
    pub bytes: usize,
    /// Mean of log2(1 + slots between prediction and entry) when the leaves were made, over all
    /// entries.
    pub model_error_log2_mean: f64,
    /// Leaves that were split since the index was made.
    pub splits: u64,
    /// Leaves that were laid out anew, larger or smaller.
    pub expansions: u64,
    /// Inner nodes that were widened, doubled, or put above others.
    pub inner_changes: u64,
    /// Subtrees rebuilt because they had become deep.
    pub rebuilds: u64,
    /// Leaves taken out because they were empty.
    pub merges: u64,
    /// The longest single insert or removal that changed the shape of the tree.
    pub longest_reshape: Duration,
}

impl Tree {
    pub(crate) fn stats(&self, writer: &Writer) -> IndexStats {
        let mut stats = writer.history.clone();
        stats.entries = self.len();
        let mut error_sum = 0.0;
        let _guard = epoch::pin();
        let mut pending = vec![(self.root.load(), 0)];
        while let Some((child, depth)) = pending.pop() {
            stats.depth = stats.depth.max(depth);
            // SAFETY: this thread was pinned before the pointer was loaded from the tree, and it
            // holds the writer's lock, so nothing is unlinked meanwhile.
            match unsafe { child.node() } {
                Node::Leaf(leaf) => {
                    stats.leaves += 1;
                    stats.bytes += leaf.size_bytes();
                    stats.leaf_slots += leaf.slots().len();
                    error_sum += f64::from(leaf.error_log2()) * leaf.count() as f64;
                }
                Node::Inner(inner) => {
                    stats.inner_nodes += 1;
                    stats.bytes += inner.size_bytes();
                    let below = inner.children_distinct().into_iter();
                    pending.extend(below.map(|child| (child, depth + 1)));
                }
            }
        }
        stats.model_error_log2_mean = error_sum / stats.entries.max(1) as f64;
        stats
    }
}
