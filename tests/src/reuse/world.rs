//! [`World`]: what goes on from life to life.

use uarr_disk_sim::Random;

use super::figures::{Event, Figures};
use super::log::Log;
use super::map::{Map, Medium};
use super::mutations::Mutation;
use super::record::ChunkNumber;
use super::superblock::{Fate, Superblock};

/// When a write is acknowledged, and seen by readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// When it is durable.
    Sync,
    /// When it is applied.
    MemoryFirst,
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
    /// The highest chunk number that any life has given out.
    number_max: Option<ChunkNumber>,
}

impl World {
    pub fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let disk =
            Disk { superblock: Superblock::new(), medium: Medium::new(), log: Log::default() };
        let mut random = Random::new(seed);
        let class = if random.below(10) < 6 { Class::Sync } else { Class::MemoryFirst };
        Self { disk, random, class, mutation, figures: Figures::default(), number_max: None }
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

    /// A chunk number is given out: it is new, or only lost groups have named it.
    pub fn note_number(&mut self, number: ChunkNumber) {
        if self.number_max >= Some(number) {
            self.figures.note(Event::NumberGivenAgain);
        }
        self.number_max = self.number_max.max(Some(number));
    }

    /// What is left after a loss of power. The log ends behind a whole batch, at or behind what is
    /// settled. A superblock slot under way is old, new or torn; so is each page.
    pub fn lose_power(mut self, map: Map) -> Self {
        self.figures.note(Event::PowerLost);
        let fate = self.pick(&[Fate::Old, Fate::New, Fate::Torn]);
        self.disk.superblock.lose_power(fate);
        map.lose_power(&mut self.disk.medium, &mut self.random);
        let settled = self.disk.log.settled();
        let end = self.between(settled, self.disk.log.len());
        let end = self.disk.log.batch_end(end, settled);
        if self.disk.log.is_between_openings(end) {
            self.figures.note(Event::LostBetweenOpenings);
        }
        self.disk.log.cut(end);
        self
    }
}
