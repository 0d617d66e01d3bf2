//! [`Quarantine`]: chunks that are not needed any more, until their places may have others; and
//! [`Horizon`], which says when.
//!
//! The evacuation of a chunk has ended when the index names nothing in it. Its records may still be
//! needed: by an image, by a reader that looks at an earlier moment, by one that found them in the
//! index just before. In this order:
//! 1. each checkpoint that begins later lists the chunk; its image names nothing there, and no
//!    frame of the log behind its start does;
//! 2. the *older* of the two kept checkpoints lists it, and a superblock that says so is durable:
//!    so no opening, whichever of the two it uses, needs the chunk;
//! 3. readers that come look at the moment at which the evacuation ended, or a later one; and those
//!    that keep looking at an earlier one find what they need elsewhere: it is *retained*;
//! 4. readers that found a record before are through, see [`uarr_uring::Grace`]: then the chunk is
//!    closed, and from the map it is gone;
//! 5. no reader holds a record of it: its place is free.
//!
//! No other code gives a place away. The order is that of decisions 0031 and 0038, which a model
//! checks.

use std::collections::BTreeMap;
use std::ops::Range;

/// A chunk, or several that held one record, whose evacuation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evacuated {
    pub place: u64,
    pub count: u64,
    /// Nothing was staged behind this LSN when the index named nothing in it any more. 0: the
    /// evacuation ended before the engine was opened, and the map has never had the chunk.
    pub ended_lsn: u64,
    /// The last record that had been put into the index then.
    pub applied_lsn: u64,
    /// The checkpoint of this number, and each later one, lists it.
    pub since: Option<u64>,
    /// What pins need of it that are older than `applied_lsn` is found elsewhere.
    is_retained: bool,
    /// The map does not have it any more.
    is_closed: bool,
}

/// What still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Horizon {
    /// Number of the older of the two checkpoints that the durable superblock names; 0: there is
    /// one at most.
    pub older_checkpoint: u64,
    /// The lowest LSN at which a reader looks that keeps looking at one.
    pub oldest_pin: Option<u64>,
    /// The lowest one of the pins that keep places, too.
    pub oldest_in_place: Option<u64>,
    /// Readers that come look at this LSN, or a later one.
    pub visible_lsn: u64,
}

impl Horizon {
    /// No reader is there yet.
    pub fn without_readers(older_checkpoint: u64) -> Self {
        let (oldest_pin, oldest_in_place) = (None, None);
        Self { older_checkpoint, oldest_pin, oldest_in_place, visible_lsn: u64::MAX }
    }

    /// Whether no opening and no reader needs a record of `chunk`.
    //= IMG-8
    fn has_passed(&self, chunk: &Evacuated) -> bool {
        self.is_past(chunk) && (chunk.is_retained || !self.is_pinned(chunk))
    }

    /// Whether no opening needs a record of `chunk`, nor a reader that comes.
    fn is_past(&self, chunk: &Evacuated) -> bool {
        let is_listed = chunk.since.is_some_and(|since| since <= self.older_checkpoint);
        // A reader at that very LSN may have found a record before the evacuation ended.
        let is_left = self.oldest_in_place.is_none_or(|pin| chunk.ended_lsn < pin);
        // One to which the last versions are not shown yet looks for those before.
        is_listed && is_left && chunk.applied_lsn <= self.visible_lsn
    }

    /// Whether a reader looks at a moment at which something of `chunk` was not old.
    fn is_pinned(&self, chunk: &Evacuated) -> bool {
        self.oldest_pin.is_some_and(|pin| pin < chunk.applied_lsn)
    }
}

/// Chunks whose evacuation has ended, by number.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    chunks: BTreeMap<u64, Evacuated>,
}

impl Quarantine {
    /// Nothing is named in chunk `number` any more, of which all frames are settled.
    pub fn enter(&mut self, number: u64, places: Range<u64>, ended_lsn: u64, applied_lsn: u64) {
        assert!(applied_lsn <= ended_lsn, "what is applied was staged");
        let (place, count) = (places.start, places.end - places.start);
        let chunk = Evacuated {
            place,
            count,
            ended_lsn,
            applied_lsn,
            since: None,
            is_retained: false,
            is_closed: false,
        };
        assert!(self.chunks.insert(number, chunk).is_none(), "an evacuation ends once");
    }

