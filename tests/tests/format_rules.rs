//! Rules of `docs/FORMAT.md`, asked of the bytes of databases that the engine has written, and of
//! the engine where others have changed them.
//!
//! Other rules are proved where their subject has its tests: `make tidy` says if one has none.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::ops::Range;

use uarr::value::Patch;
use uarr::{Builder, Db, Durability, ErrorKind, RecoveryMode, uarr};
use uarr_disk_sim::{Death, Memory, MemoryOptions};
use uarr_layout::checksum::Seed;
use uarr_layout::chunk::{ChunkOpening, ChunkState};
use uarr_layout::frame::{FLAG_BATCH_CONTINUES, FrameHeader, FrameKind, Frames};
use uarr_layout::geometry::{
    CHUNK_HEADER_BYTES, FRAME_HEADER_BYTES, GROUP_HEADER_BYTES, PAGE_BYTES, align_up,
};
use uarr_layout::group::SegmentHeader;
use uarr_layout::limits::FORMAT_VERSION;
use uarr_layout::record::{ChunkHeader, Locator};
use uarr_layout::superblock::{SLOT_BYTES, SLOT_STRIDE_BYTES};
use uarr_tests::files::{Files, disk_of, files_of};
use uarr_tests::on_disk::{
    DATA_FILE, Placed, PlacedHeader, durable_ranges, groups, image_entries, image_locators,
    newest_table, record_headers, segment_number, superblock,
};
use uarr_tests::seal::{seal_group, seal_slot};
use uarr_tests::{Random, tiny};

const BLOCK: usize = 512;
const CHUNK: u64 = 1 << 16;
const SEGMENT: u64 = 1 << 18;

fn options() -> Builder {
    tiny().group_bytes(1 << 14)
}

fn disk_options(seed: u64) -> MemoryOptions {
    MemoryOptions { seed, block_bytes: BLOCK as u32, ..MemoryOptions::default() }
}

fn new_disk() -> Memory {
    Memory::with_options(disk_options(1))
}

fn open(disk: &Memory) -> Db<Memory> {
    options().open_on(disk.clone()).unwrap()
}

/// Opens a database that consists of `files`.
fn open_files(files: &Files) -> uarr::Result<Db<Memory>> {
    options().open_on(disk_of(files, disk_options(2)))
}

/// The damage of `path` that opening `files` reports, in both modes.
fn damage(files: &Files, path: &str) -> String {
    let mut said = String::new();
    for mode in [RecoveryMode::TolerateTornTail, RecoveryMode::Strict] {
        let opened = options().recovery(mode).open_on(disk_of(files, disk_options(2)));
        let error = opened.err().unwrap_or_else(|| panic!("damage of {path} is not seen"));
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        assert_eq!(error.corruption().unwrap().file, path, "{error}");
        said = error.to_string();
    }
    said
}

/// Power is lost.
fn crash(disk: &Memory, db: Db<Memory>) -> Memory {
    let after = disk.crash();
    drop(db);
    after
}

//= test SUP-2
#[test]
fn a_superblock_goes_to_the_slot_that_is_not_in_force_and_is_durable_at_once() {
    let disk = new_disk();
    open(&disk).close().unwrap();
    let mut opened = Some(open(&disk));
    let mut before = files_of(&disk);
    for round in 0..6u8 {
        match round % 3 {
            0 => {
                let db = opened.as_ref().unwrap();
                db.put("key", [round]).unwrap();
                db.checkpoint().unwrap();
            }
            1 => opened.take().unwrap().close().unwrap(),
            _ => opened = Some(open(&disk)),
        }
        let after = files_of(&disk);
        let ((slot, old), (new_slot, new)) = (superblock(&before), superblock(&after));
        assert_eq!(new_slot, 1 - slot, "round {round}");
        assert_eq!(new.generation.get(), old.generation.get() + 1, "round {round}");
        let kept = slot * SLOT_STRIDE_BYTES as usize;
        let kept = kept..kept + SLOT_BYTES;
        assert_eq!(before["superblock"][kept.clone()], after["superblock"][kept]);
        assert_eq!(files_of(&disk.crash())["superblock"], after["superblock"], "it is durable");
        before = after;
    }
}

