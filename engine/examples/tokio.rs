//! A thousand tasks on two threads, each of which waits for its own commits.
//!
//! ```text
//! cargo run --release -p uarr --example tokio -- DIR
//! ```
//! Tasks that wait at the same time share a group commit, so they are durable at a rate that no
//! thread that waits for one flush after the other can reach.
#![expect(clippy::disallowed_methods, reason = "an example measures")]

use std::error::Error;
use std::time::Instant;

use uarr::{Db, KeyKind, uarr};

const TASK_COUNT: u64 = 1000;
const PUTS_PER_TASK: u64 = 50;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: tokio DIR")?;
    let db = Db::builder(dir).keys(KeyKind::U64).open_async().await?;
    let begun = Instant::now();
    let tasks: Vec<_> = (0..TASK_COUNT).map(|task| tokio::spawn(work(db.clone(), task))).collect();
    for task in tasks {
        task.await??;
    }
    let seconds = begun.elapsed().as_secs_f64();

    let stats = db.stats();
    let group = stats.phases.group_commits;
    println!("{} durable commits in {seconds:.2} s", stats.commit_count);
    println!("{:.0} commits per second", stats.commit_count as f64 / seconds);
    println!("{} groups, half of them with at least {} commits", stats.group_count, group.p50);
    db.close_async().await?;
    Ok(())
}

/// Writes orders and reads each back.
async fn work(db: Db, task: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
    for number in 0..PUTS_PER_TASK {
        let key = task << 32 | number;
        let order = uarr!({ "task": task, "number": number, "state": "paid" });
        let commit = db.put_async(key, &order).await?;
        assert!(commit.is_durable);
        let record = db.get(key)?.ok_or("an acknowledged record is there")?;
        assert_eq!(record.path("state")?.and_then(|state| state.as_str()), Some("paid"));
    }
    Ok(())
}
