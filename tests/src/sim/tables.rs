//! Runs in a table, with order or without, that is dropped and made again, beside a witness in the
//! default table, and beside a table whose options change ([`super::altered`]).

use std::cell::OnceCell;

use uarr::{Db, ErrorKind, TableOptions};
use uarr_disk_sim::Memory;

use super::model::{Change, Done};
use super::run::Run;

/// Name of the table.
pub(super) const NAME: &str = "t";
/// Key of the witness: the model has it, too, behind all others.
pub(super) const WITNESS: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff witness";
/// Its key in the default table.
pub(super) const WITNESS_NUMBER: u64 = 7;

/// The handles of one life, which readers may hold on to: that of the database, and behind it those
/// of each table that there was.
pub(super) struct Handles {
    pub db: Db<Memory>,
    next: OnceCell<Box<Self>>,
    /// Of the table whose options change.
    altered: OnceCell<Db<Memory>>,
}

impl Handles {
    pub fn new(db: Db<Memory>) -> Self {
        Self { db, next: OnceCell::new(), altered: OnceCell::new() }
    }

    /// The table whose options change, as the life has opened it at its beginning.
    pub fn altered(&self) -> &Db<Memory> {
        self.altered.get().expect("a life begins with it")
    }

    pub fn set_altered(&self, table: Db<Memory>) {
        assert!(self.altered.set(table).is_ok(), "a life opens it once");
    }

    /// What users work with.
    pub fn newest(&self) -> &Db<Memory> {
        self.next.get().map_or(&self.db, |next| next.newest())
    }

    fn push(&self, db: Db<Memory>) {
        match self.next.get() {
            Some(next) => next.push(db),
            None => _ = self.next.set(Box::new(Self::new(db))),
        }
    }
}

/// The table of a run in which there is one; `None`: it is not there now.
pub(super) fn table(run: &Run, db: &Db<Memory>) -> uarr::Result<Option<Db<Memory>>> {
    match run.plan.uses_table {
        true => Ok(db.find_table(NAME)?.map(|table| (*table).clone())),
        false => Ok(Some(db.clone())),
    }
}

/// Value and version of the witness.
pub(super) fn witness(db: &Db<Memory>) -> uarr::Result<Option<(Vec<u8>, u64)>> {
    let found = match db.key_kind() {
        uarr::KeyKind::Bytes => db.get(WITNESS)?,
        _ => db.get(WITNESS_NUMBER)?,
    };
    Ok(found.map(|record| (record.bytes().to_vec(), record.version())))
}

impl Run {
    /// At the beginning of a life: has the table made, if there is to be one and it is not there.
    pub fn make_table(&mut self, handles: &Handles) -> Done {
        if self.plan.uses_table {
            let options = match self.plan.is_unordered {
                true => TableOptions::new().unordered(),
                false => TableOptions::new().keys(self.plan.kind),
            };
            handles.push((*handles.db.table_with(NAME, options)?).clone());
        }
        Ok(())
    }

    /// The next state of the witness, which each batch of a run in a table changes, too.
    pub fn next_witness(&mut self) -> Option<Change> {
        self.witness_count += u64::from(self.plan.uses_table);
        let value = self.witness_count.to_le_bytes().to_vec();
        self.plan.uses_table.then(|| Change::put(WITNESS.to_vec(), value))
    }
}

/// Puts `change`, the next state of the witness, behind all that `batch` has.
pub(super) fn put_witness<'db>(
    batch: &mut uarr::Batch<'db, Memory>,
    default: &'db Db<Memory>,
    change: &Change,
) {
    let value = change.value.as_deref().unwrap_or_default();
    batch.of(default);
    match default.key_kind() {
        uarr::KeyKind::Bytes => batch.put(WITNESS, value),
        _ => batch.put(WITNESS_NUMBER, value),
    };
}

/// Drops the table, and makes it again: all keys are gone, at once and for ever.
pub(super) fn drop_table(run: &mut Run, handles: &Handles) -> Done {
    if !run.plan.uses_table {
        return Ok(());
    }
    let keys = run.model.live.keys().filter(|key| *key != WITNESS);
    let changes = keys.map(|key| Change::delete(key.clone())).collect();
    run.model.begin(changes);
    match handles.db.drop_table(NAME) {
        Ok(_) => run.model.ingested(),
        Err(error) if error.kind() == ErrorKind::NoSpace => {
            run.model.refuse();
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    }
    run.make_table(handles)
}
