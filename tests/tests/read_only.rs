//! Readers beside a process that writes, takes checkpoints, moves records and uses places again.
//!
//! Promise proved: each opening to read shows one moment, whole batches, everything that was
//! acknowledged before it; and it writes nothing. A reader whose moment is gone says so.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use uarr::{Builder, Db, ErrorKind, KeyKind, ReadOnly};
use uarr_tests::{scratch, small};

const DIRECTORY: &str = "UARR_READ_ONLY_CHILD";
const KEY_COUNT: u64 = 60;
/// So many views of readers are looked at.
const SHOWN_COUNT: u64 = 75;
/// How often the writer is faster is a matter of time: so many attempts are enough for any.
const ATTEMPT_COUNT_MAX: u64 = 20_000;

fn options(path: &Path) -> Builder {
    small(path).keys(KeyKind::U64).checkpoint_log_bytes(1 << 18)
}

/// What all keys have behind round `round`; lengths differ, so that chunks fill in many ways.
fn value(key: u64, round: u64) -> Vec<u8> {
    let count = 4 + (key * 37 + round * 11) % 300;
    round.to_le_bytes().repeat(count as usize)
}

fn write_rounds(path: &Path) -> uarr::Result<()> {
    let db = options(path).open()?;
    for round in 1u64.. {
        let mut batch = db.batch();
        for key in 0..KEY_COUNT {
            batch.put(key, value(key, round));
        }
        batch.commit()?;
        // The parent has ended if this fails.
        if writeln!(std::io::stdout(), "round {round}").is_err() {
            return Ok(());
        }
        match round % 8 {
            3 | 7 => db.checkpoint()?,
            5 => drop(db.compact()?),
            _ => {}
        }
    }
    Ok(())
}

/// Not a test of its own: what the child does.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    write_rounds(Path::new(&directory)).unwrap();
}

struct Writer {
    process: Child,
    acknowledged: Arc<AtomicU64>,
}

impl Writer {
    fn start(path: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(DIRECTORY, path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let acknowledged = Arc::new(AtomicU64::new(0));
        let heard = Arc::clone(&acknowledged);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The first stands behind what the test itself says.
                if let Some((_, round)) = line.split_once("round ") {
                    heard.store(round.parse().unwrap(), Ordering::Release);
                }
            }
        });
        Self { process, acknowledged }
    }

    fn round(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// The round that `reader` shows, in every key; 0: none.
fn shown_round(reader: &ReadOnly) -> uarr::Result<u64> {
    let mut rounds = BTreeMap::new();
    for record in reader.iter().chain(reader.iter().rev()) {
        let record = record?;
        let (key, bytes) = (record.key_u64().unwrap(), record.bytes());
        let round = u64::from_le_bytes(*bytes.first_chunk().unwrap());
        assert_eq!(bytes, value(key, round), "key {key}");
        rounds.insert(key, round);
    }
    let round = rounds.values().next().copied().unwrap_or(0);
    assert!(rounds.values().all(|found| *found == round), "a batch is split: {rounds:?}");
    assert!(round == 0 || rounds.len() as u64 == KEY_COUNT, "keys lack: {rounds:?}");
    Ok(round)
}

#[test]
fn readers_beside_a_writer_show_one_moment() {
    let home = scratch();
    let path = home.path().join("db");
    let writer = Writer::start(&path);
    while writer.round() < 3 {
        std::thread::yield_now();
    }
    let (mut shown_count, mut overtaken_count) = (0, 0);
    let mut kept: Option<(ReadOnly, u64)> = None;
    let mut attempt_count = 0;
    while shown_count < SHOWN_COUNT && attempt_count < ATTEMPT_COUNT_MAX {
        attempt_count += 1;
        let least = writer.round();
        let looked = options(&path).open_read_only().and_then(|reader| {
            let round = shown_round(&reader)?;
            assert!(round >= least, "round {least} was acknowledged, {round} is shown");
            let one = reader.get(7u64)?.unwrap();
            assert_eq!(one.bytes(), value(7, round));
            Ok((reader, round))
        });
        match looked {
            Ok(found) => {
                shown_count += 1;
                kept.get_or_insert(found);
            }
            Err(error) if error.kind() == ErrorKind::Overtaken => overtaken_count += 1,
            Err(error) => panic!("{error:?}"),
        }
        if let Some((reader, round)) = &kept {
            match shown_round(reader) {
                Ok(now) => assert_eq!(now, *round, "a reader keeps its moment"),
                Err(error) if error.kind() == ErrorKind::Overtaken => {
                    overtaken_count += 1;
                    kept = None;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    println!(
        "{shown_count} of {attempt_count} views, {overtaken_count} times overtaken, {} rounds",
        writer.round()
    );
    assert_eq!(shown_count, SHOWN_COUNT, "readers get through");
    drop(writer);
    // And behind its death, as opening does.
    let reader = Db::open_read_only(&path).unwrap();
    let round = shown_round(&reader).unwrap();
    let db = options(&path).open().unwrap();
    assert_eq!(db.get(7u64).unwrap().unwrap().bytes(), value(7, round));
}

/// Content and time of change of all files.
fn state_of(path: &Path) -> BTreeMap<String, (Vec<u8>, SystemTime)> {
    let mut files = BTreeMap::new();
    for folder in ["", "wal", "index", "data"] {
        for entry in std::fs::read_dir(path.join(folder)).unwrap() {
            let entry = entry.unwrap().path();
            let changed = entry.metadata().unwrap().modified().unwrap();
            let bytes = if entry.is_file() { std::fs::read(&entry).unwrap() } else { Vec::new() };
            files.insert(entry.display().to_string(), (bytes, changed));
        }
    }
    files
}

#[test]
fn reading_changes_no_file() {
    let home = scratch();
    let (path, copy) = (home.path().join("db"), home.path().join("copy"));
    let db = options(&path).open().unwrap();
    for key in 0..500 {
        db.put(key, value(key, 1)).unwrap();
    }
    db.checkpoint().unwrap();
    db.put(3u64, b"behind the checkpoint").unwrap();
    // A copy of an open database is one that was not closed.
    assert!(Command::new("cp").arg("-r").args([&path, &copy]).status().unwrap().success());
    db.close().unwrap();
    for path in [&path, &copy] {
        let before = state_of(path);
        let readers: Vec<_> = (0..3).map(|_| Db::open_read_only(path).unwrap()).collect();
        for reader in &readers {
            assert_eq!(reader.iter().filter(|record| record.is_ok()).count(), 500);
            assert_eq!(reader.get(3u64).unwrap().unwrap().bytes(), b"behind the checkpoint");
            assert!(reader.verify(|_| {}).unwrap().is_clean());
            assert!(reader.tables().is_empty());
            assert_eq!(reader.stats().unwrap().key_count, 500);
        }
        assert_eq!(state_of(path), before);
        // Readers hold nothing that a writer needs.
        let db = options(path).open().unwrap();
        db.put(3u64, b"a writer").unwrap();
        assert_eq!(readers[0].get(3u64).unwrap().unwrap().bytes(), b"behind the checkpoint");
        assert_eq!(
            Db::open_read_only(path).unwrap().get(3u64).unwrap().unwrap().bytes(),
            b"a writer"
        );
    }
}
