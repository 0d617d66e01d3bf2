//! [`RoomWait`]: a writer that waits while others make room.
//!
//! A thread looks again now and then. A task leaves its waker beside those that wait for a buffer,
//! if anyone is at work; who makes room wakes all when it has made some, and when it has none left
//! to make.

use std::sync::atomic::Ordering;
use std::time::Duration;

use uarr_layout::frame::Frame;
use uarr_uring::Storage;

use crate::commit::committer::Committer;
use crate::commit::patience::Patience;
use crate::commit::space::need_of;
use crate::commit::wakes::{Place, Wakes};
use crate::data::live::LINE_BYTES;
use crate::data::places::Need;
use crate::meters::histogram::Histogram;
use crate::options::WhenFull;
use crate::sync::lock;

/// How long a writer waits for room before it looks again.
const ROOM_WAIT: Duration = Duration::from_millis(1);
/// How often at the start of a chunk, so that garbage gets less.
const PLACE_WAIT_COUNT_MAX: usize = 500;
/// How often on a full disk, while room is on its way.
const FULL_WAIT_COUNT_MAX: usize = 10_000;
/// Chunks that even a small database has: open ones, and what is on its way through quarantine.
const CHUNK_COUNT_FIXED: u64 = 6;

/// When a writer that found no room tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TryAgain {
    /// There may be some now.
    Now,
    /// The task will be woken when there may be some.
    Later,
}

/// A writer that waits: how often it has.
#[derive(Default)]
pub(crate) struct RoomWait {
    count: usize,
    /// Nothing was on its way any more when it last tried.
    is_last: bool,
    /// How long it has waited.
    ns: u64,
}

impl RoomWait {
    fn begin<S: Storage>(committer: &Committer<S>) -> Self {
        committer.ask_mover();
        Self::default()
    }

    /// Waits a little, if room is on its way. False: it is no use.
    fn goes_on<S: Storage>(&mut self, committer: &Committer<S>) -> bool {
        let goes_on = committer.gives_back() && committer.health.check().is_ok();
        if goes_on {
            let begun_ns = committer.now_ns();
            committer.place_freed.wait(ROOM_WAIT);
            self.count += 1;
            self.ns += committer.ns_since(begun_ns);
        }
        goes_on
    }

    /// Notes how long it has waited, if it has.
    pub fn note_in(&self, waits: &Histogram) {
        if self.count > 0 {
            waits.record(self.ns);
        }
    }
}

