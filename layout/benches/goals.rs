//! The ratios between rows: all of them interleaved in one run, medians, and the goals judged.
//!
//! Criterion (`values.rs`) times one row after the other and shows how its times spread; a ratio
//! needs both sides at the same moment, on a shared machine above all. With an argument only the
//! rows whose workload or contender contains it are timed, and nothing is judged.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use uarr_layout_benches::{Row, rows, sizes};

/// Rounds; each times every row once, so slow phases of the machine hit all rows alike.
const ROUNDS: usize = 201;
/// Shorter than the time slice of a process: most turns pass without an interruption, so that the
/// median is one without.
const ROW_TIME: Duration = Duration::from_millis(1);

type Medians = HashMap<(&'static str, &'static str), f64>;

fn main() {
    let mut rows = rows();
    // Cargo itself adds `--bench`.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if let Some(only) = &only {
        rows.retain(|row| format!("{}: {}", row.group, row.name).contains(only));
    }
    let medians = measure(&mut rows);
    println!("| workload | contender | ns |\n|---|---|---|");
    for row in &rows {
        println!("| {} | {} | {:.1} |", row.group, row.name, medians[&(row.group, row.name)]);
    }
    if only.is_some() {
        return;
    }
    println!("\n| value | format | bytes |\n|---|---|---|");
    for (value, format, bytes) in sizes() {
        println!("| {value} | {format} | {bytes} |");
    }
    println!("\n| goal | what | ratio | at most | |\n|---|---|---|---|---|");
    let missed = goals(&medians).into_iter().filter(|goal| !goal.judge()).count();
    println!("\n{missed} goals missed");
}

fn measure(rows: &mut [Row]) -> Medians {
    let iterations: Vec<u64> = rows.iter_mut().map(calibrate).collect();
    let mut times = vec![Vec::with_capacity(ROUNDS); rows.len()];
    for _ in 0..ROUNDS {
        for ((row, iterations), times) in rows.iter_mut().zip(&iterations).zip(&mut times) {
            let start = Instant::now();
            (row.run)(*iterations);
            times.push(start.elapsed().as_secs_f64() * 1e9 / *iterations as f64);
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    rows.iter().zip(&mut times).map(|(row, t)| ((row.group, row.name), median(t))).collect()
}

/// Iterations that take about [`ROW_TIME`]. The best of some attempts counts: one that was
/// interrupted would leave a row with too few.
fn calibrate(row: &mut Row) -> u64 {
    let mut iterations = 1;
    loop {
        let mut attempt = || {
            let start = Instant::now();
            (row.run)(iterations);
            start.elapsed()
        };
        let elapsed = (0..5).map(|_| attempt()).min().unwrap_or_default();
        if elapsed * 4 > ROW_TIME {
            let scale = ROW_TIME.as_secs_f64() / elapsed.as_secs_f64();
            return ((iterations as f64 * scale) as u64).max(1);
        }
        iterations *= 2;
    }
}

struct Goal {
    id: &'static str,
    what: &'static str,
    ratio: f64,
    at_most: f64,
}

impl Goal {
    fn judge(&self) -> bool {
        let is_met = self.ratio <= self.at_most;
        let verdict = if is_met { "met" } else { "missed" };
        println!(
            "| {} | {} | {:.3} | {} | {verdict} |",
            self.id, self.what, self.ratio, self.at_most
        );
        is_met
    }
}

fn goals(medians: &Medians) -> Vec<Goal> {
    let size = |value: &str, format: &str| {
        let found = sizes().into_iter().find(|size| size.0 == value && size.1 == format);
        found.expect("the size is listed").2 as f64
    };
    let ratio = |group: &'static str, a: &'static str, b: &'static str| {
        medians[&(group, a)] / medians[&(group, b)]
    };
    let goal = |id, what, ratio, at_most| Goal { id, what, ratio, at_most };
    let (enc, dec, val) = ("encode node", "decode node", "validate node");
    vec![
        goal("G1", "field of 10: FlexBuffers", ratio("get of 10", "uarr key", "flexbuffers"), 0.35),
        goal("G1", "field of 10: MessagePack", ratio("get of 10", "uarr key", "msgpack scan"), 0.2),
        goal("G1", "field of 10: HashMap", ratio("get of 10", "uarr key", "HashMap"), 1.2),
        goal(
            "G2",
            "field of 100: FlexBuffers",
            ratio("get of 100", "uarr key", "flexbuffers"),
            0.3,
        ),
        goal(
            "G2",
            "field of 1000: FlexBuffers",
            ratio("get of 1000", "uarr key", "flexbuffers"),
            0.3,
        ),
        goal("G3", "encode by shape: MessagePack", ratio(enc, "uarr shape", "msgpack"), 0.8),
        goal("G3", "encode by shape: rkyv", ratio(enc, "uarr shape", "rkyv"), 1.2),
        goal("G3", "encode by serde: serde_json", ratio(enc, "uarr serde", "serde_json"), 0.6),
        goal("G3", "encode by serde: MessagePack", ratio(enc, "uarr serde", "msgpack"), 2.0),
        goal("G4", "decode by serde: MessagePack", ratio(dec, "uarr serde", "msgpack"), 1.0),
        goal("G4", "decode by serde: serde_json", ratio(dec, "uarr serde", "serde_json"), 0.45),
        goal("G4", "decode by position: rkyv", ratio(dec, "uarr position", "rkyv checked"), 2.0),
        goal("G5", "validate: serde_json skip", ratio(val, "uarr", "serde_json skip"), 0.5),
        goal("G5", "known shapes: validate", ratio(val, "uarr known shapes", "uarr"), 0.6),
        goal("G5", "1000 names: 100", ratio(val, "uarr 1000 names", "uarr 100 names"), 15.0),
        goal("G6", "get + dot: dot", ratio("dot of 1536 f32", "uarr get + dot", "bare dot"), 1.2),
        goal("G6", "encode vector: memcpy", ratio("encode 1536 f32", "uarr slice", "memcpy"), 2.5),
        goal("G7", "bytes of the node: JSON", size("node", "uarr") / size("node", "json"), 0.92),
        goal(
            "G7",
            "bytes of the vector: JSON",
            size("vector", "uarr") / size("vector", "json"),
            0.37,
        ),
    ]
}
