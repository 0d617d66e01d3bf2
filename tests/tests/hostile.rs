//! Directories from a stranger: every field of every structure, with right checksums, at the edges
//! of everything.
//!
//! Promise proved: with any bytes in the files of a database, opening, reading, writing, verifying,
//! inspecting and repairing end with an answer or an error that says what is wrong: no panic, no
//! abort, no hang, and never more memory than a gigabyte, although files are sparse and lengths up
//! to 2^64. Each mutant runs in a child process whose address space is limited; one that says
//! nothing for a while is a hang.
//!
//! The fields come from the tables of `uarr_tests::fields`, which cover every byte of every
//! structure. A part of the mutants runs by default, all of them with `UARR_FUZZ` set (to anything;
//! some minutes).
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use uarr::inspect::{Inspector, Next};
use uarr::repair::{RepairMode, repair};
use uarr::value::Patch;
use uarr::{
    BackendChoice, Builder, CommitPath, CommitStrategy, Db, ErrorKind, KeyKind, RecoveryMode, uarr,
};
use uarr_disk_sim::{Memory, MemoryOptions};
use uarr_layout::limits::{LSN_MAX, NUMBER_MAX};
use uarr_layout::superblock::SLOT_STRIDE_BYTES;
use uarr_tests::fields::{self, Place};
use uarr_tests::files::{Files, disk_of, files_of};
use uarr_tests::{from_environment, on_disk, scratch};
use uarr_uring::Storage;

const BLOCK: usize = 512;
const CHUNK: usize = 1 << 16;
const ADDRESS_SPACE: u64 = 1 << 26;
/// Address space of a child, in KiB: 1 GiB and what threads and the program itself take.
const LIMIT_KIB: u64 = (1 << 20) + (256 << 10);
/// A mutant takes milliseconds; this limit only detects a hang.
const PATIENCE: Duration = Duration::from_secs(30);
const MODES: [RecoveryMode; 2] = [RecoveryMode::TolerateTornTail, RecoveryMode::Strict];

fn builder(path: impl AsRef<Path>, kind: KeyKind) -> Builder {
    Db::builder(path)
        .keys(kind)
        .commit_path(CommitPath::Fixed(CommitStrategy::Syscall))
        .backend(BackendChoice::Syscalls)
        .segment_bytes(1 << 18)
        .chunk_bytes(CHUNK as u64)
        .address_space_bytes(ADDRESS_SPACE)
        .background(false)
}

fn put<S: Storage>(db: &Db<S>, n: u64, value: &[u8]) -> uarr::Result<()> {
    match db.key_kind() {
        KeyKind::Bytes => db.put(format!("key-{n:03}"), value)?,
        KeyKind::U64 => db.put(n, value)?,
        KeyKind::I64 => db.put(n as i64, value)?,
    };
    Ok(())
}

fn delete<S: Storage>(db: &Db<S>, n: u64) -> uarr::Result<()> {
    match db.key_kind() {
        KeyKind::Bytes => db.delete(format!("key-{n:03}"))?,
        KeyKind::U64 => db.delete(n)?,
        KeyKind::I64 => db.delete(n as i64)?,
    };
    Ok(())
}

fn patch<S: Storage>(db: &Db<S>, n: u64) -> uarr::Result<()> {
    let patch = Patch::from_record(uarr!([[0, ["count"], 77]])).unwrap();
    match db.key_kind() {
        KeyKind::Bytes => db.patch(format!("key-{n:03}"), &patch)?,
        KeyKind::U64 => db.patch(n, &patch)?,
        KeyKind::I64 => db.patch(n as i64, &patch)?,
    };
    Ok(())
}

