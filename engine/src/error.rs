//! The one public error of the engine.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::{fmt, io};

use uarr_layout::uarr as value;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, and thereby what the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A key, value, option or path is outside its limits. Correct the call.
    InvalidArgument,
    /// The value of a record is not what was asked for: no UArr record, or none of this Rust type.
    /// Read it as what it is; [`crate::Record::bytes`] gives the bytes.
    WrongValue,
    /// There is no database in the directory, and the options forbid creating one.
    NotFound,
    /// There is no record of the key, so there is nothing to patch. Put a value.
    KeyNotFound,
    /// There is no table of the name, or the table was dropped. Make it, or open it again.
    TableNotFound,
    /// A condition of a batch is not met. Nothing was written; read the record and decide anew.
    ConditionFailed,
    /// Something that a transaction has read was written by others since. Nothing was written; run
    /// it again, as [`crate::Db::transaction`] does.
    Conflict,
    /// The directory holds files that are not a uarr database. Choose another one.
    NotADatabase,
    /// The database is open, in this process or another one, or the last write of a process that
    /// ended is still on its way. Close it there, or wait.
    Locked,
    /// The database was written in another version of the format, which the message names.
    OtherFormat,
    /// Bytes on disk are not what was written; [`Error::corruption`] says where. Restore a backup,
    /// or save what is left with [`mod@crate::repair`].
    Corruption,
    /// The log ends in a group that was not written completely, and the recovery mode is `Strict`.
    /// Nothing acknowledged is lost; open with `TolerateTornTail` to cut it.
    TornTail,
    /// The device has no room, or a file may not become longer (quota, RLIMIT_FSIZE). The call
    /// wrote nothing, but for calls of many steps, which say so ([`crate::Db::ingest`],
    /// [`crate::Db::delete_range`]). Free space, or raise the limit, and try again.
    NoSpace,
    /// The device has fallen behind, and the database was opened with [`crate::WhenFull::Error`];
    /// or a waker calls [`crate::Db::close`] on a thread that another `close` waits for. The call
    /// did nothing. Try again later.
    Busy,
    /// A writer has gone on for so long beside a handle that only reads ([`crate::ReadOnly`]) that
    /// what the handle shows is not in the files any more. Open it again.
    Overtaken,
    /// An earlier write or flush failed, so the database promises nothing more. Reads go on; open
    /// again to recover all that was acknowledged.
    Poisoned,
    /// The database was closed. Open it again.
    Closed,
    /// Missing rights, or a read-only file system.
    PermissionDenied,
    /// The kernel lacks something that the caller explicitly asked for.
    Unsupported,
    /// The operating system reported an error.
    Io,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidArgument => "invalid argument",
            Self::WrongValue => "wrong value",
            Self::NotFound => "no database",
            Self::KeyNotFound => "key not found",
            Self::TableNotFound => "table not found",
            Self::ConditionFailed => "condition failed",
            Self::Conflict => "conflict",
            Self::NotADatabase => "not a database",
            Self::Locked => "locked",
            Self::OtherFormat => "other format",
            Self::Corruption => "corruption",
            Self::TornTail => "torn tail",
            Self::NoSpace => "no space",
            Self::Busy => "busy",
            Self::Overtaken => "overtaken",
            Self::Poisoned => "poisoned",
            Self::Closed => "closed",
            Self::PermissionDenied => "permission denied",
            Self::Unsupported => "unsupported",
            Self::Io => "input or output error",
        })
    }
}

impl ErrorKind {
    /// What the standard library has for it, where the operating system has said nothing.
    fn to_io(self) -> io::ErrorKind {
        match self {
            Self::InvalidArgument => io::ErrorKind::InvalidInput,
            Self::NotFound | Self::KeyNotFound | Self::TableNotFound => io::ErrorKind::NotFound,
            Self::WrongValue
            | Self::NotADatabase
            | Self::OtherFormat
            | Self::Corruption
            | Self::TornTail => io::ErrorKind::InvalidData,
            Self::Locked | Self::Busy | Self::Overtaken => io::ErrorKind::ResourceBusy,
            Self::NoSpace => io::ErrorKind::StorageFull,
            Self::PermissionDenied => io::ErrorKind::PermissionDenied,
            Self::Unsupported => io::ErrorKind::Unsupported,
            Self::ConditionFailed | Self::Conflict | Self::Poisoned | Self::Closed | Self::Io => {
                io::ErrorKind::Other
            }
        }
    }
}

