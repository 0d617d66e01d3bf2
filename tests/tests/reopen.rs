//! Opening after an end that was not orderly: what a reader sees is as durable as what a writer got
//! acknowledged, even if recovery read it from a cache, died meanwhile, or lost bytes become
//! readable again later.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use uarr::{Builder, Db, Durability, ErrorKind};
use uarr_disk_sim::{Death, FaultKind, Memory, MemoryOptions};
use uarr_layout::superblock::{SLOT_BYTES, SLOT_STRIDE_BYTES};
use uarr_tests::files::{Files, disk_of, files_of};
use uarr_tests::on_disk::{DATA_FILE, durable_ranges, groups, superblock};
use uarr_tests::tiny;

const BLOCK_BYTES: u32 = 512;

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

fn options() -> Builder {
    tiny().group_bytes(1 << 14)
}

fn disk_options(seed: u64) -> MemoryOptions {
    MemoryOptions { seed, block_bytes: BLOCK_BYTES, ..MemoryOptions::default() }
}

fn open(disk: &Memory) -> Db<Memory> {
    options().open_on(disk.clone()).unwrap()
}

fn records(db: &Db<Memory>) -> Records {
    let all = db.iter().map(|record| record.unwrap());
    all.map(|record| (record.key().to_vec(), record.bytes().to_vec())).collect()
}

/// The process ends without a close, and nothing that it wrote is lost.
fn kill(disk: &Memory, db: Db<Memory>, seed: u64) -> Memory {
    let after = disk.kill_with(seed);
    drop(db);
    after
}

/// All places of groups with this last LSN: segment file, offset and length.
fn places(files: &Files, last_lsn: u64) -> Vec<(String, usize, usize)> {
    let found = groups(files).into_iter().filter(|group| group.header.last_lsn() == last_lsn);
    found.map(|group| (group.path.clone(), group.offset, group.bytes())).collect()
}

/// The flush of a group failed, its writer got an error, and the next process reads it from the
/// cache of the device, which forgets it with the next loss of power. Flushing again asked for
/// nothing: the device had given it up.
//= test WAL-14
#[test]
fn a_group_that_was_only_in_a_cache_is_written_again_elsewhere() {
    let disk = Memory::with_options(disk_options(1));
    let db = open(&disk);
    let first = db.put("first", b"acknowledged").unwrap().lsn;
    let unproven = db.put("second", b"nothing proves it durable").unwrap().lsn;
    let disk = kill(&disk, db, 1);
    let before = files_of(&disk);
    let [(path, offset, len)] = &places(&before, unproven)[..] else { panic!("one place") };
    let (db, again) = (open(&disk), disk.crash());
    let seen = records(&db);
    assert_eq!(seen.len(), 2);

    // The old place reads as the medium has it, and everything else was flushed.
    let mut files = files_of(&again);
    files.get_mut(path).unwrap()[*offset..offset + len].fill(0);
    let db = open(&disk_of(&files, disk_options(2)));
    assert_eq!(records(&db), seen);
    assert_eq!(places(&files, first).len(), 1, "what was proven durable is not copied");
    // As before if it is the copy that cannot be read: one of the two is enough.
    let mut files = files_of(&again);
    let copy = places(&files, unproven).into_iter().find(|place| place.0 != *path).unwrap();
    files.get_mut(&copy.0).unwrap()[copy.1..copy.1 + copy.2].fill(0);
    assert_eq!(records(&open(&disk_of(&files, disk_options(3)))), seen);
}

/// The copy was followed by an acknowledged write, and then it is damaged: the old place holds the
/// same group, but a log that ends there has lost what came after.
//= test WAL-15
#[test]
fn what_follows_a_damaged_copy_is_missed() {
    let disk = Memory::with_options(disk_options(4));
    let db = open(&disk);
    let copied = db.put("first", b"copied").unwrap().lsn;
    let disk = kill(&disk, db, 4);
    let db = open(&disk);
    db.put("second", b"acknowledged").unwrap();
    let disk = kill(&disk, db, 5);
    let mut files = files_of(&disk);
    let [old, copy] = &places(&files, copied)[..] else { panic!("two places") };
    assert!(old.0 < copy.0);
    files.get_mut(&copy.0).unwrap()[copy.1 + 120] ^= 1;
    let opened = options().open_on(disk_of(&files, disk_options(5)));
    assert_eq!(opened.err().unwrap().kind(), ErrorKind::Corruption);
}

