//! What the simulator has found: one named test for each defect, with its story.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use uarr::{Builder, CommitPath, CommitStrategy, Durability, RecoveryMode};
use uarr_disk_sim::{Death, FaultKind, Lie, Memory};
use uarr_tests::tiny;
use uarr_uring::{AlignedBuffer, OpenMode, Storage, StorageFile};

fn options() -> Builder {
    tiny().commit_path(CommitPath::Fixed(CommitStrategy::Dsync))
}

/// A process that creates a database and is killed between naming the superblock and making the
/// name durable leaves a database that exists in the kernel's memory only. The next process opened
/// it and acknowledged writes, and the next loss of power took the name away with all of them: only
/// the log was left.
#[test]
fn a_database_whose_creator_was_killed_keeps_its_name() {
    let mut found_count = 0;
    for step in 1..200 {
        let disk = Memory::new();
        disk.die_at(step, Death::Kill, step);
        if options().open_on(disk.clone()).is_ok() {
            break;
        }
        let disk = disk.remains().unwrap();
        let db = options().open_on(disk.clone()).unwrap();
        found_count += u64::from(!db.recovery_report().created);
        db.put("key", "value").unwrap();
        let db = options().open_on(disk.crash()).unwrap();
        assert_eq!(db.get("key").unwrap().unwrap().bytes(), b"value", "died at call {step}");
    }
    assert!(found_count > 0, "no creation was interrupted at its very end");
}

/// Each unclean open skips LSNs that may have been given out before. If the newest superblock slot
/// could not be read, the skip started from the older slot and ended where the open before had
/// begun: LSNs of writes that were never durable, but acknowledged as visible, were given out
/// again.
//= test WAL-10
#[test]
fn no_lsn_is_given_out_twice_when_the_newest_slot_cannot_be_read() {
    for nth in 1..20 {
        let disk = Memory::new();
        let open = |disk: &Memory| options().durability(Durability::Manual).open_on(disk.clone());
        let db = open(&disk).unwrap();
        db.put("key", "0").unwrap();
        let disk = disk.crash();
        drop(db);
        let db = open(&disk).unwrap();
        let last = (0..5).map(|_| db.put("key", "1").unwrap().lsn).max().unwrap();
        let disk = disk.crash();
        drop(db);
        disk.fail_next(FaultKind::Read, nth);
        let Ok(db) = open(&disk) else { continue };
        let next = db.put("key", "2").unwrap().lsn;
        assert!(next > last, "read {nth} failed: LSN {next} was given out after {last}");
    }
}

/// The same if the device has lost the slot: each open has begun a segment, which says that there
/// was one. Opening took the older slot for the last word, and gave out the LSNs of visible writes
/// again.
//= test WAL-10
#[test]
fn no_lsn_is_given_out_twice_when_the_newest_slots_were_never_written() {
    let new = Memory::new();
    let open = |disk: &Memory| options().durability(Durability::Manual).open_on(disk.clone());
    let db = open(&new).unwrap();
    let mut disk = new.crash();
    drop(db);
    disk.lie(Lie::FlushSkipped { prefix: "superblock" });
    let mut last = 0;
    for nth in 0..4 {
        let db = open(&disk).unwrap();
        let lsn = db.put("key", "visible").unwrap().lsn;
        assert!(lsn > last, "open {nth}: LSN {lsn} was given out after {last}");
        last = lsn;
        disk = disk.crash();
        drop(db);
    }
}

/// Without background threads only the callers write groups. A durable write in a memory-first
/// database that found full groups before its own wrote the oldest, left the rest to a log thread
/// that was not there, and waited for ever.
#[test]
fn a_durable_write_without_background_brings_older_groups_along() {
    let disk = Memory::new();
    let db = options().durability(Durability::Manual).open_on(disk.clone()).unwrap();
    for key in 0..6u8 {
        db.put([key], vec![key; 20_000]).unwrap();
    }
    let commit = db.durable().put("last", "durable").unwrap();
    assert!(commit.is_durable);
    let disk = disk.crash();
    drop(db);
    let db = options().open_on(disk).unwrap();
    assert_eq!(db.iter().count(), 7);
}

