//! `uarr checkpoint`: state on disk, nothing to replay.

use std::time::Instant;

use serde_json::json;

use crate::args::Global;
use crate::exit::Exit;
use crate::failure::Result;
use crate::open::Absent;
use crate::output::{Output, counted};

/// Runs the command.
pub fn run(global: &Global, out: &mut Output) -> Result<Exit> {
    let db = global.open(Absent::Refuse)?;
    let begun = Instant::now();
    db.checkpoint()?;
    let seconds = begun.elapsed().as_secs_f64();
    let stats = db.stats();
    global.close(db)?;
    let value = json!({
        "keys": stats.key_count,
        "durable_lsn": stats.durable_lsn,
        "seconds": seconds,
    });
    let text = format!("checkpoint of {} taken\n", counted(stats.key_count, "key"));
    out.result(&value, text)?;
    Ok(Exit::Done)
}
