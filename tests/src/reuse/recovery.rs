//! [`Recovery`]: from what survived to a database whose readers see everything settled.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::chunk::{Chunk, ChunkState, Place, Stream};
use super::database::Database;
use super::figures::Event;
use super::keeper::READY_MAX;
use super::log::{Change, Frame};
use super::mutations::Mutation;
use super::naming::Naming;
use super::record::ChunkNumber;
use super::step::Step;
use super::superblock::{Checkpoint, Row};
use super::world::World;
use crate::violation::{Checked, violated};

/// LSNs of a life begin at a multiple of it that no life before has reached.
const LSN_SKIP: u64 = 100;

/// Where a recovery stands; each waits to be done.
#[derive(Debug)]
enum Stand {
    /// Have a slot name the checkpoint in use alone, and then so many more.
    Rename { naming: Naming, more: usize },
    /// Take image and chunk table of the checkpoint in use.
    Load,
    /// Replay the frame of this index in `frames`.
    Replay(usize),
    /// Make durable what was read.
    SettleLog,
    /// Begin a new life, with a slot or, for a mutation, two.
    Begin { naming: Naming, more: usize },
    /// Nothing is left to do.
    Over,
}

#[derive(Debug)]
pub struct Recovery {
    stand: Stand,
    used: Rc<Checkpoint>,
    frames: Vec<Frame>,
    /// Records before these lengths are durable where they are.
    lengths: BTreeMap<ChunkNumber, usize>,
    /// The chunk of the last record replayed.
    user: Option<ChunkNumber>,
}

/// What cannot be read this time; it may be readable again next time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unreadable {
    Nothing,
    NewestSlot,
    NewestImage,
}

impl Recovery {
    /// Chooses the checkpoint to use.
    pub fn begin(mut world: World) -> (Database, Self) {
        let unreadable = match world.below(20) {
            0 | 1 => Unreadable::NewestSlot,
            2..=6 => Unreadable::NewestImage,
            _ => Unreadable::Nothing,
        };
        let superblock = &world.disk.superblock;
        let newest = superblock.newest();
        let lost = superblock.torn().or((unreadable == Unreadable::NewestSlot).then_some(newest));
        let slot_is_lost = lost.is_some();
        let slot = lost.map_or(newest, |lost| 1 - lost);
        let named = superblock.slot(slot).named.clone();
        // With a lost slot, the older checkpoint of the other one may be in pieces.
        let image_is_lost =
            !slot_is_lost && unreadable == Unreadable::NewestImage && named.len() > 1;
        let used = named[usize::from(image_is_lost)].clone();
        if slot_is_lost || image_is_lost {
            world.figures.note(Event::Fallback);
        }

        let is_revived = world.mutation == Some(Mutation::RejectedRevived) && !slot_is_lost;
        let is_newer_named = world.disk.superblock.newest_number() > used.number;
        let keeps_all = is_revived || !slot_is_lost && !image_is_lost;
        let kept = if keeps_all { named } else { vec![used.clone()] };
        let renames = !is_revived && (slot_is_lost || is_newer_named);
        let database = Database::over(world, slot, kept);
        let stand = first_stand(&database, renames);
        let (frames, lengths) = (Vec::new(), BTreeMap::new());
        (database, Self { stand, used, frames, lengths, user: None })
    }

    pub fn step(&mut self, database: &mut Database) -> Checked<Step> {
        self.stand = match &mut self.stand {
            Stand::Rename { naming, more } => match (naming.step(database), *more) {
                (Step::Going, _) => return Ok(Step::Going),
                (Step::Done, 0) => Stand::Load,
                (Step::Done, more) => Stand::Rename { naming: rename(database), more: more - 1 },
            },
            Stand::Load => {
                self.load(database)?;
                Stand::Replay(0)
            }
            Stand::Replay(index) => {
                let index = *index;
                match self.frames.get(index).copied() {
                    Some(frame) => {
                        self.replay(frame, database)?;
                        Stand::Replay(index + 1)
                    }
                    None => {
                        self.finish(database)?;
                        Stand::SettleLog
                    }
                }
            }
            Stand::SettleLog => {
                database.settle_to(database.log().len());
                let more = usize::from(database.has(Mutation::RenamedAfterReplay));
                Stand::Begin { naming: rename(database), more }
            }
            Stand::Begin { naming, more } => match (naming.step(database), *more) {
                (Step::Going, _) => return Ok(Step::Going),
                (Step::Done, 0) => {
                    let last = database.log().lsn_at(database.log().len());
                    database.next_lsn = (last / LSN_SKIP + 2) * LSN_SKIP;
                    Stand::Over
                }
                (Step::Done, more) => Stand::Begin { naming: rename(database), more: more - 1 },
            },
            Stand::Over => Stand::Over,
        };
        Ok(if matches!(self.stand, Stand::Over) { Step::Done } else { Step::Going })
    }

