//! [`Tables`]: the indexes of all tables.
//!
//! A stored key says its table and the kind of its keys ([`crate::table_prefix`]), so an index is
//! there as soon as a key of its table is applied: neither recovery nor the one writer asks what
//! tables there are called, or whether somebody has dropped them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use uarr_layout::record::Locator;
use uarr_uring::DataMap;

use crate::data::entries::{ByteEntries, Entries};
use crate::data::key_index::KeyIndex;
use crate::data::store::Reader;
use crate::error::Result;
use crate::key::KeyKind;
use crate::key_space::KeySpace;
use crate::sync::{Rank, Ranked, lock};
use crate::table_prefix::{FIRST_NUMBER, TablePrefix};

/// The index of a table but the default one.
pub(crate) struct OtherIndex {
    pub index: KeyIndex,
    /// Keys that lead to tombstones.
    deleted_count: AtomicUsize,
}

/// See [`self`].
pub(crate) struct Tables {
    /// Of the default table, which is always there.
    pub default: KeyIndex,
    others: Ranked<Others>,
    /// Whether there are, or were, others: without any, a lookup does not take the lock.
    has_others: AtomicBool,
    others_deleted_count: AtomicUsize,
    hash_seed: u128,
}

#[derive(Default)]
struct Others {
    indexes: BTreeMap<TablePrefix, Arc<OtherIndex>>,
    /// Tables that were dropped and taken out since the database was opened: nothing is entered
    /// under their prefixes any more.
    taken_out: BTreeSet<TablePrefix>,
}

/// The index of some table.
pub(crate) enum TableIndex<'a> {
    Default(&'a KeyIndex),
    Other(Arc<OtherIndex>),
}

impl Deref for TableIndex<'_> {
    type Target = KeyIndex;

    #[inline]
    fn deref(&self) -> &KeyIndex {
        match self {
            Self::Default(index) => index,
            Self::Other(other) => &other.index,
        }
    }
}

impl OtherIndex {
    fn new(index: KeyIndex) -> Self {
        Self { index, deleted_count: AtomicUsize::new(0) }
    }

    /// Whether the engine keeps the table for itself.
    pub fn is_internal(&self) -> bool {
        self.index.space.prefix.is_some_and(|prefix| prefix.number() < FIRST_NUMBER)
    }

    /// Keys that do not lead to tombstones. The caller has the applier's lock.
    pub fn key_count(&self) -> u64 {
        let deleted_count = self.deleted_count.load(Ordering::Relaxed);
        self.index.len().saturating_sub(deleted_count) as u64
    }

    /// The index entry of a key has changed; `all_deleted_count` is that of all tables like this
    /// one.
    fn note(&self, old: Option<Locator>, new: Option<Locator>, all_deleted_count: &AtomicUsize) {
        let is_deleted = |entry: Option<Locator>| entry.is_some_and(Locator::is_tombstone);
        match (is_deleted(old), is_deleted(new)) {
            (false, true) => {
                self.deleted_count.fetch_add(1, Ordering::Relaxed);
                all_deleted_count.fetch_add(1, Ordering::Relaxed);
            }
            (true, false) => {
                for count in [&self.deleted_count, all_deleted_count] {
                    let before = count.fetch_sub(1, Ordering::Relaxed);
                    assert!(before > 0, "a deleted key was counted");
                }
            }
            _ => {}
        }
    }
}

impl Tables {
    /// The default table with `entries`, and others with what `others` have: by stored key those
    /// with order, and then the rest, by table.
    pub fn from_entries(
        kind: KeyKind,
        hash_seed: u128,
        entries: Entries,
        others: [&ByteEntries; 2],
    ) -> Self {
        let tables = Self {
            default: KeyIndex::from_entries(kind, hash_seed, entries),
            others: Ranked::new(Rank::Leaf, Others::default()),
            has_others: AtomicBool::new(false),
            others_deleted_count: AtomicUsize::new(0),
            hash_seed,
        };
        let mut rest = others.into_iter().flat_map(ByteEntries::iter).peekable();
        while let Some((first, _)) = rest.peek() {
            let prefix = TablePrefix::of(first).expect("entries were checked");
            let is_next = |(key, _): &(Vec<u8>, u64)| TablePrefix::of(key) == Some(prefix);
            let of_table = std::iter::from_fn(|| rest.next_if(is_next));
            let index = tables.index(prefix, of_table);
            assert!(tables.other(prefix).is_none(), "entries of a table stand together");
            assert!(tables.enter(prefix, index).is_some(), "no table is taken out so early");
        }
        tables
    }

