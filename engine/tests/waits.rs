//! What writers have waited for stands in the statistics, each thing by itself.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::disallowed_methods, reason = "a device that does not answer takes its time")]

use std::time::Duration;

use uarr::{Builder, Db, Durability, ErrorKind, WhenFull, WriteWaits};
use uarr_disk_sim::Memory;

const CHUNK_BYTES: u64 = 1 << 16;
const VALUE: [u8; 1000] = [7; 1000];

fn builder() -> Builder {
    let sizes = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(CHUNK_BYTES);
    sizes.address_space_bytes(1 << 30)
}

/// How often writers waited for buffers, space, compaction and room.
fn counts(waits: &WriteWaits) -> [u64; 4] {
    [waits.buffer, waits.space, waits.garbage, waits.room].map(|wait| wait.count)
}

/// A writer that is faster than the background gets chunks and segments itself.
#[test]
fn space_that_a_writer_gets_itself_counts() {
    let db = builder().durability(Durability::Manual).open_on(Memory::new()).unwrap();
    let put = |number: u32| db.put(number.to_be_bytes(), VALUE).unwrap();
    let space_count = || db.stats().waits.space.count;
    let put_count = (0..500_000).map(put).take_while(|_| space_count() == 0).count();
    assert!(put_count < 500_000, "nobody got space itself");
    assert!(db.stats().waits.space.max > 0);
}

/// While the device does not answer, writers wait for buffers.
#[test]
fn a_buffer_that_a_writer_waits_for_counts() {
    let disk = Memory::new();
    let builder = builder().durability(Durability::Interval(Duration::from_millis(1)));
    let db = builder.open_on(disk.clone()).unwrap();
    let waits_in = |pause: Duration| {
        disk.answer(Some(0));
        std::thread::scope(|scope| {
            let write = || (0..8000u32).for_each(|key| drop(db.put(key.to_be_bytes(), VALUE)));
            scope.spawn(write);
            std::thread::sleep(pause);
            disk.answer(None);
        });
        db.stats().waits.buffer.count > 0
    };
    assert!((1..20).any(|turn| waits_in(turn * Duration::from_millis(10))), "nobody waited");
}

/// An error in place of waiting is no wait, and without a background there is none.
#[test]
fn what_is_no_wait_does_not_count() {
    for background in [false, true] {
        let disk = Memory::new();
        let builder = builder().background(background).when_full(WhenFull::Error);
        let db = builder.open_on(disk.clone()).unwrap();
        db.put("a", VALUE).unwrap();
        disk.set_capacity(Some(0));
        let refused = (0..10_000u32).find_map(|number| db.put(number.to_be_bytes(), VALUE).err());
        assert_eq!(refused.unwrap().kind(), ErrorKind::NoSpace);
        let waits = counts(&db.stats().waits);
        assert_eq!((waits[0], waits[2], waits[3]), (0, 0, 0), "{background}");
        assert!(background || waits[1] == 0);
    }
}

/// Whoever overwrites faster than compaction gives back waits for it, and on a full disk as long as
/// there is something to give back.
#[test]
fn compaction_and_room_that_are_waited_for_count() {
    const PUT_COUNT_MAX: u32 = 1_000_000;
    let disk = Memory::new();
    let builder = builder().durability(Durability::Manual);
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
