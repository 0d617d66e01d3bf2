//! What a seed decides before the run: a *swarm*, in which each run leaves out some operations and
//! does others often, because a bit of everything rarely does anything long enough.

use std::time::Duration;

use uarr::{Builder, CommitPath, CommitStrategy, Durability, KeyKind};
use uarr_disk_sim::{Memory, MemoryOptions, ReadFilter};

use super::menu::MENU;
use crate::{Random, tiny};

/// Size of chunks: the smallest.
pub(super) const CHUNK_BYTES: u64 = 1 << 16;

/// What kinds of fault a run may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// All that disks, kernels and power lines may do. Nothing acknowledged may be lost.
    Legal,
    /// A disk that lies: lost and misdirected writes, bit rot. It must be noticed.
    Illegal,
}

/// Lengths of values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Small,
    /// All alike: records lie at the same places of all pages, and groups at the same places of all
    /// segments.
    Uniform(u64),
    Mixed,
    /// Segments are filled, sealed and recycled.
    Heavy,
    /// Some are about as long as a chunk, or several.
    Chunks,
}

/// A mechanism of a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacks {
    /// A touch changes the time.
    Touch,
    /// A change of a counter counts once, also if the next opening finds it in the log.
    CountingOnce,
    /// A condition is asked in the moment in which its change is staged.
    PremiseAtStaging,
}

/// The options of a run.
#[derive(Clone)]
pub struct Plan {
    /// Where it all comes from.
    pub seed: u64,
    /// What may go wrong.
    pub faults: Faults,
    /// Unit of the log.
    pub block_bytes: u32,
    /// True if the run prints what it does, step by step: `UARR_TELL` is set.
    pub talks: bool,
    pub(super) random: Random,
    pub(super) durability: Durability,
    pub(super) kind: KeyKind,
    pub(super) path: CommitPath,
    pub(super) shape: Shape,
    pub(super) key_count: u64,
    pub(super) weights: Vec<u64>,
    pub(super) life_count: u64,
    pub(super) operation_count_max: u64,
    pub(super) ingest_count_max: u64,
    /// Size of log segments; an eighth of it is the most that groups gather.
    pub(super) segment_bytes: u64,
    /// Whether the disk is only ever killed, until the last life.
    pub(super) kills_only: bool,
    /// Whether writers believe a refusal.
    pub(super) hears_poison: bool,
    /// What verbs do without: users make of them what they would be then.
    pub(super) lacks: Option<Lacks>,
    /// Whether the disk of a run with [`Faults::Illegal`] lies, besides what readers get.
    pub(super) lies: bool,
    /// Whether the log refuses groups for lack of room.
    pub(super) refuses_groups: bool,
    /// Whether the records lie in a table that is dropped and made again.
    pub(super) uses_table: bool,
    /// Whether that table has no order.
    pub(super) is_unordered: bool,
    /// Whether the files are looked at before each opening.
    pub(super) audits: bool,
    /// Whether readers that write nothing look at the disk, too.
    pub(super) reads: bool,
    /// What readers get that look at a disk before an opening, if it is not what is there.
    pub(super) deceives_readers: Option<ReadFilter>,
    /// How large the data file may get.
    pub(super) space_amplification_max: f64,
}