    /// An index of the table with `prefix`, over `entries`, which is not entered.
    fn index(
        &self,
        prefix: TablePrefix,
        entries: impl Iterator<Item = (Vec<u8>, u64)>,
    ) -> KeyIndex {
        let kind = KeyKind::of_table(prefix).expect("keys were checked");
        let space = KeySpace { kind, prefix: Some(prefix) };
        KeyIndex::of_table(space, self.default.memory(), self.hash_seed, entries)
    }

    /// The index that is there under `prefix`: `index`, if there was none. `None`: the table was
    /// taken out.
    fn enter(&self, prefix: TablePrefix, index: KeyIndex) -> Option<Arc<OtherIndex>> {
        let other = OtherIndex::new(index);
        assert_eq!(other.index.space.prefix, Some(prefix), "the index is the table's own");
        let mut others = lock(&self.others);
        if others.taken_out.contains(&prefix) {
            return None;
        }
        let other = others.indexes.entry(prefix).or_insert_with(|| Arc::new(other)).clone();
        self.has_others.store(true, Ordering::Release);
        Some(other)
    }

    /// The index of the table that begins its keys with `prefix`, for a handle; an empty one if
    /// there is none. If the table was taken out, no other lookup finds this one.
    pub fn open(&self, prefix: TablePrefix) -> Arc<OtherIndex> {
        let empty = || self.index(prefix, std::iter::empty());
        let found = self.other(prefix).or_else(|| self.enter(prefix, empty()));
        found.unwrap_or_else(|| Arc::new(OtherIndex::new(empty())))
    }

    /// As [`Tables::open`], for the one writer.
    fn open_to_write(&self, prefix: TablePrefix) -> Arc<OtherIndex> {
        let found = self.other(prefix);
        let found = found.or_else(|| self.enter(prefix, self.index(prefix, std::iter::empty())));
        found.expect("staging refuses writes to a table before its drop is staged")
    }

    /// From now on no lookup finds the index of this table, and none is ever entered for it.
    pub fn take_out(&self, prefix: TablePrefix) -> Option<Arc<OtherIndex>> {
        let mut others = lock(&self.others);
        assert!(others.taken_out.insert(prefix), "each table is removed once");
        others.indexes.remove(&prefix)
    }

    /// The highest number of a table that is there, or was and was taken out; 0: there is none.
    pub fn highest_number(&self) -> u32 {
        let others = lock(&self.others);
        // By number: that is what they begin with.
        let last = others.indexes.last_key_value().map(|(prefix, _)| *prefix);
        let last = last.max(others.taken_out.last().copied());
        last.map_or(0, TablePrefix::number)
    }

