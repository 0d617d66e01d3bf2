//! Records that expire: put, read, touched and written again while time goes on.

use std::time::Duration;

use uarr::{AsKey, Commit, Db, ErrorKind, Expires, Expiry, KeyKind, Outcome};
use uarr_disk_sim::Memory;

use super::clock::{Bounds, EXPIRING_COUNT, Presence, bytes_of, expires_ms, key_of, seen, timed};
use super::model::{Change, Done, get, number};
use super::plan::Lacks;
use super::run::Run;
use super::write::{time, write};
use crate::violation::Violation;

/// Something that has to do with time.
pub(super) fn expire(run: &mut Run, db: &Db<Memory>) -> Done {
    run.clock.look(&run.disk);
    match run.plan.random.below(10) {
        0..3 => put(run, db),
        8 | 9 => touch(run, db),
        3 => {
            let key = key(run);
            write(run, db, vec![Change::delete(key)])
        }
        4 => insert(run, db),
        5 => {
            let ms = run.plan.random.below(4000);
            run.clock.advance(&run.disk, ms, |disk| disk.advance(Duration::from_millis(ms)));
            Ok(())
        }
        _ => read(run, db),
    }
}

fn key(run: &mut Run) -> Vec<u8> {
    key_of(run.plan.random.below(EXPIRING_COUNT), run.plan.kind != KeyKind::Bytes)
}

/// A record that never expires, or has expired, or will soon, or later.
fn change(run: &mut Run) -> Change {
    let key = key(run);
    let expires_ms = moment(run);
    let value = timed(&key, expires_ms, &run.filler());
    Change::put(key, value)
}

/// Never, over, soon or late.
fn moment(run: &mut Run) -> u64 {
    let soon = run.plan.random.below(3000);
    match run.plan.random.below(8) {
        0 => 0,
        1 => run.clock.earliest().max(1),
        2 => run.clock.latest() + 86_400_000,
        _ => run.clock.latest() + soon,
    }
}

fn expiry(expires_ms: u64) -> Expiry {
    if expires_ms == 0 { Expiry::Never } else { Expiry::At(time(expires_ms)) }
}

fn put(run: &mut Run, db: &Db<Memory>) -> Done {
    let change = change(run);
    let count = if run.plan.random.below(3) == 0 { 1 } else { 0 };
    let mut changes = vec![change];
    changes.extend((0..count).map(|_| run.put()));
    write(run, db, changes)
}

