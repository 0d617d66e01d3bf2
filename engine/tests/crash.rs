//! Loss of power on a disk in memory, at every kind of moment, against a model.
//!
//! A run is a seed: it picks the options, a random history of operations, and where the power is
//! lost, sometimes in the middle of an operation (an injected fault). Afterwards the database must
//! hold the state after some prefix of the history that contains everything acknowledged as
//! durable, and must go on working. To run one seed again:
//! `UARR_SEED=<seed> cargo test -p uarr --test crash`. `UARR_SEEDS=<count>` and
//! `UARR_SEED_FIRST=<seed>` choose others.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::disallowed_methods, reason = "the environment chooses the seeds")]

use std::collections::BTreeMap;
use std::time::Duration;

use uarr::value::{Bytes, Patch, Value};
use uarr::{Db, Durability, ErrorKind, KeyKind, uarr};
use uarr_disk_sim::{FaultKind, Memory, MemoryOptions};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

type State = BTreeMap<Vec<u8>, Vec<u8>>;
/// What a key is set to; `None` if it is removed.
type Change = (Vec<u8>, Option<Vec<u8>>);

/// How a change is asked for.
enum Verb {
    Put(Vec<u8>),
    Delete,
    Patch(Patch),
}

struct Run {
    seed: u64,
    random: Random,
    disk: Memory,
    durability: Durability,
    kind: KeyKind,
    /// The state that every recovery so far has agreed on.
    base: State,
    /// What readers of the running database see.
    current: State,
    /// Batches since then.
    history: Vec<Vec<Change>>,
    /// How many of them are durable for sure.
    durable: usize,
    /// The highest LSN ever given out.
    last_lsn: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let block_bytes = [512, 4096][random.below(2) as usize];
        let disk = Memory::with_options(MemoryOptions {
            seed,
            block_bytes,
            hostile: true,
            ..Default::default()
        });
        let durability = match random.below(3) {
            0 => Durability::Manual,
            1 => Durability::Interval(Duration::from_millis(100)),
            _ => Durability::Sync,
        };
        let kind = [KeyKind::U64, KeyKind::Bytes][random.below(2) as usize];
        let base = State::new();
        Self {
            seed,
            random,
            disk,
            durability,
            kind,
            base,
            current: State::new(),
            history: Vec::new(),
            durable: 0,
            last_lsn: 0,
        }
    }

    fn inject_fault(&mut self, nth_max: u64) {
        let kinds = [
            FaultKind::LogWrite,
            FaultKind::LogFlush,
            FaultKind::Write,
            FaultKind::Allocate,
            FaultKind::MakeDurable,
            FaultKind::MakeDirDurable,
        ];
        let kind = kinds[self.random.below(kinds.len() as u64) as usize];
        self.disk.fail_next(kind, 1 + self.random.below(nth_max));
    }

    fn open(&self) -> uarr::Result<Db<Memory>> {
        Db::builder("memory")
            .keys(self.kind)
            .durability(self.durability)
            .segment_bytes(1 << 18)
            .chunk_bytes(1 << 16)
            .checkpoint_log_bytes(1 << 19)
            .address_space_bytes(1 << 26)
            .background(false)
            .open_on(self.disk.clone())
    }

    fn key(&mut self) -> Vec<u8> {
        let number = self.random.below(60);
        match self.kind {
            KeyKind::Bytes => {
                format!("key-{}-{number}", "x".repeat(number as usize % 7)).into_bytes()
            }
            _ => number.to_be_bytes().to_vec(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.random.below(20) {
            0 => 0,
            1 => 4096 + self.random.below(9000),
            2 => self.random.below(90_000),
            _ => self.random.below(200),
        };
        let byte = self.random.next() as u8;
        let filler: Vec<_> = (0..len).map(|i| byte.wrapping_add(i as u8)).collect();
        if self.random.below(3) == 0 {
            return filler;
        }
        uarr!({ "count": byte, "text": "x", "list": [1, "y"], "filler": Bytes(&filler) }).to_vec()
    }

    /// Operations that fit the values, those that were patched before too, and some that may not.
    fn patch(&mut self) -> Patch {
        let number = self.random.next().cast_signed();
        let long = "z".repeat(self.random.below(40) as usize);
        let operations = match self.random.below(8) {
            0..3 => uarr!([[0, ["count"], number]]),
            3 => uarr!([[0, ["text"], long], [0, ["count"], 0]]),
            4 => uarr!([[2, ["list"], [number, "more"]], [0, ["new"], { "a": number }]]),
            5 => uarr!([[0, ["filler"], long]]),
            6 => uarr!([[1, ["list", 0]]]),
            _ => uarr!([]),
        };
        Patch::from_record(operations).unwrap()
    }

    /// A change that is possible in `state`, which it is applied to.
    fn change(&mut self, state: &mut State) -> (Verb, Change) {
        let key = self.key();
        let present = state.get(&key);
        let patched = present.and_then(|value| {
            let patch = self.patch();
            let result = patch.apply(value).ok()?;
            assert!(Value::try_from(result.as_ref()).is_ok());
            Some((patch, result.to_vec()))
        });
        let (verb, value) = match (self.random.below(6), patched) {
            (3.., Some((patch, result))) => (Verb::Patch(patch), Some(result)),
            (0, _) => (Verb::Delete, None),
            _ => {
                let value = self.value();
                (Verb::Put(value.clone()), Some(value))
            }
        };
        match &value {
            Some(value) => drop(state.insert(key.clone(), value.clone())),
            None => drop(state.remove(&key)),
        }
        (verb, (key, value))
    }

    /// A patch of anything: it fits or not, and then changes nothing.
    fn patch_blindly(&mut self, db: &Db<Memory>) -> uarr::Result<()> {
        let (key, patch) = (self.key(), self.patch());
        let present = self.current.get(&key);
        let result = present.map(|value| patch.apply(value).map(|result| result.to_vec()));
        if let Some(Ok(result)) = &result {
            self.current.insert(key.clone(), result.clone());
            self.history.push(vec![(key.clone(), Some(result.clone()))]);
        }
        let outcome = match self.kind {
            KeyKind::Bytes => db.patch(&key, &patch),
            _ => db.patch(number(&key), &patch),
        };
        let expected = match result {
            None => ErrorKind::KeyNotFound,
            Some(Err(_)) => ErrorKind::InvalidArgument,
            Some(Ok(_)) => {
                self.note_lsn(outcome?.lsn);
                return Ok(());
            }
        };
        let error = outcome.err().unwrap();
        assert_eq!(error.kind(), expected, "seed {}: {error}", self.seed);
        Ok(())
    }

    fn note_lsn(&mut self, lsn: u64) {
        let (last, seed) = (self.last_lsn, self.seed);
        assert!(lsn > last, "seed {seed}: LSN {lsn} was given out, {last} before");
        self.last_lsn = lsn;
    }

    /// One random operation. `Err`: the database takes no more writes.
    fn operate(&mut self, db: &Db<Memory>) -> uarr::Result<()> {
        match self.random.below(20) {
            0 => db.checkpoint()?,
            1 => db.sync()?,
            2..4 => {
                db.step()?;
                return Ok(());
            }
            4..7 => {
                let before = self.history.len();
                self.patch_blindly(db)?;
                if self.durability != Durability::Sync || self.history.len() == before {
                    return Ok(());
                }
            }
            _ => {
                let count = [1, 1, 1, 1, 5, 40][self.random.below(6) as usize];
                let mut state = std::mem::take(&mut self.current);
                let mut batch = db.batch();
                let mut changes = Vec::new();
                for _ in 0..count {
                    let (verb, change) = self.change(&mut state);
                    let key = &change.0;
                    match (self.kind, verb) {
                        (KeyKind::Bytes, Verb::Put(value)) => batch.put(key, value),
                        (KeyKind::Bytes, Verb::Delete) => batch.delete(key),
                        (KeyKind::Bytes, Verb::Patch(patch)) => batch.patch(key, &patch),
                        (_, Verb::Put(value)) => batch.put(number(key), value),
                        (_, Verb::Delete) => batch.delete(number(key)),
                        (_, Verb::Patch(patch)) => batch.patch(number(key), &patch),
                    };
                    changes.push(change);
                }
                self.current = state;
                self.history.push(changes);
                if let Some(commit) = batch.commit()? {
                    self.note_lsn(commit.lsn);
                }
                if self.durability != Durability::Sync {
                    return Ok(());
                }
            }
        }
        self.durable = self.history.len();
        Ok(())
    }

    /// Checks `db` against the model and makes what it holds the new base.
    fn check(&mut self, db: &Db<Memory>, seed: u64) {
        let found: State = db
            .iter()
            .map(|record| record.unwrap())
            .map(|record| (record.key().to_vec(), record.bytes().to_vec()))
            .collect();
        let mut state = self.base.clone();
        let mut possible = self.durable == 0 && state == found;
        for (index, batch) in self.history.iter().enumerate() {
            for (key, value) in batch {
                match value {
                    Some(value) => drop(state.insert(key.clone(), value.clone())),
                    None => drop(state.remove(key)),
                }
            }
            possible |= index + 1 >= self.durable && state == found;
        }
        assert!(
            possible,
            "seed {seed}: {} of {} batches were durable, but {} records fit no prefix",
            self.durable,
            self.history.len(),
            found.len()
        );
        for (key, value) in &found {
            let record = match self.kind {
                KeyKind::Bytes => db.get(key).unwrap(),
                _ => db.get(number(key)).unwrap(),
            };
            assert_eq!(record.unwrap().bytes(), value, "seed {seed}");
        }
        let mut backwards: Vec<_> = db.iter().rev().map(|r| r.unwrap().key().to_vec()).collect();
        backwards.reverse();
        assert!(backwards.iter().eq(found.keys()), "seed {seed}: backwards");
        let report = db.verify(|_| {}).unwrap();
        assert!(report.is_clean(), "seed {seed}: {:?}", report.damages);
        self.base = found.clone();
        self.current = found;
        self.history.clear();
        self.durable = 0;
    }
}

fn number(key: &[u8]) -> u64 {
    u64::from_be_bytes(key.try_into().unwrap())
}

/// Names the seed of a run that panics.
struct Announced(u64);

impl Drop for Announced {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("run again: UARR_SEED={} cargo test -p uarr --test crash", self.0);
        }
    }
}

