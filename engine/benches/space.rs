//! What a database takes on the disk when it was loaded, compacted and closed:
//! `cargo bench -p uarr --bench space`.
//!
//! `UARR_RECORDS` (1,000,000) records with `u64` keys and values of `UARR_VALUE_BYTES` (128), in
//! the order of their keys; with `UARR_SCATTERED=1` in any order, with keys from all of `u64`. It
//! prints the bytes of all files that are allocated by kind, and by the bytes of all keys and
//! values; and how long the checkpoint of `compact`, a checkpoint behind a further put, and the
//! next opening take.
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use uarr::{Db, Durability, KeyKind};

const KEY_BYTES: u64 = 8;
/// Odd: numbers times it are all different.
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;

fn number_from(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Bytes on the disk of the files in `folder`.
fn disk_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder of the database").flatten();
    let files = entries.filter_map(|entry| entry.metadata().ok()).filter(|found| found.is_file());
    files.map(|found| found.blocks() * 512).sum()
}

fn open(dir: &Path) -> Db {
    let builder = Db::builder(dir).keys(KeyKind::U64).durability(Durability::Manual);
    builder.open().expect("it opens")
}

/// Prints `bytes` of `what`, and their share of what the user stored.
fn show(what: &str, bytes: u64, user_bytes: u64) {
    println!("{what:28} {bytes:12} {:6.3}", bytes as f64 / user_bytes as f64);
}

fn main() {
    let is_measured = std::env::args().any(|arg| arg == "--bench");
    let count = number_from("UARR_RECORDS", if is_measured { 1_000_000 } else { 10_000 });
    let value_bytes = number_from("UARR_VALUE_BYTES", 128);
    let factor = if number_from("UARR_SCATTERED", 0) > 0 { SCATTER } else { 1 };
    let user_bytes = count * (KEY_BYTES + value_bytes);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the run");
    let db = open(dir.path());
    let value = vec![7; value_bytes as usize];
    for number in 0..count {
        db.put(number.wrapping_mul(factor), &value).expect("there is room");
    }
    let begun = Instant::now();
    db.compact().expect("there is room");
    let compacted = begun.elapsed();
    let data_bytes = db.stats().data_bytes;
    db.close().expect("it can be closed");
    report(dir.path(), data_bytes, user_bytes);
    println!("compacted in {compacted:.0?}");
    times(dir.path(), count, factor);
}

/// What the files of a closed database take; records lie in `data_bytes` of the data file.
fn report(dir: &Path, data_bytes: u64, user_bytes: u64) {
    let [root, data, log, images] =
        ["", "data", "wal", "index"].map(|folder| disk_bytes(&dir.join(folder)));
    println!("{:28} {:>12} {:>6}", "bytes of", "all", "each");
    show("keys and values", user_bytes, user_bytes);
    show("headers and gaps", data_bytes - user_bytes, user_bytes);
    show("the rest of the data file", data - data_bytes, user_bytes);
    show("the log", log, user_bytes);
    show("index images", images, user_bytes);
    show("superblock and lock", root, user_bytes);
    show("all files", root + data + log + images, user_bytes);
}

/// How long opening takes, and a checkpoint of all keys.
fn times(dir: &Path, count: u64, factor: u64) {
    let mut opened = Duration::MAX;
    let mut taken = Duration::MAX;
    for round in 0..3 {
        let begun = Instant::now();
        let db = open(dir);
        opened = opened.min(begun.elapsed());
        db.put((round % count).wrapping_mul(factor), b"other").expect("there is room");
        let begun = Instant::now();
        db.checkpoint().expect("there is room");
        taken = taken.min(begun.elapsed());
        db.close().expect("it can be closed");
    }
    println!("opened in {opened:.1?}, checkpoint in {taken:.1?}");
}
