//! The paths of commits and reads in parts, part beside part in one run; and workloads.

pub mod commit;
pub mod fio;
pub mod floors;
pub mod read;
pub mod rounds;
pub mod run;
mod sizes;
pub mod sweep;
pub mod workload;
