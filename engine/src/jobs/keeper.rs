//! Background work, one step at a time.
//!
//! Every job is a step that looks at the state, does a bounded part of the work and returns whether
//! there was any. Small threads drive the steps in production; tests drive them by hand.
//! - *keeper*: a log segment ahead, room in the data file ahead, pages ahead in memory, written
//!   pages on their way to the device, memory for the index, surplus segments.
//! - *checkpointer*: a checkpoint when the log has grown enough.
//! - *sweeper*: deletions of records that have expired; tables that were dropped; deletions that
//!   writers have not forgotten.
//! - *log thread*: writes groups that no caller leads: those of tasks, and in memory-first
//!   databases full ones when they take half of the buffers, all when their interval is over.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use uarr_uring::Storage;

use crate::commit::lead::Stint;
use crate::commit::room::Wanted;
use crate::commit::space::is_lack;
use crate::commit::wakes::Wakes;
use crate::core::{Core, Task};
use crate::error::Result;
use crate::jobs::checkpoint::Then;
use crate::log::pool::Activity;
use crate::log::zeros::falls_behind;
use crate::options::Durability;
use crate::sync::lock;

/// How long a thread rests without a wake-up, and after a failure.
pub(crate) const REST: Duration = Duration::from_millis(500);

/// Rest between two steps of a segment that is ahead of the log, 16 MiB a second.
const AT_LEISURE: Duration = Duration::from_millis(4);
/// Rest between two steps of one that falls behind, about 200 MiB a second.
const CATCHING_UP: Duration = Duration::from_micros(250);

/// How long the log must not have grown until surplus segments are given back.
const RESTS_AFTER: Duration = Duration::from_secs(10);

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There was nothing to do.
    Idle,
    /// The step did something, and there may be more to do.
    More,
    /// The step did something, and should do the rest this much later.
    Leisure(Duration),
}

/// When to continue with a segment that lacks `left` bytes of zeros while the log takes `in_time`
/// more.
fn pace(left: u64, in_time: u64) -> Step {
    match left {
        0 => Step::More,
        left if falls_behind(left, in_time) => Step::More,
        left if in_time < left + left / 4 => Step::Leisure(CATCHING_UP),
        _ => Step::Leisure(AT_LEISURE),
    }
}

/// After a lack of room the next checkpoint is tried not before so long: each attempt reads an
/// image, and takes a number.
const CHECKPOINT_RESTS: Duration = Duration::from_millis(50);

impl<S: Storage> Core<S> {
    /// Does one step of background work. False if there was nothing to do.
    pub fn step(&self) -> Result<bool> {
        let write = match self.options().durability {
            Durability::Interval(_) => self.committer.has_work(),
            Durability::Manual => self.committer.has_urgent_work(),
            Durability::Sync => false,
        };
        if write {
            self.committer.write_oldest(Stint::Turn, &mut Wakes::default())?;
            return Ok(true);
        }
        let is_idle = self.step_space()? == Step::Idle
            && self.step_checkpoint()? == Step::Idle
            && self.step_sweep()? == Step::Idle
            && self.step_moves()? == Step::Idle;
        Ok(!is_idle)
    }

    pub fn keep_space(&self) {
        self.repeat(Task::Space, |core| {
            let step = core.step_space()?;
            // Memory depends on the process and is no part of `step`, which a test must be able to
            // repeat.
            let prepared = core.committer.records.tables.default.prepare_memory();
            Ok(if prepared { Step::More } else { step })
        });
    }

    pub fn step_checkpoint(&self) -> Result<Step> {
        if !self.committer.checkpoint_due() || self.committer.health.check().is_err() {
            return Ok(Step::Idle);
        }
        if self.storage().now() < lock(&self.pacing).checkpoint_from {
            // No writer waits for it meanwhile.
            if self.committer.counters.wants_checkpoint.swap(false, Ordering::AcqRel) {
                self.committer.wake_for_room();
            }
            return Ok(Step::Idle);
        }
        let taken = self.checkpoint(Then::GoOn);
        if is_lack(&taken) {
            lock(&self.pacing).checkpoint_from = self.storage().now() + CHECKPOINT_RESTS;
        }
        taken.map(|()| Step::More)
    }

