//! [`Naming`]: a write of the superblock, from submission to answer.

use super::database::Database;
use super::step::Step;
use super::superblock::Named;

/// Writes into the slot that is not in force. Whether it arrived is open until it is answered.
#[derive(Debug)]
pub struct Naming {
    /// What the slot is to name; `None` once it is submitted.
    named: Option<Named>,
}

impl Naming {
    pub fn of(named: Named) -> Self {
        Self { named: Some(named) }
    }

    pub fn step(&mut self, database: &mut Database) -> Step {
        match self.named.take() {
            Some(named) => {
                database.world.disk.superblock.submit(database.slot, named);
                Step::Going
            }
            None => {
                database.slot = database.world.disk.superblock.answer();
                Step::Done
            }
        }
    }
}
