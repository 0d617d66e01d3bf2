//! The order of writers that change the same key.
//!
//! A patch builds upon the newest version of its key, which must be in the data file before the
//! patch is staged; so does a change with a condition. Where it is not there yet, the writer waits,
//! and later writers of the same key wait behind it: first come, first served, so a writer waits
//! for no more than what was staged and who came before.
//!
//! A hash alone distinguishes keys. Two keys that share a slot wait for each other, which costs
//! time and never correctness.
//!
//! ```text
//! last_staged   slot -> LSN of the last record staged for its keys   from the first such writer on
//! queues        slot -> numbers of the places in line, oldest first  empty as a rule
//! ```
//! Invariants: a record is staged only by the owner of the oldest place in line of each of its
//! slots, or where these have no line. A writer holds its place over no wait for the device but
//! that for records staged before it took the place; since it takes one for all slots at once, and
//! places are served in their order, there is no circle. Databases without such writers pay one
//! comparison a write.
//!
//! Tasks take no places: one that is never polled again would hold up all others. They look again
//! whenever something was applied or a turn has ended, and so come behind the threads that wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Condvar;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::Waker;

use uarr_layout::frame::Frame;

use crate::commit::staged_counters::StagedCounters;

const SLOT_BITS: u32 = 12;

// The high bits of a hash make a number of this type.
const _: () = assert!(SLOT_BITS <= Slot::BITS && SLOT_BITS < u64::BITS);

/// A number for keys, smaller than `1 << SLOT_BITS`.
pub(crate) type Slot = u16;

/// The slot of `key`: its words multiplied and folded, as every staged record asks for it.
pub(crate) fn slot_of(key: &[u8]) -> Slot {
    // An odd number without a pattern: 2^64 by the golden ratio.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    let (words, rest) = key.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    let hash = words.fold(key.len() as u64, fold);
    // Each bit of the key reaches the bits that count.
    let mixed = (hash ^ hash >> 32).wrapping_mul(FACTOR);
    (mixed >> (u64::BITS - SLOT_BITS)) as Slot
}

/// A place in line: in the queues of some keys.
#[derive(Debug)]
pub(crate) struct LinePlace {
    number: u64,
    slots: BTreeSet<Slot>,
    /// Those of them whose newest version must be in the data file.
    pub bases: BTreeSet<Slot>,
}

/// The queues; part of what the staging lock protects.
#[derive(Default)]
pub(crate) struct Turns {
    last_staged: Option<Box<[u64]>>,
    pub queues: BTreeMap<Slot, VecDeque<u64>>,
    next_number: u64,
    /// Tasks that wait.
    pub wakers: Vec<Waker>,
    pub counters: StagedCounters,
}

impl Turns {
    /// From now on [`Turns::last_staged`] is exact. Records up to `lsn` were staged without being
    /// noted.
    pub fn begin_notes(&mut self, lsn: u64) {
        self.last_staged.get_or_insert_with(|| vec![lsn; 1 << SLOT_BITS].into());
    }