    fn step_space(&self) -> Result<Step> {
        if self.committer.health.check().is_err() {
            return Ok(Step::Idle);
        }
        self.committer.note_room();
        let tail = self.committer.frontier().tail;
        if self.note_lack(self.grow_ahead())?
            || self.records().space.prefault_ahead(tail, &self.records().store)
            || self.records().space.write_back(tail)?
        {
            return Ok(Step::More);
        }
        if self.committer.needs_next_segment()
            && (self.committer.segments.have_started() || self.has_room_for_segment())
        {
            let prepared = self.note_lack(self.committer.prepare_ahead())?;
            return Ok(prepared.map_or(Step::More, |(left, in_time)| pace(left, in_time)));
        }
        let activity = self.activity();
        match self.committer.trim_segments(activity)? || self.committer.trim_places(activity) {
            true => Ok(Step::More),
            false => Ok(Step::Idle),
        }
    }

    fn has_room_for_segment(&self) -> bool {
        let other_bytes = self.committer.segments.room.regular_bytes();
        self.has_room_ahead(Wanted { place_count: 0, other_bytes })
    }

    /// True if the keeper may take `wanted` early.
    fn has_room_ahead(&self, wanted: Wanted) -> bool {
        let may_try = self.storage().now() >= lock(&self.pacing).ahead_from;
        may_try && self.committer.has_room_ahead(wanted)
    }

    /// After a lack of room that only an attempt shows (a quota, say) the keeper does nothing ahead
    /// for a while: each attempt takes, for a moment, the room that there is.
    fn note_lack<T>(&self, done: Result<T>) -> Result<T> {
        if is_lack(&done) {
            lock(&self.pacing).ahead_from = self.storage().now() + RESTS_AFTER;
        }
        done
    }

    /// At rest: the log has not grown for a while.
    fn activity(&self) -> Activity {
        let log_bytes = self.committer.counters.log_bytes.load(Ordering::Relaxed);
        let now = self.storage().now();
        let mut pacing = lock(&self.pacing);
        if pacing.log_bytes != log_bytes {
            (pacing.log_bytes, pacing.quiet_since) = (log_bytes, now);
        }
        match now.saturating_sub(pacing.quiet_since) >= RESTS_AFTER {
            true => Activity::AtRest,
            false => Activity::InUse,
        }
    }

    fn grow_ahead(&self) -> Result<bool> {
        let space = &self.records().space;
        let lacking = self.committer.with_places(|places, _| {
            places.lacking_ahead(space.room_ahead(places.frontier().taken_bytes))
        });
        let has_room = |places: &Range<u64>| {
            let place_count = places.end - places.start;
            let wanted = Wanted { place_count, other_bytes: 0 };
            places.end <= space.place_count() && self.has_room_ahead(wanted)
        };
        let Some(places) = lacking.filter(has_room) else { return Ok(false) };
        // Places that are given back make room, too; if none are, writers allocate some themselves.
        if self.committer.has_too_much_garbage() {
            return Ok(false);
        }
        self.committer.allocate_ahead(places)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::ahead::room_in_time;
    use crate::log::room::BEGUN_PART;

    const SEGMENT_BYTES: u64 = 32 << 20;
    const STAGED_BYTES_MAX: u64 = 2 << 20;

    /// Bytes of the next segment that a writer has to zero itself when the log takes
    /// `bytes_per_second`, and the keeper is held up for `held_up` once, in the middle. Steps take
    /// what a device of 400 MiB a second takes.
    fn left_to_writers(bytes_per_second: u64, held_up: Duration) -> u64 {
        const STEP_BYTES: u64 = 64 << 10;
        const STEP_TIME: Duration = Duration::from_micros(160);
        let (mut now, mut left) = (Duration::ZERO, SEGMENT_BYTES);
        let mut is_held_up = false;
        loop {
            let since = (now.as_secs_f64() * bytes_per_second as f64) as u64;
            let used = SEGMENT_BYTES / BEGUN_PART + since;
            let remaining = SEGMENT_BYTES.saturating_sub(used);
            if left == 0 || remaining < STAGED_BYTES_MAX {
                return left;
            }
            if left < SEGMENT_BYTES / 2 && !std::mem::replace(&mut is_held_up, true) {
                now += held_up;
                continue;
            }
            left -= STEP_BYTES;
            now += STEP_TIME;
            let in_time = room_in_time(remaining, STAGED_BYTES_MAX, SEGMENT_BYTES);
            if let Step::Leisure(rest) = pace(left, in_time) {
                now += rest;
            }
        }
    }

    #[test]
    fn a_segment_is_ready_before_writers_ask_for_it_at_any_rate_that_leaves_time() {
        for mib_per_second in [1, 5, 10, 12, 14, 15, 16, 18, 20, 30, 50, 80, 100, 150] {
            for held_up in [Duration::ZERO, Duration::from_millis(40)] {
                let left = left_to_writers(mib_per_second << 20, held_up);
                assert_eq!(left, 0, "at {mib_per_second} MiB a second, held up for {held_up:?}");
            }
        }
    }
}
