//! Deleting records that have expired.
//!
//! Readers do not find them any more, so nothing depends on when that happens but space. There is
//! one way in which a key goes away: a deletion in the log, under the condition that the record is
//! still the newest of its key and has expired. So an older version never comes back, and whoever
//! puts the key again in the meantime keeps what was put.
//!
//! A step looks at some records of one chunk. [`crate::data::expiring`] says which chunk is worth
//! it. What is deleted is durable before the chunk is taken for done.

use std::sync::atomic::Ordering;

use uarr_layout::frame::{Frame, FrameKind};
use uarr_uring::{MapPin, Storage};

use crate::commit::committer::Committer;
use crate::commit::patience::{Attempt, Patience};
use crate::commit::premise::{Base, Expected, Premise};
use crate::commit::turns::LinePlace;
use crate::commit::wakes::{Place, Wakes};
use crate::core::Core;
use crate::data::expiring::{Sample, Sweep};
use crate::data::sweeping::{Sweeping, SweptChunk};
use crate::error::{ErrorKind, Result};
use crate::jobs::keeper::Step;
use crate::limits::MOVE_LOOK_COUNT_MAX;
use crate::options::WriteOptions;
use crate::sync::lock;

/// Records that are deleted together at most.
const DELETED_COUNT_MAX: usize = 128;

/// So much later it is looked again at what has expired in a table that is being dropped.
const REFUSED_REST_MS: u64 = 60_000;

/// A record that has expired.
struct Expired {
    key: Vec<u8>,
    lsn: u64,
}

impl<S: Storage> Core<S> {
    /// Does a step for a thread or a test: goes on with tables that were dropped, forgets some
    /// deletions, or looks at some records that may have expired.
    pub fn step_sweep(&self) -> Result<Step> {
        if self.committer.health.check().is_err() {
            return Ok(Step::Idle);
        }
        let step = match self.step_removals()? {
            Step::Idle => self.step_forgetting(),
            step => step,
        };
        match step {
            Step::Idle => self.sweep_some(Sweep::Worth),
            step => Ok(step),
        }
    }

    /// Deletes all that has expired by now.
    pub fn sweep_all(&self) -> Result<()> {
        while self.sweep_some(Sweep::All)? != Step::Idle {}
        Ok(())
    }

    fn sweep_some(&self, sweep: Sweep) -> Result<Step> {
        let clock = &self.records().clock;
        if !clock.is_used() || self.committer.health.check().is_err() {
            return Ok(Step::Idle);
        }
        let now_ms = clock.now_ms();
        let Some(mut chunk) = self.take_swept(now_ms, sweep) else { return Ok(Step::Idle) };
        // No lock is held: a commit may run wakers.
        let is_over = self.sweep_chunk(&mut chunk, now_ms);
        let left = match &is_over {
            Ok(false) => {
                *lock(&self.sweeping) = Sweeping::Chunk(chunk);
                return Ok(Step::More);
            }
            Ok(true) => Some(chunk.left),
            Err(_) => None,
        };
        self.records().applier().accounts.expiring.end(left);
        *lock(&self.sweeping) = Sweeping::Nothing;
        match is_over {
            Ok(_) => Ok(Step::More),
            // Deletions have room on a full disk, up to a point; later there may be more.
            Err(error) if matches!(error.kind(), ErrorKind::NoSpace | ErrorKind::Busy) => {
                Ok(Step::Idle)
            }
            // Its table has been dropped meanwhile.
            Err(error) if error.kind() == ErrorKind::TableNotFound => Ok(Step::More),
            Err(error) if error.kind() == ErrorKind::Closed => Ok(Step::Idle),
            Err(error) => Err(error),
        }
    }