/// Two checkpoints, a record longer than a chunk, and all kinds of frames behind them; not closed.
fn original(kind: KeyKind) -> Files {
    let options = MemoryOptions { block_bytes: BLOCK as u32, ..Default::default() };
    let disk = Memory::with_options(options);
    let db = builder("memory", kind).open_on(disk.clone()).unwrap();
    for round in 0..3u64 {
        for n in 0..20 {
            let text = "some text that is not too short to be patched";
            let value = uarr!({ "count": n + round, "text": text });
            put(&db, n, &value).unwrap();
        }
        put(&db, 100 + round, &vec![7; CHUNK + 5000]).unwrap();
        delete(&db, 3).unwrap();
        patch(&db, 5).unwrap();
        patch(&db, 5).unwrap();
        if round < 2 {
            db.checkpoint().unwrap();
        }
    }
    let disk = disk.crash();
    drop(db);
    files_of(&disk)
}

/// A field and what it is set to.
struct Mutant {
    place: Place,
    value: u64,
    /// The same in both slots of the superblock: otherwise the other one serves.
    twin: Option<Place>,
}

fn mutants(files: &Files) -> Vec<Mutant> {
    let places = fields::places(files, BLOCK, CHUNK);
    let twin_of = |place: &Place| {
        let start = (place.bytes.start + 65_536) % 131_072;
        let is_twin = |other: &&Place| other.path == place.path && other.bytes.start == start;
        let is_first = place.path == "superblock" && place.bytes.start < 65_536;
        is_first.then(|| places.iter().find(is_twin).cloned())?
    };
    let of_place = |place: &Place| -> Vec<Mutant> {
        let mutant = |value, twin| Mutant { place: place.clone(), value, twin };
        let values = place.values(&files[&place.path]);
        let alone = values.iter().map(|value| mutant(*value, None));
        match twin_of(place) {
            Some(twin) => {
                alone.chain(values.iter().map(|value| mutant(*value, Some(twin.clone())))).collect()
            }
            None => alone.collect(),
        }
    };
    places.iter().flat_map(of_place).collect()
}

impl Mutant {
    fn apply(&self, files: &Files) -> Files {
        let mut files = files.clone();
        let file = files.get_mut(&self.place.path).unwrap();
        self.place.set(file, self.value);
        if let Some(twin) = &self.twin {
            twin.set(file, self.value);
        }
        files
    }

    fn describe(&self) -> String {
        let twin = if self.twin.is_some() { " in both slots" } else { "" };
        format!("{}, {}{twin} = {:#x}", self.place.path, self.place.name, self.value)
    }
}

/// Errors are right answers, if they say what is wrong.
fn judge<T>(result: uarr::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            use ErrorKind::{
                Corruption, InvalidArgument, Io, NoSpace, NotFound, OtherFormat, Poisoned,
                TornTail, Unsupported,
            };
            // `InvalidArgument`: the kind of the keys is another one.
            let kinds = [
                Corruption,
                InvalidArgument,
                OtherFormat,
                NoSpace,
                NotFound,
                TornTail,
                Unsupported,
                ErrorKind::KeyNotFound,
                ErrorKind::NotADatabase,
                Poisoned,
                Io,
            ];
            assert!(kinds.contains(&error.kind()), "{error:?}");
            assert!(error.to_string().len() > 20, "{error}");
            None
        }
    }
}

/// Opens and uses the database in every way.
fn use_it<S: Storage>(storage: impl Fn() -> S, kind: KeyKind) {
    for mode in MODES {
        let open =
            || judge(builder("hostile", kind).recovery(mode).create(false).open_on(storage()));
        let Some(db) = open() else { continue };
        for record in db.iter().chain(db.iter().rev()) {
            judge(record);
        }
        for n in (0..21u64).chain(100..104) {
            match kind {
                KeyKind::Bytes => judge(db.get(format!("key-{n:03}"))),
                KeyKind::U64 => judge(db.get(n)),
                KeyKind::I64 => judge(db.get(n as i64)),
            };
        }
        judge(db.verify(|_| {}));
        for n in 0..25 {
            judge(put(&db, n * 2, b"new"));
        }
        judge(patch(&db, 6));
        judge(delete(&db, 7));
        judge(put(&db, 101, &[1; 100_000]));
        judge(db.checkpoint());
        judge(db.verify(|_| {}));
        judge(db.close());
    }
}

