//! Writes of any number of changes, as one batch.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uarr::{Db, Durability, ErrorKind, Expires, KeyKind, WriteOptions};
use uarr_disk_sim::Memory;

use super::clock::{bytes_of, expires_ms};
use super::model::{Change, Done, number};
use super::run::Run;
use super::tables::put_witness;
use crate::violation::Violation;

/// The moment so many ms behind 1970.
pub(super) fn time(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

pub(super) fn write(run: &mut Run, db: &Db<Memory>, changes: Vec<Change>) -> Done {
    write_with(run, db, changes, WriteOptions::new())
}

pub(super) fn write_with(
    run: &mut Run,
    db: &Db<Memory>,
    changes: Vec<Change>,
    options: WriteOptions,
) -> Done {
    let (default, witness) = (run.default.clone(), run.next_witness());
    let mut changes = changes;
    let mut batch = db.with(options).batch();
    for Change { key, value, patch, .. } in &changes {
        let expires_ms = value.as_ref().map_or(0, |value| expires_ms(key, value));
        let value = value.as_ref().map(|value| bytes_of(key, value));
        if let (Some(value), 1..) = (value, expires_ms) {
            let value = value.expires_at(time(expires_ms));
            match db.key_kind() {
                KeyKind::Bytes => batch.put(key, value),
                _ => batch.put(number(key), value),
            };
            continue;
        }
        match (db.key_kind(), value, patch) {
            (KeyKind::Bytes, _, Some(patch)) => batch.patch(key, patch),
            (KeyKind::Bytes, Some(value), None) => batch.put(key, value),
            (KeyKind::Bytes, None, None) => batch.delete(key),
            (_, _, Some(patch)) => batch.patch(number(key), patch),
            (_, Some(value), None) => batch.put(number(key), value),
            (_, None, None) => batch.delete(number(key)),
        };
    }
    if let (Some(default), Some(witness)) = (&default, witness) {
        put_witness(&mut batch, default, &witness);
        changes.push(witness);
    }
    let expires = |change: &Change| {
        change.value.as_ref().is_some_and(|value| expires_ms(&change.key, value) > 0)
    };
    let some_expire = changes.iter().any(expires);
    run.model.begin(changes);
    match batch.commit() {
        Ok(Some(commit)) => {
            if some_expire {
                run.clock.note_used(true);
            }
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
