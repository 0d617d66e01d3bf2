//! Counters and distributions.

pub(crate) mod counters;
pub(crate) mod histogram;
