//! Real file systems with little room: ext4 and XFS on small loop devices.
//!
//! Promise proved: growth that fails gives back what it took; copies with holes, or with space that
//! they share with the original, never end in a signal when the disk is full, but in an error;
//! reading goes on, and with room again so does writing. Needs root, mkfs and loop devices: where
//! they are missing, the test says so and ends.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use uarr::{Db, Durability, ErrorKind, KeyKind};
use uarr_tests::scratch;
use uarr_uring::{OpenMode, Storage, StorageFile, System, SystemOptions};

const KINDS: [&str; 2] = ["ext4", "xfs"];

fn shell(line: &str) -> Result<(), String> {
    let output = Command::new("sh").arg("-ec").arg(line).output().unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// A file system in a file, unmounted when dropped.
struct Small {
    place: PathBuf,
    _base: tempfile::TempDir,
}

impl Small {
    fn new(kind: &str) -> Option<Self> {
        Self::of_size(kind, 320)
    }

    /// `None` if none can be made here; the reason is printed.
    fn of_size(kind: &str, mib: u32) -> Option<Self> {
        let base = scratch();
        let (image, place) = (base.path().join("image"), base.path().join("mounted"));
        fs::create_dir(&place).unwrap();
        let format = if kind == "xfs" { "mkfs.xfs -q -f" } else { "mkfs.ext4 -q -F -m 0" };
        let made = shell(&format!(
            "truncate -s {mib}M {image}; {format} {image}; mount -o loop {image} {place}",
            image = image.display(),
            place = place.display()
        ));
        match made {
            Ok(()) => Some(Self { place, _base: base }),
            Err(reason) => {
                println!("skipped on {kind}: {reason}");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// Takes all room there is, to the last block.
    fn fill(&self) {
        for piece_bytes in [1 << 20, 4096] {
            let mut file =
                fs::File::options().create(true).append(true).open(self.path("fill")).unwrap();
            let piece = vec![0xa5; piece_bytes];
            while file.write_all(&piece).and_then(|()| file.sync_data()).is_ok() {}
        }
    }

    fn empty(&self) {
        fs::remove_file(self.path("fill")).unwrap();
        shell("sync").unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let place = self.place.display();
        let _ = shell(&format!("umount {place} || umount -l {place}"));
    }
}

#[test]
fn growth_that_fails_gives_back_what_it_took() {
    for kind in KINDS {
        let Some(small) = Small::new(kind) else { continue };
        let storage = System::open(&small.place, SystemOptions::default()).unwrap();
        let file = storage.open("grows", OpenMode::CreateMapped).unwrap();
        file.allocate(0, 8 << 20).unwrap();
        let size = || {
            let facts = fs::metadata(small.path("grows")).unwrap();
            (facts.len(), facts.blocks())
        };
        let before = size();
        let free = storage.free_bytes().unwrap();
        // More than there is, and exactly what there is, of which the file system needs a little
        // itself.
        let mut failed_count = 0;
        for bytes in [free + (1 << 20), free, free - (64 << 10)] {
            match file.allocate(8 << 20, bytes) {
                Ok(()) => {
                    let file = fs::File::options().write(true).open(small.path("grows")).unwrap();
                    file.set_len(8 << 20).unwrap();
                }
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{kind}: {error}");
                    failed_count += 1;
                }
            }
            let after = size();
            assert_eq!(after.0, before.0, "{kind}: after {bytes} of {free} bytes");
            // The file system may keep a block or two of its own records about the file.
            assert!(after.1 <= before.1 + 64, "{kind}: {after:?} after {bytes} of {free} bytes");
        }
        assert!(failed_count > 0);
        file.allocate(8 << 20, 32 << 20).unwrap();
    }
}

/// XFS asks for room for a range that has all of its space: so a database whose disk was full could
/// not be opened after a kill, and each growth of the data file needed twice its room.
#[test]
fn space_that_is_there_asks_for_no_room() {
    for kind in KINDS {
        let Some(small) = Small::new(kind) else { continue };
        let storage = System::open(&small.place, SystemOptions::default()).unwrap();
        let file = storage.open("whole", OpenMode::CreateMapped).unwrap();
        file.allocate(0, 8 << 20).unwrap();
        let db = builder(&small.path("db")).open().unwrap();
        for number in 0..2000_u64 {
            db.put(number, [number as u8; 1000]).unwrap();
        }
        // What a kill leaves: nothing was closed.
        let (from, to) = (small.path("db"), small.path("killed"));
        let (from, to) = (from.display(), to.display());
        shell(&format!("cp -a --reflink=never --sparse=never {from} {to}")).unwrap();
        small.fill();
        file.allocate(0, 8 << 20).unwrap_or_else(|error| panic!("{kind}: {error}"));
        drop(db);

        // Less than a chunk, enough for the log.
        fs::File::options().append(true).open(small.path("fill")).unwrap().set_len(0).unwrap();
        let free = storage.free_bytes().unwrap();
        storage
            .open("rest", OpenMode::CreateMapped)
            .unwrap()
            .allocate(0, free - (6 << 20))
            .unwrap();
        let db = builder(&small.path("killed")).open();
        let db = db.unwrap_or_else(|error| panic!("{kind}: {error}"));
        for number in 0..2000_u64 {
            assert_eq!(*db.get(number).unwrap().unwrap(), [number as u8; 1000], "{kind}");
        }
        db.put(7_u64, b"there is room for this").unwrap();
        db.close().unwrap();
    }
}

fn builder(path: &Path) -> uarr::Builder {
    Db::builder(path).segment_bytes(1 << 20).chunk_bytes(8 << 20)
}

/// Ways to copy a database that leave its files without space of their own.
const COPIES: [(&str, &str); 4] = [
    ("holes", "cp -a --sparse=always"),
    ("sparse archive", "tar"),
    ("dug out", "cp -a --sparse=never"),
    ("shared", "cp -a --reflink=always"),
];

fn copy(small: &Small, name: &str, command: &str) -> Result<(), String> {
    let (source, target) = (small.path("db"), small.path("copy"));
    let (source, target) = (source.display(), target.display());
    shell(&format!("rm -rf {target}"))?;
    match name {
        "sparse archive" => {
            shell(&format!("mkdir {target}; tar -C {source} -S -cf - . | tar -C {target} -xf -"))
        }
        "dug out" => shell(&format!(
            "{command} {source} {target}; find {target} -type f -exec fallocate -d {{}} +"
        )),
        _ => shell(&format!("{command} {source} {target}")),
    }
}

/// Writes through the map into a hole, or into shared space, ended the process with SIGBUS.
#[test]
fn copies_without_space_of_their_own_get_an_error_on_a_full_disk() {
    for kind in KINDS {
        let Some(small) = Small::new(kind) else { continue };
        let db = builder(&small.path("db")).open().unwrap();
        for number in 0..50_u64 {
            db.put(number.to_be_bytes(), [number as u8; 1000]).unwrap();
        }
        db.close().unwrap();
        let is_there = |db: &Db| {
            (0..50_u64).all(|number| {
                let record = db.get(number.to_be_bytes()).unwrap();
                record.is_some_and(|record| *record == [number as u8; 1000])
            })
        };
        for (name, command) in COPIES {
            if let Err(reason) = copy(&small, name, command) {
                println!("{name} on {kind}: {reason}");
                continue;
            }
            shell("sync").unwrap();
            small.fill();
            // The superblock may share its space too: then it cannot be opened for writing.
            match builder(&small.path("copy")).open() {
                Ok(db) => {
                    assert!(is_there(&db), "{name} on {kind}");
                    let failed = (0..20_000_u64).find_map(|number| {
                        db.put((number | 1 << 32).to_be_bytes(), [7; 1000]).err()
                    });
                    let error = failed.expect("there is no room for all of it");
                    assert_eq!(error.kind(), ErrorKind::NoSpace, "{name} on {kind}: {error}");
                    assert!(is_there(&db), "{name} on {kind}");
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NoSpace, "{name} on {kind}: {error}")
                }
            }
            small.empty();
            let db = builder(&small.path("copy")).open().unwrap();
            assert!(is_there(&db), "{name} on {kind}");
            for number in 0..20_000_u64 {
                db.put((number | 1 << 33).to_be_bytes(), [8; 1000]).unwrap();
            }
            assert!(db.verify(|_| {}).unwrap().is_clean());
            db.close().unwrap();
        }
    }
}

/// Numbers of records, and their content.
type Model = BTreeMap<u64, u64>;

fn content(number: u64, round: u64, bytes: usize) -> Vec<u8> {
    [number, round].map(u64::to_le_bytes).concat().repeat(bytes / 16)
}

/// Puts records until one finds no room: the number of that.
fn fill(db: &Db, model: &mut Model, first: u64, round: u64, bytes: usize) -> u64 {
    for number in first.. {
        match db.put(number, content(number, round, bytes)) {
            Ok(_) => _ = model.insert(number, round),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                return number;
            }
        }
    }
    unreachable!("each disk has an end")
}

fn check(db: &Db, model: &Model, bytes: usize) {
    assert_eq!(db.iter().count(), model.len());
    for (number, round) in model {
        let record = db.get(*number).unwrap().unwrap();
        assert!(*record == content(*number, *round, bytes), "{number}");
    }
}

/// A disk that the database itself has filled: puts find no room, and lose nothing. Deletions and
/// compaction do, and then so do puts.
#[test]
fn full_file_systems_work_again_after_deletions() {
    for (kind, mib, piece_bytes, bytes) in
        [("ext4", 24, 256 << 10, 4096), ("xfs", 320, 2 << 20, 32768)]
    {
        let Some(small) = Small::of_size(kind, mib) else { continue };
        let options =
            Db::builder(small.path("db")).segment_bytes(piece_bytes).chunk_bytes(piece_bytes);
        let options = options.checkpoint_log_bytes(piece_bytes).keys(KeyKind::U64);
        let (mut model, mut first, mut counts) = (Model::new(), 0, Vec::new());
        for round in 0..3 {
            let db = options.clone().open().unwrap_or_else(|error| panic!("{kind}: {error}"));
            check(&db, &model, bytes);
            first = fill(&db, &mut model, first, round, bytes);
            counts.push(model.len());
            check(&db, &model, bytes);
            first = fill(&db, &mut model, first, round, bytes);
            for number in (0..first).filter(|number| number % 10 != 3) {
                if model.remove(&number).is_some() {
                    db.delete(number).unwrap_or_else(|error| panic!("{kind}, {number}: {error}"));
                }
            }
            check(&db, &model, bytes);
            db.compact().unwrap();
            check(&db, &model, bytes);
            assert!(db.verify(|_| {}).unwrap().is_clean());
            match round % 2 {
                0 => db.close().unwrap(),
                _ => drop(db),
            }
        }
        println!("{kind}: {counts:?} records");
        assert!(counts.iter().all(|count| *count >= counts[0] * 2 / 3), "{kind}: {counts:?}");
    }
}

/// Free places lie scattered, and a file system gives and takes space in units of several of them:
/// all of it was dug out, and none given back, so that not even a deletion found room.
#[test]
fn scattered_places_are_no_dead_end_of_a_full_disk() {
    let Some(small) = Small::of_size("ext4", 48) else { return };
    let options = Db::builder(small.path("db")).segment_bytes(256 << 10).chunk_bytes(256 << 10);
    let options = options.checkpoint_log_bytes(256 << 10).keys(KeyKind::U64);
    let bytes = 4096;
    let (mut model, mut first, mut counts) = (Model::new(), 0, Vec::new());
    let db = options.open().unwrap();
    for round in 0..4 {
        first = fill(&db, &mut model, first, round, bytes);
        counts.push(model.len());
        let every_second: Vec<_> = model.keys().copied().step_by(2).collect();
        for number in every_second {
            db.delete(number).unwrap_or_else(|error| panic!("{round}, {number}: {error}"));
            model.remove(&number);
        }
        first = fill(&db, &mut model, first, round, bytes);
        db.compact().unwrap();
        let stats = db.stats();
        let file = fs::metadata(small.path("db/data/records.uarr")).unwrap();
        let taken_bytes = file.blocks() * 512;
        assert!(
            taken_bytes.abs_diff(stats.data_allocated_bytes) <= 2 << 20,
            "{taken_bytes} bytes are taken: {stats:?}"
        );
    }
    check(&db, &model, bytes);
    assert!(counts.iter().all(|count| *count >= counts[0] * 3 / 4), "{counts:?}");
}

/// Short records, of which some are written again: what deletions take is no small part of what
/// they give. The last place that there was went to a chunk that no frame could name.
#[test]
fn short_records_are_no_dead_end_of_a_full_disk() {
    let Some(small) = Small::of_size("ext4", 32) else { return };
    let options = Db::builder(small.path("db")).segment_bytes(256 << 10).chunk_bytes(256 << 10);
    let db = options.durability(Durability::Manual).keys(KeyKind::U64).open().unwrap();
    let (mut model, mut next, mut state) = (Model::new(), 0, 7_u64);
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let bytes_of = |number: u64| 208 + (number % 50) as usize * 16;
    for round in 0..3 {
        let refused = loop {
            let is_new = next == 0 || random(5) > 0;
            let number = if is_new { next } else { random(next) };
            next += u64::from(is_new);
            if let Err(error) = db.put(number, content(number, round, bytes_of(number))) {
                break error;
            }
            model.insert(number, round);
        };
        assert_eq!(refused.kind(), ErrorKind::NoSpace, "{refused}");
        let most: Vec<_> = model.keys().copied().filter(|_| random(10) < 6).collect();
        for number in most {
            db.delete(number).unwrap_or_else(|error| panic!("{round}, {number}: {error}"));
            model.remove(&number);
        }
        let report = db.compact().unwrap();
        assert!(report.freed_bytes > 0, "{report:?}");
    }
    assert_eq!(db.iter().count(), model.len());
    for (number, round) in &model {
        let record = db.get(*number).unwrap().unwrap();
        assert!(*record == content(*number, *round, bytes_of(*number)), "{number}");
    }
}