//= test SUP-4
#[test]
fn a_slot_of_another_version_refuses_the_database_whatever_the_other_says() {
    let disk = new_disk();
    open(&disk).close().unwrap();
    let files = files_of(&disk);
    for slot in 0..2 {
        let mut files = files.clone();
        let bytes = &mut files.get_mut("superblock").unwrap()[slot * SLOT_STRIDE_BYTES as usize..];
        bytes[14..16].copy_from_slice(&(FORMAT_VERSION.1 + 1).to_le_bytes());
        seal_slot(bytes);
        assert_eq!(open_files(&files).err().unwrap().kind(), ErrorKind::OtherFormat);
    }
}

//= test WAL-1, WAL-10
#[test]
fn numbers_of_segments_and_records_rise_through_all_lives() {
    let mut disk = new_disk();
    let mut seen = BTreeSet::from([0]);
    let mut last_lsn = 0;
    for life in 0..6u64 {
        let db = open(&disk);
        for step in 0..60u64 {
            let lsn = db.put(step.to_le_bytes(), vec![7; 14_000]).unwrap().lsn;
            let first_after_crash = ((last_lsn >> 32) + 1) << 32;
            let next = match (step, life) {
                (0, 1..) => first_after_crash,
                _ => last_lsn + 1,
            };
            // A chunk that is opened takes one, too.
            assert!((next..=next + 1).contains(&lsn), "life {life}: {lsn} behind {last_lsn}");
            last_lsn = lsn;
            while db.step().unwrap() {}
            if step % 25 == 24 {
                db.checkpoint().unwrap();
            }
            let present: BTreeSet<_> =
                files_of(&disk).keys().filter_map(|path| segment_number(path)).collect();
            let highest = *seen.last().unwrap();
            let fresh = present.difference(&seen);
            assert!(fresh.clone().all(|number| *number > highest), "{present:?} after {highest}");
            seen.extend(fresh.copied().collect::<Vec<_>>());
        }
        disk = crash(&disk, db);
    }
    assert!(seen.len() > 20, "{seen:?}");
}

//= test WAL-2
#[test]
fn a_segment_has_its_number_only_when_it_is_whole_and_durable() {
    let mut made_count = 0;
    for step in 1.. {
        let disk = new_disk();
        let db = open(&disk);
        disk.die_at(step, Death::PowerLoss, step);
        // Longer than the room that the first segment has left, in the end.
        let Some(_) = (0..20u8).find_map(|key| db.put([key], vec![1; 15_000]).err()) else { break };
        drop(db);
        let files = files_of(&disk.remains().unwrap());
        let segments: Vec<_> = files.iter().filter(|(path, _)| path.ends_with(".wal")).collect();
        assert!(segments.iter().all(|(_, bytes)| bytes.len() as u64 == SEGMENT), "step {step}");
        made_count += usize::from(segments.len() > 1);
    }
    assert!(made_count > 0, "no death came behind a new segment");
}

//= test WAL-3
#[test]
fn a_group_is_one_write_on_its_own_blocks_and_stays_until_its_segment_is_recycled() {
    let disk = new_disk();
    let db = open(&disk);
    let mut random = Random::new(3);
    let mut before = files_of(&disk);
    for step in 0..200u64 {
        db.put(step.to_le_bytes(), vec![step as u8; random.below(9000) as usize]).unwrap();
        let after = files_of(&disk);
        for Placed { path, offset, header } in groups(&before) {
            let blocks = offset..offset + align_up(header.group_bytes.get() as usize, BLOCK);
            let Some(now) = after.get(&path) else { continue };
            assert_eq!(before[&path][blocks.clone()], now[blocks], "{path} at {offset}");
        }
        before = after;
    }
    let all = groups(&before);
    let database = superblock(&before).1.database;
    for pair in all.windows(2).filter(|pair| pair[0].path == pair[1].path) {
        assert_eq!(align_up(pair[0].offset + pair[0].bytes(), BLOCK), pair[1].offset);
    }
    let firsts: Vec<_> = all.iter().filter(|group| group.offset == BLOCK).collect();
    assert!(firsts.len() > 2, "several segments were begun");
    for first in firsts {
        let number = segment_number(&first.path).unwrap();
        let header = SegmentHeader::load(&before[&first.path], &database, number).unwrap();
        assert_eq!(header.first_lsn, first.header.first_lsn);
    }
    let stats = db.stats();
    assert_eq!(stats.write_count, stats.group_count, "segment headers need no write of their own");
}