    fn other(&self, prefix: TablePrefix) -> Option<Arc<OtherIndex>> {
        if !self.has_others.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.others).indexes.get(&prefix).cloned()
    }

    /// The index of the table that the stored key `key` is of; `None`: it has none.
    pub fn of(&self, key: &[u8]) -> Option<TableIndex<'_>> {
        match TablePrefix::of(key) {
            None => Some(TableIndex::Default(&self.default)),
            Some(prefix) => self.other(prefix).map(TableIndex::Other),
        }
    }

    /// Those of all tables but the default one, by number.
    pub fn others(&self) -> Vec<Arc<OtherIndex>> {
        lock(&self.others).indexes.values().cloned().collect()
    }

    /// Those of all tables, the default one first.
    pub fn all(&self) -> impl Iterator<Item = TableIndex<'_>> {
        let others = self.others().into_iter().map(TableIndex::Other);
        std::iter::once(TableIndex::Default(&self.default)).chain(others)
    }

    /// As [`KeyIndex::get`].
    pub fn get<M: DataMap>(&self, key: &[u8], reader: Reader<'_, M>) -> Result<Option<Locator>> {
        match TablePrefix::of(key) {
            None => self.default.get(key, reader),
            Some(_) => self.get_other(key, reader),
        }
    }

    #[inline(never)]
    fn get_other<M: DataMap>(&self, key: &[u8], reader: Reader<'_, M>) -> Result<Option<Locator>> {
        self.of(key).map_or(Ok(None), |index| index.get(key, reader))
    }

    /// As [`KeyIndex::newest`].
    pub fn newest<M: DataMap>(&self, key: &[u8], reader: Reader<'_, M>) -> Option<Locator> {
        self.of(key)?.newest(key, reader)
    }

    /// As [`KeyIndex::leads_to`].
    pub fn leads_to(&self, key: &[u8], locator: Locator) -> bool {
        self.of(key).is_some_and(|index| index.leads_to(key, locator))
    }

    /// As [`KeyIndex::append`], of keys of one table.
    #[inline]
    pub fn append<'k, M: DataMap>(
        &self,
        keys: impl ExactSizeIterator<Item = &'k [u8]> + Clone,
        reader: Reader<'_, M>,
        mut append: impl FnMut(usize, Option<Locator>) -> Locator,
    ) {
        match keys.clone().next().and_then(TablePrefix::of) {
            None => self.default.append(keys, reader, append),
            // Of two copies of what appends records neither would be a part of its caller.
            Some(prefix) => self.append_to(prefix, keys, reader, &mut append),
        }
    }

    #[inline(never)]
    fn append_to<'k, M: DataMap>(
        &self,
        prefix: TablePrefix,
        keys: impl ExactSizeIterator<Item = &'k [u8]> + Clone,
        reader: Reader<'_, M>,
        append: &mut dyn FnMut(usize, Option<Locator>) -> Locator,
    ) {
        assert!(keys.clone().all(|key| TablePrefix::of(key) == Some(prefix)), "of one table");
        let other = self.open_to_write(prefix);
        other.index.append(keys, reader, |place, old| {
            let new = append(place, old);
            other.note(old, Some(new), &self.others_deleted_count);
            new
        });
    }

    /// The key of the record at `locator`: the record's own, or, if it is damaged, the one that it
    /// seems to have, if the index leads from there to it. Errors: damage that leaves the key
    /// unknown.
    pub fn key_of<'p, M: DataMap>(
        &self,
        locator: Locator,
        reader: Reader<'p, M>,
    ) -> Result<&'p [u8]> {
        let error = match reader.record(locator) {
            Ok(view) => return Ok(view.key()),
            Err(error) => error,
        };
        let seeming = reader.key_that_seems(locator.address());
        seeming.filter(|key| self.leads_to(key, locator)).ok_or(error)
    }

    /// As [`KeyIndex::remove_if`].
    pub fn remove_if<M: DataMap>(
        &self,
        key: &[u8],
        locator: Locator,
        reader: Reader<'_, M>,
    ) -> Result<bool> {
        let Some(index) = self.of(key) else { return Ok(false) };
        let is_removed = index.remove_if(key, locator, reader)?;
        if let (true, TableIndex::Other(other)) = (is_removed, &index) {
            other.note(Some(locator), None, &self.others_deleted_count);
        }
        Ok(is_removed)
    }

    /// As [`KeyIndex::replace_if`], by a record of the same kind.
    pub fn replace_if<M: DataMap>(
        &self,
        key: &[u8],
        from: Locator,
        to: Locator,
        reader: Reader<'_, M>,
    ) -> bool {
        assert_eq!(from.is_tombstone(), to.is_tombstone(), "it is a copy");
        self.of(key).is_some_and(|index| index.replace_if(key, from, to, reader))
    }

    /// Number of keys of all tables, tombstones that are still indexed included.
    pub fn len(&self) -> usize {
        if !self.has_others.load(Ordering::Acquire) {
            return self.default.len();
        }
        let others = lock(&self.others);
        self.default.len() + others.indexes.values().map(|other| other.index.len()).sum::<usize>()
    }

    /// Keys of all tables but the default one that lead to tombstones, of tables too that were
    /// taken out and are not forgotten yet.
    pub fn others_deleted_count(&self) -> usize {
        self.others_deleted_count.load(Ordering::Relaxed)
    }

    /// The tombstone of a key of a table that was taken out is forgotten.
    pub fn note_forgotten(&self) {
        let before = self.others_deleted_count.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a deleted key was counted");
    }
}