/// The last group was written over the one before it, which takes both away: no group stands in its
/// place behind the end of the log, and both acknowledged writes were gone without a word. The
/// header that went astray still says what was durable when it was written.
//= test WAL-4
#[test]
fn a_group_that_went_astray_over_the_one_before_it_is_noticed() {
    let disk = Memory::with_options(disk_options(7));
    let db = open(&disk);
    let lsns = ["first", "second", "third"].map(|key| db.put(key, b"acknowledged").unwrap().lsn);
    let disk = kill(&disk, db, 7);
    let mut files = files_of(&disk);
    let [second, third] = [lsns[1], lsns[2]].map(|lsn| places(&files, lsn).remove(0));
    assert_eq!(second.0, third.0, "both stand in one segment");
    let segment = files.get_mut(&third.0).unwrap();
    let block = BLOCK_BYTES as usize;
    assert!(third.2 <= block, "the group is one block");
    segment.copy_within(third.1..third.1 + block, second.1);
    segment[third.1..third.1 + block].fill(0);
    let opened = options().open_on(disk_of(&files, disk_options(8)));
    assert_eq!(opened.err().unwrap().kind(), ErrorKind::Corruption);
}

/// The same, but the write went to the middle of a block, or to the padding of the group before:
/// devices count sectors, and the log's blocks may have several. Readers looked only where blocks
/// begin, and only behind the end.
//= test WAL-4
#[test]
fn a_group_that_went_astray_into_a_block_is_noticed() {
    const BLOCK: usize = 4096;
    const SECTOR: isize = 512;
    let disk_options = |seed| MemoryOptions { block_bytes: BLOCK as u32, ..disk_options(seed) };
    let disk = Memory::with_options(disk_options(7));
    let db = open(&disk);
    let lsns = ["first", "second", "third"].map(|key| db.put(key, [7; 2000]).unwrap().lsn);
    let before = kill(&disk, db, 7);
    for sector in -2..4 {
        let mut files = files_of(&before);
        let [second, third] = [lsns[1], lsns[2]].map(|lsn| places(&files, lsn).remove(0));
        assert_eq!(second.0, third.0, "both stand in one segment");
        assert_eq!(second.1 + BLOCK, third.1, "the group is one block");
        let segment = files.get_mut(&third.0).unwrap();
        let astray = second.1.strict_add_signed(sector * SECTOR);
        let group = segment[third.1..third.1 + third.2].to_vec();
        segment[third.1..third.1 + BLOCK].fill(0);
        segment[astray..astray + group.len()].copy_from_slice(&group);
        let opened = options().open_on(disk_of(&files, disk_options(8)));
        assert_eq!(opened.err().unwrap().kind(), ErrorKind::Corruption, "sector {sector}");
    }
}

/// Opening dies at each of its calls, by kill or loss of power, and again at each in the next
/// attempt: what was acknowledged is there, and what the first whole opening showed never goes away
/// again.
#[test]
fn opening_may_die_at_any_call_twice_in_a_row() {
    let disk = Memory::with_options(disk_options(6));
    let db = options().durability(Durability::Manual).open_on(disk.clone()).unwrap();
    // A flight of several groups, and an end in another segment.
    for key in 0..24u8 {
        db.put([key], vec![key; 12_000]).unwrap();
    }
    db.sync().unwrap();
    let expected = records(&db);
    let unclean = kill(&disk, db, 6);
    let mut death_count = 0;
    for step in 1.. {
        let death = if step % 2 == 0 { Death::Kill } else { Death::PowerLoss };
        let disk = unclean.kill_with(step);
        disk.die_at(step, death, step);
        let Err(_) = options().open_on(disk.clone()) else { break };
        let Some(disk) = disk.remains() else { panic!("an error before call {step}") };
        disk.die_at(1 + step / 2, Death::PowerLoss, step + 1);
        let opened = options().open_on(disk.clone());
        let disk = disk.remains().unwrap_or_else(|| disk.crash());
        drop(opened);
        let db = open(&disk);
        assert_eq!(records(&db), expected, "died at call {step}");
        db.put("key", b"value").unwrap();
        let db = open(&disk.crash());
        assert_eq!(db.iter().count(), expected.len() + 1, "died at call {step}");
        assert!(db.verify(|_| {}).unwrap().is_clean(), "died at call {step}");
        death_count += 1;
    }
    assert!(death_count > 20, "{death_count} deaths");
}

