//! What overwriting without end costs in space, bytes and latency:
//! `cargo bench -p uarr --bench overwrite`.
//!
//! A database of `UARR_LIVE_MIB` (256) is overwritten `UARR_ROUNDS` (10) times, random keys, values
//! of 1 KiB, one in sixteen of 16 KiB. `UARR_SNAPSHOT=1` holds an iterator that was made at the
//! start, and reads it to its end afterwards. It prints, round by round: the files' bytes on the
//! disk without the log and without the old versions that are kept for the iterator, by the bytes
//! of all keys and values; these versions; what was moved, and all that was written to the device,
//! by others too, by what the user wrote. At the end latencies of gets and durable puts, while
//! records are moved and with moving paused, in turns.
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use uarr::{Db, Durability, KeyKind};

const SMALL_BYTES: usize = 1 << 10;
const LARGE_BYTES: usize = 16 << 10;
const LARGE_EACH: u64 = 16;
const KEY_BYTES: u64 = 8;
const TURN_COUNT: usize = 6;
const TURN: Duration = Duration::from_secs(2);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
}

fn value_len(number: u64) -> usize {
    if number.is_multiple_of(LARGE_EACH) { LARGE_BYTES } else { SMALL_BYTES }
}

fn number_from(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Bytes on the disk below `dir`, of everything or of the log.
fn disk_bytes(dir: &Path) -> (u64, u64) {
    let (mut all, mut log) = (0, 0);
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the database").flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = metadata.blocks() * 512;
                all += bytes;
                log += if folder.ends_with("wal") { bytes } else { 0 };
            }
        }
    }
    (all, log)
}

/// Bytes on the disk of what lives, its garbage and the index images.
fn own_bytes(db: &Db, dir: &Path) -> u64 {
    let (all, log) = disk_bytes(dir);
    (all - log).saturating_sub(db.stats().space.retained_bytes)
}

/// Bytes that were written to the device that `dir` lies on, by others too. What the kernel counts
/// for a process is whole pages of its cache, of which only some blocks may be written.
fn written_bytes(dir: &Path) -> u64 {
    const SECTORS_WRITTEN: usize = 6;
    let device = std::fs::metadata(dir).expect("the directory of the run").dev();
    let major = (device >> 8 & 0xfff) | (device >> 32 & !0xfff);
    let minor = (device & 0xff) | (device >> 12 & !0xff);
    let text = std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat"));
    let text = text.unwrap_or_default();
    let sectors = text.split_whitespace().nth(SECTORS_WRITTEN);
    sectors.and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 512
}

fn percentile(sorted: &[u64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize] as f64 / 1000.0
}

/// Gets and durable puts for a while: their times in nanoseconds.
fn turn(db: &Db, random: &mut Random, key_count: u64) -> [Vec<u64>; 2] {
    let value = vec![7; LARGE_BYTES];
    let (mut gets, mut puts) = (Vec::new(), Vec::new());
    let end = Instant::now() + TURN;
    while Instant::now() < end {
        for _ in 0..64 {
            let number = random.next() % key_count;
            let begun = Instant::now();
            let record = db.get(number).expect("no damage").expect("no key is missing");
            std::hint::black_box(record.bytes()[0]);
            gets.push(begun.elapsed().as_nanos() as u64);
        }
        let number = random.next() % key_count;
        let begun = Instant::now();
        db.durable().put(number, &value[..value_len(number)]).expect("there is room");
        puts.push(begun.elapsed().as_nanos() as u64);
        // The rest is overwritten in memory, so that there is something to move.
        for _ in 0..32 {
            let number = random.next() % key_count;
            db.put(number, &value[..value_len(number)]).expect("there is room");
        }
    }
    [gets, puts]
}

