//! A file without a name in the directory that is looked at: the kernel removes it when it is
//! closed, whatever happens to this process.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat, unlink};

/// Creates a file without a name in `dir`, open for reading and writing; past the page cache if the
/// file system can do that. Returns whether it can.
pub fn unnamed_file(dir: &Path) -> io::Result<(File, bool)> {
    match open(dir, OFlags::DIRECT) {
        // The answer of file systems without direct I/O.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Ok((open(dir, OFlags::empty())?, false))
        }
        opened => Ok((opened?, true)),
    }
}

fn open(dir: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC | more;
    let mode = Mode::RUSR | Mode::WUSR;
    match openat(CWD, dir, flags | OFlags::TMPFILE, mode) {
        // File systems that know no such files: a name for as long as it takes to remove it.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
            let path = dir.join(format!(".uarr-doctor-{}", std::process::id()));
            let opened = openat(CWD, &path, flags | OFlags::CREATE, mode);
            // A refused open may still have created the file, unless it was there before.
            if opened.as_ref().err() != Some(&rustix::io::Errno::EXIST) {
                let _ = unlink(&path);
            }
            Ok(opened?.into())
        }
        opened => Ok(opened?.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn the_file_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = unnamed_file(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        file.set_len(5).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 5);
        assert!(file.read_at(&mut [], 0).is_ok());
        let missing = unnamed_file(&dir.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
