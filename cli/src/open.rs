//! Opening the database that the command line names.

use std::path::Path;

use uarr::inspect::Inspector;
use uarr::{Builder, Db, ErrorKind};

use crate::args::Global;
use crate::failure::{Failure, Result};
use crate::output::{Form, warn};

/// What to do if there is no database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Create it.
    Create,
    /// Fail.
    Refuse,
}

impl Global {
    /// For whom results and errors are printed.
    pub fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Text }
    }

    /// Opens the database and reports what opening found.
    pub fn open(&self, absent: Absent) -> Result<Db> {
        self.open_with(absent, |builder| builder)
    }

    /// Opens the database with further options and reports what opening found.
    pub fn open_with(&self, absent: Absent, more: impl FnOnce(Builder) -> Builder) -> Result<Db> {
        let db = more(self.builder(absent)?).open().map_err(|error| Failure::opening(&error))?;
        self.warn_about(&db);
        Ok(db)
    }

    /// As [`Global::open_with`], if there is a database.
    pub fn open_present(&self, more: impl FnOnce(Builder) -> Builder) -> Result<Option<Db>> {
        match more(self.builder(Absent::Refuse)?).open() {
            Ok(db) => {
                self.warn_about(&db);
                Ok(Some(db))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::opening(&error).into()),
        }
    }

    fn builder(&self, absent: Absent) -> Result<Builder> {
        let builder = Db::builder(self.directory()?)
            .create(absent == Absent::Create)
            .recovery(self.recovery.into());
        Ok(match self.key_kind {
            Some(kind) => builder.keys(kind.into()),
            None => builder,
        })
    }

    /// Looks into the database without opening it.
    pub fn inspect(&self) -> Result<Inspector> {
        let opened = Inspector::open(self.directory()?);
        Ok(opened.map_err(|error| Failure::opening(&error))?)
    }

    /// The directory that the command line names.
    pub fn directory(&self) -> Result<&Path> {
        let message = "which database? give --db DIR or set UARR_DB";
        let given = self.db.as_deref().filter(|given| !given.is_empty());
        Ok(Path::new(given.ok_or_else(|| Failure::usage(message))?))
    }

    fn warn_about(&self, db: &Db) {
        if let Some(warning) = db.stats().backend_warning {
            warn(self.form(), &warning);
        }
        let report = db.recovery_report();
        if let Some(tail) = &report.torn_tail {
            let text = format!(
                "the log ended in a write that was cut off; it was never acknowledged and is gone \
                 ({} at offset {}, behind LSN {}: {})",
                tail.file, tail.offset, tail.lsn, tail.detail
            );
            warn(self.form(), &text);
        }
        for note in &report.notes {
            let text = format!("opening got around damage: {note}; all records are there");
            warn(self.form(), &text);
        }
    }
}
