//! Fences around a program: system calls that the kernel answers with an error, or by ending it.
//!
//! A fence is put up by a thread, and holds for the programs that it starts.

use std::env::consts::ARCH;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// A call, and the conditions under which it is forbidden: any of these, or always.
type Rule = (i64, Vec<SeccompRule>);

fn always(calls: &[i64]) -> impl Iterator<Item = Rule> {
    calls.iter().map(|call| (*call, Vec::new()))
}

fn put_up(rules: impl Iterator<Item = Rule>, action: SeccompAction) {
    let rules = rules.collect();
    let architecture = ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    apply_filter(&program).unwrap();
}

/// The argument at `index` has these bits in these places.
fn bits(index: u8, mask: i32, bits: i32) -> SeccompCondition {
    let (mask, bits) = (u64::from(mask.cast_unsigned()), u64::from(bits.cast_unsigned()));
    let compared = SeccompCmpOp::MaskedEq(mask);
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, compared, bits).unwrap()
}

/// Programs of this thread are refused io_uring, as in containers.
pub fn forbid_io_uring_for_this_thread() {
    let calls = [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];
    put_up(always(&calls), SeccompAction::Errno(libc::EPERM as u32));
}

/// Programs of this thread end at the first call that could change a file that has a name.
pub fn forbid_changes_for_this_thread() {
    // What O_TMPFILE is beside O_DIRECTORY.
    let unnamed = libc::O_TMPFILE & !libc::O_DIRECTORY;
    let mut opening = Vec::new();
    for access in [libc::O_WRONLY, libc::O_RDWR] {
        let named = vec![bits(2, libc::O_ACCMODE, access), bits(2, unnamed, 0)];
        opening.push(SeccompRule::new(named).unwrap());
    }
    for flag in [libc::O_CREAT, libc::O_TRUNC] {
        opening.push(SeccompRule::new(vec![bits(2, flag, flag)]).unwrap());
    }
    let calls = [
        libc::SYS_openat2,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_unlinkat,
        libc::SYS_mkdirat,
        libc::SYS_mknodat,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        libc::SYS_truncate,
        libc::SYS_utimensat,
        libc::SYS_setxattr,
        libc::SYS_fsetxattr,
        libc::SYS_mount,
        libc::SYS_umount2,
    ];
    let rules = always(&calls).chain([(libc::SYS_openat, opening)]).chain(older());
    put_up(rules, SeccompAction::KillProcess);
}

/// Calls that only older architectures have.
#[cfg(target_arch = "x86_64")]
fn older() -> impl Iterator<Item = Rule> {
    always(&[
        libc::SYS_open,
        libc::SYS_creat,
        libc::SYS_rename,
        libc::SYS_unlink,
        libc::SYS_rmdir,
        libc::SYS_mkdir,
        libc::SYS_link,
        libc::SYS_symlink,
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_utimes,
    ])
}

#[cfg(not(target_arch = "x86_64"))]
fn older() -> impl Iterator<Item = Rule> {
    always(&[])
}
