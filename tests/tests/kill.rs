//! A writer process is killed (SIGKILL) again and again over one database.
//!
//! Promises proved: nothing acknowledged as durable is lost, nothing appears that was not written,
//! batches are whole, LSNs never go back: `acknowledged <= recovered <= submitted`, in LSN order,
//! after every kill. The kills hit writes, checkpoints, compactions and recovery.
//!
//! `UARR_KILLS` sets the number of kills of each Sync test (default 100, two tests), `UARR_SEED`
//! the seed.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use uarr::{BackendChoice, Db, Durability, KeyKind};
use uarr_tests::history::{Plan, State, label};
use uarr_tests::{Random, from_environment, scratch, seed, small};

const THREAD_COUNT: usize = 4;
/// What is granted to an interval besides itself: one commit, and the scheduler of a loaded
/// machine.
const SLACK: Duration = Duration::from_millis(1000);
/// A writer that says nothing for so long is stuck.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// When to kill.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after the start of the process: often during recovery.
    AfterStart(Duration),
    /// When the database is open and so many steps were acknowledged, and so long after that.
    AfterSteps(u64, Duration),
}

#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    lsn: u64,
    wall_ns: u128,
}

/// What a killed writer had said.
#[derive(Default)]
struct Said {
    /// The visible LSN when it had opened the database, if it came so far.
    opened: Option<u64>,
    checkpoint_count: u64,
    /// Bytes that were moved before the last of them.
    moved_bytes: u64,
    /// By thread and step.
    steps: BTreeMap<(u64, u64), Acknowledged>,
    killed_ns: u128,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let first = words.next().unwrap();
        let mut number = || words.next().unwrap().parse::<u128>().unwrap();
        match first {
            "open" => self.opened = Some(number() as u64),
            "checkpoint" => {
                self.checkpoint_count += 1;
                self.moved_bytes = number() as u64;
            }
            thread => {
                let (step, lsn, wall_ns) = (number() as u64, number() as u64, number());
                let earlier = self
                    .steps
                    .insert((thread.parse().unwrap(), step), Acknowledged { lsn, wall_ns });
                assert!(earlier.is_none(), "step {step} of thread {thread} twice");
            }
        }
    }

    fn last_step(&self, thread: u64) -> Option<u64> {
        self.steps.range((thread, 0)..(thread + 1, 0)).next_back().map(|((_, step), _)| *step)
    }
}

/// The database, what must be in it, and what has been counted.
struct Kills {
    directory: tempfile::TempDir,
    plan: Plan,
    durability: Durability,
    random: Random,
    /// For each thread: steps done, and the state after them.
    threads: Vec<(u64, State)>,
    lsn_max: u64,
    kill_count: u64,
    acknowledged_count: u64,
    unacknowledged_kept_count: u64,
    checkpoint_count: u64,
    moved_bytes: u64,
    before_open_count: u64,
    torn_tail_count: u64,
    /// Kills that left a log segment half zeroed.
    unfinished_count: u64,
    /// Segments that the log has reached, and of these the ones that were removed.
    segment_count: u64,
    removed_count: u64,
    /// Age at the kill of the oldest acknowledged step that was lost (only memory-first).
    oldest_lost: Duration,
}

impl Kills {
    fn new(kind: KeyKind, durability: Durability, seed: u64) -> Self {
        let plan = Plan { seed, kind, lone_deletions: durability == Durability::Sync };
        Self {
            directory: scratch(),
            plan,
            durability,
            random: Random::new(seed),
            threads: vec![(0, State::new()); THREAD_COUNT],
            lsn_max: 0,
            kill_count: 0,
            acknowledged_count: 0,
            unacknowledged_kept_count: 0,
            checkpoint_count: 0,
            moved_bytes: 0,
            before_open_count: 0,
            torn_tail_count: 0,
            unfinished_count: 0,
            segment_count: 0,
            removed_count: 0,
            oldest_lost: Duration::ZERO,
        }
    }