/// Reads it without opening it. What a reader shows is what opening shows.
fn look<S: Storage>(storage: impl Fn() -> S, kind: KeyKind) {
    for mode in MODES {
        let builder = || builder("hostile", kind).recovery(mode).create(false);
        let Some(reader) = judge(builder().open_read_only_on(storage())) else { continue };
        for record in reader.iter().chain(reader.iter().rev()) {
            judge(record);
        }
        reader.tables().into_iter().for_each(|table| _ = judge(table));
        judge(reader.stats());
        judge(reader.verify(|_| {}));
        let Some(db) = judge(builder().open_on(storage())) else { continue };
        for n in (0..21u64).chain(100..104) {
            let (shown, found) = match kind {
                KeyKind::Bytes => {
                    let key = format!("key-{n:03}");
                    (judge(reader.get(&key)), judge(db.get(&key)))
                }
                KeyKind::U64 => (judge(reader.get(n)), judge(db.get(n))),
                KeyKind::I64 => (judge(reader.get(n as i64)), judge(db.get(n as i64))),
            };
            if let (Some(Some(shown)), Some(Some(found))) = (shown, found) {
                assert_eq!(shown.bytes(), found.bytes(), "another value of key {n}");
            }
        }
    }
}

/// Looks into it, and saves what can be saved.
fn inspect<S: Storage>(storage: impl Fn() -> S, kind: KeyKind) {
    let Some(inspector) = judge(Inspector::open_on(storage(), "hostile")) else { return };
    for number in inspector.segments() {
        judge(inspector.segment(*number));
    }
    if let Some(mut log) = judge(inspector.log()) {
        while let Some(Next::Group(group)) = judge(log.next()) {
            assert!(group.frames().count() <= group.header.frame_count.get() as usize);
        }
    }
    for index in [0, 1, 2, 3, 1 << 20, u64::MAX] {
        judge(inspector.chunk(index));
    }
    judge(inspector.image());
    for mode in [RepairMode::Tolerate, RepairMode::Salvage] {
        let target = builder("memory", kind).open_on(Memory::new()).unwrap();
        judge(repair(&inspector, &target, mode));
    }
}

/// What kind of keys, and on what files.
#[derive(Clone, Copy, Debug)]
struct Course {
    kind: KeyKind,
    /// Length that the files on a real file system get; `None`: on a disk in memory.
    sparse: Option<u64>,
}

const COURSES: [(&str, Course); 5] = [
    ("bytes", Course { kind: KeyKind::Bytes, sparse: None }),
    ("integers", Course { kind: KeyKind::U64, sparse: None }),
    ("signed", Course { kind: KeyKind::I64, sparse: None }),
    ("sparse", Course { kind: KeyKind::Bytes, sparse: Some(ADDRESS_SPACE / 2) }),
    ("endless", Course { kind: KeyKind::U64, sparse: Some(1 << 43) }),
];

impl Course {
    fn run(self, files: Files) {
        let Some(sparse) = self.sparse else {
            let options = MemoryOptions { block_bytes: BLOCK as u32, ..Default::default() };
            let disk = disk_of(&files, options);
            look(|| disk.crash(), self.kind);
            use_it(|| disk.crash(), self.kind);
            return inspect(|| disk.crash(), self.kind);
        };
        let dir = scratch();
        for (path, bytes) in &files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            let is_long = path.extension().is_some_and(|kind| kind != "wal" || sparse > 1 << 40);
            if is_long {
                // As long as this file system has files.
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                let lengths = [sparse, sparse >> 3, sparse >> 6];
                assert!(lengths.into_iter().any(|len| file.set_len(len).is_ok()));
            }
        }
        let options = uarr_uring::SystemOptions { backend: BackendChoice::Syscalls };
        let system = || uarr_uring::System::open(dir.path(), options).unwrap();
        inspect(system, self.kind);
        look(system, self.kind);
        use_it(system, self.kind);
    }
}

