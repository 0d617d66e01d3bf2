//! The built `uarr` command, run as a user runs it.
//!
//! Every test has a directory of its own and checks exit code, stdout and stderr.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod commands;
mod damage;
mod doctor;
mod export;
mod fence;
mod fuzz;
mod import;
mod inspect;
mod limits;
mod machine;
mod random;
mod read_only;
mod reads;
mod refusals;
mod run;
mod shell;
mod signals;
mod streams;
mod tables;
mod value;
