//! The tree as readers see it: descent, point lookups, many at once, scans.
//!
//! A reader is pinned to an epoch, so every node it reaches stays allocated. It may reach a leaf
//! that has just been replaced: that leaf is complete as of the replacement, which happened while
//! the reader was under way, so its answer was right at that moment.
//!
//! A scan copies one leaf at a time under the leaf's version, together with the range the leaf
//! answers for, and goes on behind that range from the root. Ranges of leaves taken at different
//! times may overlap in the nodes, but what was scanned is never scanned again and nothing is
//! skipped: a key present throughout is reported exactly once.

use std::ops::Bound;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_epoch::Guard;

use crate::huge::Memory;
use crate::leaf::Leaf;
use crate::node::{Child, Link, Node};
use crate::prefetch::prefetch;

/// Lookups that are under way at a time, so that their cache misses overlap. Callers with many keys
/// best give so many at once.
pub const LOOKUPS_TOGETHER: usize = 16;

/// Memory, root and length; everything else hangs below.
pub(crate) struct Tree {
    /// Where nodes go.
    pub(crate) memory: Memory,
    pub(crate) root: Link,
    pub(crate) len: AtomicUsize,
}

impl Tree {
    pub(crate) fn new(memory: &Memory, root: Child, len: usize) -> Self {
        Self { memory: memory.clone(), root: Link::new(root), len: AtomicUsize::new(len) }
    }

    /// The leaf that answers for `key`, as long as the guard lives.
    #[inline]
    pub(crate) fn leaf_of<'g>(&self, key: u64, _guard: &'g Guard) -> &'g Leaf {
        let mut child = self.root.load();
        loop {
            // SAFETY: the guard pinned this thread before the pointer was loaded from the tree, and
            // nodes are freed only through the epoch after they were unlinked.
            match unsafe { child.node::<'g>() } {
                Node::Leaf(leaf) => return leaf,
                Node::Inner(inner) => child = inner.child_of(key),
            }
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: u64, guard: &Guard) -> Option<u64> {
        self.leaf_of(key, guard).get(key)
    }

    /// Looks up all keys and gives `take` the place of each in `keys` and its payload; every step
    /// is taken for a whole group, so that cache misses overlap.
    #[inline]
    pub(crate) fn get_many(
        &self,
        keys: &[u64],
        mut take: impl FnMut(usize, Option<u64>),
        guard: &Guard,
    ) {
        for (group_index, keys) in keys.chunks(LOOKUPS_TOGETHER).enumerate() {
            let found = self.approach(keys, guard);
            for (index, (place, &key)) in found.iter().zip(keys).enumerate() {
                let payload = place.and_then(|(leaf, at)| leaf.get_near(at, key));
                take(group_index * LOOKUPS_TOGETHER + index, payload);
            }
        }
    }

    /// Fetches what lookups and updates of all keys will touch.
    pub(crate) fn prefetch(&self, keys: &[u64], guard: &Guard) {
        if let [key] = keys {
            let leaf = self.leaf_of(*key, guard);
            return leaf.prefetch_around(leaf.predict(*key));
        }
        for keys in keys.chunks(LOOKUPS_TOGETHER) {
            self.approach(keys, guard);
        }
    }

    /// Goes down to the leaves of all keys, one level after the other for all of them, and fetches
    /// the slots where they probably lie. Returns leaf and slot of each key.
    fn approach<'g>(
        &self,
        keys: &[u64],
        _guard: &'g Guard,
    ) -> [Option<(&'g Leaf, usize)>; LOOKUPS_TOGETHER] {
        let root = self.root.load();
        let mut all = [root; LOOKUPS_TOGETHER];
        let children = &mut all[..keys.len()];
        let mut inner_count = if root.is_inner() { keys.len() } else { 0 };
        while inner_count > 0 {
            inner_count = 0;
            for (child, &key) in children.iter_mut().zip(keys) {
                // SAFETY: the guard pinned this thread before the pointer was loaded from the tree.
                if let Node::Inner(inner) = unsafe { child.node::<'g>() } {
                    *child = inner.child_of(key);
                    prefetch(child.address());
                    inner_count += usize::from(child.is_inner());
                }
            }
        }
        let mut places = [None; LOOKUPS_TOGETHER];
        for ((place, child), &key) in places.iter_mut().zip(children).zip(keys) {
            // SAFETY: the guard pinned this thread before the pointer was loaded from the tree.
            if let Node::Leaf(leaf) = unsafe { child.node::<'g>() } {
                let at = leaf.predict(key);
                leaf.prefetch_around(at);
                *place = Some((leaf, at));
            }
        }
        places
    }

    /// Appends up to `max` entries in ascending order from `from` on.
    pub(crate) fn scan(
        &self,
        from: Bound<u64>,
        max: usize,
        out: &mut Vec<(u64, u64)>,
        guard: &Guard,
    ) {
        let mut next = match from {
            Bound::Unbounded => Some(0),
            Bound::Included(key) => Some(key),
            Bound::Excluded(key) => key.checked_add(1),
        };
        let mut wanted = max;
        while let Some(low) = next {
            if wanted == 0 {
                return;
            }
            let (taken, high) = self.leaf_of(low, guard).copy_ascending(low, wanted, out);
            wanted -= taken;
            next = high.checked_add(1);
        }
    }

    /// Appends up to `max` entries in descending order from `from` on.
    pub(crate) fn scan_rev(
        &self,
        from: Bound<u64>,
        max: usize,
        out: &mut Vec<(u64, u64)>,
        guard: &Guard,
    ) {
        let mut next = match from {
            Bound::Unbounded => Some(u64::MAX),
            Bound::Included(key) => Some(key),
            Bound::Excluded(key) => key.checked_sub(1),
        };
        let mut wanted = max;
        while let Some(high) = next {
            if wanted == 0 {
                return;
            }
            let (taken, low) = self.leaf_of(high, guard).copy_descending(high, wanted, out);
            wanted -= taken;
            next = low.checked_sub(1);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Relaxed)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let mut pending = vec![self.root.load()];
        while let Some(child) = pending.pop() {
            // SAFETY: `&mut self` means that no reader or writer is left, and every node of the
            // tree is reached exactly once, through its only parent.
            if let Node::Inner(inner) = unsafe { child.node() } {
                pending.extend(inner.children_distinct());
            }
            // SAFETY: no other thread can hold a reference (see above); the children were taken
            // out.
            unsafe { child.free() };
        }
    }
}
