//! `uarr get`: records, or a field of each, as JSON; or the bytes of one value.

use std::ffi::OsStr;
use std::io::Write;

use uarr::{KeyKind, OwnedRecord};
use uarr_layout::uarr::UArrRef;

use crate::args::{Get, Global};
use crate::exit::Exit;
use crate::failure::{Failure, OVERTAKEN, Result, Stop, output};
use crate::field::{find_field, whereabouts};
use crate::key::{Key, ShownKey};
use crate::output::{Form, Output};
use crate::reader::Reader;
use crate::value::write_value;

/// So often a look-up begins again that a writer has overtaken.
const ATTEMPT_COUNT_MAX: u32 = 20;

/// Runs the command.
pub fn run(global: &Global, args: &Get, out: &mut Output) -> Result<Exit> {
    if args.raw && out.form == Form::Json {
        return Err(Failure::usage("--raw prints bytes that are no JSON: leave out --json").into());
    }
    if args.raw && args.keys.len() > 1 {
        return Err(Failure::usage("--raw takes one key: no byte would tell values apart").into());
    }
    match args.keys.as_slice() {
        [key] => {
            let (key, kind, record) = look_up(global, key)?;
            one(&record.ok_or_else(|| missing_key(&key, kind))?, args, out)?;
        }
        _ => {
            let db = global.read_records()?;
            let keys: Result<Vec<_>, _> =
                args.keys.iter().map(|key| Key::parse(key, db.key_kind())).collect();
            several(&db, &keys?, args, out)?;
        }
    }
    Ok(Exit::Done)
}

/// The key that `text` says, its kind, and its record, for commands that read this one alone.
pub fn look_up(global: &Global, text: &OsStr) -> Result<(Key, KeyKind, Option<OwnedRecord>)> {
    let find = || -> Result<_> {
        let db = global.read_records()?;
        let key = Key::parse(text, db.key_kind())?;
        let record = db.get_alone(&key)?;
        Ok((key, db.key_kind(), record))
    };
    let mut found = find();
    for _ in 1..ATTEMPT_COUNT_MAX {
        match &found {
            Err(Stop::Failure(failure)) if failure.kind == OVERTAKEN => found = find(),
            _ => break,
        }
    }
    found
}

fn one(record: &OwnedRecord, args: &Get, out: &mut Output) -> Result<()> {
    if args.raw {
        return out.stdout.write_all(record.bytes()).map_err(|error| output(&error));
    }
    write(out, record, args.field.as_deref())?;
    writeln!(out.stdout).map_err(|error| output(&error))
}

/// Prints all that are there, each on a line with its key, before it fails for those that are not.
fn several(db: &Reader, keys: &[Key], args: &Get, out: &mut Output) -> Result<()> {
    let mut failed = Vec::new();
    for key in keys {
        match line(db, key, args, out) {
            Err(Stop::Failure(failure)) if failure.exit == Exit::Missing => failed.push(failure),
            ended => ended?,
        }
    }
    match failed.len() {
        0 => Ok(()),
        1 => Err(Stop::Failure(failed.remove(0))),
        count => {
            let mut failure = failed.remove(0);
            failure.message += &format!("; {} others of {} lack too", count - 1, keys.len());
            Err(Stop::Failure(failure))
        }
    }
}

fn line(db: &Reader, key: &Key, args: &Get, out: &mut Output) -> Result<()> {
    let record = db.get(key)?.ok_or_else(|| missing_key(key, db.key_kind()))?;
    // A field that is not there must not leave half a line.
    if let Some(path) = &args.field {
        field(&record, path)?;
    }
    let closed = |error| output(&error);
    out.stdout.write_all(b"{\"key\":").map_err(closed)?;
    ShownKey::of_record(&record, db.key_kind()).write_json(&mut out.stdout).map_err(closed)?;
    out.stdout.write_all(b",\"value\":").map_err(closed)?;
    write(out, &record, args.field.as_deref())?;
    out.stdout.write_all(b"}\n").map_err(closed)
}

/// Writes the value, or a field of it.
fn write(out: &mut Output, record: &OwnedRecord, path: Option<&str>) -> Result<()> {
    match path {
        None => write_value(&mut out.stdout, record.bytes()),
        Some(path) => Ok(field(record, path)?.write_json(&mut out.stdout)?),
    }
}

fn field<'r>(record: &'r OwnedRecord, path: &str) -> Result<UArrRef<'r>> {
    let missing = |why: String| Failure::missing("field_not_found", why);
    let value = UArrRef::validate(record.bytes()).map_err(|_| {
        missing("the value is plain bytes, it has no fields; leave out --field".into())
    })?;
    let found = find_field(&value, path).ok_or_else(|| {
        let whereabouts = whereabouts(&value, path);
        missing(format!("the record has no field '{path}'{whereabouts}"))
    })?;
    Ok(found)
}

/// The failure of a key that is not there, in a table of this kind.
pub fn missing_key(key: &Key, kind: KeyKind) -> Failure {
    let message = format!("there is no record with key '{}'", key.show(kind));
    Failure::missing("key_not_found", message)
}
