//! Whose turn it is to change a key.
//!
//! A patch builds upon the newest version of its key, which must be in the data file before the
//! patch is staged. Where it is not there yet, the patch waits, and whoever wants to change the
//! same key waits behind it: first come, first served, so that nobody waits for more than what was
//! staged and who had come before.
//!
//! Keys are told apart by a hash only. Two keys that share a slot wait for each other, which costs
//! time and never correctness.
//!
//! ```text
//! last_staged   slot -> LSN of the last record staged for its keys   from the first patch on
//! queues        slot -> tickets of those who wait, oldest first      empty as a rule
//! ```
//! Invariants: a record is staged only by the owner of the oldest ticket of each of its slots, or
//! where these have no tickets. A ticket is held over no wait for the device but that for records
//! staged before it was drawn; since tickets are drawn for all slots at once and served in their
//! order, there is no circle. Databases that are never patched pay one comparison a write.
//!
//! Tasks draw no tickets: one that is not polled any more would hold up everybody. They look again
//! whenever something was applied or a turn has ended, and so come behind the threads that wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, MutexGuard};
use std::task::Waker;

use uarr_layout::checksum::crc32c;
use uarr_layout::frame::Frame;
use uarr_layout::record::Locator;
use uarr_uring::Storage;

use crate::commit::{Patience, Role};
use crate::core::Core;
use crate::error::Result;
use crate::lead::Stint;
use crate::options::WriteOptions;
use crate::staging::Staging;
use crate::sync::lock;
use crate::wakes::{Place, Wakes};

const SLOT_BITS: u32 = 12;

/// A number for keys, smaller than `1 << SLOT_BITS`.
type Slot = u16;

fn slot_of(key: &[u8]) -> Slot {
    (crc32c(&[key]) >> (u32::BITS - SLOT_BITS)) as Slot
}

/// A place in the queues of some keys.
#[derive(Debug)]
pub(crate) struct Ticket {
    number: u64,
    slots: BTreeSet<Slot>,
    /// Those of them whose newest version must be in the data file.
    patched: BTreeSet<Slot>,
}

/// The queues; part of what the staging lock protects.
#[derive(Default)]
pub(crate) struct Turns {
    last_staged: Option<Box<[u64]>>,
    queues: BTreeMap<Slot, VecDeque<u64>>,
    next_number: u64,
    /// Tasks that wait.
    wakers: Vec<Waker>,
}

impl Turns {
    /// From now on [`Turns::last_staged`] is exact. Records up to `lsn` were staged without being
    /// noted.
    fn begin_notes(&mut self, lsn: u64) {
        self.last_staged.get_or_insert_with(|| vec![lsn; 1 << SLOT_BITS].into());
    }

    /// Notes that records with LSNs up to `lsn` were staged for the keys of `frames`.
    pub fn note(&mut self, frames: &[Frame<'_>], lsn: u64) {
        if let Some(last_staged) = &mut self.last_staged {
            frames.iter().for_each(|frame| last_staged[usize::from(slot_of(frame.key))] = lsn);
        }
    }

    /// At or above the LSN of the last record that was staged for a key of `slot`.
    fn last_staged(&self, slot: Slot) -> u64 {
        self.last_staged.as_ref().map_or(u64::MAX, |last| last[usize::from(slot)])
    }

    /// Puts someone at the end of the queues of `slots`.
    fn enter(&mut self, slots: BTreeSet<Slot>, patched: BTreeSet<Slot>) -> Ticket {
        assert!(patched.is_subset(&slots));
        let number = self.next_number;
        self.next_number += 1;
        slots.iter().for_each(|slot| self.queues.entry(*slot).or_default().push_back(number));
        Ticket { number, slots, patched }
    }

    /// Takes `ticket` out of the queues. Leaving twice does nothing.
    fn leave(&mut self, ticket: &Ticket) {
        for slot in &ticket.slots {
            if let Some(queue) = self.queues.get_mut(slot) {
                queue.retain(|number| *number != ticket.number);
                if queue.is_empty() {
                    self.queues.remove(slot);
                }
            }
        }
    }

    /// Whether someone came before the owner of `ticket`, or before someone without, for a key of
    /// `slot`.
    fn is_taken(&self, slot: Slot, ticket: Option<&Ticket>) -> bool {
        let number = ticket.map_or(u64::MAX, |ticket| ticket.number);
        let first = self.queues.get(&slot).and_then(|queue| queue.front());
        first.is_some_and(|first| *first < number)
    }

    fn is_first(&self, ticket: &Ticket) -> bool {
        !ticket.slots.iter().any(|slot| self.is_taken(*slot, Some(ticket)))
    }
}

/// What those who wait for their turn share with those who do not hold the staging lock.
pub(crate) struct Waiting {
    /// Records up to here are in data file and index. Not kept in memory-first databases.
    applied_lsn: AtomicU64,
    /// Threads and tasks that wait.
    count: AtomicU32,
    /// Something was applied or settled, or a turn has ended; waited for with the staging lock.
    ended: Condvar,
}

impl Waiting {
    /// Nobody waits, all up to `applied_lsn` is applied.
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

/// The version of a key that a patch builds upon; `None` if there is no record to patch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base<'a> {
    pub key: &'a [u8],
    pub locator: Option<Locator>,
}

/// What must hold in the moment in which records are staged.
#[derive(Clone, Copy, Default)]
pub(crate) struct Premise<'a> {
    /// The writer's place in the queues, if it had to wait.
    pub ticket: Option<&'a Ticket>,
    /// Versions that must still be the newest.
    pub bases: &'a [Base<'a>],
}

