//! `uarr scan`: records in key order, one line each; `uarr count`: how many there are.

use std::ffi::OsString;
use std::io::Write;
use std::ops::Bound;

use serde_json::json;
use uarr::{KeyKind, OwnedRecord};
use uarr_layout::uarr::UArrRef;

use crate::args::{Count, Global, Keys, Scan};
use crate::condition::Condition;
use crate::exit::Exit;
use crate::failure::{Failure, Result, output};
use crate::field::Tracked;
use crate::key::{Key, ShownKey};
use crate::output::{Form, Output, warn};
use crate::reader::{Reader, Records};
use crate::signals;
use crate::value::write_value;

/// Runs the command.
pub fn run(global: &Global, args: &Scan, out: &mut Output) -> Result<Exit> {
    let db = global.read_records()?;
    let kind = db.key_kind();
    let limit = args.limit.unwrap_or(u64::MAX);
    let mut range = records(&db, &args.keys)?;
    let mut next = || if args.reverse { range.next_back() } else { range.next() };
    let mut wanted = Wanted::new(args);
    let mut count = 0;
    while count < limit
        && let Some(record) = next()
    {
        signals::check()?;
        let record = record?;
        if !wanted.accepts(&record) {
            continue;
        }
        count += 1;
        if !args.count {
            write_line(out, args, &mut wanted, &record, kind)?;
        }
    }
    if args.count {
        out.result(&json!({ "count": count }), format_args!("{count}\n"))?;
    }
    for path in wanted.paths.iter().chain(wanted.fields.iter()) {
        if let Some(warning) = path.warning() {
            warn(out.form, &warning);
        }
    }
    Ok(Exit::Done)
}

/// Which records a scan prints, and what of them.
struct Wanted<'a> {
    conditions: &'a [Condition],
    /// Where the conditions look.
    paths: Vec<Tracked>,
    fields: Vec<Tracked>,
}

impl<'a> Wanted<'a> {
    fn new(args: &'a Scan) -> Self {
        let paths = args.conditions.iter().map(|condition| Tracked::new(&condition.path));
        let fields = args.fields.iter().map(|path| Tracked::new(path));
        Self { conditions: &args.conditions, paths: paths.collect(), fields: fields.collect() }
    }

    /// Whether all conditions hold; a record without the field meets none.
    fn accepts(&mut self, record: &OwnedRecord) -> bool {
        if self.conditions.is_empty() {
            return true;
        }
        let Ok(value) = UArrRef::validate(record.bytes()) else { return false };
        let mut checks = self.conditions.iter().zip(&mut self.paths);
        checks
            .all(|(condition, path)| path.find(&value).is_some_and(|field| condition.holds(&field)))
    }

    /// Writes the fields that the record has as an object, each under its path.
    fn write_fields(&mut self, out: &mut impl Write, value: &[u8]) -> Result<()> {
        let closed = |error: std::io::Error| output(&error);
        let record = UArrRef::validate(value).ok();
        let mut before = b"{".as_slice();
        for path in &mut self.fields {
            let Some(field) = record.and_then(|record| path.find(&record)) else { continue };
            out.write_all(before).map_err(closed)?;
            before = b",";
            let name = serde_json::Value::from(path.path.as_str());
            write!(out, "{name}:").map_err(closed)?;
            field.write_json(out)?;
        }
        out.write_all(if before == b"{" { b"{}" } else { b"}" }).map_err(closed)
    }
}

/// Runs `count`.
pub fn count(global: &Global, args: &Count, out: &mut Output) -> Result<Exit> {
    let db = global.read_records()?;
    let mut count = 0_u64;
    for record in records(&db, &args.keys)? {
        signals::check()?;
        record?;
        count += 1;
    }
    out.result(&json!({ "count": count }), format_args!("{count}\n"))?;
    Ok(Exit::Done)
}

/// The records with these keys.
pub fn records(db: &Reader, args: &Keys) -> Result<Records> {
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

fn write_line(
    out: &mut Output,
    args: &Scan,
    wanted: &mut Wanted<'_>,
    record: &OwnedRecord,
    kind: KeyKind,
) -> Result<()> {
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
        match wanted.fields.is_empty() {
            true => write_value(stdout, record.bytes())?,
            false => wanted.write_fields(stdout, record.bytes())?,
        }
    }
    stdout.write_all(b"}\n").map_err(closed)
}
