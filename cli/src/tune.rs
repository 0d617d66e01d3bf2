//! `uarr tune`: the commit strategy that is fastest on this directory, measured and kept.

use serde_json::json;

use crate::args::Global;
use crate::exit::Exit;
use crate::failure::Result;
use crate::open::Absent;
use crate::output::Output;
use crate::stats::{STRATEGIES, strategy};

/// Runs the command.
pub fn run(global: &Global, out: &mut Output) -> Result<Exit> {
    let db = global.open(Absent::Refuse)?;
    let tuning = db.tune()?;
    global.close(db)?;
    let value = json!({
        "strategy": strategy(tuning.best),
        "strategy_ns": {
            STRATEGIES[0]: tuning.median_ns[0],
            STRATEGIES[1]: tuning.median_ns[1],
            STRATEGIES[2]: tuning.median_ns[2],
        },
    });
    let mut text = format!("commits from now on by {}\n", strategy(tuning.best));
    for (name, ns) in STRATEGIES.iter().zip(tuning.median_ns) {
        let median = match ns {
            0 => "cannot be used here".to_owned(),
            ns => format!("{:.1} us", ns as f64 / 1000.0),
        };
        text.push_str(&format!("  {name:<13}{median}\n"));
    }
    out.result(&value, text)?;
    Ok(Exit::Done)
}
