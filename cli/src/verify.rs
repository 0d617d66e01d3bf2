//! `uarr verify`: reads everything again and checks it.

use std::fmt::Write;

use indicatif::HumanBytes;
use serde_json::{Value, json};
use uarr::{Error, VerifyReport};

use crate::args::Global;
use crate::exit::Exit;
use crate::failure::Result;
use crate::output::{Output, counted, one_line};

/// Runs the command. Damage that opening got around is damage too.
pub fn run(global: &Global, out: &mut Output) -> Result<Exit> {
    let db = global.read()?;
    let count = out.shows_progress().then(|| db.count_keys()).transpose()?;
    let bar = out.progress(count);
    let verified = db.verify(|done| {
        bar.set_position(done);
        bar.set_message(counted(done, "record"));
    });
    bar.finish_and_clear();
    let report = verified?;
    let notes = db.notes();
    let damages: Vec<&Error> = notes.iter().chain(&report.damages).collect();
    out.result(&to_json(&report, &damages), to_text(&report, &damages))?;
    Ok(if damages.is_empty() { Exit::Done } else { Exit::Missing })
}

fn to_json(report: &VerifyReport, damages: &[&Error]) -> Value {
    let damages: Vec<_> = damages.iter().map(|damage| damage_to_json(damage)).collect();
    json!({
        "clean": damages.is_empty(),
        "records": report.record_count,
        "record_bytes": report.record_bytes,
        "groups": report.group_count,
        "images": report.image_count,
        "damages": damages,
    })
}

/// A damage and its place.
pub fn damage_to_json(damage: &Error) -> Value {
    let place = damage.corruption();
    json!({
        "message": damage.to_string(),
        "file": place.map(|place| &place.file),
        "offset": place.map(|place| place.offset),
        "lsn": place.and_then(|place| place.lsn),
    })
}

fn to_text(report: &VerifyReport, damages: &[&Error]) -> String {
    let mut text = String::new();
    for damage in damages {
        text.push_str(&one_line(&damage.to_string()));
        text.push('\n');
    }
    let verdict = match damages.len() {
        0 => "clean".to_owned(),
        1 => "damaged in 1 place".to_owned(),
        count => format!("damaged in {count} places"),
    };
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{verdict}: {} ({} of keys and values), {} of the log, {} read",
        counted(report.record_count, "record"),
        HumanBytes(report.record_bytes),
        counted(report.group_count, "group"),
        counted(report.image_count, "index image"),
    );
    text
}
