//! One measurement: what is asked of a store, how it is timed, and what remains of it.

pub mod drive;
pub mod floor;
pub mod sample;
mod stopwatch;
pub mod store;
pub mod workload;
