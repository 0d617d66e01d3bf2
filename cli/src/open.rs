//! Opening the database that the command line names.

use std::path::Path;

use uarr::inspect::Inspector;
use uarr::{Builder, Db, ErrorKind, KeyKind, TableOptions};

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

    fn open_with(&self, absent: Absent, more: impl FnOnce(Builder) -> Builder) -> Result<Db> {
        let db = more(self.builder(absent)?).open().map_err(|error| Failure::opening(&error))?;
        self.warn_about(&db);
        Ok(db)
    }

    /// Opens the database for commands about records: the handle is that of the table that the
    /// command line names. What is not there is made, or not.
    pub fn open_records(&self, absent: Absent) -> Result<Db> {
        let kind = self.key_kind.map(KeyKind::from);
        self.open_records_with(absent, kind, |builder| builder)
    }

    /// As [`Global::open_records`], with further options; a new table has keys of `kind`.
    pub fn open_records_with(
        &self,
        absent: Absent,
        kind: Option<KeyKind>,
        more: impl FnOnce(Builder) -> Builder,
    ) -> Result<Db> {
        let db = self.open_with(absent, |builder| match kind {
            Some(kind) if self.table.is_none() => more(builder).keys(kind),
            _ => more(builder),
        })?;
        let Some(name) = &self.table else { return Ok(db) };
        let options = kind.map_or(TableOptions::new(), |kind| TableOptions::new().keys(kind));
        let table = match absent {
            Absent::Create => Some(db.table_with(name, options)?),
            Absent::Refuse => db.find_table(name)?,
        };
        let table = table.ok_or_else(|| Failure::no_table(name))?;
        if let Some(kind) = kind.filter(|kind| *kind != table.key_kind()) {
            let message = format!(
                "table '{name}' has {} keys, but --key-kind says {kind}; leave it out",
                table.key_kind()
            );
            return Err(Failure::usage(message).into());
        }
        Ok((*table).clone())
    }

    /// As [`Global::open_records_with`], if there is a database with that table.
    pub fn open_records_present(
        &self,
        more: impl FnOnce(Builder) -> Builder,
    ) -> Result<Option<Db>> {
        match more(self.builder(Absent::Refuse)?).open() {
            Ok(db) => {
                self.warn_about(&db);
                let Some(name) = &self.table else { return Ok(Some(db)) };
                Ok(db.find_table(name)?.map(|table| (*table).clone()))
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
            Some(kind) if self.table.is_none() => builder.keys(kind.into()),
            _ => builder,
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