/// Where bytes are damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Corruption {
    /// File, relative to the database directory.
    pub file: String,
    /// Offset of the damaged structure in the file; of a record its address, by which index and log
    /// name it (`uarr inspect chunk` shows what lies where).
    pub offset: u64,
    /// LSN of the record or group, if known.
    pub lsn: Option<u64>,
    /// What was expected and what was found.
    pub detail: String,
}

/// An error of the engine. Cheap to clone: all waiters of a failed group get the same one.
///
/// The errors of values become errors of the engine, and these `std::io::Error`s, by `?`:
///
/// ```
/// use uarr::{Db, ErrorKind, value};
///
/// fn born(db: &Db) -> uarr::Result<Option<u64>> {
///     db.put("ada", value::from_json(r#"{"born":1815}"#)?)?;
///     let record = db.get("ada")?.expect("it was just put");
///     Ok(record.path("born")?.and_then(|born| born.as_u64()))
/// }
///
/// fn main() -> std::io::Result<()> {
///     let dir = tempfile::tempdir()?;
///     let db = Db::open(&dir)?;
///     assert_eq!(born(&db)?, Some(1815));
///     db.put("plain", "any bytes")?;
///     let plain = db.get("plain")?.expect("it was just put");
///     assert_eq!(plain.uarr().unwrap_err().kind(), ErrorKind::WrongValue);
///     assert_eq!(ErrorKind::WrongValue.to_string(), "wrong value");
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    corruption: Option<Corruption>,
    source: Option<Cause>,
    is_final: bool,
}

/// An error of the operating system after which it is unknown what the device holds; see
/// [`attempted`].
#[derive(Debug)]
struct Attempted(io::Error);

impl fmt::Display for Attempted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Attempted {}

/// Marks the failure of a flush, or of any other step that may have reached the device. With every
/// error number, what the step covered may be lost or may be there, and the next flush may still
/// succeed. No thread repeats it.
pub(crate) fn attempted(cause: io::Error) -> io::Error {
    io::Error::other(Attempted(cause))
}

