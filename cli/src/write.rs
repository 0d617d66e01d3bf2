//! `uarr put` and `uarr del`: one durable change.

use std::os::unix::ffi::OsStrExt;

use serde_json::json;
use uarr::{Db, KeyKind};
use uarr_layout::uarr::from_json;

use crate::args::{Del, Global, Put};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::get::missing_key;
use crate::key::Key;
use crate::open::Absent;
use crate::output::Output;
use crate::value::{JSON_BYTES_MAX, no_json, read_json, strip_mark};

/// Runs `put`. It checks the input before it creates a database.
pub fn put(global: &Global, args: &Put, out: &mut Output) -> Result<Exit> {
    Key::parse(&args.key, global.key_kind.map_or(KeyKind::Bytes, KeyKind::from))?;
    let text = match args.value.as_bytes() {
        b"-" => read_json(std::io::stdin().lock(), "standard input")?,
        text => strip_mark(text).to_vec(),
    };
    assert!(text.len() <= JSON_BYTES_MAX, "the kernel limits arguments to far less");
    let record = from_json(&text).map_err(|error| no_json(&error))?;
    let db = global.open(Absent::Create)?;
    let key = Key::parse(&args.key, db.key_kind())?;
    let commit = db.put(&key, record.as_bytes())?;
    close(db, "stored")?;
    out.result(&json!({ "key": key.show().to_json(), "lsn": commit.lsn }), "")?;
    Ok(Exit::Done)
}

/// Runs `del`.
pub fn delete(global: &Global, args: &Del, out: &mut Output) -> Result<Exit> {
    let db = global.open(Absent::Refuse)?;
    let key = Key::parse(&args.key, db.key_kind())?;
    if !db.contains(&key)? {
        return Err(missing_key(&key).into());
    }
    let commit = db.delete(&key)?;
    close(db, "removed")?;
    out.result(&json!({ "key": key.show().to_json(), "lsn": commit.lsn }), "")?;
    Ok(Exit::Done)
}

/// Closes the database after a durable change.
fn close(db: Db, done: &str) -> Result<()> {
    let done = format!("the record is {done} and that is durable");
    Ok(db.close().map_err(|error| Failure::closing(&done, &error))?)
}
