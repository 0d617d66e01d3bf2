//! A real disk that fails below a real file system, a file system that dies, too few file
//! descriptors, too little memory to lock.
//!
//! Promise proved, with the answers of the real kernel: the engine does not acknowledge the write
//! that fails, nor any later one; the error names the cause; reads go on; when the cause is gone,
//! the next opening finds all that was acknowledged.
//!
//! The disk is a zram device. Its memory has a limit: at the limit it fails each write of anything
//! but zeros with an error that comes up through ext4 or XFS. A higher limit repairs it. (A loop
//! device over a full tmpfs is no such disk but one that lies: it takes a short write of its file
//! for a whole one.) This needs root, zram and mkfs: where they are missing, the test says so and
//! ends.
//!
//! A child, this test program again, uses the database: a file system that dies ends the process
//! with SIGBUS at the next page that it would have to bring into the map.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use uarr::{BackendChoice, CommitPath, CommitStrategy, Db, ErrorKind, KeyKind};
use uarr_tests::disk::{Mounted, run};
use uarr_tests::{Random, scratch, small};

/// XFS makes none smaller. What is not written takes no memory.
const DISK_BYTES: &str = "320M";
const PAGE_BYTES: u64 = 4096;
const KINDS: [&str; 2] = ["ext4", "xfs"];
const BACKENDS: [BackendChoice; 2] = [BackendChoice::Auto, BackendChoice::Syscalls];
const SIGBUS: i32 = 7;
/// In a child: the directory to use, and its orders from the test.
const CHILD: &str = "UARR_DISK_CHILD";
const TOLD: &str = "UARR_DISK_TOLD";
const PUT_COUNT_MAX: u64 = 2000;
const WRITER_COUNT: u64 = 4;

/// A zram device, removed when dropped.
struct Device(u64);

impl Device {
    fn new() -> Result<Self, String> {
        const CONTROL: &str = "/sys/class/zram-control/hot_add";
        if !Path::new(CONTROL).exists() {
            run("modprobe", &["zram"])?;
        }
        let number = fs::read_to_string(CONTROL).map_err(|error| format!("no zram: {error}"))?;
        let device = Self(number.trim().parse().unwrap());
        fs::write(device.fact("disksize"), DISK_BYTES).map_err(|error| error.to_string())?;
        Ok(device)
    }

    fn fact(&self, name: &str) -> PathBuf {
        format!("/sys/block/zram{}/{name}", self.0).into()
    }

    fn path(&self) -> String {
        format!("/dev/zram{}", self.0)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // A file system that died may hold the device a little longer.
        for _ in 0..50 {
            if fs::write("/sys/class/zram-control/hot_remove", self.0.to_string()).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        eprintln!("{} could not be removed", self.path());
    }
}

/// A journaled file system on a disk that can be made to fail. Fields are dropped in this order.
struct Disk {
    mounted: Option<Mounted>,
    device: Device,
    base: tempfile::TempDir,
}

impl Disk {
    /// `None` if none can be made here; the reason is printed.
    fn new(kind: &str) -> Option<Self> {
        let made = Self::make(kind);
        if let Err(reason) = &made {
            println!("skipped on {kind}: {reason}");
        }
        made.ok()
    }

    fn make(kind: &str) -> Result<Self, String> {
        let (base, device) = (scratch(), Device::new()?);
        let force = if kind == "xfs" { "-f" } else { "-F" };
        run(&format!("mkfs.{kind}"), &["-q", force, &device.path()])?;
        let mut disk = Self { mounted: None, device, base };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&mut self) -> Result<(), String> {
        let place = self.base.path().join("disk");
        self.mounted = Some(Mounted::new(&self.device.path(), &place, &[])?);
        Ok(())
    }

    fn database(&self) -> PathBuf {
        self.base.path().join("disk/db")
    }

    /// Lifts the limit, and mounts again what the kernel may have given up.
    fn repair(&mut self) {
        fs::write(self.device.fact("mem_limit"), "0").unwrap();
        self.mounted = None;
        self.mount().unwrap();
    }
}

/// From now on the zram device whose facts lie in `facts` takes so much more, and then fails.
fn limit(facts: &Path, room_bytes: u64) {
    let stat = fs::read_to_string(facts.join("mm_stat")).unwrap();
    let used: u64 = stat.split_whitespace().nth(2).unwrap().parse().unwrap();
    fs::write(facts.join("mem_limit"), (used + room_bytes).to_string()).unwrap();
}

/// What a child said before it ended.
struct Said {
    acknowledged: Vec<u64>,
    /// Its other lines.
    told: Vec<String>,
    status: ExitStatus,
}

impl Said {
    /// It ended well or, with the file system, by SIGBUS; never by a failed check.
    #[track_caller]
    fn check(&self, place: &str) {
        let died = self.status.signal() == Some(SIGBUS);
        assert!(self.status.success() || died, "{place}: {}: {:#?}", self.status, self.told);
    }

