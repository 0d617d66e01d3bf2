//! The writer: changes in place where a leaf allows it, and a new shape where it does not.
//!
//! The holder of `&mut Writer` is the only writer. Shapes change by replacement: it makes new nodes
//! aside, publishes them by storing their address into the words that named the old ones, and only
//! then retires the old ones to the epoch (see `unlink`). Until all words are stored no entry
//! changes, so readers of the old and of the new nodes find the same entries. The order of steps
//! that matters:
//!
//! 1. a leaf that takes over keys is complete, range included, before a word leads to it;
//! 2. a leaf that stays and loses (empty) keys narrows its range only after the words changed;
//! 3. a leaf that stays and wins (empty) keys widens its range before the words change.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crossbeam_epoch as epoch;

use super::limits::REBUILD_DEPTH_MIN;
use super::place::Writer;
use super::reshape::Reshape;
use crate::leaf::{Density, Growth, Inserted, Leaf};
use crate::node::{Inner, Node, Side};
use crate::tree::Tree;

/// Shape changes one insert may need: extend, double, split, and again one level down.
const RESHAPES_MAX: usize = 64;

/// What an insert has to know of the way to a leaf.
struct Way<'w> {
    leaf: &'w Leaf,
    parent: Option<&'w Inner>,
    /// The slot of the parent.
    slot: usize,
    /// Inner nodes on the way.
    depth: usize,
    /// Whether the key lies beyond the slots of one of them.
    clamped: bool,
}

/// What a key beyond all entries of its leaf asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    /// Wider slots in a node above, which end before the key.
    Widens,
    /// A new leaf, to which the present one hands over.
    Closes,
    /// The first of both that is possible.
    WidensOrCloses,
}

impl Way<'_> {
    /// What must change before the insert of `key`, which lies beyond `last`, the entry at the edge
    /// where the leaf grows, if there is one.
    #[inline]
    fn edge(&self, last: Option<u64>, key: u64) -> Option<Edge> {
        let widens = self.clamped && self.leaf.reaches_out(key);
        let closes = last.is_some_and(|last| self.closes(last, key));
        match (widens, closes) {
            (false, false) => None,
            (true, false) => Some(Edge::Widens),
            (false, true) => Some(Edge::Closes),
            (true, true) => Some(Edge::WidensOrCloses),
        }
    }

    /// Whether the leaf should close between `last`, an entry, and `key` beyond it.
    #[inline]
    fn closes(&self, last: u64, key: u64) -> bool {
        self.parent.is_some_and(|parent| {
            parent.slot_of(last) != self.slot && self.leaf.is_closing(last, key, parent.shift())
        })
    }
}

impl Tree {
    /// Stores `payload` for `key`; returns the payload it replaces.
    pub(crate) fn insert(&self, writer: &mut Writer, key: u64, payload: u64) -> Option<u64> {
        self.upsert(writer, key, |_| payload)
    }

    /// Stores for `key` what `payload`, which is called once, makes of the present payload; returns
    /// the payload that is replaced.
    pub(crate) fn upsert(
        &self,
        writer: &mut Writer,
        key: u64,
        mut payload: impl FnMut(Option<u64>) -> u64,
    ) -> Option<u64> {
        // A key of the leaf that a wider node above may have pushed down.
        let mut pushed = None;
        let mut reshaped = false;
        for _ in 0..RESHAPES_MAX {
            let way = self.way_of_writer(key, writer);
            let leaf = way.leaf;
            let last = leaf.edge_before(key);
            if let Some(edge) = way.edge(last, key).filter(|_| leaf.tally.may_ask()) {
                if edge != Edge::Closes {
                    pushed = pushed.or(leaf.ends().map(|(first, _)| first));
                }
                reshaped |= self.reshape(writer, key, |at| at.grow_edge(edge));
            } else {
                let pushed_out = last.is_some() && leaf.push(key, &mut payload);
                let inserted =
                    if pushed_out { Inserted::Added } else { leaf.upsert(key, &mut payload) };
                match inserted {
                    Inserted::Replaced(before) => return Some(before),
                    Inserted::Added => {
                        self.len.store(self.len.load(Relaxed) + 1, Relaxed);
                        // Not after a refusal: the rebuilt leaf would be refused the same.
                        if reshaped {
                            self.rebalance(writer, key);
                            if let Some(pushed) = pushed {
                                self.rebalance(writer, pushed);
                            }
                        }
                        return None;
                    }
                    Inserted::Full => {
                        reshaped |= self.reshape(writer, key, |at| at.make_room());
                    }
                }
            }
        }
        unreachable!("every reshape makes room or strips keys from the leaf");
    }

