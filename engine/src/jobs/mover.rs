//! Giving space back: records that live in mostly dead chunks are moved to another one, and the
//! places of chunks in which none lives are used again.
//!
//! One step does one of these, in this order:
//! 1. places that no reader looks at any more become free;
//! 2. chunks that have passed the horizon are closed, once readers at work are through;
//! 3. old versions that pins need are copied out of a chunk that waits for these alone
//!    ([`crate::jobs::retain`]);
//! 4. some records of the chunk that is being evacuated are copied, and the index is made to lead
//!    to the copies; when it names nothing in the chunk any more, the chunk goes to quarantine;
//! 5. a chunk is chosen, if there is more garbage than there may be.
//!
//! Moves are not logged: the next checkpoint makes them durable, and a crash forgets them. Why that
//! loses nothing is told in [`crate::data::quarantine`].

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use uarr_layout::geometry::PAGE_BYTES;
use uarr_layout::record::Locator;
use uarr_uring::{CHUNK_SPAN, Grace, MapPin, Storage};

use crate::commit::wakes::{Place, Wakes};
use crate::core::Core;
use crate::data::applier::Moved;
use crate::data::copies::ColdChunk;
use crate::data::live::{LINE_BYTES, LiveRecords};
use crate::data::quarantine::Horizon;
use crate::data::stream::Stream;
use crate::error::{ErrorKind, Result};
use crate::jobs::keeper::Step;
use crate::limits::{MOVE_BYTES_MAX, MOVE_COUNT_MAX, MOVE_LOOK_COUNT_MAX};
use crate::sync::{Rank, holds, lock};
use crate::versions::moving::{Moving, Passing, Victim};
use crate::versions::records::Records;

/// Of a chunk that is worth moving from, at least this part is dead, in hundredths.
const DEAD_PERCENT_MIN: u64 = 5;
/// And so much: checkpoints that were taken while it was filled have left a part of a page each.
const DEAD_BYTES_MIN: u64 = 5 * PAGE_BYTES;
/// On a full disk less is worth it: so much, and this part.
const FULL_DEAD_BYTES_MIN: u64 = 2 * PAGE_BYTES;
const FULL_DEAD_SHARE: u64 = 64;
/// The garbage in chunks in use is so many times what may be in quarantine before no more is moved.
const WAITING_SHARE: u64 = 2;
/// What a lookup that is at work takes at the most, as a rule.
pub(crate) const READERS_WAIT: Duration = Duration::from_millis(1);
/// On a full disk so many may be in quarantine before no more is moved.
const LOW_WAITING_CHUNKS_MAX: u64 = 2;
/// Even of a small database so many chunks may be garbage.
const SLACK_CHUNKS_MIN: u64 = 2;

/// How much is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As much as keeps garbage within bounds.
    Bounded,
    /// All that makes room, of chunks with numbers before this one.
    AllBefore(u64),
}

/// Records of a chunk that are to be moved.
struct Movable {
    live: Vec<Locator>,
    /// Offset behind the last of them, or behind all that was looked at.
    end: u64,
    /// The chunk ends there.
    is_last: bool,
    /// A live record is damaged.
    has_damage: bool,
}

impl<S: Storage> Core<S> {
    /// Does a step that keeps garbage within bounds.
    pub fn step_moves(&self) -> Result<Step> {
        let keeps_garbage = self.committer.keeps_garbage.load(Ordering::Relaxed);
        let asked_count = self.committer.asked_count();
        if self.committer.health.check().is_err() || keeps_garbage {
            self.committer.note_moves(false, asked_count);
            return Ok(Step::Idle);
        }
        let mut mover = lock(&self.moving);
        let step = self.step_mover(&mut mover, Pace::Bounded);
        let works = step.as_ref().is_ok_and(|step| *step != Step::Idle);
        self.committer.note_moves(works || mover.waits_for_readers(), asked_count);
        step
    }

