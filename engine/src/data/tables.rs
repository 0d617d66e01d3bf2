//! [`Tables`]: the indexes of all tables.
//!
//! A stored key says its table and the kind of its keys ([`crate::table_prefix`]), so an index is
//! there as soon as a key of its table is applied: neither recovery nor the one writer asks what
//! tables there are called, or whether somebody has dropped them.

use std::collections::BTreeMap;
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
    others: Ranked<BTreeMap<TablePrefix, Arc<OtherIndex>>>,
    /// Whether there are, or were, others: without any, a lookup does not take the lock.
    has_others: AtomicBool,
    others_deleted_count: AtomicUsize,
    hash_seed: u128,
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

    /// Keys that do not lead to tombstones; exact while no thread writes.
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
    /// The default table with `entries`, and others with what `others` has, by stored key.
    pub fn from_entries(
        kind: KeyKind,
        hash_seed: u128,
        entries: Entries,
        others: &ByteEntries,
    ) -> Self {
        let tables = Self {
            default: KeyIndex::from_entries(kind, hash_seed, entries),
            others: Ranked::new(Rank::Leaf, BTreeMap::new()),
            has_others: AtomicBool::new(false),
            others_deleted_count: AtomicUsize::new(0),
            hash_seed,
        };
        let mut rest = others.iter().peekable();
        while let Some((first, _)) = rest.peek() {
            let prefix = TablePrefix::of(first).expect("entries were checked");
            let is_next = |(key, _): &(Vec<u8>, u64)| TablePrefix::of(key) == Some(prefix);
            let of_table = std::iter::from_fn(|| rest.next_if(is_next));
            tables.enter(prefix, tables.index(prefix, of_table));
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

    fn enter(&self, prefix: TablePrefix, index: KeyIndex) -> Arc<OtherIndex> {
        let other = OtherIndex::new(index);
        let other = lock(&self.others).entry(prefix).or_insert_with(|| Arc::new(other)).clone();
        self.has_others.store(true, Ordering::Release);
        other
    }

    /// The index of the table that begins its keys with `prefix`; an empty one if there is none.
    pub fn open(&self, prefix: TablePrefix) -> Arc<OtherIndex> {
        match self.other(prefix) {
            Some(other) => other,
            None => self.enter(prefix, self.index(prefix, std::iter::empty())),
        }
    }

    /// An empty index for handles of a table that was dropped: nobody finds it.
    pub fn detached(&self, prefix: TablePrefix) -> Arc<OtherIndex> {
        Arc::new(OtherIndex::new(self.index(prefix, std::iter::empty())))
    }

    /// Nobody finds the index of this table any more.
    pub fn take_out(&self, prefix: TablePrefix) -> Option<Arc<OtherIndex>> {
        lock(&self.others).remove(&prefix)
    }

    fn other(&self, prefix: TablePrefix) -> Option<Arc<OtherIndex>> {
        if !self.has_others.load(Ordering::Acquire) {
            return None;
        }
        lock(&self.others).get(&prefix).cloned()
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
        lock(&self.others).values().cloned().collect()
    }

    /// Those of all tables, the default one first.
    pub fn all(&self) -> impl Iterator<Item = TableIndex<'_>> {
        let others = self.others().into_iter().map(TableIndex::Other);
        std::iter::once(TableIndex::Default(&self.default)).chain(others)
    }

    /// As [`KeyIndex::get`].
    pub fn get<M: DataMap>(&self, key: &[u8], reader: Reader<'_, M>) -> Result<Option<Locator>> {
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
        let other = self.open(prefix);
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
        self.default.len() + others.values().map(|other| other.index.len()).sum::<usize>()
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
