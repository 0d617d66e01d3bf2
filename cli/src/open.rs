//! Opening the database that the command line names.

use std::path::Path;

use uarr::inspect::Inspector;
use uarr::{Builder, Db};

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
        let path = self.directory()?;
        let mut builder =
            Db::builder(path).create(absent == Absent::Create).recovery(self.recovery.into());
        if let Some(kind) = self.key_kind {
            builder = builder.keys(kind.into());
        }
        let db = more(builder).open().map_err(|error| Failure::opening(&error))?;
        self.warn_about(&db);
        Ok(db)
    }

    /// Looks into the database without opening it.
    pub fn inspect(&self) -> Result<Inspector> {
        let opened = Inspector::open(self.directory()?);
        Ok(opened.map_err(|error| Failure::opening(&error))?)
    }

    /// The directory that the command line names.
    pub fn directory(&self) -> Result<&Path> {
        let message = "which database? give --db DIR or set UARR_DB";
        Ok(self.db.as_deref().ok_or_else(|| Failure::usage(message))?)
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