    fn load(&mut self, database: &mut Database) -> Checked<()> {
        database.index = self.used.image.clone();
        for (number, row) in &self.used.chunks {
            let Row { place, width, stream, durable_length, .. } = *row;
            self.lengths.insert(*number, durable_length);
            if row.state == ChunkState::Open {
                database.streams.set(stream, Some(*number));
            }
            let state = match row.state {
                _ if self.used.listed.contains(number) => ChunkState::Quarantined,
                // Its evacuation ended too late for this checkpoint: it begins again.
                ChunkState::Quarantined => ChunkState::Full,
                // The last one that a replayed frame names is opened again at the end.
                _ if stream == Stream::User => ChunkState::Full,
                state => state,
            };
            let chunk = Chunk::new(place, width, stream, state);
            database.add_chunk(*number, Chunk { is_opened: true, tail: durable_length, ..chunk });
        }
        self.check_image(database)?;
        // RULE 8: every frame behind the start, in order.
        let log = database.log();
        self.frames = log.behind(log.count_to(self.used.start)).to_vec();
        if database.has(Mutation::OpensLast) {
            self.frames.sort_by_key(|frame| frame.opening().is_some());
        }
        Ok(())
    }

    /// All that the image names is durable where its table says, before anything is replayed: an
    /// index of byte keys reads them there.
    fn check_image(&self, database: &Database) -> Checked<()> {
        for (key, address) in &self.used.image {
            if self.lengths.get(&address.chunk).is_none_or(|length| address.offset >= *length) {
                violated!("the image has key {key} in {address:?}, and the table has no such");
            }
            database.record(*address, *key)?;
        }
        Ok(())
    }

    fn replay(&mut self, frame: Frame, database: &mut Database) -> Checked<()> {
        match frame.change {
            Change::Write(write) => {
                database.replay_write(frame.lsn, write, &self.lengths)?;
                if database.chunk(write.address.chunk).width == 1 {
                    self.user = Some(write.address.chunk);
                }
            }
            Change::Open(_) if database.has(Mutation::OpensIgnored) => {}
            Change::Open(opening) => {
                self.note_again(opening.chunk, database);
                if database.replay_open(opening)? {
                    self.lengths.insert(opening.chunk, 0);
                }
            }
        }
        Ok(())
    }

    fn note_again(&self, chunk: ChunkNumber, database: &mut Database) {
        if !database.chunks.contains_key(&chunk) {
            return;
        }
        let log = database.log();
        let before = &log.settled_frames()[..log.count_to(self.used.start)];
        let is_between = before.iter().any(|frame| frame.opens(chunk));
        database.world.figures.note(Event::OpeningReplayedAgain);
        if is_between {
            database.world.figures.note(Event::StartBetweenOpenings);
        }
    }

    /// Streams go on: the user's behind the last record replayed, the cold one at its durable
    /// length. Cold chunks that no entry names are ready; those above `READY_MAX` go to quarantine,
    /// so that no number of lost lives eats space. What no chunk owns is free.
    fn finish(&self, database: &mut Database) -> Checked<()> {
        database.applied = database.log().len();
        if self.user.is_some() {
            database.streams.set(Stream::User, self.user);
        }
        if let Some(user) = database.streams.get(Stream::User) {
            database.chunk_mut(user).state = ChunkState::Open;
        }
        for surplus in database.ready().into_iter().skip(READY_MAX) {
            database.chunk_mut(surplus).state = ChunkState::Quarantined;
        }
        let mut free: std::collections::BTreeSet<Place> = (0..database.map.place_count()).collect();
        for place in database.chunks.values().flat_map(Chunk::places) {
            free.remove(&place);
        }
        database.free = free;
        database.tombstones.clear();
        for (key, address) in &database.index {
            let record = database.record(*address, *key)?;
            if record.value.is_none() {
                database.tombstones.push((record.lsn, *key));
            }
        }
        database.tombstones.sort_unstable();
        Ok(())
    }
}

/// RULE 7: before replay writes a byte of the data file, no slot names a checkpoint newer than the
/// one in use. So both slots are written if one does, or is unreadable: that one first.
fn first_stand(database: &Database, renames: bool) -> Stand {
    if !renames || database.has(Mutation::RenamedAfterReplay) {
        return Stand::Load;
    }
    let more = usize::from(!database.has(Mutation::RenamedInOneSlot));
    Stand::Rename { naming: rename(database), more }
}

fn rename(database: &Database) -> Naming {
    Naming::of(database.kept.clone())
}