    fn told(&self, word: &str) -> bool {
        self.told.iter().any(|line| line.contains(word))
    }
}

/// Runs `test` of this program on `directory` in a child; `hear` gets the number of acknowledged
/// puts.
fn child(test: &str, directory: &Path, told: &str, mut hear: impl FnMut(usize)) -> Said {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, directory)
        .env(TOLD, told)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let (mut acknowledged, mut told) = (Vec::new(), Vec::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = own_part(&line.unwrap());
        match line.strip_prefix("put ").map(str::parse) {
            Some(number) => acknowledged.push(number.unwrap()),
            None => told.push(line),
        }
        hear(acknowledged.len());
    }
    Said { acknowledged, told, status: child.wait().unwrap() }
}

/// A line without the name of the test, which the harness leaves before the first one.
fn own_part(line: &str) -> String {
    line.rsplit(" ... ").next().unwrap_or_default().into()
}

/// In a child: its directory, and its orders.
fn told() -> Option<(PathBuf, Vec<u64>)> {
    let directory = std::env::var_os(CHILD)?;
    let numbers = std::env::var(TOLD).unwrap();
    let numbers = numbers.split_whitespace().map(|number| number.parse().unwrap()).collect();
    Some((directory.into(), numbers))
}

/// With a ring where there is one: the longer way of an error is that of a linked chain.
fn options(path: &Path, backend: BackendChoice) -> uarr::Builder {
    let strategy = match backend {
        BackendChoice::Syscalls => CommitStrategy::Syscall,
        _ => CommitStrategy::LinkedFdatasync,
    };
    small(path).keys(KeyKind::U64).backend(backend).commit_path(CommitPath::Fixed(strategy))
}

/// Zram compresses: only what cannot be compressed takes room.
fn value(number: u64) -> Vec<u8> {
    let mut random = Random::new(number);
    (0..3000).map(|_| random.next() as u8).collect()
}

#[track_caller]
fn check(db: &Db, acknowledged: impl IntoIterator<Item = u64>) {
    for number in acknowledged {
        let record = db.get(number).unwrap();
        assert!(record.is_some(), "record {number} is gone: {:?}", db.recovery_report());
        assert_eq!(record.as_deref(), Some(&value(number)[..]), "record {number}");
    }
}

/// After the repair: everything acknowledged is there, nothing is that was not `attempted`, and
/// writing goes on.
fn check_reopened(path: &Path, acknowledged: &[u64], attempted: impl Fn(u64) -> bool) {
    let db = options(path, BackendChoice::Auto).open().unwrap();
    check(&db, acknowledged.iter().copied());
    for record in db.iter() {
        let record = record.unwrap();
        let number = record.key_u64().unwrap();
        let known = acknowledged.contains(&number) || attempted(number);
        assert!(known, "record {number} was never written");
        assert_eq!(record.bytes(), value(number));
    }
    assert!(db.verify(|_| {}).unwrap().is_clean());
    let more = 1_000_000..1_000_200;
    for number in more.clone() {
        db.put(number, value(number)).unwrap();
    }
    db.close().unwrap();
    let db = options(path, BackendChoice::Auto).open().unwrap();
    check(&db, more.chain(acknowledged.iter().copied()));
}

/// The error is one of the device and names its cause.
#[track_caller]
fn check_cause(error: &uarr::Error) {
    // A file system that gave up is read-only.
    let kinds = [ErrorKind::Io, ErrorKind::PermissionDenied, ErrorKind::Poisoned];
    assert!(kinds.contains(&error.kind()), "{error:?}");
    assert!(error.to_string().contains("os error"), "the cause is missing: {error}");
}

/// True if the database is poisoned after `error`; then every writer gets an error with the cause.
/// It is not if the engine wrote nothing, because it could not get the next segment.
fn is_poisoned(db: &Db, error: &uarr::Error) -> bool {
    check_cause(error);
    if !error.to_string().contains("a group commit failed") {
        return false;
    }
    for _ in 0..3 {
        let error = db.put(u64::MAX, b"never").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Poisoned, "{error:?}");
        check_cause(&error);
    }
    assert!(db.get(u64::MAX).unwrap().is_none(), "a failed write is seen");
    assert_eq!(db.checkpoint().unwrap_err().kind(), ErrorKind::Poisoned);
    true
}