impl<S: Storage> Committer<S> {
    /// Whether a thread waits for others that make room: it does not if its caller asked for an
    /// error instead, nor do the mover, and wakers on a thread that makes room.
    fn may_wait(&self, frames: &[Frame<'_>], patience: Patience<'_>) -> bool {
        self.options.background
            && self.options.when_full == WhenFull::Wait
            && !matches!(patience, Patience::Task(_))
            && need_of(frames) != Need::Move
            && !self.is_own_thread()
    }

    /// Leaves the waker of a task that finds no place for its records, if room is on its way.
    /// False: it is not, or the caller is no task or does not wait.
    fn leaves_waker(&self, patience: Patience<'_>) -> bool {
        let Patience::Task(waker) = patience else { return false };
        if waker.asks_for_room() {
            self.ask_mover();
        }
        let mut staging = lock(&self.staging);
        // Under the lock: who stops making room, or ends the writes, takes the wakers after that,
        // and under it. Between the look at the health before and this one a database may close.
        let waits = self.options.when_full == WhenFull::Wait
            && self.health.check().is_ok()
            && self.gives_back();
        if waits {
            waker.enter(&mut staging.room_wakers);
        }
        waits
    }

    /// Has all tasks look again that wait for room, or for a buffer.
    pub fn wake_for_room(&self) {
        let mut wakes = Wakes::new(Place::LogThread);
        wakes.take_all(&mut lock(&self.staging).room_wakers);
        self.hand_on(&mut wakes);
    }

    /// Gives the mover time, if there is more garbage than there may be, as long as it finds
    /// something to do or waits for a checkpoint: what an iterator keeps, or no move can gain, is
    /// no reason to wait. False: a task that will be woken.
    pub fn wait_for_places(&self, frames: &[Frame<'_>], patience: Patience<'_>) -> bool {
        if need_of(frames) == Need::Move || !self.has_too_much_garbage() {
            return true;
        }
        if !self.may_wait(frames, patience) {
            return !self.leaves_waker(patience);
        }
        let mut wait = RoomWait::begin(self);
        while self.has_too_much_garbage() && wait.count < PLACE_WAIT_COUNT_MAX && wait.goes_on(self)
        {
        }
        wait.note_in(&self.waits.garbage);
        true
    }

    /// After a lack of room: has all that can make some do so, and waits a little; a task will be
    /// woken. `None`: nothing is on its way, or the caller has waited long enough, or does not
    /// wait.
    pub fn wait_for_room(
        &self,
        frames: &[Frame<'_>],
        patience: Patience<'_>,
        wait: &mut Option<RoomWait>,
    ) -> Option<TryAgain> {
        self.note_lack();
        if self.lacks_segments() {
            self.counters.wants_checkpoint.store(true, Ordering::Release);
            self.checkpointer.raise();
        }
        if need_of(frames) == Need::Move || self.options.when_full == WhenFull::Error {
            return None;
        }
        if self.leaves_waker(patience) {
            return Some(TryAgain::Later);
        }
        let may_wait = self.may_wait(frames, patience);
        // A task has asked once, and would ask again whenever it is woken.
        let begin = || if may_wait { RoomWait::begin(self) } else { RoomWait::default() };
        let wait = wait.get_or_insert_with(begin);
        if may_wait && wait.count < FULL_WAIT_COUNT_MAX && wait.goes_on(self) {
            wait.is_last = false;
            return Some(TryAgain::Now);
        }
        // Who has nothing left to do may have made room since it was asked for.
        (!std::mem::replace(&mut wait.is_last, true)).then_some(TryAgain::Now)
    }

    /// Has the mover look for room: until it has, some is taken to be on its way.
    pub fn ask_mover(&self) {
        self.asked_count.fetch_add(1, Ordering::AcqRel);
        self.mover.raise();
    }

    /// How often the mover was asked, for it to note before it looks.
    pub fn asked_count(&self) -> u64 {
        self.asked_count.load(Ordering::Acquire)
    }

    /// The mover has looked for something to do, when it had been asked `asked_count` times.
    /// `works`: there was something, or will be in a moment.
    pub fn note_moves(&self, works: bool, asked_count: u64) {
        self.mover_works.store(works, Ordering::Release);
        let answered_count = self.answered_count.fetch_max(asked_count, Ordering::AcqRel);
        assert!(
            answered_count.max(asked_count) <= self.asked_count(),
            "what was asked is answered"
        );
        if !works {
            self.wake_for_room();
        }
    }

    /// Whether places are on their way to become free.
    pub fn gives_back(&self) -> bool {
        // First: who answers has said before whether it works.
        let is_answered = self.answered_count.load(Ordering::Acquire) == self.asked_count();
        !is_answered
            || self.mover_works.load(Ordering::Acquire)
            || self.counters.wants_checkpoint.load(Ordering::Acquire)
            || self.counters.has_checkpoint.load(Ordering::Acquire)
    }

    /// Whether chunks take more than they may, for what lives in them.
    pub fn has_too_much_garbage(&self) -> bool {
        let (used_bytes, waiting_bytes) = self.taken_bytes();
        let live_bytes = self.records.live_lines() * LINE_BYTES;
        let kept_bytes = self.records.retained.total_lines() * LINE_BYTES;
        // Two index images are there, too.
        let images_bytes = self.checkpoint_step_bytes_min();
        let beyond = (live_bytes as f64 * (self.options.space_amplification_max - 1.0)) as u64;
        let beyond = beyond.saturating_sub(images_bytes);
        let garbage_max = beyond.max(CHUNK_COUNT_FIXED * self.records.chunk_bytes());
        let keeps_garbage = self.keeps_garbage.load(Ordering::Relaxed);
        !keeps_garbage && used_bytes + waiting_bytes > live_bytes + kept_bytes + garbage_max
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use uarr_disk_sim::Memory;
    use uarr_layout::frame::FrameKind;

    use super::*;
    use crate::commit::wakes::{OwnWaker, Polls};
    use crate::options::WriteOptions;

    /// A task had found the database open, was held up until it was closed, and then left its
    /// waker in a list that no thread read again.
    #[test]
    fn a_task_that_misses_the_end_is_not_left_asleep() {
        let core = crate::recovery::open::open_small(Memory::new()).unwrap();
        let committer = &core.committer;
        let frames = [Frame::new(FrameKind::Put, 0, b"key", b"value")];
        let tries_again = |wait: &mut Option<RoomWait>| {
            let polls = Polls::default();
            let own = OwnWaker::of(Waker::noop(), &polls);
            committer.wait_for_room(&frames, Patience::Task(&own), wait)
        };
        let is_shown = || {
            let polls = Polls::default();
            let own = OwnWaker::of(Waker::noop(), &polls);
            let lsn = committer.records.visible.lsn() + 1;
            committer.is_shown(lsn, WriteOptions::new(), Patience::Task(&own))
        };
        let sleeper_count = || {
            let staging = lock(&committer.staging);
            staging.room_wakers.len() + staging.turns.wakers.len()
        };
        // No mover runs here, so room seems to be on its way for ever.
        assert_eq!(tries_again(&mut None), Some(TryAgain::Later));
        assert!(!is_shown().unwrap());
        assert_eq!(sleeper_count(), 2);
        committer.begin_closing();
        assert_eq!(sleeper_count(), 0, "who closes wakes them");
        assert_eq!(tries_again(&mut None), Some(TryAgain::Now), "and the next look ends it");
        assert!(!is_shown().unwrap(), "what is staged is settled before a database is closed");
        committer.poison_by(&crate::Error::new(crate::ErrorKind::Io, "a test"));
        assert!(is_shown().is_err(), "after a failure nothing is");
        assert_eq!(sleeper_count(), 0);
        assert!(committer.gives_back(), "it was no lack of hope");
    }
}