/// A put if there is no record, or one that has expired.
fn insert(run: &mut Run, db: &Db<Memory>) -> Done {
    let change = change(run);
    let (key, value) = (change.key.clone(), change.value.clone().unwrap_or_default());
    let before = run.clock;
    run.model.begin(vec![change]);
    let expires_ms = expires_ms(&key, &value);
    let value = bytes_of(&key, &value).expiring(expiry(expires_ms));
    let inserted = match db.key_kind() {
        KeyKind::Bytes => db.insert(&key, value),
        _ => db.insert(number(&key), value),
    };
    run.clock.look(&run.disk);
    let there = presence(run, &before, &key);
    match inserted {
        Ok(Outcome::Written(commit)) if there != Presence::There => {
            if expires_ms > 0 {
                run.clock.note_used(true);
            }
            Ok(run.model.acknowledge(commit.lsn, commit.is_durable)?)
        }
        Ok(Outcome::Refused(_)) if there != Presence::Gone => {
            run.model.refuse();
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NoSpace => {
            run.model.refuse();
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::Poisoned && !run.plan.hears_poison => {
            Ok(run.model.acknowledge_unheard()?)
        }
        Err(error) => Err(error.into()),
        Ok(outcome) => {
            let text = format!("key {key:?}, which is {there:?}, is inserted: {outcome:?}");
            Err(Violation(text).into())
        }
    }
}

/// Another time for a record, which keeps its value: alone, in a batch, or in a transaction.
fn touch(run: &mut Run, db: &Db<Memory>) -> Done {
    let (key, expires_ms) = (key(run), moment(run));
    let value = run.model.live.get(&key).map(|(value, _)| value.clone());
    let touched = value
        .as_ref()
        .map(|value| Change::put(key.clone(), timed(&key, expires_ms, bytes_of(&key, value))));
    let is_begun = touched.is_some();
    let before = run.clock;
    if let Some(touched) = touched {
        run.model.begin(vec![touched]);
    }
    // A touch that is lost leaves the time as it was.
    let there = if run.plan.lacks == Some(Lacks::Touch) { get(db, &key)? } else { None };
    let expiry = there.map_or_else(|| expiry(expires_ms), |record| record.expiry());
    let choice = run.plan.random.below(3);
    let done = match db.key_kind() {
        KeyKind::Bytes => touch_by(db, &key, expiry, choice),
        _ => touch_by(db, number(&key), expiry, choice),
    };
    run.clock.look(&run.disk);
    let there = presence(run, &before, &key);
    match done {
        Ok(Some(commit)) if there != Presence::Gone => {
            if expires_ms > 0 {
                run.clock.note_used(true);
            }
            Ok(run.model.acknowledge(commit.lsn, commit.is_durable)?)
        }
        Ok(None) if there != Presence::There => {
            note_gone(run, &key);
            refuse(run, is_begun)
        }
        Err(error) if error.kind() == ErrorKind::NoSpace => refuse(run, is_begun),
        Err(error) if error.kind() == ErrorKind::Poisoned && !run.plan.hears_poison && is_begun => {
            Ok(run.model.acknowledge_unheard()?)
        }
        Err(error) => Err(error.into()),
        Ok(commit) => {
            let text = format!("key {key:?}, which is {there:?}, is touched: {commit:?}");
            Err(Violation(text).into())
        }
    }
}

fn touch_by(
    db: &Db<Memory>,
    key: impl AsKey,
    expiry: Expiry,
    choice: u64,
) -> uarr::Result<Option<Commit>> {
    match choice {
        0 => db.touch(key, expiry),
        1 => Ok(db.batch().touch(key, expiry).commit_if()?.and_then(|outcome| outcome.commit())),
        _ => {
            let mut transaction = db.begin()?;
            transaction.touch(key, expiry)?;
            transaction.commit()
        }
    }
}

fn refuse(run: &mut Run, is_begun: bool) -> Done {
    if is_begun {
        run.model.refuse();
    }
    Ok(())
}

/// The record of `key` was not found: if it was there before, its time is over.
fn note_gone(run: &mut Run, key: &[u8]) {
    let value = run.model.live.get(key).map(|(value, _)| value);
    if let Some(value) = value.filter(|_| run.model.was_there(key)) {
        run.clock.note_gone(expires_ms(key, value));
    }
}

fn read(run: &mut Run, db: &Db<Memory>) -> Done {
    let key = key(run);
    let before = run.clock;
    let found = get(db, &key)?.map(|record| seen(&record));
    run.clock.look(&run.disk);
    let there = presence(run, &before, &key);
    let value = run.model.live.get(&key).map(|(value, _)| value);
    let is_right = match &found {
        Some(found) => there != Presence::Gone && Some(found) == value,
        None => there != Presence::There,
    };
    if !is_right {
        let text = format!("key {key:?} is {there:?}, but a get finds {:?}", found.is_some());
        return Err(Violation(text).into());
    }
    if found.is_none() {
        note_gone(run, &key);
    }
    Ok(())
}

/// Whether a call finds the record of `key` that began when the clock was as in `before`.
fn presence(run: &Run, before: &Bounds, key: &[u8]) -> Presence {
    let value = run.model.live.get(key).map(|(value, _)| value);
    value.map_or(Presence::Gone, |value| before.until(&run.clock).judge(key, value))
}
