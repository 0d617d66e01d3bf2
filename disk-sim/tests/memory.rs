//! What a disk in memory keeps and forgets when its power goes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use uarr_disk_sim::{Fault, FaultKind, Lie, Memory, MemoryFile, MemoryLog, MemoryOptions};
use uarr_uring::{
    CommitStrategy, DataMap, DataMapWriter, GroupWrite, LogWriter, LogWriterOptions, MapPin,
    MappedChunk, OpenMode, PAGE_BYTES, Pinned, Storage, StorageFile,
};

const BLOCK: usize = 4096;
const CHUNK: u64 = 64 << 10;

fn content(disk: &Memory, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    Some(bytes)
}

/// A file whose name and `len` zeroes are durable.
fn durable_file(disk: &Memory, path: &str, len: u64) -> MemoryFile {
    let file = disk.open(path, OpenMode::CreateDirect).unwrap();
    file.allocate(0, len).unwrap();
    file.make_durable().unwrap();
    disk.make_dir_durable("").unwrap();
    file
}

#[test]
fn content_needs_its_flush_and_a_name_its_own() {
    let disk = Memory::new();
    let file = disk.open("a", OpenMode::CreateMapped).unwrap();
    file.write_at(b"abc", 0).unwrap();
    file.make_durable().unwrap();
    assert_eq!(content(&disk.crash(), "a"), None);
    disk.make_dir_durable("").unwrap();
    assert_eq!(content(&disk.crash(), "a").unwrap(), b"abc");
    file.write_at(b"x", 0).unwrap();
    file.allocate(0, 10).unwrap();
    assert_eq!(content(&disk.crash(), "a").unwrap(), b"abc");
    assert_eq!(content(&disk, "a").unwrap(), b"xbc\0\0\0\0\0\0\0");
    file.make_durable().unwrap();
    assert_eq!(content(&disk.crash().crash(), "a").unwrap(), b"xbc\0\0\0\0\0\0\0");
}

#[test]
fn a_crash_may_keep_what_was_not_durable() {
    let disk = Memory::new();
    durable_file(&disk, "a", 4096);
    disk.open("a", OpenMode::Mapped).unwrap().write_at(b"new", 0).unwrap();
    disk.open("b", OpenMode::CreateMapped).unwrap();
    let seen: BTreeSet<_> = (0..60)
        .map(|seed| {
            let after = disk.crash_with(seed);
            (content(&after, "a").unwrap()[0] == b'n', content(&after, "b").is_some())
        })
        .collect();
    assert_eq!(seen.len(), 4, "content and names survive independently");
    for seed in 0..10 {
        let twice = [0, 1].map(|_| content(&disk.crash_with(seed), "a"));
        assert_eq!(twice[0], twice[1], "the seed decides");
    }
}

#[test]
fn mapped_bytes_are_volatile_until_the_file_is_durable() {
    let disk = Memory::new();
    let file = disk.open("data", OpenMode::CreateMapped).unwrap();
    let (map, mut writer) = disk.map(&file, 4 * CHUNK, CHUNK, &[]).unwrap();
    writer.allocate(0..2).unwrap();
    disk.make_dir_durable("").unwrap();
    (0..2).for_each(|number| assert!(writer.open_chunks(number, number, 1)));
    writer.append(0, &[b"one"]);
    file.make_durable().unwrap();
    writer.append(3, &[b"two"]);
    writer.append(CHUNK, &[b"three"]);
    let after = content(&disk.crash(), "data").unwrap();
    assert_eq!(&after[..6], b"one\0\0\0");
    let chunk = CHUNK as usize;
    let seen: BTreeSet<_> = (0..60)
        .map(|seed| {
            let bytes = content(&disk.crash_with(seed), "data").unwrap();
            assert_eq!(&bytes[..3], b"one");
            (bytes[3] == b't', bytes[chunk] == b't')
        })
        .collect();
    assert_eq!(seen.len(), 4, "pages are stolen in any order");
    file.make_durable().unwrap();
    let after = disk.crash();
    let reopened = after.open("data", OpenMode::Mapped).unwrap();
    let chunk = |number, published_bytes| MappedChunk {
        number,
        place: number,
        published_bytes,
        continues: false,
    };
    let chunks = [chunk(0, 6), chunk(1, 5)];
    let (again, _) = after.map(&reopened, 4 * CHUNK, CHUNK, &chunks).unwrap();
    assert_eq!(read(&again, 0, 6, &MapPin::enter()), Some(b"onetwo".as_slice()));
    assert_eq!(read(&again, CHUNK, 5, &MapPin::enter()), Some(b"three".as_slice()));
    assert_eq!(read(&map, 0, 6, &MapPin::enter()), Some(b"onetwo".as_slice()));
}

