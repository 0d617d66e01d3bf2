//! [`Directory`]: names below one open directory.
//!
//! Invariants:
//! - every name is resolved from the directory that was opened, so a directory that is renamed
//!   while the database is open keeps working, and a new one at the old path is left alone;
//! - no symbolic link is followed below it: what is written lies inside of the locked directory;
//! - only regular files are opened, never a pipe or a device that has a file's name.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

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
        let found = path.metadata().map_err(|cause| Self::missing(&path, cause))?;
        if !found.is_dir() {
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

    /// Opens a regular file with these flags; always O_CLOEXEC, and never through a link.
    pub fn open_file(&self, path: &str, flags: libc::c_int) -> io::Result<File> {
        let place = self.place(path)?;
        // A new file is what it was made as. Another entry may be a pipe, whose opening must not
        // wait for its other end.
        let is_new = flags & libc::O_EXCL != 0;
        let patience = if is_new { 0 } else { libc::O_NONBLOCK };
        let opened = open_at(place.fd(), &place.name, flags | libc::O_NOFOLLOW | patience);
        let file = opened.map_err(|cause| self.explained(path, cause))?;
        if !is_new {
            if !file.metadata()?.is_file() {
                return Err(not_ours("it is no regular file"));
            }
            // With the flag, rings would refuse to wait for the device.
            set_flags(&file, flags)?;
        }
        Ok(file)
    }

    /// Opens a file without a name in the directory.
    pub fn open_unnamed(&self, flags: libc::c_int) -> io::Result<File> {
        open_at(self.fd(), c".", flags | libc::O_TMPFILE)
    }

    /// Opens a directory ("" is this one) anew.
    pub fn open_folder(&self, path: &str) -> io::Result<File> {
        let open = || {
            let place = self.place(if path.is_empty() { "." } else { path })?;
            open_at(place.fd(), &place.name, FOLDER_FLAGS)
                .map_err(|cause| self.explained(path, cause))
        };
        open().map_err(|cause| self.error("open the directory", path, cause))
    }

    /// Creates a directory; no error if it is there.
    pub fn create_dir(&self, path: &str) -> io::Result<()> {
        let create = || {
            let place = self.place(path)?;
            // SAFETY: the directory is open for the whole call (`place`) and the name is a string
            // that ends in NUL and outlives the call.
            done(unsafe { libc::mkdirat(place.fd(), place.name.as_ptr(), DIRECTORY_MODE) })
        };
        match create() {
            // What is there must be a directory.
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                self.open_folder(path).map(drop)
            }
            created => created.map_err(|cause| self.error("create directory", path, cause)),
        }
    }

    pub fn rename(&self, source: &str, target: &str) -> io::Result<()> {
        let rename = || {
            let (from, to) = (self.place(source)?, self.place(target)?);
            // SAFETY: both directories are open for the whole call (`from`, `to`); both names are
            // strings that end in NUL and outlive the call.
            done(unsafe {
                libc::renameat(from.fd(), from.name.as_ptr(), to.fd(), to.name.as_ptr())
            })
        };
        rename().map_err(|cause| self.error("rename", source, cause))
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        self.unlink(path, 0).map_err(|cause| self.error("remove", path, cause))
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self, path: &str) -> io::Result<()> {
        let removed = self.unlink(path, libc::AT_REMOVEDIR);
        removed.map_err(|cause| self.error("remove the directory", path, cause))
    }

    fn unlink(&self, path: &str, flags: libc::c_int) -> io::Result<()> {
        let place = self.place(path)?;
        // SAFETY: the directory is open for the whole call (`place`) and the name is a string that
        // ends in NUL and outlives the call.
        done(unsafe { libc::unlinkat(place.fd(), place.name.as_ptr(), flags) })
    }

    /// Names of the entries of a directory, in no particular order.
    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let folder = self.open_folder(path)?;
        Entries::of(folder)
            .and_then(Entries::names)
            .map_err(|cause| self.error("list", path, cause))
    }

    /// Makes the names in a directory durable.
    pub fn make_durable(&self, path: &str) -> io::Result<()> {
        let synced = match path {
            "" => self.file.sync_all(),
            _ => self.open_folder(path)?.sync_all(),
        };
        synced.map_err(|cause| self.error("make durable the directory", path, cause))
    }

    /// Where the last part of `path` is looked up. Folders on the way there are opened one by one,
    /// because a link in the middle of a path would be followed.
    fn place(&self, path: &str) -> io::Result<Place<'_>> {
        let (folders, name) =
            path.rsplit_once('/').map_or(("", path), |(folders, name)| (folders, name));
        let mut place = Place { directory: self, folder: None, name: entry_name(path, name)? };
        for folder in folders.split('/').filter(|_| !folders.is_empty()) {
            let folder_name = entry_name(path, folder)?;
            let opened = open_at(place.fd(), &folder_name, FOLDER_FLAGS);
            place.folder = Some(opened.map_err(|cause| self.explained(folders, cause))?);
        }
        Ok(place)
    }

    /// What a refusal means that comes of an entry of another kind.
    fn explained(&self, path: &str, cause: io::Error) -> io::Error {
        // EINVAL: a pipe or a device knows no direct writes. Nor do some file systems.
        let kinds =
            [libc::ELOOP, libc::ENOTDIR, libc::EISDIR, libc::ENXIO, libc::ENODEV, libc::EINVAL];
        if !cause.raw_os_error().is_some_and(|code| kinds.contains(&code)) {
            return cause;
        }
        let entry = std::fs::symlink_metadata(self.path_of(path));
        match entry.map(|entry| entry.file_type()) {
            Ok(entry) if entry.is_symlink() => not_ours(
                "it is a symbolic link, which is not followed; put there what it names, or mount \
                 it",
            ),
            Ok(entry) if entry.is_dir() => not_ours("it is a directory"),
            Ok(entry) if entry.is_file() => match cause.kind() {
                io::ErrorKind::NotADirectory => not_ours("it is a file and no directory"),
                _ => cause,
            },
            Ok(_) => not_ours("it is no regular file"),
            Err(_) => cause,
        }
    }

    pub fn error(&self, action: &'static str, path: &str, cause: io::Error) -> io::Error {
        with_path(action, &self.path_of(path), cause)
    }
}

