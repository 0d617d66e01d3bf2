//! `uarr lease`: one owner of a key at a time, for scripts.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use serde_json::json;
use uarr::{Acquisition, Lease};

use crate::args::{Global, Lease as What};
use crate::exit::Exit;
use crate::expiry::shown;
use crate::failure::{Failure, Result};
use crate::get::look_up;
use crate::key::{Key, ShownKey};
use crate::open::Absent;
use crate::output::Output;
use crate::write::close;

/// Runs the command.
pub fn run(global: &Global, what: &What, out: &mut Output) -> Result<Exit> {
    match what {
        What::Acquire { key, owner, ttl } => acquire(global, (key, owner, *ttl), out),
        What::Renew { key, token, ttl } => renew(global, (key, *token, *ttl), out),
        What::Release { key, token } => release(global, key, *token, out),
        What::Show { key } => show(global, key, out),
    }
}

fn acquire(
    global: &Global,
    (key, owner, ttl): (&OsStr, &OsStr, Duration),
    out: &mut Output,
) -> Result<Exit> {
    let db = global.open_records(Absent::Create)?;
    let kind = db.key_kind();
    let (key, acquired) = global.or_take_back(&db, || {
        let key = Key::parse(key, kind)?;
        let acquired = db.acquire(&key, owner.as_bytes(), ttl)?;
        Ok((key, acquired))
    })?;
    match acquired {
        Acquisition::Granted(lease) => {
            close(global, db, "stored")?;
            print(&key.show(kind), &lease, out)
        }
        Acquisition::Held(lease) => Err(held(&key.show(kind), &lease).into()),
    }
}

fn renew(
    global: &Global,
    (key, token, ttl): (&OsStr, u64, Duration),
    out: &mut Output,
) -> Result<Exit> {
    let db = global.open_records(Absent::Refuse)?;
    let kind = db.key_kind();
    let key = Key::parse(key, kind)?;
    let lease = db.renew(&key, token, ttl)?.ok_or_else(|| ended(&key.show(kind)))?;
    close(global, db, "stored")?;
    print(&key.show(kind), &lease, out)
}

fn release(global: &Global, key: &OsStr, token: u64, out: &mut Output) -> Result<Exit> {
    let db = global.open_records(Absent::Refuse)?;
    let kind = db.key_kind();
    let key = Key::parse(key, kind)?;
    if !db.release(&key, token)? {
        return Err(ended(&key.show(kind)).into());
    }
    close(global, db, "removed")?;
    out.result(&json!({ "key": key.show(kind).to_json() }), "")?;
    Ok(Exit::Done)
}

fn show(global: &Global, key: &OsStr, out: &mut Output) -> Result<Exit> {
    let (key, kind, record) = look_up(global, key)?;
    let key = key.show(kind);
    let lease = record.as_ref().map(Lease::of).transpose()?.ok_or_else(|| free(&key))?;
    print(&key, &lease, out)
}

fn print(key: &ShownKey, lease: &Lease, out: &mut Output) -> Result<Exit> {
    let (owner, expires) = (String::from_utf8_lossy(&lease.owner), shown(lease.expiry));
    let json = json!({
        "key": key.to_json(), "owner": owner, "token": lease.token, "expires": expires,
    });
    let until = expires.as_deref().unwrap_or("for ever");
    out.result(&json, format_args!("token {}, of {owner}, until {until}\n", lease.token))?;
    Ok(Exit::Done)
}

fn held(key: &ShownKey, lease: &Lease) -> Failure {
    let owner = String::from_utf8_lossy(&lease.owner);
    let until = shown(lease.expiry).unwrap_or_else(|| "its end".to_owned());
    let message = format!("'{owner}' holds the lease '{key}' until {until}; try then");
    Failure::missing("lease_held", message)
}

fn ended(key: &ShownKey) -> Failure {
    let message =
        format!("the lease '{key}' is not held with this token: it has ended; acquire it again");
    Failure::missing("lease_ended", message)
}

fn free(key: &ShownKey) -> Failure {
    let message = format!("the lease '{key}' is free; acquire it to hold it");
    Failure::missing("lease_ended", message)
}
