//! [`Database`]: one life of it. What is here is gone when power is lost, but for the [`World`].

use std::collections::{BTreeMap, BTreeSet};

use super::chunk::{Chunk, ChunkState, Place, Stream};
use super::kept::Kept;
use super::log::{Change, Log};
use super::map::Map;
use super::mutations::Mutation;
use super::record::{Address, ChunkNumber, Key, Lsn, Record, State};
use super::superblock::Named;
use super::world::{Class, World};
use crate::violation::{Checked, violated};

/// An LSN at which a reader reads.
#[derive(Clone, Copy, Debug)]
pub struct Pin {
    pub lsn: Lsn,
    /// The oracle: what it must find.
    pub state: State,
}

/// A record that a reader has in hand: its bytes must not change.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    pub place: Place,
    pub offset: usize,
    pub record: Record,
}

/// The chunk that each stream appends to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Streams {
    user: Option<ChunkNumber>,
    cold: Option<ChunkNumber>,
}

impl Streams {
    pub fn get(&self, stream: Stream) -> Option<ChunkNumber> {
        match stream {
            Stream::User => self.user,
            Stream::Cold => self.cold,
        }
    }

    pub fn set(&mut self, stream: Stream, chunk: Option<ChunkNumber>) {
        match stream {
            Stream::User => self.user = chunk,
            Stream::Cold => self.cold = chunk,
        }
    }
}

#[derive(Debug)]
pub struct Database {
    pub world: World,
    pub map: Map,
    pub index: BTreeMap<Key, Address>,
    /// All chunks that have a place, by number.
    pub chunks: BTreeMap<ChunkNumber, Chunk>,
    pub next_chunk: ChunkNumber,
    pub streams: Streams,
    pub free: BTreeSet<Place>,
    /// Cleared chunks whose places readers may hold.
    pub draining: Vec<Chunk>,
    pub next_lsn: Lsn,
    /// The last LSN that was refused. For a mutation alone.
    pub refused: Lsn,
    /// So many frames are applied.
    pub applied: usize,
    /// Deletions whose index entries are not forgotten yet.
    pub tombstones: Vec<(Lsn, Key)>,
    /// The slot of the superblock that is in force.
    pub slot: usize,
    /// The checkpoints that it names and that may serve: what is to be reused must not be theirs.
    pub kept: Named,
    /// Counts what a checkpoint would write: frames, moves, ends of evacuations.
    pub change_count: u64,
    /// The count that the newest kept checkpoint covers, if it was taken in this life.
    pub covered: Option<u64>,
    pub pins: Vec<Pin>,
    /// Old versions that pins need, by key.
    pub retained: BTreeMap<Key, Vec<Kept>>,
    pub holds: Vec<Hold>,
}

impl Database {
    /// The database over what survived, before recovery.
    pub fn over(world: World, slot: usize, kept: Named) -> Self {
        Self {
            map: Map::over(&world.disk.medium),
            index: BTreeMap::new(),
            chunks: BTreeMap::new(),
            next_chunk: kept[0].next_chunk,
            streams: Streams::default(),
            free: BTreeSet::new(),
            draining: Vec::new(),
            next_lsn: 1,
            refused: 0,
            applied: 0,
            tombstones: Vec::new(),
            slot,
            kept,
            change_count: 0,
            covered: None,
            pins: Vec::new(),
            retained: BTreeMap::new(),
            holds: Vec::new(),
            world,
        }
    }

    pub fn lose_power(self) -> World {
        self.world.lose_power(self.map)
    }

    /// Whether this part of the rule does not hold.
    pub fn has(&self, mutation: Mutation) -> bool {
        self.world.mutation == Some(mutation)
    }

    pub fn log(&self) -> &Log {
        &self.world.disk.log
    }

    pub fn settled_lsn(&self) -> Lsn {
        self.log().settled_lsn()
    }

    pub fn applied_lsn(&self) -> Lsn {
        self.log().lsn_at(self.applied)
    }

    /// How many frames readers see.
    pub fn visible(&self) -> usize {
        match self.world.class {
            Class::Sync => self.log().settled(),
            Class::MemoryFirst => self.log().batch_end(self.applied, 0),
        }
    }

    /// What a reader that begins now sees.
    pub fn pin(&self) -> Pin {
        let visible = self.visible();
        Pin { lsn: self.log().lsn_at(visible), state: self.log().state_at(visible) }
    }

    /// Appends a frame to the log, and returns its LSN.
    pub fn log_frame(&mut self, change: Change, ends_batch: bool) -> Lsn {
        let lsn = self.next_lsn;
        self.world.disk.log.append(lsn, change, ends_batch);
        self.next_lsn += 1;
        self.change_count += 1;
        lsn
    }

    pub fn chunk(&self, number: ChunkNumber) -> &Chunk {
        self.chunks.get(&number).expect("who asks for a chunk by its number has seen it")
    }

    pub fn chunk_mut(&mut self, number: ChunkNumber) -> &mut Chunk {
        self.chunks.get_mut(&number).expect("who asks for a chunk by its number has seen it")
    }

    pub fn quarantined(&self) -> BTreeSet<ChunkNumber> {
        let of = |chunk: &Chunk| chunk.state == ChunkState::Quarantined;
        self.chunks.iter().filter(|(_, chunk)| of(chunk)).map(|(number, _)| *number).collect()
    }

    /// The record at `address`: it must be there, whole, and be that of `key`.
    pub fn record(&self, address: Address, key: Key) -> Checked<Record> {
        let Some(chunk) = self.chunks.get(&address.chunk) else {
            violated!("{address:?} of key {key}: the chunk is gone");
        };
        for (number, place) in (address.chunk..).zip(chunk.places()) {
            let expected = (Address { chunk: number, ..address }, key);
            let found = self.map.cell(place, address.offset);
            if found.is_none_or(|record| (record.address, record.key) != expected) {
                violated!("{address:?} of key {key} holds {found:?}");
            }
        }
        let first = self.map.cell(chunk.place, address.offset);
        Ok(first.expect("all places of the record were looked at"))
    }

    /// Writes a record to its address: to each place of a jumbo chunk its part.
    pub fn store(&mut self, record: Record) {
        let Address { chunk, offset } = record.address;
        for (number, place) in (chunk..).zip(self.chunk(chunk).places()) {
            let part = record.moved_to(Address { chunk: number, offset });
            self.map.store(place, offset, part);
        }
    }

    /// Pages go to the medium: some of them, as the kernel likes, or all, for a checkpoint.
    pub fn write_back_one(&mut self) {
        let dirty = self.map.dirty();
        if !dirty.is_empty() {
            let page = self.world.pick(&dirty);
            self.map.write_back(page, &mut self.world.disk.medium);
        }
    }

    pub fn write_back_all(&mut self) {
        for page in self.map.dirty() {
            self.map.write_back(page, &mut self.world.disk.medium);
        }
    }
}