impl Plan {
    /// The plan of `seed`.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let mut random = Random::new(seed);
        let durability = match (random.below(4), faults) {
            (0, Faults::Legal) => Durability::Manual,
            (1, Faults::Legal) => Durability::Interval(Duration::from_millis(100)),
            _ => Durability::Sync,
        };
        let strategies =
            [CommitStrategy::LinkedFdatasync, CommitStrategy::Dsync, CommitStrategy::Syscall];
        let path = match random.below(16) {
            0 => CommitPath::Auto,
            other => CommitPath::Fixed(strategies[other as usize % 3]),
        };
        let uniform_bytes = [72, 3_000, 12_000][random.below(3) as usize];
        let shape = match random.below(8) {
            0 | 1 => Shape::Uniform(uniform_bytes),
            2 | 3 => Shape::Heavy,
            4 => Shape::Mixed,
            _ => Shape::Small,
        };
        let boosts = [0, 1, 1, 5];
        let weights = MENU.iter().enumerate().map(|(index, choice)| {
            // The first operation is never left out: a run that writes nothing shows nothing.
            let boost = boosts[random.below(4) as usize].max(u64::from(index == 0));
            choice.weight * boost
        });
        let weights = weights.collect();
        Self {
            seed,
            faults,
            talks: std::env::var_os("UARR_TELL").is_some(),
            block_bytes: [512, 4096][random.below(2) as usize],
            durability,
            kind: [KeyKind::U64, KeyKind::Bytes][random.below(2) as usize],
            path,
            shape,
            key_count: [1, 8, 30, 60, 300][random.below(5) as usize],
            weights,
            life_count: 2 + random.below(6),
            operation_count_max: [8, 30, 60, 150][random.below(4) as usize],
            ingest_count_max: [5, 40, 120][random.below(3) as usize],
            // In small segments each piece of a load is a large group, and those go one by one.
            segment_bytes: [1 << 18, 1 << 18, 1 << 20][random.below(3) as usize],
            kills_only: false,
            hears_poison: true,
            lacks: None,
            lies: true,
            refuses_groups: false,
            uses_table: false,
            is_unordered: false,
            audits: false,
            reads: true,
            deceives_readers: None,
            space_amplification_max: 1.5,
            random,
        }
    }

    /// Makes it a run of many bulk loads, whose groups are all alike: holes between groups in
    /// flight are filled exactly by later ones. Only groups that gather several pieces of a load
    /// are in flight together.
    pub(super) fn load_in_equal_groups(&mut self) {
        self.shape = Shape::Uniform(12_000);
        self.ingest_count_max = 60;
        self.segment_bytes = 1 << 20;
        self.life_count = 8;
        self.operation_count_max = 8;
        for (weight, choice) in self.weights.iter_mut().zip(MENU) {
            *weight = u64::from(choice.name == "ingest");
        }
    }

    /// Makes it a run that writes one key again and again, each record as long as the others.
    pub(super) fn write_versions_alike(&mut self) {
        (self.kind, self.key_count) = (KeyKind::U64, 1);
        self.shape = Shape::Uniform(72);
        self.operation_count_max = 150;
        self.weigh(&["put", "checkpoint"], 20);
    }

    /// Makes it a run of many faults.
    pub(super) fn fail_often(&mut self) {
        self.weigh(&["fault", "checkpoint"], 20);
    }

    /// Makes it a run whose writers take a refusal by a poisoned database for success.
    pub(super) fn hear_no_poison(&mut self) {
        self.fail_often();
        self.hears_poison = false;
    }

    /// Makes it a run of touches that are acknowledged and leave the time as it was.
    pub(super) fn lose_touches(&mut self) {
        self.expire();
        self.lacks = Some(Lacks::Touch);
    }

    /// Makes it a run of counters that count some changes twice.
    pub(super) fn count_twice(&mut self) {
        self.weigh(&["count"], 20);
        self.lacks = Some(Lacks::CountingOnce);
    }

    /// Makes it a run of conditions that are asked before other writers are done.
    pub(super) fn ask_too_early(&mut self) {
        self.weigh(&["conditional put"], 20);
        self.lacks = Some(Lacks::PremiseAtStaging);
    }

    /// Makes it a run of processes that are killed while several writes are in flight.
    pub(super) fn kill_often(&mut self) {
        self.kills_only = true;
        self.weigh(&["ingest"], 20);
    }

    /// Makes it a run of long values in small chunks, with many checkpoints, on a disk that is
    /// often full.
    pub(super) fn fill_chunks(&mut self) {
        self.shape = Shape::Chunks;
        self.key_count = self.key_count.min(30);
        self.ingest_count_max = self.ingest_count_max.min(40);
        self.weigh(&["checkpoint", "full disk", "ingest"], 10);
    }

    /// The same, on a disk that does not lie: what is wrong is what readers get.
    pub(super) fn fill_chunks_honestly(&mut self) {
        self.fill_chunks();
        self.lies = false;
    }

    /// Makes it a run of a database that waits for the device, whose log refuses groups for lack of
    /// room while those behind them find some.
    pub(super) fn refuse_groups(&mut self) {
        self.fill_chunks();
        self.durability = Durability::Sync;
        self.refuses_groups = true;
        self.weigh(&["fault"], 40);
        // A load goes on behind a group that was refused, and is no prefix then.
        for (weight, choice) in self.weights.iter_mut().zip(MENU) {
            *weight *= u64::from(choice.name != "ingest");
        }
    }

    /// Makes it a run in which little lives and much is overwritten: records are moved, and places
    /// used again, while readers keep what they have seen.
    pub(super) fn give_back(&mut self) {
        self.shape = [Shape::Heavy, Shape::Chunks, Shape::Mixed][self.random.below(3) as usize];
        self.key_count = [1, 8, 30][self.random.below(3) as usize];
        self.ingest_count_max = self.ingest_count_max.min(40);
        self.operation_count_max = 150;
        self.space_amplification_max = 1.2;
        self.audits = self.faults == Faults::Legal;
        self.weigh(&["step", "checkpoint"], 25);
        self.weigh(&["compact", "hold", "look"], 3);
    }

    /// The same, on a disk that does not lie: what is wrong is what readers get.
    pub(super) fn give_back_honestly(&mut self) {
        self.give_back();
        self.lies = false;
    }

    /// Makes it a run of records that expire, and of clocks that jump.
    pub(super) fn expire(&mut self) {
        self.operation_count_max = 150;
        self.weigh(&["expire"], 200);
        self.weigh(&["clock jump", "step", "checkpoint"], 10);
    }

    /// Makes it a run in a table that is dropped and made again, while readers keep what they have
    /// seen, beside a table whose options change; half of them also one in which records are moved.
    pub(super) fn use_table(&mut self) {
        if self.seed.is_multiple_of(2) {
            self.give_back();
            self.weigh(&["drop table"], 6);
        } else {
            // Removals that one life begins are others' to end.
            (self.life_count, self.operation_count_max) = (8, 20);
            self.weigh(&["drop table"], 30);
        }
        self.uses_table = true;
        // Two of three, if its keys are bytes.
        let is_first = (self.seed / 2).is_multiple_of(3);
        self.is_unordered = self.kind == KeyKind::Bytes && !is_first;
        self.audits = true;
        self.weigh(&["hold", "look"], 6);
        self.weigh(&["alter table"], 10);
        self.weigh(&["step", "checkpoint", "batch"], 20);
    }

    /// The same, of a table without order that is hardly ever dropped.
    pub(super) fn use_unordered_table(&mut self) {
        self.kind = KeyKind::Bytes;
        self.use_table();
        self.is_unordered = true;
        self.weigh(&["put", "checkpoint"], 60);
    }

    /// The same, on a disk that does not lie: what is wrong is what readers get.
    pub(super) fn use_unordered_table_honestly(&mut self) {
        self.use_unordered_table();
        self.lies = false;
        // They do not look at all of an image, and take what each piece says.
        self.reads = false;
    }

    /// Gives the operations with these names this weight at least.
    fn weigh(&mut self, names: &[&str], least: u64) {
        for (weight, choice) in self.weights.iter_mut().zip(MENU) {
            if names.contains(&choice.name) {
                *weight = least.max(*weight);
            }
        }
    }

    /// A new disk for the run.
    pub(super) fn disk(&self) -> Memory {
        Memory::with_options(MemoryOptions {
            seed: self.seed,
            block_bytes: self.block_bytes,
            reorder_completions: true,
            hostile: self.faults == Faults::Legal,
        })
    }

    /// Options of the database.
    pub(super) fn builder(&self) -> Builder {
        tiny()
            .keys(self.kind)
            .durability(self.durability)
            .commit_path(self.path)
            .segment_bytes(self.segment_bytes)
            .checkpoint_log_bytes(1 << 19)
            .space_amplification_max(self.space_amplification_max)
    }

    /// Length of a value.
    pub(super) fn value_len(&mut self) -> u64 {
        let random = &mut self.random;
        match (self.shape, random.below(20)) {
            (Shape::Uniform(bytes), _) => bytes,
            (_, 0) => 0,
            (Shape::Mixed, 1) => 4096 + random.below(9000),
            (Shape::Mixed, 2) => random.below(90_000),
            (Shape::Chunks, 1..4) => CHUNK_BYTES - 400 + random.below(600),
            (Shape::Chunks, 4) => random.below(3 * CHUNK_BYTES),
            (Shape::Chunks, 5..12) => CHUNK_BYTES / 2 - 1_000 + random.below(2_000),
            (Shape::Heavy, _) => 2_000 + random.below(28_000),
            _ => random.below(200),
        }
    }
}