/// In a child: puts, and a checkpoint now and then, until the device has failed a put.
fn write_until_the_device_fails(directory: &Path, facts: &Path, told: &[u64]) {
    let &[backend, room_bytes, checkpoint_stride] = told else { panic!("{told:?}") };
    let db = options(directory, BACKENDS[backend as usize]).background(false).open().unwrap();
    for number in 0..20 {
        db.put(number, value(number)).unwrap();
        println!("put {number}");
    }
    limit(facts, room_bytes);
    for number in 20..PUT_COUNT_MAX {
        if number % checkpoint_stride == 0
            && let Err(error) = db.checkpoint()
        {
            println!("checkpoint: {error:?}");
        }
        match db.put(number, value(number)) {
            Ok(_) => println!("put {number}"),
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                // Room in the data file or for the next segment is asked for before anything is
                // written.
                println!("no room: {error:?}");
                assert!(db.get(number).unwrap().is_none(), "the failed write is seen");
                continue;
            }
            Err(error) => {
                println!("failed put: {error:?}");
                assert!(db.get(number).unwrap().is_none(), "the failed write is seen");
                check(&db, 0..20);
                let end = if is_poisoned(&db, &error) { "poisoned" } else { "no segment" };
                return println!("{end}");
            }
        }
    }
}

#[test]
fn a_device_that_fails_loses_nothing_that_was_acknowledged() {
    const TEST: &str = "a_device_that_fails_loses_nothing_that_was_acknowledged";
    if let Some((directory, told)) = told() {
        let facts = format!("/sys/block/zram{}", told[0]);
        return write_until_the_device_fails(&directory, Path::new(&facts), &told[1..]);
    }
    let mut poisoned_count = 0;
    let mut run_count = 0;
    for round in 0..12u64 {
        let (kind, backend) = (KINDS[round as usize % 2], round / 2 % 2);
        let Some(mut disk) = Disk::new(kind) else { return };
        let stride = if round < 4 { PUT_COUNT_MAX } else { 5 + round };
        let room_bytes = round * round * PAGE_BYTES;
        let told = format!("{} {backend} {room_bytes} {stride}", disk.device.0);
        let said = child(TEST, &disk.database(), &told, |_| {});
        let place = format!("round {round} on {kind}");
        println!("{place}: {} puts, {}, {:#?}", said.acknowledged.len(), said.status, said.told);
        said.check(&place);
        assert!(said.told("os error") || said.status.signal().is_some(), "{place}: no failure");
        poisoned_count += u64::from(said.told("poisoned"));
        run_count += 1;
        disk.repair();
        check_reopened(&disk.database(), &said.acknowledged, |number| number < PUT_COUNT_MAX);
    }
    assert!(poisoned_count > 0, "in none of {run_count} runs the device failed a put");
}

/// In a child: four writers and a thread that takes checkpoints, until one gets an error.
fn write_until_the_file_system_dies(directory: &Path, backend: BackendChoice) {
    let db = options(directory, backend).open().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..WRITER_COUNT {
            let db = &db;
            scope.spawn(move || {
                for step in 0.. {
                    let number = writer << 16 | step;
                    match db.put(number, value(number)) {
                        Ok(_) => println!("put {number}"),
                        Err(error) => return println!("failed put: {error:?}"),
                    }
                }
            });
        }
        scope.spawn(|| while db.checkpoint().is_ok() {});
    });
    let error = db.put(u64::MAX, b"never").unwrap_err();
    check_cause(&error);
    println!("dead");
}

/// The file system is shut down without writing its own log out first: as if the power had gone,
/// but for what the device had.
#[test]
fn a_file_system_that_dies_keeps_what_was_acknowledged() {
    const TEST: &str = "a_file_system_that_dies_keeps_what_was_acknowledged";
    if let Some((directory, told)) = told() {
        return write_until_the_file_system_dies(&directory, BACKENDS[told[0] as usize]);
    }
    if let Err(reason) = run("xfs_io", &["-V"]) {
        return println!("skipped: {reason}");
    }
    for round in 0..8u64 {
        let (kind, backend) = (KINDS[round as usize % 2], round / 2 % 2);
        let Some(mut disk) = Disk::new(kind) else { return };
        let mounted = disk.mounted.as_ref().unwrap().path().to_str().unwrap().to_owned();
        let mut wanted = Some(120 + 90 * round as usize);
        let said = child(TEST, &disk.database(), &backend.to_string(), |count| {
            if wanted.is_some_and(|wanted| count >= wanted) {
                wanted = None;
                run("xfs_io", &["-x", "-c", "shutdown", &mounted]).unwrap();
            }
        });
        let place = format!("round {round} on {kind}");
        println!("{place}: {} puts, {}, {:#?}", said.acknowledged.len(), said.status, said.told);
        said.check(&place);
        assert_eq!(wanted, None, "{place}: the writers stopped before the file system");
        disk.repair();
        // One more of each writer was under way.
        let count = |writer| said.acknowledged.iter().filter(|n| **n >> 16 == writer).count();
        check_reopened(&disk.database(), &said.acknowledged, |number| {
            number & 0xffff == count(number >> 16) as u64
        });
    }
}