fn log(disk: &Memory) -> MemoryLog {
    let strategy = CommitStrategy::Dsync;
    disk.log_writer(LogWriterOptions { strategy, buffer_count: 2, buffer_bytes: BLOCK }).unwrap()
}

/// Submits one block of `value`.
fn submit(log: &mut MemoryLog, file: &Arc<MemoryFile>, index: usize, value: u8) {
    let mut buffer = log.buffer(BLOCK);
    Arc::get_mut(&mut buffer).unwrap()[..BLOCK].fill(value);
    let (file, offset) = (Arc::clone(file), (index * BLOCK) as u64);
    log.submit(GroupWrite { file, offset, buffer, start: 0, len: BLOCK }).unwrap();
}

fn first_bytes(disk: &Memory, path: &str) -> Vec<u8> {
    content(disk, path).unwrap().chunks(BLOCK).map(|block| block[0]).collect()
}

#[test]
fn a_group_is_durable_when_it_completes() {
    let disk = Memory::new();
    let file = Arc::new(durable_file(&disk, "a", 2 * BLOCK as u64));
    let mut log = log(&disk);
    submit(&mut log, &file, 0, 1);
    submit(&mut log, &file, 1, 2);
    assert_eq!(first_bytes(&disk.crash(), "a"), [0, 0]);
    log.complete().unwrap().result.unwrap();
    assert_eq!(first_bytes(&disk.crash(), "a"), [1, 0]);
    log.complete().unwrap().result.unwrap();
    assert_eq!(first_bytes(&disk.crash(), "a"), [1, 2]);
}

#[test]
fn a_flush_that_overtakes_its_write_covers_earlier_ones_only() {
    let disk = Memory::new();
    disk.lie(Lie::FlushBeforeWrite);
    let first = Arc::new(durable_file(&disk, "first", 2 * BLOCK as u64));
    let second = Arc::new(durable_file(&disk, "second", 2 * BLOCK as u64));
    let mut log = log(&disk);
    submit(&mut log, &first, 0, 1);
    log.complete().unwrap().result.unwrap();
    submit(&mut log, &first, 1, 2);
    submit(&mut log, &second, 0, 3);
    assert_eq!(first_bytes(&disk.crash(), "first"), [0, 0]);
    log.complete().unwrap().result.unwrap();
    log.complete().unwrap().result.unwrap();
    // The second write was still in flight when the third was submitted.
    assert_eq!(first_bytes(&disk.crash(), "first"), [1, 0]);
    assert_eq!(first_bytes(&disk.crash(), "second"), [0, 0]);
    submit(&mut log, &second, 1, 4);
    log.complete().unwrap().result.unwrap();
    assert_eq!(first_bytes(&disk.crash(), "first"), [1, 2]);
    assert_eq!(first_bytes(&disk.crash(), "second"), [3, 0]);
}

#[test]
fn failed_groups_are_reported_and_stay_uncertain() {
    for kind in [FaultKind::LogWrite, FaultKind::LogFlush] {
        let mut seen = BTreeSet::new();
        for seed in 0..40 {
            let disk = Memory::with_options(MemoryOptions { seed, ..Default::default() });
            let file = Arc::new(durable_file(&disk, "a", 2 * BLOCK as u64));
            let mut log = log(&disk);
            disk.fail_next(kind, 2);
            submit(&mut log, &file, 0, 1);
            log.complete().unwrap().result.unwrap();
            submit(&mut log, &file, 1, 2);
            assert!(log.complete().unwrap().result.is_err());
            assert_eq!(disk.faults_waiting(), 0);
            assert_eq!(first_bytes(&disk.crash(), "a"), [1, 0]);
            // Given up, as readers then see, or found by a later flush, or lost although readers
            // see it.
            let live = first_bytes(&disk, "a");
            file.make_durable().unwrap();
            seen.insert((live, first_bytes(&disk.crash(), "a")));
            submit(&mut log, &file, 1, 3);
            log.complete().unwrap().result.unwrap();
            assert_eq!(first_bytes(&disk.crash(), "a"), [1, 3], "a new attempt is no worse");
        }
        let (old, new) = (vec![1, 0], vec![1, 2]);
        let outcomes = [(old.clone(), old.clone()), (new.clone(), new.clone()), (new, old)];
        assert_eq!(seen, BTreeSet::from(outcomes));
    }
}

