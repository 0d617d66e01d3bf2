//! Looking at an open database.

pub(crate) mod stats;
pub(crate) mod tune;
pub(crate) mod verify;
