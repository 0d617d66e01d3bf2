//! Every byte of every file of a small database is damaged in turn.
//!
//! Promise proved: any bytes on disk are accepted as exactly what was written, or rejected with an
//! error that names file and offset. Never a panic, never a wrong value. The only records that may
//! go missing are those of the very last group of a log that was not closed: nothing on the medium
//! can prove that it was acknowledged. Even then the torn tail is reported, and `Strict` refuses to
//! open.
//!
//! The database lies on a disk in memory, so that tens of thousands of openings are quick; the
//! bytes are those of a real one. Every byte that is not zero or near such is flipped, and a sample
//! of the preallocated zeros between and behind them (`UARR_DAMAGE=all` flips them all,
//! `UARR_DAMAGE=bits` each bit of every file: half an hour a database). Of a closed database blocks
//! are also zeroed, and put in the place of others.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use uarr::value::{Bytes, Patch};
use uarr::{Db, Error, ErrorKind, KeyKind, RecoveryMode, TableOptions, uarr};
use uarr_disk_sim::{Memory, MemoryOptions};
use uarr_tests::files::{Files, disk_of, files_of, used_bytes};
use uarr_tests::history::State;
use uarr_tests::{Random, seed, tiny};
use uarr_uring::{OpenMode, Storage, StorageFile};

const BLOCK_BYTES: u32 = 512;
/// Distance of the sampled bytes in blocks that hold only zeros, between others and behind them.
const SAMPLE_STRIDE: usize = 67;
const FAR_SAMPLE_STRIDE: usize = 4093;
const TRUNCATION_COUNT: usize = 200;

/// A database to damage.
struct Case {
    name: &'static str,
    files: Files,
    disk: Memory,
    /// What it holds.
    state: State,
    /// What it held before its last group, if that may go missing.
    before_last_group: Option<State>,
    seed: u64,
    /// Whether the records lie in a table, and not in the default one.
    in_table: bool,
}

const TABLE: &str = "t";

/// The outcome of one damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// An error with file and offset, from opening, reading or verifying.
    Detected,
    /// All is there, and the report of the recovery lists the damage.
    Healed,
    /// All is there: the byte means nothing.
    Harmless,
    /// The last group is missing, and reported as torn.
    Torn,
}

type Verdict = Result<Outcome, String>;

fn options(mode: RecoveryMode) -> uarr::Builder {
    tiny().group_bytes(1 << 14).recovery(mode)
}

fn disk_options(seed: u64) -> MemoryOptions {
    MemoryOptions { seed, block_bytes: BLOCK_BYTES, ..Default::default() }
}

/// Writes a short history. Its lives: the first is closed in order, the second is not.
struct Author {
    disk: Memory,
    kind: KeyKind,
    random: Random,
    state: State,
    before_last_group: State,
}

impl Author {
    fn new(kind: KeyKind, seed: u64) -> Self {
        Self {
            disk: Memory::with_options(disk_options(seed)),
            kind,
            random: Random::new(seed),
            state: State::new(),
            before_last_group: State::new(),
        }
    }

    fn open(&self) -> Db<Memory> {
        options(RecoveryMode::Strict).keys(self.kind).open_on(self.disk.clone()).unwrap()
    }

    /// One group: a put, a patch, a delete, or a batch.
    fn write(&mut self, db: &Db<Memory>) {
        self.before_last_group = self.state.clone();
        let mut batch = db.batch();
        for _ in 0..[1, 1, 3][self.random.below(3) as usize] {
            let number = self.random.below(9);
            let len = [0, 5, 40, 300][self.random.below(4) as usize];
            let value: Vec<u8> = (0..len).map(|_| self.random.next() as u8).collect();
            let value = match self.random.below(2) {
                0 => value,
                _ => uarr!({ "count": number, "filler": Bytes(&value) }).to_vec(),
            };
            let delete = self.random.below(5) == 0;
            let key = match self.kind {
                KeyKind::Bytes => {
                    format!("key{}-{number}", "y".repeat(number as usize)).into_bytes()
                }
                _ => number.to_be_bytes().to_vec(),
            };
            if let Some((patch, value)) = self.patch(&key) {
                match self.kind {
                    KeyKind::Bytes => batch.patch(&key, &patch),
                    _ => batch.patch(number, &patch),
                };
                self.state.insert(key, value);
                continue;
            }
            match (self.kind, delete) {
                (KeyKind::Bytes, false) => batch.put(&key, &value),
                (KeyKind::Bytes, true) => batch.delete(&key),
                (_, false) => batch.put(number, &value),
                (_, true) => batch.delete(number),
            };
            match delete {
                true => drop(self.state.remove(&key)),
                false => drop(self.state.insert(key, value)),
            }
        }
        batch.commit().unwrap();
    }

