//! The lead: the right, and the duty, to write groups.

/// The lead, for the one thread that has it. A thread gets it from the staging area
/// ([`crate::commit::staging::Staging::take_lead`]) or as a member that was asked to lead
/// ([`crate::commit::cell::GroupCell::wait`]), and gives it up by leading.
#[must_use = "the lead is a duty: others wait for the groups of the one who has it"]
#[derive(Debug)]
pub(crate) struct Lead(());

impl Lead {
    /// Only for the two that give it.
    pub(in crate::commit) fn given() -> Self {
        Self(())
    }

    /// The groups are written, or another thread was asked to.
    pub(in crate::commit) fn end(self) {
        std::mem::forget(self);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "a lead ends only when its owner has led");
    }
}
