//! [`Checkpointing`]: a checkpoint on its way, from its list to its superblock.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::chunk::{Chunk, Stream};
use super::database::Database;
use super::figures::Event;
use super::mutations::Mutation;
use super::naming::Naming;
use super::record::{ChunkNumber, KEY_COUNT, Key, Lsn};
use super::step::Step;
use super::superblock::{Checkpoint, Named, Row};
use crate::violation::Checked;

/// Where a checkpoint stands; each waits to be done.
#[derive(Debug)]
enum Stand {
    /// List the chunks whose evacuation has ended.
    List,
    /// Note where replay starts.
    NoteStart,
    /// Walk the index, from this key on.
    Walk(Key),
    /// Seal the page of the user stream, and note all that is staged.
    SealUser,
    /// Seal the page of the cold stream.
    SealCold,
    /// Apply, and make the log durable, up to all that was staged.
    SettleLog,
    /// Read the chunk table.
    ReadTable,
    /// Make the data file durable.
    WriteData,
    /// Write the superblock.
    Name { named: Named, naming: Naming },
    /// Nothing is left to do.
    Over,
}

#[derive(Debug)]
pub struct Checkpointing {
    stand: Stand,
    /// What was gathered.
    new: Checkpoint,
    /// Durable lengths of chunks, noted when the page of their stream was sealed.
    lengths: BTreeMap<ChunkNumber, usize>,
    /// All that was staged when the user page was sealed.
    end: Lsn,
    /// The changes that had happened when the list was taken.
    change_count: u64,
    /// The chunks at an earlier moment. For mutations alone.
    early: Option<BTreeMap<ChunkNumber, Chunk>>,
}

impl Checkpointing {
    pub fn begin() -> Self {
        Self {
            stand: Stand::List,
            new: Checkpoint::default(),
            lengths: BTreeMap::new(),
            end: 0,
            change_count: 0,
            early: None,
        }
    }

    pub fn run(mut self, database: &mut Database) -> Checked<()> {
        while self.step(database)? == Step::Going {}
        Ok(())
    }

    pub fn step(&mut self, database: &mut Database) -> Checked<Step> {
        self.stand = match &mut self.stand {
            Stand::List => self.list(database),
            Stand::NoteStart => {
                self.new.start = database.settled_lsn();
                Stand::Walk(0)
            }
            Stand::Walk(key) => {
                let key = *key;
                self.walk(key, database)?
            }
            Stand::SealUser => {
                self.seal(Stream::User, database);
                let is_short = database.has(Mutation::LogShort);
                self.end = if is_short { database.applied_lsn() } else { database.next_lsn - 1 };
                Stand::SealCold
            }
            Stand::SealCold => {
                self.seal(Stream::Cold, database);
                self.read_early(Mutation::TableBeforeLog, database);
                Stand::SettleLog
            }
            Stand::SettleLog => {
                if !database.has(Mutation::LogLate) {
                    database.settle_to(database.log().count_to(self.end));
                }
                Stand::ReadTable
            }
            Stand::ReadTable => self.read_table(database)?,
            Stand::WriteData => {
                if !database.has(Mutation::DataLate) {
                    database.write_back_all();
                }
                self.name(database)
            }
            Stand::Name { named, naming } => {
                let step = naming.step(database);
                if step == Step::Done || database.has(Mutation::KeptBeforeAnswer) {
                    database.kept = named.clone();
                }
                if step == Step::Going {
                    return Ok(step);
                }
                database.covered = Some(self.change_count);
                database.world.figures.note(Event::Checkpoint);
                Stand::Over
            }
            Stand::Over => Stand::Over,
        };
        Ok(if matches!(self.stand, Stand::Over) { Step::Done } else { Step::Going })
    }

