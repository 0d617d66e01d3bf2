//! Runs a command to which the kernel refuses io_uring, as containers do:
//! `without-io-uring COMMAND [ARGUMENT]...`
//!
//! As a runner of cargo it makes a whole test suite run refused:
//! `CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=.../without-io-uring cargo test`.

#![forbid(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use uarr_disk_sim::refuse::deny_io_uring_for_this_process;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: without-io-uring COMMAND [ARGUMENT]...");
        return ExitCode::from(2);
    };
    if let Err(error) = deny_io_uring_for_this_process() {
        eprintln!("cannot install the filter: {error}");
        return ExitCode::from(2);
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("cannot run {}: {error}", program.display());
    ExitCode::from(127)
}
