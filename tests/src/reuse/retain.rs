//! Old versions that pins need, out of the way of chunks that are to be cleared: [`Retaining`]
//! copies them, and [`Kept`] says where readers find them then.

use super::chunk::{CELL_COUNT, ChunkState, Stream};
use super::database::Database;
use super::figures::Event;
use super::kept::Kept;
use super::mutations::Mutation;
use super::record::{Address, ChunkNumber, Key, Lsn, Record};
use super::step::Step;
use crate::violation::{Checked, violated};

/// What is retained out of a chunk, record by record. Nothing of it survives a loss of power, nor
/// do the pins.
#[derive(Debug)]
pub struct Retaining {
    chunk: ChunkNumber,
    offset: usize,
}

impl Retaining {
    pub fn of(chunk: ChunkNumber) -> Self {
        Self { chunk, offset: 0 }
    }

    /// Whether the chunk still waits for it.
    pub fn is_wanted(&self, database: &Database) -> bool {
        database.chunks.get(&self.chunk).is_some_and(|chunk| !chunk.is_retained)
    }

    /// Retains what pins need of the next record: it, or one that readers find through it.
    pub fn step(&mut self, database: &mut Database) -> Checked<Step> {
        let chunk = *database.chunk(self.chunk);
        if self.offset == CELL_COUNT {
            database.chunk_mut(self.chunk).is_retained = true;
            return Ok(Step::Done);
        }
        let address = Address { chunk: self.chunk, offset: self.offset };
        self.offset += 1;
        let record = database.map.cell(chunk.place, address.offset);
        let Some(record) = record.filter(|record| record.address == address) else {
            return Ok(Step::Going);
        };
        if chunk.width == 1 {
            database.move_kept(record);
        }
        // Pins that come are not older than what is evacuated and visible.
        let pins: Vec<Lsn> = database.pins.iter().map(|pin| pin.lsn).collect();
        for pin in pins.into_iter().filter(|pin| *pin < chunk.evacuated) {
            if record.lsn <= pin || !database.has(Mutation::MiddleDropped) {
                database.keep(record.key, pin, chunk.width == 1)?;
            }
        }
        Ok(Step::Going)
    }
}

impl Database {
    /// RULE 10: chunks out of which old versions may be retained: the older kept checkpoint lists
    /// them, so no pin that comes needs them.
    pub fn retainable(&self) -> Vec<ChunkNumber> {
        let listed = &self.kept.last().expect("a slot names a checkpoint").listed;
        let is_early = self.has(Mutation::RetainedEarly);
        let quarantined = self
            .chunks
            .iter()
            .filter(|(_, chunk)| chunk.state == ChunkState::Quarantined && !chunk.is_retained);
        let numbers = quarantined.map(|(number, _)| *number);
        numbers.filter(|number| is_early || listed.contains(number)).collect()
    }

    /// Whether a reader finds a version in `chunk` because it is kept there.
    pub fn has_kept(&self, chunk: ChunkNumber) -> bool {
        let mut kept = self.retained.values().flatten();
        kept.any(|kept| kept.address.is_some_and(|address| address.chunk == chunk))
    }

    /// A kept version that is `record` gets another copy.
    fn move_kept(&mut self, record: Record) {
        let is_it = |kept: &Kept| kept.address == Some(record.address);
        let kept = self.retained.get(&record.key);
        if kept.is_some_and(|kept| kept.iter().any(is_it)) {
            let copy = self.copy(record);
            let kept = self.retained.get_mut(&record.key).expect("it is there");
            kept.iter_mut().filter(|kept| is_it(kept)).for_each(|kept| kept.address = Some(copy));
        }
    }

    fn copy(&mut self, record: Record) -> Address {
        let copy = self.allocate(Stream::Cold);
        self.store(record.moved_to(copy));
        self.world.figures.note(Event::VersionRetained);
        copy
    }

    /// Keeps what a reader of `key` at `pin` finds, if that is not the newest version, and not kept
    /// already. A copy is made if it lies in a chunk that is to be cleared, and `may_copy`.
    fn keep(&mut self, key: Key, pin: Lsn, may_copy: bool) -> Checked<()> {
        if self.kept(key, pin).is_some() {
            return Ok(());
        }
        let Some(newest) = self.index.get(&key) else { return Ok(()) };
        let mut record = self.record(*newest, key)?;
        if record.lsn <= pin {
            return Ok(());
        }
        let (mut until, mut found) = (record.lsn, None);
        while let Some(previous) = record.previous {
            record = self.record(previous, key)?;
            if record.lsn <= pin {
                found = Some(record);
                break;
            }
            until = record.lsn;
        }
        let from = found.map_or(0, |found| found.lsn);
        let address = found.map(|found| {
            let is_cleared = self.chunk(found.address.chunk).state == ChunkState::Quarantined;
            if is_cleared && may_copy { self.copy(found) } else { found.address }
        });
        self.retained.entry(key).or_default().push(Kept { from, until, address });
        Ok(())
    }

    /// What is kept of `key` for readers at `lsn`.
    fn kept(&self, key: Key, lsn: Lsn) -> Option<&Kept> {
        self.retained.get(&key)?.iter().find(|kept| kept.covers(lsn))
    }

    /// What a reader at `lsn` finds: the newest version, if it is so old; else what is kept; else
    /// the first that is so old behind it.
    pub fn as_of(&self, key: Key, lsn: Lsn) -> Checked<Option<Record>> {
        let Some(newest) = self.index.get(&key) else { return Ok(None) };
        let mut record = self.record(*newest, key)?;
        while record.lsn > lsn {
            if let Some(kept) = self.kept(key, lsn)
                && !self.has(Mutation::KeptLast)
            {
                return kept.address.map(|address| self.record(address, key)).transpose();
            }
            let Some(previous) = record.previous else { return Ok(None) };
            record = self.record(previous, key)?;
            if record.key != key {
                violated!("key {key} has a version of key {}", record.key);
            }
        }
        Ok(Some(record))
    }

    /// Drops what is kept for pins that have ended.
    pub fn sweep(&mut self) {
        let drops_shared = self.has(Mutation::SharedDropped) && !self.pins.is_empty();
        let pins: Vec<Lsn> =
            self.pins.iter().skip(usize::from(drops_shared)).map(|p| p.lsn).collect();
        for kept in self.retained.values_mut() {
            kept.retain(|kept| pins.iter().any(|pin| kept.covers(*pin)));
        }
    }
}