    /// As [`Core::step_moves`], for a thread: readers that are at work are through in a moment.
    pub fn keep_moving(&self) -> Result<Step> {
        let step = self.step_moves()?;
        let waits_for_readers = || lock(&self.moving).waits_for_readers();
        match step == Step::Idle && waits_for_readers() {
            true => Ok(Step::Leisure(READERS_WAIT)),
            false => Ok(step),
        }
    }

    /// Does one step.
    pub fn step_mover(&self, mover: &mut Moving, pace: Pace) -> Result<Step> {
        assert!(holds(Rank::Mover), "one thread moves at a time");
        if self.free_places(mover)? || self.close_chunks(mover)? || self.retain_some(mover, pace)? {
            return Ok(Step::More);
        }
        if mover.victim.is_none() {
            self.ask_for_checkpoint();
            mover.victim = self.choose(mover, pace);
        }
        match mover.victim {
            Some(victim) => self.evacuate_some(mover, victim),
            None => Ok(Step::Idle),
        }
    }

    /// Frees the places of closed chunks that no reader looks at any more.
    fn free_places(&self, mover: &mut Moving) -> Result<bool> {
        let records = self.records();
        let given_back = mover.closed.extract_if(.., |(_, closed)| records.is_given_back(closed));
        let numbers: Vec<_> = given_back.map(|(number, _)| number).collect();
        numbers.iter().for_each(|number| mover.forget(*number));
        let free = self.committer.with_places(|places, _| {
            numbers.iter().map(|number| places.release(*number)).collect()
        });
        self.note_free(free)
    }

    /// Notes that `places` are free. Returns whether there are any.
    fn note_free(&self, places: Vec<Range<u64>>) -> Result<bool> {
        let are_some = !places.is_empty();
        places.into_iter().try_for_each(|places| self.committer.find_space(places))?;
        if are_some {
            self.committer.place_freed.raise();
            self.committer.wake_for_room();
        }
        Ok(are_some)
    }

    /// Closes chunks that have passed the horizon, once the readers that may have found records of
    /// them in the index are through.
    fn close_chunks(&self, mover: &mut Moving) -> Result<bool> {
        if let Some(passing) = &mover.passing {
            if !passing.grace.is_over() {
                return Ok(false);
            }
            let Passing { numbers, horizon, .. } = mover.passing.take().expect("it is there");
            for number in numbers {
                let kept = self.records().retained.in_chunk(number);
                assert_eq!(kept.count, 0, "a chunk in which a version is kept stays");
                self.committer
                    .with_places(|places, _| places.quarantine.note_closed(number, &horizon));
                mover.closed.push((number, self.records().close_chunk(number)));
            }
            return Ok(true);
        }
        let horizon = self.horizon();
        let (free, mut numbers) = self.committer.with_places(|places, _| {
            (places.release_passed_before(&horizon), places.quarantine.passed(&horizon))
        });
        if self.note_free(free)? {
            return Ok(true);
        }
        // What is kept in such a chunk is copied again, or waits for its pins.
        numbers.retain(|number| self.records().retained.in_chunk(*number).count == 0);
        if numbers.is_empty() {
            return Ok(false);
        }
        mover.passing = Some(Passing { grace: Grace::begin(), numbers, horizon });
        Ok(true)
    }

    /// What still counts.
    pub fn horizon(&self) -> Horizon {
        Horizon {
            older_checkpoint: self.older_checkpoint.load(Ordering::Acquire),
            // Before the pins: one that comes between is not lower.
            visible_lsn: self.records().visible.lsn(),
            oldest_pin: self.records().pins.oldest_pinned().map(|(lsn, _)| lsn),
            oldest_in_place: self.records().pins.oldest_in_place(),
        }
    }

