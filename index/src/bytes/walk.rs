//! Walking through the hash side: all entries of an index that has no order.
//!
//! ```text
//! values of hashes, a ring      start
//!   . a b . . c . d e f . . . g . . h .
//!                     ^ behind `f` nothing lies: a step may end here
//! ```
//! An entry lies between its hash and the next free value, and moves only down, never below its
//! hash ([`super::points`]). So whatever lies beyond a value that was free once never comes to lie
//! before it:
//! 1. A walk begins behind a free value, goes around the ring, and ends at that value.
//! 2. It is made of steps. Each ends in front of a free value, so that it has whole chains; and it
//!    is done again if an entry has moved meanwhile.

use std::ops::Bound;

use crossbeam_epoch as epoch;

use crate::tree::Tree;

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkPlace {
    /// The free value behind which the walk has begun.
    start: u64,
    /// The next value, counted from the one behind `start`.
    distance: u64,
}

impl WalkPlace {
    /// The place of value `at`.
    fn of(start: u64, at: u64) -> Self {
        Self { start, distance: at.wrapping_sub(start).wrapping_sub(1) }
    }

    fn value(self) -> u64 {
        self.start.wrapping_add(1).wrapping_add(self.distance)
    }

    /// `None`: the walk has been everywhere.
    fn next(self) -> Option<Self> {
        Some(Self { distance: self.distance.checked_add(1)?, ..self })
    }
}

/// An entry that a walk has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkEntry {
    /// What is stored for its key.
    pub payload: u64,
    pub(super) at: u64,
    /// See [`WalkEntry::is_boundary`].
    ends_chain: bool,
    start: u64,
}

impl WalkEntry {
    /// Whether all that was met up to here is never met again by a walk from
    /// [`WalkEntry::behind`]. Entries of one chain, which share hashes or nearly do, may change
    /// places among themselves.
    pub fn is_boundary(&self) -> bool {
        self.ends_chain
    }

    /// Where a walk goes on behind this entry; `None`: it has met all.
    pub fn behind(&self) -> Option<WalkPlace> {
        WalkPlace::of(self.start, self.at).next()
    }
}

/// One step of a walk: appends at least `max` entries, unless there are fewer.
pub(super) fn step(
    tree: &Tree,
    from: Option<WalkPlace>,
    max: usize,
    out: &mut Vec<WalkEntry>,
) -> Option<WalkPlace> {
    let guard = epoch::pin();
    let is_free = |at: u64| tree.get(at, &guard).is_none();
    let from = from.unwrap_or_else(|| {
        let start = (0..=u64::MAX).find(|at| is_free(*at)).expect("memory has no room for so many");
        WalkPlace { start, distance: 0 }
    });
    let (start, mut low) = (from.start, from.value());
    let mut found = Vec::with_capacity(max);
    if low > start {
        tree.scan(Bound::Included(low), max, &mut found, &guard);
        low = 0;
    }
    let count = found.len();
    if count < max {
        tree.scan(Bound::Included(low), max - count, &mut found, &guard);
        let is_before = |(at, _): &&(u64, u64)| *at <= start;
        let before_count = found[count..].iter().take_while(is_before).count();
        found.truncate(count + before_count);
    }
    if found.len() < max {
        note(&found, start, out);
        return None;
    }
    // To the end of the chain.
    loop {
        let next = found.last().expect("there are at least `max`").0.wrapping_add(1);
        let payload = tree.get(next, &guard).filter(|_| next.wrapping_sub(1) != start);
        let Some(payload) = payload else { break };
        found.push((next, payload));
    }
    note(&found, start, out);
    out.last().and_then(WalkEntry::behind)
}

/// Appends what was `found` by a walk that has begun behind `start`.
fn note(found: &[(u64, u64)], start: u64, out: &mut Vec<WalkEntry>) {
    for (index, (at, payload)) in found.iter().enumerate() {
        let next = found.get(index + 1).map(|(next, _)| *next);
        let ends_chain = next != Some(at.wrapping_add(1));
        out.push(WalkEntry { payload: *payload, at: *at, ends_chain, start });
    }
}
