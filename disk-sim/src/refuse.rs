//! Ways to take things away from a process, or to double it, for tests of what happens then.
//!
//! The whole process loses them and never gets them back: use a child made for the purpose.

use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads,
};

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
    deny(CALLS.into_iter().map(|call| (call, Vec::new())).collect(), libc::EPERM)
}

/// From now on the kernel says to this process that its file systems do not know `fallocate`: not
/// with any of these flags, and without flags neither if none is named.
pub fn deny_fallocate_for_this_process(flags: &[i32]) -> io::Result<()> {
    let has = |flag: &i32| {
        let flag = u64::from(flag.cast_unsigned());
        let (mode_argument, masked) = (1, SeccompCmpOp::MaskedEq(flag));
        let set = SeccompCondition::new(mode_argument, SeccompCmpArgLen::Dword, masked, flag);
        set.and_then(|set| SeccompRule::new(vec![set]))
    };
    let rules = flags.iter().map(has).collect::<Result<_, _>>().map_err(unsupported)?;
    deny(vec![(libc::SYS_fallocate, rules)], libc::EOPNOTSUPP)
}

fn unsupported(cause: seccompiler::BackendError) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, cause)
}

/// Installs a filter for all threads that answers these calls with `errno`.
fn deny(rules: Vec<(libc::c_long, Vec<SeccompRule>)>, errno: i32) -> io::Result<()> {
    let architecture = std::env::consts::ARCH.try_into().map_err(unsupported)?;
    let refused = SeccompAction::Errno(errno.cast_unsigned());
    let rules = rules.into_iter().collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture);
    let program = filter.and_then(BpfProgram::try_from).map_err(unsupported)?;
    apply_filter_all_threads(&program).map_err(|error| match error {
        seccompiler::Error::Prctl(cause) | seccompiler::Error::Seccomp(cause) => cause,
        other => io::Error::new(io::ErrorKind::ResourceBusy, other),
    })
}
