//! Ways to take things away from a process, or to double it, for tests of what happens then.
//!
//! The whole process loses them and never gets them back: use a child made for the purpose.

use std::io;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter_all_threads};

pub use uarr_uring::parts::in_fork;

/// All calls of io_uring.
const CALLS: [libc::c_long; 3] =
    [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// From now on the kernel refuses io_uring to this process and its children, with EPERM, as
/// containers do.
///
/// Installs a system call filter (seccomp) for all threads. Rings that exist already are
/// refused their next call too. `Unsupported` where the filter is not known for the processor.
pub fn deny_io_uring_for_this_process() -> io::Result<()> {
    let unsupported = |cause| io::Error::new(io::ErrorKind::Unsupported, cause);
    let architecture = std::env::consts::ARCH.try_into().map_err(unsupported)?;
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let rules = CALLS.into_iter().map(|call| (call, Vec::new())).collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture);
    let program = filter.and_then(BpfProgram::try_from).map_err(unsupported)?;
    apply_filter_all_threads(&program).map_err(|error| match error {
        seccompiler::Error::Prctl(cause) | seccompiler::Error::Seccomp(cause) => cause,
        other => io::Error::new(io::ErrorKind::ResourceBusy, other),
    })
}
