//! `stats` in the shell: sizes and counters of a database that is open.

use std::collections::BTreeMap;

use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};
use uarr::{Backend, Db, IndexStats, Stats, TableInfo, TableStats};

use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::{Output, columns, counted, labelled, one_line, warn};
use crate::stats::{STRATEGIES, disk_bytes, measured, on_disk, recovery_to_json, strategy};
use crate::tables;

/// Prints them.
pub fn print(db: &Db, out: &mut Output) -> Result<Exit> {
    let stats = db.stats();
    let tables = tables(db, out)?;
    let disk = disk_bytes(db.path())
        .map_err(|error| Failure::io("cannot look at the database's files", &error))?;
    let text = to_text(db, &stats, &disk) + &tables_to_text(&tables);
    let mut json = to_json(db, &stats, &disk);
    json["tables"] = tables.iter().map(table_to_json).collect();
    out.result(&json, text)?;
    Ok(Exit::Done)
}

/// What is there besides the default table. Damage in the catalog hides no other table.
fn tables(db: &Db, out: &Output) -> Result<Vec<(TableInfo, TableStats)>> {
    let mut tables = Vec::new();
    for table in db.tables() {
        match table {
            Ok(info) => {
                if let Some(table) = db.find_table(&info.name)? {
                    tables.push((info, table.table_stats()?));
                }
            }
            Err(error) => warn(out.form, &error.to_string()),
        }
    }
    Ok(tables)
}

fn tables_to_text(tables: &[(TableInfo, TableStats)]) -> String {
    let row = |(info, stats): &(TableInfo, TableStats)| {
        format!(
            "{:<20}{}: {}, index of {} leaves, depth {}, {}\n",
            "table",
            one_line(&info.name),
            counted(stats.key_count, "record"),
            stats.index.leaves,
            stats.index.depth,
            HumanBytes(stats.index_bytes as u64)
        )
    };
    tables.iter().map(row).collect()
}

fn table_to_json((info, stats): &(TableInfo, TableStats)) -> Value {
    let mut json = tables::to_json(info);
    json["index_bytes"] = stats.index_bytes.into();
    json["index"] = index_to_json(&stats.index);
    json["ordered_index"] = stats.ordered_index.as_ref().map(index_to_json).into();
    json
}

fn index_to_json(index: &IndexStats) -> Value {
    json!({
        "entries": index.entries,
        "depth": index.depth,
        "leaves": index.leaves,
        "inner_nodes": index.inner_nodes,
        "leaf_slots": index.leaf_slots,
        "bytes": index.bytes,
        "model_error_log2_mean": index.model_error_log2_mean,
    })
}

/// The name of the backend.
pub fn backend(stats: &Stats) -> &'static str {
    match stats.backend {
        Backend::Ring => "io_uring",
        Backend::Syscalls => "syscalls",
        Backend::Memory => "memory",
    }
}

fn to_json(db: &Db, stats: &Stats, disk: &BTreeMap<String, u64>) -> Value {
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
        "index": index_to_json(&stats.index),
        "ordered_index": stats.ordered_index.as_ref().map(index_to_json),
        "background_error": stats.background_error.as_ref().map(uarr::Error::to_string),
        "recovery": recovery_to_json(db.recovery_report()),
    })
}

fn to_text(db: &Db, stats: &Stats, disk: &BTreeMap<String, u64>) -> String {
    let mut text = String::new();
    let columns = columns();
    let mut row = |label: &str, value: String| text.push_str(&labelled(label, &value, columns));
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
    row("on disk", on_disk(disk));
    row("visible LSN", stats.visible_lsn.to_string());
    row("durable LSN", stats.durable_lsn.to_string());
    row("backend", backend(stats).to_owned());
    row("commit strategy", measured(stats.strategy, stats.strategy_ns));
    row("log blocks", format!("{} bytes", stats.block_bytes));
    let index = &stats.index;
    row(
        "index",
        format!(
            "{} {}, depth {}, {}",
            index.leaves,
            if index.leaves == 1 { "leaf" } else { "leaves" },
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