    /// Notes that records with LSNs up to `lsn` were staged for the keys of `frames`.
    pub fn note(&mut self, frames: &[Frame<'_>], lsn: u64) {
        if let Some(last_staged) = &mut self.last_staged {
            for frame in frames {
                let last = &mut last_staged[usize::from(slot_of(frame.key))];
                assert!(*last <= lsn, "records are staged in the order of their LSNs");
                *last = lsn;
            }
        }
    }

    /// At or above the LSN of the last record that was staged for a key of `slot`.
    pub fn last_staged(&self, slot: Slot) -> u64 {
        self.last_staged.as_ref().map_or(u64::MAX, |last| last[usize::from(slot)])
    }

    /// Puts a writer at the end of the queues of `slots`.
    pub fn enter(&mut self, slots: BTreeSet<Slot>, bases: BTreeSet<Slot>) -> LinePlace {
        assert!(!slots.is_empty(), "a writer of nothing needs no turn");
        assert!(bases.is_subset(&slots));
        let number = self.next_number;
        self.next_number += 1;
        for slot in &slots {
            let queue = self.queues.entry(*slot).or_default();
            assert!(queue.back().is_none_or(|last| *last < number), "numbers of places rise");
            queue.push_back(number);
        }
        LinePlace { number, slots, bases }
    }

    /// Takes `place` out of the queues. Leaving twice does nothing.
    pub fn leave(&mut self, place: &LinePlace) {
        for slot in &place.slots {
            if let Some(queue) = self.queues.get_mut(slot) {
                queue.retain(|number| *number != place.number);
                if queue.is_empty() {
                    self.queues.remove(slot);
                }
            }
        }
    }

    /// True if a writer came before the owner of `place`, or before a writer without a place, for a
    /// key of `slot`.
    pub fn is_taken(&self, slot: Slot, place: Option<&LinePlace>) -> bool {
        let number = place.map_or(u64::MAX, |place| place.number);
        let first = self.queues.get(&slot).and_then(|queue| queue.front());
        first.is_some_and(|first| *first < number)
    }

    /// Whether `place` is in the queues of all its slots.
    pub fn holds(&self, place: &LinePlace) -> bool {
        let holds = |slot| self.queues.get(slot).is_some_and(|queue| queue.contains(&place.number));
        place.slots.iter().all(holds)
    }

    pub fn is_first(&self, place: &LinePlace) -> bool {
        !place.slots.iter().any(|slot| self.is_taken(*slot, Some(place)))
    }
}

/// What writers that wait for their turn share with threads that do not hold the staging lock.
pub(crate) struct Waiting {
    /// Records up to here are in data file and index. Not kept in memory-first databases.
    pub applied_lsn: AtomicU64,
    /// Threads and tasks that wait.
    pub count: AtomicU32,
    /// Something was applied or settled, or a turn has ended; waited for with the staging lock.
    pub ended: Condvar,
}

impl Waiting {
    /// No writer waits, all up to `applied_lsn` is applied.
    pub fn new(applied_lsn: u64) -> Self {
        let (count, ended) = (AtomicU32::new(0), Condvar::new());
        Self { applied_lsn: AtomicU64::new(applied_lsn), count, ended }
    }

    /// Has threads look again whether it is their turn, or whether they should lead.
    pub fn wake_threads(&self) {
        if self.count.load(Ordering::SeqCst) > 0 {
            self.ended.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use uarr_layout::frame::FrameKind;

    use super::*;

    fn slots(numbers: &[Slot]) -> BTreeSet<Slot> {
        numbers.iter().copied().collect()
    }

    #[test]
    fn the_first_who_came_is_first_at_each_of_its_keys() {
        let mut turns = Turns::default();
        let a = turns.enter(slots(&[1, 2]), slots(&[1]));
        let b = turns.enter(slots(&[2, 3]), slots(&[]));
        let c = turns.enter(slots(&[3]), slots(&[3]));
        assert!(turns.is_first(&a) && !turns.is_first(&b) && !turns.is_first(&c));
        assert!(turns.is_taken(3, None), "who has no place comes last");
        assert!(!turns.is_taken(4, None));
        turns.leave(&b);
        assert!(turns.is_first(&c));
        turns.leave(&a);
        turns.leave(&a);
        turns.leave(&c);
        assert!(turns.queues.is_empty());
        assert!(!turns.is_taken(2, None));
    }

    #[test]
    fn what_was_staged_is_known_from_the_first_patch_on() {
        let mut turns = Turns::default();
        let frames = [b"a", b"b"].map(|key| Frame::new(FrameKind::Put, 0, key, b"value"));
        let (a, b) = (slot_of(b"a"), slot_of(b"b"));
        assert_ne!(a, b);
        turns.note(&frames, 5);
        assert_eq!(turns.last_staged(a), u64::MAX, "not noted");
        turns.begin_notes(7);
        assert_eq!(turns.last_staged(a), 7);
        turns.note(&frames[..1], 9);
        turns.begin_notes(10);
        assert_eq!((turns.last_staged(a), turns.last_staged(b)), (9, 7));
    }

    #[test]
    fn slots_are_in_range_and_spread() {
        let used: BTreeSet<_> = (0..4096u64).map(|key| slot_of(&key.to_be_bytes())).collect();
        assert!(used.iter().all(|slot| *slot < 1 << SLOT_BITS));
        assert!(used.len() > 2000, "{}", used.len());
    }
}
