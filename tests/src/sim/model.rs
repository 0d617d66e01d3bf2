//! The model: an ordered map with a history, and what may be found of it after a death.

use std::collections::{BTreeMap, BTreeSet};

use uarr::value::Patch;
use uarr::{Db, KeyKind, Record};
use uarr_disk_sim::Memory;

use super::clock::{Bounds, Presence, seen};
use crate::violation::{Checked, Violation, violated};

/// A value and the LSN it was written with; 0 if no caller got that.
pub(super) type Versioned = (Vec<u8>, u64);
pub(super) type State = BTreeMap<Vec<u8>, Versioned>;

/// A key, its new value or `None`, and the LSN if it is known.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    /// The patch that leads to the value, if it is written so.
    pub patch: Option<Patch>,
    pub lsn: u64,
}

impl Change {
    pub fn put(key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { key, value: Some(value), patch: None, lsn: 0 }
    }

    pub fn delete(key: Vec<u8>) -> Self {
        Self { key, value: None, patch: None, lsn: 0 }
    }

    /// `None` if the patch does not fit the present value.
    pub fn patch(key: Vec<u8>, patch: Patch, present: &[u8]) -> Option<Self> {
        let value = patch.apply(present).ok()?.to_vec();
        Some(Self { key, value: Some(value), patch: Some(patch), lsn: 0 })
    }
}

/// What the database should hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// What every recovery so far has agreed on.
    base: State,
    /// What the last recovery has copied to the end of its new log: see [`Copied`].
    copied: Copied,
    /// Batches since then.
    history: Vec<Vec<Change>>,
    /// How many of them had been begun when each call that wrote some began.
    call_starts: Vec<usize>,
    /// How many of them were acknowledged; at most the last one was not.
    acknowledged_count: usize,
    /// How many of them are durable for sure.
    durable_count: usize,
    /// Calls that were acknowledged as durable.
    pub durable_call_count: u64,
    /// What a reader sees now.
    pub live: State,
    /// Keys of it that the last recovery did not show, and that nobody has written since: they may
    /// have expired, or the death took them.
    unsure: BTreeSet<Vec<u8>>,
    /// What else may have been the record of such a key: which of several had expired is not known,
    /// and a death may bring an earlier one back with its time.
    instead: BTreeMap<Vec<u8>, Vec<Versioned>>,
    /// The highest LSN ever given out.
    last_lsn: u64,
    /// The same at the last recovery.
    last_lsn_before: u64,
}

/// The last call that a recovery has found, and the state before it. Its groups are the ones that
/// nothing proves durable: opening copies them, and that copy is as much the last write as a call.
/// If the device loses it, and has dropped the original, nothing is left to notice that by.
#[derive(Clone, Debug, Default)]
struct Copied {
    before: State,
    batches: Vec<Vec<Change>>,
}

impl Copied {
    /// The state, if `found` is one that the recovery might have found instead.
    fn leads_to(&self, found: &State, clock: &Bounds) -> Option<State> {
        let mut state = self.before.clone();
        if same(&state, found, clock) {
            return Some(state);
        }
        self.batches.iter().find_map(|batch| {
            apply(&mut state, batch);
            same(&state, found, clock).then(|| state.clone())
        })
    }
}

fn apply(state: &mut State, batch: &[Change]) {
    for Change { key, value, lsn, .. } in batch {
        match value {
            Some(value) => drop(state.insert(key.clone(), (value.clone(), *lsn))),
            None => drop(state.remove(key)),
        }
    }
}

/// True if `found` is `expected`, but for what has expired; LSNs that no caller got may be any.
fn same(expected: &State, found: &State, clock: &Bounds) -> bool {
    let mut found = found.iter().peekable();
    let are_right = expected.iter().all(|(key, (value, lsn))| {
        let there = clock.judge(key, value);
        match found.next_if(|(key_found, _)| *key_found == key) {
            Some((_, (bytes, version))) => {
                there != Presence::Gone && value == bytes && (*lsn == 0 || lsn == version)
            }
            None => there != Presence::There,
        }
    });
    are_right && found.next().is_none()
}

