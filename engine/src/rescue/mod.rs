//! A database that is not open and may be damaged.

pub mod inspect;
pub mod repair;