    /// Half of the time: a patch of the value of `key`, if it is a record, and what it leads to.
    fn patch(&mut self, key: &[u8]) -> Option<(Patch, Vec<u8>)> {
        let value = self.state.get(key)?;
        let count = self.random.next();
        let patch = Patch::from_record(uarr!([[0, ["count"], count]])).unwrap();
        let result = patch.apply(value).ok()?;
        count.is_multiple_of(2).then(|| (patch, result.to_vec()))
    }

    fn write_until_changed(&mut self, db: &Db<Memory>) {
        self.write(db);
        while self.state == self.before_last_group {
            self.write(db);
        }
    }

    fn into_case(self, name: &'static str, files: Files, closed: bool, seed: u64) -> Case {
        let disk = disk_of(&files, disk_options(0));
        let before_last_group = (!closed).then_some(self.before_last_group);
        Case { name, files, disk, state: self.state, before_last_group, seed, in_table: false }
    }
}

/// Two checkpoints, records behind them, closed in order.
fn closed(kind: KeyKind, seed: u64) -> Case {
    let mut author = Author::new(kind, seed);
    let db = author.open();
    for _ in 0..2 {
        (0..5).for_each(|_| author.write(&db));
        db.checkpoint().unwrap();
    }
    (0..3).for_each(|_| author.write_until_changed(&db));
    db.close().unwrap();
    let files = files_of(&author.disk);
    author.into_case("closed", files, true, seed)
}

/// As [`closed`], with all records in a table.
fn closed_with_a_table(kind: KeyKind, seed: u64) -> Case {
    let mut author = Author::new(kind, seed);
    let db = options(RecoveryMode::Strict).open_on(author.disk.clone()).unwrap();
    let table = db.table_with(TABLE, TableOptions::new().keys(kind)).unwrap();
    for _ in 0..2 {
        (0..4).for_each(|_| author.write(&table));
        db.checkpoint().unwrap();
    }
    author.write_until_changed(&table);
    drop(table);
    db.close().unwrap();
    let files = files_of(&author.disk);
    Case { in_table: true, ..author.into_case("closed, with a table", files, true, seed) }
}

/// As [`closed`], then opened again, and killed after some more groups: what the process had
/// written stays.
fn killed(kind: KeyKind, seed: u64) -> Case {
    let mut author = Author::new(kind, seed);
    let db = author.open();
    (0..5).for_each(|_| author.write(&db));
    db.checkpoint().unwrap();
    (0..2).for_each(|_| author.write(&db));
    db.close().unwrap();
    let db = author.open();
    (0..4).for_each(|_| author.write_until_changed(&db));
    let files = files_of(&author.disk);
    drop(db);
    author.into_case("killed", files, false, seed)
}

/// Killed in its first life, before any checkpoint.
fn killed_young(kind: KeyKind, seed: u64) -> Case {
    let mut author = Author::new(kind, seed);
    let db = author.open();
    (0..4).for_each(|_| author.write_until_changed(&db));
    let files = files_of(&author.disk);
    drop(db);
    author.into_case("killed young", files, false, seed)
}

/// Whether the byte at `offset` is flipped: all that are not zero or near such, and a sample of the
/// zeros, denser in blocks that hold anything.
fn is_chosen(bytes: &[u8], offset: usize) -> bool {
    const BLOCK: usize = BLOCK_BYTES as usize;
    const SLOT: usize = 4096;
    const NEAR: usize = 32;
    const PADDING_STRIDE: usize = 5;
    let holds = |unit: usize| {
        let start = offset / unit * unit;
        bytes[start..bytes.len().min(start + unit)].iter().any(|byte| *byte != 0)
    };
    let stride = if holds(SLOT) { SAMPLE_STRIDE } else { FAR_SAMPLE_STRIDE };
    let near = &bytes[offset.saturating_sub(NEAR)..bytes.len().min(offset + NEAR)];
    let padding = holds(BLOCK) && offset.is_multiple_of(PADDING_STRIDE);
    offset.is_multiple_of(stride) || padding || near.iter().any(|byte| *byte != 0)
}

