//! The kernel's own file systems on a disk that loses power, delays and fails
//! ([`uarr_tests::disk`]).
//!
//! Promise proved: with every failure of the disk and every end of the process, what was
//! acknowledged as durable is there after a loss of power, with its values, and `verify` finds no
//! damage.
//!
//! - `real_disk_itself`: the disk does what the others take for granted.
//! - `real_disk_lock`: a killed process' write is held at the disk; until it has landed, the
//!   database cannot be opened.
//! - `real_disk_kills`: processes are killed while one write in four takes long; the next opens at
//!   once and writes; power is lost at any moment.
//! - `real_disk_failures`: writes or flushes of data file, log, superblock or anything fail, once
//!   or from then on, with EIO or ENOSPC; the database is opened again in the same boot, takes
//!   writes, is closed; then power is lost.
//!
//! `UARR_DISK_ROUNDS` sets how many power cuts each case of the second and how many failures the
//! third make, `UARR_SEED` the seed. Skipped, with the reason, without root, FUSE, loop devices or
//! mkfs.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::time::{Duration, Instant};

use uarr_tests::disk::{Action, Client, Disk, FileSystem, On, Rule, in_a_namespace, run};
use uarr_tests::{Random, from_environment, seed};

const FILE_SYSTEMS: [FileSystem; 2] = [FileSystem::Ext4, FileSystem::Xfs];
const STRATEGIES: [&str; 3] = ["linked", "dsync", "syscall"];
const CLIENT: &str = env!("CARGO_BIN_EXE_client");
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// Files whose writes fail, or are lost in a flush that fails; none for all of the disk.
const FILES: [Option<&str>; 4] = [Some("data/*"), Some("wal/*.wal"), Some("superblock"), None];
/// A number of records between checkpoints that is not reached.
const NEVER: u64 = 1 << 40;
/// What an event that must come may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// In the process that runs the test proper: true, if a disk can be had.
fn is_the_one(test: &str) -> bool {
    if let Err(reason) = run("unshare", &["--mount", "true"]) {
        println!("skipped: {reason}");
        return false;
    }
    match in_a_namespace(test) {
        Some(status) => {
            assert!(status.success(), "{status}");
            false
        }
        None => true,
    }
}

fn disk(kind: FileSystem, seed: u64) -> Option<Disk> {
    let disk = Disk::new(kind, seed);
    if let Err(reason) = &disk {
        println!("skipped on {kind}: {reason}");
    }
    disk.ok()
}

fn client() -> Client {
    Client::start(CLIENT)
}

/// Cuts the power, boots, and looks for what was acknowledged. What is wrong.
fn cut(disk: &Disk, acknowledged: &[u64], random: &mut Random) -> Result<(), String> {
    let mut cut = disk.cut_power(random);
    let base = cut.mount()?;
    let found = look(&base.join("db"), acknowledged);
    if let (Err(_), Some(_)) = (&found, std::env::var_os("UARR_DISK_KEEP")) {
        println!("kept: {}", cut.keep().display());
    }
    found
}

fn look(path: &Path, acknowledged: &[u64]) -> Result<(), String> {
    let mut client = client();
    client.open(path, "linked")?;
    client.ask("list")?;
    let mut found = client.numbers();
    found.sort_unstable();
    let lost: Vec<_> =
        acknowledged.iter().filter(|number| found.binary_search(number).is_err()).collect();
    if !lost.is_empty() {
        return Err(format!(
            "{} of {} acknowledged records are lost: {:?}",
            lost.len(),
            acknowledged.len(),
            &lost[..lost.len().min(8)]
        ));
    }
    client.ask("verify")?;
    client.ask("close")
}

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The disk is what the other tests take it for: a write and its flush reach it, wait for it, and
/// fail with it; and a power cut leaves what was flushed.
#[test]
fn real_disk_itself() {
    if !is_the_one("real_disk_itself") {
        return;
    }
    let mut random = Random::new(seed(1));
    for kind in FILE_SYSTEMS {
        let Some(disk) = disk(kind, 1) else { return };
        let file = disk.path().join("file").display().to_string();
        let write = |byte: &str| {
            let command = format!(
                "yes {byte} | tr -d '\\n' | dd of={file} bs=4096 count=4 iflag=fullblock \
                 oflag=direct conv=notrunc,fdatasync"
            );
            run("sh", &["-c", &command])
        };
        write("a").unwrap();
        write("b").unwrap();
        let ranges = disk.ranges("file").unwrap();
        let before = disk.counts();
        write("c").unwrap();
        let after = disk.counts();
        assert!(after.writes > before.writes && after.flushes > before.flushes, "{after:?}");

        disk.rule(Rule::always(On::Write, &ranges, Action::Hold));
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| write("d"));
            until("a write is held", || disk.waiting_count() > 0);
            assert!(!writer.is_finished(), "{kind}: done before the disk had it");
            disk.clear();
            writer.join().unwrap().unwrap();
        });
        for on in [On::Write, On::Flush] {
            disk.rule(Rule::always(on, &ranges, Action::Fail(EIO)));
            let error = write("e").unwrap_err();
            assert!(error.contains("Input/output error"), "{kind} {on:?}: {error}");
            disk.clear();
        }
        for _ in 0..3 {
            let mut cut = disk.cut_power(&mut random);
            let left = std::fs::read(cut.mount().unwrap().join("file")).unwrap();
            // The failed writes and flushes were lost.
            assert!(left == [b'd'; 4 * 4096], "{kind}: {:?}", left.first());
        }
    }
}