/// Not a test of its own: what a child does.
#[test]
fn child() {
    let Ok(order) = std::env::var("UARR_HOSTILE_CHILD") else { return };
    let mut words = order.split(' ');
    let name = words.next().unwrap();
    let mut number = || words.next().unwrap().parse::<usize>().unwrap();
    let (first, stride) = (number(), number());
    let course = COURSES.iter().find(|(other, _)| *other == name).unwrap().1;
    let files = original(course.kind);
    std::panic::set_hook(Box::new(|panic| {
        println!("panic {}", panic.to_string().replace('\n', " "))
    }));
    for (index, mutant) in mutants(&files).iter().enumerate().skip(first).step_by(stride) {
        println!("begin {index} {}", mutant.describe());
        let _ = catch_unwind(AssertUnwindSafe(|| course.run(mutant.apply(&files))));
    }
    println!("over");
}

/// What a child said before it ended, or was ended because it said nothing more.
fn run_child(name: &str, first: usize, stride: usize) -> (Vec<String>, bool) {
    let program = std::env::current_exe().unwrap();
    let line =
        format!("ulimit -v {LIMIT_KIB}; exec '{}' child --exact --nocapture", program.display());
    let mut child = Command::new("sh")
        .args(["-c", &line])
        .env("UARR_HOSTILE_CHILD", format!("{name} {first} {stride}"))
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (say, heard) = mpsc::channel();
    std::thread::spawn(move || {
        output.lines().map_while(Result::ok).try_for_each(|line| say.send(line))
    });
    let mut lines = Vec::new();
    loop {
        match heard.recv_timeout(PATIENCE) {
            Ok(line) => lines.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                lines.push(format!("hang: nothing for {PATIENCE:?}"));
                break;
            }
        }
    }
    let status = child.wait().unwrap();
    (lines, status.success())
}

fn report(name: &str, mutant: &Option<String>, what: &str) -> String {
    let line =
        format!("{name}: {}: {what}", mutant.as_deref().unwrap_or("before the first mutant"));
    println!("{line}");
    line
}

/// Runs every `stride`-th mutant of a course; goes on behind one that ends a child.
fn course(name: &str, stride: usize) {
    fields::check_tables();
    let kind = COURSES.iter().find(|(other, _)| *other == name).unwrap().1.kind;
    let files = original(kind);
    let places = fields::places(&files, BLOCK, CHUNK);
    let found = fields::names(&places);
    assert_eq!(found.len(), fields::field_count(kind != KeyKind::Bytes), "{found:#?}");
    let count = mutants(&files).len();
    let stride = if from_environment("UARR_FUZZ").is_some() { 1 } else { stride };
    let (mut first, mut wrong) = (0, Vec::new());
    while first < count && wrong.len() < 20 {
        let (lines, _) = run_child(name, first, stride);
        let mut mutant = None;
        for line in &lines {
            match line.split_once(' ') {
                Some(("begin", rest)) => mutant = Some(rest.to_owned()),
                Some(("panic" | "hang:", _)) => wrong.push(report(name, &mutant, line)),
                _ => {}
            }
        }
        if lines.iter().any(|line| line == "over") {
            break;
        }
        let last = mutant.unwrap_or_else(|| panic!("{name}: a child came to nothing: {lines:?}"));
        if !lines.last().unwrap().starts_with("hang") {
            wrong.push(report(name, &Some(last.clone()), "the process ended"));
        }
        first = last.split(' ').next().unwrap().parse::<usize>().unwrap() + stride;
    }
    println!("{name}: {} of {count} mutants of {} fields", count / stride, places.len());
    assert!(wrong.is_empty(), "{name}: {} mutants end badly: {wrong:#?}", wrong.len());
}