/// One way of damaging a case, all of it.
type Damage = fn(&Case, &mut Table);

impl Case {
    /// Opens the damaged `disk` and reads everything in every way.
    fn examine(&self, disk: Memory, mode: RecoveryMode) -> Verdict {
        let examined = catch_unwind(AssertUnwindSafe(|| self.examine_inside(disk, mode)));
        examined.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
            Err(format!("panic: {}", text.unwrap_or_default()))
        })
    }

    fn examine_inside(&self, disk: Memory, mode: RecoveryMode) -> Verdict {
        let db = match options(mode).create(false).open_on(disk) {
            Ok(db) => db,
            Err(error) => return rejected(&error),
        };
        let recovery = db.recovery_report().clone();
        let state = match self.contents(&db) {
            Ok(state) => state,
            Err(error) => return rejected(&error),
        };
        let report = db.verify(|_| {}).map_err(|error| format!("verify: {error}"))?;
        let exact = state == self.state;
        if exact && let Some(damage) = report.damages.first() {
            return rejected(damage);
        }
        match (exact, recovery.torn_tail) {
            (true, _) if !recovery.notes.is_empty() => Ok(Outcome::Healed),
            (true, None) => Ok(Outcome::Harmless),
            (true, Some(torn)) => Err(format!("all is there, but {torn:?}")),
            (false, Some(_)) if self.before_last_group.as_ref() == Some(&state) => match mode {
                RecoveryMode::Strict => Err("Strict has cut a tail".into()),
                _ => Ok(Outcome::Torn),
            },
            (false, torn) => Err(format!(
                "not what was written: {} records instead of {}, notes {:?}, torn tail {torn:?}, \
                 only the last group is missing: {}",
                state.len(),
                self.state.len(),
                recovery.notes,
                self.before_last_group.as_ref() == Some(&state)
            )),
        }
    }

    /// What is found in `db` of the records; nothing, if their table is not there.
    fn contents(&self, db: &Db<Memory>) -> uarr::Result<State> {
        if !self.in_table {
            return contents(db, &self.state);
        }
        let table = db.find_table(TABLE)?;
        table.map_or(Ok(State::new()), |table| contents(&table, &self.state))
    }

    /// A copy of the disk with one file changed.
    fn patched(&self, path: &str, patch: impl FnOnce(&<Memory as Storage>::File)) -> Memory {
        let disk = self.disk.crash();
        let file = disk.open(path, OpenMode::Mapped).unwrap();
        patch(&file);
        file.make_durable().unwrap();
        drop(file);
        disk
    }

    /// Flips bits of each chosen byte, or each bit. Every fourth damage is also shown to the strict
    /// mode.
    fn flip_all(&self, table: &mut Table, mode: RecoveryMode) {
        let mut random = Random::new(self.seed);
        let damage = std::env::var("UARR_DAMAGE").unwrap_or_default();
        let bits = damage == "bits";
        let all = bits || damage == "all";
        for (path, bytes) in &self.files {
            for offset in (0..bytes.len()).filter(|offset| all || is_chosen(bytes, *offset)) {
                let bit = 1u8 << random.below(8);
                // Padding is damaged in one way only, by turns.
                let masks = match (bytes[offset], offset % 2) {
                    _ if bits => (0..8).map(|bit| 1 << bit).collect(),
                    (0, 0) => vec![0xff],
                    (0, _) => vec![bit],
                    _ => vec![0xff, bit],
                };
                for mask in masks {
                    let fourth = (offset as u64 + u64::from(mask)).is_multiple_of(4);
                    if mode == RecoveryMode::Strict && !fourth {
                        continue;
                    }
                    let disk = self.patched(path, |file| {
                        file.write_at(&[bytes[offset] ^ mask], offset as u64).unwrap();
                    });
                    let what = format!("offset {offset} xor {mask:#04x} {mode:?}");
                    table.note(path, &what, self.examine(disk, mode));
                }
            }
        }
    }

    fn truncate_all(&self, table: &mut Table) {
        let mut random = Random::new(self.seed);
        for (path, bytes) in &self.files {
            // Half of the points lie where something is.
            let used = used_bytes(bytes).max(1);
            for index in 0..TRUNCATION_COUNT {
                let range = if index % 2 == 0 { used } else { bytes.len() };
                let len = if index == 0 { 0 } else { random.below(range.max(1) as u64) };
                let mut files = self.files.clone();
                files.get_mut(path).expect("it is one of them").truncate(len as usize);
                let disk = disk_of(&files, disk_options(0));
                let mode = [RecoveryMode::TolerateTornTail, RecoveryMode::Strict][index / 2 % 2];
                table.note(path, &format!("cut to {len} {mode:?}"), self.examine(disk, mode));
            }
        }
    }

    /// Zeroes each block that holds anything, puts it in the place of other ones and of some empty
    /// ones, and swaps it with them: a sample of the pairs, or all with `UARR_DAMAGE`. In a
    /// database that was not closed the last group can so be made to look as if it had never been.
    fn misplace_all(&self, table: &mut Table) {
        if self.before_last_group.is_some() {
            return;
        }
        const BLOCK: usize = BLOCK_BYTES as usize;
        let all = std::env::var_os("UARR_DAMAGE").is_some();
        for (path, bytes) in &self.files {
            let blocks: Vec<_> = bytes.chunks_exact(BLOCK).collect();
            let holds = |index: &usize| blocks[*index].iter().any(|byte| *byte != 0);
            let used: Vec<_> = (0..blocks.len()).filter(holds).collect();
            let empty = (0..blocks.len()).filter(|index| !holds(index)).step_by(97);
            let places: Vec<_> = used.iter().copied().chain(empty).collect();
            let mut note = |what: String, writes: &[(usize, &[u8])]| {
                let disk = self.patched(path, |file| {
                    for (index, block) in writes {
                        file.write_at(block, (index * BLOCK) as u64).unwrap();
                    }
                });
                table.note(path, &what, self.examine(disk, RecoveryMode::TolerateTornTail));
            };
            for &from in &used {
                note(format!("block {from} zeroed"), &[(from, &[0; BLOCK])]);
                let chosen = |to: usize| to != from && (all || (from + to).is_multiple_of(31));
                for &to in places.iter().filter(|to| chosen(**to)) {
                    let (first, second) = ((to, blocks[from]), (from, blocks[to]));
                    note(format!("block {from} also at {to}"), &[first]);
                    note(format!("blocks {from} and {to} swapped"), &[first, second]);
                }
            }
        }
    }

    /// Deletes each file, and opens with `create` both on and off: nothing may be made anew in its
    /// place.
    fn delete_all(&self, table: &mut Table) {
        for path in self.files.keys() {
            for create in [false, true] {
                let disk = self.disk.crash();
                disk.remove(path).unwrap();
                let opened = options(RecoveryMode::TolerateTornTail).create(create).open_on(disk);
                let verdict = match opened {
                    Err(error) if error.kind() == ErrorKind::NotFound && path == "superblock" => {
                        Ok(Outcome::Detected)
                    }
                    Err(error) if error.kind() == ErrorKind::Io => names_file(&error, path),
                    Err(error) => rejected(&error),
                    Ok(db) => {
                        let same = self.contents(&db).is_ok_and(|state| state == self.state);
                        let healed = !db.recovery_report().notes.is_empty();
                        match (same, healed) {
                            (true, true) => Ok(Outcome::Healed),
                            (true, false) => Ok(Outcome::Harmless),
                            _ => Err(format!("opened without it: {:?}", db.recovery_report())),
                        }
                    }
                };
                table.note(path, &format!("deleted, create({create})"), verdict);
            }
        }
    }

    fn run(&self) {
        // Panics are caught and listed; thousands of backtraces would only take time.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
        let undamaged = self.examine(self.disk.crash(), RecoveryMode::Strict);
        assert_eq!(undamaged, Ok(Outcome::Harmless), "{}: before any damage", self.name);
        let mut wrong = Vec::new();
        let damages: [(&str, Damage); 5] = [
            ("flips", |case, table| case.flip_all(table, RecoveryMode::TolerateTornTail)),
            ("strict", |case, table| case.flip_all(table, RecoveryMode::Strict)),
            ("blocks", Self::misplace_all),
            ("cuts", Self::truncate_all),
            ("deletions", Self::delete_all),
        ];
        for (what, damage) in damages {
            let mut table = Table::default();
            damage(self, &mut table);
            table.print(self.name, what);
            wrong.extend(table.wrong);
        }
        let first: Vec<_> = wrong.iter().take(40).map(String::as_str).collect();
        assert!(
            wrong.is_empty(),
            "{}, UARR_SEED={}: {} damages were taken for good, among them:\n{}",
            self.name,
            self.seed,
            wrong.len(),
            first.join("\n")
        );
    }
}