/// The log writes of a process that is killed, or that gives its writer up, end at any later
/// moment. Until then the directory is locked.
#[test]
fn a_write_outlives_its_process_and_holds_the_lock() {
    let written = |disk: &Memory| first_bytes(disk, "a")[0] == 1;
    let some_calls = |disk: &Memory| drop(disk.open("a", OpenMode::Read).unwrap());
    for killed in [true, false] {
        let mut seen = BTreeSet::new();
        for seed in 0..60 {
            let disk = Memory::with_options(MemoryOptions { seed, ..Default::default() });
            let file = Arc::new(durable_file(&disk, "a", BLOCK as u64));
            let lock = disk.lock("lock", Duration::ZERO).unwrap();
            let mut log = log(&disk);
            submit(&mut log, &file, 0, 1);
            let next = match killed {
                true => disk.kill_with(seed),
                false => {
                    disk.fail_next(FaultKind::LogAbandoned, 1);
                    assert!(log.complete().unwrap().result.is_err());
                    assert!(disk.lock("lock", Duration::ZERO).is_err());
                    drop((log, lock));
                    disk.clone()
                }
            };
            // How long it takes if no opener waits, and that nothing comes after one has waited.
            let alone = next.kill_with(seed);
            let first = (0..1300).position(|_| {
                some_calls(&alone);
                written(&alone)
            });
            next.lock("lock", Duration::ZERO).unwrap();
            let waited = written(&next);
            (0..1300).for_each(|_| some_calls(&next));
            assert_eq!(written(&next), waited);
            seen.insert((first.map(|step| step / 100).min(Some(3)), waited));
        }
        for first in [Some(0), Some(1), Some(3)] {
            assert!(seen.contains(&(first, true)), "{first:?} of {seen:?}");
        }
    }
}

#[test]
fn a_lock_is_one_of_the_directory_whatever_becomes_of_its_file() {
    let disk = Memory::new();
    let lock = disk.lock("lock", Duration::ZERO).unwrap();
    disk.remove("lock").unwrap();
    assert!(disk.lock("lock", Duration::ZERO).is_err());
    disk.lie(Lie::LockByName);
    let other = disk.lock("lock", Duration::ZERO).unwrap();
    assert!(disk.lock("lock", Duration::ZERO).is_err());
    drop((lock, other));
    disk.lock("lock", Duration::ZERO).unwrap();
}

/// The kernel writes pages of a map back unasked. That fails, and one flush tells.
#[test]
fn a_failed_write_back_is_told_once() {
    let disk = Memory::new();
    let file = disk.open("data", OpenMode::CreateMapped).unwrap();
    let (_map, mut writer) = disk.map(&file, 4 * CHUNK, CHUNK, &[]).unwrap();
    writer.allocate(0..1).unwrap();
    file.make_durable().unwrap();
    disk.make_dir_durable("").unwrap();
    (0..2).for_each(|number| assert!(writer.open_chunks(number, number, 1)));
    writer.append(0, &[b"one"]);
    disk.fail(Fault::new(FaultKind::WriteBack, 1).errno(28));
    disk.make_dir_durable("").unwrap();
    let failed = file.make_durable().unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::StorageFull);
    file.make_durable().unwrap();
    writer.append(PAGE_BYTES as u64, &[b"two"]);
    file.make_durable().unwrap();
    assert_eq!(&content(&disk.crash(), "data").unwrap()[PAGE_BYTES..][..3], b"two");
    // A write-back that is waited for tells it, too; then no flush does.
    writer.append(2 * PAGE_BYTES as u64, &[b"three"]);
    disk.fail(Fault::new(FaultKind::WriteBack, 1).errno(5));
    disk.make_dir_durable("").unwrap();
    assert!(file.write_back(0, CHUNK).is_err());
    file.write_back(0, CHUNK).unwrap();
    file.make_durable().unwrap();
}