fn main() {
    let is_measured = std::env::args().any(|arg| arg == "--bench");
    let (live_mib, rounds) = if is_measured { (256, 10) } else { (4, 2) };
    let live_bytes = number_from("UARR_LIVE_MIB", live_mib) << 20;
    let rounds = number_from("UARR_ROUNDS", rounds);
    let record_bytes =
        KEY_BYTES + (SMALL_BYTES as u64 * (LARGE_EACH - 1) + LARGE_BYTES as u64) / LARGE_EACH;
    let key_count = live_bytes / record_bytes;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the run");
    let builder = Db::builder(dir.path()).keys(KeyKind::U64);
    let durability = Durability::Interval(Duration::from_millis(100));
    let db = builder.durability(durability).open().expect("a new database");
    let value = vec![1; LARGE_BYTES];
    for number in 0..key_count {
        db.put(number, &value[..value_len(number)]).expect("there is room");
    }
    db.sync().expect("there is room");
    run(&db, dir.path(), key_count, rounds);
    if is_measured {
        compare(&db, key_count);
    }
    db.close().expect("it can be closed");
}

/// Overwrites, with or without an iterator that was made before.
fn run(db: &Db, dir: &Path, key_count: u64, rounds: u64) {
    let snapshot = (number_from("UARR_SNAPSHOT", 0) > 0).then(|| db.iter());

    overwrite(db, dir, key_count, rounds);
    if let Some(snapshot) = snapshot {
        let records = snapshot.map(|record| record.expect("no damage"));
        let count = records.filter(|record| record.bytes().iter().all(|byte| *byte == 1)).count();
        println!("the iterator shows {count} of {key_count} records as they were");
    }
}

/// Writes each key once a round on average, and prints what that has cost.
fn overwrite(db: &Db, dir: &Path, key_count: u64, rounds: u64) {
    let live_bytes = db.stats().space.live_bytes;
    let value = vec![2; LARGE_BYTES];
    if number_from("UARR_PAUSE", 0) > 0 {
        db.pause_compaction();
    }
    let mut random = Random(7);
    let (written_before, mut user_bytes, mut highest) = (written_bytes(dir), 0, 0.0f64);
    for round in 1..=rounds {
        let begun = Instant::now();
        for step in 0..key_count {
            let number = random.next() % key_count;
            let len = value_len(number);
            db.put(number, &value[..len]).expect("there is room");
            user_bytes += KEY_BYTES + len as u64;
            if step % 4096 == 0 {
                highest = highest.max(own_bytes(db, dir) as f64 / live_bytes as f64);
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let space = db.stats().space;
        println!(
            "round {round:2}: {:.2} without the log, at most {highest:.2}; old versions {:.2}; log \
             {} MiB; {:?}; moved {:.2}, written {:.2} a byte; {:.0} MB/s",
            own_bytes(db, dir) as f64 / live_bytes as f64,
            space.retained_bytes as f64 / live_bytes as f64,
            disk_bytes(dir).1 >> 20,
            [space.live_bytes, space.dead_bytes, space.waiting_bytes, space.free_bytes]
                .map(|bytes| (bytes as f64 / live_bytes as f64 * 100.0).round() / 100.0),
            space.moved_bytes as f64 / user_bytes as f64,
            (written_bytes(dir) - written_before) as f64 / user_bytes as f64,
            (live_bytes as f64 / 1e6) / seconds,
        );
    }
}

/// Latencies while records are moved, and with moving paused, in turns.
fn compare(db: &Db, key_count: u64) {
    let mut random = Random(8);
    let mut sums = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for index in 0..TURN_COUNT {
        let is_paused = index % 2;
        if is_paused == 1 {
            db.pause_compaction()
        } else {
            db.resume_compaction()
        }
        let [gets, puts] = turn(db, &mut random, key_count);
        sums[is_paused][0].extend(gets);
        sums[is_paused][1].extend(puts);
    }
    for (name, sums) in ["moving", "paused"].iter().zip(&mut sums) {
        for (what, times) in ["get", "durable put"].iter().zip(sums) {
            if !times.is_empty() {
                times.sort_unstable();
                let at = |share| percentile(times, share);
                println!(
                    "{name}: {what} p50 {:.2} us, p99 {:.2} us, p99.9 {:.2} us",
                    at(0.5),
                    at(0.99),
                    at(0.999)
                );
            }
        }
    }
}
