//! Background work.

pub(crate) mod checkpoint;
pub(crate) mod closing_wait;
pub(crate) mod compact;
pub(crate) mod forget;
pub(crate) mod keeper;
pub(crate) mod mover;
pub(crate) mod remove;
pub(crate) mod retain;
pub(crate) mod sweep;
pub(crate) mod threads;
