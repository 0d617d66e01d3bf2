//! Inner nodes, and how a pointer leads to a node of either kind.
//!
//! An inner node cuts a range of keys into slots of `2^shift` keys each, in exact integers: no
//! model, no rounding. Keys before the first or behind the last slot belong to that slot. Several
//! neighbouring slots may name the same child; the runs of different children never interleave.
//!
//! Invariants: only the words in `slots` change, each by one Release store of the writer; any other
//! shape is a new node. Only the epoch frees a node, after the writer has unlinked it.

use std::sync::atomic::Ordering::Relaxed;

use allocator_api2::vec::Vec as VecIn;

use super::child::Child;
use super::link::Link;
use crate::huge::{HugeBox, Memory};
use crate::leaf::Leaf;
use crate::life::Life;
use crate::sync::{AtomicU32, bump};

/// Most slots of an inner node: 512 KiB, copied in well under half a millisecond.
pub(crate) const FANOUT_MAX: usize = 1 << 16;

/// Least slots of a new inner node, so that every level strips at least four bits.
pub(crate) const FANOUT_MIN: usize = 16;

/// A node for as long as the epoch (reader) or the lock (writer) that protects it is held.
#[derive(Clone, Copy)]
pub(crate) enum Node<'a> {
    Leaf(&'a Leaf),
    Inner(&'a Inner),
}

impl Child {
    pub(crate) fn from_leaf(leaf: HugeBox<Leaf>) -> Self {
        Self::leaf_at(HugeBox::into_raw_with_allocator(leaf).0.cast())
    }

    pub(crate) fn from_inner(inner: HugeBox<Inner>) -> Self {
        Self::inner_at(HugeBox::into_raw_with_allocator(inner).0.cast())
    }

    /// The node behind the pointer.
    ///
    /// # Safety
    /// The node has not been freed, and will not be during `'a`: the caller was pinned before it
    /// loaded this pointer from the tree and stays pinned, or holds the writer's lock and retires
    /// the node only through the epoch while pinned itself.
    #[inline]
    pub(crate) unsafe fn node<'a>(self) -> Node<'a> {
        if self.is_inner() {
            // SAFETY: the tag says that `from_inner` made this pointer, so it is an aligned and
            // initialised `Inner`; it is alive for `'a` by the caller's promise, and only its
            // atomics change while shared.
            let inner = unsafe { &*self.untagged().cast::<Inner>() };
            inner.life.check();
            Node::Inner(inner)
        } else {
            // SAFETY: without the tag `from_leaf` made this pointer, so it is an aligned and
            // initialised `Leaf`; it is alive for `'a` by the caller's promise, and only its
            // atomics change while shared.
            let leaf = unsafe { &*self.untagged().cast::<Leaf>() };
            leaf.life.check();
            Node::Leaf(leaf)
        }
    }

    /// All nodes from this one down, leaves in ascending order of their keys.
    ///
    /// # Safety
    /// As of [`Child::node`], for all these nodes.
    pub(crate) unsafe fn nodes_below(self) -> Vec<Self> {
        let mut nodes = Vec::new();
        let mut pending = vec![self];
        while let Some(child) = pending.pop() {
            nodes.push(child);
            // SAFETY: as the caller promises.
            if let Node::Inner(inner) = unsafe { child.node() } {
                pending.extend(inner.children_distinct().into_iter().rev());
            }
        }
        nodes
    }

    /// Frees the node alone, not its children.
    ///
    /// # Safety
    /// Called once per node, when no thread can hold or obtain a reference to it.
    pub(crate) unsafe fn free(self) {
        // SAFETY: the node is alive until it is freed below, once, by the caller's promise.
        match unsafe { self.node() } {
            Node::Inner(inner) => {
                let memory = inner.memory().clone();
                let address = self.untagged().cast::<Inner>();
                // SAFETY: the pointer came from a `HugeBox<Inner>` in this memory; no other
                // reference to the node is left and it is freed once, by the caller's promise.
                drop(unsafe { HugeBox::from_raw_in(address, memory) });
            }
            Node::Leaf(leaf) => {
                let memory = leaf.memory().clone();
                let address = self.untagged().cast::<Leaf>();
                // SAFETY: the pointer came from a `HugeBox<Leaf>` in this memory; no other
                // reference to the node is left and it is freed once, by the caller's promise.
                drop(unsafe { HugeBox::from_raw_in(address, memory) });
            }
        }
    }
}

/// An inner node.
#[repr(align(64))]
pub(crate) struct Inner {
    low: u64,
    shift: u32,
    /// Different children, about: exact when made, and never too small. The writer's own.
    children_count: AtomicU32,
    slots: HugeBox<[Link]>,
    life: Life,
}

/// On which side of a node's slots a key lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    Within,
    Behind,
}