/// The right to be next. Ends when it is dropped, or when its owner has staged something. Who holds
/// it runs no waker: one that writes to the same key would wait for it.
pub(crate) struct Turn<'a, S: Storage> {
    core: &'a Core<S>,
    ticket: Ticket,
    is_over: bool,
}

impl<S: Storage> Turn<'_, S> {
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Its owner has staged something, which ended it, and may have to lead: no waker may run here.
    pub fn end(mut self) {
        self.is_over = true;
    }
}

impl<S: Storage> Drop for Turn<'_, S> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut wakes = Wakes::default();
        let mut staging = lock(&self.core.staging);
        staging.turns.leave(&self.ticket);
        self.core.wake_turns(&mut staging, &mut wakes);
    }
}

impl<S: Storage> Core<S> {
    /// Whether `frames` may be staged now. `false`: take a turn first, and build anew upon the
    /// newest versions. A task is woken when that may help.
    pub fn may_stage(
        &self,
        staging: &mut Staging,
        frames: &[Frame<'_>],
        premise: Premise<'_>,
        patience: Patience<'_>,
        wakes: &mut Wakes,
    ) -> Result<bool> {
        let turns = &staging.turns;
        if !turns.queues.is_empty()
            && frames.iter().any(|frame| turns.is_taken(slot_of(frame.key), premise.ticket))
        {
            self.wake_later(staging, patience);
            return Ok(false);
        }
        Ok(premise.bases.is_empty() || self.are_newest(staging, premise.bases, patience, wakes)?)
    }

    /// Whether `bases` are the newest versions of their keys, staged ones included. If not, a task
    /// is woken when they are in the data file.
    pub fn are_newest(
        &self,
        staging: &mut Staging,
        bases: &[Base<'_>],
        patience: Patience<'_>,
        wakes: &mut Wakes,
    ) -> Result<bool> {
        staging.turns.begin_notes(staging.next_lsn - 1);
        let mut slots = bases.iter().map(|base| slot_of(base.key));
        if slots.any(|slot| self.is_pending(staging, slot)) {
            self.wake_later(staging, patience);
            self.hurry(staging, patience);
            return Ok(false);
        }
        for base in bases {
            let present = self.table.get(base.key, &self.store)?;
            if present.filter(|locator| !locator.is_tombstone()) != base.locator {
                if let Patience::Task(waker) = patience {
                    wakes.push(waker.take());
                }
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a record of a key of `slot` may be staged and not applied. Memory-first databases
    /// apply what they stage before they let go of the lock.
    fn is_pending(&self, staging: &Staging, slot: Slot) -> bool {
        let applied_lsn = self.waiting.applied_lsn.load(Ordering::SeqCst).max(staging.settled_lsn);
        !self.options.durability.memory_first() && staging.turns.last_staged(slot) > applied_lsn
    }

    /// Stages frames that found a patch of one of their keys waiting, behind it.
    pub fn stage_in_turn(
        &self,
        frames: &mut [Frame<'_>],
        options: WriteOptions,
        patience: Patience<'_>,
    ) -> Result<(u64, Role)> {
        let turn = self.take_turn(frames.iter().map(|frame| frame.key), std::iter::empty())?;
        let premise = Premise { ticket: Some(turn.ticket()), ..Premise::default() };
        let mut wakes = Wakes::new(Place::LogThread);
        let staged = self.stage(frames, options, patience, premise, &mut wakes);
        self.hand_on(&mut wakes);
        let staged = staged?.expect("no writer comes before the owner of a turn");
        turn.end();
        Ok(staged)
    }

    /// Waits until all who came before for one of `keys` are through, and the newest versions of
    /// those in `patched` are in the data file. Until the turn ends nobody else stages anything for
    /// them.
    pub fn take_turn<'k>(
        &self,
        keys: impl Iterator<Item = &'k [u8]>,
        patched: impl Iterator<Item = &'k [u8]>,
    ) -> Result<Turn<'_, S>> {
        let (slots, patched) = (keys.map(slot_of).collect(), patched.map(slot_of).collect());
        let ticket = {
            let mut staging = lock(&self.staging);
            let lsn = staging.next_lsn - 1;
            staging.turns.begin_notes(lsn);
            staging.turns.enter(slots, patched)
        };
        // Declared before the guard: on each way out the lock is let go before the turn ends.
        let turn = Turn { core: self, ticket, is_over: false };
        let ticket = &turn.ticket;
        let mut staging = lock(&self.staging);
        // Counted before it is asked what is applied: a leader does it the other way round.
        self.waiting.count.fetch_add(1, Ordering::SeqCst);
        let outcome = loop {
            if let Err(error) = self.health.check() {
                break Err(error);
            }
            let is_pending = ticket.patched.iter().any(|slot| self.is_pending(&staging, *slot));
            if !is_pending && staging.turns.is_first(ticket) {
                break Ok(());
            }
            staging = self.wait_turn(staging, is_pending);
        };
        self.waiting.count.fetch_sub(1, Ordering::SeqCst);
        drop(staging);
        outcome.map(|()| turn)
    }

    /// Waits until something was applied or settled, or a turn has ended. With `is_pending`, a
    /// staged group that nobody writes is written instead.
    fn wait_turn<'a>(
        &'a self,
        mut staging: MutexGuard<'a, Staging>,
        is_pending: bool,
    ) -> MutexGuard<'a, Staging> {
        if is_pending && !staging.leader {
            staging.leader = true;
            drop(staging);
            let mut wakes = Wakes::new(Place::LogThread);
            self.lead(Stint::Turn, &mut wakes);
            self.hand_on(&mut wakes);
            return lock(&self.staging);
        }
        crate::sync::wait(&self.waiting.ended, staging)
    }

    fn wake_later(&self, staging: &mut Staging, patience: Patience<'_>) {
        if let Patience::Task(waker) = patience {
            let is_new = waker.enter(&mut staging.turns.wakers);
            self.waiting.count.fetch_add(u32::from(is_new), Ordering::SeqCst);
        }
    }

    /// Has the open group written soon, which nobody else may be in a hurry for.
    fn hurry(&self, staging: &mut Staging, patience: Patience<'_>) {
        if let (Patience::Task(_), Some(group)) = (patience, &mut staging.open) {
            group.is_awaited = true;
            if !staging.leader {
                self.wake_log_thread(staging);
            }
        }
    }

    /// Wakes those who wait for records to be applied or for a turn to end.
    pub fn wake_turns(&self, staging: &mut Staging, wakes: &mut Wakes) {
        if self.waiting.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let woken = staging.turns.wakers.len();
        wakes.take_all(&mut staging.turns.wakers);
        self.waiting.count.fetch_sub(u32::try_from(woken).unwrap_or(u32::MAX), Ordering::SeqCst);
        self.waiting.ended.notify_all();
    }

    /// Tells those who wait for their turn that the records up to `lsn` are in data file and index.
    /// A task that just misses this is woken when the group is settled.
    pub fn note_applied(&self, lsn: u64, wakes: &mut Wakes) {
        self.waiting.applied_lsn.store(lsn, Ordering::SeqCst);
        if self.waiting.count.load(Ordering::SeqCst) > 0 {
            self.wake_turns(&mut lock(&self.staging), wakes);
        }
    }

    /// Notes what was just staged, and ends the turn of `ticket`.
    pub fn note_staged(
        &self,
        staging: &mut Staging,
        frames: &[Frame<'_>],
        ticket: Option<&Ticket>,
        wakes: &mut Wakes,
    ) {
        let lsn = staging.next_lsn - 1;
        staging.turns.note(frames, lsn);
        if let Some(ticket) = ticket {
            staging.turns.leave(ticket);
            self.wake_turns(staging, wakes);
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
        assert!(turns.is_taken(3, None), "who has no ticket comes last");
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
        assert_eq!(turns.last_staged(a), u64::MAX, "nobody knows");
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