impl Model {
    /// Whether `key` was there in this life, for sure.
    pub fn was_there(&self, key: &[u8]) -> bool {
        self.live.contains_key(key) && !self.unsure.contains(key)
    }

    /// A caller is about to write a batch: from now on readers may find it.
    pub fn begin(&mut self, batch: Vec<Change>) {
        self.begin_all([batch]);
    }

    /// The same for the batches of one call.
    pub fn begin_all(&mut self, batches: impl IntoIterator<Item = Vec<Change>>) {
        self.call_starts.push(self.history.len());
        self.history.extend(batches);
    }

    /// The batch was acknowledged with the LSN of its last record.
    pub fn acknowledge(&mut self, lsn: u64, durable: bool) -> Checked<()> {
        let batch = self.history.last_mut().expect("a batch was begun");
        let count = batch.len() as u64;
        if lsn < self.last_lsn + count {
            let before = self.last_lsn;
            violated!("LSN {lsn} for the last of {count} records, but {before} was given out");
        }
        for (change, lsn) in batch.iter_mut().zip(lsn + 1 - count..) {
            change.lsn = lsn;
        }
        self.last_lsn = lsn;
        self.unsure.retain(|key| batch.iter().all(|change| change.key != *key));
        apply(&mut self.live, batch);
        self.acknowledged_count = self.history.len();
        if durable {
            self.all_durable();
            self.durable_call_count += 1;
        }
        Ok(())
    }

    /// The batch was refused, but the caller takes it for durable.
    pub fn acknowledge_unheard(&mut self) -> Checked<()> {
        let count = self.history.last().map_or(0, Vec::len) as u64;
        self.acknowledge(self.last_lsn + count, true)
    }

    /// All batches that were begun are there and durable; no caller got their LSNs.
    pub fn ingested(&mut self) {
        for batch in &self.history[self.acknowledged_count..] {
            apply(&mut self.live, batch);
        }
        self.acknowledged_count = self.history.len();
        self.all_durable();
    }

    /// The batch was refused for lack of room: it has not happened and never will.
    pub fn refuse(&mut self) {
        self.history.pop();
        self.call_starts.pop();
    }

    /// Everything acknowledged so far is durable.
    pub fn all_durable(&mut self) {
        self.durable_count = self.acknowledged_count;
    }

    /// Nothing may be missing but, of what is durable, what the last `blow_count` calls wrote: no
    /// later group proves that it was there. The opening before them counts as a call, which wrote
    /// the end of the log again. What is found becomes the base.
    pub fn recovered(&mut self, found: State, blow_count: usize, clock: &Bounds) -> Checked<()> {
        let durable_calls = self.call_starts.iter().filter(|start| **start < self.durable_count);
        let spares_opening = durable_calls.clone().count() < blow_count;
        let spared = durable_calls.rev().take(blow_count).last();
        let needed = spared.copied().unwrap_or(self.durable_count);
        let mut fitting = self.fitting(&found, needed, clock);
        let durable = self.history[..needed].iter().flatten();
        let overwritten: BTreeSet<_> = durable.map(|change| change.key.clone()).collect();
        let mut present = fitting.pop();
        if present.is_none()
            && spares_opening
            && let Some(state) = self.copied.leads_to(&found, clock)
        {
            self.copied = Copied { before: state.clone(), batches: Vec::new() };
            present = Some((0, state));
        }
        let Some((present, mut state)) = present else {
            let (durable, all) = (self.durable_count, self.history.len());
            violated!(
                "{durable} of {all} batches since the last recovery were durable, but the {} \
                 records found are the state after no prefix of at least so many",
                found.len()
            );
        };
        if present == 0 && spares_opening {
            // The slot with the next LSN may be lost too, and then nothing says which were used.
            self.last_lsn = self.last_lsn_before;
        }
        self.last_lsn_before = self.last_lsn;
        self.note_copied(present);
        // What has expired may come back, if nothing durable says how late it was.
        let is_missing = |key: &&Vec<u8>| !found.contains_key(*key);
        self.unsure = state.keys().filter(is_missing).cloned().collect();
        self.instead.retain(|key, _| !found.contains_key(key) && !overwritten.contains(key));
        for (_, other) in fitting {
            for (key, versioned) in other.into_iter().filter(|(key, _)| !found.contains_key(key)) {
                self.instead.entry(key).or_default().push(versioned);
            }
        }
        for (key, versioned) in found {
            state.insert(key, versioned);
        }
        self.live = state.clone();
        self.base = state;
        self.history.clear();
        self.call_starts.clear();
        self.acknowledged_count = 0;
        self.durable_count = 0;
        Ok(())
    }

