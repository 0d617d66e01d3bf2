//! What the shape of a tree is.

use crossbeam_epoch as epoch;

use super::place::Writer;
use crate::node::Node;
use crate::stats::IndexStats;
use crate::tree::Tree;

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
