//! `uarr lease`: one owner of a key at a time, for scripts.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde_json::json;
use uarr::{Acquisition, Lease};

use crate::args::{Global, Lease as What};
use crate::exit::Exit;
use crate::expiry::shown;
use crate::failure::{Failure, Result};
use crate::key::{Key, ShownKey};
use crate::open::Absent;
use crate::output::Output;
use crate::write::close;

/// Runs the command.
pub fn run(global: &Global, what: &What, out: &mut Output) -> Result<Exit> {
    let absent = match what {
        What::Acquire { .. } => Absent::Create,
        What::Renew { .. } | What::Release { .. } | What::Show { .. } => Absent::Refuse,
    };
    let db = global.open_records(absent)?;
    let kind = db.key_kind();
    let parse = |key: &OsStr| Key::parse(key, kind);
    let (key, lease, done) = match what {
        What::Acquire { key, owner, ttl } => {
            let (key, acquired) = global.or_take_back(&db, || {
                let key = parse(key)?;
                let acquired = db.acquire(&key, owner.as_bytes(), *ttl)?;
                Ok((key, acquired))
            })?;
            match acquired {
                Acquisition::Granted(lease) => (key, lease, Some("stored")),
                Acquisition::Held(lease) => return Err(held(&key.show(kind), &lease).into()),
            }
        }
        What::Renew { key, token, ttl } => {
            let key = parse(key)?;
            let lease = db.renew(&key, *token, *ttl)?.ok_or_else(|| ended(&key.show(kind)))?;
            (key, lease, Some("stored"))
        }
        What::Release { key, token } => {
            let key = parse(key)?;
            if !db.release(&key, *token)? {
                return Err(ended(&key.show(kind)).into());
            }
            close(global, db, "removed")?;
            out.result(&json!({ "key": key.show(kind).to_json() }), "")?;
            return Ok(Exit::Done);
        }
        What::Show { key } => {
            let key = parse(key)?;
            let lease = db.lease(&key)?.ok_or_else(|| free(&key.show(kind)))?;
            (key, lease, None)
        }
    };
    if let Some(done) = done {
        close(global, db, done)?;
    }
    let (owner, expires) = (String::from_utf8_lossy(&lease.owner), shown(lease.expiry));
    let json = json!({
        "key": key.show(kind).to_json(), "owner": owner, "token": lease.token, "expires": expires,
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
