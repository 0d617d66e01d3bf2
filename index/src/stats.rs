//! What can be said about an index from outside.

use std::time::Duration;

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
