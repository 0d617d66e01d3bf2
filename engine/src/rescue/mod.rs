//! A database that is not open and may be damaged.

pub(crate) mod baseline;
pub(crate) mod chunk;
pub(crate) mod evidence;
pub(crate) mod image;
pub mod inspect;
pub(crate) mod inspector;
pub(crate) mod log;
pub(crate) mod named;
pub(crate) mod owners;
pub mod repair;
pub(crate) mod repair_report;
pub(crate) mod segment;
