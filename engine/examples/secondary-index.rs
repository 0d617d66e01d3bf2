//! Users that are found by their address: an index beside the records, kept by transactions.
//!
//! ```text
//! cargo run --release -p uarr --example secondary-index -- DIR
//! ```
//! A record `user:ID` holds the address, a record `mail:ADDRESS` the ID. A transaction changes
//! both, so neither is ever seen without the other, and no two users get one address. Threads that
//! move users about beside each other run again when another was faster.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::error::Error;
use std::path::Path;
use std::thread;

use uarr::{Db, Result, Transaction, uarr};

const USER_COUNT: u64 = 20;
/// More than users: some are free.
const ADDRESS_COUNT: u64 = 30;
const THREAD_COUNT: u64 = 4;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: secondary-index DIR")?;
    run(Path::new(&dir))
}

fn run(dir: &Path) -> std::result::Result<(), Box<dyn Error>> {
    let db = Db::open(dir)?;
    thread::scope(|scope| {
        for thread in 0..THREAD_COUNT {
            let db = &db;
            scope.spawn(move || move_about(db, thread));
        }
    });
    let user_count = check(&db)?;
    println!("{user_count} users, each found by the one address that is theirs");
    db.close()?;
    Ok(())
}

/// Gives users other addresses, over and over.
fn move_about(db: &Db, thread: u64) {
    for step in 0..100 {
        let number = ((step * 7 + thread * 13) * 2_654_435_761) >> 7;
        let (user, address) = (number % USER_COUNT, number / USER_COUNT % ADDRESS_COUNT);
        db.transaction(|tx| set_address(tx, user, &format!("{address}@example.org"))).unwrap();
    }
}

/// Gives `user` the address if it is free, or already theirs; returns whether it was.
fn set_address(tx: &mut Transaction, user: u64, address: &str) -> Result<bool> {
    let owner = tx.get(format!("mail:{address}"))?;
    if let Some(owner) = owner {
        return Ok(owner.uarr()?.as_u64() == Some(user));
    }
    let old = tx.get(format!("user:{user}"))?;
    if let Some(old) = old.as_ref().map(|old| old.uarr()).transpose()?
        && let Some(old) = old.get("mail").and_then(|old| old.as_str())
    {
        tx.delete(format!("mail:{old}"))?;
    }
    tx.put(format!("user:{user}"), uarr!({ "mail": address }))?;
    tx.put(format!("mail:{address}"), uarr!(user))?;
    Ok(true)
}

/// Looks at records and index as of one moment, and returns how many users there are.
fn check(db: &Db) -> std::result::Result<usize, Box<dyn Error>> {
    let snapshot = db.snapshot();
    let mut count = 0;
    for entry in snapshot.prefix("mail:")? {
        let entry = entry?;
        let address = std::str::from_utf8(&entry.key()["mail:".len()..])?;
        let user = entry.uarr()?.as_u64().ok_or("an entry names a user")?;
        let record = snapshot.get(format!("user:{user}"))?.ok_or("the entry names no user")?;
        let mail = record.path("mail")?.ok_or("a user has an address")?;
        assert_eq!(mail.as_str(), Some(address), "user {user}");
        count += 1;
    }
    assert_eq!(count, snapshot.prefix("user:")?.count(), "each user has one entry");
    Ok(count)
}

#[test]
fn index_and_records_agree() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path()).unwrap();
}
