//! A disk that is full: writers get an error and nothing is lost; deletions and compaction work on,
//! and then so do writers.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use uarr::{Builder, Db, Durability, ErrorKind, KeyKind, WhenFull};
use uarr_disk_sim::{Fault, FaultKind, Memory};
use uarr_uring::Storage;

const CHUNK: u64 = 1 << 16;
/// Log, images and some 40 chunks.
const CAPACITY: u64 = 4 << 20;
const VALUE_BYTES: usize = 1000;

fn options(background: bool) -> Builder {
    let sizes = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(CHUNK);
    let sizes = sizes.address_space_bytes(1 << 26).checkpoint_log_bytes(1 << 18);
    sizes.keys(KeyKind::U64).background(background)
}

fn value(number: u64, round: u64) -> Vec<u8> {
    [number, round].map(u64::to_le_bytes).concat().repeat(VALUE_BYTES / 16)
}

type Model = BTreeMap<u64, Vec<u8>>;

/// Puts records with numbers from `first` on until one finds no room. Returns the number of that.
fn fill(db: &Db<Memory>, model: &mut Model, first: u64, round: u64, steps: bool) -> u64 {
    for number in first.. {
        let value = value(number, round);
        match db.put(number, &value) {
            Ok(_) => _ = model.insert(number, value),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                println!("round {round}, {number}: {error}; {:?}", db.stats().space);
                return number;
            }
        }
        // What the background does, as far as there is room for it.
        while steps && db.step().unwrap_or(false) {}
    }
    unreachable!("the disk has an end")
}

fn check(db: &Db<Memory>, model: &Model) {
    let all: Model = db
        .iter()
        .map(|record| record.unwrap())
        .map(|record| (record.key_u64().unwrap(), record.bytes().to_vec()))
        .collect();
    assert!(all == *model, "{} records, expected {}", all.len(), model.len());
}

/// Deletes nine in ten. Without threads in the background, room is made when it is missing.
fn thin_out(db: &Db<Memory>, model: &mut Model, steps: bool) {
    let numbers: Vec<u64> = model.keys().copied().filter(|number| number % 10 != 3).collect();
    for number in numbers {
        if let Err(error) = db.delete(number) {
            assert!(steps && error.kind() == ErrorKind::NoSpace, "{number}: {error}");
            db.compact().unwrap();
            db.delete(number).unwrap();
        }
        model.remove(&number);
    }
}

/// Each way of working.
fn each(test: impl Fn(Builder, bool)) {
    for background in [false, true] {
        for durability in [Durability::Sync, Durability::Manual] {
            test(options(background).durability(durability), !background);
        }
    }
}

/// The refused group has places in the open chunk that no record fills, more than a page of them: a
/// checkpoint that came before any other write panicked.
#[test]
fn a_checkpoint_follows_a_group_that_was_refused() {
    for (background, closes) in [(false, false), (false, true), (true, false), (true, true)] {
        for bytes in [100, 5000, 20_000, 60_000] {
            let disk = Memory::new();
            let options = options(background).chunk_bytes(CHUNK * 2);
            let db = options.clone().open_on(disk.clone()).unwrap();
            db.put(1u64, b"1").unwrap();
            disk.fail(Fault::new(FaultKind::LogRefused, 1).errno(28));
            assert_eq!(db.put(2u64, vec![1; bytes]).unwrap_err().kind(), ErrorKind::NoSpace);
            if closes {
                db.close().unwrap();
            } else {
                db.checkpoint().unwrap();
                db.put(3u64, b"3").unwrap();
                drop(db);
            }
            let db = options.open_on(disk).unwrap();
            assert!(db.verify(|_| ()).unwrap().is_clean());
            assert_eq!(db.get(1u64).unwrap().unwrap().bytes(), b"1");
            assert!(db.get(2u64).unwrap().is_none(), "{bytes} bytes were refused");
            assert_eq!(db.get(3u64).unwrap().is_some(), !closes);
        }
    }
}