/// An error is a good answer if it is one of damage and says where.
fn rejected(error: &Error) -> Verdict {
    match (error.kind(), error.corruption()) {
        (ErrorKind::Corruption, Some(corruption)) if !corruption.file.is_empty() => {
            let (file, offset) = (&corruption.file, corruption.offset);
            let text = error.to_string();
            let says = |unit: &str| text.contains(&format!("{unit} {offset}"));
            match text.contains(file) && (says("offset") || says("address")) {
                true => Ok(Outcome::Detected),
                false => Err(format!("the message does not name file and place: {text}")),
            }
        }
        // Only `Strict` says this. A newer format is no answer: damage makes no right checksum.
        (ErrorKind::TornTail, _) => Ok(Outcome::Detected),
        _ => Err(format!("an error of the wrong kind: {error:?}")),
    }
}

fn names_file(error: &Error, path: &str) -> Verdict {
    match error.to_string().contains(path) {
        true => Ok(Outcome::Detected),
        false => Err(format!("the message does not name {path}: {error}")),
    }
}

/// Everything, by walking forward and backward, and by looking up every key of `keys`; all must
/// agree.
fn contents(db: &Db<Memory>, keys: &State) -> uarr::Result<State> {
    let mut state = State::new();
    for record in db.iter() {
        let record = record?;
        state.insert(record.key().to_vec(), record.bytes().to_vec());
    }
    let mut backward = State::new();
    for record in db.iter().rev() {
        let record = record?;
        backward.insert(record.key().to_vec(), record.bytes().to_vec());
    }
    assert_eq!(state, backward, "forward and backward differ");
    for key in keys.keys() {
        let record = match db.key_kind() {
            KeyKind::Bytes => db.get(key)?,
            _ => db.get(u64::from_be_bytes(key.as_slice().try_into().unwrap()))?,
        };
        let value = record.map(|record| record.bytes().to_vec());
        assert_eq!(value.as_ref(), state.get(key), "lookup and walk differ for {key:?}");
    }
    Ok(state)
}

