//! The words that lead to nodes of the ordered side, and which nodes no word leads to from then on.
//!
//! As in `node::unlink`, the writer can retire a node only with the [`Unlinked`] that it gets from
//! the store that took the last word of the live tree from the nodes it stands for. Replaced
//! branches go on naming nodes, for the readers in them.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crossbeam_epoch::{self as epoch, Atomic, Guard, Shared};

use crate::life::Life;

/// A node as it is allocated.
struct Lived<N> {
    node: N,
    life: Life,
}

/// A place that holds a node: in a branch, or the root. Never null. Only the writer stores.
pub(super) struct Word<N>(Atomic<Lived<N>>);

/// A node that a word named, for as long as the guard lives.
pub(super) struct Named<'g, N>(Shared<'g, Lived<N>>);

/// The topmost of some nodes to which no word leads. Readers that came before may still be in them.
#[must_use = "unlinked nodes are never freed unless they are retired"]
pub(super) struct Unlinked<'g, N>(Named<'g, N>);

impl<N> Clone for Named<'_, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N> Copy for Named<'_, N> {}

impl<N> Word<N> {
    pub(super) fn new(node: N) -> Self {
        Self(Atomic::new(Lived { node, life: Life::begin() }))
    }

    pub(super) fn load<'g>(&self, guard: &'g Guard) -> Named<'g, N> {
        Named(self.0.load(Acquire, guard))
    }

    /// A word for the same node, to be used in a branch that stands in for the one of this word.
    pub(super) fn copied(&self, guard: &Guard) -> Self {
        Self(Atomic::from(self.0.load(Relaxed, guard)))
    }

    /// Publishes `new`: a thread that loads it sees the node complete.
    pub(super) fn replace<'g>(&self, new: Self, guard: &'g Guard) -> Unlinked<'g, N> {
        let (old, new) = (self.0.load(Relaxed, guard), new.0.load(Relaxed, guard));
        assert!(old != new, "a node that stays is not unlinked");
        self.0.store(new, Release);
        Unlinked(Named(old))
    }

    /// Frees the node and all below it, which `words` of each node lead to.
    ///
    /// # Safety
    /// No reader and no writer is left, no other word leads to any of these nodes, and none was
    /// retired.
    pub(super) unsafe fn free_all_below(&self, words: impl Fn(&N) -> &[Self]) {
        // SAFETY: no other thread frees anything meanwhile, by the caller's promise.
        let guard = unsafe { epoch::unprotected() };
        let mut pending = vec![self.0.load(Acquire, guard)];
        while let Some(word) = pending.pop() {
            // SAFETY: every node is reached once, through its only parent, and no other thread
            // holds it, by the caller's promise.
            let lived = unsafe { word.into_owned() };
            pending.extend(words(&lived.node).iter().map(|word| word.0.load(Acquire, guard)));
        }
    }
}

impl<'g, N> Named<'g, N> {
    /// The node. Debug builds panic if it was freed.
    #[inline]
    pub(super) fn node(self) -> &'g N {
        // SAFETY: the word was loaded while pinned, from the root or from a node reached under the
        // same pin. It is never null, and a node is freed only through the epoch after it was
        // unlinked from the live tree; a replaced branch names nodes that were live when it was
        // replaced, which is after this pin.
        let lived = unsafe { self.0.deref() };
        lived.life.check();
        &lived.node
    }
}

impl<'g, N> Unlinked<'g, N> {
    /// Frees `gone`, the topmost node and those below it that went with it, when no reader can hold
    /// them any more.
    ///
    /// # Safety
    /// Only the topmost node led to the others, and what stands in for it does not.
    pub(super) unsafe fn retire(self, gone: impl Iterator<Item = Named<'g, N>>, guard: &'g Guard) {
        let mut gone = gone.peekable();
        let first = gone.peek().map(|named| named.0);
        assert!(first == Some(self.0.0), "what was unlinked is what is retired");
        for named in gone {
            // SAFETY: no word of the live tree leads to the node: it is the topmost one or below
            // it, by the caller's promise, and no other call is given it, because nothing unlinked
            // is ever linked again. Readers that are pinned now are waited for. Freeing a node
            // leaves its children.
            unsafe { guard.defer_destroy(named.0) };
        }
    }
}
