//! Transactions: what they read is the model's, and they are refused exactly if somebody else has
//! written it.

use std::collections::BTreeMap;

use uarr::{Db, ErrorKind, KeyKind, OwnedRecord, Transaction};
use uarr_disk_sim::Memory;

use super::clock::Presence;
use super::model::{Change, Done, number};
use super::run::Run;
use super::tables::WITNESS;
use super::write::write;
use crate::violation::Violation;

/// Reads some keys, or all; others write something or nothing; then it commits writes of its own.
pub(super) fn transact(run: &mut Run, db: &Db<Memory>) -> Done {
    run.clock.look(&run.disk);
    let before = run.clock;
    let mut transaction = db.begin()?;
    let read: Vec<_> = (0..run.plan.random.below(4)).map(|_| run.key()).collect();
    for key in &read {
        let found = get(&transaction, key)?.map(|found| found.bytes().to_vec());
        if found.as_ref() != run.model.live.get(key).map(|(value, _)| value) {
            return Err(Violation(format!("a transaction reads another {key:?}")).into());
        }
    }
    let reads_all = run.plan.random.below(4) == 0;
    if reads_all {
        run.clock.look(&run.disk);
        let live = run.model.live.iter().filter(|(key, _)| *key != WITNESS);
        let presences = live.map(|(key, (value, _))| before.until(&run.clock).judge(key, value));
        let presences: Vec<_> = presences.collect();
        let least = presences.iter().filter(|there| **there == Presence::There).count();
        let most = presences.iter().filter(|there| **there != Presence::Gone).count();
        let count = transaction.iter().try_fold(0, |count, record| record.map(|_| count + 1))?;
        if !(least..=most).contains(&count) {
            return Err(Violation(format!("a transaction reads {count} records")).into());
        }
    }
    let mut conflicts = false;
    if run.plan.random.below(2) == 0 {
        let other = run.put();
        let key = other.key.clone();
        let before = run.model.live.get(&key).cloned();
        write(run, db, vec![other])?;
        if run.model.live.get(&key) == before.as_ref() {
            // What was refused after it was staged may conflict as well.
            return Ok(());
        }
        conflicts = reads_all || read.contains(&key);
    }
    let count = 1 + run.plan.random.below(4);
    let own: BTreeMap<_, _> = (0..count).map(|_| (run.key(), run.put().value)).collect();
    for (index, (key, value)) in own.iter().enumerate() {
        let value = value.as_ref().filter(|_| index % 3 < 2);
        match (db.key_kind(), value) {
            (KeyKind::Bytes, Some(value)) => transaction.put(key, value)?,
            (KeyKind::Bytes, None) => transaction.delete(key)?,
            (_, Some(value)) => transaction.put(number(key), value)?,
            (_, None) => transaction.delete(number(key))?,
        }
        if get(&transaction, key)?.as_deref() != value.map(Vec::as_slice) {
            return Err(Violation(format!("a transaction does not read its own {key:?}")).into());
        }
    }
    let changes = own.into_iter().enumerate().map(|(index, (key, value))| match value {
        Some(value) if index % 3 < 2 => Change::put(key, value),
        _ => Change::delete(key),
    });
    commit(run, transaction, changes.collect(), conflicts)
}

fn commit(
    run: &mut Run,
    transaction: Transaction<Memory>,
    changes: Vec<Change>,
    conflicts: bool,
) -> Done {
    if !conflicts {
        run.model.begin(changes);
    }
    match (transaction.commit(), conflicts) {
        (Ok(Some(commit)), false) => Ok(run.model.acknowledge(commit.lsn, commit.is_durable)?),
        (Err(error), true) if error.kind() == ErrorKind::Conflict => Ok(()),
        (Err(error), _) if error.kind() == ErrorKind::NoSpace => {
            if !conflicts {
                run.model.refuse();
            }
            Ok(())
        }
        (Err(error), false) if error.kind() == ErrorKind::Poisoned && !run.plan.hears_poison => {
            Ok(run.model.acknowledge_unheard()?)
        }
        (Err(error), _) if error.kind() != ErrorKind::Conflict => Err(error.into()),
        (committed, _) => {
            let text =
                format!("a transaction that conflicts ({conflicts}) ends with {committed:?}");
            Err(Violation(text).into())
        }
    }
}

fn get(transaction: &Transaction<Memory>, key: &[u8]) -> uarr::Result<Option<OwnedRecord>> {
    match transaction.key_kind() {
        KeyKind::Bytes => transaction.get(key),
        _ => transaction.get(number(key)),
    }
}
