//! Commits allocate nothing once they are warm, and large batches do not keep what they took.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use allocation_counter::measure;
use uarr::{Db, Durability, KeyKind, WriteOptions};

/// Keys that are overwritten: growth of the index is not what is counted.
const KEY_COUNT: u64 = 64;

fn open(dir: &std::path::Path, durability: Durability) -> Db {
    Db::builder(dir).keys(KeyKind::U64).durability(durability).open().unwrap()
}

#[test]
fn a_warm_put_allocates_nothing() {
    for durability in [Durability::Sync, Durability::Manual] {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path(), durability);
        let put = |count: u64| {
            for number in 0..count {
                db.put(number % KEY_COUNT, number.to_le_bytes()).unwrap();
            }
        };
        put(2 * KEY_COUNT);
        let counts: Vec<u64> = (0..5).map(|_| measure(|| put(300)).count_total).collect();
        match durability {
            Durability::Sync => assert_eq!(counts, [0; 5]),
            // A log thread that is late with giving a group back makes one more necessary, now and
            // then.
            _ => assert!(counts.contains(&0), "{durability:?}: {counts:?}"),
        }
    }
}

#[test]
fn a_warm_put_of_a_task_allocates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), Durability::Sync);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let put = |count: u64| {
        runtime.block_on(async {
            for number in 0..count {
                let options = WriteOptions::new();
                db.with(options).put_async(number % KEY_COUNT, number.to_le_bytes()).await.unwrap();
            }
        });
    };
    put(2 * KEY_COUNT);
    // A late log thread, as above.
    let counts: Vec<u64> = (0..5).map(|_| measure(|| put(300)).count_total).collect();
    assert!(counts.contains(&0), "{counts:?}");
}

#[test]
fn a_large_batch_takes_one_copy_of_itself() {
    const VALUE_BYTES: usize = 1 << 20;
    const VALUE_COUNT: u64 = 72;
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path(), Durability::Sync);
    let value = vec![0xa5; VALUE_BYTES];
    let mut batch = db.batch();
    (0..VALUE_COUNT).for_each(|number| {
        batch.put(number, &value);
    });
    let info = measure(move || {
        batch.commit().unwrap();
    });
    let batch_bytes = VALUE_COUNT * VALUE_BYTES as u64;
    let peak_bytes = info.bytes_max;
    assert!(peak_bytes.abs_diff(batch_bytes) < 4 << 20, "{peak_bytes}");
    // The batch itself was allocated before.
    assert!(info.bytes_current <= -(batch_bytes as i64) + (1 << 20), "{}", info.bytes_current);
}
