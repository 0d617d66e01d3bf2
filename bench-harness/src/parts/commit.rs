//! The commit path by itself: strategies, threads and tasks, rotation, memory-first writes, loads,
//! fixed rates.
//!
//! A part reads back what it wrote before it ends.

mod part;
mod stage;
mod tasks;

pub use self::part::CommitPart;
use crate::error::BenchError;
use crate::machine::folder::RunFolder;
use crate::measure::store::Contender;
use crate::parts::rounds::{self, Options};
use crate::report::measured::Measured;
use crate::stores;

/// Measures the parts.
pub fn run(options: &Options<CommitPart>) -> Result<Measured, BenchError> {
    let folder = RunFolder::create(&options.dir)?;
    let path = folder.path();
    let facts = stores::facts(&Contender::WRITE_STORES, path)?;
    rounds::measure_all(options, path, facts, |part| stage::measure(part, options, path))
}
