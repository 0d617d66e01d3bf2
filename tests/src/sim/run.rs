//! A run on its way, and what it has done.

use uarr::Db;
use uarr_disk_sim::Memory;

use super::clock::Bounds;
use super::model::Model;
use super::options::Altered;
use super::plan::{Faults, Plan};

/// What a run without violation has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Deaths after which the database was opened and checked, or died again while it was opened.
    pub crash_count: u64,
    /// How many of them happened inside of an opening.
    pub crash_in_open_count: u64,
    /// How many happened in the midst of an operation.
    pub crash_in_operation_count: u64,
    /// Operations.
    pub operation_count: u64,
    /// How many of them ended with old versions kept for iterators.
    pub retaining_count: u64,
    /// Calls of the disk.
    pub step_count: u64,
    /// Hash over all calls.
    pub trace_hash: u64,
    /// A lie of the disk was noticed.
    pub detected: bool,
    /// An opening has met damage and bypassed it.
    pub got_around: bool,
    /// Comparisons of what a reader finds with what opening finds.
    pub read_count: u64,
    /// How often a reader was overtaken.
    pub overtaken_count: u64,
}

/// A run on its way.
pub(super) struct Run {
    pub plan: Plan,
    pub disk: Memory,
    pub model: Model,
    /// What the clock of the database may show.
    pub clock: Bounds,
    /// Pages that lies may have misplaced, and bits that have rotted, since the last recovery.
    pub blow_count: usize,
    /// How many pages lies were still to misplace when the last opening began.
    pub misplaced_ahead: usize,
    /// An opening has met damage and bypassed it.
    pub got_around: bool,
    /// The kernel may have failed to write the data file back, and not have reported it yet.
    pub write_back_failed: bool,
    /// How often the witness was written.
    pub witness_count: u64,
    /// The table whose options change.
    pub altered: Altered,
    /// The default table, while a life goes on.
    pub default: Option<Db<Memory>>,
    /// Openings that came so far as to be looked at by a reader first.
    pub look_count: u64,
    pub outcome: Outcome,
}

impl Run {
    /// A random number less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.plan.random.below(bound)
    }

    /// Prints what happens, if the plan asks for it.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.plan.talks {
            eprintln!("call {:5}  {}", self.disk.step_count(), what());
        }
    }

    /// Whether the disk may lie.
    pub fn is_illegal(&self) -> bool {
        self.plan.faults == Faults::Illegal
    }
}
