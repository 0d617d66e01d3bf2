//! Errors that say what was being done to which file.
//!
//! They keep the kind of the kernel's error, so callers decide by `kind()` and never by text; the
//! kernel's error itself stays reachable as the source.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What a caller wanted who maps a file.
pub(crate) const MAP: &str = "map";

#[derive(Debug)]
struct PathError {
    action: &'static str,
    path: PathBuf,
    cause: io::Error,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.action, self.path.display(), self.cause)?;
        match self.cause.raw_os_error() {
            Some(libc::EMFILE) => f.write_str(
                ". This process has as many files open as its limit RLIMIT_NOFILE allows: close \
                 some, or raise the limit (ulimit -n; LimitNOFILE= of a systemd service)",
            ),
            Some(libc::EFBIG) => f.write_str(
                ". A file may not become longer than the limit RLIMIT_FSIZE of this process, or \
                 its file system, allows: raise the limit (ulimit -f; LimitFSIZE= of a systemd \
                 service)",
            ),
            Some(libc::ENOMEM) if self.action == MAP => f.write_str(
                ". The process has no address space left for so much: raise its limit RLIMIT_AS \
                 (ulimit -v; LimitAS= of a systemd service), or reserve less (address_space_bytes)",
            ),
            Some(libc::ENFILE) => f.write_str(
                ". All processes together have as many files open as the kernel allows: close \
                 some, or raise the limit (sysctl fs.file-max)",
            ),
            _ => Ok(()),
        }
    }
}

impl Error for PathError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

/// `cause`, of the same kind, with the text "`action` `path`: `cause`".
pub fn with_path(action: &'static str, path: &Path, cause: io::Error) -> io::Error {
    let kind = cause.kind();
    io::Error::new(kind, PathError { action, path: path.to_owned(), cause })
}

/// A mistake of the caller.
pub fn invalid_input(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.into())
}

/// The kernel's error behind an [`io::Error`] made by [`with_path`], or of the error itself.
#[cfg(test)]
pub(crate) fn errno(error: &io::Error) -> Option<i32> {
    if let Some(code) = error.raw_os_error() {
        return Some(code);
    }
    let inner = error.get_ref()?.source()?;
    inner.downcast_ref::<io::Error>()?.raw_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_with_what_to_do() {
        let told = |code| {
            let cause = io::Error::from_raw_os_error(code);
            with_path("open", Path::new("a/b"), cause).to_string()
        };
        assert!(told(libc::EMFILE).contains("RLIMIT_NOFILE allows: close some, or raise"));
        assert!(told(libc::ENFILE).contains("fs.file-max"));
        assert!(told(libc::EFBIG).contains("ulimit -f"));
        assert!(!told(libc::EIO).contains("limit"));
        // Only where address space is what was asked for.
        assert!(!told(libc::ENOMEM).contains("limit"));
        let cause = io::Error::from_raw_os_error(libc::ENOMEM);
        assert!(with_path(MAP, Path::new("a/b"), cause).to_string().contains("ulimit -v"));
    }

    #[test]
    fn kind_and_cause_are_kept() {
        for (code, kind) in [
            (libc::ENOSPC, io::ErrorKind::StorageFull),
            (libc::EACCES, io::ErrorKind::PermissionDenied),
            (libc::EROFS, io::ErrorKind::ReadOnlyFilesystem),
            (libc::ENOENT, io::ErrorKind::NotFound),
        ] {
            let error = with_path("open", Path::new("a/b"), io::Error::from_raw_os_error(code));
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().starts_with("open a/b: "), "{error}");
            assert_eq!(errno(&error), Some(code));
        }
    }
}
