//! The ordered side of a byte index: payloads in key order.
//!
//! A B-tree that holds no whole entry keys. Every node skips the bytes its keys share and compares
//! the next eight as one number (see `node`); only ties go to the records. Against a trie of
//! layers, long common prefixes cost a comparison instead of levels: depth is O(log n) for all
//! keys, 64 KiB keys that differ in their last byte included.
//!
//! Readers descend through atomics and never wait. The writer makes changed nodes aside and
//! publishes them with one store, and then retires the replaced nodes to the epoch (see `word`). A
//! replaced branch goes on naming the leaves of the moment it was replaced, so a scan that stands
//! in it finishes over disjoint ranges and reports every key that was there throughout once.

mod change;
mod load;
mod node;
mod word;

use std::ops::Bound;

use crossbeam_epoch::{self as epoch, Guard};

use crate::bytes::KeySource;
use crate::stats::IndexStats;
use node::{Branch, Leaf, Named, Node, Word};

/// The ordered side.
pub(crate) struct Ordered {
    root: Word,
}

/// A branch on the way to a leaf, and the child taken.
struct Step<'g> {
    named: Named<'g>,
    branch: &'g Branch,
    slot: usize,
}

/// A leaf and the way to it.
struct Way<'g> {
    steps: Vec<Step<'g>>,
    named: Named<'g>,
    leaf: &'g Leaf,
}

/// Where a way leads below the branches already taken.
#[derive(Clone, Copy)]
enum Target<'a> {
    Key(&'a [u8]),
    First,
    Last,
}

/// The leaf of higher keys beside a leaf, or that of lower ones.
#[derive(Clone, Copy)]
enum Neighbour {
    Next,
    Previous,
}

impl<'g> Way<'g> {
    /// Goes down from `word` to the leaf that `target` names.
    fn down(mut steps: Vec<Step<'g>>, word: &Word, target: Target, guard: &'g Guard) -> Self {
        let mut named = word.load(guard);
        loop {
            match named.node() {
                Node::Leaf(leaf) => return Self { steps, named, leaf },
                Node::Branch(branch) => {
                    let slot = match target {
                        Target::Key(key) => branch.slot_of(key),
                        Target::First => 0,
                        Target::Last => branch.children.len() - 1,
                    };
                    steps.push(Step { named, branch, slot });
                    named = branch.children[slot].load(guard);
                }
            }
        }
    }

    /// The leaf behind this one, or the one before it.
    fn beside(mut self, neighbour: Neighbour, guard: &'g Guard) -> Option<Self> {
        while let Some(mut step) = self.steps.pop() {
            step.named.node();
            let last = step.branch.children.len() - 1;
            let (slot, target) = match neighbour {
                Neighbour::Next if step.slot < last => (step.slot + 1, Target::First),
                Neighbour::Previous if step.slot > 0 => (step.slot - 1, Target::Last),
                _ => continue,
            };
            step.slot = slot;
            let word = &step.branch.children[slot];
            self.steps.push(step);
            return Some(Self::down(self.steps, word, target, guard));
        }
        None
    }
}

impl Ordered {
    /// Without entries.
    pub(crate) fn new() -> Self {
        Self { root: Word::new(Node::Leaf(Leaf::empty())) }
    }

    fn way<'g>(&self, target: Target, guard: &'g Guard) -> Way<'g> {
        Way::down(Vec::with_capacity(8), &self.root, target, guard)
    }

    /// Appends up to `max` payloads in ascending order of their keys.
    pub(crate) fn scan<K: KeySource>(
        &self,
        from: Bound<&[u8]>,
        max: usize,
        keys: &K,
        out: &mut Vec<u64>,
    ) {
        let guard = epoch::pin();
        let mut way = self.way(target_of(from, Target::First), &guard);
        // Entries that cannot be read may lie behind the key as well as before it.
        let mut start = match from {
            Bound::Unbounded => 0,
            Bound::Included(key) => way.leaf.find(key, keys).unwrap_or_else(|gap| gap.start),
            Bound::Excluded(key) => {
                way.leaf.find(key, keys).map_or_else(|gap| gap.start, |at| at + 1)
            }
        };
        let mut wanted = max;
        loop {
            let entries = &way.leaf.entries[start..];
            out.extend(entries.iter().take(wanted).map(node::Entry::payload));
            wanted -= entries.len().min(wanted);
            start = 0;
            match way.beside(Neighbour::Next, &guard) {
                Some(next) if wanted > 0 => way = next,
                _ => return,
            }
        }
    }

    /// Appends up to `max` payloads in descending order of their keys.
    pub(crate) fn scan_rev<K: KeySource>(
        &self,
        from: Bound<&[u8]>,
        max: usize,
        keys: &K,
        out: &mut Vec<u64>,
    ) {
        let guard = epoch::pin();
        let mut way = self.way(target_of(from, Target::Last), &guard);
        let mut end = match from {
            Bound::Unbounded => way.leaf.entries.len(),
            Bound::Included(key) => {
                way.leaf.find(key, keys).map_or_else(|gap| gap.end, |at| at + 1)
            }
            Bound::Excluded(key) => way.leaf.find(key, keys).unwrap_or_else(|gap| gap.end),
        };
        let mut wanted = max;
        loop {
            let entries = &way.leaf.entries[..end];
            out.extend(entries.iter().rev().take(wanted).map(node::Entry::payload));
            wanted -= entries.len().min(wanted);
            match way.beside(Neighbour::Previous, &guard) {
                Some(next) if wanted > 0 => way = next,
                _ => return,
            }
            end = way.leaf.entries.len();
        }
    }

    /// The shape. The caller holds the writer's lock.
    pub(crate) fn stats(&self) -> IndexStats {
        let guard = epoch::pin();
        let mut stats = IndexStats::default();
        let mut way = Some(self.way(Target::First, &guard));
        while let Some(at) = way {
            stats.leaves += 1;
            stats.entries += at.leaf.entries.len();
            stats.leaf_slots += at.leaf.entries.len();
            stats.depth = stats.depth.max(at.steps.len());
            stats.bytes += at.leaf.size_bytes();
            // A branch is counted at the first leaf below it.
            for step in at.steps.iter().rev().take_while(|step| step.slot == 0) {
                stats.inner_nodes += 1;
                stats.bytes += step.branch.size_bytes();
            }
            way = at.beside(Neighbour::Next, &guard);
        }
        stats
    }
}

fn target_of<'a>(from: Bound<&'a [u8]>, open: Target<'a>) -> Target<'a> {
    match from {
        Bound::Unbounded => open,
        Bound::Included(key) | Bound::Excluded(key) => Target::Key(key),
    }
}

impl Drop for Ordered {
    fn drop(&mut self) {
        // SAFETY: `&mut self` means that no reader or writer is left; in the live tree every node
        // has one parent, and what was retired is not in it.
        unsafe { self.root.free_all_below(Node::words) };
    }
}