/// In a child: opens, writes until it fails or has used several segments, and says how far it came.
fn write_with_few_files(directory: &Path) {
    let db = match options(directory, BackendChoice::Auto).open() {
        Ok(db) => db,
        Err(error) => return println!("cannot open: {error}"),
    };
    let next = db.iter().count() as u64;
    for number in next..next + 300 {
        match db.put(number, value(number)) {
            Ok(_) => println!("put {number}"),
            Err(error) => return println!("cannot write: {error}"),
        }
    }
    match db.checkpoint() {
        Ok(_) => println!("done"),
        Err(error) => println!("cannot take a checkpoint: {error}"),
    }
}

/// Every limit of file descriptors from one that is too small even to begin, until all goes well.
#[test]
fn too_few_file_descriptors_are_named_and_lose_nothing() {
    const TEST: &str = "too_few_file_descriptors_are_named_and_lose_nothing";
    if let Some((directory, _)) = told() {
        return write_with_few_files(&directory);
    }
    let base = scratch();
    let program = std::env::current_exe().unwrap();
    let mut outcomes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut count = 0;
    for limit in 3..64 {
        let output = Command::new("sh")
            .args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")])
            .arg(&program)
            .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
            .env(CHILD, base.path())
            .env(TOLD, "")
            .output()
            .unwrap();
        let mut outcome = "silent";
        for line in String::from_utf8_lossy(&output.stdout).lines().map(own_part) {
            if let Some(number) = line.strip_prefix("put ") {
                assert_eq!(number.parse(), Ok(count), "limit {limit}: a record is missing");
                count += 1;
            } else if line == "done" {
                outcome = "done";
            } else if line.starts_with("cannot ") {
                println!("limit {limit}: {line}");
                for word in ["RLIMIT_NOFILE", "ulimit -n"] {
                    assert!(line.contains(word), "limit {limit}: '{word}' is not in: {line}");
                }
                outcome = if line.starts_with("cannot open") { "no open" } else { "no write" };
            }
        }
        *outcomes.entry(outcome).or_default() += 1;
        if base.path().join("superblock").exists() {
            let db = options(base.path(), BackendChoice::Auto).open().unwrap();
            assert_eq!(db.iter().count() as u64, count, "limit {limit}");
            check(&db, 0..count);
            assert!(db.verify(|_| {}).unwrap().is_clean());
        }
        if outcome == "done" {
            break;
        }
    }
    println!("{outcomes:?}");
    assert_eq!(outcomes.get("done"), Some(&1), "{outcomes:?}");
    assert!(outcomes.contains_key("no open"), "{outcomes:?}");
}

/// As much locked memory as many systems grant: too little for the group buffers, perhaps for a
/// ring. The superuser may lock more, so the child runs as another user.
#[test]
fn with_64_kib_of_locked_memory_all_works() {
    const TEST: &str = "with_64_kib_of_locked_memory_all_works";
    if let Some((directory, _)) = told() {
        let db = options(&directory, BackendChoice::Auto).open().unwrap();
        println!("{:?}, {:?}", db.stats().backend, db.stats().backend_warning);
        drop(db);
        return write_with_few_files(&directory);
    }
    const NOBODY: u32 = 65534;
    let base = scratch();
    let somebody = match std::os::unix::fs::chown(base.path(), Some(NOBODY), Some(NOBODY)) {
        Ok(()) => "setpriv --reuid=65534 --regid=65534 --clear-groups",
        // Already another user than the superuser.
        Err(_) => "",
    };
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -l 64 && exec {somebody} \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env(CHILD, base.path())
        .env(TOLD, "")
        .output()
        .unwrap();
    if matches!(output.status.code(), Some(126 | 127)) {
        // No other user may run what lies here, or there is no setpriv.
        return println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{}", said.lines().filter(|line| !line.starts_with("put ")).collect::<String>());
    let ended = said.lines().any(|line| line == "done");
    assert!(output.status.success() && ended, "{}", String::from_utf8_lossy(&output.stderr));
    let db = options(base.path(), BackendChoice::Auto).open().unwrap();
    check(&db, 0..300);
    assert_eq!(db.iter().count(), 300);
}