    /// Evacuates some more of `victim`.
    fn evacuate_some(&self, mover: &mut Moving, victim: Victim) -> Result<Step> {
        let Victim { number, offset } = victim;
        if self.end_evacuation(number) {
            mover.victim = None;
            return Ok(Step::More);
        }
        let found = self.find_live(number, offset);
        if found.has_damage {
            mover.stuck.insert(number);
            mover.victim = None;
            return Ok(Step::More);
        }
        let mut end = found.end;
        if !found.live.is_empty() {
            let Some(done_count) = self.move_records(&found.live)? else {
                // Another may need no room: one in which nothing lives.
                mover.victim = None;
                return Ok(Step::Idle);
            };
            if let Some(next) = found.live.get(done_count) {
                end = next.address() % self.records().chunk_bytes();
            }
        }
        let is_over = found.is_last && end == found.end;
        mover.victim = Some(Victim { number, offset: end });
        if is_over && !self.end_evacuation(number) {
            // The index leads to a record that is not found, or has another key.
            mover.stuck.insert(number);
        }
        if is_over {
            mover.victim = None;
        }
        Ok(Step::More)
    }

    /// The chunk that copies are added to; `None`: there is none now.
    pub fn cold_chunk(&self, stream: Stream) -> Result<Option<ColdChunk>> {
        let mut wakes = Wakes::new(Place::LogThread);
        let cold = self.committer.cold_chunk(stream, &mut wakes);
        self.committer.hand_on(&mut wakes);
        let chunk_bytes = self.records().chunk_bytes();
        match cold {
            Ok(cold) => Ok(cold.map(|number| {
                let place = self.committer.with_places(|places, _| places.cold_place(stream));
                let place = place.expect("the mover alone ends a chunk of copies");
                ColdChunk { address: number * chunk_bytes, place, chunk_bytes }
            })),
            Err(error) if error.kind() == ErrorKind::Poisoned => Ok(None),
            Err(error) => self.unless_lacking(Err(error)),
        }
    }