    /// The states that `found` may be, and behind how many batches of the history each was: at
    /// least `needed`.
    fn fitting(&self, found: &State, needed: usize, clock: &Bounds) -> Vec<(usize, State)> {
        let (mut state, mut written) = (self.base.clone(), BTreeSet::new());
        let mut fitting = Vec::new();
        for index in 0..=self.history.len() {
            if let Some(batch) = index.checked_sub(1).map(|last| &self.history[last]) {
                apply(&mut state, batch);
                written.extend(batch.iter().map(|change| &change.key));
            }
            if index < needed {
                continue;
            }
            let instead = self.instead.iter().filter(|(key, _)| !written.contains(key));
            let back = instead.filter_map(|(key, instead)| {
                let (bytes, version) = found.get(key)?;
                let mut instead = instead.iter();
                let is_it =
                    |(value, lsn): &&Versioned| value == bytes && (*lsn == 0 || lsn == version);
                instead.find(is_it).map(|other| (key.clone(), other.clone()))
            });
            let back: Vec<_> = back.collect();
            if back.is_empty() {
                fitting.extend(same(&state, found, clock).then(|| (index, state.clone())));
                continue;
            }
            let mut with = state.clone();
            with.extend(back);
            fitting.extend(same(&with, found, clock).then_some((index, with)));
        }
        fitting
    }

    /// The first `present` batches of the history were found. If there are none, what the opening
    /// before has copied is still the end of the log.
    fn note_copied(&mut self, present: usize) {
        let last_call = self.call_starts.iter().rfind(|start| **start < present);
        let Some(start) = last_call.copied() else { return };
        let mut before = std::mem::take(&mut self.base);
        self.history[..start].iter().for_each(|batch| apply(&mut before, batch));
        self.copied = Copied { before, batches: self.history[start..present].to_vec() };
    }
}

/// The number that an integer key stands for.
pub(super) fn number(key: &[u8]) -> u64 {
    u64::from_be_bytes(key.try_into().expect("integer keys have 8 bytes"))
}

/// The record of a key of either kind.
pub(super) fn get<'a>(db: &'a Db<Memory>, key: &[u8]) -> uarr::Result<Option<Record<'a>>> {
    match db.key_kind() {
        KeyKind::Bytes => db.get(key),
        _ => db.get(number(key)),
    }
}

fn versioned(record: &Record<'_>) -> Versioned {
    (seen(record), record.version())
}

/// Why everything could not be read: a broken promise, or an error of the engine.
pub(super) enum Unreadable {
    Violated(Violation),
    Failed(uarr::Error),
}

/// What an operation of a user comes to.
pub(super) type Done = Result<(), Unreadable>;