    /// A checkpoint that was loaded lists chunk `number`, which the map does not have. No reader
    /// is as old.
    pub fn restore(&mut self, number: u64, place: u64, since: u64) {
        let chunk = Evacuated {
            place,
            count: 1,
            ended_lsn: 0,
            applied_lsn: 0,
            since: Some(since),
            is_retained: true,
            is_closed: true,
        };
        assert!(self.chunks.insert(number, chunk).is_none(), "a table has a number once");
    }

    /// Checkpoint `number` begins: it, and each later one, lists what there is. It has not yet
    /// noted where replay will start.
    pub fn list(&mut self, number: u64) {
        for chunk in self.chunks.values_mut() {
            assert!(chunk.since.is_none_or(|since| since < number), "numbers of checkpoints rise");
            chunk.since.get_or_insert(number);
        }
    }

    /// Whether a checkpoint that finds nothing else to do is needed all the same, so that places
    /// become free.
    pub fn needs_checkpoint(&self, older_checkpoint: u64) -> bool {
        let is_listed = |chunk: &Evacuated| chunk.since.is_some_and(|k| k <= older_checkpoint);
        self.chunks.values().any(|chunk| !is_listed(chunk))
    }

    /// Numbers of chunks that the map may close, once readers that are at work are through.
    pub fn passed(&self, horizon: &Horizon) -> Vec<u64> {
        let has_passed = |chunk: &Evacuated| !chunk.is_closed && horizon.has_passed(chunk);
        self.chunks.iter().filter(|(_, chunk)| has_passed(chunk)).map(|(n, _)| *n).collect()
    }

    /// Numbers of chunks that a checkpoint listed which was loaded, and that are not needed any
    /// more: the map has never had them.
    pub fn passed_before(&self, horizon: &Horizon) -> Vec<u64> {
        let has_passed = |chunk: &Evacuated| chunk.ended_lsn == 0 && horizon.has_passed(chunk);
        self.chunks.iter().filter(|(_, chunk)| has_passed(chunk)).map(|(n, _)| *n).collect()
    }

    /// The chunks that only readers of earlier moments need, by number.
    pub fn retainable(&self, horizon: &Horizon) -> Vec<(u64, Evacuated)> {
        let is_retainable = |chunk: &Evacuated| {
            !chunk.is_closed
                && !chunk.is_retained
                && horizon.is_past(chunk)
                && horizon.is_pinned(chunk)
        };
        self.iter()
            .filter(|(_, chunk)| is_retainable(chunk))
            .map(|(n, chunk)| (n, *chunk))
            .collect()
    }

    /// How many places wait for nothing but readers of earlier moments.
    pub fn pinned_place_count(&self, horizon: &Horizon) -> u64 {
        let waits = |chunk: &&Evacuated| horizon.is_past(chunk) && !horizon.has_passed(chunk);
        self.chunks.values().filter(waits).map(|chunk| chunk.count).sum()
    }

    /// What pins need of chunk `number` is found elsewhere. Those that come need nothing of it.
    pub fn note_retained(&mut self, number: u64) {
        let chunk = self.chunks.get_mut(&number).expect("it was there when it was chosen");
        assert!(chunk.since.is_some() && !chunk.is_closed, "only readers need it");
        chunk.is_retained = true;
    }

    /// The map has closed chunk `number`, which has passed `horizon`.
    pub fn note_closed(&mut self, number: u64, horizon: &Horizon) {
        let chunk = self.chunks.get_mut(&number).expect("it was there when it had passed");
        assert!(horizon.has_passed(chunk), "nothing is closed before");
        chunk.is_closed = true;
    }

    /// Takes out chunk `number`, which no reader looks at any more.
    pub fn leave(&mut self, number: u64) -> Evacuated {
        let chunk = self.chunks.remove(&number).expect("a chunk in quarantine leaves it once");
        assert!(chunk.is_closed && chunk.since.is_some(), "a place is free after its chunk closed");
        chunk
    }

    /// Takes out the chunks that have one of `count` places from `place` on: a frame behind the
    /// start of the checkpoint that lists them says that they were given to another.
    pub fn give_up(&mut self, place: u64, count: u64) -> Vec<Evacuated> {
        let meets = |_: &u64, chunk: &mut Evacuated| {
            chunk.place < place + count && place < chunk.place + chunk.count
        };
        self.chunks.extract_if(.., meets).map(|(_, chunk)| chunk).collect()
    }

