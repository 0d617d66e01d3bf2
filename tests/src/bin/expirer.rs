//! The process that the kill tests of records that expire kill.
//!
//! `expirer DIRECTORY STATE SEED AHEAD-MS MODE`
//! - STATE: a file with what is known to be in the database: `DURABLE LATEST` of its clock, then
//!   the effects that lead there; see `uarr_tests::expiring`.
//! - AHEAD-MS: by how much the wall clock is ahead when it begins; it jumps afterwards.
//! - MODE: `write`, or `write+checkpoint`.
//!
//! Prints `open`; before a call `begin THREAD EFFECTS|EFFECTS..`, all that it may lead to; after it
//! `done THREAD EFFECTS DURABLE LATEST`; before the wall clock jumps `jump AHEAD-MS LATEST`; and
//! `token KEY TOKEN` for each lease that was granted. What it reads it judges itself: it ends with
//! an error if that is wrong. Otherwise it runs until it is killed.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

use uarr::{Acquisition, Db, Expires, Expiry, Increment, KeyKind, Outcome, TableOptions, uarr};
use uarr_tests::Random;
use uarr_tests::expiring::skewed::Skewed;
use uarr_tests::expiring::{Cell, Effects, State, apply, from_word, key_of, table_of, to_word};
use uarr_tests::sim::clock::{Bounds, Presence};
use uarr_uring::SystemOptions;

const THREAD_COUNT: u64 = 3;
/// Keys of each thread, in each of its tables.
const KEY_COUNT: u64 = 10;
/// The counter among them.
const COUNTER: u64 = KEY_COUNT;
const LEASE_COUNT: u64 = 2;
/// What records of the table live.
const BRIEF_MS: u64 = 150;
/// Longer than a call takes.
const CALL_MS_MAX: u64 = 60_000;

/// What all threads see.
struct Shared {
    storage: Skewed,
    clock: Mutex<(Bounds, Instant)>,
    /// Held by calls, so that the clocks jump between them.
    calm: RwLock<()>,
}

impl Shared {
    fn with<T>(&self, change: impl FnOnce(&mut Bounds) -> T) -> T {
        let Ok(mut locked) = self.clock.lock() else { give_up("a thread has panicked") };
        let (clock, looked) = &mut *locked;
        let halves = looked.elapsed().as_millis() as u64 / 2;
        // Behind the wall the clock goes on at half speed.
        clock.pass(halves);
        *looked += Duration::from_millis(2 * halves);
        clock.look(&self.storage);
        change(clock)
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [directory, state, seed, ahead_ms, mode] = &arguments[..] else {
        give_up("usage: expirer DIRECTORY STATE SEED AHEAD-MS MODE");
    };
    let Ok(state) = std::fs::read_to_string(state) else { give_up("no state") };
    let (first, rest) = state.split_once('\n').unwrap_or((&state, ""));
    let numbers: Vec<_> = first.split(' ').map(|number| parse(number) as u64).collect();
    let mut clock = Bounds::closed(numbers[0], numbers[1]);
    let mut known = State::new();
    rest.lines().for_each(|line| apply(&mut known, &from_word(line)));
    let skewed = Skewed::open(Path::new(directory), parse(ahead_ms), SystemOptions::default());
    let storage = skewed.unwrap_or_else(|error| give_up(&format!("no directory: {error}")));
    clock.open(&storage);
    let clock = Mutex::new((clock, Instant::now()));
    let shared = Shared { storage: storage.clone(), clock, calm: RwLock::new(()) };
    let db = ok(uarr_tests::small(directory).keys(KeyKind::Bytes).open_on(storage));
    say("open");
    let seed = parse(seed) as u64;
    std::thread::scope(|scope| {
        let (db, shared) = (&db, &shared);
        if mode != "write" {
            scope.spawn(|| {
                loop {
                    ok(db.checkpoint());
                    ok(db.compact());
                }
            });
        }
        for thread in 0..THREAD_COUNT {
            let is_own = |key: &str| key[1..].starts_with(&format!("{thread}-"));
            let own = known.iter().filter(|(key, _)| is_own(key));
            let state = own.map(|(key, cell)| (key.clone(), cell.clone())).collect();
            let random = Random::new(seed ^ (thread + 1) << 48);
            let mut writer =
                Writer { db, table: open_table(db, thread), thread, shared, state, random };
            scope.spawn(move || {
                for step in 0u64.. {
                    writer.step(step);
                }
            });
        }
        scope.spawn(|| jump(shared, Random::new(!seed)));
    });
}

/// The wall clock is set, or time goes on, between calls.
fn jump(shared: &Shared, mut random: Random) {
    loop {
        std::thread::sleep(Duration::from_millis(5 + random.below(60)));
        let Ok(_calm) = shared.calm.write() else { give_up("a thread has panicked") };
        let (kind, ms) = (random.below(3), random.below(900));
        let by_ms = if kind == 0 { -3 * ms.cast_signed() } else { ms.cast_signed() };
        let ahead_ms = shared.storage.ahead_ms() + by_ms.max(0);
        shared.with(|clock| {
            say(&format!("jump {ahead_ms} {}", clock.latest() + ms));
            match kind {
                2 => clock.advance(&shared.storage, ms, |storage| storage.advance(ms)),
                _ => clock.jump(&shared.storage, |storage| storage.jump(by_ms)),
            }
        });
    }
}

fn open_table(db: &Db<Skewed>, thread: u64) -> Db<Skewed> {
    let options = TableOptions::new().expires_in(Duration::from_millis(BRIEF_MS));
    (*ok(db.table_with(&table_of(thread), options))).clone()
}

/// What a call was found to do: the first of its alternatives, which needs a record, or the other
/// one, which needs that there is none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Record,
    None,
    /// It does the same in any case.
    Any,
}

