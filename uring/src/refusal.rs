//! [`Refusal`]: why io_uring cannot be used, in words that say what to do about it.

use std::fmt;
use std::io;

/// Where the kernel says whether rings are allowed.
const SWITCH_PATH: &str = "/proc/sys/kernel/io_uring_disabled";

/// Why io_uring cannot be used.
#[derive(Debug)]
pub(crate) struct Refusal {
    kind: io::ErrorKind,
    cause: String,
    remedy: &'static str,
}

impl Refusal {
    /// `step` of setting up a ring failed with `error`.
    pub fn of_step(step: &str, error: &io::Error) -> Self {
        let switch = std::fs::read_to_string(SWITCH_PATH).ok();
        let switch = switch.as_deref().map(str::trim);
        let (why, remedy) = explain(error.raw_os_error(), switch);
        let kind = match error.kind() {
            kind @ (io::ErrorKind::PermissionDenied | io::ErrorKind::OutOfMemory) => kind,
            _ => io::ErrorKind::Unsupported,
        };
        Self { kind, cause: format!("{why} ({step}: {error})"), remedy }
    }

    /// The kernel has rings, but not all operations the log needs.
    pub fn missing_operation(name: &str) -> Self {
        Self {
            kind: io::ErrorKind::Unsupported,
            cause: format!("the kernel's io_uring has no operation {name}"),
            remedy: "use Linux 5.10 or newer",
        }
    }

    /// As the error of a caller that asked for io_uring and nothing else.
    pub fn into_error(self) -> io::Error {
        io::Error::new(self.kind, self.to_string())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring is not available: {}; {}", self.cause, self.remedy)
    }
}

/// Cause and remedy of an error number, given the content of the kernel's switch.
fn explain(code: Option<i32>, switch: Option<&str>) -> (&'static str, &'static str) {
    match (code, switch) {
        (Some(libc::EPERM), Some("2")) => (
            "kernel.io_uring_disabled = 2 switches it off for all processes",
            "allow it with: sysctl kernel.io_uring_disabled=0",
        ),
        (Some(libc::EPERM), Some("1")) => (
            "kernel.io_uring_disabled = 1 allows it only to the group in kernel.io_uring_group",
            "join that group, or allow it with: sysctl kernel.io_uring_disabled=0",
        ),
        (Some(libc::EPERM), _) => (
            "a system call filter (seccomp) of the container or service forbids it",
            "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile",
        ),
        (Some(libc::EACCES), _) => (
            "a security module (SELinux, AppArmor, BPF) forbids it",
            "allow io_uring in its policy for this program",
        ),
        (Some(libc::ENOSYS), _) => (
            "the kernel has no io_uring, or a system call filter hides it",
            "use Linux 5.10 or newer with CONFIG_IO_URING, or a seccomp profile that allows it",
        ),
        (Some(libc::ENOMEM), _) => (
            "the limit of locked memory, or memory itself, is exhausted",
            "raise the limit with: ulimit -l 65536",
        ),
        (Some(libc::EINVAL), _) => {
            ("the kernel is too old for the ring that is needed", "use Linux 5.10 or newer")
        }
        (Some(libc::EMFILE | libc::ENFILE), _) => {
            ("too many files are open", "raise the limit with: ulimit -n 65536")
        }
        _ => ("the kernel refuses it", "see the error for the reason"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        let eperm = Some(libc::EPERM);
        assert!(explain(eperm, Some("2")).1.contains("sysctl"));
        assert!(explain(eperm, Some("1")).0.contains("io_uring_group"));
        assert!(explain(eperm, Some("0")).0.contains("seccomp"));
        assert!(explain(eperm, None).0.contains("seccomp"));
        assert!(explain(Some(libc::ENOMEM), Some("0")).1.contains("ulimit -l"));
        let texts: Vec<_> = [libc::EACCES, libc::ENOSYS, libc::EINVAL, libc::EMFILE, libc::EIO]
            .map(|code| explain(Some(code), Some("0")).0)
            .into();
        let distinct: std::collections::BTreeSet<_> = texts.iter().collect();
        assert_eq!(distinct.len(), texts.len());
    }

    #[test]
    fn the_kind_says_what_a_caller_may_do() {
        for (code, kind) in [
            (libc::EPERM, io::ErrorKind::PermissionDenied),
            (libc::EACCES, io::ErrorKind::PermissionDenied),
            (libc::ENOMEM, io::ErrorKind::OutOfMemory),
            (libc::ENOSYS, io::ErrorKind::Unsupported),
            (libc::EINVAL, io::ErrorKind::Unsupported),
        ] {
            let cause = io::Error::from_raw_os_error(code);
            let error = Refusal::of_step("io_uring_setup", &cause).into_error();
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().starts_with("io_uring is not available: "));
        }
    }
}