    /// All, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Evacuated)> {
        self.chunks.iter().map(|(number, chunk)| (*number, chunk))
    }

    /// The lowest number.
    pub fn first(&self) -> Option<u64> {
        self.chunks.first_key_value().map(|(number, _)| *number)
    }

    /// How many places its chunks have.
    pub fn place_count(&self) -> u64 {
        self.chunks.values().map(|chunk| chunk.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn horizon(older_checkpoint: u64, oldest_pin: u64) -> Horizon {
        let oldest_pin = Some(oldest_pin);
        Horizon { older_checkpoint, oldest_pin, oldest_in_place: oldest_pin, visible_lsn: u64::MAX }
    }

    #[test]
    fn a_place_is_free_when_the_older_checkpoint_lists_it_and_no_reader_is_older() {
        let mut quarantine = Quarantine::default();
        quarantine.enter(7, 3..4, 100, 100);
        assert!(quarantine.needs_checkpoint(5), "none lists it yet");
        assert_eq!(quarantine.passed(&horizon(u64::MAX, u64::MAX)), [0; 0]);
        quarantine.list(6);
        quarantine.enter(8, 4..5, 101, 101);
        quarantine.list(7);
        let passed = |older, pin| quarantine.passed(&horizon(older, pin));
        assert_eq!(passed(5, 200), [0; 0], "the older one may be used, and needs it");
        assert_eq!(passed(6, 100), [0; 0], "a reader found it just before");
        assert_eq!(passed(6, 101), [7]);
        assert_eq!(passed(7, 101), [7]);
        assert_eq!(passed(9, 102), [7, 8]);
        let shown = |visible_lsn| Horizon { visible_lsn, ..horizon(9, u64::MAX) };
        assert_eq!(quarantine.passed(&shown(100)), [7], "a get looks for what is dead at 101");
        assert_eq!(quarantine.passed(&shown(101)), [7, 8]);
        assert!(quarantine.needs_checkpoint(6) && !quarantine.needs_checkpoint(7));
        quarantine.note_closed(7, &horizon(6, 101));
        assert_eq!(quarantine.passed(&horizon(9, 102)), [8], "closed once");
        assert_eq!(quarantine.leave(7).place, 3);
        assert_eq!(quarantine.place_count(), 1);
    }

    #[test]
    fn a_pin_of_versions_delays_only_until_they_are_retained() {
        let mut quarantine = Quarantine::default();
        quarantine.enter(7, 3..4, 110, 100);
        quarantine.list(6);
        let pinned = |older, pin| Horizon { oldest_in_place: None, ..horizon(older, pin) };
        let retainable = |quarantine: &Quarantine, horizon| {
            quarantine.retainable(&horizon).iter().map(|(n, _)| *n).collect::<Vec<_>>()
        };
        assert_eq!(quarantine.passed(&pinned(6, 100)), [7], "a reader of then looks elsewhere");
        assert_eq!(quarantine.passed(&pinned(6, 99)), [0; 0]);
        assert_eq!(retainable(&quarantine, pinned(5, 99)), [0; 0], "an opening may need it");
        assert_eq!(retainable(&quarantine, horizon(6, 99)), [0; 0], "it has to stay");
        let later = Horizon { visible_lsn: 99, ..pinned(6, 98) };
        assert_eq!(retainable(&quarantine, later), [0; 0], "a reader may come that needs it");
        assert_eq!(retainable(&quarantine, pinned(6, 99)), [7]);
        quarantine.note_retained(7);
        assert_eq!(retainable(&quarantine, pinned(6, 99)), [0; 0]);
        assert_eq!(quarantine.passed(&pinned(6, 99)), [7]);
        assert_eq!(quarantine.passed(&horizon(6, 99)), [0; 0], "it has to stay");
    }

    #[test]
    #[should_panic(expected = "nothing is closed before")]
    fn nothing_is_closed_that_the_older_checkpoint_needs() {
        let mut quarantine = Quarantine::default();
        quarantine.enter(7, 3..4, 100, 100);
        quarantine.list(6);
        quarantine.note_closed(7, &horizon(5, 200));
    }

    #[test]
    fn what_was_loaded_gives_way_to_what_the_log_says() {
        let mut quarantine = Quarantine::default();
        for (number, place) in [(1, 5), (2, 6), (3, 9)] {
            quarantine.restore(number, place, 4);
        }
        assert_eq!(quarantine.passed_before(&horizon(3, 10)), [0; 0]);
        assert_eq!(quarantine.passed_before(&horizon(4, 10)), [1, 2, 3]);
        let given_up = quarantine.give_up(6, 2);
        assert_eq!(given_up.iter().map(|chunk| chunk.place).collect::<Vec<_>>(), [6]);
        assert_eq!(quarantine.first(), Some(1));
    }
}
