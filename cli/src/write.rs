//! `uarr put`, `uarr del` and `uarr incr`: one durable change.

use std::os::unix::ffi::OsStrExt;

use serde_json::json;
use uarr::{Commit, Count, Db, Expiry, Increment, KeyKind, Outcome, Refusal};
use uarr_layout::uarr::from_json;

use crate::args::{Del, Global, Incr, Put};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::get::missing_key;
use crate::key::{Key, ShownKey};
use crate::open::Absent;
use crate::output::Output;
use crate::value::{JSON_BYTES_MAX, Timed, no_json, read_json, strip_mark};

/// Shells take the quotes away that JSON needs, `uarr shell` too.
const QUOTES: &str = r#"; JSON goes in single quotes: '{"a":1}', a text too: '"a"'"#;

/// Runs `put`. It checks the input before it creates a database.
pub fn put(global: &Global, args: &Put, out: &mut Output) -> Result<Exit> {
    Key::parse(&args.key, global.key_kind.map_or(KeyKind::Bytes, KeyKind::from))?;
    let (text, quotes) = match args.value.as_bytes() {
        b"-" => (read_json(std::io::stdin().lock(), "standard input")?, ""),
        text => (strip_mark(text).to_vec(), QUOTES),
    };
    assert!(text.len() <= JSON_BYTES_MAX, "the kernel limits arguments to far less");
    let record = from_json(&text).map_err(|error| {
        let failure = no_json(&error);
        Failure { message: failure.message + quotes, ..failure }
    })?;
    let db = global.open_records(Absent::Create)?;
    let (key, commit) = global.or_take_back(&db, || {
        let key = Key::parse(&args.key, db.key_kind())?;
        let commit = store(&db, &key, record.as_bytes(), args)?;
        Ok((key, commit))
    })?;
    let shown = key.show(db.key_kind());
    close(global, db, "stored")?;
    out.result(&json!({ "key": shown.to_json(), "lsn": commit.lsn }), "")?;
    Ok(Exit::Done)
}

/// Puts `value`, if the condition is met that `args` may have.
fn store(db: &Db, key: &Key, value: &[u8], args: &Put) -> Result<Commit> {
    let value = Timed { bytes: value, expiry: args.ttl.map(Expiry::In) };
    let outcome = match (args.if_absent, args.if_version) {
        (true, _) => db.insert(key, value)?,
        (false, Some(version)) => db.put_if_version(key, value, version)?,
        (false, None) => Outcome::Written(db.put(key, value)?),
    };
    match outcome {
        Outcome::Written(commit) => Ok(commit),
        Outcome::Refused(refusal) => Err(refused(&key.show(db.key_kind()), &refusal).into()),
    }
}

/// The failure of a condition.
fn refused(key: &ShownKey, refusal: &Refusal<'_>) -> Failure {
    let found = match &refusal.found {
        Some(found) => format!("there is a record with version {}", found.version()),
        None => "there is no record".to_owned(),
    };
    let message =
        format!("nothing was stored for key '{key}': {found}; without the condition it would be");
    Failure::missing("condition_failed", message)
}

/// Runs `incr`.
pub fn increment(global: &Global, args: &Incr, out: &mut Output) -> Result<Exit> {
    Key::parse(&args.key, global.key_kind.map_or(KeyKind::Bytes, KeyKind::from))?;
    let db = global.open_records(Absent::Create)?;
    let (key, Count { value, commit, .. }) = global.or_take_back(&db, || count(&db, args))?;
    let shown = key.show(db.key_kind());
    close(global, db, "counted")?;
    let lsn = commit.map(|commit| commit.lsn);
    let json = json!({ "key": shown.to_json(), "value": value, "lsn": lsn });
    out.result(&json, format_args!("{value}\n"))?;
    Ok(Exit::Done)
}

/// Adds to the counter that `args` name.
fn count(db: &Db, args: &Incr) -> Result<(Key, Count)> {
    let key = Key::parse(&args.key, db.key_kind())?;
    let mut by = Increment::by(args.by).initial(args.initial);
    if let Some(ttl) = args.ttl {
        by = by.expiring(Expiry::In(ttl));
    }
    let by = by.min(args.min.unwrap_or(i64::MIN)).max(args.max.unwrap_or(i64::MAX));
    let count = db.increment(&key, by)?;
    if count.commit.is_none() {
        let message = format!(
            "the counter '{}' stays {}: adding {} leads out of its bounds; change --min or --max",
            key.show(db.key_kind()),
            count.value,
            args.by
        );
        return Err(Failure::missing("condition_failed", message).into());
    }
    Ok((key, count))
}

/// Runs `del`.
pub fn delete(global: &Global, args: &Del, out: &mut Output) -> Result<Exit> {
    let db = global.open_records(Absent::Refuse)?;
    let key = Key::parse(&args.key, db.key_kind())?;
    if !db.contains(&key)? {
        return Err(missing_key(&key, db.key_kind()).into());
    }
    let commit = db.delete(&key)?;
    let shown = key.show(db.key_kind());
    close(global, db, "removed")?;
    out.result(&json!({ "key": shown.to_json(), "lsn": commit.lsn }), "")?;
    Ok(Exit::Done)
}

/// Closes the database after a durable change.
pub fn close(global: &Global, db: Db, done: &str) -> Result<()> {
    let done = format!("the record is {done} and that is durable");
    Ok(global.close(db).map_err(|error| Failure::closing(&done, &error))?)
}
