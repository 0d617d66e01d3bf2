//! What readers keep over many operations: records, and iterators and snapshots that look at an
//! earlier moment.

use std::collections::{BTreeMap, VecDeque};

use uarr::{Db, KeyKind, Range, Record, Snapshot};
use uarr_disk_sim::Memory;

use super::clock::{Presence, seen};
use super::model::{Unreadable, get, number};
use super::run::Run;
use super::tables::WITNESS;
use crate::violation::Violation;

/// So many of each are kept at most.
const KEPT_MAX: usize = 6;

/// A record, and the bytes that it had.
struct KeptRecord<'a> {
    record: Record<'a>,
    bytes: Vec<u8>,
}

/// An iterator, and what it is still to show.
struct KeptRange<'a> {
    range: Range<'a, Memory>,
    rest: VecDeque<(Vec<u8>, Vec<u8>)>,
    is_ordered: bool,
}

/// A snapshot, and what there was.
struct KeptSnapshot {
    snapshot: Snapshot<Memory>,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What the readers of one life keep.
#[derive(Default)]
pub(super) struct Kept<'a> {
    records: Vec<KeptRecord<'a>>,
    ranges: Vec<KeptRange<'a>>,
    snapshots: Vec<KeptSnapshot>,
}

impl<'a> Kept<'a> {
    /// Keeps the record of a random key, or drops one.
    pub fn hold(&mut self, run: &mut Run, db: &'a Db<Memory>) -> Result<(), Unreadable> {
        if self.records.len() == KEPT_MAX {
            let at = run.below(KEPT_MAX as u64) as usize;
            self.records.swap_remove(at);
            return Ok(());
        }
        let key = run.key();
        if let Some(record) = get(db, &key)? {
            let bytes = record.bytes().to_vec();
            self.records.push(KeptRecord { record, bytes });
        }
        Ok(())
    }

    /// Begins an iterator over all records, or takes a snapshot; or drops one.
    pub fn look(&mut self, run: &mut Run, db: &'a Db<Memory>) {
        let at = run.below(KEPT_MAX as u64) as usize;
        let live = run.model.live.iter().map(|(key, (value, _))| (key.clone(), value.clone()));
        let mut live = live.filter(|(key, _)| key != WITNESS).collect::<Vec<_>>();
        run.clock.look(&run.disk);
        if live.iter().any(|(key, value)| run.clock.judge(key, value) == Presence::Either) {
            return;
        }
        live.retain(|(key, value)| run.clock.judge(key, value) == Presence::There);
        if run.below(2) == 0 {
            if self.ranges.len() == KEPT_MAX {
                self.ranges.swap_remove(at);
                return;
            }
            let is_ordered = !run.plan.is_unordered;
            self.ranges.push(KeptRange { range: db.iter(), rest: live.into(), is_ordered });
        } else {
            if self.snapshots.len() == KEPT_MAX {
                self.snapshots.swap_remove(at);
                return;
            }
            let (snapshot, state) = (db.snapshot(), live.into_iter().collect());
            self.snapshots.push(KeptSnapshot { snapshot, state });
        }
    }

    /// Whether there are iterators or snapshots.
    pub fn has_pins(&self) -> bool {
        !self.ranges.is_empty() || !self.snapshots.is_empty()
    }

    /// Records are what they were, one iterator goes on, and one snapshot shows a key.
    pub fn check(&mut self, run: &mut Run) -> Result<(), Unreadable> {
        for kept in &self.records {
            if kept.record.bytes() != kept.bytes {
                let text = format!("a record that is kept has changed: {:?}", kept.record.key());
                return Err(Violation(text).into());
            }
        }
        if !self.snapshots.is_empty() {
            let at = run.below(self.snapshots.len() as u64) as usize;
            self.snapshots[at].check(&run.key())?;
            if run.plan.is_unordered {
                self.snapshots[at].check_walk()?;
            }
        }
        if self.ranges.is_empty() {
            return Ok(());
        }
        let at = run.below(self.ranges.len() as u64) as usize;
        for _ in 0..run.below(4) {
            let kept = &mut self.ranges[at];
            let found = kept.range.next().transpose()?;
            let found = found.map(|record| (record.key().to_vec(), seen(&record)));
            let is_over = found.is_none();
            if found != kept.expected(found.as_ref()) {
                let text = "an iterator that is kept shows another record than there was";
                return Err(Violation(text.to_owned()).into());
            }
            if is_over {
                self.ranges.swap_remove(at);
                break;
            }
        }
        Ok(())
    }
}

impl KeptRange<'_> {
    /// What comes next: `found`, in a table without order, if that is still to come.
    fn expected(&mut self, found: Option<&(Vec<u8>, Vec<u8>)>) -> Option<(Vec<u8>, Vec<u8>)> {
        let place = self.rest.iter().position(|left| !self.is_ordered && Some(left) == found);
        self.rest.remove(place.unwrap_or(0))
    }
}

impl KeptSnapshot {
    /// The record of `key` is what it was.
    fn check(&self, key: &[u8]) -> Result<(), Unreadable> {
        let Self { snapshot, state } = self;
        let found = match snapshot.key_kind() {
            KeyKind::Bytes => snapshot.get(key)?,
            _ => snapshot.get(number(key))?,
        };
        let found = found.map(|record| record.bytes().to_vec());
        if found.as_ref() != state.get(key) {
            let text = format!("a snapshot shows another record of {key:?} than there was");
            return Err(Violation(text).into());
        }
        Ok(())
    }

    /// A walk shows all that there was, and each record once.
    fn check_walk(&self) -> Result<(), Unreadable> {
        let mut found = BTreeMap::new();
        let mut count = 0;
        for record in self.snapshot.iter() {
            let record = record?;
            found.insert(record.key().to_vec(), seen(&record));
            count += 1;
        }
        if found != self.state || count != found.len() {
            let text = format!("a walk through a snapshot shows {count} other records");
            return Err(Violation(text).into());
        }
        Ok(())
    }
}