/// The files of a database that lost its power, whose last group is what `write` has written.
fn files_with(write: impl FnOnce(&Db<Memory>)) -> Files {
    let disk = new_disk();
    let db = open(&disk);
    write(&db);
    files_of(&crash(&disk, db))
}

/// Changes the last group and gives it checksums that fit.
fn change_last(files: &mut Files, change: impl FnOnce(&mut [u8])) -> Placed {
    let last = groups(files).into_iter().max_by_key(|group| group.header.last_lsn()).unwrap();
    let bytes = &mut files.get_mut(&last.path).unwrap()[last.offset..];
    change(&mut bytes[..last.bytes()]);
    seal_group(bytes).unwrap();
    last
}

//= test WAL-8
#[test]
fn a_batch_lies_whole_in_one_group() {
    let mut files = files_with(|db| {
        db.put("before", "alone").unwrap();
        let mut batch = db.batch();
        (0..300u16).for_each(|key| {
            batch.put(key.to_be_bytes(), vec![1; 400]);
        });
        batch.commit().unwrap();
    });
    let mut last = 0;
    let group = change_last(&mut files, |bytes| {
        let mut at = GROUP_HEADER_BYTES;
        for frame in Frames::new(&bytes[GROUP_HEADER_BYTES..]) {
            (last, at) = (at, at + frame.unwrap().len_in_log());
        }
    });
    let opened = group.header.frame_count.get() - 300;
    assert!((1..10).contains(&opened), "and chunks were opened: {opened}");
    assert_eq!(open_files(&files).unwrap().iter().count(), 301);
    change_last(&mut files, |bytes| bytes[last + 5] |= FLAG_BATCH_CONTINUES);
    assert!(damage(&files, &group.path).contains("a batch is not whole"));
}

//= test WAL-9
#[test]
fn the_log_goes_on_in_a_later_segment_and_numbers_may_be_left_out() {
    let disk = new_disk();
    let db = options().durability(Durability::Manual).open_on(disk.clone()).unwrap();
    // A segment is ready that the next group is too long for.
    db.put("first", vec![1; 100_000]).unwrap();
    db.sync().unwrap();
    while db.step().unwrap() {}
    db.put("long", vec![2; 2 * SEGMENT as usize]).unwrap();
    db.sync().unwrap();
    db.put("last", vec![3; 1000]).unwrap();
    db.sync().unwrap();
    let files = files_of(&crash(&disk, db));
    let used: BTreeSet<_> = groups(&files).iter().filter_map(|g| segment_number(&g.path)).collect();
    let numbers: Vec<_> = used.iter().copied().collect();
    assert!(numbers.windows(2).any(|pair| pair[1] > pair[0] + 1), "none was left out: {numbers:?}");
    assert_eq!(open_files(&files).unwrap().iter().count(), 3);
}

/// A database with two checkpoints and a log behind them, of which the first segments are free.
fn with_checkpoints() -> Files {
    files_with(|db| {
        for round in 0..3u8 {
            // More segments at first than are used again later.
            for step in 0..if round == 0 { 160 } else { 40u8 } {
                db.put([step % 40], vec![round; 12_000]).unwrap();
            }
            while db.step().unwrap() {}
            if round < 2 {
                db.checkpoint().unwrap();
            }
        }
    })
}

//= test WAL-11
#[test]
fn segments_before_the_older_checkpoint_are_not_needed() {
    let mut files = with_checkpoints();
    let older = superblock(&files).1.checkpoints[1];
    let is_free =
        |path: &String| segment_number(path).is_some_and(|number| number < older.segment.get());
    let free: Vec<_> = files.keys().filter(|path| is_free(path)).cloned().collect();
    assert!(!free.is_empty(), "nothing is proved");
    free.iter().for_each(|path| drop(files.remove(path)));
    // The newer checkpoint, and the older one where the newer cannot be used.
    assert_eq!(open_files(&files).unwrap().iter().count(), 40);
    let newer = superblock(&files).1.checkpoints[0].number;
    files.remove(&format!("index/{newer:016x}.img"));
    assert_eq!(open_files(&files).unwrap().iter().count(), 40);
}

