//! Readers that open nothing and write nothing: before an opening they find what it finds, and
//! beside a writer they keep showing what there was, or say that they were overtaken.

use uarr::{ErrorKind, KeyKind, OwnedRecord, ReadOnly};
use uarr_disk_sim::{Memory, ReadFilter};
use uarr_uring::Storage;

use super::clock::{expires_ms, seen_by};
use super::model::{State, Unreadable, Versioned, number};
use super::operations::is_fault;
use super::run::Run;
use super::tables::{NAME, WITNESS, WITNESS_NUMBER};
use crate::files::files_of;
use crate::violation::{Checked, Violation, violated};

/// So many readers are kept at most.
const KEPT_MAX: usize = 3;
/// A reader is opened after so many operations.
const OPENED_EVERY: u64 = 5;

/// A reader, and what it has shown at first.
struct KeptReader {
    reader: ReadOnly<Memory>,
    state: Vec<(Vec<u8>, Versioned)>,
}

/// The readers beside one life.
#[derive(Default)]
pub(super) struct Readers {
    kept: Vec<KeptReader>,
    count: u64,
}

fn versioned(record: &OwnedRecord) -> Versioned {
    (seen_by(record.key(), record.expiry(), record.bytes()), record.version())
}

/// All that `reader` shows, both ways.
fn contents(run: &Run, reader: &ReadOnly<Memory>) -> Result<State, Unreadable> {
    let mut state = State::new();
    let table = match run.plan.uses_table {
        true => reader.find_table(NAME)?,
        false => Some(reader.clone()),
    };
    if let Some(table) = &table {
        for record in table.iter() {
            let record = record?;
            if state.insert(record.key().to_vec(), versioned(&record)).is_some() {
                return Err(Violation("a reader finds a record twice".into()).into());
            }
        }
        let mut count = 0;
        let backward = (!run.plan.is_unordered).then(|| table.iter().rev());
        for record in backward.into_iter().flatten() {
            let record = record?;
            count += 1;
            if state.get(record.key()) != Some(&versioned(&record)) {
                return Err(Violation("a reader finds other records backward".into()).into());
            }
        }
        if count != state.len() && !run.plan.is_unordered {
            return Err(Violation("a reader finds fewer records backward".into()).into());
        }
    }
    if run.plan.uses_table {
        let found = match reader.key_kind() {
            KeyKind::Bytes => reader.get(WITNESS)?,
            _ => reader.get(WITNESS_NUMBER)?,
        };
        state.extend(found.map(|record| (WITNESS.to_vec(), versioned(&record))));
    }
    Ok(state)
}

/// Whether `later` is `earlier`, but for what has expired meanwhile.
fn same(earlier: &State, later: &State) -> bool {
    let is_missing = |(key, _): &(&Vec<u8>, &Versioned)| !later.contains_key(*key);
    later.iter().all(|(key, found)| earlier.get(key) == Some(found))
        && earlier.iter().filter(is_missing).all(|(key, (value, _))| expires_ms(key, value) > 0)
}

