//! The simulator: the production engine on a hostile disk in memory, against a model.
//!
//! A run is a number, its *seed*. It decides options, operations, faults, every moment of death and
//! what each death leaves; the same seed does the same things in the same order, which
//! [`Outcome::trace_hash`] shows.
//!
//! ```text
//! seed -> Plan -> life: open (may die) | check | operations (may die anywhere) | end
//!                 life: open ...
//! ```
//! After each death the database must hold the state after some prefix of its history that contains
//! everything acknowledged as durable: whole batches, in order, nothing else, nothing resurrected,
//! no LSN given out twice. Some deaths are tried several times over with other remains.
//!
//! Two kinds of runs never mix. With [`Faults::Legal`] the disk does what disks may do, and nothing
//! acknowledged may be missing. With [`Faults::Illegal`] it lies, and the engine must notice all
//! that it damages.
//!
//! | module | what it holds |
//! |---|---|
//! | `plan` | what a seed decides before the run |
//! | `model` | the ordered map and what may be found after a death |
//! | `records` | values that are records, and patches of them |
//! | `menu` | what users may do, and how often |
//! | `operations` | how they do it |
//! | `conditional` | those that depend on what is there |
//! | `transacted` | those of transactions |
//! | `expire`, `clock` | those of records that expire, and what time it may be |
//! | `tables` | a table that is dropped and made again |
//! | `write` | writes of any number of changes |
//! | `kept` | records and iterators that they keep meanwhile |
//! | `readers` | readers that write nothing, before openings and beside writers |
//! | `run`, `life` | a run on its way, and what happens in it |
//! | `switches` | the must-be-caught list: one mechanism made worthless at a time |
//! | `filters`, `chunk_filters` | what readers get when a check of the format is to mean nothing |
//! | `unordered_filters` | the same of images of tables without order |
//! | `audit` | whether chunk tables and data file agree, read without the engine |

mod altered;
mod audit;
mod chunk_filters;
pub mod clock;
mod conditional;
mod expire;
mod filters;
mod kept;
mod life;
mod menu;
mod model;
mod operations;
mod options;
mod piece_filter;
mod plan;
mod readers;
mod records;
mod run;
pub mod switches;
mod tables;
mod transacted;
mod unordered_filters;
mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};

use uarr_disk_sim::Memory;

pub use crate::violation::{Checked, Violation};
pub use plan::{Faults, Plan};
pub use run::Outcome;

/// Runs `seed`. `prepare` may make the new disk lie. A panic of the engine is a violation too.
pub fn run(seed: u64, faults: Faults, prepare: &dyn Fn(&Memory)) -> Checked<Outcome> {
    run_plan(Plan::new(seed, faults), prepare)
}

/// Runs `seed` as one of long values in small chunks, on a disk that is full again and again.
/// Unless it lies, its files are audited before each opening.
pub fn run_in_little_room(seed: u64, faults: Faults) -> Checked<Outcome> {
    let mut plan = Plan::new(seed, faults);
    match seed % 4 {
        0 if faults == Faults::Legal => plan.refuse_groups(),
        _ => plan.fill_chunks(),
    }
    plan.audits = faults == Faults::Legal;
    run_plan(plan, &|_| {})
}

/// Runs `seed` as one in which records are moved and places used again all the time, while readers
/// keep records and iterators. Unless the disk lies, its files are audited before each opening.
pub fn run_giving_back(seed: u64, faults: Faults) -> Checked<Outcome> {
    let mut plan = Plan::new(seed, faults);
    plan.give_back();
    run_plan(plan, &|_| {})
}

/// Runs `seed` as one in which records expire and clocks jump.
pub fn run_expiring(seed: u64, faults: Faults) -> Checked<Outcome> {
    let mut plan = Plan::new(seed, faults);
    plan.expire();
    run_plan(plan, &|_| {})
}

/// Runs `seed` in a table that is dropped and made again and again, beside a record in the default
/// one that each batch changes, too, and beside a table whose options change.
pub fn run_in_a_table(seed: u64) -> Checked<Outcome> {
    let mut plan = Plan::new(seed, Faults::Legal);
    plan.use_table();
    run_plan(plan, &|_| {})
}

fn run_plan(plan: Plan, prepare: &dyn Fn(&Memory)) -> Checked<Outcome> {
    let ran = catch_unwind(AssertUnwindSafe(|| life::run(plan, prepare)));
    ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        Err(Violation(format!("panic: {}", text.unwrap_or_default())))
    })
}

/// The command that runs one seed again.
pub fn replay_command(seed: u64, test: &str) -> String {
    format!("UARR_SEED={seed} cargo test -p uarr-tests --test sim {test} -- --nocapture")
}