//= test WAL-12
#[test]
fn a_segment_that_was_cut_is_damage_whatever_was_cut_off() {
    let files = with_checkpoints();
    let start = superblock(&files).1.checkpoints[0].segment.get();
    let needed = |path: &&String| segment_number(path).is_some_and(|number| number >= start);
    let mut begun_count = 0;
    for path in files.keys().filter(needed) {
        begun_count += usize::from(groups(&files).iter().any(|group| group.path == *path));
        let mut files = files.clone();
        let bytes = files.get_mut(path).unwrap();
        assert_eq!(bytes.len() as u64, SEGMENT);
        bytes.truncate(bytes.len() - BLOCK);
        assert!(damage(&files, path).contains("expected 262144 bytes"));
    }
    assert!(begun_count > 0);
}

//= test WAL-13
#[test]
fn a_patch_fits_its_base_and_leads_to_what_was_logged() {
    let mut base = 0;
    let files = files_with(|db| {
        db.put("other", uarr!({ "count": 1, "text": "long enough to be worth a patch" })).unwrap();
        db.delete("other").unwrap();
        db.put("key", uarr!({ "count": 1, "text": "long enough to be worth a patch" })).unwrap();
        let patch = Patch::from_record(uarr!([[0, ["count"], 2]])).unwrap();
        db.patch("key", &patch).unwrap();
    });
    const VALUE: usize = GROUP_HEADER_BYTES + FRAME_HEADER_BYTES + 8;
    const KEY_BYTES: usize = offset_of!(FrameHeader, key_bytes);
    let lsns: Vec<u64> = groups(&files)
        .iter()
        .map(|group| {
            let body = &files[&group.path][group.offset..][GROUP_HEADER_BYTES..group.bytes()];
            Frames::new(body).next().unwrap().unwrap().header.lsn.get()
        })
        .collect();
    let [other, tombstone, key, patched] = lsns[..] else { panic!("four groups") };
    change_last(&mut files.clone(), |bytes| {
        base = u64::from_le_bytes(bytes[VALUE..VALUE + 8].try_into().unwrap());
    });
    assert_eq!(base, key);
    let with = |at: usize, field: &[u8]| {
        let mut files = files.clone();
        let group =
            change_last(&mut files, |bytes| bytes[at..at + field.len()].copy_from_slice(field));
        damage(&files, &group.path)
    };
    let named = format!("which has version {key}");
    for wrong in [other, tombstone, patched, key + 8, 0] {
        assert!(with(VALUE, &wrong.to_le_bytes()).contains(&named), "base {wrong}");
    }
    // Of a key that was deleted, and of one that never was.
    for key in [b"other", b"never"] {
        let mut files = files.clone();
        let group = change_last(&mut files, |bytes| {
            bytes[GROUP_HEADER_BYTES + KEY_BYTES] = 5;
            bytes[VALUE - 8..VALUE - 3].copy_from_slice(key);
        });
        assert!(damage(&files, &group.path).contains("of its key, which has none"));
    }
    assert!(with(VALUE + 12, &[0; 4]).contains("led to another value"));
    assert_eq!(open_files(&files).unwrap().iter().count(), 1);
}

/// Frames of all groups, by LSN.
fn frames(files: &Files) -> Vec<(FrameHeader, Vec<u8>)> {
    let mut found = Vec::new();
    for group in groups(files) {
        let body = &files[&group.path][group.offset..][..group.bytes()][GROUP_HEADER_BYTES..];
        found.extend(Frames::new(body).map(|frame| {
            let frame = frame.unwrap();
            (frame.header, frame.value.to_vec())
        }));
    }
    found.sort_by_key(|(header, _)| header.lsn.get());
    found
}

