//! Jobs that several workers do, each of them once, although workers die.
//!
//! ```text
//! cargo run --release -p uarr --example job-queue -- DIR
//! ```
//! A record `job:NUMBER` is a job that is not done. A worker takes the lease of its number: while
//! that lasts no other worker has it, and if the worker dies it ends by itself, and another goes
//! on. Results are written under the token of the lease: one that comes from a worker whose time
//! was over is refused.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::error::Error;
use std::path::Path;
use std::thread;
use std::time::Duration;

use uarr::{Db, Lease, Result, uarr};

const JOB_COUNT: u64 = 40;
const WORKER_COUNT: u64 = 4;
/// Long enough for a job; a worker that dies holds up its job for so long.
const LEASE: Duration = Duration::from_secs(60);

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: job-queue DIR")?;
    run(Path::new(&dir))
}

fn run(dir: &Path) -> std::result::Result<(), Box<dyn Error>> {
    let db = Db::open(dir)?;
    for number in 0..JOB_COUNT {
        db.put(("job", number), number.to_string())?;
    }
    die_early(&db)?;
    let counts: Vec<u64> = thread::scope(|scope| {
        let db = &db;
        let workers = (0..WORKER_COUNT).map(|worker| scope.spawn(move || work(db, worker)));
        let workers: Vec<_> = workers.collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    println!("workers have done {counts:?} jobs, {} are left", db.prefix(("job",))?.count());
    db.close()?;
    Ok(())
}

/// A worker that takes the first job for no time at all, does it, and comes too late.
fn die_early(db: &Db) -> Result<()> {
    let lease = db.acquire(("lease", 0u64), "slow", Duration::ZERO)?.granted();
    let next = db.acquire(("lease", 0u64), "quick", LEASE)?.granted();
    if let (Some(lease), Some(next)) = (lease, next) {
        finish(db, 0, &next, "in time")?;
        let is_taken = finish(db, 0, &lease, "too late")?;
        println!("what comes too late is taken: {is_taken}");
    }
    Ok(())
}

/// Does jobs until there are none that nobody else is at: how many.
fn work(db: &Db, worker: u64) -> u64 {
    let mut count = 0;
    while let Some((number, lease)) = take(db, worker).unwrap() {
        let result = format!("worker {worker} has done {number}");
        count += u64::from(finish(db, number, &lease, &result).unwrap());
    }
    count
}

/// A job that nobody else is at; `None`: there is none.
fn take(db: &Db, worker: u64) -> Result<Option<(u64, Lease)>> {
    for job in db.prefix(("job",))? {
        let (_, number): (String, u64) = job?.key_as()?;
        let owner = worker.to_string();
        if let Some(lease) = db.acquire(("lease", number), owner, LEASE)?.granted() {
            // It may have been done while this looked for one.
            if db.contains(("job", number))? {
                return Ok(Some((number, lease)));
            }
            db.release(("lease", number), lease.token)?;
        }
    }
    Ok(None)
}

/// Writes the result of a job and takes it off the list, unless an owner with a later lease has.
fn finish(db: &Db, number: u64, lease: &Lease, result: &str) -> Result<bool> {
    let is_taken = db.transaction(|tx| {
        let before = tx.get(("result", number))?;
        let token = before.as_ref().map(|before| before.path("token")).transpose()?.flatten();
        if token.and_then(|token| token.as_u64()).is_some_and(|token| token > lease.token) {
            return Ok::<_, uarr::Error>(false);
        }
        tx.put(("result", number), uarr!({ "token": lease.token, "result": result }))?;
        tx.delete(("job", number))?;
        Ok(true)
    })?;
    db.release(("lease", number), lease.token)?;
    Ok(is_taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_is_done_once_and_nothing_comes_too_late() {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path()).unwrap();
        let db = Db::open(dir.path()).unwrap();
        assert_eq!(db.prefix(("job",)).unwrap().count(), 0);
        assert_eq!(db.prefix(("result",)).unwrap().count(), JOB_COUNT as usize);
        assert_eq!(db.prefix(("lease",)).unwrap().count(), 0);
        let first = db.get(("result", 0u64)).unwrap().unwrap();
        let result = first.path("result").unwrap().unwrap();
        assert_eq!(result.as_str(), Some("in time"));
    }
}