/// A frame of a later version asks for what this one does not know. It may be acknowledged, so it
/// is neither skipped nor cut as a torn tail.
//= test WAL-7
#[test]
fn unknown_kinds_and_flags_of_frames_are_refused_by_name() {
    let options = || MemoryOptions { block_bytes: BLOCK as u32, ..Default::default() };
    let disk = Memory::with_options(options());
    let db = builder("memory", KeyKind::U64).open_on(disk.clone()).unwrap();
    put(&db, 1, b"of this version").unwrap();
    let lsn = db.put(2u64, b"of a later one").unwrap().lsn;
    let files = files_of(&disk.crash());
    drop(db);
    let places = fields::places(&files, BLOCK, CHUNK);
    for (field, value, said) in [("flags", 2, "unknown flags"), ("kind", 77, "unknown kind")] {
        let field = format!("{field} of the frame at");
        let place = places.iter().rfind(|place| place.name.starts_with(&field)).unwrap();
        let mut files = files.clone();
        place.set(files.get_mut(&place.path).unwrap(), value);
        for mode in MODES {
            let disk = disk_of(&files, options());
            let opened = builder("memory", KeyKind::U64).recovery(mode).open_on(disk.clone());
            let error = opened.err().unwrap_or_else(|| panic!("{field} {value}: it opens"));
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            let text = error.to_string();
            assert!(text.contains(said) && text.contains(&lsn.to_string()), "{text}");
            assert_eq!(files_of(&disk), files, "nothing is written");
        }
    }
}

/// A database whose superblock said that the highest LSN was the next one was opened, and wrote
/// groups that no reader took, as their LSNs were impossible. The same went for a segment under the
/// highest number: the next one, in which acknowledged writes stood, was a file of others. One with
/// an image under the highest number took no checkpoint and could not be closed.
//= test WAL-1, WAL-10
#[test]
fn a_database_with_no_numbers_left_is_refused_before_it_acknowledges_anything() {
    let options = || MemoryOptions { block_bytes: BLOCK as u32, ..Default::default() };
    for closed in [true, false] {
        let disk = Memory::with_options(options());
        let db = builder("memory", KeyKind::U64).open_on(disk.clone()).unwrap();
        put(&db, 1, b"value").unwrap();
        if closed {
            db.close().unwrap();
        }
        let files = files_of(&disk.crash());
        let mut lsns = files.clone();
        for (slot, block) in on_disk::superblocks(&files).into_iter().enumerate() {
            let mut block = block.unwrap();
            block.next_lsn = (LSN_MAX - 1).into();
            let start = slot * SLOT_STRIDE_BYTES as usize;
            let bytes = block.to_slot();
            lsns.get_mut("superblock").unwrap()[start..][..bytes.len()].copy_from_slice(&bytes);
        }
        let mut segments = files.clone();
        segments.insert(format!("wal/{:016x}.wal", NUMBER_MAX - 1), vec![0; 1 << 18]);
        let mut images = files.clone();
        images.insert(format!("index/{:016x}.img", NUMBER_MAX - 1), Vec::new());
        for (what, files) in [("LSN", lsns), ("segment", segments), ("image", images)] {
            let disk = disk_of(&files, options());
            let opened = builder("memory", KeyKind::U64).open_on(disk.clone());
            let error = opened.err().unwrap_or_else(|| panic!("{what}s, {closed}: it opens"));
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            assert!(error.to_string().contains(&format!("no {what} number is left")), "{error}");
            assert!(error.to_string().contains("uarr repair"), "{error}");
            let target = builder("memory", KeyKind::U64).open_on(Memory::new()).unwrap();
            let inspector = Inspector::open_on(disk, "memory").unwrap();
            repair(&inspector, &target, RepairMode::Tolerate).unwrap();
            assert_eq!(target.get(1u64).unwrap().unwrap().bytes(), b"value", "{what}s, {closed}");
        }
    }
}

#[test]
fn hostile_databases_with_byte_keys_end_in_answers() {
    course("bytes", 29);
}

#[test]
fn hostile_databases_with_integer_keys_end_in_answers() {
    course("integers", 37);
}

#[test]
fn hostile_databases_with_signed_keys_end_in_answers() {
    course("signed", 101);
}

#[test]
fn hostile_databases_in_sparse_files_end_in_answers() {
    course("sparse", 151);
}

#[test]
fn hostile_databases_in_endless_files_end_in_answers() {
    course("endless", 499);
}
