//! A process is killed while its last write is on its way to a disk that does not answer.
//!
//! Promise proved: the database stays locked until that write has ended, so that no other process
//! reads what it will overwrite, or writes where it will land; the error says so; afterwards
//! everything acknowledged is there.
//!
//! The disk is a loop device over a file of a file system that is frozen (FIFREEZE): the disk's
//! writes wait, with their process or without it, until it is thawed. This needs root, loop
//! devices, mkfs and fsfreeze: where they are missing, the test says so and ends.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use uarr::{BackendChoice, Builder, CommitPath, CommitStrategy, ErrorKind, KeyKind};
use uarr_tests::{scratch, small};
use uarr_uring::{Holder, LockError, Storage, System, SystemOptions};

/// XFS makes none smaller.
const DISK_BYTES: u64 = 320 << 20;
const BELOW_BYTES: u64 = 400 << 20;
/// In a child: the directory of the database, and the strategy.
const CHILD: &str = "UARR_SLOW_WRITE_CHILD";
const STRATEGY: &str = "UARR_SLOW_WRITE_STRATEGY";
const STRATEGIES: [CommitStrategy; 2] = [CommitStrategy::LinkedFdatasync, CommitStrategy::Dsync];
/// Long enough for every machine; nothing is measured.
const PATIENCE: Duration = Duration::from_secs(30);

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("there is no {program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().into()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{program} {arguments:?}: {}", said.trim()))
        }
    }
}

/// A file system in a file, mounted over a loop device until dropped.
struct Mounted {
    place: PathBuf,
    device: String,
}

impl Mounted {
    fn new(kind: &str, file: &Path, bytes: u64, place: PathBuf) -> Result<Self, String> {
        fs::File::create(file).and_then(|file| file.set_len(bytes)).map_err(|e| e.to_string())?;
        let force = if kind == "xfs" { "-f" } else { "-F" };
        run(&format!("mkfs.{kind}"), &["-q", force, file.to_str().unwrap()])?;
        fs::create_dir_all(&place).unwrap();
        let device = run("losetup", &["--find", "--show", file.to_str().unwrap()])?;
        let mounted = Self { place, device };
        run("mount", &[&mounted.device, mounted.place.to_str().unwrap()])?;
        Ok(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let place = self.place.to_str().unwrap();
        if run("umount", &[place]).is_err() {
            let _ = run("umount", &["-l", place]);
        }
        let _ = run("losetup", &["--detach", &self.device]);
    }
}

/// A file system over one that can be frozen. Fields are dropped in this order.
struct Disk {
    above: Mounted,
    below: Mounted,
    _base: tempfile::TempDir,
}

impl Disk {
    fn make(kind: &str) -> Result<Self, String> {
        let base = scratch();
        let path = |name: &str| base.path().join(name);
        let below = Mounted::new("ext4", &path("below.file"), BELOW_BYTES, path("below"))?;
        let file = below.place.join("above.file");
        let above = Mounted::new(kind, &file, DISK_BYTES, path("above"))?;
        // So that the file below has all of its blocks.
        run("fallocate", &["-l", &DISK_BYTES.to_string(), file.to_str().unwrap()])?;
        Ok(Self { above, below, _base: base })
    }

    fn freeze(&self) -> Frozen<'_> {
        run("fsfreeze", &["--freeze", self.below.place.to_str().unwrap()]).unwrap();
        Frozen(self)
    }
}

/// Thaws when dropped, so that a failed check leaves nothing that waits.
struct Frozen<'a>(&'a Disk);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let thawed = run("fsfreeze", &["--unfreeze", self.0.below.place.to_str().unwrap()]);
        thawed.unwrap();
    }
}

fn options(path: &Path) -> Builder {
    small(path).keys(KeyKind::U64)
}

/// The child: opens, says so, and writes for ever, saying what was acknowledged.
fn write_for_ever(path: &Path, strategy: CommitStrategy) {
    let db =
        options(path).commit_path(CommitPath::Fixed(strategy)).background(false).open().unwrap();
    for number in 0u64.. {
        db.put(number, number.to_le_bytes()).unwrap();
        println!("put {number}");
    }
}

/// Kills a writer whose write the disk holds back; a writer that waits for the kernel is killed by
/// it later.
fn kill_with_a_write_in_flight(disk: &Disk, path: &Path, strategy: CommitStrategy) {
    let test = "a_lock_outlives_its_process_until_the_last_write_has_ended";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .env(STRATEGY, STRATEGIES.iter().position(|each| *each == strategy).unwrap().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let number = |line: String| line.rsplit_once("put ")?.1.trim().parse::<u64>().ok();
    let mut acknowledged: Vec<_> = lines.by_ref().filter_map(number).take(20).collect();

    let system = System::open(path, SystemOptions { backend: BackendChoice::Syscalls }).unwrap();
    let frozen = disk.freeze();
    // From now on no write ends, so the writer comes to rest with one in flight.
    let rest = std::thread::spawn(move || lines.filter_map(number).collect::<Vec<_>>());
    std::thread::sleep(Duration::from_millis(500));
    child.kill().unwrap();
    let mut holders = Vec::new();
    let start = Instant::now();
    let ended = Holder::EndedProcess { pid: child.id() };
    // For a moment it is still there; later only its write is.
    while holders.last() != Some(&ended) && start.elapsed() < PATIENCE {
        match system.lock("lock", Duration::ZERO) {
            Err(LockError::Held(holder)) => holders.push(holder),
            other => panic!("{strategy:?}: its write has not ended, but: {other:?}"),
        }
    }
    assert_eq!(holders.last(), Some(&ended), "{strategy:?}");
    child.wait().unwrap();
    for _ in 0..20 {
        let held = system.lock("lock", Duration::from_millis(10)).map(drop);
        assert!(matches!(held, Err(LockError::Held(_))), "{strategy:?}: {held:?}");
    }
    acknowledged.extend(rest.join().unwrap());

    // Who opens it meanwhile waits, and goes on when the disk has answered.
    let opener = std::thread::spawn({
        let path = path.to_owned();
        move || options(&path).open()
    });
    std::thread::sleep(Duration::from_millis(100));
    assert!(!opener.is_finished(), "{strategy:?}");
    drop(frozen);
    let db = opener.join().unwrap().unwrap();
    for number in acknowledged {
        let record = db.get(number).unwrap().expect("acknowledged");
        assert_eq!(record.bytes(), number.to_le_bytes());
    }
    db.close().unwrap();
}

#[test]
fn a_lock_outlives_its_process_until_the_last_write_has_ended() {
    if let Some(path) = std::env::var_os(CHILD) {
        let strategy: usize = std::env::var(STRATEGY).unwrap().parse().unwrap();
        return write_for_ever(Path::new(&path), STRATEGIES[strategy]);
    }
    for kind in ["ext4", "xfs"] {
        let disk = match Disk::make(kind) {
            Ok(disk) => disk,
            Err(reason) => {
                println!("skipped on {kind}: {reason}");
                continue;
            }
        };
        for (number, strategy) in STRATEGIES.into_iter().enumerate() {
            let path = disk.above.place.join(format!("db{number}"));
            let made = options(&path).backend(BackendChoice::Ring).open().map(drop);
            match made {
                Ok(()) => kill_with_a_write_in_flight(&disk, &path, strategy),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => println!("{error}"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}