/// A thread that calls one verb after the other on keys of its own.
struct Writer<'a> {
    db: &'a Db<Skewed>,
    table: Db<Skewed>,
    thread: u64,
    shared: &'a Shared,
    state: State,
    random: Random,
}

impl Writer<'_> {
    fn step(&mut self, step: u64) {
        let (key, other) = (self.key(), self.key());
        let value = format!("{}.{step}.{}", self.thread, self.random.next()).into_bytes();
        let expires_ms = self.expires_ms();
        match self.random.below(16) {
            0..3 => self.put(&key, value, expires_ms),
            3 => self.batch(&key, &other, value, expires_ms),
            4 | 5 => self.touch(&key, expires_ms),
            6 => self.touch_in_batch(&key, &other, value, expires_ms),
            7 | 8 => self.count(expires_ms),
            9 => self.conditional(&key, value, expires_ms),
            10 => self.transact(&key, &other, value, expires_ms),
            11 => self.delete(&key),
            12 => self.lease(step),
            13 => self.brief(value),
            14 if self.random.below(8) == 0 => self.drop_table(),
            _ => self.read(),
        }
    }

    fn key(&mut self) -> String {
        key_of(self.thread, self.random.below(KEY_COUNT), false)
    }

    /// Never, in the past, soon, or late.
    fn expires_ms(&mut self) -> u64 {
        let (earliest, latest) = self.shared.with(|clock| (clock.earliest(), clock.latest()));
        match self.random.below(12) {
            0 => 0,
            1 => earliest.max(1),
            2 => latest + 86_400_000,
            _ => latest + self.random.below(400),
        }
    }

    /// Makes a call that is durable if it does something, and notes what it does: for a record of
    /// `key`, and without one. The effects of a record that was written by the table's time are
    /// completed by `complete`.
    fn call(
        &mut self,
        key: &str,
        with: Effects,
        without: Effects,
        call: impl FnOnce(&Self) -> Found,
        complete: impl FnOnce(&Self, &mut Effects),
    ) {
        let Ok(_calm) = self.shared.calm.read() else { give_up("a thread has panicked") };
        let before = self.shared.with(|clock| *clock);
        say(&format!("begin {} {}|{}", self.thread, to_word(&with), to_word(&without)));
        let found = call(self);
        let after = self.shared.with(|clock| *clock);
        self.judge(key, found, &before.until(&after));
        let mut effects = if found == Found::None { without } else { with };
        complete(self, &mut effects);
        apply(&mut self.state, &effects);
        let clock = self.shared.with(|clock| {
            if !effects.is_empty() {
                // The clock is written down from the first record that expires on.
                clock.note_durable(before.earliest());
                clock.note_used(true);
            }
            *clock
        });
        let (durable, latest) = (clock.durable(), clock.latest());
        say(&format!("done {} {} {durable} {latest}", self.thread, to_word(&effects)));
    }

    /// What was found of `key` must be right.
    fn judge(&self, key: &str, found: Found, clock: &Bounds) {
        let cell = self.state.get(key);
        let there = cell.map_or(Presence::Gone, |cell| cell.judge(clock));
        let is_wrong = match found {
            Found::Record => there == Presence::Gone,
            Found::None => there == Presence::There,
            Found::Any => false,
        };
        if is_wrong {
            let is_found = found == Found::Record;
            give_up(&format!("{key} is {there:?}, found: {is_found}; {cell:?}, {clock:?}"));
        }
        if let (Found::None, Some(cell)) = (found, cell) {
            self.shared.with(|clock| clock.note_gone(cell.least_ms));
        }
    }

    fn put(&mut self, key: &str, value: Vec<u8>, expires_ms: u64) {
        let effects = one(key, value.clone(), expires_ms);
        let call = |own: &Self| {
            ok(own.db.put(key, value.expiring(expiry(expires_ms))));
            Found::Any
        };
        self.call(key, effects.clone(), effects, call, |_, _| {});
    }

    fn delete(&mut self, key: &str) {
        let effects = Effects::from([(key.to_owned(), None)]);
        let call = |own: &Self| {
            ok(own.db.delete(key));
            Found::Any
        };
        self.call(key, effects.clone(), effects, call, |_, _| {});
    }

    fn batch(&mut self, key: &str, other: &str, value: Vec<u8>, expires_ms: u64) {
        let mut effects = one(key, value.clone(), expires_ms);
        effects.extend(one(other, value.clone(), 0));
        let call = |own: &Self| {
            let mut batch = own.db.batch();
            batch.put(key, value.clone().expiring(expiry(expires_ms))).put(other, &value);
            ok(batch.commit());
            Found::Any
        };
        self.call(key, effects.clone(), effects, call, |_, _| {});
    }

    fn touched(&self, key: &str, expires_ms: u64) -> Effects {
        let cell = self.state.get(key);
        cell.map_or_else(Effects::new, |cell| one(key, cell.value.clone(), expires_ms))
    }

    fn touch(&mut self, key: &str, expires_ms: u64) {
        let call = |own: &Self| match ok(own.db.touch(key, expiry(expires_ms))) {
            Some(_) => Found::Record,
            None => Found::None,
        };
        self.call(key, self.touched(key, expires_ms), Effects::new(), call, |_, _| {});
    }

    fn touch_in_batch(&mut self, key: &str, other: &str, value: Vec<u8>, expires_ms: u64) {
        if key == other {
            return;
        }
        let mut effects = self.touched(key, expires_ms);
        effects.extend(one(other, value.clone(), expires_ms));
        let call = |own: &Self| {
            let mut batch = own.db.batch();
            batch.put(other, value.expiring(expiry(expires_ms))).touch(key, expiry(expires_ms));
            match ok(batch.commit_if()) {
                Some(Outcome::Written(_)) => Found::Record,
                _ => Found::None,
            }
        };
        self.call(key, effects, Effects::new(), call, |_, _| {});
    }

    /// It goes on, with its time, or begins anew.
    fn count(&mut self, expires_ms: u64) {
        let key = key_of(self.thread, COUNTER, false);
        let number = |value: &[u8]| uarr::UArrRef::open(value).ok().and_then(|int| int.as_i64());
        let cell = self.state.get(&key).cloned();
        let before = cell.as_ref().and_then(|cell| number(&cell.value)).unwrap_or(0);
        let with = cell
            .map_or_else(Effects::new, |cell| one(&key, uarr!(before + 1).to_vec(), cell.most_ms));
        let call = |own: &Self| {
            let step = Increment::by(1).expiring(expiry(expires_ms));
            match ok(own.db.increment(&key, step)).value {
                // One that is there is 1 at least.
                1 => Found::None,
                value if value == before + 1 => Found::Record,
                value => give_up(&format!("{key} was {before}, and is {value} behind one step")),
            }
        };
        self.call(&key, with, one(&key, uarr!(1).to_vec(), expires_ms), call, |_, _| {});
    }

    fn conditional(&mut self, key: &str, value: Vec<u8>, expires_ms: u64) {
        let (effects, choice) = (one(key, value.clone(), expires_ms), self.random.below(3));
        let version = ok(self.db.get(key)).map_or(1, |record| record.version());
        let is_insert = choice == 0;
        let value = value.expiring(expiry(expires_ms));
        let call = |own: &Self| {
            let outcome = ok(match choice {
                0 => own.db.insert(key, value),
                1 => own.db.update(key, value),
                _ => own.db.put_if_version(key, value, version),
            });
            if outcome.is_written() == is_insert { Found::None } else { Found::Record }
        };
        let (with, without) =
            if is_insert { (Effects::new(), effects) } else { (effects, Effects::new()) };
        self.call(key, with, without, call, |_, _| {});
    }

    fn transact(&mut self, key: &str, other: &str, value: Vec<u8>, expires_ms: u64) {
        if key == other {
            return;
        }
        let without = one(other, value.clone(), expires_ms);
        let mut with = self.touched(key, expires_ms);
        with.extend(without.clone());
        let call = |own: &Self| {
            let found = own.db.transaction(|tx| {
                let is_there = tx.touch(key, expiry(expires_ms))?;
                tx.put(other, value.clone().expiring(expiry(expires_ms)))?;
                Ok::<_, uarr::Error>(is_there)
            });
            if ok(found) { Found::Record } else { Found::None }
        };
        self.call(key, with, without, call, |_, _| {});
    }

    /// A record that expires when its table says.
    fn brief(&mut self, value: Vec<u8>) {
        let number = self.random.below(KEY_COUNT);
        let key = key_of(self.thread, number, true);
        let clock = self.shared.with(|clock| *clock);
        // The clocks may jump before the call begins.
        let least_ms = clock.durable() + BRIEF_MS;
        let most_ms = clock.latest() + BRIEF_MS + CALL_MS_MAX;
        let cell = Cell { value: value.clone(), least_ms, most_ms };
        let effects = Effects::from([(key.clone(), Some(cell.clone()))]);
        let call = |own: &Self| {
            ok(own.table.put(number.to_string(), value));
            Found::Any
        };
        let complete = |own: &Self, effects: &mut Effects| {
            let most_ms = own.shared.with(|clock| clock.latest()) + BRIEF_MS;
            let (least_ms, most_ms) = match ok(own.table.expiry(number.to_string())) {
                Some(expiry) => (ms_of(expiry), ms_of(expiry)),
                None => (least_ms, most_ms),
            };
            if !(cell.least_ms..=cell.most_ms).contains(&least_ms) {
                give_up(&format!("{cell:?} expires at {least_ms}"));
            }
            for cell in effects.values_mut().flatten() {
                (cell.least_ms, cell.most_ms) = (least_ms, most_ms);
            }
        };
        self.call(&key, effects.clone(), effects, call, complete);
    }

    fn drop_table(&mut self) {
        let keys = (0..KEY_COUNT).map(|number| (key_of(self.thread, number, true), None));
        let effects: Effects = keys.collect();
        let call = |own: &Self| {
            ok(own.db.drop_table(&table_of(own.thread)));
            Found::Any
        };
        self.call("", effects.clone(), effects, call, |_, _| {});
        self.table = open_table(self.db, self.thread);
    }

    /// Some key by lookup, and all of both tables by walking.
    fn read(&mut self) {
        let in_table = self.random.below(2) == 0;
        let Ok(_calm) = self.shared.calm.read() else { give_up("a thread has panicked") };
        for number in 0..=COUNTER {
            let key = key_of(self.thread, number, in_table);
            let before = self.shared.with(|clock| *clock);
            let found = match in_table {
                true => ok(self.table.get(number.to_string())),
                false => ok(self.db.get(&key)),
            };
            let clock = before.until(&self.shared.with(|clock| *clock));
            if let (Some(record), Some(cell)) = (&found, self.state.get(&key))
                && !cell.is(record.bytes(), ms_of(record.expiry()))
            {
                give_up(&format!("{key} has another value or time than {cell:?}"));
            }
            let found = if found.is_some() { Found::Record } else { Found::None };
            self.judge(&key, found, &clock);
        }
    }

    /// No token comes twice; each of a key is higher than those before.
    fn lease(&mut self, step: u64) {
        let key = format!("lease-{}", self.random.below(LEASE_COUNT));
        // No other acquisition has this owner: who has a lease gets it anew, with its token.
        let owner = format!("{}:{step}:{}", self.thread, self.random.next());
        let time = Duration::from_millis(5 + self.random.below(200));
        match ok(self.db.acquire(&key, &owner, time)) {
            Acquisition::Granted(lease) => {
                say(&format!("token {key} {}", lease.token));
                match self.random.below(3) {
                    0 => _ = ok(self.db.release(&key, lease.token)),
                    1 => _ = ok(self.db.renew(&key, lease.token, time)),
                    _ => {}
                }
            }
            Acquisition::Held(_) => {}
        }
    }
}

fn one(key: &str, value: Vec<u8>, expires_ms: u64) -> Effects {
    Effects::from([(key.to_owned(), Some(Cell::new(value, expires_ms)))])
}

fn expiry(expires_ms: u64) -> Expiry {
    match expires_ms {
        0 => Expiry::Never,
        ms => Expiry::At(UNIX_EPOCH + Duration::from_millis(ms)),
    }
}

fn ms_of(expiry: Expiry) -> u64 {
    match expiry {
        Expiry::At(time) => time.duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64),
        _ => 0,
    }
}

fn parse(number: &str) -> i64 {
    number.parse().unwrap_or_else(|_| give_up(&format!("no number: {number}")))
}

fn ok<T>(done: uarr::Result<T>) -> T {
    done.unwrap_or_else(|error| give_up(&format!("{error:?}")))
}

/// One line, in one write, so that a kill leaves whole lines.
fn say(line: &str) {
    let line = format!("{line}\n");
    let mut output = std::io::stdout().lock();
    if output.write_all(line.as_bytes()).and_then(|()| output.flush()).is_err() {
        // The parent has ended.
        std::process::exit(3);
    }
}

fn give_up(why: &str) -> ! {
    eprintln!("the expirer gives up: {why}");
    std::process::exit(1)
}
