//! [`Superblock`]: two slots, each names one or two checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::chunk::{ChunkState, Place, Stream};
use super::log::{Frame, Log, Opening};
use super::record::{Address, ChunkNumber, Key, Lsn};
use crate::violation::{Checked, violated};

/// What a checkpoint says of a chunk.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub place: Place,
    pub width: usize,
    pub state: ChunkState,
    pub stream: Stream,
    /// Records before it are durable where they are.
    pub durable_length: usize,
}

#[derive(Debug, Default)]
pub struct Checkpoint {
    pub number: u64,
    /// Replay begins behind it: *s* of the rules.
    pub start: Lsn,
    /// The index, fuzzy and without tombstones.
    pub image: BTreeMap<Key, Address>,
    pub chunks: BTreeMap<ChunkNumber, Row>,
    /// Chunks whose evacuation had ended before `start` was noted.
    pub listed: BTreeSet<ChunkNumber>,
    pub next_chunk: ChunkNumber,
}

impl Checkpoint {
    /// RULE 6: each chunk of the table has the place that every settled frame which opens it says,
    /// and there is one.
    pub fn check_table(&self, log: &Log) -> Checked<()> {
        let mut places = BTreeMap::new();
        for opening in log.settled_frames().iter().filter_map(Frame::opening) {
            let Opening { chunk, place, width, .. } = opening;
            if *places.entry(chunk).or_insert((place, width)) != (place, width) {
                violated!("{opening:?}: the chunk was opened elsewhere before");
            }
        }
        for (number, row) in &self.chunks {
            let opened = places.get(number);
            if opened != Some(&(row.place, row.width)) {
                violated!("the table has chunk {number}, {row:?}: opened at {opened:?}");
            }
        }
        Ok(())
    }
}

/// Checkpoints that a slot names, the newest first: two, or one.
pub type Named = Vec<Rc<Checkpoint>>;

#[derive(Clone, Debug)]
pub struct Slot {
    pub generation: u64,
    pub named: Named,
}

#[derive(Debug)]
pub struct Superblock {
    slots: [Slot; 2],
    /// A write whose answer is awaited: it may arrive, or not.
    under_way: Option<(usize, Slot)>,
    /// A slot that a loss of power has torn: unreadable until it is written again.
    torn: Option<usize>,
}

/// What a loss of power makes of a slot under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Old,
    New,
    Torn,
}

impl Superblock {
    /// That of a database just created.
    pub fn new() -> Self {
        let named = vec![Rc::new(Checkpoint::default())];
        let slots = [0, 1].map(|generation| Slot { generation, named: named.clone() });
        Self { slots, under_way: None, torn: None }
    }

    pub fn torn(&self) -> Option<usize> {
        self.torn
    }

    pub fn slot(&self, index: usize) -> &Slot {
        &self.slots[index]
    }

    /// The slot in force.
    pub fn newest(&self) -> usize {
        usize::from(self.slots[1].generation > self.slots[0].generation)
    }

    /// The number of the newest checkpoint that any slot names.
    pub fn newest_number(&self) -> u64 {
        self.slots.iter().map(|slot| slot.named[0].number).max().unwrap_or_default()
    }

    /// Begins to write into the slot that is not `in_force`.
    pub fn submit(&mut self, in_force: usize, named: Named) {
        assert!(self.under_way.is_none(), "one write at a time");
        let generation = self.slots[in_force].generation + 1;
        self.under_way = Some((1 - in_force, Slot { generation, named }));
    }

    /// The write was answered: it is durable. Returns the slot that is in force now.
    pub fn answer(&mut self) -> usize {
        let (index, slot) = self.under_way.take().expect("a write was submitted");
        self.arrive(index, slot);
        index
    }

    fn arrive(&mut self, index: usize, slot: Slot) {
        self.slots[index] = slot;
        self.torn = self.torn.filter(|torn| *torn != index);
    }

    pub fn lose_power(&mut self, fate: Fate) {
        let Some((index, slot)) = self.under_way.take() else { return };
        match fate {
            Fate::Old => {}
            Fate::New => self.arrive(index, slot),
            Fate::Torn => {
                assert!(self.torn.is_none_or(|torn| torn == index), "one slot is always whole");
                self.torn = Some(index);
            }
        }
    }
}