/// Result with the engine's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::of(kind, message.into(), None)
    }

    fn of(kind: ErrorKind, message: String, corruption: Option<Corruption>) -> Self {
        let (source, is_final) = (None, false);
        Self(Arc::new(Inner { kind, message, corruption, source, is_final }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// Damage; see [`crate::structure::Structure::damage`].
    pub(crate) fn corrupt(message: String, corruption: Corruption) -> Self {
        Self::of(ErrorKind::Corruption, message, Some(corruption))
    }

    /// An error of the operating system while doing `what`.
    pub(crate) fn io(what: impl fmt::Display, source: io::Error) -> Self {
        let kind = match source.kind() {
            _ if lacks_room(&source) => ErrorKind::NoSpace,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::PermissionDenied
            }
            io::ErrorKind::Unsupported => ErrorKind::Unsupported,
            // The storage's answer to an entry that is none of ours: a link, a folder, a pipe.
            io::ErrorKind::InvalidData => ErrorKind::NotADatabase,
            _ => ErrorKind::Io,
        };
        let message = format!("{what}: {source}");
        let is_final = source.get_ref().is_some_and(|cause| cause.is::<Attempted>());
        Self::caused(kind, message, source, is_final)
    }

    fn caused(kind: ErrorKind, message: String, source: impl Into<Cause>, is_final: bool) -> Self {
        let source = Some(source.into());
        Self(Arc::new(Inner { kind, message, corruption: None, source, is_final }))
    }

    /// The value of a record is not what was asked for.
    fn wrong_value(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        let message = format!("the value is not what was asked for: {source}");
        Self::caused(ErrorKind::WrongValue, message, source, false)
    }

    /// A value or patch that the caller gives cannot be made.
    fn unmade(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        let message = format!("{what} cannot be made: {source}");
        Self::caused(ErrorKind::InvalidArgument, message, source, false)
    }

    /// As [`Error::io`], where the caller cannot do anything about the reason: lack of room in the
    /// midst of a write, say, which leaves it unknown what was written.
    pub(crate) fn device(what: impl fmt::Display, source: io::Error) -> Self {
        let message = format!("{what}: {source}");
        Self::caused(ErrorKind::Io, message, source, true)
    }

    /// The error that all writes get after `cause` made further promises impossible.
    pub(crate) fn poisoned_by(cause: &Error) -> Self {
        let message = format!(
            "the database takes no more writes because an earlier one failed ({cause}); \
             open it again to recover all that was acknowledged"
        );
        let corruption = cause.0.corruption.clone();
        let (kind, is_final) = (ErrorKind::Poisoned, true);
        Self(Arc::new(Inner { kind, message, corruption, source: None, is_final }))
    }

    /// Whether no thread may try again, because an attempt may have reached the device.
    pub(crate) fn is_final(&self) -> bool {
        self.0.is_final
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Where bytes are damaged, if that is the error or its cause.
    pub fn corruption(&self) -> Option<&Corruption> {
        self.0.corruption.as_ref()
    }
}

/// Whether an operation was refused because there is no room for it, on the device or within a
/// limit.
pub(crate) fn lacks_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}

// What was reported does not change: no panic can leave it half changed.
impl UnwindSafe for Error {}
impl RefUnwindSafe for Error {}

impl From<Error> for io::Error {
    /// The kind is that of the operating system where it has reported one that the caller can do
    /// something about; the engine's error is inside ([`io::Error::downcast`]).
    fn from(error: Error) -> Self {
        let cause = error.0.source.as_ref().and_then(|cause| cause.downcast_ref::<Self>());
        let kind = match cause {
            Some(cause) if !error.is_final() => cause.kind(),
            _ => error.kind().to_io(),
        };
        Self::new(kind, error)
    }
}

impl From<value::Error> for Error {
    fn from(error: value::Error) -> Self {
        Self::wrong_value(error)
    }
}

impl From<value::BuildError> for Error {
    fn from(error: value::BuildError) -> Self {
        Self::unmade("the value", error)
    }
}

impl From<value::JsonError> for Error {
    fn from(error: value::JsonError) -> Self {
        Self::unmade("the value", error)
    }
}

impl From<value::PatchError> for Error {
    fn from(error: value::PatchError) -> Self {
        Self::unmade("the patch", error)
    }
}

#[cfg(feature = "serde")]
impl From<value::SerdeError> for Error {
    fn from(error: value::SerdeError) -> Self {
        match error {
            value::SerdeError::Build(_) | value::SerdeError::Key => {
                Self::unmade("the value", error)
            }
            _ => Self::wrong_value(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_standard_library_keep_what_is_known() {
        let check = |error: Error, expected: io::ErrorKind| {
            let text = error.to_string();
            let error = io::Error::from(error);
            assert_eq!((error.kind(), error.to_string()), (expected, text));
            assert!(error.downcast::<Error>().is_ok());
        };
        let full = io::Error::from(io::ErrorKind::QuotaExceeded);
        check(Error::io("a test", full), io::ErrorKind::QuotaExceeded);
        let flush = attempted(io::ErrorKind::StorageFull.into());
        check(Error::io("a test", flush), io::ErrorKind::Other);
        let torn = io::Error::from(io::ErrorKind::StorageFull);
        check(Error::device("a test", torn), io::ErrorKind::Other);
        check(Error::invalid("a test"), io::ErrorKind::InvalidInput);
        check(Error::new(ErrorKind::Locked, "a test"), io::ErrorKind::ResourceBusy);
    }

    #[test]
    fn errors_of_values_say_who_is_wrong() {
        let check = |error: Error, expected| {
            assert_eq!(error.kind(), expected);
            assert!(std::error::Error::source(&error).is_some());
        };
        check(value::Error::Magic.into(), ErrorKind::WrongValue);
        check(value::BuildError::TooDeep.into(), ErrorKind::InvalidArgument);
        check(value::PatchError::Flags.into(), ErrorKind::InvalidArgument);
        let error = value::from_json("{").unwrap_err();
        check(error.into(), ErrorKind::InvalidArgument);
    }
}
