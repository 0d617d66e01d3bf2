//! The paths of commits and reads in parts, part beside part in one run.

pub mod commit;
pub mod read;
pub mod rounds;
mod sizes;
