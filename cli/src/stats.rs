//! `uarr stats`: sizes and counters of a database, as its files say.
//!
//! What only a process knows that has the database open (counters of writes, the index in memory,
//! what waits for readers) is null: `Db::stats` has it there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};
use uarr::{CommitStrategy, ReadOnly, ReadOnlyStats, RecoveryReport};

use crate::args::Global;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::{Output, columns, counted, labelled, one_line, warn};
use crate::tables;

/// `st_blocks` counts in these, with every block size of the file system.
const STAT_BLOCK_BYTES: u64 = 512;
/// Names of the strategies, in the order of [`ReadOnlyStats::strategy_ns`].
pub const STRATEGIES: [&str; 3] = ["linked", "dsync", "syscall"];

/// Runs the command.
pub fn run(global: &Global, out: &mut Output) -> Result<Exit> {
    let dir = global.directory()?;
    let db = global.read_files()?;
    let stats = db.stats()?;
    let tables = db.tables();
    let disk = disk_bytes(dir)
        .map_err(|error| Failure::io("cannot look at the database's files", &error))?;
    let mut json = to_json(dir, &db, &stats, &disk);
    let mut text = to_text(&db, &stats, &disk);
    let columns = columns();
    json["tables"] = json!([]);
    for table in tables {
        match table {
            Ok(table) => {
                let keys = counted(table.key_count, "record");
                let row = format!("{}: {keys}", one_line(&table.name));
                text.push_str(&labelled("table", &row, columns));
                json["tables"].as_array_mut().into_iter().for_each(|all| {
                    all.push(tables::to_json(&table));
                });
            }
            // The others are shown all the same.
            Err(error) => warn(out.form, &error.to_string()),
        }
    }
    out.result(&json, text)?;
    Ok(Exit::Done)
}

/// Bytes that each file or directory of the database takes on the device.
pub fn disk_bytes(dir: &Path) -> io::Result<BTreeMap<String, u64>> {
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

/// The name of a strategy.
pub fn strategy(strategy: CommitStrategy) -> &'static str {
    match strategy {
        CommitStrategy::LinkedFdatasync => STRATEGIES[0],
        CommitStrategy::Dsync => STRATEGIES[1],
        CommitStrategy::Syscall => STRATEGIES[2],
    }
}

fn to_json(
    dir: &Path,
    db: &ReadOnly,
    stats: &ReadOnlyStats,
    disk: &BTreeMap<String, u64>,
) -> Value {
    json!({
        "path": dir.to_string_lossy(),
        "key_kind": db.key_kind().to_string(),
        "keys": stats.key_count,
        "visible_lsn": stats.last_lsn,
        "durable_lsn": null,
        "data_bytes": stats.data_bytes,
        "data_file_bytes": stats.data_file_bytes,
        "space": {
            "live_bytes": stats.live_bytes,
            "retained_bytes": null,
            "dead_bytes": stats.dead_bytes,
            "waiting_bytes": stats.waiting_bytes,
            "free_bytes": null,
        },
        "disk_bytes": disk,
        "disk_bytes_total": disk.values().sum::<u64>(),
        "block_bytes": stats.block_bytes,
        "strategy": strategy(stats.strategy),
        "strategy_ns": {
            STRATEGIES[0]: stats.strategy_ns[0],
            STRATEGIES[1]: stats.strategy_ns[1],
            STRATEGIES[2]: stats.strategy_ns[2],
        },
        "index": {
            "entries": stats.image_entry_count,
            "image_bytes": stats.image_bytes,
        },
        "recovery": recovery_to_json(&db.recovery_report()),
    })
}

pub fn recovery_to_json(report: &RecoveryReport) -> Value {
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

fn to_text(db: &ReadOnly, stats: &ReadOnlyStats, disk: &BTreeMap<String, u64>) -> String {
    let mut text = String::new();
    let columns = columns();
    let mut row = |label: &str, value: String| text.push_str(&labelled(label, &value, columns));
    row("keys", HumanCount(stats.key_count).to_string());
    row("kind of keys", db.key_kind().to_string());
    row("records", HumanBytes(stats.data_bytes).to_string());
    row(
        "data file",
        format!(
            "{} live, {} dead, {} waiting for a checkpoint",
            HumanBytes(stats.live_bytes),
            HumanBytes(stats.dead_bytes),
            HumanBytes(stats.waiting_bytes),
        ),
    );
    row("on disk", on_disk(disk));
    row("last LSN", stats.last_lsn.to_string());
    row("commit strategy", measured(stats.strategy, stats.strategy_ns));
    row("log blocks", format!("{} bytes", stats.block_bytes));
    row(
        "index image",
        format!(
            "{}, {}",
            counted_in(stats.image_entry_count, "entry", "entries"),
            HumanBytes(stats.image_bytes)
        ),
    );
    let report = db.recovery_report();
    let opened = match report.clean {
        true => "closed in order".to_owned(),
        false => format!(
            "{} in {} behind the checkpoint",
            counted(report.replayed_record_count, "record"),
            counted(report.replayed_group_count, "group")
        ),
    };
    row("log", opened);
    text
}

/// What is on the disk, and where.
pub fn on_disk(disk: &BTreeMap<String, u64>) -> String {
    let total = disk.values().sum();
    let parts: Vec<_> =
        disk.iter().map(|(name, bytes)| format!("{name} {}", HumanBytes(*bytes))).collect();
    format!("{} ({})", HumanBytes(total), parts.join(", "))
}

/// The strategy in use, and what all took when they were measured.
pub fn measured(in_use: CommitStrategy, strategy_ns: [u64; 3]) -> String {
    let measured = STRATEGIES.iter().zip(strategy_ns).filter(|(_, ns)| *ns > 0);
    let measured: Vec<_> =
        measured.map(|(name, ns)| format!("{name} {:.1} us", ns as f64 / 1000.0)).collect();
    format!("{} (median when measured: {})", strategy(in_use), measured.join(", "))
}

fn counted_in(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(count), if count == 1 { one } else { many })
}