#[test]
fn real_disk_lock() {
    if !is_the_one("real_disk_lock") {
        return;
    }
    let mut random = Random::new(seed(1));
    for kind in FILE_SYSTEMS {
        let Some(disk) = disk(kind, 1) else { return };
        for (round, strategy) in STRATEGIES.into_iter().enumerate() {
            let place = format!("{kind} {strategy}");
            let path = disk.path().join("db");
            let first = round as u64 * 10_000;
            let mut killed = client();
            killed.open(&path, strategy).unwrap();
            killed.ask(&format!("put {first} 5 1 {NEVER}")).unwrap();
            let log = disk.ranges("db/wal/*.wal").unwrap();
            disk.rule(Rule::always(On::Write, &log, Action::Hold));
            killed.tell(&format!("put {} 100 2 {NEVER}", first + 100));
            until("a write is held", || disk.waiting_count() > 0);
            killed.kill();
            let mut next = client();
            next.tell(&format!("open {} {strategy}", path.display()));
            let early = next.answer_within(Duration::from_millis(200));
            assert_ne!(early, Some(Ok(())), "{place}: opened before the dead write has landed");
            disk.clear();
            let opened = next.answer_within(PATIENCE).or(early);
            assert_eq!(opened, Some(Ok(())), "{place}: not opened when the dead write has landed");
            next.ask(&format!("put {} 20 1 {NEVER}", first + 1000)).unwrap();
            let mut acknowledged = killed.numbers();
            acknowledged.extend(next.numbers());
            let found = cut(&disk, &acknowledged, &mut random);
            assert_eq!(found, Ok(()), "{place}");
        }
    }
}

