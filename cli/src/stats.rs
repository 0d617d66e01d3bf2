//! `uarr stats`: sizes and counters of a database.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};
use uarr::{Backend, CommitStrategy, Db, RecoveryReport, Stats};

use crate::args::Global;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::open::Absent;
use crate::output::{Output, counted};

/// `st_blocks` counts in these, with every block size of the file system.
const STAT_BLOCK_BYTES: u64 = 512;
/// Names of the strategies, in the order of [`Stats::strategy_ns`].
pub const STRATEGIES: [&str; 3] = ["linked", "dsync", "syscall"];

/// Runs the command.
pub fn run(global: &Global, out: &mut Output) -> Result<Exit> {
    let db = global.open(Absent::Refuse)?;
    let stats = db.stats();
    let disk = disk_bytes(db.path())
        .map_err(|error| Failure::io("cannot look at the database's files", &error))?;
    out.result(&to_json(&db, &stats, &disk), to_text(&db, &stats, &disk))?;
    Ok(Exit::Done)
}

/// Bytes that each file or directory of the database takes on the device.
fn disk_bytes(dir: &Path) -> io::Result<BTreeMap<String, u64>> {
    let allocated = |metadata: &fs::Metadata| metadata.blocks() * STAT_BLOCK_BYTES;
    let mut sizes = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let mut bytes = allocated(&metadata);
        // The database's directories hold files only.
        if metadata.is_dir() {
            for file in fs::read_dir(entry.path())? {
                match file?.metadata() {
                    Ok(metadata) => bytes += allocated(&metadata),
                    // Recycled meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        sizes.insert(entry.file_name().to_string_lossy().into_owned(), bytes);
    }
    Ok(sizes)
}

/// The name of the backend.
pub fn backend(stats: &Stats) -> &'static str {
    match stats.backend {
        Backend::Ring => "io_uring",
        Backend::Syscalls => "syscalls",
        Backend::Memory => "memory",
    }
}

/// The name of a strategy.
pub fn strategy(strategy: CommitStrategy) -> &'static str {
    match strategy {
        CommitStrategy::LinkedFdatasync => STRATEGIES[0],
        CommitStrategy::Dsync => STRATEGIES[1],
        CommitStrategy::Syscall => STRATEGIES[2],
    }
}

fn to_json(db: &Db, stats: &Stats, disk: &BTreeMap<String, u64>) -> Value {
    let index = &stats.index;
    json!({
        "path": db.path().to_string_lossy(),
        "key_kind": db.key_kind().to_string(),
        "keys": stats.key_count,
        "visible_lsn": stats.visible_lsn,
        "durable_lsn": stats.durable_lsn,
        "data_bytes": stats.data_bytes,
        "data_allocated_bytes": stats.data_allocated_bytes,
        "space": {
            "live_bytes": stats.space.live_bytes,
            "retained_bytes": stats.space.retained_bytes,
            "dead_bytes": stats.space.dead_bytes,
            "waiting_bytes": stats.space.waiting_bytes,
            "free_bytes": stats.space.free_bytes,
        },
        "address_space_bytes": stats.address_space_bytes,
        "disk_bytes": disk,
        "disk_bytes_total": disk.values().sum::<u64>(),
        "block_bytes": stats.block_bytes,
        "backend": backend(stats),
        "backend_warning": stats.backend_warning,
        "strategy": strategy(stats.strategy),
        "strategy_ns": {
            STRATEGIES[0]: stats.strategy_ns[0],
            STRATEGIES[1]: stats.strategy_ns[1],
            STRATEGIES[2]: stats.strategy_ns[2],
        },
        "index": {
            "entries": index.entries,
            "depth": index.depth,
            "leaves": index.leaves,
            "inner_nodes": index.inner_nodes,
            "leaf_slots": index.leaf_slots,
            "bytes": index.bytes,
            "model_error_log2_mean": index.model_error_log2_mean,
        },
        "background_error": stats.background_error.as_ref().map(uarr::Error::to_string),
        "recovery": recovery_to_json(db.recovery_report()),
    })
}

fn recovery_to_json(report: &RecoveryReport) -> Value {
    let torn_tail = report.torn_tail.as_ref().map(|tail| {
        json!({
            "file": tail.file,
            "offset": tail.offset,
            "lsn": tail.lsn,
            "detail": tail.detail,
        })
    });
    json!({
        "clean": report.clean,
        "checkpoint": report.checkpoint,
        "indexed_records": report.indexed_record_count,
        "replayed_groups": report.replayed_group_count,
        "replayed_records": report.replayed_record_count,
        "torn_tail": torn_tail,
        "notes": report.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "seconds": report.duration.as_secs_f64(),
    })
}

fn to_text(db: &Db, stats: &Stats, disk: &BTreeMap<String, u64>) -> String {
    let mut text = String::new();
    let mut row = |label: &str, value: String| {
        text.push_str(&format!(
            "{label:<20}{value}
"
        ))
    };
    row("keys", HumanCount(stats.key_count).to_string());
    row("kind of keys", db.key_kind().to_string());
    row("records", HumanBytes(stats.data_bytes).to_string());
    let space = &stats.space;
    row(
        "data file",
        format!(
            "{} live, {} dead, {} waiting for a checkpoint, {} free",
            HumanBytes(space.live_bytes),
            HumanBytes(space.dead_bytes),
            HumanBytes(space.waiting_bytes),
            HumanBytes(space.free_bytes)
        ),
    );
    let total = disk.values().sum();
    let parts: Vec<_> =
        disk.iter().map(|(name, bytes)| format!("{name} {}", HumanBytes(*bytes))).collect();
    row("on disk", format!("{} ({})", HumanBytes(total), parts.join(", ")));
    row("visible LSN", stats.visible_lsn.to_string());
    row("durable LSN", stats.durable_lsn.to_string());
    row("backend", backend(stats).to_owned());
    let measured = STRATEGIES.iter().zip(stats.strategy_ns).filter(|(_, ns)| *ns > 0);
    let measured: Vec<_> =
        measured.map(|(name, ns)| format!("{name} {:.1} us", ns as f64 / 1000.0)).collect();
    row(
        "commit strategy",
        format!("{} (median when measured: {})", strategy(stats.strategy), measured.join(", ")),
    );
    row("log blocks", format!("{} bytes", stats.block_bytes));
    let index = &stats.index;
    row(
        "index",
        format!(
            "{} leaves, depth {}, {}",
            index.leaves,
            index.depth,
            HumanBytes(index.bytes as u64)
        ),
    );
    let report = db.recovery_report();
    let opened = match report.clean {
        true => "closed in order".to_owned(),
        false => format!(
            "replayed {} of {}",
            counted(report.replayed_record_count, "record"),
            counted(report.replayed_group_count, "group")
        ),
    };
    row("opened", format!("in {:.1} ms, {opened}", report.duration.as_secs_f64() * 1000.0));
    if let Some(error) = &stats.background_error {
        row("background error", error.to_string());
    }
    text
}
