//! [`Life`]: an open database, the long actions on their way, and what may happen to it.

use super::check::{check, check_quiet};
use super::checkpoint::Checkpointing;
use super::database::{Database, Hold};
use super::figures::Event;
use super::mover::Evacuation;
use super::recovery::Recovery;
use super::retain::Retaining;
use super::step::Step;
use super::world::World;
use crate::violation::Checked;

/// How many readers read at LSNs of their own, and how many hold a record.
const PIN_MAX: usize = 3;
const HOLD_MAX: usize = 2;

pub struct Life {
    pub database: Database,
    evacuation: Option<Evacuation>,
    retaining: Option<Retaining>,
    checkpointing: Option<Checkpointing>,
}

impl Life {
    /// Opens what survived. Power may be lost between any two steps of recovery: then again.
    pub fn open(mut world: World) -> Checked<Self> {
        loop {
            let step_count = world.pick(&[3, 9, 30, 99, 999]);
            let (mut database, mut recovery) = Recovery::begin(world);
            let mut steps = 0;
            while steps < step_count && recovery.step(&mut database)? == Step::Going {
                if database.world.chance(10) {
                    database.write_back_one();
                }
                steps += 1;
            }
            if steps < step_count {
                check(&database)?;
                let (evacuation, retaining, checkpointing) = (None, None, None);
                return Ok(Self { database, evacuation, retaining, checkpointing });
            }
            world = database.lose_power();
            world.figures.note(Event::PowerLostInRecovery);
        }
    }

    pub fn stage(&mut self) -> Checked<()> {
        self.database.stage_batch()
    }

    pub fn apply(&mut self) -> Checked<()> {
        for _ in 0..self.database.world.between(1, 3) {
            self.database.apply();
        }
        Ok(())
    }

    pub fn settle(&mut self) -> Checked<()> {
        self.database.settle_some();
        Ok(())
    }

    pub fn refuse(&mut self) -> Checked<()> {
        self.database.refuse();
        Ok(())
    }

    /// The mover takes some steps, one chunk after the other.
    pub fn evacuate(&mut self) -> Checked<()> {
        for _ in 0..self.database.world.between(1, 4) {
            let mut evacuation = match self.evacuation.take() {
                Some(evacuation) => evacuation,
                None => {
                    let sealed = self.database.sealed();
                    if sealed.is_empty() {
                        return Ok(());
                    }
                    Evacuation::of(self.database.world.pick(&sealed))
                }
            };
            let step = evacuation.step(&mut self.database)?;
            self.evacuation = (step == Step::Going).then_some(evacuation);
        }
        Ok(())
    }

    /// The checkpoint takes some steps; the next may begin.
    pub fn checkpoint(&mut self) -> Checked<()> {
        for _ in 0..self.database.world.pick(&[1, 2, 9]) {
            let mut checkpointing = self.checkpointing.take().unwrap_or_else(Checkpointing::begin);
            let step = checkpointing.step(&mut self.database)?;
            self.checkpointing = (step == Step::Going).then_some(checkpointing);
        }
        Ok(())
    }

    /// What pins need of chunks that are to be cleared is retained, a record at a time.
    pub fn retain(&mut self) -> Checked<()> {
        for _ in 0..self.database.world.between(1, 6) {
            let going = self.retaining.take().filter(|it| it.is_wanted(&self.database));
            let mut retaining = match going {
                Some(retaining) => retaining,
                None => {
                    let chunks = self.database.retainable();
                    if chunks.is_empty() {
                        return Ok(());
                    }
                    Retaining::of(self.database.world.pick(&chunks))
                }
            };
            let step = retaining.step(&mut self.database)?;
            self.retaining = (step == Step::Going).then_some(retaining);
        }
        Ok(())
    }

    /// What was kept for pins that have ended is dropped.
    pub fn sweep(&mut self) -> Checked<()> {
        self.database.sweep();
        Ok(())
    }

    pub fn clear(&mut self) -> Checked<()> {
        self.database.clear();
        Ok(())
    }

    /// The kernel writes a page back when it likes: the page is stolen.
    pub fn steal(&mut self) -> Checked<()> {
        self.database.write_back_one();
        Ok(())
    }

    /// Readers come and go; some stay for long.
    pub fn pin(&mut self) -> Checked<()> {
        let database = &mut self.database;
        if database.pins.len() < PIN_MAX {
            database.pins.push(database.pin());
        }
        if database.world.chance(40) {
            let index = database.world.below(database.pins.len());
            database.pins.remove(index);
        }
        Ok(())
    }

    /// A reader takes a record in hand, or all let go.
    pub fn hold(&mut self) -> Checked<()> {
        let database = &mut self.database;
        let entries: Vec<_> = database.index.iter().map(|(key, at)| (*key, *at)).collect();
        if entries.is_empty() {
            return Ok(());
        }
        let (key, address) = database.world.pick(&entries);
        let record = database.record(address, key)?;
        if !database.world.chance(40) {
            database.holds.clear();
            return Ok(());
        }
        let place = database.chunk(address.chunk).place;
        if database.holds.len() == HOLD_MAX {
            database.holds.remove(0);
        }
        database.holds.push(Hold { place, offset: address.offset, record });
        Ok(())
    }

    pub fn forget(&mut self) -> Checked<()> {
        self.database.forget()
    }

    pub fn jumbo(&mut self) -> Checked<()> {
        self.database.stage_jumbo()
    }

    /// The mover names a chunk ahead of its use.
    pub fn ahead(&mut self) -> Checked<()> {
        self.database.name_ready();
        Ok(())
    }

    /// Long actions end, readers leave, no thread writes: only what lives may own places.
    pub fn rest(&mut self) -> Checked<()> {
        if let Some(evacuation) = self.evacuation.take() {
            evacuation.run(&mut self.database)?;
        }
        if let Some(checkpointing) = self.checkpointing.take() {
            checkpointing.run(&mut self.database)?;
        }
        check_quiet(&mut self.database)
    }
}
