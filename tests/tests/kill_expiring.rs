//! A writer of records that expire is killed (SIGKILL) again and again over one database, while its
//! wall clock jumps, and is set to something else before the next one begins.
//!
//! Promises proved: what has expired never returns, however clocks and processes end, once
//! something durable says how late it was; nothing that has not expired is missing; a call is done
//! as a whole or not at all: puts, touches, counters, conditions, batches, transactions, and tables
//! whose records expire, which are dropped meanwhile. No token of a lease comes twice.
//!
//! `UARR_KILLS` sets the number of kills (default 40), `UARR_SEED` the seed.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use uarr::{Db, Expiry, KeyKind, Record};
use uarr_tests::expiring::skewed::Skewed;
use uarr_tests::expiring::{
    Effects, State, apply, from_word, is_in_table, key_of, table_of, to_word,
};
use uarr_tests::sim::clock::{Bounds, Presence, SLACK_MS, wall_ms};
use uarr_tests::{Random, from_environment, scratch, seed, small};
use uarr_uring::SystemOptions;

const THREAD_COUNT: u64 = 3;
/// A writer that says nothing for so long is stuck.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// What the wall clock is set by between two lives, in ms.
const JUMPS_MS: [i64; 10] =
    [0, 0, 0, 300, -300, 10_000, -10_000, 3_600_000, -3_600_000, 86_400_000];

/// What a killed writer had said.
#[derive(Default)]
struct Said {
    is_open: bool,
    done_count: u64,
    /// By thread: what was acknowledged.
    done: BTreeMap<u64, Vec<Effects>>,
    /// By thread: what the call may lead to that was not.
    begun: BTreeMap<u64, Vec<Effects>>,
    tokens: Vec<(String, u64)>,
    durable_ms: u64,
    latest_ms: u64,
    /// The most that the wall clock was ahead.
    ahead_ms: i64,
    jump_count: u64,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "open" => self.is_open = true,
            "begin" => {
                let alternatives = words[2].split('|').map(from_word).collect();
                let before = self.begun.insert(number(1), alternatives);
                assert!(before.is_none(), "a thread makes one call at a time");
            }
            "done" => {
                assert!(self.begun.remove(&number(1)).is_some(), "what is done was begun");
                self.done.entry(number(1)).or_default().push(from_word(words[2]));
                self.done_count += 1;
                self.durable_ms = self.durable_ms.max(number(3));
                self.latest_ms = self.latest_ms.max(number(4));
            }
            "jump" => {
                self.ahead_ms = self.ahead_ms.max(words[1].parse().unwrap());
                self.latest_ms = self.latest_ms.max(number(2));
                self.jump_count += 1;
            }
            _ => self.tokens.push((words[1].to_owned(), number(2))),
        }
    }
}

/// What was counted, so that the test knows that it has shown something.
#[derive(Default, Debug)]
struct Counts {
    kill_count: u64,
    before_open_count: u64,
    done_count: u64,
    pending_count: u64,
    jump_count: u64,
    /// Checks of a record that has expired for sure, and is not there.
    gone_count: u64,
    there_count: u64,
    either_count: u64,
    dropped_count: u64,
}

struct Kills {
    directory: tempfile::TempDir,
    notes: tempfile::TempDir,
    seed: u64,
    random: Random,
    state: State,
    durable_ms: u64,
    latest_ms: u64,
    ahead_ms: i64,
    tokens: BTreeSet<u64>,
    highest: BTreeMap<String, u64>,
    counts: Counts,
}

impl Kills {
    fn place(&self) -> String {
        format!("UARR_SEED={} kill {}", self.seed, self.counts.kill_count)
    }

