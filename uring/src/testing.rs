//! Ways to take things away from a process, or to double it, for tests of what happens then.
//!
//! A process loses it as a whole and never gets it back: do so in a child made for the purpose.

use std::io;

/// From now on the kernel refuses io_uring to this process and its children, with EPERM, as
/// containers do.
///
/// Installs a system call filter (seccomp) for all threads. Rings that exist already are
/// refused their next call too. `Unsupported` where the filter is not known for the processor.
pub fn deny_io_uring_for_this_process() -> io::Result<()> {
    let Some(architecture) = ARCHITECTURE else { return Err(io::ErrorKind::Unsupported.into()) };
    forbid_new_privileges()?;
    let mut filter = filter(architecture);
    let program =
        libc::sock_fprog { len: filter.len() as libc::c_ushort, filter: filter.as_mut_ptr() };
    // SAFETY: `program` points to the instructions in `filter`; both outlive the call, which copies
    // and checks them.
    let status = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    };
    match status {
        0 => Ok(()),
        // A positive number is a thread that could not be brought under the filter.
        1.. => Err(io::ErrorKind::ResourceBusy.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs `body` in a process that is forked off this one and ends with it, and waits for that. False
/// if `body` panicked there. What it leaves is not dropped.
///
/// The new process has the calling thread alone; what other threads had locked stays locked there.
pub fn in_fork(body: impl FnOnce()) -> io::Result<bool> {
    // SAFETY: the C library lets the new process allocate; it uses nothing else that other threads
    // may have been changing, unless `body` does, and that is what is to be tested.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    let mut status = 0;
    loop {
        // SAFETY: `status` is valid for writes.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return Ok(status == 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Without this the kernel lets only the superuser install filters.
fn forbid_new_privileges() -> io::Result<()> {
    // SAFETY: this operation takes numbers only.
    let status = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What the kernel calls this processor in a filter's input (`AUDIT_ARCH_*`).
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else {
    None
};

/// Offset of the call's number in the input of a filter (`struct seccomp_data`).
const NUMBER_OFFSET: u32 = 0;
/// Offset of the processor's name in the input of a filter.
const ARCHITECTURE_OFFSET: u32 = 4;

/// "If it is this processor, and one of the three calls of io_uring, then EPERM, else go on."
fn filter(architecture: u32) -> [libc::sock_filter; 7] {
    let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0);
    let jump =
        |kind, value, yes, no| instruction(libc::BPF_JMP | kind | libc::BPF_K, value, yes, no);
    let answer = |value| instruction(libc::BPF_RET | libc::BPF_K, value, 0, 0);
    let first = libc::SYS_io_uring_setup as u32;
    let last = libc::SYS_io_uring_register as u32;
    [
        load(ARCHITECTURE_OFFSET),
        jump(libc::BPF_JEQ, architecture, 0, 3),
        load(NUMBER_OFFSET),
        jump(libc::BPF_JGE, first, 0, 1),
        jump(libc::BPF_JGT, last, 0, 1),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    ]
}

/// One instruction; `yes` and `no` are how many instructions to skip.
fn instruction(code: u32, value: u32, yes: u8, no: u8) -> libc::sock_filter {
    let code = u16::try_from(code).expect("operation codes have 16 bits");
    libc::sock_filter { code, jt: yes, jf: no, k: value }
}