    /// The chunk that is looked through, or the next one; `None`: there is none, or another thread
    /// has it.
    fn take_swept(&self, now_ms: u64, sweep: Sweep) -> Option<SweptChunk> {
        match std::mem::replace(&mut *lock(&self.sweeping), Sweeping::Busy) {
            Sweeping::Chunk(chunk) => return Some(chunk),
            Sweeping::Busy => return None,
            Sweeping::Nothing => {}
        }
        let number = self.records().applier().accounts.expiring.begin(now_ms, sweep);
        if number.is_none() {
            *lock(&self.sweeping) = Sweeping::Nothing;
        }
        Some(SweptChunk { number: number?, offset: 0, left: Sample::default() })
    }

    /// Looks at some more of `chunk`, and deletes what has expired; whether that was all of it.
    fn sweep_chunk(&self, chunk: &mut SweptChunk, now_ms: u64) -> Result<bool> {
        let (expired, is_over) = self.find_expired(chunk, now_ms);
        if !expired.is_empty() {
            let count = self.committer.delete_expired(&expired)?;
            self.committer.counters.expired_count.fetch_add(count, Ordering::Relaxed);
        }
        Ok(is_over)
    }

    fn find_expired(&self, chunk: &mut SweptChunk, now_ms: u64) -> (Vec<Expired>, bool) {
        let pin = MapPin::enter();
        let reader = self.records().reader(&pin);
        let address = chunk.number * self.records().chunk_bytes();
        let mut scan = reader.scan_chunk(address, chunk.offset);
        let refused = self.committer.refused_tables();
        let mut expired = Vec::new();
        for _ in 0..MOVE_LOOK_COUNT_MAX {
            if expired.len() == DELETED_COUNT_MAX {
                break;
            }
            let Some((address, header)) = scan.next() else { return (expired, true) };
            chunk.offset = scan.offset();
            if !header.expires() {
                continue;
            }
            let locator = header.locator(address);
            // What is damaged stays: each read reports it.
            let Ok(view) = reader.record(locator) else { continue };
            if !self.records().tables.leads_to(view.key(), locator) {
                continue;
            }
            if refused.has_key(view.key()) {
                // Whoever drops its table may fail.
                chunk.left.note(view.expires_ms().max(now_ms + REFUSED_REST_MS));
                continue;
            }
            match view.has_expired_at(now_ms) {
                true => expired.push(Expired { key: view.key().to_vec(), lsn: header.lsn.get() }),
                false => chunk.left.note(view.expires_ms()),
            }
        }
        (expired, false)
    }
}

impl<S: Storage> Committer<S> {
    /// Deletes the records that are still the newest of their keys: how many, durably.
    fn delete_expired(&self, expired: &[Expired]) -> Result<u64> {
        let bases: Vec<_> = expired
            .iter()
            .map(|expired| Base { key: &expired.key, expected: Expected::Expired(expired.lsn) })
            .collect();
        let begun_ns = self.commit_clock(WriteOptions::new().durable());
        let mut wakes = Wakes::new(Place::LogThread);
        if let Ok(staged) = self.stage_deletions(&bases, None, &mut wakes)? {
            self.finish(begun_ns, staged, wakes)?;
            return Ok(bases.len() as u64);
        }
        wakes.run();
        let mut count = 0;
        for base in &bases {
            let keys = || std::iter::once(base.key);
            let attempt = |place: &LinePlace, wakes: &mut Wakes| {
                self.stage_deletions(std::slice::from_ref(base), Some(place), wakes)
            };
            // Who has a turn and does not meet its premise comes too late: the key was written.
            if let Ok(staged) = self.in_turn(keys(), keys(), attempt, Attempt::is_ok)? {
                self.finish(begun_ns, staged, Wakes::new(Place::LogThread))?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn stage_deletions(
        &self,
        bases: &[Base<'_>],
        place: Option<&LinePlace>,
        wakes: &mut Wakes,
    ) -> Result<Attempt> {
        let mut frames: Vec<_> =
            bases.iter().map(|base| Frame::new(FrameKind::Delete, 0, base.key, &[])).collect();
        let premise = Premise { place, bases, ..Premise::default() };
        self.stage(&mut frames, WriteOptions::new().durable(), Patience::Thread, premise, wakes)
    }
}