#[test]
fn each_kind_of_call_can_fail() {
    let disk = Memory::new();
    let file = disk.open("a", OpenMode::CreateMapped).unwrap();
    let fail = |kind| disk.fail_next(kind, 1);
    fail(FaultKind::Write);
    assert!(file.write_at(b"x", 0).is_err());
    fail(FaultKind::Read);
    assert!(file.read_at(&mut [0], 0).is_err());
    fail(FaultKind::Allocate);
    assert!(file.allocate(0, 1).is_err());
    fail(FaultKind::MakeDurable);
    assert!(file.make_durable().is_err());
    fail(FaultKind::MakeDirDurable);
    assert!(disk.make_dir_durable("").is_err());
    assert_eq!(content(&disk.crash(), "a"), None);
    fail(FaultKind::Name);
    assert!(disk.rename("a", "b").is_err());
    disk.fail_next(FaultKind::Any, 2);
    file.write_at(b"x", 0).unwrap();
    let error = disk.open("a", OpenMode::Read).unwrap_err().to_string();
    assert!(error.starts_with("open a: "), "{error}");
    disk.open("a", OpenMode::Read).unwrap();
}

#[test]
fn a_failure_has_the_number_that_was_asked_for() {
    for errno in [12, 27, 28, 122] {
        let disk = Memory::new();
        let shown = format!("(os error {errno})");
        disk.fail(Fault::new(FaultKind::MakeDurable, 1).errno(errno).on("data"));
        let file = Arc::new(durable_file(&disk, "other", BLOCK as u64));
        let data = disk.open("data", OpenMode::CreateMapped).unwrap();
        let failed = data.make_durable().unwrap_err().to_string();
        assert!(failed.contains(&shown), "{failed}");
        for kind in [FaultKind::LogWrite, FaultKind::LogFlush] {
            let mut log = log(&disk);
            disk.fail(Fault::new(kind, 1).errno(errno));
            submit(&mut log, &file, 0, 1);
            let failed = log.complete().unwrap().result.unwrap_err().to_string();
            assert!(failed.contains(&shown), "{kind:?}: {failed}");
        }
    }
}

#[test]
fn a_full_disk_refuses_to_grow() {
    let disk = Memory::new();
    let file = disk.open("a", OpenMode::CreateMapped).unwrap();
    disk.set_capacity(Some(2 * CHUNK));
    file.allocate(0, CHUNK).unwrap();
    assert_eq!(disk.used_bytes(), CHUNK);
    assert_eq!(file.allocate(0, 3 * CHUNK).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.write_at(b"x", 2 * CHUNK).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_at(b"x", 0).unwrap();
    let data = disk.open("data", OpenMode::CreateMapped).unwrap();
    let (_map, mut writer) = disk.map(&data, 4 * CHUNK, CHUNK, &[]).unwrap();
    writer.allocate(0..1).unwrap();
    assert_eq!(writer.allocate(1..2).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.remove("a").unwrap();
    writer.allocate(1..2).unwrap();
    assert_eq!(writer.allocate(2..3).unwrap_err().kind(), ErrorKind::StorageFull);
    writer.deallocate(0..1).unwrap();
    assert_eq!(disk.used_bytes(), CHUNK);
    writer.allocate(2..3).unwrap();
    assert_eq!(writer.allocate(0..1).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.set_capacity(None);
    writer.allocate(0..1).unwrap();
}

#[test]
fn time_and_randomness_follow_from_the_seed() {
    let trace = |seed| {
        let options = MemoryOptions { seed, ..Default::default() };
        let disk = Memory::with_options(options);
        disk.advance(Duration::from_secs(5));
        let first = (disk.now(), disk.wall_ns(), disk.random());
        let after = disk.crash();
        (first, after.now(), after.wall_ns(), after.random())
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1).3, trace(2).3);
    let disk = Memory::new();
    let before = disk.wall_ns();
    disk.shift_wall_ns(-1_000_000_000);
    assert!(disk.wall_ns() < before);
    assert!(disk.now() < disk.now());
}

#[test]
fn a_crash_frees_the_lock() {
    let disk = Memory::new();
    let _lock = disk.lock("LOCK", Duration::ZERO).unwrap();
    assert!(disk.lock("LOCK", Duration::ZERO).is_err());
    disk.crash().lock("LOCK", Duration::ZERO).unwrap();
}

/// The bytes at `address`, if they are published.
fn read<'p>(map: &'p impl DataMap, address: u64, len: usize, pin: &'p MapPin) -> Option<&'p [u8]> {
    map.bytes(address, len, pin).map(Pinned::bytes)
}
