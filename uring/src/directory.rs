//! [`Directory`]: names below one open directory.
//!
//! Invariant: every name is resolved from the directory that was opened, so a directory that is
//! renamed while the database is open keeps working. Only listing goes by path; it is needed at
//! open.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::path::{Path, PathBuf};

use crate::error::{invalid_input, with_path};

/// Permissions of new files, before the user's mask.
const FILE_MODE: libc::c_uint = 0o666;
/// Permissions of new directories, before the user's mask.
const DIRECTORY_MODE: libc::mode_t = 0o777;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    file: File,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory that exists.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize().map_err(|cause| Self::missing(path, cause))?;
        if !path.is_dir() {
            return Err(Self::missing(&path, io::ErrorKind::NotADirectory.into()));
        }
        let file = File::open(&path).map_err(|cause| with_path("open directory", &path, cause))?;
        Ok(Self { file, path })
    }

    fn missing(path: &Path, cause: io::Error) -> io::Error {
        let kind = cause.kind();
        let path = path.display();
        match kind {
            io::ErrorKind::NotFound => {
                io::Error::new(kind, format!("the directory {path} does not exist"))
            }
            io::ErrorKind::NotADirectory => {
                io::Error::new(kind, format!("{path} is not a directory"))
            }
            _ => io::Error::new(kind, format!("cannot open the directory {path}: {cause}")),
        }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// The full path of an entry, for messages.
    pub fn path_of(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.path.clone() } else { self.path.join(path) }
    }

    fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Opens an entry with these flags; always O_CLOEXEC.
    pub fn open_at(&self, path: &str, flags: libc::c_int) -> io::Result<File> {
        let name = name(path)?;
        // SAFETY: the directory is open for the whole call (`&self`) and `name` is a string that
        // ends in NUL and outlives the call; the mode is passed as the flags may want it.
        let fd =
            unsafe { libc::openat(self.fd(), name.as_ptr(), flags | libc::O_CLOEXEC, FILE_MODE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was opened just now, is valid, and belongs to nobody else.
        Ok(unsafe { File::from_raw_fd(fd) })
    }

    /// Creates a directory; no error if it is there.
    pub fn create_dir(&self, path: &str) -> io::Result<()> {
        let name = name(path)?;
        // SAFETY: the directory is open for the whole call (`&self`) and `name` is a string that
        // ends in NUL and outlives the call.
        let status = unsafe { libc::mkdirat(self.fd(), name.as_ptr(), DIRECTORY_MODE) };
        let result = done(status);
        if result.as_ref().is_err_and(|cause| cause.kind() == io::ErrorKind::AlreadyExists) {
            // Whatever is there must be a directory.
            return self
                .open_at(path, libc::O_DIRECTORY | libc::O_RDONLY)
                .map(drop)
                .map_err(|cause| self.error("create directory", path, cause));
        }
        result.map_err(|cause| self.error("create directory", path, cause))
    }

    pub fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        let source_name = name(source)?;
        let target_name = name(target)?;
        let fd = self.fd();
        // SAFETY: the directory is open for the whole call (`&self`); both names are strings that
        // end in NUL and outlive the call.
        let status = unsafe { libc::renameat(fd, source_name.as_ptr(), fd, target_name.as_ptr()) };
        done(status).map_err(|cause| self.error("rename", source, cause))
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let name = name(path)?;
        // SAFETY: the directory is open for the whole call (`&self`) and `name` is a string that
        // ends in NUL and outlives the call.
        let status = unsafe { libc::unlinkat(self.fd(), name.as_ptr(), 0) };
        done(status).map_err(|cause| self.error("remove", path, cause))
    }

    /// Names of the entries of a directory, in no particular order.
    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let full = self.path_of(path);
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(&full)? {
                // Names of ours are ASCII; a foreign one that is not text is shown as well as it
                // goes.
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
            Ok(names)
        };
        list().map_err(|cause| with_path("list", &full, cause))
    }

    /// Makes the names in a directory durable.
    pub fn make_durable(&self, path: &str) -> io::Result<()> {
        let make = || {
            if path.is_empty() {
                return self.file.sync_all();
            }
            self.open_at(path, libc::O_DIRECTORY | libc::O_RDONLY)?.sync_all()
        };
        make().map_err(|cause| self.error("make durable the directory", path, cause))
    }

    pub fn error(&self, action: &'static str, path: &str, cause: io::Error) -> io::Error {
        with_path(action, &self.path_of(path), cause)
    }
}

/// The path as the kernel wants it: relative, not empty, without NUL.
fn name(path: &str) -> io::Result<CString> {
    if path.is_empty() || path.starts_with('/') {
        return Err(invalid_input(format!("\"{path}\" is not a path inside the directory")));
    }
    CString::new(path).map_err(|_| invalid_input("a path with a NUL byte"))
}

fn done(status: libc::c_int) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
