//! `uarr expiry`: when a record expires, shown or changed.

use std::time::SystemTime;

use serde_json::json;
use uarr::Expiry;

use crate::args::{ExpiryArgs, Global};
use crate::exit::Exit;
use crate::failure::Result;
use crate::get::missing_key;
use crate::key::Key;
use crate::open::Absent;
use crate::output::Output;
use crate::write::close;

/// Runs the command.
pub fn run(global: &Global, args: &ExpiryArgs, out: &mut Output) -> Result<Exit> {
    let db = global.open_records(Absent::Refuse)?;
    let key = Key::parse(&args.key, db.key_kind())?;
    let changes = args.never || args.ttl.is_some();
    if changes && db.touch(&key, args.ttl.map_or(Expiry::Never, Expiry::In))?.is_none() {
        return Err(missing_key(&key).into());
    }
    let expiry = db.expiry(&key)?.ok_or_else(|| missing_key(&key))?;
    if changes {
        close(db, "changed")?;
    }
    let at = shown(expiry);
    out.result(&json!({ "key": key.show().to_json(), "expires": at }), text(at.as_deref()))?;
    Ok(Exit::Done)
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

fn text(at: Option<&str>) -> String {
    format!("{}\n", at.unwrap_or("never"))
}

/// What can be written as a date ends there.
const YEAR_10_000: std::time::Duration = std::time::Duration::from_secs(253_402_300_800);