#[test]
fn deletions_and_compaction_work_where_puts_do_not() {
    each(|options, steps| {
        let mut disk = Memory::new();
        disk.set_capacity(Some(CAPACITY));
        let mut db = options.clone().open_on(disk.clone()).unwrap();
        let (mut model, mut first) = (Model::new(), 0);
        let mut counts = Vec::new();
        for round in 0..4 {
            first = fill(&db, &mut model, first, round, steps);
            counts.push(model.len());
            check(&db, &model);
            // The disk stays full, also for the next life.
            first = fill(&db, &mut model, first, round, steps);
            db.sync().unwrap();
            if round % 2 == 0 {
                // A kill changes no file; what a loss of power brings back takes room again.
                disk = disk.kill_with(round);
                disk.set_capacity(Some(CAPACITY));
                drop(db);
                db = options.clone().open_on(disk.clone()).unwrap();
                check(&db, &model);
            }
            thin_out(&db, &mut model, steps);
            db.compact().unwrap();
            check(&db, &model);
            assert!(disk.used_bytes() <= CAPACITY);
        }
        assert!(db.verify(|_| {}).unwrap().is_clean());
        assert!(counts.iter().all(|count| *count >= counts[0] * 2 / 3), "{counts:?}");
        db.close().unwrap();
    });
}

/// What others take from the disk, and give back, is seen at once.
#[test]
fn room_that_comes_from_elsewhere_is_found_at_once() {
    each(|options, steps| {
        let disk = Memory::new();
        disk.set_capacity(Some(CAPACITY));
        let db = options.open_on(disk.clone()).unwrap();
        let mut model = Model::new();
        let first = fill(&db, &mut model, 0, 0, steps);
        disk.set_capacity(Some(2 * CAPACITY));
        let next = fill(&db, &mut model, first, 0, steps);
        assert!(next - first > first / 2, "{first} records, and {} more", next - first);
        check(&db, &model);
    });
}

/// Places that were given back to the file system are holes; the next record that needs one has it
/// allocated first.
#[test]
fn compaction_gives_space_back_to_the_file_system() {
    each(|options, _| {
        let mut disk = Memory::new();
        let mut db = options.clone().open_on(disk.clone()).unwrap();
        let mut model = Model::new();
        for round in 0..3 {
            for number in 0..2000 {
                let value = value(number, round);
                db.put(number, &value).unwrap();
                model.insert(number, value);
            }
            let before = db.stats().data_allocated_bytes;
            thin_out(&db, &mut model, false);
            db.compact().unwrap();
            check(&db, &model);
            let stats = db.stats();
            assert!(
                stats.data_allocated_bytes < before / 2,
                "{before} bytes: {} {:?}",
                stats.data_allocated_bytes,
                stats.space
            );
            let places = stats.space.live_bytes + stats.space.dead_bytes + stats.space.free_bytes;
            assert!(stats.data_allocated_bytes >= places, "{stats:?}");
            assert!(stats.data_allocated_bytes <= places + stats.space.waiting_bytes + 2 * CHUNK);
            db.sync().unwrap();
            disk = disk.crash();
            drop(db);
            db = options.clone().open_on(disk.clone()).unwrap();
            check(&db, &model);
        }
        assert!(db.verify(|_| {}).unwrap().is_clean());
    });
}

/// A database without threads in the background that can map 64 MiB.
fn small_space(disk: &Memory) -> Db<Memory> {
    options(false).durability(Durability::Manual).open_on(disk.clone()).unwrap()
}

/// Overwrites records of `count` keys until one finds no room.
fn overwrite(db: &Db<Memory>, count: u64) {
    let mut state = 7_u64;
    let failed = (0..).find_map(|number: u64| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let key = if number < count { number } else { (state >> 33) % count };
        db.put(key, [7; 4000]).err()
    });
    assert_eq!(failed.unwrap().kind(), ErrorKind::NoSpace);
}

/// Moving took the first victim again and again, for which there was no room, and never came to
/// those that need none.
#[test]
fn chunks_in_which_nothing_lives_need_no_room() {
    let db = small_space(&Memory::new());
    overwrite(&db, 100);
    let report = db.compact().unwrap();
    assert!(report.freed_bytes > 50 << 20 && report.waiting_bytes == 0, "{report:?}");
    db.put(1_u64, b"there is room").unwrap();
}

/// Where the address space ends, the disk may have room: places are left to those that make some.
#[test]
fn the_end_of_the_address_space_is_no_dead_end() {
    let disk = Memory::new();
    let db = small_space(&disk);
    overwrite(&db, 10_000);
    db.compact().unwrap();
    db.close().unwrap();
    let db = small_space(&disk);
    for key in 0..10_000_u64 {
        if let Err(error) = db.delete(key) {
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{key}: {error}");
            db.compact().unwrap();
            db.delete(key).unwrap();
        }
    }
    db.compact().unwrap();
    assert_eq!(db.stats().key_count, 0);
    overwrite(&db, 10_000);
}