#[test]
fn real_disk_kills() {
    if !is_the_one("real_disk_kills") {
        return;
    }
    let round_count = from_environment("UARR_DISK_ROUNDS").unwrap_or(1);
    let seed = seed(1);
    let (mut cut_count, mut wrong) = (0, Vec::new());
    for kind in FILE_SYSTEMS {
        for strategy in STRATEGIES {
            let Some(disk) = disk(kind, seed) else { return };
            let place = format!("UARR_SEED={seed} {kind} {strategy}");
            for (round, found) in kills(&disk, strategy, seed, round_count).into_iter().enumerate()
            {
                cut_count += 1;
                if let Err(why) = found {
                    println!("{place} round {round}: {why}");
                    wrong.push(format!("{place} round {round}: {why}"));
                }
            }
        }
    }
    println!("{cut_count} power cuts, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What was found after each power cut.
fn kills(disk: &Disk, strategy: &str, seed: u64, count: u64) -> Vec<Result<(), String>> {
    let mut random = Random::new(seed);
    let path = disk.path().join("db");
    let mut acknowledged = Vec::new();
    let mut writer = client();
    writer.open(&path, strategy).unwrap();
    let mut found = Vec::new();
    for round in 1..=count {
        let (one_in, time) = [(4, 200), (4, 200), (20, 1500)][random.below(3) as usize];
        let time = Duration::from_millis(time);
        disk.rule(Rule::always(On::Write, &[], Action::Delay(one_in, time)));
        let thread_count = 1 + random.below(4);
        let stride = [NEVER, 10, 50][random.below(3) as usize];
        writer.tell(&format!("put {} 50000 {thread_count} {stride}", round << 32));
        std::thread::sleep(Duration::from_millis(random.below(150)));
        writer.kill();
        let mut next = client();
        let opened = next.open(&path, strategy);
        acknowledged.extend(writer.numbers());
        if opened.is_err() {
            found.push(opened);
            return found;
        }
        next.tell(&format!("put {} 50000 {thread_count} {stride}", round << 32 | 1 << 24));
        until("a write is acknowledged", || !next.numbers().is_empty());
        std::thread::sleep(Duration::from_millis(random.below(100)));
        let mut known = acknowledged.clone();
        known.extend(next.numbers());
        found.push(cut(disk, &known, &mut random));
        // The next round begins with an orderly end of this one.
        next.kill();
        disk.clear();
        acknowledged.extend(next.numbers());
        writer = client();
        let opened = writer.open(&path, strategy);
        if opened.is_err() {
            found.push(opened);
            return found;
        }
    }
    found
}

/// Which requests fail: one, or all from then on.
#[derive(Clone, Copy, Debug)]
struct Failure {
    on: On,
    /// One of [`FILES`].
    files: Option<&'static str>,
    skip: u64,
    times: u64,
    errno: i32,
}

#[test]
fn real_disk_failures() {
    if !is_the_one("real_disk_failures") {
        return;
    }
    let run_count = from_environment("UARR_DISK_ROUNDS").unwrap_or(8);
    let seed = seed(1);
    let (mut failed_count, mut wrong) = (0, Vec::new());
    for number in 0..run_count {
        let mut random = Random::new(seed + number);
        let strategy = STRATEGIES[random.below(3) as usize];
        let skip_max = [1, 3, 20][random.below(3) as usize];
        // All cases come in turn; neighbours differ in everything.
        let case = (seed + number) * 19 % 64;
        let kind = FILE_SYSTEMS[(case % 2) as usize];
        let failure = Failure {
            on: [On::Write, On::Flush][(case / 2 % 2) as usize],
            files: FILES[(case / 4 % 4) as usize],
            errno: [EIO, ENOSPC][(case / 16 % 2) as usize],
            times: [1, u64::MAX][(case / 32) as usize],
            skip: random.below(skip_max),
        };
        let Some(mut disk) = disk(kind, seed) else { return };
        let place = format!("UARR_SEED={} {kind} {strategy} {failure:?}", seed + number);
        let ended = fail_once(&mut disk, strategy, failure, &mut random);
        failed_count += u64::from(ended.has_failed);
        let heard: Vec<_> =
            ended.heard.iter().map(|line| line.get(..160).unwrap_or(line)).collect();
        let found = ended.found.as_ref().map_or_else(|why| &why[..], |()| "right");
        println!("{place}: {found}; {:#?}", heard.first());
        if ended.found.is_err() {
            wrong.push(format!("{place}: {found}; {heard:#?}"));
        }
    }
    println!("{run_count} runs, {failed_count} with a failure, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(failed_count > 0, "no rule met a request");
}

struct Ended {
    has_failed: bool,
    /// What the clients had answered, where it was not yes.
    heard: Vec<String>,
    found: Result<(), String>,
}

fn fail_once(disk: &mut Disk, strategy: &str, failure: Failure, random: &mut Random) -> Ended {
    let path = disk.path().join("db");
    let mut heard = Vec::new();
    let mut first = client();
    first.open(&path, strategy).unwrap();
    let stride = [25, NEVER][random.below(2) as usize];
    first.ask(&format!("put 0 60 2 {stride}")).unwrap();
    let ranges = match failure.files {
        Some(files) => disk.ranges(&format!("db/{files}")).unwrap(),
        None => Vec::new(),
    };
    let action = Action::Fail(failure.errno);
    let (skip, times) = (failure.skip, failure.times);
    disk.rule(Rule { on: failure.on, ranges, skip, times, action });
    disk.rule(Rule::always(On::Write, &[], Action::Delay(6, Duration::from_millis(20))));
    // One of these meets the failure; after it nothing may be acknowledged that is not there later.
    for command in ["put 100 10 1 1000", "checkpoint", "put 200 60 3 25", "put 300 10 1 1000"] {
        heard.extend(first.ask(command).err());
    }
    let has_failed = disk.counts().caught > 0;
    match random.below(3) {
        0 => first.kill(),
        1 => heard.extend(first.ask("close").err()),
        _ => {}
    }
    let mut acknowledged = first.numbers();
    drop(first);
    disk.clear();
    // What the kernel had not reported yet may fail the next life, too.
    for life in 1..5 {
        let mut next = client();
        let mut opened = next.open(&path, strategy);
        if let Err(why) = &opened {
            heard.push(why.clone());
            // The file system itself may have given up.
            drop(next);
            disk.mount().unwrap();
            next = client();
            opened = next.open(&path, strategy);
        }
        if let Err(why) = opened {
            return Ended { has_failed, heard, found: Err(why) };
        }
        let written = next.ask(&format!("put {} 30 2 {NEVER}", life * 1000));
        let end = if random.below(3) == 0 { "checkpoint" } else { "close" };
        let ended = written.clone().and_then(|()| next.ask(end));
        acknowledged.extend(next.numbers());
        let found = cut(disk, &acknowledged, random);
        if ended.is_ok() || found.is_err() {
            return Ended { has_failed, heard, found };
        }
        heard.extend(ended.err());
    }
    Ended { has_failed, heard, found: Err("no life after the failure went well".into()) }
}