/// Several groups can be in flight, in several segments. A process that is killed then leaves
/// groups that the next one can read although no process has flushed them. It made only the segment
/// in which the log ended durable, went on behind it, and the next loss of power tore a hole before
/// records that it had acknowledged.
#[test]
fn all_groups_that_were_in_flight_become_durable_when_the_database_is_opened() {
    let mut crossed_count = 0;
    for step in 1..400 {
        let disk = Memory::new();
        let db = options().open_on(disk.clone()).unwrap();
        disk.die_at(step, Death::Kill, step);
        let records = (0..60u8).map(|key| ([key], vec![key; 15_000]));
        let Err(_) = db.ingest(records) else { break };
        let disk = disk.remains().unwrap();
        let db = options().open_on(disk.clone()).unwrap();
        let count = db.iter().count();
        db.put("key", "value").unwrap();
        let again = options().open_on(disk.crash()).unwrap();
        assert_eq!(again.iter().count(), count + 1, "died at call {step}");
        crossed_count += u64::from(count > 20);
    }
    assert!(crossed_count > 0, "the first segment was never left");
}

/// The superblock slot that says "open again" was acknowledged by the disk and never written. The
/// older slot says "closed", both are sound, and the log, which held acknowledged writes, was not
/// even looked at.
//= test SUP-6
#[test]
fn a_lost_slot_does_not_hide_the_log_behind_a_closed_one() {
    let disk = Memory::new();
    options().open_on(disk.clone()).unwrap().close().unwrap();
    disk.lie(Lie::FlushSkipped { prefix: "superblock" });
    let db = options().open_on(disk.clone()).unwrap();
    let last = db.put("key", "value").unwrap().lsn;
    let disk = disk.crash();
    drop(db);
    let strict = options().recovery(RecoveryMode::Strict).open_on(disk.clone());
    assert!(strict.err().unwrap().to_string().contains("superblock at offset"));
    let db = options().open_on(disk).unwrap();
    assert_eq!(db.get("key").unwrap().unwrap().bytes(), b"value");
    assert_eq!(db.recovery_report().notes.len(), 1);
    assert!(db.put("key", "other").unwrap().lsn > last);
}

/// The first group of a segment is written together with the segment's header. If only the group
/// arrived, it was cut. If of the next life's first write only the header arrived, the old group
/// stood behind a valid header, and was taken for part of the log: a write that was gone came back.
#[test]
fn a_first_group_that_was_cut_stays_away_when_only_the_next_header_arrives() {
    const BLOCK: usize = 4096;
    const LOG: &str = "wal/0000000000000001.wal";
    let disk = Memory::new();
    options().open_on(disk.clone()).unwrap().close().unwrap();
    let blocks = |disk: &Memory| {
        let mut bytes = AlignedBuffer::new(2 * BLOCK);
        disk.open(LOG, OpenMode::Direct).unwrap().read_at(&mut bytes, 0).unwrap();
        bytes
    };
    let write = |disk: &Memory, index: usize, bytes: &AlignedBuffer| {
        let file = disk.open(LOG, OpenMode::Direct).unwrap();
        let start = index * BLOCK;
        file.write_at(&bytes[start..start + BLOCK], start as u64).unwrap();
        file.make_durable().unwrap();
    };
    // A life whose first write arrives without its first block.
    let first = disk.crash();
    let db = options().open_on(first.clone()).unwrap();
    let cut = first.crash();
    db.put("key", "cut").unwrap();
    write(&cut, 1, &blocks(&first));
    drop(db);
    // The next life does not see it, and only the first block of its own write arrives.
    let second = cut.crash();
    let db = options().open_on(second.clone()).unwrap();
    assert!(db.get("key").unwrap().is_none());
    let torn = second.crash();
    db.put("other", "lost").unwrap();
    write(&torn, 0, &blocks(&second));
    drop(db);
    let db = options().open_on(torn).unwrap();
    assert!(db.get("key").unwrap().is_none(), "a write that was gone came back");
}
