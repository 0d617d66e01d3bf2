//! The writer: changes in place where a leaf allows it, and a new shape where it does not.
//!
//! Whoever holds `&mut Writer` is the only writer. Shapes change by replacement: new nodes are made
//! aside, published by storing their address into the words that named the old ones, and only then
//! are the old ones retired to the epoch (see `link`). Until all words are stored no entry changes,
//! so readers of the old and of the new nodes find the same entries. The order of steps that
//! matters:
//!
//! 1. a leaf that takes over keys is complete, range included, before a word leads to it;
//! 2. a leaf that stays and loses (empty) keys narrows its range only after the words changed;
//! 3. a leaf that stays and wins (empty) keys widens its range before the words change.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crossbeam_epoch::{self as epoch, Guard};

use super::rebalance::REBUILD_DEPTH_MIN;
use super::reshape::Reshape;
use crate::huge::HugeBox;
use crate::leaf::{Inserted, Leaf};
use crate::node::{Child, Inner, Link, Node, Side, Unlinked};
use crate::stats::IndexStats;
use crate::tree::Tree;

/// Shape changes one insert may need: extend, double, split, and again one level down.
const RESHAPES_MAX: usize = 64;

/// Retired bytes from which on the epoch is told, instead of when it has heard of 64 nodes.
const RETIRED_BYTES_MAX: usize = 16 << 10;

/// State of the writer; holding it mutably is the right to write.
#[derive(Default)]
pub(crate) struct Writer {
    /// Entries of the leaf under change, kept to save allocations.
    pub(crate) entries: Vec<(u64, u64)>,
    /// Bytes of nodes that were retired since the epoch was last told to free what it can.
    pub(crate) retired_bytes: usize,
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

impl Way<'_> {
    /// Whether the leaf is to be closed between `edge`, an entry, and `key` beyond it.
    #[inline]
    fn closes(&self, edge: u64, key: u64) -> bool {
        self.parent.is_some_and(|parent| {
            parent.slot_of(edge) != self.slot && self.leaf.is_closing(edge, key, parent.shift())
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
            let edge = leaf.edge_before(key);
            let widens = way.clamped && leaf.reaches_out(key);
            let closes = edge.is_some_and(|edge| way.closes(edge, key));
            if (widens || closes) && leaf.tally.may_ask() {
                if widens {
                    pushed = pushed.or(leaf.ends().map(|(first, _)| first));
                }
                reshaped |= self.reshape(writer, key, |at| at.grow_edge(widens, closes));
            } else {
                let pushed_out = edge.is_some() && leaf.push(key, &mut payload);
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
        if writer.retired_bytes >= RETIRED_BYTES_MAX {
            writer.retired_bytes = 0;
            guard.flush();
        }
        drop(guard);
        let longest = &mut writer.history.longest_reshape;
        *longest = (*longest).max(started.elapsed());
        changed
    }

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
