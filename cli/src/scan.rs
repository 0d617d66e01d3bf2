//! `uarr scan`: records in key order, one line each; `uarr count`: how many there are.

use std::ffi::OsString;
use std::io::Write;
use std::ops::Bound;

use serde_json::json;
use uarr::{Db, KeyKind, Range, Record};

use crate::args::{Count, Global, Keys, Scan};
use crate::exit::Exit;
use crate::failure::{Failure, Result, output};
use crate::key::{Key, ShownKey};
use crate::open::Absent;
use crate::output::{Form, Output};
use crate::value::write_value;

/// Runs the command.
pub fn run(global: &Global, args: &Scan, out: &mut Output) -> Result<Exit> {
    let db = global.open(Absent::Refuse)?;
    let kind = db.key_kind();
    let limit = args.limit.unwrap_or(u64::MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let range = records(&db, &args.keys)?;
    let records: Box<dyn Iterator<Item = _>> =
        if args.reverse { Box::new(range.rev()) } else { Box::new(range) };
    for record in records.take(limit) {
        write_line(out, args, &record?, kind)?;
    }
    Ok(Exit::Done)
}

/// Runs `count`.
pub fn count(global: &Global, args: &Count, out: &mut Output) -> Result<Exit> {
    let db = global.open(Absent::Refuse)?;
    let counted =
        records(&db, &args.keys)?.try_fold(0_u64, |count, record| record.map(|_| count + 1));
    let count = counted?;
    out.result(&json!({ "count": count }), format_args!("{count}\n"))?;
    Ok(Exit::Done)
}

/// The records with these keys.
pub fn records<'db>(db: &'db Db, args: &Keys) -> Result<Range<'db>> {
    let kind = db.key_kind();
    Ok(match &args.prefix {
        Some(prefix) => match Key::parse_bound(prefix, kind)? {
            Key::Bytes(prefix) => db.prefix(prefix)?,
            _ => {
                let message = "--prefix is for byte tables; use --from and --to";
                return Err(Failure::usage(message).into());
            }
        },
        None => {
            let bound = |given: &Option<OsString>| {
                given.as_ref().map(|given| Key::parse_bound(given, kind)).transpose()
            };
            let low = bound(&args.from)?.map_or(Bound::Unbounded, Bound::Included);
            let high = bound(&args.to)?.map_or(Bound::Unbounded, Bound::Excluded);
            db.range((low, high))?
        }
    })
}

fn write_line(out: &mut Output, args: &Scan, record: &Record<'_>, kind: KeyKind) -> Result<()> {
    let key = ShownKey::of_record(record, kind);
    let stdout = &mut out.stdout;
    let closed = |error| output(&error);
    if args.keys_only && out.form == Form::Text {
        return writeln!(stdout, "{key}").map_err(closed);
    }
    stdout.write_all(b"{\"key\":").map_err(closed)?;
    key.write_json(stdout).map_err(closed)?;
    if !args.keys_only {
        stdout.write_all(b",\"value\":").map_err(closed)?;
        write_value(stdout, record.bytes())?;
    }
    stdout.write_all(b"}\n").map_err(closed)
}
