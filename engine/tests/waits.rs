//! What writers have waited for stands in the statistics, each thing by itself.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use uarr::{Builder, Db, Durability, ErrorKind, WhenFull, WriteWaits};
use uarr_disk_sim::Memory;

const CHUNK_BYTES: u64 = 1 << 16;
const VALUE: [u8; 1000] = [7; 1000];

fn builder() -> Builder {
    let sizes = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(CHUNK_BYTES);
    sizes.address_space_bytes(1 << 26).background(false)
}

/// How often writers waited for buffers, space, compaction and room.
fn counts(waits: &WriteWaits) -> [u64; 4] {
    [waits.buffer, waits.space, waits.garbage, waits.room].map(|wait| wait.count)
}

/// Without a background writers get each chunk and each segment themselves.
#[test]
fn space_that_a_writer_gets_itself_counts() {
    let db = builder().open_on(Memory::new()).unwrap();
    for number in 0..1000u32 {
        db.put(number.to_be_bytes(), VALUE).unwrap();
    }
    let [buffer, space, garbage, room] = counts(&db.stats().waits);
    assert!((1000 * 1000 / CHUNK_BYTES..1000).contains(&space), "{space}");
    assert_eq!([buffer, garbage, room], [0; 3]);
}

/// Without a log thread the writer that finds no buffer writes a group.
#[test]
fn a_buffer_that_a_writer_waits_for_counts() {
    let builder = builder().durability(Durability::Interval(Duration::from_secs(3600)));
    let db = builder.open_on(Memory::new()).unwrap();
    for number in 0..4000u32 {
        db.put(number.to_be_bytes(), VALUE).unwrap();
    }
    let [buffer, space, ..] = counts(&db.stats().waits);
    assert!(buffer > 0);
    assert!(space > 0);
}

/// An error in place of waiting is no wait.
#[test]
fn a_refusal_does_not_count() {
    let disk = Memory::new();
    let db = builder().when_full(WhenFull::Error).open_on(disk.clone()).unwrap();
    db.put("a", VALUE).unwrap();
    disk.set_capacity(Some(0));
    let before = counts(&db.stats().waits);
    let refused = (0..10_000u32).find_map(|number| db.put(number.to_be_bytes(), VALUE).err());
    assert_eq!(refused.unwrap().kind(), ErrorKind::NoSpace);
    assert_eq!(counts(&db.stats().waits)[2..], before[2..]);
}

/// Whoever overwrites faster than compaction gives back waits for it, and on a full disk as long as
/// there is something to give back.
#[test]
fn compaction_and_room_that_are_waited_for_count() {
    const PUT_COUNT_MAX: u32 = 1_000_000;
    let disk = Memory::new();
    let builder = builder().background(true).durability(Durability::Manual);
    let db = builder.space_amplification_max(1.2).open_on(disk.clone()).unwrap();
    let garbage_count = || db.stats().waits.garbage.count;
    let overwrite = |number: u32| db.put((number * 7 % 1000).to_be_bytes(), VALUE).unwrap();
    let overwritten = (0..PUT_COUNT_MAX).map(overwrite).take_while(|_| garbage_count() == 0);
    assert!(overwritten.count() < PUT_COUNT_MAX as usize, "nobody waited for compaction");
    disk.set_capacity(Some(disk.used_bytes()));
    let refused = (1000..PUT_COUNT_MAX).find_map(|key| db.put(key.to_be_bytes(), VALUE).err());
    assert_eq!(refused.unwrap().kind(), ErrorKind::NoSpace);
    let waits = db.stats().waits;
    assert!(waits.garbage.max > 0, "{waits:?}");
    assert!(waits.room.max > 0, "{waits:?}");
}
