//! Opening and creating a database with other than the default options.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uarr_uring::BackendChoice;

use crate::error::{Error, ErrorKind, Result};
use crate::key::KeyKind;
use crate::options::{CommitPath, Durability, Options, RecoveryMode, VerifyPolicy, WhenFull};

/// Opens or creates a database with other than the default options.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
    pub(in crate::api) backend: BackendChoice,
}

impl Builder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, options: Options::default(), backend: BackendChoice::Auto }
    }

    /// When writes are acknowledged. Default: [`Durability::Sync`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.options.durability = durability;
        self
    }

    /// How groups reach the device. Default: [`CommitPath::Auto`].
    pub fn commit_path(mut self, path: CommitPath) -> Self {
        self.options.commit_path = path;
        self
    }

    /// What opening does when the log is not perfect. Default: [`RecoveryMode::TolerateTornTail`].
    pub fn recovery(mut self, mode: RecoveryMode) -> Self {
        self.options.recovery = mode;
        self
    }

    /// When records are checked. Default: [`VerifyPolicy::FirstTouch`].
    pub fn verify(mut self, policy: VerifyPolicy) -> Self {
        self.options.verify = policy;
        self
    }

    /// What writes do when the device has fallen behind. Default: [`WhenFull::Wait`].
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.options.when_full = when_full;
        self
    }

    /// The kind of the keys; fixed when the database is created, and checked later. Default: bytes.
    pub fn keys(mut self, kind: KeyKind) -> Self {
        self.options.keys = Some(kind);
        self
    }

    /// Whether a database is created where there is none. Default: yes.
    pub fn create(mut self, create: bool) -> Self {
        self.options.create = create;
        self
    }

    /// Whether threads of its own prepare segments, make data durable and take checkpoints. Without
    /// them, call [`crate::Db::step`] often. Default: yes.
    pub fn background(mut self, background: bool) -> Self {
        self.options.background = background;
        self
    }

    /// Most bytes that commits share one write of the log with: a power of two from 16 KiB to 1
    /// MiB, lowered to an eighth of a segment where that is less. A larger batch is a group by
    /// itself. While several full groups wait, up to four are at the device at once. Default: 256
    /// KiB.
    pub fn group_bytes(mut self, bytes: usize) -> Self {
        self.options.group_bytes = bytes;
        self
    }

    /// The next group after this time begins a new segment, if one is ready, however much room the
    /// old one has. For programs that carry segments away. What is left of the old one takes space
    /// on the disk until checkpoints release it, so it counts for
    /// [`Builder::checkpoint_log_bytes`]. Default: a segment is used until it is full.
    pub fn segment_age(mut self, age: Duration) -> Self {
        self.options.segment_age = Some(age);
        self
    }

    /// Size of a log segment: a power of two from 256 KiB to 4 GiB, fixed at creation. Default: 32
    /// MiB.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.options.segment_bytes = bytes;
        self
    }

    /// Size of a chunk of the data file: a power of two from 64 KiB to 1 GiB, fixed at creation. A
    /// database has less than 2^22 of them: 256 GiB of the smallest. Default: 16 MiB.
    pub fn chunk_bytes(mut self, bytes: u64) -> Self {
        self.options.chunk_bytes = bytes;
        self
    }

    /// Address space reserved for the data file, which limits its size: 64 MiB to 64 TiB, and one
    /// to 2^24 chunks. It costs nothing until it is used. Where the process has less (`ulimit -v`,
    /// or many databases), opening reserves less, at least 64 MiB and what the file has:
    /// [`crate::Stats`] says how much. Default: 1 TiB.
    pub fn address_space_bytes(mut self, bytes: u64) -> Self {
        self.options.address_space_bytes = bytes;
        self
    }

    /// The background takes a checkpoint when the log has grown by this many bytes since the last
    /// one, or by twice the size of the index image if that is more: 4 KiB or more. Default: 64
    /// MiB.
    pub fn checkpoint_log_bytes(mut self, bytes: u64) -> Self {
        self.options.checkpoint_log_bytes = bytes;
        self
    }

    /// How large the data file may get, as a multiple of the records that live in it: 1.2 to 4.
    /// What is overwritten or deleted takes space until the records around it were moved, in the
    /// background; the less may be wasted, the more is moved and written. Small databases may waste
    /// some chunks. Writers that overwrite faster than records are moved are held back; with
    /// [`WhenFull::Error`] they are not, and get a larger file. So do records of more than half a
    /// chunk, which leave gaps. Default: 1.5.
    pub fn space_amplification_max(mut self, ratio: f64) -> Self {
        self.options.space_amplification_max = ratio;
        self
    }

    /// Memory for old versions that iterators need which have looked at an earlier moment for long,
    /// in bytes: each takes about 150 and its key. With less, chunks that hold such versions stay
    /// until the iterators end, garbage and all. Default: 256 MiB.
    pub fn retained_memory_max(mut self, bytes: u64) -> Self {
        self.options.retained_memory_max = bytes;
        self
    }

    /// io_uring, plain system calls, or whichever the kernel allows. Default: `Auto`.
    pub fn backend(mut self, backend: BackendChoice) -> Self {
        self.backend = backend;
        self
    }

    /// Finds the directory, or makes it and notes that; not with options that creating refuses.
    pub(in crate::api) fn find_directory(&mut self) -> Result<()> {
        match check_directory(&self.path) {
            Err(error) if self.options.create && error.kind() == ErrorKind::NotFound => {
                self.options.check_chunks(self.options.chunk_bytes)?;
                self.options.made_directory = make_directory(&self.path)?;
                Ok(())
            }
            checked => checked,
        }
    }
}

