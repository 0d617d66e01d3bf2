//! How the words that lead to nodes change, and which nodes no word leads to from then on.
//!
//! 1. If the writer retired a node while a word still leads to it, the epoch may seal its garbage
//!    with the epoch of that moment.
//! 2. A reader that pins one epoch later still finds the node through the word.
//! 3. The epoch frees the node under that reader.
//!
//! So there is one way to retire a node: with the [`Unlinked`] that the writer gets from the store
//! that took the last word from it.

use crossbeam_epoch::Guard;

use super::child::Child;
use super::inner::{Inner, Node};
use super::link::Link;
use crate::huge::HugeBox;

/// A node that no word leads to. Readers that came before may still be in it.
#[must_use = "an unlinked node is never freed unless it is retired"]
pub(crate) struct Unlinked(Child);

impl Link {
    /// Lets `links`, all that name one child, name other ones: those before `border` the first, the
    /// others the second.
    pub(crate) fn replace(links: &[Self], border: usize, new: [Child; 2]) -> Unlinked {
        let old = Self::only_child(links);
        for new in new {
            // SAFETY: only the writer retires nodes, and the writer, which calls this, is about to
            // link this one.
            let leads_to_old = match unsafe { new.node() } {
                Node::Leaf(_) => false,
                Node::Inner(inner) => inner.leads_to(old),
            };
            assert!(new != old && !leads_to_old, "a node that stays is not unlinked");
        }
        let (left, right) = links.split_at(border);
        Self::name(left, new[0]);
        Self::name(right, new[1]);
        Unlinked(old)
    }

    /// Lets some of the links to a child, others of which remain, name `new`.
    pub(crate) fn take_over(links: &[Self], new: Child) {
        Self::only_child(links);
        Self::name(links, new);
    }

    /// Lets `links`, all that name one child, name `above`, which leads to that child.
    pub(crate) fn put_above(links: &[Self], above: HugeBox<Inner>) {
        let below = Self::only_child(links);
        assert!(above.leads_to(below), "a node that stays is led to");
        Self::name(links, Child::from_inner(above));
    }
}

impl Inner {
    /// Lets `new` stand in for the child of `slot`.
    pub(crate) fn replace(&self, slot: usize, new: Child) -> Unlinked {
        let (first, end) = self.run(slot);
        Link::replace(self.links_for((first, end), 1), end - first, [new; 2])
    }

    /// Lets two children stand in for that of `slot`, the second from slot `border` on.
    pub(crate) fn replace_by_two(&self, slot: usize, border: usize, new: [Child; 2]) -> Unlinked {
        let (first, end) = self.run(slot);
        assert!(first < border);
        assert!(border < end);
        Link::replace(self.links_for((first, end), 2), border - first, new)
    }

    /// Gives `new` the slots `first..end` of a child that keeps others.
    pub(crate) fn take_over(&self, slots: (usize, usize), new: Child) {
        assert!(self.run(slots.0) != slots, "the child keeps a slot");
        Link::take_over(self.links_for(slots, 1), new);
    }

    /// Lets the slots of the child of `slot` name `above`, which leads to that child.
    pub(crate) fn put_above(&self, slot: usize, above: HugeBox<Self>) {
        Link::put_above(self.links_for(self.run(slot), 1), above);
    }
}

impl Unlinked {
    /// Bytes of the node alone.
    pub(crate) fn size_bytes(&self) -> usize {
        // SAFETY: the node is freed only through `retire`, which takes the only `Unlinked` of it.
        match unsafe { self.0.node() } {
            Node::Leaf(leaf) => leaf.size_bytes(),
            Node::Inner(inner) => inner.size_bytes(),
        }
    }

    /// The node and all nodes below.
    ///
    /// # Safety
    /// No other way leads to any of them: what stands in for them holds their entries, and none of
    /// them.
    pub(crate) unsafe fn with_all_below(self) -> Vec<Self> {
        // SAFETY: as in `size_bytes`; the nodes below are as well unlinked, by the caller's
        // promise.
        unsafe { self.0.nodes_below() }.into_iter().map(Self).collect()
    }

    /// Frees the node, not its children, when no reader can hold it any more.
    pub(crate) fn retire(self, guard: &Guard) {
        let child = self.0;
        // SAFETY: no word leads to the node, and there is one `Unlinked` of it, which ends here: so
        // this is the only closure that frees it. It runs when every thread that was pinned before
        // has left, and no thread can reach the node from now on.
        let free = move || unsafe { child.free() };
        // SAFETY: the closure owns all it touches (the address of one node), so it may run later
        // and on any thread.
        unsafe { guard.defer_unchecked(free) };
    }
}
