//! `uarr doctor`: whether machine and database are set up well.

use std::fs;

use serde_json::json;
use uarr::{Backend, CommitStrategy, Db, Stats};

use crate::args::Global;
use crate::exit::Exit;
use crate::failure::Result;
use crate::open::Absent;
use crate::output::Output;
use crate::stats::{STRATEGIES, backend, strategy};

/// Locked memory that the registered buffers of one database take at most.
const LOCKED_BYTES: u64 = 8 << 20;
/// What a data file can grow to unless the process has less.
const ADDRESS_SPACE_BYTES: u64 = 1 << 40;
const FILE_BYTES: u64 = 1 << 40;
/// A service soon uses up fewer open files than this.
const OPEN_FILES_MIN: u64 = 1024;

/// Runs the command.
pub fn run(global: &Global, out: &mut Output) -> Result<Exit> {
    let db = global.open(Absent::Refuse)?;
    let stats = db.stats();
    let findings = findings(&db, &stats);
    let value = json!({
        "path": db.path().to_string_lossy(),
        "backend": backend(&stats),
        "block_bytes": stats.block_bytes,
        "strategy": strategy(stats.strategy),
        "strategy_ns": {
            STRATEGIES[0]: stats.strategy_ns[0],
            STRATEGIES[1]: stats.strategy_ns[1],
            STRATEGIES[2]: stats.strategy_ns[2],
        },
        "findings": findings,
    });
    let mut text = format!("backend        {}\n", backend(&stats));
    text.push_str(&format!("log blocks     {} bytes\n", stats.block_bytes));
    text.push_str(&format!("commits        by {}\n", strategy(stats.strategy)));
    for (name, ns) in STRATEGIES.iter().zip(stats.strategy_ns) {
        let median = match ns {
            0 => "cannot be used here".to_owned(),
            ns => format!("{:.1} us", ns as f64 / 1000.0),
        };
        text.push_str(&format!("  {name:<13}{median}\n"));
    }
    match findings.is_empty() {
        true => text.push_str("found nothing to improve\n"),
        false => findings.iter().for_each(|finding| text.push_str(&format!("- {finding}\n"))),
    }
    out.result(&value, text)?;
    db.close()?;
    Ok(Exit::Done)
}

/// What could be better, each with its remedy.
fn findings(db: &Db, stats: &Stats) -> Vec<String> {
    let mut findings = Vec::new();
    findings.extend(stats.backend_warning.clone());
    findings
        .extend(stats.background_error.as_ref().map(|error| format!("background work: {error}")));
    findings.extend(db.recovery_report().notes.iter().map(|note| format!("at open: {note}")));
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if stats.backend == Backend::Ring
        && let Some(bytes) =
            soft_limit(&limits, "Max locked memory").filter(|&bytes| bytes < LOCKED_BYTES)
    {
        findings.push(format!(
            "locked memory is limited to {bytes} bytes: where buffers cannot be registered a \
             commit takes longer; raise it to {LOCKED_BYTES} (ulimit -l, or LimitMEMLOCK= of the \
             service)"
        ));
    }
    if stats.address_space_bytes < ADDRESS_SPACE_BYTES {
        let reserved = stats.address_space_bytes;
        findings.push(format!(
            "the process has little address space: the data file can grow to {reserved} bytes; \
             raise the limit (ulimit -v, or LimitAS= of the service)"
        ));
    }
    if let Some(size) = soft_limit(&limits, "Max file size").filter(|&size| size < FILE_BYTES) {
        findings.push(format!(
            "files are limited to {size} bytes: the data file cannot grow beyond; raise it (ulimit \
             -f, or LimitFSIZE= of the service)"
        ));
    }
    if let Some(count) =
        soft_limit(&limits, "Max open files").filter(|&count| count < OPEN_FILES_MIN)
    {
        findings.push(format!(
            "open files are limited to {count}: raise it to {OPEN_FILES_MIN} (ulimit -n)"
        ));
    }
    if stats.strategy == CommitStrategy::Syscall && stats.backend == Backend::Ring {
        let ring = stats.strategy_ns[1];
        let line = "a plain system call commits fastest here although io_uring can be used";
        findings.push(format!("{line} (ring {:.1} us); no change is needed", ring as f64 / 1000.0));
    }
    findings
}

/// The soft limit in a line of /proc/self/limits; `None` if there is none.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find(|line| line.starts_with(name))?;
    line[name.len()..].split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_from_their_line() {
        let line = |name: &str, soft: &str, hard: &str, unit: &str| {
            format!("{name:<26}{soft:<21}{hard:<21}{unit:<10}\n")
        };
        let limits = line("Limit", "Soft Limit", "Hard Limit", "Units")
            + &line("Max locked memory", "65536", "unlimited", "bytes")
            + &line("Max open files", "unlimited", "unlimited", "files");
        assert_eq!(soft_limit(&limits, "Max locked memory"), Some(65_536));
        assert_eq!(soft_limit(&limits, "Max open files"), None);
        assert_eq!(soft_limit(&limits, "Max stack size"), None);
    }
}
