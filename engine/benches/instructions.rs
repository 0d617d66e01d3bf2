//! Instructions of a get and of a put, in the default table and in another, which no noise of the
//! machine changes: `cargo bench -p uarr --bench instructions`.
//!
//! Runs itself under callgrind, which has to be installed, with 20,000 and 60,000 operations on a
//! database of 10,000 `u64` keys, or byte keys of 21 bytes, and values of 128 bytes, without
//! background threads, and prints the difference by operation. Calls of the kernel count as
//! nothing.
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::process::Command;

use uarr::{BackendChoice, Db, Durability, KeyKind, TableOptions};

const KEY_COUNT: u64 = 10_000;
const COUNTS: [u64; 2] = [20_000, 60_000];
const VALUE: [u8; 128] = [7; 128];

/// The next of numbers that look random.
fn next(number: &mut u64) -> u64 {
    *number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
    (*number >> 33) % KEY_COUNT
}

fn get(db: &Db, count: u64) {
    let mut number = 7;
    for _ in 0..count {
        let record = db.get(next(&mut number)).expect("no damage").expect("it is there");
        std::hint::black_box(record.bytes()[0]);
    }
}

fn get_many(db: &Db, count: u64) {
    let mut number = 7;
    for _ in 0..count / 16 {
        let keys: [u64; 16] = std::array::from_fn(|_| next(&mut number));
        let records = db.get_many(&keys).expect("no damage");
        std::hint::black_box(records.len());
    }
}

fn put(db: &Db, count: u64) {
    let mut number = 7;
    for _ in 0..count {
        db.put(next(&mut number), VALUE).expect("there is room");
    }
}

/// Keys that are not there, in no order.
fn new_keys(count: u64) -> impl Iterator<Item = u64> {
    (KEY_COUNT..KEY_COUNT + count).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn put_new(db: &Db, count: u64) {
    new_keys(count).for_each(|key| assert!(db.put(key, VALUE).is_ok()));
}

fn insert_new(db: &Db, count: u64) {
    for key in new_keys(count) {
        assert!(db.insert(key, VALUE).expect("there is room").is_written());
    }
}

/// Byte keys, in no order: those that are there, and new ones. As many whatever is counted, so
/// that making them is no part of the difference.
fn byte_keys() -> Vec<String> {
    let key = |number: u64| format!("user:{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (0..KEY_COUNT + COUNTS[1]).map(key).collect()
}

fn get_bytes(db: &Db, count: u64) {
    let (keys, mut number) = (byte_keys(), 7);
    for _ in 0..count {
        let key = &keys[next(&mut number) as usize];
        let record = db.get(key).expect("no damage").expect("it is there");
        std::hint::black_box(record.bytes()[0]);
    }
}

fn put_bytes(db: &Db, count: u64) {
    let (keys, mut number) = (byte_keys(), 7);
    for _ in 0..count {
        db.put(&keys[next(&mut number) as usize], VALUE).expect("there is room");
    }
}

fn put_new_bytes(db: &Db, count: u64) {
    let keys = byte_keys();
    for key in &keys[KEY_COUNT as usize..][..count as usize] {
        db.put(key, VALUE).expect("there is room");
    }
}

type Operation = fn(&Db, u64);
const OPERATIONS: [(&str, Operation); 16] = [
    ("get", get),
    ("get_many of 16, a key", get_many),
    ("memory-first put", put),
    ("memory-first put of a new key", put_new),
    ("memory-first insert", insert_new),
    ("get in a table", get),
    ("memory-first put in a table", put),
    ("get, byte keys", get_bytes),
    ("memory-first put, byte keys", put_bytes),
    ("memory-first put of a new key, byte keys", put_new_bytes),
    ("get, byte keys in a table", get_bytes),
    ("memory-first put, byte keys in a table", put_bytes),
    ("memory-first put of a new key, byte keys in a table", put_new_bytes),
    ("get, byte keys in a table without order", get_bytes),
    ("memory-first put, byte keys in a table without order", put_bytes),
    ("memory-first put of a new key, byte keys in a table without order", put_new_bytes),
];

/// What runs under callgrind.
fn run(name: &str, operation: Operation, count: u64) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the run");
    let kind = if name.contains("byte keys") { KeyKind::Bytes } else { KeyKind::U64 };
    let builder = Db::builder(dir.path()).keys(kind).durability(Durability::Manual);
    // As much as valgrind can map.
    let builder = builder.address_space_bytes(1 << 30);
    let db = builder.background(false).backend(BackendChoice::Syscalls).open().expect("it opens");
    let options = match name.ends_with("without order") {
        true => TableOptions::new().unordered(),
        false => TableOptions::new().keys(kind),
    };
    let table =
        name.contains("in a table").then(|| db.table_with("t", options).expect("it is made"));
    let db = table.as_deref().unwrap_or(&db);
    match kind {
        KeyKind::Bytes => {
            let keys = &byte_keys()[..KEY_COUNT as usize];
            keys.iter().for_each(|key| assert!(db.put(key, VALUE).is_ok()));
        }
        _ => (0..KEY_COUNT).for_each(|key| assert!(db.put(key, VALUE).is_ok())),
    }
    operation(db, count);
    // Closing would write an image, of more keys where some are new.
    std::mem::forget(db.clone());
}

/// Instructions of the whole program, with so many operations.
fn instructions(name: &str, count: u64) -> Option<u64> {
    let itself = std::env::current_exe().ok()?;
    let mut callgrind = Command::new("valgrind");
    callgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(itself);
    callgrind.env("UARR_COUNTED", name).env("UARR_COUNT", count.to_string());
    let output = callgrind.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn main() {
    let find = |name: &String| OPERATIONS.iter().find(|(known, _)| known == name);
    if let Some((name, operation)) = std::env::var("UARR_COUNTED").ok().as_ref().and_then(find) {
        let count = std::env::var("UARR_COUNT").ok().and_then(|text| text.parse().ok());
        return run(name, *operation, count.unwrap_or(0));
    }
    if !std::env::args().any(|arg| arg == "--bench") {
        // As a test it shows that the operations work.
        return OPERATIONS.iter().for_each(|(name, operation)| run(name, *operation, 100));
    }
    for (name, _) in OPERATIONS {
        match COUNTS.map(|count| instructions(name, count)) {
            [Some(few), Some(many)] => {
                let each = (many - few) as f64 / (COUNTS[1] - COUNTS[0]) as f64;
                println!("{name}: {each:.1} instructions");
            }
            _ => println!("{name}: valgrind is missing, or does not know this program"),
        }
    }
}