    /// RULE 4: the list comes first, so all that is listed was evacuated before the start.
    fn list(&mut self, database: &mut Database) -> Stand {
        if is_needless(database) {
            database.world.figures.note(Event::Skipped);
            return Stand::Over;
        }
        self.new.number = database.kept[0].number + 1;
        self.new.listed = database.quarantined();
        self.change_count = database.change_count;
        self.read_early(Mutation::TableBeforeStart, database);
        Stand::NoteStart
    }

    /// Some entries of the index, as they are now; tombstones are left out.
    fn walk(&mut self, first: Key, database: &mut Database) -> Checked<Stand> {
        if first == 0 && database.has(Mutation::ListedAfterStart) {
            self.new.listed = database.quarantined();
        }
        let end = KEY_COUNT.min(first + 1 + database.world.below(3));
        for key in first..end {
            let Some(address) = database.index.get(&key) else { continue };
            if database.record(*address, key)?.value.is_some() {
                self.new.image.insert(key, *address);
            }
        }
        if end < KEY_COUNT {
            return Ok(Stand::Walk(end));
        }
        if database.has(Mutation::ListedAfterWalk) {
            self.new.listed = database.quarantined();
        }
        Ok(Stand::SealUser)
    }

    /// RULE 5: behind the walk the page that a stream appends to is sealed, and the lengths of its
    /// chunks are noted at that moment.
    fn seal(&mut self, stream: Stream, database: &mut Database) {
        let mutation = match stream {
            Stream::User => Mutation::UserNotSealed,
            Stream::Cold => Mutation::ColdNotSealed,
        };
        if let Some(open) = database.streams.get(stream).filter(|_| !database.has(mutation)) {
            database.chunk_mut(open).seal_page();
        }
        let of_stream = database.chunks.iter().filter(|(_, chunk)| chunk.stream == stream);
        self.lengths.extend(of_stream.map(|(number, chunk)| (*number, chunk.tail)));
    }

    fn read_early(&mut self, mutation: Mutation, database: &Database) {
        if database.has(mutation) {
            self.early = Some(database.chunks.clone());
        }
    }

    /// RULE 6: the table is read behind start, walk, seals and log, without chunks of which no
    /// chunk-open frame is settled.
    fn read_table(&mut self, database: &Database) -> Checked<Stand> {
        if database.has(Mutation::LengthsTooLate) {
            let all = database.chunks.iter();
            self.lengths = all.map(|(number, chunk)| (*number, chunk.tail)).collect();
        }
        let chunks = self.early.as_ref().unwrap_or(&database.chunks);
        let is_ahead = database.has(Mutation::TableAheadOfLog);
        let in_log = chunks.iter().filter(|(_, chunk)| chunk.is_opened || is_ahead);
        let rows = in_log.map(|(number, chunk)| {
            let durable_length = self.lengths.get(number).copied().unwrap_or(0);
            let Chunk { place, width, state, stream, .. } = *chunk;
            (*number, Row { place, width, state, stream, durable_length })
        });
        self.new.chunks = rows.collect();
        self.new.next_chunk = database.next_chunk;
        if !is_ahead {
            self.new.check_table(database.log())?;
        }
        Ok(Stand::WriteData)
    }

    fn name(&mut self, database: &Database) -> Stand {
        let new = Rc::new(std::mem::take(&mut self.new));
        let named = vec![new, database.kept[0].clone()];
        Stand::Name { naming: Naming::of(named.clone()), named }
    }
}

/// RULE 4: whether a checkpoint would change nothing, and no chunk in quarantine waits for it.
fn is_needless(database: &Database) -> bool {
    let log = database.log();
    if database.has(Mutation::UnchangedSkipped) {
        return log.lsn_at(log.len()) == database.kept[0].start;
    }
    let older = database.kept.last().expect("a slot names a checkpoint");
    let waits = !database.quarantined().is_subset(&older.listed);
    let is_covered = database.covered == Some(database.change_count);
    is_covered && (!waits || database.has(Mutation::WaitingSkipped))
}