/// Counts by file.
#[derive(Default)]
struct Table {
    counts: BTreeMap<String, BTreeMap<Outcome, u64>>,
    wrong: Vec<String>,
}

impl Table {
    fn note(&mut self, path: &str, what: &str, verdict: Verdict) {
        match verdict {
            Ok(outcome) => {
                *self.counts.entry(path.into()).or_default().entry(outcome).or_default() += 1;
            }
            Err(why) => self.wrong.push(format!("{path} {what}: {why}")),
        }
    }

    fn print(&self, name: &str, what: &str) {
        let mut sums = BTreeMap::new();
        for (path, counts) in &self.counts {
            print_line(name, path, what, counts);
            counts.iter().for_each(|(outcome, count)| *sums.entry(*outcome).or_default() += count);
        }
        print_line(name, "all files", what, &sums);
        println!("{name:13} {what}: {} taken for good or panicked", self.wrong.len());
    }
}

fn print_line(name: &str, path: &str, what: &str, counts: &BTreeMap<Outcome, u64>) {
    let count = |outcome| counts.get(&outcome).copied().unwrap_or(0);
    println!(
        "{name:13} {path:26} {what:9} {:7}  detected {:7}  healed {:6}  torn {:4}  harmless {:7}",
        counts.values().sum::<u64>(),
        count(Outcome::Detected),
        count(Outcome::Healed),
        count(Outcome::Torn),
        count(Outcome::Harmless),
    );
}

#[test]
fn damage_of_a_closed_database_with_byte_keys_is_found() {
    closed(KeyKind::Bytes, seed(11)).run();
}

#[test]
fn damage_of_a_closed_database_with_integer_keys_is_found() {
    closed(KeyKind::U64, seed(12)).run();
}

#[test]
fn damage_of_a_closed_database_with_a_table_is_found() {
    closed_with_a_table(KeyKind::U64, seed(16)).run();
}

#[test]
fn damage_of_a_killed_database_with_byte_keys_is_found() {
    killed(KeyKind::Bytes, seed(13)).run();
}

#[test]
fn damage_of_a_killed_database_with_integer_keys_is_found() {
    killed(KeyKind::U64, seed(14)).run();
}

#[test]
fn damage_of_a_database_killed_before_its_first_checkpoint_is_found() {
    killed_young(KeyKind::Bytes, seed(15)).run();
}