/// Moving asked for buffers as its caller's writers do, and gave up with their `Busy`.
#[test]
fn moving_waits_where_writers_asked_for_an_error() {
    let builder = options(true).group_bytes(1 << 14).when_full(WhenFull::Error);
    let db = builder.durability(Durability::Manual).open_on(Memory::new()).unwrap();
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in (0_u64..).take_while(|_| !ends.load(Ordering::Relaxed)) {
                // Busy now and then.
                let _ = db.put(number * 7 % 500, [7; 1500]);
            }
        });
        // A call ends although a writer goes on leaving garbage.
        let reports: Vec<_> = (0..30).map(|_| db.compact()).collect();
        ends.store(true, Ordering::Relaxed);
        for report in reports {
            report.unwrap();
        }
    });
}

/// Tasks that overwrite `key_count` records, `count` writes each.
fn overwrite_from_tasks(db: &Db<Memory>, key_count: u64, count: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..4)
            .map(|task| {
                let db = db.clone();
                tokio::spawn(async move {
                    for number in 0..count {
                        let key = (task * count + number) * 7 % key_count;
                        db.put_async(key, [7; 1500]).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// Tasks got `NoSpace`, or a larger file, while the mover was at work.
#[test]
fn tasks_wait_for_room_that_is_on_its_way() {
    for durability in [Durability::Sync, Durability::Manual] {
        let db = options(true).durability(durability).open_on(Memory::new()).unwrap();
        overwrite_from_tasks(&db, 2000, 4000);
        let stats = db.stats();
        // 3.2 MB live of 24 MB that were written.
        assert!(
            stats.data_allocated_bytes < 8 << 20,
            "{} {:?}",
            stats.data_allocated_bytes,
            stats.space
        );
        let disk = Memory::new();
        disk.set_capacity(Some(CAPACITY));
        let db = options(true).durability(durability).open_on(disk.clone()).unwrap();
        overwrite_from_tasks(&db, 800, 4000);
        assert!(disk.used_bytes() <= CAPACITY);
        // And hear that there is none when nothing is left to be made.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let failed = runtime.block_on(async {
            for key in 1000_u64.. {
                if let Err(error) = db.put_async(key, [7; 1500]).await {
                    return error;
                }
            }
            unreachable!("the disk has an end")
        });
        assert_eq!(failed.kind(), ErrorKind::NoSpace, "{failed}");
    }
}

/// Notes that it was woken, after it has written something itself.
struct WritingWaker {
    db: Db<Memory>,
    is_woken: AtomicBool,
}

impl Wake for WritingWaker {
    fn wake(self: Arc<Self>) {
        let put = self.db.put(7_u64, [7; 30_000]);
        assert!(put.is_ok() || put.is_err_and(|error| error.kind() == ErrorKind::NoSpace));
        self.is_woken.store(true, Ordering::Release);
    }
}

/// A waker runs on the thread that takes checkpoints, say. A write in it waited for room that only
/// this thread could make: ten seconds each time, and all other tasks with it.
#[test]
#[expect(clippy::disallowed_methods, reason = "tasks are waited for by the real clock")]
fn a_waker_that_writes_does_not_wait_for_its_own_thread() {
    let disk = Memory::new();
    disk.set_capacity(Some(CAPACITY));
    let db = options(true).open_on(disk).unwrap();
    let mut model = Model::new();
    fill(&db, &mut model, 0, 0, false);
    let every_second: Vec<_> = model.keys().copied().step_by(2).collect();
    every_second.iter().for_each(|number| _ = db.delete(*number));
    let mut waiting: Vec<_> = (0..200_u64)
        .map(|number| {
            let put = Box::pin(db.put_async(10_000 + number, vec![9; 50_000]));
            let waker = WritingWaker { db: db.clone(), is_woken: AtomicBool::new(true) };
            (put, Arc::new(waker))
        })
        .collect();
    let begun = Instant::now();
    while !waiting.is_empty() {
        waiting.retain_mut(|(put, waker)| {
            if !waker.is_woken.swap(false, Ordering::AcqRel) {
                return true;
            }
            let task = Waker::from(waker.clone());
            let polled = put.as_mut().poll(&mut Context::from_waker(&task));
            polled.is_pending()
        });
        assert!(begun.elapsed() < Duration::from_secs(30), "{} tasks hear nothing", waiting.len());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How many index images there are.
fn image_count(disk: &Memory) -> usize {
    disk.list("index").unwrap().len()
}

/// Nothing becomes free without checkpoints, and each needed room for a third image.
#[test]
fn a_checkpoint_that_finds_no_room_gives_up_the_older_one() {
    each(|options, _| {
        let options = options.background(false).segment_bytes(1 << 20);
        let mut disk = Memory::new();
        let mut db = options.clone().open_on(disk.clone()).unwrap();
        let mut model = Model::new();
        for number in 0..1500 {
            db.put(number, value(number, 0)).unwrap();
            model.insert(number, value(number, 0));
        }
        for round in 1..5_u64 {
            db.checkpoint().unwrap();
            db.put(round, value(round, round)).unwrap();
            model.insert(round, value(round, round));
            db.checkpoint().unwrap();
            assert_eq!(image_count(&disk), 2);
            db.put(7_u64, value(7, round)).unwrap();
            model.insert(7, value(7, round));
            db.sync().unwrap();
            // No room at all, then room for one image and a little, after a kill.
            disk.set_capacity(Some(0));
            let taken = db.checkpoint();
            assert!(taken.is_ok() || taken.is_err_and(|error| error.kind() == ErrorKind::NoSpace));
            check(&db, &model);
            disk = disk.kill_with(round);
            drop(db);
            db = options.clone().open_on(disk.clone()).unwrap();
            check(&db, &model);
            assert!(db.verify(|_| {}).unwrap().is_clean());
        }
        // Whatever a round finds to give back, the next one does not: in the end it is the image.
        for round in 8..20 {
            db.checkpoint().unwrap();
            match db.put(7_u64, value(7, round)) {
                Ok(_) => _ = model.insert(7, value(7, round)),
                Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}"),
            }
            disk.set_capacity(Some(disk.used_bytes()));
        }
        assert_eq!(image_count(&disk), 2, "one more, and the older one is gone");
        disk.set_capacity(None);
        db.checkpoint().unwrap();
        db = options.open_on(disk.crash()).unwrap();
        check(&db, &model);
    });
}

/// An iterator of the start is held while the disk runs full of overwrites: its versions are copied
/// out of the way. Free segments counted as room, and were not removed for the chunk of the copies.
#[test]
fn a_full_disk_is_no_dead_end_beside_an_iterator() {
    for count in [1000, 1300, 1572, 1800] {
        let disk = Memory::new();
        disk.set_capacity(Some(6 << 20));
        let db = options(false).durability(Durability::Manual).open_on(disk).unwrap();
        let mut model = Model::new();
        for number in 0..count {
            db.put(number, value(number, 0)).unwrap();
            model.insert(number, value(number, 0));
        }
        let (old, then) = (db.iter(), model.clone());
        let mut random = 7_u64;
        for round in 0..20_000 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let number = (random >> 33) % count;
            let value = value(number, round);
            if let Err(error) = db.put(number, &value) {
                db.compact().unwrap();
                db.put(number, &value).unwrap_or_else(|again| {
                    panic!("{count}, {round}: {error}; then: {again}; {:?}", db.stats())
                });
            }
            model.insert(number, value);
            for _ in 0..20 {
                if !db.step().unwrap_or(false) {
                    break;
                }
            }
        }
        check(&db, &model);
        let seen: Model = old
            .map(|record| record.unwrap())
            .map(|record| (record.key_u64().unwrap(), record.bytes().to_vec()))
            .collect();
        assert!(seen == then);
    }
}

/// A value that needs many places took them one by one, and a segment, before it was refused; what
/// smaller ones needed was gone then.
#[test]
fn a_large_value_that_is_refused_takes_nothing() {
    for whole in [13, 20, 27, 34, 41, 48] {
        let disk = Memory::new();
        disk.set_capacity(Some(CAPACITY));
        let db = options(false).open_on(disk.clone()).unwrap();
        let put =
            |number: u64, chunks: u64| db.put(number, vec![1; (chunks * CHUNK) as usize - 500]);
        // Places that are free, but not in a row.
        for number in 0..6 {
            put(number, 2).unwrap();
        }
        for number in [1_u64, 3, 5] {
            db.delete(number).unwrap();
        }
        db.compact().unwrap();
        db.checkpoint().unwrap();
        let before = disk.used_bytes();
        match put(100, whole) {
            Ok(_) => assert!(whole < 40, "{whole} chunks cannot fit"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{whole}");
                assert_eq!(disk.used_bytes(), before, "{whole}: {error}");
                put(101, 4).unwrap();
            }
        }
    }
}
