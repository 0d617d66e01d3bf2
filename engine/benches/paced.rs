//! Which puts at a fixed rate take long, in a new database that grows:
//! `cargo bench -p uarr --bench paced`.
//!
//! Each of `UARR_ROUNDS` (3) rounds makes a database for each rate, memory first with an interval
//! of 100 ms, and puts values of 128 bytes under random keys for `UARR_SECONDS` (6). The generator
//! waits for the time of each put by looking at the clock. It prints how many puts took longer
//! than 300 us, the longest, and all of them together; and how often, and how long at most, one
//! waited for what the statistics tell apart.
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::time::{Duration, Instant};

use uarr::{Db, Durability, KeyKind, WriteWaits};

const VALUE: [u8; 128] = [7; 128];
const RATES: [u64; 3] = [10_000, 100_000, 300_000];
const LONG: Duration = Duration::from_micros(300);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        self.0 ^ self.0 >> 29
    }
}

fn number_from(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Times of the puts that took long, and what was waited for.
fn long_puts(rate: u64, count: u64) -> (Vec<Duration>, WriteWaits) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the run");
    let builder = Db::builder(dir.path()).keys(KeyKind::U64);
    let durability = Durability::Interval(Duration::from_millis(100));
    let db = builder.durability(durability).open().expect("a new database");
    let mut random = Random(1);
    let mut long = Vec::new();
    let start = Instant::now();
    for number in 0..count {
        let due = Duration::from_nanos(number * 1_000_000_000 / rate);
        while start.elapsed() < due {
            std::hint::spin_loop();
        }
        let begun = Instant::now();
        db.put(random.next(), VALUE.as_slice()).expect("there is room");
        long.extend(Some(begun.elapsed()).filter(|time| *time > LONG));
    }
    let waits = db.stats().waits;
    db.close().expect("it can be closed");
    (long, waits)
}

fn named(waits: &WriteWaits) -> String {
    let WriteWaits { buffer, space, garbage, room, .. } = waits;
    let all = [("buffers", buffer), ("space", space), ("compaction", garbage), ("room", room)];
    let told = all.map(|(what, wait)| {
        format!("{what} {} (max {:?})", wait.count, Duration::from_nanos(wait.max))
    });
    told.join(", ")
}

fn main() {
    let is_measured = std::env::args().any(|arg| arg == "--bench");
    let rounds = if is_measured { number_from("UARR_ROUNDS", 3) } else { 1 };
    let seconds = number_from("UARR_SECONDS", 6);
    for _ in 0..rounds {
        for rate in RATES {
            let count = if is_measured { rate * seconds } else { 100 };
            let (long, waits) = long_puts(rate, count);
            let all: Duration = long.iter().sum();
            let longest = long.iter().max().copied().unwrap_or_default();
            println!(
                "{rate} puts a second: {} took longer than {LONG:?}, the longest {longest:?}, all \
                 {all:?}; {}",
                long.len(),
                named(&waits)
            );
        }
    }
}
