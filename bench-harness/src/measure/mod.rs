//! One measurement: what is asked of a store, how it is timed, and what remains of it.

pub mod clock;
pub mod drive;
pub mod fio;
pub mod floor;
pub mod hash_floor;
pub mod interval;
pub mod job;
pub mod keys;
pub mod latencies;
pub mod log_floor;
pub mod mix;
mod operations;
pub mod phases;
pub mod rotation;
pub mod rows;
pub mod sample;
mod stopwatch;
pub mod store;
pub mod timeline;
pub mod usage;
pub mod workload;
