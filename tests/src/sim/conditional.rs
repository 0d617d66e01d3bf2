//! Writes that depend on what is there: done exactly if the model says so.

use uarr::{Count, Db, ErrorKind, KeyKind, Outcome, UArrRef, uarr};
use uarr_disk_sim::Memory;

use super::model::{Change, Done, get, number};
use super::plan::Lacks;
use super::run::Run;
use super::write::write;
use crate::violation::Violation;

/// A put if there is no record, or one, or one with a version, the right or another one.
pub(super) fn put(run: &mut Run, db: &Db<Memory>) -> Done {
    let change = run.put();
    let (key, value) = (change.key.clone(), change.value.clone().unwrap_or_default());
    let early = match run.plan.lacks {
        Some(Lacks::PremiseAtStaging) => {
            let is_absent = get(db, &key)?.is_none();
            // Another writer is staged between the question and the change.
            let other = Change::put(key.clone(), run.filler());
            write(run, db, vec![other])?;
            Some(is_absent)
        }
        _ => None,
    };
    let there = run.model.live.get(&key).cloned();
    // A version that no caller got cannot be asked for.
    let version = there.as_ref().map_or(1, |(_, lsn)| *lsn);
    let choice = run.plan.random.below(if version == 0 { 2 } else { 4 });
    let choice = if early.is_some() { 0 } else { choice };
    let version = version + u64::from(choice == 3);
    let is_met = match choice {
        0 => there.is_none(),
        1 => there.is_some(),
        2 => there.is_some(),
        _ => false,
    };
    if is_met {
        run.model.begin(vec![change]);
    }
    let outcome = match (db.key_kind(), choice) {
        // What was found then decides.
        (KeyKind::Bytes, _) if early == Some(true) => db.put(&key, value).map(Outcome::Written),
        (_, _) if early == Some(true) => db.put(number(&key), value).map(Outcome::Written),
        (KeyKind::Bytes, 0) => db.insert(&key, value),
        (KeyKind::Bytes, 1) => db.update(&key, value),
        (KeyKind::Bytes, _) => db.put_if_version(&key, value, version),
        (_, 0) => db.insert(number(&key), value),
        (_, 1) => db.update(number(&key), value),
        (_, _) => db.put_if_version(number(&key), value, version),
    };
    match (outcome, is_met) {
        (Ok(Outcome::Written(commit)), true) => {
            Ok(run.model.acknowledge(commit.lsn, commit.is_durable)?)
        }
        (Ok(Outcome::Refused(refusal)), false) => {
            let found = refusal.found.map(|found| found.bytes().to_vec());
            match found == there.map(|(value, _)| value) {
                true => Ok(()),
                false => Err(Violation(format!("a refusal tells of another {key:?}")).into()),
            }
        }
        (Err(error), _) if error.kind() == ErrorKind::NoSpace => refused(run, is_met),
        (Err(error), _) => Err(error.into()),
        (Ok(outcome), _) => {
            let text = format!("key {key:?}, condition {choice}, met: {is_met}, but {outcome:?}");
            Err(Violation(text).into())
        }
    }
}

/// A change of a counter, or of what is none.
pub(super) fn count(run: &mut Run, db: &Db<Memory>) -> Done {
    let key = run.key();
    let by = 1 + run.plan.random.below(9).cast_signed();
    let there = run.model.live.get(&key).map(|(value, _)| value);
    let before = there.map(|value| UArrRef::open(value).ok().and_then(|value| value.as_i64()));
    let after = before.unwrap_or(Some(0)).map(|before| before + by);
    if let Some(after) = after {
        run.model.begin(vec![Change::put(key.clone(), uarr!(after).to_vec())]);
    }
    let counted = match db.key_kind() {
        KeyKind::Bytes => db.increment(&key, by),
        _ => db.increment(number(&key), by),
    };
    if run.plan.lacks == Some(Lacks::CountingOnce) && run.plan.random.below(2) == 0 {
        // It may fail as others do.
        let _ = match db.key_kind() {
            KeyKind::Bytes => db.increment(&key, by),
            _ => db.increment(number(&key), by),
        };
    }
    match (counted, after) {
        (Ok(Count { value, commit: Some(commit), .. }), Some(after)) if value == after => {
            Ok(run.model.acknowledge(commit.lsn, commit.is_durable)?)
        }
        (Err(error), _) if error.kind() == ErrorKind::NoSpace => refused(run, after.is_some()),
        (Err(error), None) if error.kind() == ErrorKind::WrongValue => Ok(()),
        (Err(error), _) => Err(error.into()),
        (Ok(count), _) => {
            Err(Violation(format!("key {key:?} is {before:?}, by {by}: {count:?}")).into())
        }
    }
}

/// There was no room for a write that was begun.
fn refused(run: &mut Run, is_begun: bool) -> Done {
    if is_begun {
        run.model.refuse();
    }
    Ok(())
}