impl Inner {
    /// A node whose slot 0 begins at `low`.
    pub(crate) fn new(memory: &Memory, low: u64, shift: u32, slots: Vec<Child>) -> HugeBox<Self> {
        assert!(!slots.is_empty());
        assert!(slots.len() <= FANOUT_MAX);
        assert!(shift < 64);
        let borders = slots.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let mut links = VecIn::with_capacity_in(slots.len(), memory.clone());
        links.extend(slots.into_iter().map(Link::new));
        let children_count = AtomicU32::new(borders as u32 + 1);
        let slots = links.into_boxed_slice();
        let inner = Self { low, shift, children_count, slots, life: Life::begin() };
        HugeBox::new_in(inner, memory.clone())
    }

    /// The slot that answers for `key`.
    #[inline]
    pub(crate) fn slot_of(&self, key: u64) -> usize {
        let slot = key.saturating_sub(self.low) >> self.shift;
        slot.min(self.slots.len() as u64 - 1) as usize
    }

    /// Whether `key` lies beyond the slots, and on which side.
    #[inline]
    pub(crate) fn side_of(&self, key: u64) -> Side {
        if key < self.low {
            Side::Before
        } else if (key - self.low) >> self.shift < self.slots.len() as u64 {
            Side::Within
        } else {
            Side::Behind
        }
    }

    /// How many different children there are, about; never fewer than there are.
    pub(crate) fn children_count(&self) -> usize {
        self.children_count.load(Relaxed) as usize
    }

    #[inline]
    pub(crate) fn child(&self, slot: usize) -> Child {
        self.slots[slot].load()
    }

    #[inline]
    pub(crate) fn child_of(&self, key: u64) -> Child {
        self.child(self.slot_of(key))
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn low(&self) -> u64 {
        self.low
    }

    pub(crate) fn shift(&self) -> u32 {
        self.shift
    }

    /// First key of slot `slot`, not clamped; one past the last key for `slot == len`.
    pub(crate) fn slot_low(&self, slot: usize) -> u128 {
        u128::from(self.low) + ((slot as u128) << self.shift)
    }

    /// The run of slots that name the same child as `slot`, as first and end.
    pub(crate) fn run(&self, slot: usize) -> (usize, usize) {
        let child = self.child(slot);
        let (mut first, mut end) = (slot, slot + 1);
        while first > 0 && self.child(first - 1) == child {
            first -= 1;
        }
        while end < self.slots.len() && self.child(end) == child {
            end += 1;
        }
        (first, end)
    }

    /// The closed range of keys that slots `first..end` answer for, in a node that answers for
    /// `range`.
    pub(crate) fn run_range(&self, run: (usize, usize), range: (u64, u64)) -> (u64, u64) {
        let low = if run.0 == 0 { u128::from(range.0) } else { self.slot_low(run.0) };
        let end =
            if run.1 == self.slots.len() { u128::from(range.1) + 1 } else { self.slot_low(run.1) };
        assert!(low < end);
        assert!(end <= u128::from(range.1) + 1);
        (low as u64, (end - 1) as u64)
    }

    /// Whether a slot names `child`.
    pub(crate) fn leads_to(&self, child: Child) -> bool {
        self.slots.iter().any(|link| link.load() == child)
    }

    /// The words of slots `first..end`, which are about to lead to up to `more` further children.
    pub(super) fn links_for(&self, (first, end): (usize, usize), more: u32) -> &[Link] {
        bump(&self.children_count, more);
        &self.slots[first..end]
    }

    /// The children of all slots, in order.
    pub(crate) fn children(&self) -> Vec<Child> {
        self.slots.iter().map(Link::load).collect()
    }

    /// The different children, in order.
    pub(crate) fn children_distinct(&self) -> Vec<Child> {
        let mut children = self.children();
        children.dedup();
        children
    }

    /// Where the node lies.
    fn memory(&self) -> &Memory {
        HugeBox::allocator(&self.slots)
    }

    /// Heap and header bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.slots.len() * size_of::<Link>()
    }
}
