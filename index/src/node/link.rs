//! A word that leads to a node.
//!
//! Invariant: all slots that name a node lie side by side in one inner node, or the root alone
//! names it.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::child::Child;
use crate::sync::AtomicPtr;

/// A place that holds a child: a slot of an inner node, or the root. Only the writer stores.
pub(crate) struct Link(AtomicPtr<()>);

impl Link {
    pub(crate) fn new(child: Child) -> Self {
        Self(AtomicPtr::new(child.to_raw()))
    }

    #[inline]
    pub(crate) fn load(&self) -> Child {
        Child::from_raw(self.0.load(Acquire))
    }

    /// Publishes `child`: a thread that loads it sees the node complete.
    fn store(&self, child: Child) {
        self.0.store(child.to_raw(), Release);
    }

    /// Lets all of `links` name `child`.
    pub(super) fn name(links: &[Self], child: Child) {
        links.iter().for_each(|link| link.store(child));
    }

    /// The child that all of `links` name.
    pub(super) fn only_child(links: &[Self]) -> Child {
        let child = Child::from_raw(links[0].0.load(Relaxed));
        let same = |link: &Self| Child::from_raw(link.0.load(Relaxed)) == child;
        assert!(links.iter().all(same), "slots of one child lie side by side");
        child
    }
}