impl From<uarr::Error> for Unreadable {
    fn from(error: uarr::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Violation> for Unreadable {
    fn from(violation: Violation) -> Self {
        Self::Violated(violation)
    }
}

/// How everything is looked at.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// Also backward, key by key and by `verify`, which must all agree.
    pub thorough: bool,
    /// Damage outside of the data file is no matter.
    pub records_only: bool,
    /// The keys have an order.
    pub is_ordered: bool,
}

/// Everything in the database, as a walk forward finds it.
pub(super) fn contents(db: &Db<Memory>, look: Look) -> Result<State, Unreadable> {
    let Look { thorough, records_only, is_ordered } = look;
    let mut found = State::new();
    for record in db.iter() {
        let record = record?;
        let last = found.last_key_value().filter(|_| is_ordered);
        if last.is_some_and(|(last, _)| last.as_slice() >= record.key()) {
            return Err(Violation(format!("a walk is not in order at {:?}", record.key())).into());
        }
        if found.insert(record.key().to_vec(), versioned(&record)).is_some() {
            return Err(Violation(format!("a walk finds {:?} twice", record.key())).into());
        }
    }
    if !thorough {
        return Ok(found);
    }
    if is_ordered {
        let mut backward = State::new();
        for record in db.iter().rev() {
            let record = record?;
            backward.insert(record.key().to_vec(), versioned(&record));
        }
        if backward != found {
            let text = "a walk backward finds other records than one forward";
            return Err(Violation(text.into()).into());
        }
    }
    for (key, value) in &found {
        let record = get(db, key)?;
        if record.map(|record| versioned(&record)).as_ref() != Some(value) {
            return Err(Violation(format!("a walk finds key {key:?}, a lookup does not")).into());
        }
    }
    let report = db.verify(|_| {})?;
    let counts = |error: &uarr::Error| {
        !records_only || error.corruption().is_none_or(|place| place.file.starts_with("data/"))
    };
    match report.damages.into_iter().find(counts) {
        Some(damage) => Err(Unreadable::Failed(damage)),
        None => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_takes_prefixes_and_nothing_else() {
        let change = |key: &str, value: Option<&str>| match value {
            Some(value) => Change::put(key.into(), value.into()),
            None => Change::delete(key.into()),
        };
        let mut model = Model::default();
        model.begin(vec![change("a", Some("1")), change("b", Some("2"))]);
        model.acknowledge(2, true).expect("these are the first LSNs");
        model.begin(vec![change("a", None)]);
        let state = |pairs: &[(&str, &str, u64)]| -> State {
            let pair = |(k, v, lsn): &(&str, &str, u64)| ((*k).into(), ((*v).into(), *lsn));
            pairs.iter().map(pair).collect()
        };
        let clock = Bounds::default();
        let fits = |found: State| model.clone().recovered(found, 0, &clock).is_ok();
        assert!(fits(state(&[("a", "1", 1), ("b", "2", 2)])));
        assert!(fits(state(&[("b", "2", 2)])));
        assert!(!fits(state(&[])), "acknowledged batches are there");
        assert!(!fits(state(&[("a", "1", 1)])), "batches are whole");
        assert!(!fits(state(&[("a", "1", 1), ("b", "2", 3)])), "versions are LSNs");
        assert!(model.acknowledge(2, true).is_err(), "no LSN twice");
    }

    #[test]
    fn blows_take_the_last_calls_and_then_what_opening_wrote() {
        let put = |key: &str| vec![Change::put(key.into(), b"1".to_vec())];
        let mut model = Model::default();
        model.begin(put("a"));
        model.acknowledge(1, true).expect("the first LSN");
        model.begin(put("b"));
        model.acknowledge(2, true).expect("the second LSN");
        let state = |keys: &[(&str, u64)]| -> State {
            keys.iter().map(|(key, lsn)| ((*key).into(), (b"1".to_vec(), *lsn))).collect()
        };
        let both = state(&[("a", 1), ("b", 2)]);
        let clock = Bounds::default();
        model.recovered(both.clone(), 0, &clock).expect("nothing is missing");
        model.begin(put("c"));
        model.acknowledge(3, true).expect("the third LSN");
        let fits =
            |found: &State, blow_count| model.clone().recovered(found.clone(), blow_count, &clock);
        assert!(fits(&both, 0).is_err(), "acknowledged batches are there");
        assert!(fits(&both, 1).is_ok(), "one blow takes the last call");
        assert!(fits(&state(&[("a", 1)]), 1).is_err(), "and no more");
        assert!(fits(&state(&[("a", 1)]), 2).is_ok(), "two take the copy in front of it too");
        assert!(fits(&state(&[]), 2).is_err(), "which held one call");
    }
}
