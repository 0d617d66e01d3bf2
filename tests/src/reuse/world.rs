//! [`World`]: what goes on from life to life.

use std::fmt::{self, Display, Formatter};
use std::ops::AddAssign;

use uarr_disk_sim::Random;

use super::log::Log;
use super::map::{Map, Medium};
use super::mutations::Mutation;
use super::superblock::{Fate, Superblock};

/// When a write is acknowledged, and seen by readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// When it is durable.
    Sync,
    /// When it is applied.
    MemoryFirst,
}

/// What a run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Places that were given back.
    pub place_count: u64,
    /// Losses of power.
    pub crash_count: u64,
    /// How many of them happened inside of a recovery.
    pub crash_in_recovery_count: u64,
    /// Recoveries that used an older checkpoint than the newest, or the other slot.
    pub fallback_count: u64,
    /// Checkpoints whose superblock is durable.
    pub checkpoint_count: u64,
    /// Checkpoints that would have changed nothing.
    pub skipped_count: u64,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.place_count += other.place_count;
        self.crash_count += other.crash_count;
        self.crash_in_recovery_count += other.crash_in_recovery_count;
        self.fallback_count += other.fallback_count;
        self.checkpoint_count += other.checkpoint_count;
        self.skipped_count += other.skipped_count;
    }
}

impl Display for Figures {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} places freed, {} crashes ({} in recoveries), {} fallbacks, {} checkpoints \
             and {} skipped",
            self.place_count,
            self.crash_count,
            self.crash_in_recovery_count,
            self.fallback_count,
            self.checkpoint_count,
            self.skipped_count,
        )
    }
}

/// What survives a loss of power.
#[derive(Debug)]
pub struct Disk {
    pub superblock: Superblock,
    pub medium: Medium,
    pub log: Log,
}

#[derive(Debug)]
pub struct World {
    pub disk: Disk,
    pub random: Random,
    pub class: Class,
    /// The part of the rule that does not hold in this world.
    pub mutation: Option<Mutation>,
    pub figures: Figures,
}

impl World {
    pub fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let disk =
            Disk { superblock: Superblock::new(), medium: Medium::new(), log: Log::default() };
        let mut random = Random::new(seed);
        let class = if random.below(10) < 6 { Class::Sync } else { Class::MemoryFirst };
        Self { disk, random, class, mutation, figures: Figures::default() }
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    /// A number from `first` to `last`.
    pub fn between(&mut self, first: usize, last: usize) -> usize {
        assert!(first <= last, "there is a number to choose");
        first + self.below(last - first + 1)
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// What is left after a loss of power. The log ends behind a whole batch, at or behind what is
    /// settled. A superblock slot under way is old, new or torn; so is each page.
    pub fn lose_power(mut self, map: Map) -> Self {
        self.figures.crash_count += 1;
        let fate = self.pick(&[Fate::Old, Fate::New, Fate::Torn]);
        self.disk.superblock.lose_power(fate);
        map.lose_power(&mut self.disk.medium, &mut self.random);
        let settled = self.disk.log.settled();
        let end = self.between(settled, self.disk.log.len());
        let end = self.disk.log.batch_end(end, settled);
        self.disk.log.cut(end);
        self
    }
}