    fn note_state(&self) -> PathBuf {
        let path = self.notes.path().join("state");
        let cell = |(key, cell): (&String, _)| {
            to_word(&Effects::from([(key.clone(), Some(Clone::clone(cell)))]))
        };
        let lines: Vec<_> = self.state.iter().map(cell).collect();
        let text = format!("{} {}\n{}", self.durable_ms, self.latest_ms, lines.join("\n"));
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts a writer, and kills it.
    fn kill(&mut self) -> Said {
        let begun = Instant::now();
        let mode = ["write", "write+checkpoint"][self.random.below(2) as usize];
        let mut child = Command::new(env!("CARGO_BIN_EXE_expirer"))
            .arg(self.directory.path())
            .arg(self.note_state())
            .args([self.random.next() as i64 >> 1, self.ahead_ms].map(|n| n.to_string()))
            .arg(mode)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (heard, hears) = mpsc::channel();
        let listener = std::thread::spawn(move || {
            let mut said = Said::default();
            for line in output.lines() {
                said.hear(&line.unwrap());
                // The receiver may be gone when the moment comes.
                let _ = heard.send(said.is_open.then_some(said.done_count));
            }
            said
        });
        let (wanted, ms) = (self.random.below(150), self.random.below(40));
        if self.random.below(5) > 0 {
            // Without an answer for so long, there will be none.
            while hears
                .recv_timeout(ANSWER_TIME_MAX)
                .is_ok_and(|done| done.is_none_or(|done| done < wanted))
            {}
        }
        std::thread::sleep(Duration::from_millis(ms));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{}: the writer ended itself", self.place());
        let said = listener.join().unwrap();
        // Behind what it has said last its clock went on by itself at half speed, or with the wall.
        let spoken_ms = said.latest_ms.max(self.latest_ms);
        let by_itself_ms = spoken_ms + begun.elapsed().as_millis() as u64 / 2;
        let storage = self.storage(said.ahead_ms.max(self.ahead_ms));
        self.latest_ms = by_itself_ms.max(wall_ms(&storage) + SLACK_MS);
        self.durable_ms = self.durable_ms.max(said.durable_ms);
        self.counts.kill_count += 1;
        self.counts.before_open_count += u64::from(!said.is_open);
        self.counts.done_count += said.done_count;
        self.counts.pending_count += said.begun.len() as u64;
        self.counts.jump_count += said.jump_count;
        said
    }

    fn storage(&self, ahead_ms: i64) -> Skewed {
        Skewed::open(self.directory.path(), ahead_ms, SystemOptions::default()).unwrap()
    }

    /// Opens the database, with a clock of its own, and compares all of it with what `said` allows.
    fn check(&mut self, said: Said, verify: bool) {
        let place = self.place();
        self.ahead_ms += JUMPS_MS[self.random.below(JUMPS_MS.len() as u64) as usize];
        let storage = self.storage(self.ahead_ms);
        let mut clock = Bounds::closed(self.durable_ms, self.latest_ms);
        let begun = Instant::now();
        clock.open(&storage);
        let db = small(self.directory.path()).keys(KeyKind::Bytes).open_on(storage.clone());
        let db = db.unwrap_or_else(|error| panic!("{place}: {error}"));
        assert!(db.recovery_report().notes.is_empty(), "{place}: {:?}", db.recovery_report());
        let before = clock;
        let found = contents(&db, &place);
        clock.pass(begun.elapsed().as_millis() as u64 / 2);
        clock.look(&storage);
        let now = before.until(&clock);
        let mut unsure = BTreeSet::new();
        for thread in 0..THREAD_COUNT {
            let states = self.states_after(thread, &said);
            let fitting: Vec<_> =
                states.iter().filter(|state| fits(state, &found, thread, &now)).collect();
            let Some(first) = fitting.first() else {
                panic!(
                    "{place}: thread {thread} has\n{:?}\nby {now:?}, which none of these allows:\n\
                     {states:?}",
                    found.iter().filter(|(key, _)| is_of(key, thread)).collect::<Vec<_>>()
                );
            };
            let keys = fitting.iter().flat_map(|state| state.keys());
            unsure.extend(
                keys.filter(|key| fitting.iter().any(|state| state.get(*key) != first.get(*key)))
                    .cloned(),
            );
            self.state.retain(|key, _| !is_of(key, thread));
            self.state.extend((*first).clone());
        }
        self.count(&now);
        self.check_tokens(&said);
        if verify {
            let report = db.verify(|_| {}).unwrap();
            assert!(report.is_clean(), "{place}: {:?}", report.damages);
        }
        // Of what is not known to be there or expired, the next writer is to know.
        for key in unsure {
            delete(&db, &key);
            self.state.remove(&key);
        }
        let earliest_ms = clock.earliest();
        db.close().unwrap_or_else(|error| panic!("{place}: {error}"));
        if !self.state.is_empty() || self.durable_ms > 0 {
            clock.note_used(true);
            clock.note_durable(earliest_ms);
        }
        clock.pass(begun.elapsed().as_millis() as u64 / 2);
        clock.look(&storage);
        (self.durable_ms, self.latest_ms) = (clock.durable(), clock.latest());
        self.ahead_ms += JUMPS_MS[self.random.below(JUMPS_MS.len() as u64) as usize];
    }

    /// What the keys of `thread` may be: without its last call, or with one of its outcomes.
    fn states_after(&mut self, thread: u64, said: &Said) -> Vec<State> {
        let own = self.state.iter().filter(|(key, _)| is_of(key, thread));
        let mut state: State = own.map(|(key, cell)| (key.clone(), cell.clone())).collect();
        for effects in said.done.get(&thread).into_iter().flatten() {
            let is_drop = effects.len() > 2 && effects.values().all(Option::is_none);
            self.counts.dropped_count += u64::from(is_drop);
            apply(&mut state, effects);
        }
        let begun = said.begun.get(&thread).into_iter().flatten();
        let outcomes = begun.map(|effects| {
            let mut after = state.clone();
            apply(&mut after, effects);
            after
        });
        let outcomes: Vec<_> = outcomes.collect();
        [state].into_iter().chain(outcomes).collect()
    }

    fn count(&mut self, now: &Bounds) {
        for cell in self.state.values().filter(|cell| cell.most_ms > 0) {
            match cell.judge(now) {
                Presence::Gone => self.counts.gone_count += 1,
                Presence::There => self.counts.there_count += 1,
                Presence::Either => self.counts.either_count += 1,
            }
        }
    }

    /// A token was never given out before, and is higher than those of earlier lives.
    fn check_tokens(&mut self, said: &Said) {
        let before = self.highest.clone();
        for (key, token) in &said.tokens {
            assert!(self.tokens.insert(*token), "{}: token {token} twice", self.place());
            let highest = before.get(key).copied().unwrap_or(0);
            assert!(*token > highest, "{}: {key} had {highest}, now {token}", self.place());
            let highest = self.highest.entry(key.clone()).or_default();
            *highest = (*token).max(*highest);
        }
    }
}

/// Whether what was found of `thread` is `state`, but for what has expired.
fn fits(state: &State, found: &Found, thread: u64, now: &Bounds) -> bool {
    let is_known = found.keys().filter(|key| is_of(key, thread)).all(|key| state.contains_key(key));
    is_known
        && state.iter().all(|(key, cell)| match (found.get(key), cell.judge(now)) {
            (Some((value, expires_ms)), there) => {
                there != Presence::Gone && cell.is(value, *expires_ms)
            }
            (None, there) => there != Presence::There,
        })
}

/// By key: value, and when it expires.
type Found = BTreeMap<String, (Vec<u8>, u64)>;

fn is_of(key: &str, thread: u64) -> bool {
    key[1..].starts_with(&format!("{thread}-"))
}

fn contents(db: &Db<Skewed>, place: &str) -> Found {
    let mut found = Found::new();
    let mut note = |key: String, record: &Record<'_>| {
        let expires_ms = match record.expiry() {
            Expiry::At(time) => time.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64,
            _ => 0,
        };
        found.insert(key, (record.bytes().to_vec(), expires_ms));
    };
    for record in db.iter() {
        let record = record.unwrap_or_else(|error| panic!("{place}: {error}"));
        let key = String::from_utf8(record.key().to_vec()).unwrap();
        if !key.starts_with("lease-") {
            note(key, &record);
        }
    }
    for thread in 0..THREAD_COUNT {
        let Some(table) = db.find_table(&table_of(thread)).unwrap() else { continue };
        for record in table.iter() {
            let record = record.unwrap_or_else(|error| panic!("{place}: {error}"));
            let number = std::str::from_utf8(record.key()).unwrap().parse().unwrap();
            note(key_of(thread, number, true), &record);
        }
    }
    found
}

