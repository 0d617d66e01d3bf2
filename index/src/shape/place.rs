//! The way to a leaf, and the writer that changes shapes along it.

use crossbeam_epoch::Guard;

use crate::huge::HugeBox;
use crate::leaf::Leaf;
use crate::node::{Child, Inner, Link, Node, Unlinked};
use crate::stats::IndexStats;
use crate::tree::Tree;

/// After so many retired bytes the writer asks the epoch to free, instead of after 64 nodes.
const RETIRED_BYTES_MAX: usize = 16 << 10;

/// State of the writer; holding it mutably is the right to write.
#[derive(Default)]
pub(crate) struct Writer {
    /// Entries of the leaf under change, kept to save allocations.
    pub(crate) entries: Vec<(u64, u64)>,
    /// Bytes of nodes that were retired since the writer last asked the epoch to free.
    retired_bytes: usize,
    pub(crate) history: IndexStats,
}

/// An inner node on the way to a leaf.
#[derive(Clone, Copy)]
pub(crate) struct Step<'g> {
    pub(crate) child: Child,
    pub(crate) inner: &'g Inner,
    /// The slot the way goes through.
    pub(crate) slot: usize,
    /// The closed range of keys the node answers for.
    pub(crate) range: (u64, u64),
    /// The part of it that the slots above lead to without clamping.
    pub(crate) reach: (u64, u64),
}

/// A leaf and the way to it from the root.
pub(crate) struct Place<'g> {
    pub(crate) steps: Vec<Step<'g>>,
    pub(crate) leaf: &'g Leaf,
}

impl Writer {
    /// Frees `node` when no reader can hold it any more.
    pub(super) fn retire(&mut self, node: Unlinked, guard: &Guard) {
        self.retired_bytes += node.size_bytes();
        node.retire(guard);
    }

    /// Has the epoch free what it can, if enough was retired since the last time.
    pub(super) fn free_retired(&mut self, guard: &Guard) {
        if self.retired_bytes >= RETIRED_BYTES_MAX {
            self.retired_bytes = 0;
            guard.flush();
        }
    }
}

impl Tree {
    /// The way to the leaf that answers for `key`.
    pub(crate) fn locate<'g>(&self, key: u64, _guard: &'g Guard) -> Place<'g> {
        let mut steps = Vec::with_capacity(8);
        let mut child = self.root.load();
        let (mut range, mut reach) = ((0, u64::MAX), (0, u64::MAX));
        loop {
            // SAFETY: the guard pinned this thread before the pointer was loaded from the tree, and
            // nodes are freed only through the epoch after they were unlinked.
            match unsafe { child.node::<'g>() } {
                Node::Leaf(leaf) => return Place { steps, leaf },
                Node::Inner(inner) => {
                    let slot = inner.slot_of(key);
                    steps.push(Step { child, inner, slot, range, reach });
                    child = inner.child(slot);
                    if child.is_inner() {
                        let run = inner.run(slot);
                        range = inner.run_range(run, range);
                        let end = inner.slot_low(run.1).min(u128::from(reach.1) + 1);
                        reach = ((inner.slot_low(run.0) as u64).max(reach.0), (end - 1) as u64);
                    }
                }
            }
        }
    }

    /// Lets `new` stand in for the child at `level` of the way: 0 is the root, `steps.len()` the
    /// leaf.
    pub(crate) fn replace(&self, steps: &[Step<'_>], level: usize, new: Child) -> Unlinked {
        match level.checked_sub(1) {
            None => Link::replace(std::slice::from_ref(&self.root), 1, [new; 2]),
            Some(above) => steps[above].inner.replace(steps[above].slot, new),
        }
    }

    /// Puts `new`, which leads to the child at `level` of the way, above that child.
    pub(crate) fn put_above(&self, steps: &[Step<'_>], level: usize, new: HugeBox<Inner>) {
        match level.checked_sub(1) {
            None => Link::put_above(std::slice::from_ref(&self.root), new),
            Some(above) => steps[above].inner.put_above(steps[above].slot, new),
        }
    }
}
