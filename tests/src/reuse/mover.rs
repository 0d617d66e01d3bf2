//! [`Evacuation`]: the mover copies what lives in a sealed chunk, and puts it into quarantine.

use super::chunk::{CELL_COUNT, ChunkState, Stream};
use super::database::Database;
use super::figures::Event;
use super::mutations::Mutation;
use super::record::{Address, ChunkNumber, Record};
use super::step::Step;
use crate::violation::Checked;

/// Where an evacuation stands.
#[derive(Debug)]
enum Stand {
    /// To look for the next live record, from this offset on.
    Search(usize),
    /// To copy a live record.
    Copy(Record),
    /// To point the index to the copy.
    Swap { record: Record, copy: Address },
    /// Nothing is left to do.
    Over,
}

/// Moves are not logged: the next checkpoint makes them durable, and a loss of power forgets them.
#[derive(Debug)]
pub struct Evacuation {
    chunk: ChunkNumber,
    stand: Stand,
}

impl Evacuation {
    pub fn of(chunk: ChunkNumber) -> Self {
        Self { chunk, stand: Stand::Search(0) }
    }

    pub fn run(mut self, database: &mut Database) -> Checked<()> {
        while self.step(database)? == Step::Going {}
        Ok(())
    }

    pub fn step(&mut self, database: &mut Database) -> Checked<Step> {
        self.stand = match self.stand {
            Stand::Search(offset) => self.search(offset, database),
            Stand::Copy(record) => {
                let copy = database.allocate(Stream::Cold);
                // LSN and `previous` stay what they were.
                database.store(record.moved_to(copy));
                Stand::Swap { record, copy }
            }
            Stand::Swap { record, copy } => {
                // Compare and swap: a writer may have been faster.
                let is_newest = database.index.get(&record.key) == Some(&record.address);
                if is_newest || database.has(Mutation::MoveWithoutCas) {
                    database.index.insert(record.key, copy);
                    database.change_count += 1;
                }
                Stand::Search(record.address.offset + 1)
            }
            Stand::Over => Stand::Over,
        };
        Ok(if matches!(self.stand, Stand::Over) { Step::Done } else { Step::Going })
    }

    /// The next live record; without one the evacuation is over. A live jumbo is not moved.
    fn search(&self, first: usize, database: &mut Database) -> Stand {
        let chunk = *database.chunk(self.chunk);
        for offset in first..CELL_COUNT {
            let address = Address { chunk: self.chunk, offset };
            let record = database.map.cell(chunk.place, offset);
            let Some(record) = record.filter(|record| record.address == address) else { continue };
            if database.index.get(&record.key) == Some(&address) {
                return if chunk.width > 1 { Stand::Over } else { Stand::Copy(record) };
            }
        }
        // No index entry names the chunk any more.
        if !chunk.is_opened {
            database.world.figures.note(Event::NeverOpened);
        }
        let evacuated = database.applied_lsn();
        database.change_count += 1;
        let chunk = database.chunk_mut(self.chunk);
        (chunk.state, chunk.evacuated) = (ChunkState::Quarantined, evacuated);
        Stand::Over
    }
}