//= test DAT-1, DAT-2, DAT-4, DAT-8
#[test]
fn records_lie_in_chunks_that_the_log_opens_and_versions_lead_back() {
    let disk = new_disk();
    let db = open(&disk);
    let mut random = Random::new(4);
    for step in 0..400u64 {
        let bytes = if step % 40 == 0 { 3 * CHUNK / 2 } else { random.below(9000) };
        db.put((step % 30).to_le_bytes(), vec![1; bytes as usize]).unwrap();
    }
    let files = files_of(&disk);
    let database = superblock(&files).1.database;
    let data = &files[DATA_FILE];
    let records = record_headers(&files);
    assert_eq!(records.len(), 400);
    let (mut places, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    let mut long_count = 0;
    let mut after = 0;
    let by_address: BTreeMap<u64, &PlacedHeader> =
        records.iter().map(|record| (record.address, record)).collect();
    for (header, value) in frames(&files) {
        let address = header.address.get();
        if header.kind != FrameKind::ChunkOpen as u8 {
            let record = by_address[&address];
            assert_eq!(record.header.lsn, header.lsn);
            let number = address / CHUNK;
            assert!(numbers.contains(&number), "a frame before it opens the chunk");
            let end = address % CHUNK + record.header.record_bytes() as u64;
            assert!(end <= CHUNK || address % CHUNK == CHUNK_HEADER_BYTES, "{address}");
            continue;
        }
        let opening = ChunkOpening::load(&value, address, CHUNK).unwrap();
        assert!(address >= after, "numbers of chunks rise");
        let (place, count) = (u64::from(opening.place.get()), u64::from(opening.count.get()));
        after = address + count * CHUNK;
        long_count += u64::from(count > 1);
        for index in 0..count {
            assert!(places.insert(place + index), "a place has one chunk");
            assert!(numbers.insert(address / CHUNK + index));
            let start = ((place + index) * CHUNK) as usize;
            let header = ChunkHeader::load_any(&data[start..], &database);
            assert_eq!(header.is_ok(), index == 0, "only the first chunk of a record has one");
            assert!(index > 0 || header.unwrap().address.get() == address);
        }
    }
    assert_eq!(long_count, 10);
    let lsns: BTreeMap<u64, u64> =
        records.iter().map(|record| (record.address, record.header.lsn.get())).collect();
    for PlacedHeader { address, header, .. } in records {
        let previous = Locator::from_bits(header.previous.get());
        let is_older = |previous: Locator| lsns[&previous.address()] < header.lsn.get();
        assert!(previous.is_none_or(is_older), "{address}");
    }
}

//= test DAT-1, DAT-8
#[test]
fn frames_that_name_impossible_places_are_refused() {
    const ADDRESS: usize = GROUP_HEADER_BYTES + offset_of!(FrameHeader, address);
    let files = files_with(|db| {
        for key in ["a", "b"] {
            db.put(key, "value").unwrap();
        }
        db.checkpoint().unwrap();
        for key in ["a", "b"] {
            db.delete(key).unwrap();
        }
    });
    let durable = newest_table(&files)[0].durable_bytes.get();
    let mut address = 0;
    let group = change_last(&mut files.clone(), |bytes| {
        address = u64::from_le_bytes(bytes[ADDRESS..ADDRESS + 8].try_into().unwrap());
    });
    assert!(address > u64::from(durable));
    for (wrong, expected) in [
        (u64::from(durable), "before one of an earlier frame"),
        (address + 8, "does not lie in a chunk"),
        (16, "does not lie in a chunk"),
        (CHUNK - 16, "does not lie in a chunk"),
        (CHUNK + CHUNK_HEADER_BYTES, "that no frame has opened"),
        (!15, "that no frame has opened"),
    ] {
        let mut files = files.clone();
        change_last(&mut files, |bytes| {
            bytes[ADDRESS..ADDRESS + 8].copy_from_slice(&wrong.to_le_bytes());
        });
        let said = damage(&files, &group.path);
        assert!(said.contains(expected), "address {wrong}: {said}");
    }
    assert_eq!(open_files(&files).unwrap().iter().count(), 0);
}

//= test DAT-5
#[test]
fn durable_bytes_of_chunks_stay_as_they_are() {
    let mut disk = new_disk();
    let mut fixed: Vec<(Range<usize>, Vec<u8>)> = Vec::new();
    for life in 0..4u64 {
        let db = open(&disk);
        for step in 0..50u64 {
            db.put(step.to_le_bytes(), vec![life as u8; 3000]).unwrap();
            let data = &files_of(&disk)[DATA_FILE];
            for (range, bytes) in &fixed {
                assert_eq!(data[range.clone()], *bytes, "life {life}");
            }
        }
        db.checkpoint().unwrap();
        let files = files_of(&disk);
        let survivors = files_of(&disk.crash());
        let ranges = durable_ranges(&files);
        assert!(ranges.iter().all(|range| (range.len() as u64).is_multiple_of(PAGE_BYTES)));
        let bytes = |range: Range<usize>| (range.clone(), files[DATA_FILE][range].to_vec());
        fixed = ranges.into_iter().map(bytes).collect();
        for (range, bytes) in &fixed {
            assert_eq!(survivors[DATA_FILE][range.clone()], *bytes);
        }
        db.put("behind it", "replayed").unwrap();
        disk = crash(&disk, db);
    }
}

//= test DAT-7
#[test]
fn a_data_file_may_be_longer_but_not_shorter_than_what_is_durable() {
    let mut files = with_checkpoints();
    let end = durable_ranges(&files).iter().map(|range| range.end).max().unwrap();
    let bytes = files.get_mut(DATA_FILE).unwrap();
    bytes.resize(bytes.len() + 3 * CHUNK as usize, 0);
    assert_eq!(open_files(&files).unwrap().iter().count(), 40);
    files.get_mut(DATA_FILE).unwrap().truncate(end - BLOCK);
    assert!(damage(&files, DATA_FILE).contains("expected at least"));
}

//= test IMG-3, IMG-4
#[test]
fn an_image_holds_newest_records_perhaps_later_than_its_checkpoint_and_no_tombstones() {
    let disk = new_disk();
    let db = options().durability(Durability::Manual).open_on(disk.clone()).unwrap();
    for key in ["changed", "deleted", "same"] {
        db.put(key, "early").unwrap();
    }
    db.sync().unwrap();
    // Applied, and not in the log yet when the checkpoint begins.
    let late = db.put("changed", "late").unwrap().lsn;
    db.delete("deleted").unwrap();
    db.put("new", "late").unwrap();
    db.checkpoint().unwrap();
    let files = files_of(&crash(&disk, db));
    let (_, block) = superblock(&files);
    let checkpoint = block.checkpoints[0];
    assert!(checkpoint.lsn.get() < late && late <= checkpoint.end_lsn.get());
    let entries = image_entries(&files, &block.database, checkpoint.number.get()).unwrap();
    let keys: Vec<_> = entries.iter().map(|(key, _)| key.as_slice()).collect();
    assert_eq!(keys, [&b"changed"[..], b"new", b"same"]);
    let records = record_headers(&files);
    let lsn_of = |locator: Locator| {
        let record = records.iter().find(|record| record.address == locator.address());
        record.unwrap().header.lsn.get()
    };
    assert_eq!(lsn_of(entries[0].1), late);
    assert!(lsn_of(entries[2].1) < late);
    // Replay of what the image holds already leads to the same state.
    let db = open_files(&files).unwrap();
    assert_eq!(db.get("changed").unwrap().unwrap().bytes(), b"late");
    assert!(db.get("deleted").unwrap().is_none());
    assert_eq!(db.iter().count(), 3);
}

//= test IMG-6
#[test]
fn an_image_is_durable_before_a_superblock_names_it_and_goes_when_none_does() {
    let disk = new_disk();
    let db = open(&disk);
    for round in 0..4u8 {
        db.put([round], vec![round; 3000]).unwrap();
        db.checkpoint().unwrap();
    }
    db.put("last", "put").unwrap();
    let files = files_of(&disk);
    drop(db);
    let named = |files: &Files| superblock(files).1.checkpoints.map(|kept| kept.number.get());
    let images = |files: &Files| -> Vec<String> {
        files.keys().filter(|path| path.starts_with("index/")).cloned().collect()
    };
    let paths = |numbers: [u64; 2]| numbers.map(|number| format!("index/{number:016x}.img"));
    let [newer, older] = named(&files);
    assert_eq!(images(&files), paths([older, newer]));
    let mut named_later_count = 0;
    for step in 1.. {
        let disk = disk_of(&files, disk_options(step));
        let db = open(&disk);
        disk.die_at(step, Death::PowerLoss, step);
        let Err(_) = db.checkpoint() else { break };
        let files = files_of(&disk.remains().unwrap());
        drop(db);
        let (_, block) = superblock(&files);
        for checkpoint in block.checkpoints {
            let number = checkpoint.number.get();
            let entries = image_entries(&files, &block.database, number);
            let count = entries.unwrap_or_else(|| panic!("image {number}, step {step}")).len();
            assert_eq!(count as u64, checkpoint.entry_count.get(), "step {step}");
        }
        named_later_count += u64::from(named(&files)[0] > newer);
    }
    assert!(named_later_count > 0, "no death came behind the superblock");
}

//= test DAT-9
#[test]
fn a_moved_record_is_the_same_in_another_chunk_and_the_log_does_not_say_it() {
    let files = files_with(|db| {
        for number in 0u64..40 {
            db.put(number.to_be_bytes(), [number as u8; 4000]).unwrap();
        }
        for number in (0u64..40).filter(|number| number % 8 != 0) {
            db.put(number.to_be_bytes(), b"short").unwrap();
        }
        db.compact().unwrap();
    });
    let headers = record_headers(&files);
    let chunks_of_frames: BTreeSet<u64> =
        frames(&files).iter().map(|(frame, _)| frame.address.get() / CHUNK).collect();
    let mut moved_count = 0;
    for (index, first) in headers.iter().enumerate() {
        let same = |other: &&PlacedHeader| other.header.lsn == first.header.lsn;
        let Some(copy) = headers[index + 1..].iter().find(same) else { continue };
        moved_count += 1;
        assert!(first.address / CHUNK < copy.address / CHUNK);
        let record = &files[DATA_FILE][first.offset..];
        let seed = Seed::new(&superblock(&files).1.database);
        assert_eq!(copy.header, first.header.moved_to(record, copy.address, seed));
    }
    assert!(moved_count >= 3, "{moved_count} records were moved");
    let opened = frames(&files).into_iter().filter(|(frame, _)| frame.kind == 7).count();
    assert!(opened <= chunks_of_frames.len(), "each chunk was opened once");
}

/// By place: its chunk, and since which checkpoint that is listed as not needed.
#[derive(Default)]
struct Owners {
    places: BTreeMap<u32, (u64, u64)>,
    quarantined_count: usize,
    reused_count: usize,
}

impl Owners {
    /// Looks at the newest checkpoint.
    fn look(&mut self, files: &Files) {
        let block = superblock(files).1;
        let [newest, older] = block.checkpoints.map(|checkpoint| checkpoint.number.get());
        if newest == 0 {
            return;
        }
        let named = image_locators(files, &block.database, newest).unwrap();
        let named: BTreeSet<u64> = named.iter().map(|locator| locator.address() / CHUNK).collect();
        for entry in newest_table(files) {
            let (number, since) = (entry.number.get(), entry.quarantined_since());
            if entry.state() == ChunkState::Quarantined {
                self.quarantined_count += 1;
                assert!(!named.contains(&number), "{entry:?}");
                assert_eq!((entry.durable_bytes.get(), entry.live_lines.get()), (0, 0));
            }
            let before = self.places.insert(entry.place.get(), (number, since));
            let Some((owner, since)) = before.filter(|(owner, _)| *owner != number) else {
                continue;
            };
            // When it was given away, two checkpoints were there at least before the newest one,
            // and the first of them listed the chunk that had the place.
            assert!((1..older).contains(&since), "chunk {owner} before {entry:?}");
            self.reused_count += 1;
        }
    }
}

//= test IMG-8
#[test]
fn a_place_has_another_chunk_only_when_the_older_checkpoint_lists_the_first() {
    let disk = new_disk();
    let db = open(&disk);
    let mut owners = Owners::default();
    for round in 0u8..40 {
        for number in 0u64..12 {
            db.put(number.to_be_bytes(), [round; 9000]).unwrap();
        }
        while db.step().unwrap() {
            owners.look(&files_of(&disk.crash()));
        }
        db.checkpoint().unwrap();
        owners.look(&files_of(&disk.crash()));
    }
    let Owners { quarantined_count, reused_count, .. } = owners;
    assert!(quarantined_count > 20 && reused_count > 10, "{quarantined_count} {reused_count}");
}
