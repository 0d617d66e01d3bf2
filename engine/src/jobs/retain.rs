//! Old versions that pins need are copied out of chunks that wait for these alone, so that a reader
//! that looks at an earlier moment for long keeps its own versions, and not all garbage. What is
//! needed is told in [`crate::versions::needed`].
//!
//! Most iterators end before it is worth while: versions are copied once many places wait, or room
//! is missing, or a caller asks for all room; and from then on for those that have stayed.

use std::sync::atomic::Ordering;

use uarr_uring::Storage;

use crate::core::Core;
use crate::data::stream::Stream;
use crate::error::{ErrorKind, Result};
use crate::jobs::mover::Pace;
use crate::sync::{Rank, holds};
use crate::versions::moving::{Moving, Retaining};
use crate::versions::needed::ClosingChunk;

impl<S: Storage> Core<S> {
    /// Copies some old versions, or drops some that no pin needs any more. Whether there was
    /// something to do.
    pub fn retain_some(&self, mover: &mut Moving, pace: Pace) -> Result<bool> {
        assert!(holds(Rank::Mover), "one thread adds and drops what is kept");
        let retained = &self.records().retained;
        if retained.sweep(&self.records().pins.lsns()) {
            if retained.total_lines() == 0 {
                self.end_cold(Stream::Retained)?;
            }
            return Ok(true);
        }
        if mover.retaining.is_none() {
            mover.retaining = self.choose_retained(mover, pace);
        }
        let Some(Retaining { chunk, offset }) = &mut mover.retaining else { return Ok(false) };
        // Nothing is kept for pins that have ended, and that were swept.
        let pins = self.records().pins.lsns();
        chunk.pins.retain(|lsn| pins.binary_search(lsn).is_ok());
        if chunk.pins.is_empty() {
            // It needs nothing more, and may be closed at any time.
            mover.retaining = None;
            return Ok(true);
        }
        match self.retain_from(chunk, offset) {
            Ok(RetainStep::More) => Ok(true),
            Ok(RetainStep::All) => {
                let number = chunk.number;
                self.committer.with_places(|places, _| places.quarantine.note_retained(number));
                mover.retaining = None;
                Ok(true)
            }
            // Others may need no copies; and what is kept already is found again.
            Ok(RetainStep::NoRoom) => {
                mover.without_room = Some(chunk.number);
                mover.retaining = None;
                Ok(true)
            }
            // A reader that looks for it finds the same.
            Err(error) if error.kind() == ErrorKind::Corruption => {
                mover.kept.insert(chunk.number);
                mover.retaining = None;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// A chunk that only pins need; `None`: there is none, or it may wait.
    fn choose_retained(&self, mover: &mut Moving, pace: Pace) -> Option<Retaining> {
        let horizon = self.horizon();
        let chunks = self.committer.with_places(|places, _| places.quarantine.retainable(&horizon));
        let tried = mover.without_room.take();
        let mut possible = chunks.into_iter().filter(|(number, _)| !mover.kept.contains(number));
        // After the last one all are tried again, but not at once.
        let (number, evacuated) =
            possible.find(|(number, _)| tried.is_none_or(|tried| *number > tried))?;
        // Those that come are not older.
        let mut pins = self.records().pins.lsns();
        assert!(evacuated.applied_lsn <= horizon.visible_lsn && pins.is_sorted());
        pins.retain(|lsn| *lsn < evacuated.applied_lsn);
        if !self.is_worth_retaining(&pins, pace) {
            return None;
        }
        self.records().retained.serve(&pins);
        let chunk = ClosingChunk { number, is_jumbo: evacuated.count > 1, pins };
        Some(Retaining { chunk, offset: 0 })
    }

    fn is_worth_retaining(&self, pins: &[u64], pace: Pace) -> bool {
        let retained = &self.records().retained;
        let is_asked_for = pace != Pace::Bounded || self.committer.lacks_room();
        let has_memory = retained.memory_bytes() < self.options().retained_memory_max;
        has_memory && (is_asked_for || self.many_wait() || retained.serves_all(pins))
    }

    /// Retains what pins need of the next records of `chunk`, from `offset` on.
    fn retain_from(&self, chunk: &ClosingChunk, offset: &mut u64) -> Result<RetainStep> {
        let needed = self.records().needed(chunk, *offset)?;
        if !needed.copies.is_empty() {
            let Some(cold) = self.cold_chunk(Stream::Retained)? else {
                return Ok(RetainStep::NoRoom);
            };
            self.prefault_copies(Stream::Retained, &cold);
            let kept = self.records().keep_copies(&needed.copies, &cold);
            let Some(kept) = self.unless_lacking(kept)? else { return Ok(RetainStep::NoRoom) };
            let Some(bytes) = kept else {
                self.end_cold(Stream::Retained)?;
                return Ok(RetainStep::More);
            };
            self.committer.counters.moved_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.pace_copies(Stream::Retained, &cold)?;
        }
        *offset = needed.end;
        Ok(if needed.is_last { RetainStep::All } else { RetainStep::More })
    }
}

/// How far it has come.
enum RetainStep {
    More,
    All,
    /// There is none for copies.
    NoRoom,
}