/// Directories are opened for reading, and never through a link.
const FOLDER_FLAGS: libc::c_int = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;

/// An entry of an open directory.
struct Place<'a> {
    directory: &'a Directory,
    /// The folder, if it is not the directory itself.
    folder: Option<File>,
    name: CString,
}

impl Place<'_> {
    fn fd(&self) -> RawFd {
        self.folder.as_ref().map_or(self.directory.fd(), AsRawFd::as_raw_fd)
    }
}

/// An entry of others stands where one of ours belongs.
fn not_ours(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Opens an entry with these flags and O_CLOEXEC.
fn open_at(folder: RawFd, name: &CStr, flags: libc::c_int) -> io::Result<File> {
    // SAFETY: the caller holds `folder` open; `name` is a string that ends in NUL and outlives the
    // call; the mode is passed as the flags may want it.
    let fd = unsafe { libc::openat(folder, name.as_ptr(), flags | libc::O_CLOEXEC, FILE_MODE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was opened just now, is valid, and has no other owner.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Gives an open file these flags and no others, of those that can change.
fn set_flags(file: &File, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for the whole call; the argument is a number.
    let status = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags) };
    done(status)
}

/// The names in an open directory.
struct Entries(NonNull<libc::DIR>);

impl Entries {
    fn of(folder: File) -> io::Result<Self> {
        let fd = folder.into_raw_fd();
        // SAFETY: `fd` is an open directory that has no other owner.
        let stream = unsafe { libc::fdopendir(fd) };
        NonNull::new(stream).map(Self).ok_or_else(|| {
            let cause = io::Error::last_os_error();
            // SAFETY: the call failed, so `fd` is still open and belongs to this function.
            drop(unsafe { File::from_raw_fd(fd) });
            cause
        })
    }

    /// All of them but "." and "..". A foreign one that is not text is shown as well as it goes.
    fn names(self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        loop {
            // SAFETY: the call takes nothing and cannot fail.
            let errno = unsafe { libc::__errno_location() };
            // SAFETY: this is the thread's own error number; it is valid for writes.
            unsafe { *errno = 0 };
            // SAFETY: the stream is open and used by this thread alone.
            let entry = unsafe { libc::readdir(self.0.as_ptr()) };
            let Some(entry) = NonNull::new(entry) else {
                let cause = io::Error::last_os_error();
                return if cause.raw_os_error() == Some(0) { Ok(names) } else { Err(cause) };
            };
            // SAFETY: the entry is valid until the next call on the stream; the place of its name
            // is computed without reading.
            let name = unsafe { &raw const (*entry.as_ptr()).d_name };
            // SAFETY: the name ends in NUL and is valid until the next call on the stream.
            let name = unsafe { CStr::from_ptr(name.cast()) };
            if name != c"." && name != c".." {
                names.push(name.to_string_lossy().into_owned());
            }
        }
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        // SAFETY: the stream is open, and closed nowhere else.
        unsafe { libc::closedir(self.0.as_ptr()) };
    }
}

/// A part of a path as the kernel wants it: relative, not empty, without NUL.
fn entry_name(path: &str, part: &str) -> io::Result<CString> {
    if part.is_empty() || part == ".." {
        return Err(invalid_input(format!("\"{path}\" is not a path inside the directory")));
    }
    CString::new(part).map_err(|_| invalid_input("a path with a NUL byte"))
}

fn done(status: libc::c_int) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::symlink;

    fn directory() -> (tempfile::TempDir, Directory) {
        let top = tempfile::tempdir().unwrap();
        let directory = Directory::open(top.path()).unwrap();
        (top, directory)
    }

    #[test]
    fn no_link_is_followed_and_nothing_but_files_is_opened() {
        let (top, directory) = directory();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("file"), "mine").unwrap();
        fs::create_dir(top.path().join("folder")).unwrap();
        symlink(outside.path().join("file"), top.path().join("link")).unwrap();
        symlink(outside.path().join("none"), top.path().join("dangling")).unwrap();
        symlink(outside.path(), top.path().join("linked")).unwrap();
        let pipe = top.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());

        let refused = |result: io::Result<File>, word: &str| {
            let cause = result.unwrap_err();
            assert_eq!(cause.kind(), io::ErrorKind::InvalidData, "{cause}");
            assert!(cause.to_string().contains(word), "{cause}");
        };
        let direct = libc::O_RDWR | libc::O_DIRECT;
        for flags in [libc::O_RDONLY, libc::O_RDWR, libc::O_RDWR | libc::O_CREAT, direct] {
            for name in ["link", "dangling", "linked/file"] {
                refused(directory.open_file(name, flags), "symbolic link");
            }
            refused(directory.open_file("pipe", flags), "no regular file");
        }
        refused(directory.open_file("folder", libc::O_RDWR), "directory");
        refused(directory.open_folder("linked"), "symbolic link");
        assert!(directory.open_file("dangling", libc::O_CREAT | libc::O_EXCL).is_err());
        assert!(directory.remove("linked/file").is_err());
        assert!(directory.rename("linked/file", "file").is_err());
        assert!(directory.list("linked").is_err());
        assert!(directory.create_dir("linked").is_err());
        assert!(directory.create_dir("linked/more").is_err());
        assert!(directory.make_durable("linked").is_err());
        assert_eq!(fs::read(outside.path().join("file")).unwrap(), b"mine");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        // Paths lead inside.
        for path in ["", "/etc/passwd", "../x", "folder/../../x", "folder//x"] {
            assert!(directory.open_file(path, libc::O_RDONLY).is_err(), "{path}");
        }
    }

    #[test]
    fn a_renamed_directory_keeps_working_and_the_new_one_is_left_alone() {
        let top = tempfile::tempdir().unwrap();
        let (before, after) = (top.path().join("before"), top.path().join("after"));
        fs::create_dir(&before).unwrap();
        let directory = Directory::open(&before).unwrap();
        directory.create_dir("sub").unwrap();
        fs::rename(&before, &after).unwrap();
        fs::create_dir(&before).unwrap();
        directory.open_file("sub/one", libc::O_RDWR | libc::O_CREAT | libc::O_EXCL).unwrap();
        directory.rename("sub/one", "two").unwrap();
        directory.create_dir("more").unwrap();
        directory.make_durable("more").unwrap();
        let mut names = directory.list("").unwrap();
        names.sort();
        assert_eq!(names, ["more", "sub", "two"]);
        assert!(directory.list("sub").unwrap().is_empty());
        directory.remove("two").unwrap();
        assert_eq!(fs::read_dir(&before).unwrap().count(), 0);
        assert_eq!(directory.list("none").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn no_flag_of_opening_stays() {
        let (_top, directory) = directory();
        directory.open_file("f", libc::O_RDWR | libc::O_CREAT | libc::O_EXCL).unwrap();
        let file = directory.open_file("f", libc::O_RDWR).unwrap();
        // SAFETY: the descriptor is open for the whole call, which takes no argument.
        let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0);
    }
}
