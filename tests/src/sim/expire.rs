//! Records that expire: put, read and written again while time goes on.

use uarr::{Db, ErrorKind, Expires, Expiry, KeyKind, Outcome};
use uarr_disk_sim::Memory;

use super::clock::{Bounds, EXPIRING_COUNT, Presence, expires_ms, key_of};
use super::model::{Change, Done, get, number};
use super::run::Run;
use super::write::{time, write};
use crate::violation::Violation;

/// Something that has to do with time.
pub(super) fn expire(run: &mut Run, db: &Db<Memory>) -> Done {
    run.clock.look(&run.disk);
    match run.plan.random.below(8) {
        0..3 => put(run, db),
        3 => {
            let key = key(run);
            write(run, db, vec![Change::delete(key)])
        }
        4 => insert(run, db),
        5 => {
            let ms = run.plan.random.below(4000);
            run.clock.advance(&run.disk, ms);
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
    let soon = run.plan.random.below(3000);
    let expires_ms = match run.plan.random.below(8) {
        0 => 0,
        1 => run.clock.earliest().max(1),
        2 => run.clock.latest() + 86_400_000,
        _ => run.clock.latest() + soon,
    };
    let filler = run.filler();
    Change::put(key, [&expires_ms.to_le_bytes()[..], &filler].concat())
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
    let expiry = if expires_ms == 0 { Expiry::Never } else { Expiry::At(time(expires_ms)) };
    let inserted = match db.key_kind() {
        KeyKind::Bytes => db.insert(&key, value.expiring(expiry)),
        _ => db.insert(number(&key), value.expiring(expiry)),
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

fn read(run: &mut Run, db: &Db<Memory>) -> Done {
    let key = key(run);
    let before = run.clock;
    let found = get(db, &key)?.map(|record| record.bytes().to_vec());
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
    if found.is_none()
        && run.model.was_there(&key)
        && let Some(value) = value
    {
        run.clock.note_gone(expires_ms(&key, value));
    }
    Ok(())
}

/// Whether a call finds the record of `key` that began when the clock was as in `before`.
fn presence(run: &Run, before: &Bounds, key: &[u8]) -> Presence {
    let value = run.model.live.get(key).map(|(value, _)| value);
    value.map_or(Presence::Gone, |value| before.until(&run.clock).judge(key, value))
}
