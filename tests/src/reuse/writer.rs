//! The writers' part of [`Database`]: batches are staged, applied, settled or refused, and
//! deletions are forgotten.

use std::collections::BTreeSet;

use super::chunk::{ChunkState, Stream};
use super::database::Database;
use super::figures::Event;
use super::log::{Change, Frame, Write};
use super::record::{Address, KEY_COUNT, Key, Lsn, Patch, Record, Value, patched};
use super::world::Class;
use crate::violation::{Checked, violated};

/// New values are below it.
const VALUE_BOUND: usize = 1_000_000;

/// What a user does to a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Put,
    Patch,
    Delete,
}

const VERBS: [Verb; 5] = [Verb::Put, Verb::Put, Verb::Patch, Verb::Patch, Verb::Delete];

impl Database {
    /// One to six changes, durable together: a group.
    pub fn stage_batch(&mut self) -> Checked<()> {
        let count = self.world.pick(&[1, 1, 1, 2, 3, 6]);
        let first = self.next_lsn;
        let mut chunks = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for index in 0..count {
            let mut verb = self.world.pick(&VERBS);
            let key = self.world.below(KEY_COUNT);
            let now = self.log().state_at(self.log().len())[key];
            if verb == Verb::Patch && (now.is_none() || keys.contains(&key)) {
                verb = Verb::Put;
            }
            let (value, patch) = self.change(verb, key)?;
            let address = self.allocate(Stream::User);
            if self.must_name(address.chunk, first) {
                self.name_chunk(address.chunk, false);
            }
            self.log_write(Write { key, address, value, patch }, index + 1 == count);
            keys.insert(key);
            chunks.insert(address.chunk);
        }
        if chunks.len() > 1 {
            self.world.figures.note(Event::BatchOverChunks);
        }
        self.acknowledge();
        Ok(())
    }

    /// A record so large that it has a chunk of its own, which its batch names.
    pub fn stage_jumbo(&mut self) -> Checked<()> {
        let key = self.world.below(KEY_COUNT);
        let verb = if self.world.chance(20) { Verb::Delete } else { Verb::Put };
        let (value, patch) = self.change(verb, key)?;
        let chunk = self.take_chunk(2, Stream::User, ChunkState::Full);
        self.chunk_mut(chunk).tail = 1;
        self.name_chunk(chunk, false);
        let address = Address { chunk, offset: 0 };
        self.log_write(Write { key, address, value, patch }, true);
        self.acknowledge();
        Ok(())
    }

    /// The new value of `key`, and what its frame says of a patch.
    fn change(&mut self, verb: Verb, key: Key) -> Checked<(Option<Value>, Option<Patch>)> {
        let delta = self.world.below(VALUE_BOUND) as Value;
        match verb {
            Verb::Put => Ok((Some(delta), None)),
            Verb::Delete => Ok((None, None)),
            Verb::Patch => self.patch(key, delta),
        }
    }

    fn log_write(&mut self, write: Write, ends_batch: bool) {
        let lsn = self.log_frame(Change::Write(write), ends_batch);
        self.chunk_mut(write.address.chunk).named = lsn;
    }

    /// The value that a patch makes of the newest version, and what its frame says.
    fn patch(&mut self, key: Key, delta: Value) -> Checked<(Option<Value>, Option<Patch>)> {
        // The writer waits its turn: the newest version is applied.
        while self.log().behind(self.applied).iter().any(|frame| frame.writes_to(key)) {
            self.apply();
        }
        let base = self.log().state_at(self.log().len())[key].expect("there is one to patch");
        let base_address = self.index[&key];
        let found = self.record(base_address, key)?;
        if found.version() != Some(base) {
            violated!("a patch of key {key} finds {found:?}, not {base:?}");
        }
        let patch = Patch { delta, base: base.lsn, base_address };
        Ok((Some(patched(base.value, delta)), Some(patch)))
    }

    /// Memory first: what is staged is applied and visible at once.
    fn acknowledge(&mut self) {
        if self.world.class == Class::MemoryFirst {
            self.apply_to(self.log().len());
        }
    }

    /// Applies the next frame, if there is one.
    pub fn apply(&mut self) {
        if self.applied < self.log().len() {
            let frame = *self.log().frame(self.applied);
            self.applied += 1;
            if let Change::Write(write) = frame.change {
                self.put(frame.lsn, write);
            }
        }
    }

    fn apply_to(&mut self, count: usize) {
        while self.applied < count {
            self.apply();
        }
    }

    /// The record goes to its address, and the index names it.
    pub fn put(&mut self, lsn: Lsn, write: Write) {
        let Write { key, address, value, .. } = write;
        let previous = self.index.get(&key).copied();
        self.store(Record { address, key, lsn, value, previous });
        self.index.insert(key, address);
        if value.is_none() {
            self.tombstones.push((lsn, key));
        }
    }

    /// Applies the first `count` frames and makes them durable.
    pub fn settle_to(&mut self, count: usize) {
        self.apply_to(count);
        self.settle(count);
    }

    /// The device answers: some of what is applied is durable.
    pub fn settle_some(&mut self) {
        let settled = self.log().settled();
        let count = self.world.between(settled, self.applied);
        self.settle(self.log().batch_end(count, settled));
    }

    fn settle(&mut self, count: usize) {
        let before = self.log().settled();
        self.world.disk.log.settle(count);
        let settled = self.log().settled_frames()[before..].iter();
        let openings: Vec<_> = settled.filter_map(Frame::opening).collect();
        for opening in openings {
            // Found: what a settled frame names is not cleared before.
            self.chunk_mut(opening.chunk).is_opened = true;
        }
    }

    /// A group finds no room on the device: no reader has seen it, and the log goes on without it.
    /// It takes no chunk away: other batches that have records there name the chunk too.
    pub fn refuse(&mut self) {
        if self.world.class == Class::MemoryFirst {
            return;
        }
        let within = self.world.between(self.applied, self.log().len());
        let is_inside = within > 0 && !self.log().frame(within - 1).ends_batch;
        let first = if is_inside { self.log().next_batch_end(within) } else { within };
        let end = self.log().next_batch_end(first);
        let refused = self.world.disk.log.refuse(first..end);
        self.refused = refused.last().map_or(self.refused, |frame| frame.lsn);
        if refused.iter().any(|frame| frame.opening().is_some()) {
            self.world.figures.note(Event::OpeningRefused);
        }
    }

    /// Entries of deleted keys go when no reader needs what was before. Found by their LSN: a move
    /// changes the address.
    pub fn forget(&mut self) -> Checked<()> {
        let visible = self.log().lsn_at(self.visible());
        let bound = self.pins.iter().map(|pin| pin.lsn).fold(visible, u64::min);
        let forgotten: Vec<_> = self.tombstones.extract_if(.., |(lsn, _)| *lsn <= bound).collect();
        for (lsn, key) in forgotten {
            let Some(address) = self.index.get(&key) else { continue };
            if self.record(*address, key)?.lsn == lsn {
                self.index.remove(&key);
            }
        }
        Ok(())
    }
}
