//! A table whose options change, beside the one that is dropped: what it was told to be it is, for
//! handles from before too, and after each death.

use std::collections::BTreeMap;

use uarr::{Db, ErrorKind, Expiry};
use uarr_disk_sim::Memory;

use super::model::Done;
use super::options::{Like, Put};
use super::run::Run;
use super::tables::Handles;
use crate::violation::Violation;

/// Name of the table.
const NAME: &str = "options";
/// Keys that are written there.
const KEY_COUNT: u64 = 4;
const DAY_MS: u64 = 86_400_000;

/// At the beginning of a life: checks what is there, and has the table made if it is not.
pub(super) fn make(run: &mut Run, handles: &Handles) -> Done {
    run.clock.look(&run.disk);
    let found = handles.db.tables().into_iter().collect::<uarr::Result<Vec<_>>>()?;
    if let Some(found) = found.iter().find(|table| table.name == NAME) {
        let expires_in_ms = match found.expiry {
            Expiry::In(time) => time.as_millis() as u64,
            _ => 0,
        };
        let like = Like { expires_in_ms, is_durable: found.durable };
        let (told, perhaps) = (run.altered.like, run.altered.perhaps);
        // It is made with the options that all tables have.
        if like != told.unwrap_or_default() && Some(like) != perhaps {
            let text = format!("a table is {like:?}, not {told:?}, or perhaps {perhaps:?}");
            return Err(Violation(text).into());
        }
        (run.altered.like, run.altered.perhaps) = (Some(like), None);
    } else if run.altered.like.is_some() {
        return Err(Violation("a table is lost whose options change".into()).into());
    }
    let table = handles.db.table(NAME)?;
    run.altered.like.get_or_insert_default();
    check(run, &table)?;
    handles.set_altered((*table).clone());
    Ok(())
}

/// Changes the options of the table, and puts a record through a handle from before.
pub(super) fn alter(run: &mut Run, handles: &Handles) -> Done {
    if !run.plan.uses_table {
        return Ok(());
    }
    let expires_in_ms = [0, 50, 5000, DAY_MS][run.below(4) as usize];
    let like = Like { expires_in_ms, is_durable: run.below(2) == 0 };
    run.altered.perhaps = Some(like);
    match handles.db.alter_table(NAME, like.asked()) {
        Ok(Some(_)) => (run.altered.like, run.altered.perhaps) = (Some(like), None),
        Ok(None) => return Err(Violation("a table is not there to be altered".into()).into()),
        Err(error) if error.kind() == ErrorKind::NoSpace => run.altered.perhaps = None,
        Err(error) => return Err(error.into()),
    }
    put(run, handles.altered())
}

/// A record whose writer does not say when it expires.
fn put(run: &mut Run, table: &Db<Memory>) -> Done {
    let like = run.altered.like.unwrap_or_default();
    let (key, number) = (run.below(KEY_COUNT), run.altered.puts.len() as u64);
    let earliest = run.clock.earliest();
    let expires_ms = match like.expires_in_ms {
        0 => (0, 0),
        ms => (earliest + ms, u64::MAX),
    };
    run.altered.puts.insert(number, Put { key, expires_ms });
    let commit = match table.put(key, number.to_le_bytes()) {
        Ok(commit) => commit,
        Err(error) if error.kind() == ErrorKind::NoSpace => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if like.is_durable && !commit.is_durable {
        return Err(Violation("a receipt does not say durable, as its table does".into()).into());
    }
    if commit.is_durable {
        run.altered.durable.insert(key, number);
    }
    run.clock.look(&run.disk);
    if like.expires_in_ms > 0 {
        let expires_ms = (earliest + like.expires_in_ms, run.clock.latest() + like.expires_in_ms);
        run.altered.puts.insert(number, Put { key, expires_ms });
    }
    check(run, table)
}

/// What is found in the table was put there, and expires when it should; and what is durable is
/// found, or something later, or has expired.
fn check(run: &mut Run, table: &Db<Memory>) -> Done {
    run.clock.look(&run.disk);
    let mut found = BTreeMap::new();
    for record in table.iter() {
        let record = record?;
        let number = record.bytes().try_into().map(u64::from_le_bytes);
        let (key, expiry) = (record.key_ref().as_u64(), record.expiry());
        let put = number.ok().and_then(|number| run.altered.puts.get(&number));
        let at_ms = match expiry {
            Expiry::At(time) => {
                let since = time.duration_since(std::time::UNIX_EPOCH);
                since.map_or(0, |since| since.as_millis() as u64)
            }
            _ => 0,
        };
        let fits = put.is_some_and(|put| {
            let (first, last) = put.expires_ms;
            Some(put.key) == key && (first..=last).contains(&at_ms)
        });
        if !fits {
            let text = format!("record {key:?} = {number:?} that expires at {at_ms} is {put:?}");
            return Err(Violation(text).into());
        }
        found.insert(key, number.ok());
    }
    run.clock.look(&run.disk);
    let latest = run.clock.latest();
    for (key, durable) in &run.altered.durable {
        if let Some(found) = found.get(&Some(*key)) {
            if *found >= Some(*durable) {
                continue;
            }
            let text = format!("key {key} is back at {found:?}, behind {durable}");
            return Err(Violation(text).into());
        }
        let of_key = |put: &Put| put.key == *key;
        let may_be_over = |put: &Put| put.expires_ms.0 != 0 && put.expires_ms.0 <= latest;
        let mut later = run.altered.puts.range(durable..).map(|(_, put)| put);
        if !later.any(|put| of_key(put) && may_be_over(put)) {
            return Err(Violation(format!("key {key} is lost: {durable} was durable")).into());
        }
    }
    Ok(())
}