fn run(seed: u64) {
    let _announced = Announced(seed);
    let mut run = Run::new(seed);
    for _ in 0..1 + run.random.below(5) {
        let db = match run.open() {
            Ok(db) => db,
            // A fault during creation or recovery: the next attempt must succeed.
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::Corruption, "seed {seed}: {error}");
                run.disk = run.disk.crash_with(run.random.next());
                run.open().unwrap_or_else(|error| panic!("seed {seed}: {error}"))
            }
        };
        run.check(&db, seed);
        if run.random.below(2) == 0 {
            run.inject_fault(60);
        }
        let mut acknowledged = 0;
        for _ in 0..run.random.below(60) {
            if let Err(error) = run.operate(&db) {
                let kind = error.kind();
                let expected = matches!(kind, ErrorKind::Poisoned | ErrorKind::Io);
                assert!(expected, "seed {seed}: {error}");
                break;
            }
            acknowledged = run.history.len();
        }
        if run.random.below(4) == 0 && db.close().is_ok() {
            run.durable = acknowledged;
        }
        run.disk = match run.random.below(5) {
            0 => run.disk.crash(),
            _ => run.disk.crash_with(run.random.next()),
        };
        if run.random.below(4) == 0 {
            run.inject_fault(8);
        }
    }
}

#[test]
fn what_was_acknowledged_survives_any_loss_of_power() {
    if let Some(seed) = std::env::var("UARR_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed);
    }
    let seeds = std::env::var("UARR_SEEDS").ok().and_then(|count| count.parse().ok());
    let first = std::env::var("UARR_SEED_FIRST").ok().and_then(|seed| seed.parse().ok());
    let first = first.unwrap_or(0);
    for seed in first..first + seeds.unwrap_or(300) {
        run(seed);
    }
}