/// Makes the directory, and its name durable: what is acknowledged in it must be found again.
/// `false`: another opener was quicker.
#[expect(clippy::disallowed_methods, reason = "before there is a storage")]
fn make_directory(path: &Path) -> Result<bool> {
    let shown = path.display();
    let above = match path.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    };
    let made = match std::fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            match check_directory(path) {
                // That one has taken it away again: opening finds that, and begins anew.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                checked => checked?,
            }
            false
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let above = above.display();
            let what = format!(
                "cannot create directory {shown}: the one above it, {above}, does not exist; make \
                 that first"
            );
            return Err(Error::new(ErrorKind::Io, what));
        }
        Err(error) => return Err(Error::io(format!("cannot create directory {shown}"), error)),
        Ok(()) => true,
    };
    std::fs::File::open(above).and_then(|above| above.sync_all()).map_err(|error| {
        Error::io(format!("cannot make the name of directory {shown} durable"), error)
    })?;
    Ok(made)
}

/// Takes the directory away again that an opening has made.
pub(in crate::api) fn unmake_directory(path: &Path) {
    // If it is not empty any more, another opener has use for it.
    let _ = std::fs::remove_dir(path);
}

/// A directory, whatever becomes of its name.
pub(in crate::api) struct OpenDirectory(std::io::Result<std::fs::File>);

impl OpenDirectory {
    #[expect(clippy::disallowed_methods, reason = "before there is a storage")]
    pub fn new(path: &Path) -> Self {
        Self(std::fs::File::open(path))
    }

    /// Whether somebody has removed it; no, if it cannot be looked at.
    pub fn is_removed(&self) -> bool {
        match &self.0 {
            Ok(directory) => directory.metadata().is_ok_and(|facts| facts.nlink() == 0),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }
}

/// Whether `path` names a directory. `NotFound`: there is nothing of that name; `NotADatabase`:
/// something else is. A file system that cannot answer is no missing directory.
#[expect(clippy::disallowed_methods, reason = "before there is a storage")]
pub(crate) fn check_directory(path: &Path) -> Result<()> {
    let shown = path.display();
    let refuse = |kind, what| Err(refusal(path, kind, what));
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => refuse(ErrorKind::NotADatabase, "is not a directory; name one"),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("cannot look at {shown}"), error))
        }
        Err(_) => match std::fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => refuse(
                ErrorKind::NotADatabase,
                "is a symbolic link that leads nowhere; remove it or make its target",
            ),
            // Another opener has made it since.
            Ok(found) if found.is_dir() => Ok(()),
            _ => Err(no_directory(path)),
        },
    }
}

/// The error of who wants to open a database at `path`, where nothing is.
pub(crate) fn no_directory(path: &Path) -> Error {
    refusal(path, ErrorKind::NotFound, "does not exist")
}

fn refusal(path: &Path, kind: ErrorKind, what: &str) -> Error {
    Error::new(kind, format!("no database at {}: it {what}", path.display()))
}
