//! Opening the database that the command line names.

use std::path::Path;

use uarr::inspect::Inspector;
use uarr::{
    Builder, Db, Durability, ErrorKind, KeyKind, ReadOnly, RecoveryReport, TableOptions, TornTail,
};

use crate::args::Global;
use crate::exported::Shape;
use crate::failure::{Failure, Result};
use crate::output::{Form, warn};
use crate::reader::Reader;
use crate::signals::{BeforeEnd, before_end};

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

    /// What there is to read from; reports what opening it would get around.
    pub fn read(&self) -> Result<Reader> {
        match &self.shared {
            Some(db) => Ok(Reader::Open(db.clone())),
            None => self.read_files().map(Reader::Files),
        }
    }

    /// As [`Global::read`], outside of the shell.
    pub fn read_files(&self) -> Result<ReadOnly> {
        let opened = self.builder(Absent::Refuse)?.open_read_only();
        let db = opened.map_err(|error| Failure::opening(&error))?;
        let report = db.recovery_report();
        if let Some(tail) = &report.torn_tail {
            self.warn_about_tail(tail, "does not count");
        }
        self.warn_about_notes(&report);
        Ok(db)
    }

    /// As [`Global::read`], for commands about records: the handle is that of the table that the
    /// command line names.
    pub fn read_records(&self) -> Result<Reader> {
        if self.shared.is_some() {
            return self.open_records(Absent::Refuse).map(Reader::Open);
        }
        let files = self.read_files()?;
        let Some(name) = &self.table else { return Ok(Reader::Files(files)) };
        let table = files.find_table(name)?.ok_or_else(|| Failure::no_table(name))?;
        check_kind(name, table.key_kind(), self.key_kind.map(KeyKind::from))?;
        Ok(Reader::Files(table))
    }

    /// Opens the database and reports what opening found.
    pub fn open(&self, absent: Absent) -> Result<Db> {
        self.open_with(absent, |builder| builder)
    }

    fn open_with(&self, absent: Absent, more: impl FnOnce(Builder) -> Builder) -> Result<Db> {
        if let Some(db) = &self.shared {
            return Ok(db.clone());
        }
        let db = more(self.builder(absent)?).open().map_err(|error| Failure::opening(&error))?;
        self.warn_about(&db);
        Ok(db)
    }

    /// Opens the database for commands about records: the handle is that of the table that the
    /// command line names. What is not there is made, or not.
    pub fn open_records(&self, absent: Absent) -> Result<Db> {
        let shape = self.key_kind.map(|kind| Shape::from(KeyKind::from(kind)));
        self.open_records_with(absent, shape, |builder| builder)
    }

    /// As [`Global::open_records`], with further options; a new table is like `shape`.
    pub fn open_records_with(
        &self,
        absent: Absent,
        shape: Option<Shape>,
        more: impl FnOnce(Builder) -> Builder,
    ) -> Result<Db> {
        let db = self.open_with(absent, |builder| match shape {
            Some(shape) if self.table.is_none() => more(builder).keys(shape.kind),
            _ => more(builder),
        })?;
        self.or_take_back(&db, || self.table_of(&db, absent, shape))
    }

    /// Does `work` with an open database. If that fails, and the database was created for it and
    /// has nothing, the database goes again: a failed command leaves no trace.
    pub fn or_take_back<T>(&self, db: &Db, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let done = work();
        if done.is_err() && self.shared.is_none() && db.recovery_report().created {
            // The failure of the work is the one to report.
            let _ = db.clone().close_unused();
        }
        done
    }

    /// Opens the database for the shell.
    pub fn open_shared(&self, absent: Absent, durability: Durability) -> Result<Db> {
        self.open_with(absent, |builder| builder.durability(durability))
    }

    /// Closes the database after a change; in the shell it stays open.
    pub fn close(&self, db: Db) -> uarr::Result<()> {
        if self.shared.is_some() { Ok(()) } else { db.close() }
    }

    fn table_of(&self, db: &Db, absent: Absent, shape: Option<Shape>) -> Result<Db> {
        let kind = shape.map(|shape| shape.kind);
        let Some(name) = &self.table else {
            return match kind.filter(|kind| *kind != db.key_kind()) {
                None => Ok(db.clone()),
                Some(kind) => {
                    let has = db.key_kind();
                    let message =
                        format!("keys are {has}, but --key-kind says {kind}; leave it out");
                    Err(Failure::usage(message).into())
                }
            };
        };
        let options = shape.map_or(TableOptions::new(), |shape| shape.options);
        let table = match absent {
            Absent::Create => Some(db.table_with(name, options)?),
            Absent::Refuse => db.find_table(name)?,
        };
        let table = table.ok_or_else(|| Failure::no_table(name))?;
        check_kind(name, table.key_kind(), kind)?;
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

    /// Has a signal make durable what was written.
    pub fn sync_before_end(&self, db: &Db) -> BeforeEnd {
        let (db, form) = (db.clone(), self.form());
        before_end(form, move || {
            if let Err(error) = db.sync() {
                warn(form, &format!("what was not durable may be lost: {error}"));
            }
        })
    }

    fn warn_about(&self, db: &Db) {
        if let Some(warning) = db.stats().backend_warning {
            warn(self.form(), &warning);
        }
        let report = db.recovery_report();
        if let Some(tail) = &report.torn_tail {
            self.warn_about_tail(tail, "is gone");
        }
        self.warn_about_notes(report);
    }

    fn warn_about_tail(&self, tail: &TornTail, fate: &str) {
        let text = format!(
            "the log ended in a write that was cut off; it was never acknowledged and {fate} ({} \
             at offset {}, behind LSN {}: {})",
            tail.file, tail.offset, tail.lsn, tail.detail
        );
        warn(self.form(), &text);
    }

    fn warn_about_notes(&self, report: &RecoveryReport) {
        for note in &report.notes {
            let text = format!("opening got around damage: {note}; all records are there");
            warn(self.form(), &text);
        }
    }
}

/// Errors: the keys of table `name` are of another kind than the command line says.
fn check_kind(name: &str, found: KeyKind, said: Option<KeyKind>) -> Result<()> {
    match said.filter(|kind| *kind != found) {
        Some(kind) => Err(Failure::usage(format!(
            "table '{name}' has {found} keys, but --key-kind says {kind}; leave it out"
        ))
        .into()),
        None => Ok(()),
    }
}