    /// What was `done`; `None` if there was no room for it: a checkpoint makes some.
    pub fn unless_lacking<T>(&self, done: Result<T>) -> Result<Option<T>> {
        match done {
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                self.committer.note_lack();
                self.ask_for_checkpoint();
                Ok(None)
            }
            done => done.map(Some),
        }
    }

    /// No more is added to the chunk of `stream`, which is full, or not needed.
    pub fn end_cold(&self, stream: Stream) -> Result<()> {
        let place = self.committer.with_places(|places, _| places.end_cold(stream));
        let chunk_bytes = self.records().chunk_bytes();
        place.map_or(Ok(()), |place| self.write_copies_back(stream, place, chunk_bytes))
    }

    /// Brings the pages into memory that the next copies of `stream` go to: under the lock of the
    /// one writer each commit would wait for it.
    pub fn prefault_copies(&self, stream: Stream, cold: &ColdChunk) {
        let Records { space, store, .. } = self.records();
        let offset = store.published_bytes(cold.address);
        space.prefault_copies(stream, cold.place, offset, store);
    }

    /// Brings what was copied to the chunk of `stream` so far to the device.
    pub fn pace_copies(&self, stream: Stream, cold: &ColdChunk) -> Result<()> {
        let offset = self.records().store.published_bytes(cold.address);
        self.write_copies_back(stream, cold.place, offset)
    }

    fn write_copies_back(&self, stream: Stream, place: u64, offset: u64) -> Result<()> {
        let written = self.records().space.write_copies_back(stream, place, offset);
        written.map_err(|error| self.committer.judge(error))
    }

    /// Moves `live`: how many are done. `None`: there is no chunk to move them to now.
    fn move_records(&self, live: &[Locator]) -> Result<Option<usize>> {
        let Some(cold) = self.cold_chunk(Stream::Moved)? else { return Ok(None) };
        // Before the first is moved: a checkpoint that begins now has to be followed by another.
        self.committer.counters.has_moved.store(true, Ordering::Release);
        self.prefault_copies(Stream::Moved, &cold);
        let moved = self.records().move_records(live, &cold);
        let Some(Moved { done_count, bytes }) = self.unless_lacking(moved)? else {
            return Ok(None);
        };
        self.committer.counters.moved_bytes.fetch_add(bytes, Ordering::Relaxed);
        match done_count < live.len() {
            true => self.end_cold(Stream::Moved)?,
            false => self.pace_copies(Stream::Moved, &cold)?,
        }
        Ok(Some(done_count))
    }

    /// Puts chunk `number` into quarantine if the index names nothing in it.
    fn end_evacuation(&self, number: u64) -> bool {
        self.committer.with_places(|places, staged| {
            let emptied_lsn = self.records().emptied(number);
            if let Some(applied_lsn) = emptied_lsn {
                places.end_evacuation(number, staged.next_lsn - 1, applied_lsn);
            }
            emptied_lsn.is_some()
        })
    }

    /// Records of chunk `number`, from `offset` on, that the index leads to.
    fn find_live(&self, number: u64, offset: u64) -> Movable {
        let pin = MapPin::enter();
        let reader = self.records().reader(&pin);
        let mut scan = reader.scan_chunk(number * self.records().chunk_bytes(), offset);
        let (mut live, mut bytes) = (Vec::new(), 0);
        let found = |live, end, is_last| Movable { live, end, is_last, has_damage: false };
        for _ in 0..MOVE_LOOK_COUNT_MAX {
            let before = scan.offset();
            let Some((address, header)) = scan.next() else {
                return found(live, scan.offset(), true);
            };
            let locator = header.locator(address);
            // The key is part of what the checksum of the payload covers, which comes next.
            let Some(key) = reader.key_that_seems(address) else { continue };
            if !self.records().tables.leads_to(key, locator) {
                continue;
            }
            bytes += header.record_bytes();
            if !live.is_empty() && (live.len() == MOVE_COUNT_MAX || bytes > MOVE_BYTES_MAX) {
                return found(live, before, false);
            }
            if reader.record_verified(locator).is_err() {
                let found = found(live, before, false);
                return Movable { has_damage: true, ..found };
            }
            live.push(locator);
        }
        found(live, scan.offset(), false)
    }

    /// The chunk that is evacuated next; `None`: there is none, or not so much garbage.
    fn choose(&self, mover: &Moving, pace: Pace) -> Option<Victim> {
        let (sealed, first_own, span) = self.committer.with_places(|places, staged| {
            let sealed = places.sealed(staged.settled_lsn, staged.next_lsn);
            (sealed, places.first_own(), places.next_chunk() - places.first_chunk())
        });
        let live = self.records().needed_in(&sealed);
        let victim = |number: &u64| Victim { number: *number, offset: 0 };
        let is_asked_for = |number: &u64| match pace {
            Pace::Bounded => true,
            Pace::AllBefore(end) => *number < end,
        };
        let candidates = sealed.iter().zip(live);
        let candidates = candidates.filter(|((number, _), _)| is_asked_for(number));
        let movable = candidates.clone().filter(|((number, _), _)| !mover.stuck.contains(number));
        // Numbers are given out within so many of each other.
        let oldest = movable.clone().find(|((_, count), live)| *count == 1 || live.count == 0);
        if span > CHUNK_SPAN / 10 * 9
            && let Some(((number, _), _)) = oldest
        {
            return Some(victim(number));
        }
        // What is all dead costs nothing.
        if let Some(((number, _), _)) = candidates.clone().find(|(_, live)| live.count == 0) {
            return Some(victim(number));
        }
        let candidates = movable;
        if pace == Pace::Bounded && !self.is_due() {
            return None;
        }
        let newest = sealed.last().map_or(0, |(number, _)| *number);
        candidates
            .filter_map(|((number, count), live)| {
                // The one record of several chunks is as long wherever it lies.
                let gain =
                    if *count == 1 { self.gain(*number, live, first_own)? } else { return None };
                Some((gain * u128::from(newest - number + 1), number))
            })
            .max()
            .map(|(_, number)| victim(number))
    }

    /// Whether there is so much garbage that records should be moved; and not so much that waits
    /// for a checkpoint that moving more would only add to it.
    fn is_due(&self) -> bool {
        let (used_bytes, waiting_bytes) = self.committer.taken_bytes();
        if self.committer.lacks_room() {
            // Each move takes room, and gives it back behind a checkpoint.
            return waiting_bytes <= LOW_WAITING_CHUNKS_MAX * self.records().chunk_bytes();
        }
        let live_bytes = self.records().live_lines() * LINE_BYTES;
        let slack = self.slack_bytes(live_bytes);
        let kept_bytes = self.records().retained.total_lines() * LINE_BYTES;
        // What waits for pins may wait for long.
        let horizon = self.horizon();
        let pinned_count =
            self.committer.with_places(|places, _| places.quarantine.pinned_place_count(&horizon));
        let pinned_bytes = pinned_count * self.records().chunk_bytes();
        let waiting_bytes = waiting_bytes.saturating_sub(pinned_bytes);
        used_bytes > live_bytes + kept_bytes + slack && waiting_bytes <= slack / WAITING_SHARE
    }

    /// What it is worth to move the `live` records of chunk `number`, for each chunk that was
    /// opened since: what is gained, by what is read and written. `None`: nothing.
    fn gain(&self, number: u64, live: LiveRecords, first_own: u64) -> Option<u128> {
        let chunk_bytes = self.records().chunk_bytes();
        let published = self.records().store.published_bytes(number * chunk_bytes);
        let live_bytes = (u64::from(live.lines) * LINE_BYTES).min(published);
        // What is left at the end of a full chunk is what no record fitted into: elsewhere it would
        // be the same. A chunk that an earlier life left half empty is another matter.
        let is_left = number < first_own && published <= chunk_bytes / 2;
        let end = if is_left { chunk_bytes } else { published };
        let dead = end - live_bytes;
        let least = match self.committer.lacks_room() {
            true => FULL_DEAD_BYTES_MIN.max(chunk_bytes / FULL_DEAD_SHARE),
            false => DEAD_BYTES_MIN.max(chunk_bytes * DEAD_PERCENT_MIN / 100),
        };
        let is_worth = dead >= least;
        is_worth.then(|| (u128::from(dead) << 32) / u128::from(chunk_bytes + live_bytes))
    }

    /// How many bytes of chunks in use may be garbage: two thirds of what may be taken beyond what
    /// lives; the rest is in quarantine, or free. More garbage makes each move give more; less in
    /// quarantine needs more checkpoints.
    fn slack_bytes(&self, live_bytes: u64) -> u64 {
        let beyond = self.options().space_amplification_max - 1.0;
        let slack = (live_bytes as f64 * beyond * 2.0 / 3.0) as u64;
        slack.max(SLACK_CHUNKS_MIN * self.records().chunk_bytes())
    }

    /// Whether a place is not free before the next checkpoint.
    pub fn waits_for_checkpoint(&self) -> bool {
        let older = self.older_checkpoint.load(Ordering::Acquire);
        self.committer.with_places(|places, _| places.quarantine.needs_checkpoint(older))
    }

    /// Whether so many places wait that less should be in quarantine.
    pub fn many_wait(&self) -> bool {
        let live_bytes = self.records().live_lines() * LINE_BYTES;
        let (_, waiting_bytes) = self.committer.taken_bytes();
        waiting_bytes > self.slack_bytes(live_bytes) / WAITING_SHARE / 2
    }

    /// Asks for a checkpoint if enough places wait for it.
    fn ask_for_checkpoint(&self) {
        if self.waits_for_checkpoint() {
            let live_bytes = self.records().live_lines() * LINE_BYTES;
            let (_, waiting_bytes) = self.committer.taken_bytes();
            // A checkpoint writes the whole index. But one comes before nothing more is moved.
            let most = self.slack_bytes(live_bytes) / WAITING_SHARE;
            let least = self.committer.checkpoint_step_bytes_min();
            let enough = (most / 2).max(least).min(most);
            if waiting_bytes > enough || self.committer.lacks_room() {
                self.committer.counters.wants_checkpoint.store(true, Ordering::Release);
                self.committer.checkpointer.raise();
            }
        }
    }
}