/// The copy of the log's end is made in a segment that was prepared under another number. A loss of
/// power brings that name back and takes the groups that were copied, which nothing had proved
/// durable: the copy without a number of its own is no proof that they are missing.
#[test]
fn a_copy_that_got_no_number_proves_nothing() {
    let disk = Memory::with_options(disk_options(8));
    let db = open(&disk);
    for round in 0..3u8 {
        for key in 0..40u8 {
            db.put([key], vec![round; 12_000]).unwrap();
        }
        db.checkpoint().unwrap();
        while db.step().unwrap() {}
    }
    db.put("key", b"acknowledged").unwrap();
    let expected = records(&db);
    // The group is written and not flushed.
    disk.die_at(2, Death::Kill, 8);
    db.put("key", b"refused").unwrap_err();
    let unclean = disk.remains().unwrap();
    drop(db);
    let files = files_of(&unclean.kill_with(8));
    let last = groups(&files).into_iter().max_by_key(|group| group.header.last_lsn()).unwrap();
    let is_behind = |path: &String| path.starts_with("wal/") && *path > last.path;
    assert!(files.keys().any(is_behind), "a segment is prepared");

    let mut death_count = 0;
    for step in 1.. {
        let mut is_whole = false;
        for seed in 0..16 {
            let disk = unclean.kill_with(seed);
            disk.die_at(step, Death::PowerLoss, seed);
            is_whole = options().open_on(disk.clone()).is_ok();
            let Some(disk) = disk.remains() else { break };
            let db = options().open_on(disk).unwrap_or_else(|error| {
                panic!("died at call {step}, seed {seed}: {error}");
            });
            let mut found = records(&db);
            found.insert(b"key".to_vec(), b"acknowledged".to_vec());
            assert_eq!(found, expected, "died at call {step}, seed {seed}");
            death_count += 1;
        }
        if is_whole {
            break;
        }
    }
    assert!(death_count > 100, "{death_count} deaths");
}

/// A program that is killed and started again, for ever, with a write in each life or with none.
#[test]
fn killed_processes_do_not_fill_the_disk() {
    for writes in [0, 1] {
        let mut disk = Memory::with_options(disk_options(7));
        let builder = || options().checkpoint_log_bytes(1 << 20);
        let mut used_bytes_max = 0;
        for life in 0..300u64 {
            let db = builder().open_on(disk.clone()).unwrap();
            for _ in 0..writes {
                db.put(life.to_le_bytes(), b"value").unwrap();
            }
            assert_eq!(db.iter().count() as u64, writes * (life + 1));
            used_bytes_max = used_bytes_max.max(disk.used_bytes());
            disk = kill(&disk, db, life);
        }
        let segments = used_bytes_max >> 18;
        assert!(segments < 32, "{segments} segments' worth with {writes} writes in each life");
    }
}

/// The newest slot was lost twice in a row. Both lives behind it got the same high half of their
/// life number, and what the second one wrote was taken for remains of an older life.
//= test SUP-5
#[test]
fn lives_whose_slots_were_lost_are_told_apart() {
    let disk = Memory::with_options(disk_options(8));
    let db = open(&disk);
    db.put("life 0", b"value").unwrap();
    let mut disk = kill(&disk, db, 8);
    for life in 1..6u64 {
        let mut files = files_of(&disk);
        let start = superblock(&files).0 * SLOT_STRIDE_BYTES as usize;
        files.get_mut("superblock").unwrap()[start + SLOT_BYTES / 2] ^= 4;
        disk = disk_of(&files, disk_options(life));
        let db = open(&disk);
        assert_eq!(db.iter().count() as u64, life);
        db.put(format!("life {life}"), b"value").unwrap();
        disk = kill(&disk, db, life);
    }
    assert_eq!(open(&disk).iter().count(), 6);
}