    /// Removes `key` if `wanted` agrees with its payload, which is returned.
    pub(crate) fn remove(
        &self,
        writer: &mut Writer,
        key: u64,
        wanted: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        let leaf = self.way_of_writer(key, writer).leaf;
        let payload = leaf.remove(key, wanted)?;
        let sparse = leaf.is_sparse();
        self.len.store(self.len.load(Relaxed) - 1, Relaxed);
        if self.len() == 0 {
            self.reshape(writer, key, |at| at.clear());
        } else if sparse {
            self.reshape(writer, key, |at| at.shrink());
        }
        Some(payload)
    }

    /// The leaf that answers for `key`. The borrow of the writer keeps it from being retired.
    #[inline]
    fn way_of_writer<'w>(&'w self, key: u64, _writer: &'w Writer) -> Way<'w> {
        let mut child = self.root.load();
        let (mut clamped, mut parent, mut slot, mut depth) = (false, None, 0, 0);
        loop {
            // SAFETY: only the holder of `&mut Writer` retires nodes, and the writer is borrowed
            // for as long as the reference lives; the node was reachable when it was loaded.
            match unsafe { child.node::<'w>() } {
                Node::Leaf(leaf) => return Way { leaf, parent, slot, depth, clamped },
                Node::Inner(inner) => {
                    clamped |= inner.side_of(key) != Side::Within;
                    slot = inner.slot_of(key);
                    child = inner.child(slot);
                    parent = Some(inner);
                    depth += 1;
                }
            }
        }
    }

    /// Flattens the surroundings of `key` if they have become too deep.
    fn rebalance(&self, writer: &mut Writer, key: u64) {
        if self.way_of_writer(key, writer).depth >= REBUILD_DEPTH_MIN {
            self.reshape(writer, key, |at| at.rebalance());
        }
    }

    fn reshape(
        &self,
        writer: &mut Writer,
        key: u64,
        change: impl FnOnce(&mut Reshape<'_, '_>) -> bool,
    ) -> bool {
        let started = Instant::now();
        let guard = epoch::pin();
        let place = self.locate(key, &guard);
        let changed =
            change(&mut Reshape { tree: self, writer: &mut *writer, place, key, guard: &guard });
        writer.free_retired(&guard);
        drop(guard);
        let longest = &mut writer.history.longest_reshape;
        *longest = (*longest).max(started.elapsed());
        changed
    }
}

impl Reshape<'_, '_> {
    /// Makes room for a key that the leaf refused.
    fn make_room(&mut self) -> bool {
        self.collect();
        let leaf = self.place.leaf;
        let (first, last) = leaf.ends().expect("a full leaf has entries");
        let edge = match leaf.pattern() {
            Growth::Append => self.key > last,
            Growth::Prepend => self.key < first,
            Growth::Within => false,
        };
        if edge {
            let growth = leaf.pattern();
            if !self.expand_edge(growth) && !self.split_edge(growth) && !self.set_apart(growth) {
                self.split(Density::EDGE);
            }
        } else if !self.expand() {
            self.split(Density::GROWN);
        }
        true
    }

    /// Changes the edge; a refusal is remembered for a while.
    fn grow_edge(&mut self, edge: Edge) -> bool {
        let changed = match edge {
            Edge::Widens => self.widen(),
            Edge::Closes => self.close(),
            Edge::WidensOrCloses => self.widen() || self.close(),
        };
        if !changed {
            self.place.leaf.tally.refuse();
        }
        changed
    }
}
