//! Writes of any number of changes, as one batch.

use uarr::{Db, Durability, ErrorKind, KeyKind, WriteOptions};
use uarr_disk_sim::Memory;

use super::model::{Change, Done, number};
use super::run::Run;
use crate::violation::Violation;

pub(super) fn write(run: &mut Run, db: &Db<Memory>, changes: Vec<Change>) -> Done {
    write_with(run, db, changes, WriteOptions::new())
}

pub(super) fn write_with(
    run: &mut Run,
    db: &Db<Memory>,
    changes: Vec<Change>,
    options: WriteOptions,
) -> Done {
    let mut batch = db.with(options).batch();
    for Change { key, value, patch, .. } in &changes {
        match (db.key_kind(), value, patch) {
            (KeyKind::Bytes, _, Some(patch)) => batch.patch(key, patch),
            (KeyKind::Bytes, Some(value), None) => batch.put(key, value),
            (KeyKind::Bytes, None, None) => batch.delete(key),
            (_, _, Some(patch)) => batch.patch(number(key), patch),
            (_, Some(value), None) => batch.put(number(key), value),
            (_, None, None) => batch.delete(number(key)),
        };
    }
    run.model.begin(changes);
    match batch.commit() {
        Ok(Some(commit)) => {
            let durable =
                run.plan.durability == Durability::Sync || options == WriteOptions::new().durable();
            if durable && !commit.is_durable {
                return Err(Violation("a receipt does not say durable".into()).into());
            }
            Ok(run.model.acknowledge(commit.lsn, commit.is_durable)?)
        }
        Ok(None) => Err(Violation("a batch with changes was taken for an empty one".into()).into()),
        Err(error) if error.kind() == ErrorKind::NoSpace => {
            run.model.refuse();
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::Poisoned && !run.plan.hears_poison => {
            Ok(run.model.acknowledge_unheard()?)
        }
        Err(error) => Err(error.into()),
    }
}