/// What can be wrong with the file of an index image.
const IMAGE_DAMAGES: [&str; 4] = ["flipped", "cut", "empty", "missing"];

fn damage_newest_image(files: &mut Files, damage: &str) -> String {
    let path = files.keys().rfind(|path| path.starts_with("index/")).unwrap().clone();
    let bytes = files.get_mut(&path).unwrap();
    match damage {
        "flipped" => bytes[70] ^= 1,
        "cut" => bytes.truncate(bytes.len() - BLOCK_BYTES as usize),
        "empty" => bytes.clear(),
        _ => drop(files.remove(&path)),
    }
    path
}

/// After opening through the older checkpoint the damaged one was kept as "the one before", and the
/// sound one removed.
#[test]
fn one_sound_checkpoint_is_kept_through_any_number_of_damaged_images() {
    for (first, seed) in IMAGE_DAMAGES.into_iter().zip(20..) {
        let disk = Memory::with_options(disk_options(seed));
        let db = open(&disk);
        for round in 0..3u8 {
            db.put([round], vec![round; 3000]).unwrap();
            db.checkpoint().unwrap();
        }
        db.close().unwrap();
        let mut files = files_of(&disk);
        for (round, damage) in (3..9u8).zip([first].into_iter().chain(IMAGE_DAMAGES)) {
            let damaged = damage_newest_image(&mut files, damage);
            let disk = disk_of(&files, disk_options(seed));
            let db = open(&disk);
            assert_eq!(db.iter().count(), usize::from(round), "{damage} in round {round}");
            assert_eq!(db.recovery_report().notes.len(), 1, "{damage} in round {round}");
            assert!(!files_of(&disk).contains_key(&damaged), "the damaged image is removed");
            db.put([round], vec![round; 3000]).unwrap();
            db.checkpoint().unwrap();
            db.close().unwrap();
            files = files_of(&disk);
        }
    }
}

/// The newest image cannot be read, and opening through the older one dies at each of its calls.
/// Then the image can be read again. Replay had torn pages of what the newer checkpoint calls
/// durable.
//= test SUP-8
#[test]
fn a_checkpoint_that_was_given_up_does_not_come_back() {
    let disk = Memory::with_options(disk_options(30));
    let db = open(&disk);
    for round in 0..6u8 {
        db.put([round], vec![round; 9000]).unwrap();
        if round % 2 == 0 {
            db.checkpoint().unwrap();
        }
    }
    let expected = records(&db);
    let disk = kill(&disk, db, 30);
    let newest = files_of(&disk).into_keys().rfind(|path| path.starts_with("index/"));
    let newest = newest.unwrap();
    let files = files_of(&disk);
    let mut given_up_count = 0;
    for step in 1.. {
        let disk = disk_of(&files, disk_options(step));
        let is_unreadable = Arc::new(AtomicBool::new(true));
        let (fails, path) = (is_unreadable.clone(), newest.clone());
        disk.filter_reads(Arc::new(move |read, bytes: &mut [u8]| {
            if read == path && fails.load(Ordering::Relaxed) {
                bytes[80] ^= 1;
            }
        }));
        disk.die_at(step, Death::PowerLoss, step);
        let opened = options().open_on(disk.clone());
        let disk = disk.remains().unwrap_or_else(|| disk.crash());
        is_unreadable.store(false, Ordering::Relaxed);
        let is_over = opened.is_ok();
        drop(opened);
        given_up_count += u64::from(!files_of(&disk).contains_key(&newest));
        let db = open(&disk);
        assert_eq!(records(&db), expected, "died at call {step}");
        assert!(db.verify(|_| {}).unwrap().is_clean(), "died at call {step}");
        if is_over {
            break;
        }
    }
    assert!(given_up_count > 5, "it was given up in {given_up_count} runs");
}

