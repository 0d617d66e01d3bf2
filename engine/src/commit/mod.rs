//! What writers share: staging, groups, the leader, turns.

pub(crate) mod admission;
pub(crate) mod ahead;
pub(crate) mod cell;
pub(crate) mod changes;
pub(crate) mod committer;
pub(crate) mod counter_premise;
pub(crate) mod counters;
pub(crate) mod flight;
pub(crate) mod in_turn;
pub(crate) mod lead;
pub(crate) mod leadership;
pub(crate) mod log_thread;
mod patched;
pub(crate) mod patience;
pub(crate) mod poison;
pub(crate) mod premise;
pub(crate) mod receipt;
pub(crate) mod room;
mod room_wait;
pub(crate) mod space;
pub(crate) mod stage;
mod staged_counters;
pub(crate) mod staging;
pub(crate) mod turns;
pub(crate) mod wait;
pub(crate) mod wakes;
mod worker;
