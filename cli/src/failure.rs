//! Why a command ends early, and how the user learns of it.
//!
//! Each failure is one line: what happened and what to do next. Its kind is a fixed word for
//! programs.

use std::io;

use serde_json::json;
use uarr::ErrorKind;
use uarr_layout::uarr::WriteError;

use crate::exit::Exit;

/// The word for a reader that a writer has overtaken.
pub const OVERTAKEN: &str = "overtaken";

/// Result of a command or of a part of it.
pub type Result<T, E = Stop> = std::result::Result<T, E>;

/// Why a command ends early.
#[derive(Debug)]
pub enum Stop {
    /// The reader of the output has gone away, as behind `| head`. That is no error.
    OutputClosed,
    /// A failure to report.
    Failure(Box<Failure>),
}

/// An error as the user sees it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// Fixed word for programs.
    pub kind: &'static str,
    /// What happened and what to do next.
    pub message: String,
    /// The file concerned: of the database (relative to it), or the input.
    pub file: Option<String>,
    /// Byte offset in `file`.
    pub offset: Option<u64>,
    /// Line of the input, from 1.
    pub line: Option<u64>,
}

impl Failure {
    /// A failure that concerns no place in a file.
    pub fn new(exit: Exit, kind: &'static str, message: impl Into<String>) -> Self {
        Self { exit, kind, message: message.into(), file: None, offset: None, line: None }
    }

    /// Arguments that cannot be used.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    /// Input that cannot be used.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "input", message)
    }

    /// There is no table `name`.
    pub fn no_table(name: &str) -> Self {
        let message =
            format!("there is no table '{name}'; `uarr tables` lists those that there are");
        Self::missing("table_not_found", message)
    }

    /// A key or field that is not there.
    pub fn missing(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(Exit::Missing, kind, message)
    }

    /// An error of the operating system while doing `what`.
    pub fn io(what: &str, error: &io::Error) -> Self {
        Self::new(Exit::Io, "io", format!("{what}: {error}"))
    }

    /// A file called `name` that cannot be written.
    pub fn unwritable(name: &str, error: &io::Error) -> Self {
        let message = format!("cannot write {name}: {error}");
        let failure = match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => {
                Self::new(Exit::NoSpace, "no_space", message + "; make room and run it again")
            }
            io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory => {
                Self::usage(message + "; name another place, which can be written")
            }
            _ => Self::new(Exit::Io, "io", message),
        };
        Self { file: Some(name.to_owned()), ..failure }
    }

    /// An error of the engine in an open database.
    pub fn engine(error: &uarr::Error) -> Self {
        Self::advised(error, sort(error.kind()).2)
    }

    /// An error of the engine that kept the database from opening.
    pub fn opening(error: &uarr::Error) -> Self {
        if error.kind() == ErrorKind::Corruption {
            return Self::advised(
                error,
                Some("restore a backup, or save what is left with 'uarr repair'"),
            );
        }
        let failure = Self::engine(error);
        match failure.exit {
            Exit::Usage | Exit::Damage | Exit::NoSpace => failure,
            _ => Self { exit: Exit::Unopened, ..failure },
        }
    }

    /// Closing failed after what `done` says: the message says both.
    pub fn closing(done: &str, error: &uarr::Error) -> Self {
        let failure = Self::engine(error);
        Self {
            message: format!("{done}; closing the database failed: {}", failure.message),
            ..failure
        }
    }

    fn advised(error: &uarr::Error, next: Option<&str>) -> Self {
        let (exit, kind, _) = sort(error.kind());
        let next = next.map(|next| format!("; {next}")).unwrap_or_default();
        let place = error.corruption();
        Self {
            exit,
            kind,
            message: format!("{error}{next}"),
            file: place.map(|place| place.file.clone()),
            offset: place.map(|place| place.offset),
            line: None,
        }
    }

    /// The failure as a JSON object.
    pub fn to_json(&self) -> serde_json::Value {
        json!({ "error": {
            "kind": self.kind,
            "message": self.message,
            "file": self.file,
            "offset": self.offset,
            "line": self.line,
        }})
    }
}

/// Exit code, word and advice for a kind of error; no advice where the engine's message has it.
fn sort(kind: ErrorKind) -> (Exit, &'static str, Option<&'static str>) {
    match kind {
        ErrorKind::InvalidArgument => (Exit::Usage, "invalid_argument", None),
        ErrorKind::WrongValue => (Exit::Usage, "wrong_value", None),
        ErrorKind::NotFound => {
            let next = "check --db, or create one with 'uarr put' or 'uarr import', in a directory \
                        that is new or empty";
            (Exit::Unopened, "no_database", Some(next))
        }
        ErrorKind::KeyNotFound => (Exit::Missing, "key_not_found", None),
        ErrorKind::TableNotFound => (Exit::Missing, "table_not_found", None),
        ErrorKind::NotADatabase => (Exit::Unopened, "not_a_database", None),
        ErrorKind::Locked => (Exit::Unopened, "locked", None),
        ErrorKind::OtherFormat => (Exit::Unopened, "other_format", None),
        ErrorKind::PermissionDenied => {
            let next = "uarr needs to read the directory and its files, and to write them where it \
                        changes something";
            (Exit::Unopened, "permission_denied", Some(next))
        }
        ErrorKind::Corruption => {
            let next = "'uarr verify' lists all damage; restore a backup, or save what is left \
                        with 'uarr repair'";
            (Exit::Damage, "corruption", Some(next))
        }
        ErrorKind::TornTail => {
            let next = "nothing acknowledged is lost, cut it with --recovery tolerate";
            (Exit::Damage, "torn_tail", Some(next))
        }
        ErrorKind::Overtaken => (Exit::Unopened, OVERTAKEN, None),
        ErrorKind::NoSpace => (Exit::NoSpace, "no_space", Some("make room and run it again")),
        ErrorKind::Poisoned => (Exit::Io, "poisoned", None),
        ErrorKind::Closed => (Exit::Io, "closed", None),
        ErrorKind::Unsupported => (Exit::Io, "unsupported", None),
        _ => (Exit::Io, "io", None),
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

impl From<uarr::Error> for Stop {
    fn from(error: uarr::Error) -> Self {
        Failure::engine(&error).into()
    }
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => output(&error),
            error => Failure::new(Exit::Damage, "corruption", error.to_string()).into(),
        }
    }
}

/// What an error of standard output means.
pub fn output(error: &io::Error) -> Stop {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Stop::OutputClosed,
        _ => Failure::io("cannot write the output", error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_exit_code() {
        let check = |kind, expected| assert_eq!(sort(kind).0, expected, "{kind:?}");
        check(ErrorKind::InvalidArgument, Exit::Usage);
        check(ErrorKind::NotFound, Exit::Unopened);
        check(ErrorKind::NotADatabase, Exit::Unopened);
        check(ErrorKind::Locked, Exit::Unopened);
        check(ErrorKind::OtherFormat, Exit::Unopened);
        check(ErrorKind::PermissionDenied, Exit::Unopened);
        check(ErrorKind::Corruption, Exit::Damage);
        check(ErrorKind::TornTail, Exit::Damage);
        check(ErrorKind::NoSpace, Exit::NoSpace);
        check(ErrorKind::Poisoned, Exit::Io);
        check(ErrorKind::Io, Exit::Io);
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        assert!(matches!(output(&io::ErrorKind::BrokenPipe.into()), Stop::OutputClosed));
        assert!(matches!(output(&io::ErrorKind::StorageFull.into()), Stop::Failure(_)));
    }
}
