//! Checks the invariants that the other modules rely on, node by node.

use crossbeam_epoch as epoch;

use crate::leaf::Leaf;
use crate::node::Node;
use crate::tree::Tree;

impl Tree {
    /// Asserts that ranges tile the key space, that every entry lies in its leaf's range and in
    /// order, and that counts agree. The caller holds the writer's lock.
    pub(crate) fn verify(&self) {
        let _guard = epoch::pin();
        let mut count = 0;
        let mut next_low = Some(0);
        let mut pending = vec![(self.root.load(), (0, u64::MAX))];
        while let Some((child, range)) = pending.pop() {
            // SAFETY: this thread was pinned before the pointer was loaded from the tree, and the
            // caller holds the writer's lock, so nothing is unlinked meanwhile.
            match unsafe { child.node() } {
                Node::Leaf(leaf) => {
                    assert!(leaf.range() == range, "a leaf answers for the slots that name it");
                    assert!(next_low == Some(range.0), "ranges follow each other");
                    next_low = range.1.checked_add(1);
                    count += verify_leaf(leaf);
                }
                Node::Inner(inner) => {
                    let mut end = inner.len();
                    while end > 0 {
                        let run = inner.run(end - 1);
                        assert!(run.1 == end, "runs do not interleave");
                        pending.push((inner.child(run.0), inner.run_range(run, range)));
                        end = run.0;
                    }
                    assert!(inner.children_distinct().len() <= inner.children_count());
                }
            }
        }
        assert!(next_low.is_none(), "ranges reach the last key");
        assert!(count == self.len(), "the length is the number of entries");
    }
}

fn verify_leaf(leaf: &Leaf) -> usize {
    let (begin, end) = leaf.bounds();
    let (low, high) = leaf.range();
    let slots = &leaf.slots()[begin..end];
    let mut count = usize::from(!slots.is_empty());
    for pair in slots.windows(2) {
        assert!(pair[0].key() <= pair[1].key(), "keys never fall");
        if pair[0].key() == pair[1].key() {
            assert!(pair[0].payload() == pair[1].payload(), "copies agree");
        } else {
            count += 1;
        }
    }
    if let Some((first, last)) = leaf.ends() {
        assert!(low <= first && last <= high, "entries lie in the range of their leaf");
    }
    assert!(count == leaf.count(), "the leaf counts its entries");
    count
}
