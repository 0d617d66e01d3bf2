//! `uarr expiry`: when a record expires, shown or changed.

use std::time::{Duration, SystemTime};

use serde_json::json;
use uarr::{Expiry, KeyKind};

use crate::args::{ExpiryArgs, Global};
use crate::exit::Exit;
use crate::failure::Result;
use crate::get::{look_up, missing_key};
use crate::key::Key;
use crate::open::Absent;
use crate::output::Output;
use crate::write::close;

/// Runs the command.
pub fn run(global: &Global, args: &ExpiryArgs, out: &mut Output) -> Result<Exit> {
    let changes = args.never || args.ttl.is_some();
    let (key, kind, expiry) = if changes { change(global, args)? } else { look(global, args)? };
    let at = shown(expiry.ok_or_else(|| missing_key(&key, kind))?);
    let json = json!({ "key": key.show(kind).to_json(), "expires": at });
    out.result(&json, text(at.as_deref()))?;
    Ok(Exit::Done)
}

/// The key, its kind, and when its record expires, if there is one.
type Found = (Key, KeyKind, Option<Expiry>);

fn look(global: &Global, args: &ExpiryArgs) -> Result<Found> {
    let (key, kind, record) = look_up(global, &args.key)?;
    Ok((key, kind, record.map(|record| record.expiry())))
}

fn change(global: &Global, args: &ExpiryArgs) -> Result<Found> {
    let db = global.open_records(Absent::Refuse)?;
    let kind = db.key_kind();
    let key = Key::parse(&args.key, kind)?;
    if db.touch(&key, args.ttl.map_or(Expiry::Never, Expiry::In))?.is_none() {
        return Ok((key, kind, None));
    }
    let expiry = db.expiry(&key)?;
    close(global, db, "changed")?;
    Ok((key, kind, expiry))
}

/// The time as text; `None`: never.
pub fn shown(expiry: Expiry) -> Option<String> {
    match expiry {
        Expiry::At(time) if time < SystemTime::UNIX_EPOCH + YEAR_10_000 => {
            Some(humantime::format_rfc3339_millis(time).to_string())
        }
        Expiry::At(_) | Expiry::In(_) | Expiry::Never => None,
    }
}

/// The moment so many ms behind 1970, as the format has it, as text; `None`: never.
pub fn shown_ms(expires_ms: u64) -> Option<String> {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(expires_ms));
    let date = time.and_then(|time| shown(Expiry::At(time)));
    (expires_ms != 0).then(|| date.unwrap_or_else(|| format!("{expires_ms} ms behind 1970")))
}

fn text(at: Option<&str>) -> String {
    format!("{}\n", at.unwrap_or("never"))
}

/// What can be written as a date ends there.
const YEAR_10_000: Duration = Duration::from_secs(253_402_300_800);
