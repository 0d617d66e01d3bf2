//! Background work.

pub(crate) mod checkpoint;
pub(crate) mod keeper;
pub(crate) mod threads;
