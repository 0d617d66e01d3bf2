//! `uarr repair`: writes what is left of a damaged database to a new one.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use indicatif::HumanCount;
use serde_json::{Value, json};
use uarr::Db;
use uarr::repair::{RepairReport, repair};

use crate::args::{Global, Repair};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::{Output, counted, one_line};
use crate::verify::damage_to_json;

/// Runs the command. The report lists damage; the exit code says whether the new database holds
/// what could be kept.
pub fn run(global: &Global, args: &Repair, out: &mut Output) -> Result<Exit> {
    let source = global.inspect()?;
    let kind = match (source.key_kind(), global.key_kind) {
        (Some(kind), _) => kind,
        (None, Some(given)) => given.into(),
        (None, None) => {
            let message =
                "the superblock is lost, which held the kind of the keys: give --key-kind";
            return Err(Failure::usage(message).into());
        }
    };
    check_target(global.directory()?, &args.target)?;
    let opened = Db::builder(&args.target).keys(kind).open();
    let target = opened.map_err(|error| Failure::opening(&error))?;
    let report = repair(&source, &target, args.mode.into()).inspect_err(|_| {
        // A target without a record is no repaired database.
        let _ = target.clone().close_unused();
    })?;
    target.close()?;
    out.result(&to_json(&report), to_text(&report, &args.target))?;
    Ok(Exit::Done)
}

/// The new database needs a directory of its own that is not there yet, or is empty.
fn check_target(source: &Path, target: &Path) -> Result<()> {
    let refused = |why: &str| -> Result<()> {
        let message = format!("cannot repair into {}: {why}", target.display());
        Err(Failure::usage(message).into())
    };
    match fs::read_dir(target) {
        Ok(entries) => {
            if entries.count() > 0 {
                return refused("it is not empty");
            }
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return refused(&error.to_string());
        }
        Err(_) => {}
    }
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let looked = |error| Failure::io("cannot look at the directories", &error);
    let source = source.canonicalize().map_err(looked)?;
    let is_inside = |path: &Path| path.canonicalize().is_ok_and(|path| path.starts_with(&source));
    if is_inside(parent) || is_inside(target) {
        return refused("it lies inside the damaged database");
    }
    Ok(())
}

fn to_json(report: &RepairReport) -> Value {
    json!({
        "kept": report.kept_count,
        "kept_from_log": report.kept_from_log_count,
        "deleted_keys": report.deleted_count,
        "may_revive_deleted": report.may_revive_deleted,
        "lost_versions": report.lost_count,
        "left_out_versions": report.left_out_count,
        "damaged_places": report.damage_count,
        "damages": report.damages.iter().map(damage_to_json).collect::<Vec<_>>(),
    })
}

fn to_text(report: &RepairReport, target: &Path) -> String {
    let mut text = String::new();
    for damage in &report.damages {
        text.push_str(&one_line(&damage.to_string()));
        text.push('\n');
    }
    let shown = one_line(&target.display().to_string());
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "kept {} in {shown}, {} from the log\n\
         lost {} of records whose LSN is known; left out {} that nothing proves durable \
         or that lie behind the end of the log\n{}",
        counted(report.kept_count, "record"),
        HumanCount(report.kept_from_log_count),
        counted(report.lost_count, "version"),
        HumanCount(report.left_out_count),
        counted(report.damage_count, "damaged place"),
    );
    if report.may_revive_deleted {
        text.push_str(
            "note: no index image could be read with its superblock: keys that were deleted long \
             ago may have come back\n",
        );
    }
    text
}