/// A write fails, its process dies, and opening cuts it. Its record stood on in the unused end of
/// the data file.
//= test DAT-6
#[test]
fn what_was_cut_is_gone_from_the_data_file() {
    const CUT: &[u8] = b"of a put that returned an error";
    let mut cut_count = 0;
    for seed in 0..20 {
        let disk = Memory::with_options(disk_options(seed));
        let db = open(&disk);
        db.put("key", b"old").unwrap();
        disk.fail_next(FaultKind::LogWrite, 1);
        db.put("key", CUT).unwrap_err();
        let disk = kill(&disk, db, seed);
        let holds_cut =
            |disk: &Memory| files_of(disk)[DATA_FILE].windows(CUT.len()).any(|bytes| bytes == CUT);
        let was_there = holds_cut(&disk);
        let db = open(&disk);
        let value = records(&db).remove(&b"key"[..]).unwrap();
        if value == b"old" {
            assert!(!holds_cut(&disk), "with seed {seed}");
            cut_count += u64::from(was_there);
        }
    }
    assert!(cut_count > 0, "the failed write always arrived");
}

/// Where a file system cannot zero a range, opening cuts it off and makes the file as long again.
/// It may die in between.
#[test]
fn a_data_file_that_ends_behind_its_tail_is_opened() {
    let disk = Memory::with_options(disk_options(50));
    let db = open(&disk);
    db.put("first", vec![1; 3_000]).unwrap();
    db.checkpoint().unwrap();
    db.put("second", vec![2; 100_000]).unwrap();
    let expected = records(&db);
    let disk = kill(&disk, db, 50);
    let files = files_of(&disk);
    let tail = durable_ranges(&files).iter().map(|range| range.end).max().unwrap();
    let whole_bytes = files[DATA_FILE].len();
    for bytes in (tail.next_multiple_of(4096)..=whole_bytes).step_by(4096) {
        let mut files = files.clone();
        files.get_mut(DATA_FILE).unwrap().truncate(bytes);
        let disk = disk_of(&files, disk_options(51));
        let db = open(&disk);
        assert_eq!(records(&db), expected, "of {bytes} bytes");
        db.put("third", b"more").unwrap();
        db.checkpoint().unwrap();
        assert!(db.verify(|_| {}).unwrap().is_clean(), "of {bytes} bytes");
        drop(db);
        assert_eq!(records(&open(&disk)).len(), 3);
    }
}

/// The first of several groups that were at the device together is damaged at rest. They all call
/// durable what was so when they were submitted, so until a later group is written they look like
/// the end of a crash: this is what `docs/DURABILITY.md` says is not protected. The next group ends
/// it, and so does the next opening.
//= test WAL-4
#[test]
fn damage_to_the_first_group_of_a_flight_is_found_once_something_is_behind_the_flight() {
    let disk = Memory::with_options(disk_options(40));
    let db = options().durability(Durability::Manual).open_on(disk.clone()).unwrap();
    db.put("before", b"durable").unwrap();
    db.sync().unwrap();
    let mut last_lsns = Vec::new();
    // Four full groups, and one that is still open.
    for key in 0..5u8 {
        last_lsns.push(db.put([key], vec![key; 12_000]).unwrap().lsn);
    }
    while db.step().unwrap() {}
    assert_eq!(places(&files_of(&disk), last_lsns[3]).len(), 1, "written");
    assert_eq!(places(&files_of(&disk), last_lsns[4]).len(), 0, "not written");
    let in_flight = files_of(&disk);
    db.sync().unwrap();
    let behind = files_of(&disk);
    drop(db);
    let damaged = |files: &Files| {
        let mut files = files.clone();
        let (path, offset, _) = places(&files, last_lsns[0]).pop().unwrap();
        files.get_mut(&path).unwrap()[offset + 200] ^= 1;
        options().open_on(disk_of(&files, disk_options(41)))
    };
    let cut = damaged(&in_flight).unwrap();
    assert!(cut.recovery_report().torn_tail.is_some());
    assert_eq!(cut.iter().count(), 1, "the window that is documented");
    assert_eq!(damaged(&behind).err().unwrap().kind(), ErrorKind::Corruption);
    // Opening writes the flight again, and then all of it is proven.
    let disk = disk_of(&in_flight, disk_options(42));
    let db = open(&disk);
    assert_eq!(db.iter().count(), 5);
    let mut reopened = files_of(&disk);
    drop(db);
    for (path, offset, _) in places(&reopened, last_lsns[0]) {
        reopened.get_mut(&path).unwrap()[offset + 200] ^= 1;
    }
    let opened = options().open_on(disk_of(&reopened, disk_options(43)));
    assert_eq!(opened.err().unwrap().kind(), ErrorKind::Corruption);
}
