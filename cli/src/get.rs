//! `uarr get`: one record, or one field of it, as JSON.

use std::io::Write;

use uarr_layout::uarr::UArrRef;

use crate::args::{Get, Global};
use crate::exit::Exit;
use crate::failure::{Failure, Result, output};
use crate::key::Key;
use crate::open::Absent;
use crate::output::Output;
use crate::value::{find_field, write_value};

/// Runs the command.
pub fn run(global: &Global, args: &Get, out: &mut Output) -> Result<Exit> {
    let db = global.open(Absent::Refuse)?;
    let key = Key::parse(&args.key, db.key_kind())?;
    let record = db.get(&key)?.ok_or_else(|| missing_key(&key))?;
    match &args.field {
        None => write_value(&mut out.stdout, record.bytes())?,
        Some(path) => write_field(out, record.bytes(), path)?,
    }
    writeln!(out.stdout).map_err(|error| output(&error))?;
    Ok(Exit::Done)
}

fn write_field(out: &mut Output, value: &[u8], path: &str) -> Result<()> {
    let missing = |why: String| Failure::missing("field_not_found", why);
    let record = UArrRef::validate(value).map_err(|_| {
        missing("the value is plain bytes, it has no fields; leave out --field".into())
    })?;
    let field = find_field(&record, path)
        .ok_or_else(|| missing(format!("the record has no field '{path}'")))?;
    Ok(field.write_json(&mut out.stdout)?)
}

/// The failure of a key that is not there.
pub fn missing_key(key: &Key) -> Failure {
    Failure::missing("key_not_found", format!("there is no record with key '{}'", key.show()))
}