fn delete(db: &Db<Skewed>, key: &str) {
    match is_in_table(key).then(|| key[1..].split_once('-').unwrap()) {
        None => _ = db.delete(key).unwrap(),
        Some((thread, number)) => {
            let table = db.find_table(&table_of(thread.parse().unwrap())).unwrap();
            table.iter().for_each(|table| _ = table.delete(number).unwrap());
        }
    }
}

#[test]
fn what_has_expired_never_returns_over_kills_and_clocks_that_jump() {
    let seed = seed(0xe1d);
    let mut kills = Kills {
        directory: scratch(),
        notes: scratch(),
        seed,
        random: Random::new(seed),
        state: State::new(),
        durable_ms: 0,
        latest_ms: 0,
        ahead_ms: 0,
        tokens: BTreeSet::new(),
        highest: BTreeMap::new(),
        counts: Counts::default(),
    };
    let wanted = from_environment("UARR_KILLS").unwrap_or(40);
    while kills.counts.kill_count < wanted {
        let said = kills.kill();
        kills.check(said, kills.counts.kill_count % 10 == 9);
    }
    println!("{:?}, {} tokens of leases", kills.counts, kills.tokens.len());
    let counts = &kills.counts;
    assert!(counts.done_count > wanted, "too little was written to prove anything");
    assert!(counts.jump_count > 0 && counts.pending_count > 0);
    assert!(counts.gone_count > wanted, "too little has expired");
    assert!(counts.there_count > 0 && !kills.tokens.is_empty());
    assert!(wanted < 400 || counts.before_open_count > 0, "no kill hit an opening");
}
