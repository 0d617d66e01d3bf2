//! `uarr get`: records, or a field of each, as JSON; or the bytes of one value.

use std::io::Write;

use uarr::{Db, Record};
use uarr_layout::uarr::UArrRef;

use crate::args::{Get, Global};
use crate::exit::Exit;
use crate::failure::{Failure, Result, Stop, output};
use crate::field::{find_field, whereabouts};
use crate::key::{Key, ShownKey};
use crate::open::Absent;
use crate::output::{Form, Output};
use crate::value::write_value;

/// Runs the command.
pub fn run(global: &Global, args: &Get, out: &mut Output) -> Result<Exit> {
    if args.raw && out.form == Form::Json {
        return Err(Failure::usage("--raw prints bytes that are no JSON: leave out --json").into());
    }
    if args.raw && args.keys.len() > 1 {
        return Err(Failure::usage("--raw takes one key: no byte would tell values apart").into());
    }
    let db = global.open_records(Absent::Refuse)?;
    let keys: Result<Vec<_>, _> =
        args.keys.iter().map(|key| Key::parse(key, db.key_kind())).collect();
    match keys?.as_slice() {
        [key] => one(&db, key, args, out)?,
        keys => several(&db, keys, args, out)?,
    }
    Ok(Exit::Done)
}

fn one(db: &Db, key: &Key, args: &Get, out: &mut Output) -> Result<()> {
    let record = db.get(key)?.ok_or_else(|| missing_key(key))?;
    if args.raw {
        return out.stdout.write_all(record.bytes()).map_err(|error| output(&error));
    }
    write(out, &record, args.field.as_deref())?;
    writeln!(out.stdout).map_err(|error| output(&error))
}

/// Prints all that are there, each on a line with its key, before it fails for those that are not.
fn several(db: &Db, keys: &[Key], args: &Get, out: &mut Output) -> Result<()> {
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

fn line(db: &Db, key: &Key, args: &Get, out: &mut Output) -> Result<()> {
    let record = db.get(key)?.ok_or_else(|| missing_key(key))?;
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
fn write(out: &mut Output, record: &Record<'_>, path: Option<&str>) -> Result<()> {
    match path {
        None => write_value(&mut out.stdout, record.bytes()),
        Some(path) => Ok(field(record, path)?.write_json(&mut out.stdout)?),
    }
}

fn field<'r>(record: &'r Record<'_>, path: &str) -> Result<UArrRef<'r>> {
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

/// The failure of a key that is not there.
pub fn missing_key(key: &Key) -> Failure {
    Failure::missing("key_not_found", format!("there is no record with key '{}'", key.show()))
}