impl Run {
    /// What a reader finds on a copy of `disk` is what opening it finds, and no file changes. With
    /// `filter` the reader alone is deceived.
    pub fn compare_reader(&mut self, disk: &Memory, filter: Option<&ReadFilter>) -> Checked<()> {
        let left = disk.kill_with(0);
        // The last writes of the process before have ended.
        drop(left.lock("lock", std::time::Duration::ZERO));
        // Both forget the same of what a flush that failed has lost.
        let (copy, seen) = (left.kill_with(0), left.kill_with(0));
        let names = copy.list("").unwrap_or_default();
        if !names.iter().any(|name| name == "superblock") {
            return Ok(());
        }
        let before = files_of(&copy);
        if let Some(filter) = filter {
            seen.filter_reads(filter.clone());
        }
        let read = self.plan.builder().open_read_only_on(seen.clone());
        let read = read.map_err(Unreadable::from).and_then(|reader| contents(self, &reader));
        if filter.is_none() && files_of(&seen) != before {
            violated!("a reader has changed a file");
        }
        let opened = self.plan.builder().open_on(copy.clone()).map_err(Unreadable::from);
        let opened = opened.and_then(|db| self.contents(&db, false));
        self.outcome.read_count += 1;
        let failed = |error: &uarr::Error| is_fault(error) || self.is_illegal() || filter.is_some();
        match (read, opened) {
            (Ok(read), Ok(found)) if same(&read, &found) => Ok(()),
            (Ok(read), Ok(found)) => {
                violated!("a reader finds {} records, opening {} others", read.len(), found.len())
            }
            (Err(Unreadable::Failed(error)), _) if failed(&error) => Ok(()),
            (_, Err(Unreadable::Failed(error))) if failed(&error) => Ok(()),
            (Err(Unreadable::Failed(error)), Err(Unreadable::Failed(other)))
                if error.kind() == other.kind() =>
            {
                Ok(())
            }
            (Err(Unreadable::Failed(error)), _) => violated!("a reader fails: {error:?}"),
            (_, Err(Unreadable::Failed(error))) => violated!("opening fails alone: {error:?}"),
            (Err(Unreadable::Violated(violation)), _)
            | (_, Err(Unreadable::Violated(violation))) => Err(violation),
        }
    }

    /// Before an opening of `disk`; now and then, as each comparison opens a copy.
    pub fn look_before_opening(&mut self, disk: &Memory) -> Checked<()> {
        self.look_count += 1;
        if !self.plan.reads || !self.look_count.is_multiple_of(2) {
            return Ok(());
        }
        let filter = self.plan.deceives_readers.clone();
        self.compare_reader(disk, filter.as_ref())
    }
}

impl Readers {
    /// Behind an operation: opens a reader beside the writer now and then, and asks one of those
    /// that are kept.
    pub fn read(&mut self, run: &mut Run) -> Result<(), Unreadable> {
        if !run.plan.reads || !run.plan.seed.is_multiple_of(4) || run.is_illegal() {
            return Ok(());
        }
        self.count += 1;
        if self.count.is_multiple_of(OPENED_EVERY) {
            let reader = run.plan.builder().open_read_only_on(run.disk.clone())?;
            let state = contents(run, &reader)?.into_iter();
            // What expires may do so at any time.
            let state = state.filter(|(key, (value, _))| expires_ms(key, value) == 0);
            let state: Vec<_> = state.filter(|(key, _)| key != WITNESS).collect();
            self.kept.push(KeptReader { reader, state });
            if self.kept.len() > KEPT_MAX {
                self.kept.remove(0);
            }
        }
        if self.kept.is_empty() {
            return Ok(());
        }
        let at = self.count as usize;
        if !self.kept[at % self.kept.len()].ask(run, at)? {
            run.outcome.overtaken_count += 1;
            self.kept.clear();
        }
        Ok(())
    }
}

impl KeptReader {
    /// Asks for one of its records. `false`: a writer has overtaken it.
    fn ask(&self, run: &Run, at: usize) -> Result<bool, Unreadable> {
        if self.state.is_empty() {
            return Ok(true);
        }
        let (key, expected) = &self.state[at % self.state.len()];
        let ask = || {
            let table = match run.plan.uses_table {
                true => self.reader.find_table(NAME)?,
                false => Some(self.reader.clone()),
            };
            let Some(table) = table else { return Ok(None) };
            match table.key_kind() {
                KeyKind::Bytes => table.get(key),
                _ => table.get(number(key)),
            }
        };
        match ask() {
            Err(error) if error.kind() == ErrorKind::Overtaken => Ok(false),
            Err(error) => Err(error.into()),
            Ok(found) if found.as_ref().map(versioned).as_ref() == Some(expected) => Ok(true),
            Ok(_) => {
                let text = format!("a reader shows another record of {key:?} than there was");
                Err(Violation(text).into())
            }
        }
    }
}
