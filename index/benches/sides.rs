//! What each side of an index over byte keys costs: `cargo bench -p uarr-index --bench sides`.
//!
//! Prints the bytes of both sides by key, of 1,000,000 keys inserted in no order, and the
//! instructions of an insert, an overwrite and a get, with the ordered side and without it. For
//! these it runs itself under callgrind, which has to be installed, with 20,000 and 60,000
//! operations behind 100,000 keys, and prints the difference by operation.

use std::convert::Infallible;
use std::process::Command;

use uarr_index::{ByteIndex, ByteIndexOptions, KeySource, Memory};

const KEY_COUNT: u64 = 1_000_000;
/// Keys that are there before the operations that are counted.
const FIRST_COUNT: u64 = 100_000;
const COUNTS: [u64; 2] = [20_000, 60_000];

/// The keys; a payload is the place of its key, or lies a multiple of their number behind it.
struct Records(Vec<String>);

impl Records {
    fn new(count: u64) -> Self {
        let key = |place: u64| format!("user:{:016x}", place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self((0..count).map(key).collect())
    }

    fn put(&self, index: &ByteIndex, place: u64, payload: u64) -> Option<u64> {
        let Ok(before) = index.insert(self.0[place as usize].as_bytes(), payload, self);
        before
    }
}

impl KeySource for Records {
    type Error = Infallible;

    fn key(&self, payload: u64) -> Result<&[u8], Infallible> {
        Ok(self.0[payload as usize % self.0.len()].as_bytes())
    }
}

fn empty(ordered: bool) -> ByteIndex {
    ByteIndex::new(&Memory::new(), ByteIndexOptions { ordered, hash_seed: 0x5eed << 70 | 3 })
}

/// The place of the next key that is there; looks random.
fn next(number: &mut u64) -> u64 {
    *number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
    (*number >> 33) % FIRST_COUNT
}

fn insert(index: &ByteIndex, records: &Records, count: u64) {
    for place in FIRST_COUNT..FIRST_COUNT + count {
        assert_eq!(records.put(index, place, place), None);
    }
}

fn overwrite(index: &ByteIndex, records: &Records, count: u64) {
    let mut number = 7;
    for round in 1..=count {
        let place = next(&mut number);
        let payload = round * records.0.len() as u64 + place;
        assert!(records.put(index, place, payload).is_some());
    }
}

fn get(index: &ByteIndex, records: &Records, count: u64) {
    let mut number = 7;
    for _ in 0..count {
        let place = next(&mut number);
        assert_eq!(index.get(records.0[place as usize].as_bytes(), records), Ok(Some(place)));
    }
}

type Operation = fn(&ByteIndex, &Records, u64);
const OPERATIONS: [(&str, Operation); 3] =
    [("insert", insert), ("overwrite", overwrite), ("get", get)];

/// What runs under callgrind.
fn run(operation: Operation, ordered: bool, count: u64) {
    let (records, index) = (Records::new(FIRST_COUNT + COUNTS[1]), empty(ordered));
    (0..FIRST_COUNT).for_each(|place| assert_eq!(records.put(&index, place, place), None));
    operation(&index, &records, count);
}

/// Instructions of the whole program, with so many operations.
fn instructions(name: &str, ordered: bool, count: u64) -> Option<u64> {
    let itself = std::env::current_exe().ok()?;
    let mut callgrind = Command::new("valgrind");
    callgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(itself);
    callgrind.args([name, if ordered { "ordered" } else { "alone" }, &count.to_string()]);
    let output = callgrind.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn bytes_by_key(count: u64) {
    let (records, index) = (Records::new(count), empty(true));
    (0..count).for_each(|place| assert_eq!(records.put(&index, place, place), None));
    let stats = index.stats();
    let by_key = |bytes: usize| bytes as f64 / count as f64;
    let ordered = by_key(stats.ordered.map_or(0, |side| side.bytes));
    println!("bytes a key: hash side {:.1}, ordered side {ordered:.1}", by_key(stats.points.bytes));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [name, side, count] = &arguments[..] {
        let operation = OPERATIONS.iter().find(|(known, _)| known == name);
        let (_, operation) = operation.expect("it is one of its own");
        return run(*operation, side == "ordered", count.parse().expect("it is a number"));
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        // As a test it shows that the operations work.
        bytes_by_key(1000);
        let both =
            OPERATIONS.iter().flat_map(|(_, one)| [true, false].map(|ordered| (one, ordered)));
        return both.for_each(|(operation, ordered)| run(*operation, ordered, 100));
    }
    bytes_by_key(KEY_COUNT);
    for (name, _) in OPERATIONS {
        for ordered in [true, false] {
            match COUNTS.map(|count| instructions(name, ordered, count)) {
                [Some(few), Some(many)] => {
                    let each = (many - few) as f64 / (COUNTS[1] - COUNTS[0]) as f64;
                    let sides = if ordered { "both sides" } else { "hash side" };
                    println!("{name}, {sides}: {each:.1} instructions");
                }
                _ => println!("{name}: valgrind is missing, or does not know this program"),
            }
        }
    }
}