    fn start(&self, mode: &str) -> Child {
        let kind = if self.plan.kind == KeyKind::Bytes { "bytes" } else { "u64" };
        let durability = match self.durability {
            Durability::Interval(interval) => interval.as_millis().to_string(),
            _ => "sync".into(),
        };
        let steps: Vec<_> = self.threads.iter().map(|(step, _)| (step + 1).to_string()).collect();
        Command::new(env!("CARGO_BIN_EXE_writer"))
            .arg(self.directory.path())
            .args([kind, &durability, &self.plan.seed.to_string(), mode, &steps.join(",")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Starts a writer and kills it at `moment`. Returns what it had said.
    fn kill(&mut self, mode: &str, moment: Moment) -> Said {
        let mut child = self.start(mode);
        let output = BufReader::new(child.stdout.take().unwrap());
        let (heard, hears) = mpsc::channel();
        let listener = std::thread::spawn(move || {
            let mut said = Said::default();
            for line in output.lines() {
                said.hear(&line.unwrap());
                // The receiver may be gone when the moment comes.
                let _ = heard.send(said.opened.map(|_| said.steps.len() as u64));
            }
            said
        });
        match moment {
            Moment::AfterStart(time) => std::thread::sleep(time),
            Moment::AfterSteps(wanted, time) => {
                // Without an answer for so long, there will be none.
                while hears
                    .recv_timeout(ANSWER_TIME_MAX)
                    .is_ok_and(|steps| steps.is_none_or(|steps| steps < wanted))
                {}
                std::thread::sleep(time);
            }
        }
        let killed_ns = wall_ns();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{}: the writer ended itself", self.place());
        let mut said = listener.join().unwrap();
        if matches!(moment, Moment::AfterSteps(..)) {
            assert!(said.opened.is_some(), "{}: the writer could not open", self.place());
        }
        said.killed_ns = killed_ns;
        self.kill_count += 1;
        self.checkpoint_count += said.checkpoint_count;
        self.moved_bytes += said.moved_bytes;
        self.before_open_count += u64::from(said.opened.is_none());
        said
    }

    fn place(&self) -> String {
        format!("UARR_SEED={} kill {}", self.plan.seed, self.kill_count)
    }

    /// Opens the database and compares all of it with what `said` allows.
    fn check(&mut self, said: &Said, verify: bool) {
        let place = self.place();
        self.look_at_segments();
        let backend = [BackendChoice::Auto, BackendChoice::Syscalls][self.random.below(2) as usize];
        let db = small(self.directory.path())
            .keys(self.plan.kind)
            .backend(backend)
            .open()
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        self.torn_tail_count += u64::from(db.recovery_report().torn_tail.is_some());
        assert!(db.recovery_report().notes.is_empty(), "{place}: {:?}", db.recovery_report());
        let (found, versions) = contents(&db, &place);
        self.check_lsns(said, &versions, db.stats().visible_lsn, &place);
        let mut recovered_lsn_max = 0;
        let before: Vec<_> = self.threads.iter().map(|(step, _)| *step).collect();
        for (thread, found) in found.iter().enumerate() {
            self.check_thread(thread, said, found, &place);
            let step = (thread as u64, self.threads[thread].0);
            recovered_lsn_max = recovered_lsn_max.max(said.steps.get(&step).map_or(0, |a| a.lsn));
        }
        // What is kept is a prefix of the log, over all threads.
        for ((thread, step), acknowledged) in &said.steps {
            if *step > self.threads[*thread as usize].0 {
                let lsn = acknowledged.lsn;
                assert!(lsn > recovered_lsn_max, "{place}: LSN {lsn} is lost, later ones are not");
                let age = said.killed_ns.saturating_sub(acknowledged.wall_ns);
                self.oldest_lost = self.oldest_lost.max(Duration::from_nanos(age as u64));
            }
        }
        self.acknowledged_count += said.steps.len() as u64;
        for (thread, before) in before.iter().enumerate() {
            let acknowledged = said.last_step(thread as u64).unwrap_or(*before);
            let kept = self.threads[thread].0;
            self.unacknowledged_kept_count += kept.saturating_sub(acknowledged);
        }
        if verify {
            let report = db.verify(|_| {}).unwrap();
            assert!(report.is_clean(), "{place}: {:?}", report.damages);
        }
        db.close().unwrap_or_else(|error| panic!("{place}: {error}"));
    }

    /// Counts what the keeper was doing or had done when the writer was killed.
    fn look_at_segments(&mut self) {
        let Ok(entries) = std::fs::read_dir(self.directory.path().join("wal")) else { return };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut numbers = Vec::new();
        for name in names {
            match name.strip_suffix(".wal") {
                Some(number) => numbers.push(u64::from_str_radix(number, 16).unwrap()),
                None => self.unfinished_count += u64::from(name == "segment.new"),
            }
        }
        self.segment_count = numbers.iter().max().copied().unwrap_or(0);
        self.removed_count = self.segment_count - numbers.len() as u64;
    }

    /// LSNs are never given out twice, and rise over all lives of the database.
    fn check_lsns(
        &mut self,
        said: &Said,
        versions: &BTreeMap<(u64, u64), u64>,
        visible_lsn: u64,
        place: &str,
    ) {
        let mut lsns: Vec<_> = said.steps.values().map(|acknowledged| acknowledged.lsn).collect();
        lsns.sort_unstable();
        assert!(lsns.windows(2).all(|pair| pair[0] < pair[1]), "{place}: an LSN was used twice");
        if let Some(first) = lsns.first() {
            assert!(*first > self.lsn_max, "{place}: LSN {first} after {}", self.lsn_max);
        }
        if self.durability == Durability::Sync {
            let last = lsns.last().copied().unwrap_or(self.lsn_max);
            assert!(visible_lsn >= last, "{place}: visible up to {visible_lsn}, not {last}");
        }
        for ((thread, step), version) in versions {
            let is_single = self.plan.step(*thread, *step).len() == 1;
            if let (Some(acknowledged), true) = (said.steps.get(&(*thread, *step)), is_single) {
                assert_eq!(*version, acknowledged.lsn, "{place}: thread {thread} step {step}");
            }
            self.lsn_max = self.lsn_max.max(*version);
        }
        self.lsn_max = self.lsn_max.max(lsns.last().copied().unwrap_or(0));
    }

    /// The state of a thread's keys must be the one after some step between the last that had to
    /// survive and the one that may have been under way.
    fn check_thread(&mut self, thread: usize, said: &Said, found: &State, place: &str) {
        let number = thread as u64;
        let (done, state) = &mut self.threads[thread];
        let acknowledged = said.last_step(number).unwrap_or(*done);
        let must = match self.durability {
            Durability::Interval(interval) => {
                let oldest = said.killed_ns.saturating_sub((interval + SLACK).as_nanos());
                let old = said.steps.range((number, 0)..(number + 1, 0));
                let old = old.filter(|(_, acknowledged)| acknowledged.wall_ns < oldest);
                old.map(|((_, step), _)| *step).max().unwrap_or(*done)
            }
            _ => acknowledged,
        };
        let possible_max = acknowledged + 1;
        while *done < must {
            *done += 1;
            self.plan.apply(number, *done, state);
        }
        while *state != *found && *done < possible_max {
            *done += 1;
            self.plan.apply(number, *done, state);
        }
        if *state != *found {
            let newest = found.values().map(|value| label(value).1).max();
            panic!(
                "{place}: thread {thread} holds the state after none of the steps {must} to \
                 {possible_max}; its newest value is of step {newest:?}"
            );
        }
    }
}

/// All records by thread, checked by walking and by lookup; and the version of each step's values.
fn contents(db: &Db, place: &str) -> (Vec<State>, BTreeMap<(u64, u64), u64>) {
    let mut found = vec![State::new(); THREAD_COUNT];
    let mut versions = BTreeMap::new();
    for record in db.iter() {
        let record = record.unwrap_or_else(|error| panic!("{place}: {error}"));
        let looked_up = match record.key_u64() {
            Some(key) => db.get(key),
            None => db.get(record.key()),
        };
        let looked_up = looked_up.unwrap().map(|record| record.bytes().to_vec());
        assert_eq!(looked_up.as_deref(), Some(record.bytes()), "{place}: {:?}", record.key());
        let (thread, step) = label(record.bytes());
        versions.insert((thread, step), record.version());
        found[thread as usize].insert(record.key().to_vec(), record.bytes().to_vec());
    }
    (found, versions)
}

fn wall_ns() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()
}

fn run_sync(kind: KeyKind, default_seed: u64) {
    let mut kills = Kills::new(kind, Durability::Sync, seed(default_seed));
    let wanted = from_environment("UARR_KILLS").unwrap_or(100);
    let mut round = 0;
    while kills.kill_count < wanted {
        let mode = ["write", "write+checkpoint"][kills.random.below(2) as usize];
        let milliseconds = kills.random.below(60);
        let moment = match kills.random.below(4) {
            0 => Moment::AfterStart(Duration::from_millis(milliseconds / 2)),
            _ => Moment::AfterSteps(
                kills.random.below(30),
                Duration::from_micros(milliseconds * 500 + kills.random.below(1000)),
            ),
        };
        let said = kills.kill(mode, moment);
        // Every third time recovery itself is killed before the test reads, and a checkpoint after
        // it.
        if round % 3 == 0 {
            let time = Duration::from_micros(kills.random.below(20_000));
            kills.kill("open", Moment::AfterStart(time));
        }
        if round % 6 == 0 {
            let time = Duration::from_micros(kills.random.below(8_000));
            kills.kill("open", Moment::AfterSteps(0, time));
        }
        kills.check(&said, round % 10 == 9);
        round += 1;
    }
    report(&kills);
    assert!(kills.acknowledged_count > wanted, "too little was written to prove anything");
    assert!(kills.before_open_count > 0, "no kill hit recovery");
    assert!(kills.checkpoint_count > 0, "no checkpoint was taken");
    assert!(kills.moved_bytes > 0, "no record was moved");
    assert!(kills.removed_count > 0, "the log never came round");
}

fn report(kills: &Kills) {
    println!(
        "{:?} keys, {:?}: {} kills ({} before the database was open), {} steps acknowledged, {} \
         unacknowledged ones kept, {} checkpoints, {} bytes moved, {} torn tails, {} segments half \
         zeroed, {} reached and {} removed or used again, oldest acknowledged loss {:?}",
        kills.plan.kind,
        kills.durability,
        kills.kill_count,
        kills.before_open_count,
        kills.acknowledged_count,
        kills.unacknowledged_kept_count,
        kills.checkpoint_count,
        kills.moved_bytes,
        kills.torn_tail_count,
        kills.unfinished_count,
        kills.segment_count,
        kills.removed_count,
        kills.oldest_lost,
    );
}

/// Sync: every acknowledged write survives, byte keys.
#[test]
fn sync_writes_with_byte_keys_survive_kills() {
    run_sync(KeyKind::Bytes, 0xb17e);
}

/// Sync: every acknowledged write survives, integer keys.
#[test]
fn sync_writes_with_integer_keys_survive_kills() {
    run_sync(KeyKind::U64, 0x0641);
}

/// Interval: nothing acknowledged longer ago than the interval (and `SLACK`) is lost, and what is
/// kept is a prefix of the log.
#[test]
fn interval_writes_older_than_the_interval_survive_kills() {
    let interval = Duration::from_millis(50);
    let mut kills = Kills::new(KeyKind::Bytes, Durability::Interval(interval), seed(0x1e7a));
    for round in 0..from_environment("UARR_KILLS").map_or(16, |kills| (kills / 6).max(1)) {
        let mode = ["write", "write+checkpoint"][(round % 2) as usize];
        // Short lives mostly; every fourth one is longer than interval and slack.
        let longest = if round % 4 == 3 { 2500 } else { 400 };
        let time = Duration::from_millis(longest / 2 + kills.random.below(longest / 2));
        let said = kills.kill(mode, Moment::AfterSteps(0, time));
        kills.check(&said, round % 4 == 3);
    }
    report(&kills);
}
