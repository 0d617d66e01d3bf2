//! How iterators go over a table without order, as of one moment: by the hashes of the keys.
//!
//! The walk fetches whole chains of entries ([`uarr_index::WalkEntry::is_boundary`]). Where records
//! of them were moved meanwhile, it fetches again behind the last boundary, and leaves out what it
//! has passed since. A damaged record is an error in its place; what comes behind does not depend
//! on it.

use std::vec;

use uarr_index::{WalkEntry, WalkPlace};
use uarr_layout::record::Locator;
use uarr_uring::{MapPin, Storage};

use crate::api::record::Record;
use crate::data::key_index::KeyIndex;
use crate::data::store::misnamed;
use crate::error::Result;
use crate::versions::pins::LsnPin;
use crate::versions::records::Records;

/// Index entries fetched at first, and at most: each time twice as many.
pub(in crate::api) const WINDOW_COUNT_MIN: usize = 16;
pub(in crate::api) const WINDOW_COUNT_MAX: usize = 256;

/// Records on their way from memory while one is looked at: as many as a processor core waits for
/// at a time.
pub(in crate::api) const RECORDS_AHEAD: usize = 8;

/// See [`self`].
pub(in crate::api) struct HashWalk {
    /// Behind the last boundary that was passed.
    place: Option<WalkPlace>,
    /// What was passed since then.
    passed: Vec<Passed>,
    window: vec::IntoIter<WalkEntry>,
    window_count: usize,
    /// The window has all that there is.
    is_last: bool,
}

/// The key of a record, or a damaged one.
type Passed = std::result::Result<Vec<u8>, Locator>;

impl HashWalk {
    pub fn new() -> Self {
        Self {
            place: None,
            passed: Vec::new(),
            window: Vec::new().into_iter(),
            window_count: WINDOW_COUNT_MIN,
            is_last: false,
        }
    }

    /// The next record, as of `lsn_pin`.
    pub fn step<'r, S: Storage>(
        &mut self,
        records: &'r Records<S>,
        index: &KeyIndex,
        lsn_pin: &LsnPin,
    ) -> Result<Option<Record<'r>>> {
        let pin = MapPin::enter();
        let reader = records.reader(&pin);
        // What the index names now stays there as long as this looks.
        let mut is_fresh = false;
        loop {
            let Some(entry) = self.window.next() else {
                if self.is_last {
                    return Ok(None);
                }
                self.fill(records, index);
                is_fresh = true;
                continue;
            };
            if let Some(ahead) = self.window.as_slice().get(RECORDS_AHEAD - 1) {
                prefetch(records, ahead);
            }
            let Some(locator) = Locator::from_bits(entry.payload) else { continue };
            let read = reader.record(locator);
            if !is_fresh && read.is_err() && reader.is_gone(locator) {
                (self.window, self.is_last) = (Vec::new().into_iter(), false);
                continue;
            }
            let read = read.and_then(|view| match index.is_met(&entry, view.key()) {
                true => Ok(view),
                false => Err(misnamed(locator)),
            });
            let key = read.as_ref().map(|view| view.key());
            if !self.pass(entry, key.map_err(|_| locator)) {
                continue;
            }
            if let Some(view) = records.pinned_version(reader, locator, read?, lsn_pin)? {
                let held = records.store.hold(view, &pin);
                return Ok(Some(Record::new(held, records.key_kind())));
            }
        }
    }

    /// The record of `entry`, with this key or damaged, is passed now; whether it was not before.
    fn pass(&mut self, entry: WalkEntry, next: std::result::Result<&[u8], Locator>) -> bool {
        let is_it = |before: &Passed| before.as_deref().map_err(|locator| *locator) == next;
        let is_new = !self.passed.iter().any(is_it);
        if entry.is_boundary() {
            self.passed.clear();
            self.place = entry.behind();
        } else if is_new {
            self.passed.push(next.map(<[u8]>::to_vec));
        }
        is_new
    }

    #[inline(never)]
    fn fill<S: Storage>(&mut self, records: &Records<S>, index: &KeyIndex) {
        let mut entries = Vec::with_capacity(self.window_count);
        let rest = index.walk(self.place, self.window_count, &mut entries);
        self.is_last = rest.is_none();
        self.window_count = (self.window_count * 2).min(WINDOW_COUNT_MAX);
        entries.iter().take(RECORDS_AHEAD).for_each(|entry| prefetch(records, entry));
        self.window = entries.into_iter();
    }
}

fn prefetch<S: Storage>(records: &Records<S>, entry: &WalkEntry) {
    Locator::from_bits(entry.payload)
        .into_iter()
        .for_each(|locator| records.store.prefetch(locator));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uarr_disk_sim::Memory;

    use crate::{Db, Durability, TableOptions};

    /// In unit tests hashes of such tables have few bits: most entries share a chain with others.
    #[test]
    fn chains_are_shown_once_whatever_moves() {
        let sizes = Db::builder("memory").segment_bytes(1 << 18).chunk_bytes(1 << 16);
        let options = sizes.address_space_bytes(1 << 28).durability(Durability::Manual);
        let disk = Memory::new();
        let db = options.clone().background(false).open_on(disk.clone()).unwrap();
        let table = db.table_with("t", TableOptions::new().unordered()).unwrap();
        let key = |number: u64| format!("{number:03}").into_bytes();
        for number in 0..400 {
            table.put(key(number), [0; 900]).unwrap();
        }
        for number in (0..400).filter(|number| number % 3 == 0) {
            table.delete(key(number)).unwrap();
        }
        let mut expected = BTreeMap::new();
        for number in (0..400).filter(|number| number % 3 > 0) {
            table.put(key(number), [1; 900]).unwrap();
            expected.insert(key(number), 1);
        }
        for step in [1, 2, 3, 7] {
            let (mut walk, mut shown) = (table.iter(), BTreeMap::new());
            let mut round = 1;
            loop {
                let before_count = shown.len();
                for record in walk.by_ref().take(step) {
                    let record = record.unwrap();
                    let before = shown.insert(record.key().to_vec(), record[0]);
                    assert!(before.is_none(), "{:?} twice", record.key());
                }
                if shown.len() == before_count {
                    break;
                }
                round = if round == 200 { 2 } else { round + 1 };
                // Most of all is moved, or written again.
                for number in (0..400).filter(|number| number % 40 == u64::from(round) % 40) {
                    table.put(key(number), [round; 900]).unwrap();
                }
                if shown.len().is_multiple_of(4) {
                    db.checkpoint().unwrap();
                    db.compact().unwrap();
                }
            }
            assert_eq!(shown, expected, "{step} at a time");
            drop(walk);
            expected.clear();
            for record in table.iter() {
                let record = record.unwrap();
                assert!(expected.insert(record.key().to_vec(), record[0]).is_none(), "twice");
            }
            for (key, byte) in &expected {
                assert_eq!(table.get(key).unwrap().unwrap()[0], *byte);
            }
        }
        drop((table, db.clone()));
        db.close().unwrap();
        let db = options.background(false).open_on(disk.crash()).unwrap();
        assert_eq!(db.table("t").unwrap().iter().count(), expected.len());
        assert!(db.verify(|_| {}).unwrap().is_clean());
    }
}
