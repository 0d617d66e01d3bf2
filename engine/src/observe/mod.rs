//! Looking at an open database.

#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod stats;
pub(crate) mod tune;
pub(crate) mod verify;
