//! Builds the ordered side from ascending keys, level by level.

use std::sync::Arc;

use super::Ordered;
use super::node::{
    Branch, CHILDREN_MAX, ENTRIES_MAX, Entry, Leaf, Node, Word, common_len, head_of, separator,
};

/// Entries of a loaded leaf: some room for inserts is left.
const ENTRIES_LOADED: usize = ENTRIES_MAX * 7 / 8;

/// Children of a loaded branch.
const CHILDREN_LOADED: usize = CHILDREN_MAX * 7 / 8;

/// A finished node and the separator before it (empty before the first).
struct Done {
    separator: Arc<[u8]>,
    node: Node,
}

impl Ordered {
    /// From strictly ascending keys (asserted).
    pub(crate) fn from_sorted<B: AsRef<[u8]>>(entries: impl Iterator<Item = (B, u64)>) -> Self {
        let mut leaves = Vec::new();
        let mut waiting: Vec<(B, u64)> = Vec::with_capacity(ENTRIES_LOADED);
        let mut border: Arc<[u8]> = Arc::from([]);
        for (key, payload) in entries {
            if let Some((last, _)) = waiting.last() {
                assert!(last.as_ref() < key.as_ref(), "keys are strictly ascending");
            }
            if waiting.len() == ENTRIES_LOADED {
                let last = waiting[waiting.len() - 1].0.as_ref();
                let next = separator(last, key.as_ref()).expect("keys are strictly ascending");
                leaves.push(Done { separator: border, node: leaf_of(&waiting) });
                border = next;
                waiting.clear();
            }
            waiting.push((key, payload));
        }
        leaves.push(Done { separator: border, node: leaf_of(&waiting) });
        let mut level = leaves;
        while level.len() > 1 {
            level = branches_over(level);
        }
        let root = level.pop().expect("there is at least one leaf");
        Self { root: Word::new(root.node) }
    }
}

fn leaf_of<B: AsRef<[u8]>>(entries: &[(B, u64)]) -> Node {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
        return Node::Leaf(Leaf::empty());
    };
    let shared = common_len(first.as_ref(), last.as_ref());
    let skip = if entries.len() == 1 { 0 } else { shared };
    let placed = entries
        .iter()
        .map(|(key, payload)| Entry::new(head_of(key.as_ref(), skip), *payload))
        .collect();
    Node::Leaf(Leaf { prefix: Arc::from(&first.as_ref()[..skip]), entries: placed })
}

fn branches_over(level: Vec<Done>) -> Vec<Done> {
    // Spread evenly, so that no branch is left with a single child.
    let branch_count = level.len().div_ceil(CHILDREN_LOADED);
    let total = level.len();
    let mut nodes = level.into_iter();
    let mut branches = Vec::with_capacity(branch_count);
    for i in 0..branch_count {
        let count = total * (i + 1) / branch_count - total * i / branch_count;
        let mut separators = Vec::with_capacity(count);
        let mut children = Vec::with_capacity(count);
        for done in nodes.by_ref().take(count) {
            separators.push(done.separator);
            children.push(Word::new(done.node));
        }
        let separator = separators.remove(0);
        let node = Node::Branch(Branch::new(separators, children));
        branches.push(Done { separator, node });
    }
    branches
}
