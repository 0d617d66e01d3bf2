//! [`RoomWait`]: a writer that waits while others make room.

use std::sync::atomic::Ordering;
use std::time::Duration;

use uarr_layout::frame::Frame;
use uarr_uring::Storage;

use crate::commit::committer::Committer;
use crate::commit::patience::Patience;
use crate::commit::space::need_of;
use crate::data::live::LINE_BYTES;
use crate::data::places::Need;
use crate::options::WhenFull;

/// How long a writer waits for room before it looks again.
const ROOM_WAIT: Duration = Duration::from_millis(1);
/// How often at the start of a chunk, so that garbage gets less.
const PLACE_WAIT_COUNT_MAX: usize = 500;
/// How often on a full disk, while room is on its way.
const FULL_WAIT_COUNT_MAX: usize = 10_000;
/// How often until the mover has looked what there is: it may be held up, or have ended.
const LOOK_WAIT_COUNT_MAX: usize = 100;
/// Chunks that even a small database has: open ones, and what is on its way through quarantine.
const CHUNK_COUNT_FIXED: u64 = 6;

/// A writer that waits.
pub(crate) struct RoomWait {
    /// How often it has waited, and how often since something was on its way.
    count: usize,
    idle_count: usize,
    /// How often the mover had looked before.
    look_count: u64,
}

impl RoomWait {
    fn begin<S: Storage>(committer: &Committer<S>) -> Self {
        Self { count: 0, idle_count: 0, look_count: committer.look_count.load(Ordering::Acquire) }
    }

    /// Waits a little, if the mover gets somewhere or has not yet looked. False: it is no use.
    fn goes_on<S: Storage>(&mut self, committer: &Committer<S>) -> bool {
        let look_count = committer.look_count.load(Ordering::Acquire);
        if committer.gives_back() {
            (self.look_count, self.idle_count) = (look_count, 0);
        }
        // One look may have been under way before.
        let has_looked = look_count - self.look_count >= 2;
        let goes_on = !has_looked && self.idle_count < LOOK_WAIT_COUNT_MAX;
        if goes_on && committer.health.check().is_ok() {
            committer.mover.raise();
            committer.place_freed.wait(ROOM_WAIT);
            self.count += 1;
            self.idle_count += 1;
            return true;
        }
        false
    }
}

impl<S: Storage> Committer<S> {
    /// Whether a caller waits for others that make room: a task does not, nor does a caller who
    /// asked for an error instead, nor the mover.
    fn may_wait(&self, frames: &[Frame<'_>], patience: Patience<'_>) -> bool {
        self.options.background
            && self.options.when_full == WhenFull::Wait
            && !matches!(patience, Patience::Task(_))
            && need_of(frames) != Need::Move
    }

    /// Gives the mover time, if there is more garbage than there may be, as long as it finds
    /// something to do or waits for a checkpoint: what an iterator keeps, or no move can gain, is
    /// no reason to wait.
    pub fn wait_for_places(&self, frames: &[Frame<'_>], patience: Patience<'_>) {
        if !self.may_wait(frames, patience) || !self.has_too_much_garbage() {
            return;
        }
        let mut wait = RoomWait::begin(self);
        while self.has_too_much_garbage() && wait.count < PLACE_WAIT_COUNT_MAX && wait.goes_on(self)
        {
        }
    }

    /// After a lack of room: has all that can make some do so, and waits a little. False: nothing
    /// is on its way, or the caller has waited long enough, or does not wait.
    pub fn wait_for_room(
        &self,
        frames: &[Frame<'_>],
        patience: Patience<'_>,
        wait: &mut Option<RoomWait>,
    ) -> bool {
        self.note_lack();
        if self.lacks_segments() {
            self.counters.wants_checkpoint.store(true, Ordering::Release);
            self.checkpointer.raise();
        }
        self.mover.raise();
        let wait = wait.get_or_insert_with(|| RoomWait::begin(self));
        self.may_wait(frames, patience) && wait.count < FULL_WAIT_COUNT_MAX && wait.goes_on(self)
    }

    /// The mover has looked for something to do. `works`: there was something, or will be.
    pub fn note_moves(&self, works: bool) {
        self.mover_works.store(works, Ordering::Release);
        self.look_count.fetch_add(1, Ordering::Release);
    }

    /// Whether places are on their way to become free.
    pub fn gives_back(&self) -> bool {
        self.mover_works.load(Ordering::Acquire)
            || self.counters.wants_checkpoint.load(Ordering::Acquire)
            || self.counters.has_checkpoint.load(Ordering::Acquire)
    }

    /// Whether chunks take more than they may, for what lives in them.
    pub fn has_too_much_garbage(&self) -> bool {
        let (used_bytes, waiting_bytes) = self.taken_bytes();
        let live_bytes = self.records.live_lines() * LINE_BYTES;
        // Two index images are there, too.
        let images_bytes = self.checkpoint_step_bytes_min();
        let beyond = (live_bytes as f64 * (self.options.space_amplification_max - 1.0)) as u64;
        let beyond = beyond.saturating_sub(images_bytes);
        let garbage_max = beyond.max(CHUNK_COUNT_FIXED * self.records.chunk_bytes());
        let keeps_garbage = self.keeps_garbage.load(Ordering::Relaxed);
        !keeps_garbage && used_bytes + waiting_bytes > live_bytes + garbage_max
    }
}
