//! `uarr compact`: what was overwritten or deleted gives its space back.

use std::time::Instant;

use indicatif::HumanBytes;
use serde_json::json;

use crate::args::Global;
use crate::exit::Exit;
use crate::failure::Result;
use crate::open::Absent;
use crate::output::Output;

/// Runs the command.
pub fn run(global: &Global, out: &mut Output) -> Result<Exit> {
    let db = global.open(Absent::Refuse)?;
    let begun = Instant::now();
    let report = db.compact()?;
    let seconds = begun.elapsed().as_secs_f64();
    let space = db.stats().space;
    global.close(db)?;
    let value = json!({
        "freed_bytes": report.freed_bytes,
        "moved_bytes": report.moved_bytes,
        "live_bytes": space.live_bytes,
        "free_bytes": space.free_bytes,
        "seconds": seconds,
    });
    let text = format!(
        "{} freed, {} moved; {} live, {} are free\n",
        HumanBytes(report.freed_bytes),
        HumanBytes(report.moved_bytes),
        HumanBytes(space.live_bytes),
        HumanBytes(space.free_bytes),
    );
    out.result(&value, text)?;
    Ok(Exit::Done)
}
